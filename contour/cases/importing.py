"""Cases from NIfTI files, as public data sets come: an image with a label map, or with a mask for each structure."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.cases.completeness import Completeness, DrawnStructure, judge
from contour.cases.store import Case, CaseRecord, CaseSource, CaseStructure, Status
from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import UNNAMED_COLOR_RGB, lookup, validate_names
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.uids import derived_uid
from contour.imaging.nifti import read_nifti, read_nifti_array

MAX_LABEL_LENGTH = 16
# Headers hold single precision, and tools write the same grid in two ways.
GRID_TOLERANCE_MM = 0.1


@dataclass(frozen=True)
class Imported:
    """A structure to import under its TG-263 `name`.

    `status` and `drawn_slices` are as in `CaseStructure`; a status of None lets the rules of
    `contour.cases.completeness` find it. A structure that was drawn and has no voxel states that the patient has none:
    list only what somebody, or something, looked for.
    """

    name: str
    status: Status | None = Status.DRAWN
    drawn_slices: tuple[int, int] | None = None


@dataclass(frozen=True)
class LabelValues:
    """The values of a label map that make up one structure (the lobes of a lung, say)."""

    values: tuple[int, ...]
    structure: Imported


@dataclass(frozen=True)
class MaskFile:
    """A NIfTI file whose voxels other than 0 are one structure."""

    path: Path
    structure: Imported


@dataclass(frozen=True)
class ImportedIdentity:
    """The case's name, its patient's pseudonym (the same for all cases of one patient), and where it comes from."""

    case: str
    patient: str
    modality: Modality = Modality.CT
    note: str = ""


def import_label_map(image: Path, label_map: Path, labels: tuple[LabelValues, ...], identity: ImportedIdentity) -> Case:
    """The case of a NIfTI image and a label map on its grid, to be written by `save_case`.

    Raises:
        InputRefused: a file cannot be read, the label map is on another grid, or its values are no whole numbers.
        ValueError: names that cannot be written, or stand twice.
    """
    volume = _image(image, identity)
    values = _on_grid(label_map, volume.geometry)
    return import_masks(volume, tuple((e.structure, np.isin(values, e.values)) for e in labels), identity)


def import_mask_files(image: Path, masks: tuple[MaskFile, ...], identity: ImportedIdentity) -> Case:
    """The case of a NIfTI image and a file for each structure; masks may overlap.

    Raises:
        InputRefused: a file cannot be read, or is on another grid than the image.
        ValueError: names that cannot be written, or stand twice.
    """
    volume = _image(image, identity)
    read = tuple((item.structure, _on_grid(item.path, volume.geometry) != 0) for item in masks)
    return import_masks(volume, read, identity)


def import_masks(volume: Volume, masks: tuple[tuple[Imported, Mask], ...], identity: ImportedIdentity) -> Case:
    """The case of an image and masks (z, y, x) of its shape.

    Raises:
        ValueError: names that cannot be written, or stand twice.
    """
    problems = validate_names(wanted.name for wanted, _ in masks)
    if problems:
        raise ValueError("; ".join(problems))
    drawn = [(wanted, _drawn(wanted.name, mask)) for wanted, mask in masks]
    extents = {w.name: (d.contour_slices[0], d.contour_slices[-1]) for w, d in drawn if d.contour_slices}
    known = [(wanted, d, _known(wanted, d, extents, volume.geometry)) for wanted, d in drawn]
    entries = tuple(CaseStructure(w.name, found.status, (), found.drawn_slices) for w, _, found in known)
    kept = tuple(d.structure for _, d, found in known if found.status is not Status.NOT_DRAWN)
    record = CaseRecord(
        name=identity.case,
        patient=identity.patient,
        modality=identity.modality,
        geometry=volume.geometry,
        structures=entries,
        source=CaseSource(note=identity.note),
    )
    return Case(record, volume, StructureSet(identity.case[:MAX_LABEL_LENGTH], volume.geometry, kept))


def _image(path: Path, identity: ImportedIdentity) -> Volume:
    # NIfTI knows no frame of reference: that of an imported image is its own.
    return read_nifti(path, identity.modality, derived_uid("imported case", identity.case))


def _on_grid(path: Path, geometry: Geometry) -> NDArray[np.generic]:
    values, grid = read_nifti_array(path, geometry.frame_of_reference_uid)
    if not grid.same_grid(geometry, GRID_TOLERANCE_MM):
        found = f"{grid.shape_zyx} voxels (z, y, x) of {grid.spacing_zyx_mm} mm from {grid.origin_lps_mm}"
        allowed = f"the image's {geometry.shape_zyx} of {geometry.spacing_zyx_mm} mm from {geometry.origin_lps_mm}"
        raise InputRefused(Reason.WRONG_SERIES, str(path), found, allowed)
    if not np.issubdtype(values.dtype, np.integer) and np.any(values != np.rint(values)):
        raise InputRefused(Reason.UNSUPPORTED_PIXELS, str(path), "values between whole numbers", "labels")
    return values


def _drawn(name: str, mask_zyx: Mask) -> DrawnStructure:
    known = lookup(name)
    color = known.color_rgb if known else UNNAMED_COLOR_RGB
    kind = known.interpreted_type if known else InterpretedType.ORGAN
    structure = Structure(name, color, kind, *cropped_to_content(mask_zyx))
    return DrawnStructure(structure, tuple(int(z) for z in np.flatnonzero(mask_zyx.any(axis=(1, 2)))))


def _known(
    wanted: Imported, drawn: DrawnStructure, extents: dict[str, tuple[int, int]], geometry: Geometry
) -> Completeness:
    if wanted.status is not None:
        return Completeness(wanted.status, wanted.drawn_slices)
    if not drawn.contour_slices:
        return Completeness(Status.NOT_DRAWN, None)
    return judge(drawn, extents, geometry)
