"""Structures -> DICOM Segmentation (PS3.3 A.51), one binary segment each, for viewers and research archives.

Masks are stored as they are, voxel for voxel, which contours cannot promise. highdicom writes the object; it is read
back by other code, compared with the masks, and only then released. A planning system wants the RTSTRUCT.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

import contour
from contour.core.errors import InputRefused, Reason
from contour.core.nomenclature import Code, lookup
from contour.core.structures import Mask, Structure, StructureSet
from contour.dicom.release import part_of, release
from contour.dicom.rtstruct_write import ANATOMICAL_STRUCTURE, REVIEW, code_item
from contour.dicom.series import ImageSeries
from contour.dicom.uids import derived_uid

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

POSITION_TOLERANCE_MM = 0.01
SERIES_NUMBER = 2


@dataclass(frozen=True)
class WrittenSeg:
    """A released file; `left_out` names the structures without a voxel."""

    path: Path
    sop_instance_uid: str
    written: tuple[str, ...]
    left_out: tuple[str, ...]


def write_seg(
    structures: StructureSet, series: ImageSeries, output: Path, by_hand: frozenset[str] = frozenset()
) -> WrittenSeg:
    """Write `structures`, drawn on the grid of `series`, to `output`, if the file proves equal to them.

    Segments bear the structures' names, colours, codes and packages, and may overlap; `by_hand` names those that are
    not known to be drawn automatically. UIDs follow from the content.

    Raises:
        InputRefused: no structure has a voxel, the grids differ, or the series has no files to refer to.
        NotReleased: the file differs from the structures; nothing stands at `output` that was not there before.
        OSError: the disk.
    """
    drawn = tuple(structure for structure in structures.structures if not structure.empty)
    _require_writable(structures, drawn, series)
    uids = _uids(drawn, series)
    part = part_of(output)
    try:
        _object(structures.label, drawn, series, uids, by_hand).save_as(part)
        release(part, output, tuple(_differences(part, drawn, series)))
    finally:
        part.unlink(missing_ok=True)
    left_out = tuple(structure.name for structure in structures.structures if structure.empty)
    return WrittenSeg(output, uids[0], tuple(structure.name for structure in drawn), left_out)


def _require_writable(structures: StructureSet, drawn: tuple[Structure, ...], series: ImageSeries) -> None:
    where = f"structure set {structures.label!r}"
    if not structures.geometry.same_grid(series.volume.geometry):
        found = "a grid other than that of the images"
        raise InputRefused(Reason.WRONG_SERIES, where, found, "structures on the voxels of the series")
    if not drawn:
        raise InputRefused(Reason.NO_STRUCTURES, where, "no structure with a voxel", "one or more")
    if not series.files:
        raise InputRefused(Reason.WRONG_SERIES, where, "a series without files", "images that were read from a folder")


def _uids(drawn: tuple[Structure, ...], series: ImageSeries) -> tuple[str, str]:
    """SOP Instance and Series Instance UID of what is drawn on the series."""
    parts = [series.content_sha256, contour.__version__]
    for structure in drawn:
        parts += [structure.name, str(structure.color_rgb), str(structure.provenance), structure.derivation]
        parts += [str(structure.box), np.packbits(structure.mask_zyx).tobytes().hex()]
    return derived_uid("seg", *parts), derived_uid("seg series", *parts)


def _object(
    label: str, drawn: tuple[Structure, ...], series: ImageSeries, uids: tuple[str, str], by_hand: frozenset[str]
) -> Dataset:
    """The object, in memory."""
    from highdicom.seg import Segmentation  # noqa: PLC0415 - most runs write none, and it takes its time

    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=_stacked(drawn, series.volume.geometry.shape_zyx),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, structure, automatic=structure.name not in by_hand)
            for number, structure in enumerate(drawn, start=1)
        ],
        series_instance_uid=uids[1],
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids[0],
        instance_number=1,
        manufacturer="contour",
        manufacturer_model_name="contour auto-contouring",
        software_versions=f"contour {contour.__version__}",
        device_serial_number="0",
        content_description=REVIEW,
        content_label=_content_label(label),
        series_description=f"{label} (for review)",
    )
    for item, structure in zip(segmentation.SegmentSequence, drawn, strict=True):
        known = lookup(structure.name)
        if known is not None and known.laterality is not None:
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                code_item(known.laterality)
            ]
    return segmentation


def _content_label(label: str) -> str:
    """Content Label is CS: capitals, digits, spaces and underscores."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " _") else "_" for c in label.upper())[:16]


