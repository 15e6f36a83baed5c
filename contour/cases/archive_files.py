"""What one file of an archive says of itself: its header, and of a structure set its ROIs and what they refer to."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, Reason
from contour.dicom.folder import ENHANCED_CLASSES, printable, should_be_dicom, sop_class_of
from contour.dicom.identity import Texts
from contour.dicom.part10 import FileElements, Wanted, read_elements
from contour.dicom.rtstruct_contents import RT_STRUCTURE_SET_STORAGE, RoiContours, RoiDefinition, RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.slice_header import SLICE_CLASSES, Tag, Values

MAX_HEADER_BYTES = 32 * 1024**2
MAX_STRUCTURE_SET_BYTES = 256 * 1024**2
PLANE_STEP_MM = 0.1  # contours closer than this along their normal lie on one plane

_WANTED = Wanted(
    frozenset(
        {
            Tag.SPECIFIC_CHARACTER_SET,
            Tag.IMAGE_TYPE,
            Tag.SOP_CLASS_UID,
            Tag.SOP_INSTANCE_UID,
            Tag.MODALITY,
            Tag.PATIENT_ID,
            Tag.STUDY_INSTANCE_UID,
            Tag.SERIES_INSTANCE_UID,
            Tag.IMAGE_POSITION_PATIENT,
            Tag.FRAME_OF_REFERENCE_UID,
        }
    ),
    SLICE_CLASSES,
    Tag.SERIES_INSTANCE_UID,
)


class FileKind(StrEnum):
    """What a file is to the index. `DAMAGED` ones may tell their series; `UNREADABLE` ones are tried again."""

    SLICE = "slice"
    STRUCTURE_SET = "structure set"
    LOCALIZER = "localizer"
    NO_POSITION = "no position"
    ENHANCED = "enhanced image"
    OTHER = "other object"
    FOREIGN = "not DICOM"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RoiFacts:
    """One ROI of a structure set; see `contour.cases.archive_index.IndexedRoi`."""

    number: int
    name: str
    interpreted_type: str
    frame_of_reference_uid: str
    contours: int
    other_contours: int
    planes: int
    low_lps_mm: tuple[float, float, float] | None
    high_lps_mm: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class ReferencedImage:
    """A SOP Instance that a structure set names: by how many contours, and whether its list of images has it."""

    sop_instance_uid: str
    contours: int
    listed: bool


@dataclass(frozen=True, slots=True)
class StructureSetFacts:
    """What a structure set says. `frames` are those of its Referenced Frame of Reference Sequence."""

    label: str
    approval_status: str
    drawn_at: str
    frames: tuple[str, ...]
    series: tuple[str, ...]
    images: tuple[ReferencedImage, ...]
    rois: tuple[RoiFacts, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file. `path` is relative to the archive; what the file does not say is an empty string.

    `reason` and `problem` say why a file was not followed to its end (empty: it was).
    """

    path: str
    kind: FileKind
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    modality: str = ""
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    reason: str = ""
    problem: str = ""
    structure_set: StructureSetFacts | None = None


def read_file(archive: Path, relative: str) -> FileFacts:
    """What the file at `relative` in `archive` says; no fault of a file is an error here."""
    path = archive / relative
    if path.exists() and not path.is_file():  # a pipe or a device would never end
        return FileFacts(relative, FileKind.FOREIGN)
    elements = read_elements(path, printable(relative), _WANTED, MAX_HEADER_BYTES)
    if elements is None:
        return _without_mark(path, relative)
    if elements.problem is not None and not elements.file_bytes:
        return FileFacts(relative, FileKind.UNREADABLE, reason=elements.problem.reason, problem=elements.problem.found)
    try:
        return _facts(elements, relative)
    except InputRefused as refused:
        return _damaged(elements, relative, refused)


def data_set_sha256(archive: Path, relative: str) -> str:
    """The checksum of a file's data set and its encoding: what came by another route differs before it, not in it.

    Empty where the file cannot be read any more.
    """
    elements = read_elements(archive / relative, relative, _WANTED, MAX_HEADER_BYTES)
    if elements is None or not elements.file_bytes:
        return ""
    try:
        with elements.file.open("rb") as stream:
            stream.seek(elements.data_set_start)
            digest = hashlib.file_digest(stream, "sha256")
    except OSError:
        return ""
    digest.update(elements.syntax.uid.encode())
    return digest.hexdigest()


def _without_mark(path: Path, relative: str) -> FileFacts:
    try:
        claims = should_be_dicom(path)
    except OSError as error:
        found = f"cannot be read ({error.strerror})"
        return FileFacts(relative, FileKind.UNREADABLE, reason=Reason.UNREADABLE_FILE, problem=found)
    if not claims:
        return FileFacts(relative, FileKind.FOREIGN)
    return FileFacts(relative, FileKind.DAMAGED, reason=Reason.UNREADABLE_FILE, problem="has no DICOM mark at byte 128")


def _facts(elements: FileElements, relative: str) -> FileFacts:
    values = Values(elements)
    sop_class = sop_class_of(elements)
    if sop_class in SLICE_CLASSES:
        _require_whole(elements)
        return _identified(elements, relative, _slice_kind(values), None)
    if sop_class == RT_STRUCTURE_SET_STORAGE:
        contents = read_contours(elements.file, max_bytes=MAX_STRUCTURE_SET_BYTES)
        return _identified(elements, relative, FileKind.STRUCTURE_SET, _structure_set(contents))
    if elements.problem is not None and not sop_class:
        raise elements.problem
    return FileFacts(
        path=relative,
        kind=FileKind.ENHANCED if sop_class in ENHANCED_CLASSES else FileKind.OTHER,
        sop_class_uid=sop_class,
        sop_instance_uid=values.text(Tag.SOP_INSTANCE_UID),
        modality=values.text(Tag.MODALITY),
        study_instance_uid=values.text(Tag.STUDY_INSTANCE_UID),
        series_instance_uid=values.text(Tag.SERIES_INSTANCE_UID),
    )


