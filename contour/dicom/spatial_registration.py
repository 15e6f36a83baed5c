"""Spatial Registration objects, read and written: the IOD of PS3.3 A.39.1, its matrices C.20.2."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

import contour
from contour.core.errors import InputRefused, Reason
from contour.core.rigid import RigidTransform
from contour.dicom.identity import copy_identity
from contour.dicom.release import part_of, release
from contour.dicom.rtstruct_write import IMPLEMENTATION_CLASS_UID, image_references
from contour.dicom.series import ImageSeries
from contour.dicom.uids import derived_uid

SPATIAL_REGISTRATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.1"
LARGEST_FILE = 16 * 1024**2  # a registration is some kilobytes
SERIES_NUMBER = 3
SAME_MM = 0.01  # points no further apart than this are one, over the length of a head
_REACH_MM = 200.0
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class FoundRegistration:
    """A motion between two frames of reference, and the file that states it."""

    transform: RigidTransform
    path: Path
    sop_instance_uid: str


def read_registration(path: Path, from_frame_uid: str, to_frame_uid: str) -> FoundRegistration | None:
    """How the Spatial Registration at `path` brings one frame of reference into another; None if it does not say.

    Raises:
        InputRefused: the file cannot be read or is none; a matrix scales, shears or mirrors; or several matrices stand
            for one motion whose order matters, which systems write either way.
    """
    data_set = _read(path)
    if data_set is None:
        allowed = f"SOP Class {SPATIAL_REGISTRATION_STORAGE}, Spatial Registration"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, str(path), "is no Spatial Registration", allowed)
    to_registered = _matrices(data_set, path)
    # The frame that the object itself stands in needs no item of its own.
    to_registered.setdefault(str(data_set.get("FrameOfReferenceUID", "")), np.eye(4))
    if from_frame_uid not in to_registered or to_frame_uid not in to_registered:
        return None
    matrix = np.linalg.inv(to_registered[to_frame_uid]) @ to_registered[from_frame_uid]
    try:
        transform = RigidTransform.between((from_frame_uid, to_frame_uid), matrix[:3, :3], matrix[:3, 3])
    except ValueError as error:
        raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), str(error), "a rigid registration") from error
    return FoundRegistration(transform, path, str(data_set.SOPInstanceUID))


def find_registrations(
    folders: Iterable[Path], from_frame_uid: str, to_frame_uid: str
) -> tuple[FoundRegistration, ...]:
    """The Spatial Registrations below `folders` that bring one frame of reference into another, by name.

    Raises:
        InputRefused: as `read_registration`, of one that relates the two frames.
    """
    found: dict[str, FoundRegistration] = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size <= LARGEST_FILE):
            if _read(path, header_alone=True) is None:
                continue
            registration = read_registration(path, from_frame_uid, to_frame_uid)
            if registration is not None:
                found.setdefault(registration.sop_instance_uid, registration)
    return tuple(found.values())


def write_registration(
    transform: RigidTransform, fixed: ImageSeries, moving: ImageSeries, output: Path, comment: str
) -> str:
    """Write how `moving` lies on `fixed`, in the study and the frame of reference of `fixed`; its SOP Instance UID.

    The file is read back before it takes its name. UIDs follow from the content.

    Raises:
        NotReleased: what was read back puts a point of the head elsewhere.
        OSError: the disk.
    """
    numbers = [format_number_as_ds(float(v)) for v in np.ravel(transform.matrix)]
    content = (fixed.content_sha256, moving.content_sha256, contour.__version__, *numbers)
    uid = derived_uid("registration", *content)
    data_set = _data_set((fixed, moving), numbers, comment)
    data_set.SOPInstanceUID, data_set.SeriesInstanceUID = uid, derived_uid("registration series", *content)
    data_set.file_meta.MediaStorageSOPInstanceUID = uid
    part = part_of(output)
    try:
        data_set.save_as(part, enforce_file_format=True)
        release(part, output, _differences(part, transform))
    finally:
        part.unlink(missing_ok=True)
    return uid


def same_motion(registrations: Sequence[FoundRegistration]) -> bool:
    """Whether all put the points of a head in one place."""
    return all(_same(one.transform, registrations[0].transform) for one in registrations[1:])


def _differences(path: Path, transform: RigidTransform) -> tuple[str, ...]:
    read = read_registration(path, transform.from_frame_uid, transform.to_frame_uid)
    if read is None or not _same(read.transform, transform):
        return ("The Spatial Registration that was written states another motion than was found.",)
    return ()


def _same(first: RigidTransform, second: RigidTransform) -> bool:
    corners = np.stack(np.meshgrid(*[(-_REACH_MM, _REACH_MM)] * 3), axis=-1).reshape(-1, 3)
    return first.apart_mm(second, corners) <= SAME_MM


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(path: Path, *, header_alone: bool = False) -> Dataset | None:
    """The object, or None for what is none: another object, or no DICOM at all."""
    tags = ["SOPClassUID"] if header_alone else None
    try:
        data_set = pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=True)
    except (InvalidDicomError, EOFError):
        return None
    except (ValueError, NotImplementedError) as error:
        raise InputRefused(Reason.UNREADABLE_FILE, str(path), str(error), "a DICOM file") from error
    return data_set if data_set.get("SOPClassUID") == SPATIAL_REGISTRATION_STORAGE else None


def _matrices(data_set: Dataset, path: Path) -> dict[str, NDArray[np.float64]]:
    """What brings each frame of reference to the one that the object establishes (the Registered RCS)."""
    found: dict[str, NDArray[np.float64]] = {}
    for item in data_set.get("RegistrationSequence", []):
        frame = str(item.get("FrameOfReferenceUID", ""))
        matrices = [
            _matrix(one, path)
            for registration in item.get("MatrixRegistrationSequence", [])
            for one in registration.get("MatrixSequence", [])
        ]
        moving = [matrix for matrix in matrices if not np.allclose(matrix, np.eye(4), atol=1e-9)]
        if len(moving) > 1:
            found_here = f"{len(moving)} matrices for frame of reference {frame}"
            raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), found_here, "one: systems multiply them either way")
        if _UID.fullmatch(frame) and matrices:
            if frame in found and not np.allclose(found[frame], [*moving, np.eye(4)][0], atol=1e-6):
                here = f"two motions for frame of reference {frame}"
                raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), here, "one")
            found[frame] = moving[0] if moving else np.eye(4)
    return found


def _matrix(item: Dataset, path: Path) -> NDArray[np.float64]:
    values = item.get("FrameOfReferenceTransformationMatrix") or []
    if len(values) != 16:
        found = f"Frame of Reference Transformation Matrix of {len(values)} values"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), found, "16 values, row by row")
    return np.asarray([float(v) for v in values]).reshape(4, 4)


# -- writing ---------------------------------------------------------------------------------------------------------


def _data_set(pair: tuple[ImageSeries, ImageSeries], numbers: Sequence[str], comment: str) -> Dataset:
    fixed, moving = pair
    now = datetime.now().astimezone()
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = SPATIAL_REGISTRATION_STORAGE
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    data_set.SpecificCharacterSet = list(fixed.specific_character_set) or "ISO_IR 192"
    data_set.SOPClassUID = SPATIAL_REGISTRATION_STORAGE
    data_set.Modality = "REG"
    copy_identity(data_set, fixed.identity)
    data_set.Laterality = ""  # required where no body part is stated: PS3.3 C.7.3.1
    data_set.SeriesNumber = SERIES_NUMBER
    data_set.SeriesDescription = "Rigid registration (for review)"
    data_set.Manufacturer = "contour"
    data_set.ManufacturerModelName = "contour auto-contouring"
    data_set.SoftwareVersions = f"contour {contour.__version__}"
    data_set.FrameOfReferenceUID = fixed.volume.geometry.frame_of_reference_uid
    data_set.PositionReferenceIndicator = fixed.position_reference_indicator
    data_set.ContentDate = data_set.SeriesDate = data_set.InstanceCreationDate = now.strftime("%Y%m%d")
    data_set.ContentTime = data_set.SeriesTime = data_set.InstanceCreationTime = now.strftime("%H%M%S")
    data_set.InstanceNumber = 1
    data_set.ContentLabel = "REGISTRATION"
    data_set.ContentDescription = "Rigid registration, automatic: for a clinician's review"
    data_set.ContentCreatorName = ""
    unmoved = [format_number_as_ds(float(v)) for v in np.eye(4).ravel()]
    data_set.RegistrationSequence = [_item(fixed, unmoved, ""), _item(moving, numbers, comment)]
    same_study = fixed.identity.study_instance_uid == moving.identity.study_instance_uid
    data_set.ReferencedSeriesSequence = [_referenced(series) for series in (pair if same_study else pair[:1])]
    if not same_study:
        other = Dataset()
        other.StudyInstanceUID = moving.identity.study_instance_uid
        other.ReferencedSeriesSequence = [_referenced(moving)]
        data_set.StudiesContainingOtherReferencedInstancesSequence = [other]
    return data_set


def _item(series: ImageSeries, numbers: Sequence[str], comment: str) -> Dataset:
    matrix, registration, item = Dataset(), Dataset(), Dataset()
    matrix.FrameOfReferenceTransformationMatrixType = "RIGID"
    matrix.FrameOfReferenceTransformationMatrix = list(numbers)
    if comment:
        registration.FrameOfReferenceTransformationComment = comment[:64]  # LO
    registration.RegistrationTypeCodeSequence = []
    registration.MatrixSequence = [matrix]
    item.FrameOfReferenceUID = series.volume.geometry.frame_of_reference_uid
    item.ReferencedImageSequence = image_references(series)
    item.MatrixRegistrationSequence = [registration]
    return item


def _referenced(series: ImageSeries) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series.series_instance_uid
    item.ReferencedInstanceSequence = image_references(series)
    return item