def _stacked(drawn: tuple[Structure, ...], shape_zyx: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(z, y, x, structure), 0 and 1. Memory is taken for the structures' boxes alone: the rest is never written to."""
    stacked = np.zeros((len(drawn), *shape_zyx), dtype=np.uint8)
    for masks, structure in zip(stacked, drawn, strict=True):
        masks[structure.box.slices] = structure.mask_zyx
    return np.moveaxis(stacked, 0, -1)


def _segment(number: int, structure: Structure, *, automatic: bool) -> "SegmentDescription":
    from highdicom import AlgorithmIdentificationSequence  # noqa: PLC0415 - as above
    from highdicom.color import CIELabColor  # noqa: PLC0415
    from highdicom.seg import SegmentDescription  # noqa: PLC0415
    from highdicom.sr import CodedConcept  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    known, use = lookup(structure.name), structure.provenance
    category = CodedConcept(*_three(ANATOMICAL_STRUCTURE))
    kind = CodedConcept(*_three(known.code)) if known is not None and known.code is not None else category
    algorithm = AlgorithmIdentificationSequence(
        name=use.package if use is not None else "contour",
        version=use.version if use is not None else contour.__version__,
        family=codes.cid7162.ArtificialIntelligence,
        parameters={"sha256": use.sha256} if use is not None else None,
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=structure.name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC" if automatic else "MANUAL",
        algorithm_identification=algorithm if automatic else None,
        display_color=CIELabColor.from_rgb(*structure.color_rgb),
    )


def _three(code: Code) -> tuple[str, str, str]:
    return code.value, code.scheme, code.meaning


def _differences(path: Path, drawn: Sequence[Structure], series: ImageSeries) -> Iterator[str]:
    """What differs between the file and what was drawn, one sentence each."""
    read = pydicom.dcmread(path)
    identity, geometry = series.identity, series.volume.geometry
    pairs = (
        ("Patient ID", read.get("PatientID", ""), identity.patient_id),
        ("Study Instance UID", read.StudyInstanceUID, identity.study_instance_uid),
        ("Frame of Reference UID", read.FrameOfReferenceUID, geometry.frame_of_reference_uid),
    )
    for name, found, allowed in pairs:
        if (found or "") != allowed:
            yield f"{name} is not the images'"
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in read.SegmentSequence}
    if list(labels.values()) != [structure.name for structure in drawn]:
        yield f"the file holds the segments {list(labels.values())}"
        return
    frames = np.atleast_3d(read.pixel_array).reshape(-1, read.Rows, read.Columns).astype(bool)
    found_masks = {number: _SegmentFrames({}) for number in labels}
    for frame, groups in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
        z = float(geometry.lps_mm_to_index(position)[0])
        off_mm = float(np.linalg.norm(geometry.index_to_lps_mm((round(z), 0, 0)) - position))
        if off_mm > POSITION_TOLERANCE_MM + series.off_grid_mm:
            yield f"a frame lies {off_mm:.3f} mm off its slice"
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found_masks[number].planes[round(z)] = frame
    for (number, name), structure in zip(labels.items(), drawn, strict=True):
        wrong = found_masks[number].differing_from(structure)
        if wrong:
            yield f"{name}: {wrong} voxels differ"


@dataclass(frozen=True)
class _SegmentFrames:
    """The planes of a segment, by slice."""

    planes: dict[int, Mask]

    def differing_from(self, structure: Structure) -> int:
        """Voxels that are in one and not in the other."""
        first, height = structure.offset_zyx[0], structure.mask_zyx.shape[0]
        wrong = sum(int(plane.sum()) for z, plane in self.planes.items() if not first <= z < first + height)
        _, rows, columns = structure.box.slices
        for z in range(first, first + height):
            expected = structure.mask_zyx[z - first]
            plane = self.planes.get(z)
            if plane is None:
                wrong += int(expected.sum())
                continue
            here = plane[rows, columns]
            wrong += int((here != expected).sum()) + int(plane.sum()) - int(here.sum())
        return wrong