def _require_whole(elements: FileElements) -> None:
    """A slice whose pixels the file cannot hold is damaged, as one whose elements cannot be followed."""
    if elements.problem is not None:
        raise elements.problem
    pixels = elements.pixels
    if pixels is None or pixels.length is None or elements.syntax.deflated:
        return
    end = pixels.offset + pixels.length
    if end > elements.file_bytes:
        found = f"has {elements.file_bytes} bytes, and its pixels end at byte {end}"
        raise InputRefused(Reason.TRUNCATED_FILE, elements.name, found, "whole files")


def _slice_kind(values: Values) -> FileKind:
    if "LOCALIZER" in values.text(Tag.IMAGE_TYPE).upper().split("\\"):
        return FileKind.LOCALIZER
    return FileKind.SLICE if values.raw(Tag.IMAGE_POSITION_PATIENT) else FileKind.NO_POSITION


def _identified(
    elements: FileElements, relative: str, kind: FileKind, structure_set: StructureSetFacts | None
) -> FileFacts:
    """The facts of an image or a structure set, which must say what it is and where it belongs."""
    values = Values(elements)
    return FileFacts(
        path=relative,
        kind=kind,
        sop_class_uid=sop_class_of(elements),
        sop_instance_uid=values.uid(Tag.SOP_INSTANCE_UID),
        modality=values.text(Tag.MODALITY),
        patient_id=_patient_id(elements),
        study_instance_uid=values.uid(Tag.STUDY_INSTANCE_UID),
        series_instance_uid=values.uid(Tag.SERIES_INSTANCE_UID),
        frame_of_reference_uid=values.text(Tag.FRAME_OF_REFERENCE_UID),
        structure_set=structure_set,
    )


def _patient_id(elements: FileElements) -> str:
    """The Patient ID; without one it is not known which studies are of one patient."""
    patient_id = Texts(elements).read(Tag.PATIENT_ID).strip()
    if not patient_id:
        found = f"no {Tag.PATIENT_ID.label}: studies of one patient could not be kept together"
        raise InputRefused(Reason.MISSING_ATTRIBUTE, elements.name, found, "files that state it")
    return patient_id


def _damaged(elements: FileElements, relative: str, refused: InputRefused) -> FileFacts:
    values = Values(elements)
    return FileFacts(
        path=relative,
        kind=FileKind.DAMAGED,
        sop_class_uid=sop_class_of(elements),
        sop_instance_uid=values.text(Tag.SOP_INSTANCE_UID),
        series_instance_uid=values.text(Tag.SERIES_INSTANCE_UID),
        reason=refused.reason,
        problem=refused.found,
    )


# -- structure sets --------------------------------------------------------------------------------------------------


def _structure_set(contents: RtstructContents) -> StructureSetFacts:
    return StructureSetFacts(
        label=contents.label,
        approval_status=contents.approval_status.upper(),
        drawn_at=contents.structure_set_date + contents.structure_set_time,
        frames=contents.referenced_frames,
        series=tuple(dict.fromkeys(r.series_instance_uid for r in contents.references if r.series_instance_uid)),
        images=_images(contents),
        rois=tuple(_roi(definition, contents) for definition in contents.rois),
    )


def _images(contents: RtstructContents) -> tuple[ReferencedImage, ...]:
    listed = {uid for reference in contents.references for uid in reference.sop_instance_uids}
    drawn = Counter(uid for item in contents.contours for uids in item.image_uids for uid in set(uids))
    return tuple(ReferencedImage(uid, drawn[uid], uid in listed) for uid in sorted(listed | drawn.keys()) if uid)


def _roi(definition: RoiDefinition, contents: RtstructContents) -> RoiFacts:
    contours = contents.contours_of(definition.number)
    observation = contents.observation_of(definition.number)
    area = np.zeros(0, dtype=np.bool_) if contours is None else contours.closed & (contours.point_counts >= 3)
    low, high, planes = None, None, 0
    if contours is not None and area.any():
        lows, highs = _boxes(contours, area)
        low, high = _corner(lows.min(axis=0)), _corner(highs.max(axis=0))
        planes = _plane_count(lows, highs)
    return RoiFacts(
        number=definition.number,
        name=definition.name,
        interpreted_type=observation.interpreted_type if observation else "",
        frame_of_reference_uid=definition.frame_of_reference_uid,
        contours=int(area.sum()),
        other_contours=int(area.size - area.sum()),
        planes=planes,
        low_lps_mm=low,
        high_lps_mm=high,
    )


def _boxes(contours: RoiContours, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m, 3) lowest and highest x, y, z of each of the chosen contours."""
    points = contours.points_lps_mm[np.repeat(chosen, contours.point_counts)]
    counts = contours.point_counts[chosen]
    starts = np.cumsum(counts) - counts
    return np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)


def _plane_count(lows: NDArray[np.float64], highs: NDArray[np.float64]) -> int:
    """How many planes contours lie on, along the axis on which they are thinnest: exact for axial slices and those
    across another axis, an estimate for oblique ones.
    """
    axis = int((highs - lows).mean(axis=0).argmin())
    middles = (lows[:, axis] + highs[:, axis]) / 2
    return int(np.unique(np.rint(middles / PLANE_STEP_MM)).size)


def _corner(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (round(float(v), 3) for v in values)
    return x, y, z
