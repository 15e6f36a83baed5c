"""A volume as a valid CT or MR Image Storage series: PS3.3 A.3 and A.4, one slice a file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds

from contour.core.volume import Modality, Volume
from contour.dicom.series import PatientStudy
from contour.dicom.slice_header import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE
from contour.dicom.uids import derived_uid

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class SeriesOptions:
    """How a series is written.

    `seed` decides the series' and instances' UIDs: the same seed and study give the same UIDs. Voxels are stored with
    16 bits as (value - intercept) / slope, rounded; `signed` is the pixel representation. `padding_value` is stated
    as stored, not applied. `image_type` None is derived, secondary. `patient_position` may stay empty: it decides
    nothing. `body_part` is a defined term of PS3.16 annex L, such as CHEST, for an unpaired part.
    """

    seed: str
    series_description: str = ""
    series_number: int = 1
    transfer_syntax_uid: str = str(ExplicitVRLittleEndian)
    signed: bool = True
    slope: float = 1.0
    intercept: float = 0.0
    padding_value: int | None = None
    patient_position: str = ""
    body_part: str = ""
    image_type: tuple[str, ...] | None = None
    specific_character_set: str = "ISO_IR 192"


def write_series(volume: Volume, identity: PatientStudy, folder: Path, options: SeriesOptions) -> tuple[Path, ...]:
    """Write `volume` slice by slice into `folder` (made if need be); the files by z index.

    Everything written follows from the arguments: the same arguments give the same bytes.

    Raises:
        ValueError: the transfer syntax is not offered, a value does not fit 16 bits, the study has no valid UID, or
            the volume has no frame of reference.
    """
    encode = _encoder(options.transfer_syntax_uid)
    for what, uid in (
        ("study_instance_uid", identity.study_instance_uid),
        ("frame_of_reference_uid", volume.geometry.frame_of_reference_uid),
    ):
        if not _UID.fullmatch(uid):
            raise ValueError(f"{what} {uid!r}: must be 1 to 64 digits and periods")
    stored = _stored(volume, options)
    folder.mkdir(parents=True, exist_ok=True)
    shared = _shared(volume, identity, options)
    return tuple(
        _write_slice(shared, volume, stored, (z, folder / f"{z + 1:04d}.dcm"), encode) for z in range(len(stored))
    )


Encoder = Callable[[NDArray[Any]], bytes]


def _encoder(transfer_syntax_uid: str) -> Encoder:
    encoders: dict[UID, Encoder] = {
        ImplicitVRLittleEndian: _little_endian,
        ExplicitVRLittleEndian: _little_endian,
        DeflatedExplicitVRLittleEndian: _little_endian,
        ExplicitVRBigEndian: lambda pixels: pixels.astype(pixels.dtype.newbyteorder(">")).tobytes(),
        RLELossless: _little_endian,  # compressed by pydicom when the slice is complete
        JPEGLSLossless: lambda pixels: encapsulate([bytes(imagecodecs.jpegls_encode(pixels.view(np.uint16)))]),
        JPEG2000Lossless: _jpeg_2000,
    }
    encoder = encoders.get(UID(transfer_syntax_uid))
    if encoder is None:
        offered = ", ".join(f"{uid} ({uid.name})" for uid in encoders)
        raise ValueError(f"transfer syntax {transfer_syntax_uid}: must be one of {offered}")
    return encoder


def _little_endian(pixels: NDArray[Any]) -> bytes:
    return pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def _jpeg_2000(pixels: NDArray[Any]) -> bytes:
    frame = bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True))
    return bytes(encapsulate([frame]))


def _stored(volume: Volume, options: SeriesOptions) -> NDArray[Any]:
    kind = np.int16 if options.signed else np.uint16
    if options.slope == 1 and options.intercept == 0 and volume.voxels_zyx.dtype == kind:
        return volume.voxels_zyx
    values = np.rint((volume.voxels_zyx.astype(np.float64) - options.intercept) / options.slope)
    allowed = np.iinfo(kind)
    if not (allowed.min <= values.min() and values.max() <= allowed.max):
        found = f"stored values from {values.min():g} to {values.max():g}"
        raise ValueError(f"{found}: must lie between {allowed.min} and {allowed.max}; choose slope, intercept or sign")
    return values.astype(kind)


def _shared(volume: Volume, identity: PatientStudy, options: SeriesOptions) -> Dataset:
    """The elements that all slices have in common."""
    ds = Dataset()
    ds.SpecificCharacterSet = options.specific_character_set
    kind = "AXIAL" if volume.modality is Modality.CT else "OTHER"
    ds.ImageType = list(options.image_type or ("DERIVED", "SECONDARY", kind))
    ds.SOPClassUID = CT_IMAGE_STORAGE if volume.modality is Modality.CT else MR_IMAGE_STORAGE
    _add_identity(ds, identity)
    ds.Modality = str(volume.modality)
    ds.SeriesInstanceUID = derived_uid("series", identity.study_instance_uid, options.seed)
    ds.SeriesNumber = options.series_number
    ds.SeriesDescription = options.series_description
    ds.PatientPosition = options.patient_position
    if options.body_part:
        ds.BodyPartExamined = options.body_part
    else:
        ds.Laterality = ""  # required for a paired part, and empty where that is unknown: PS3.3 C.7.3.1
    ds.Manufacturer = ""
    ds.FrameOfReferenceUID = volume.geometry.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    ds.AcquisitionNumber = None
    if volume.modality is Modality.CT:
        _add_ct(ds)
    else:
        _add_mr(ds)
    _add_plane(ds, volume)
    _add_pixel_description(ds, volume, options)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.TransferSyntaxUID = UID(options.transfer_syntax_uid)
    return ds


def _add_identity(ds: Dataset, identity: PatientStudy) -> None:
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = identity.patient_birth_date
    ds.PatientSex = identity.patient_sex
    ds.StudyInstanceUID = identity.study_instance_uid
    ds.StudyID = identity.study_id
    ds.StudyDate = identity.study_date
    ds.StudyTime = identity.study_time
    ds.StudyDescription = identity.study_description
    ds.AccessionNumber = identity.accession_number
    ds.ReferringPhysicianName = identity.referring_physician_name


def _add_ct(ds: Dataset) -> None:
    ds.KVP = None
    ds.WindowCenter, ds.WindowWidth = 40, 400


def _add_mr(ds: Dataset) -> None:
    ds.ScanningSequence = "RM"  # research mode: PS3.3 C.8.3.1, where no pulse sequence is known
    ds.SequenceVariant = "NONE"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = ""
    ds.RepetitionTime = ds.EchoTime = ds.EchoTrainLength = None


def _add_plane(ds: Dataset, volume: Volume) -> None:
    geometry = volume.geometry
    ds.ImageOrientationPatient = [_decimal(c) for axis in (geometry.axes_lps[2], geometry.axes_lps[1]) for c in axis]
    ds.PixelSpacing = [_decimal(s) for s in geometry.spacing_zyx_mm[1:]]
    ds.SliceThickness = _decimal(geometry.spacing_zyx_mm[0])


def _add_pixel_description(ds: Dataset, volume: Volume, options: SeriesOptions) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = volume.geometry.shape_zyx[1:]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = int(options.signed)
    if options.padding_value is not None:
        ds.add_new("PixelPaddingValue", "SS" if options.signed else "US", options.padding_value)
    if volume.modality is Modality.CT or (options.slope, options.intercept) != (1, 0):
        ds.RescaleSlope, ds.RescaleIntercept = (
            _decimal(options.slope),
            _decimal(options.intercept),
        )
        ds.RescaleType = "HU" if volume.modality is Modality.CT else "US"


def _write_slice(
    shared: Dataset, volume: Volume, stored: NDArray[Any], place: tuple[int, Path], encode: Encoder
) -> Path:
    z, path = place
    ds = Dataset(shared)
    ds.file_meta = FileMetaDataset(shared.file_meta)
    ds.SOPInstanceUID = derived_uid("instance", shared.SeriesInstanceUID, str(z))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.InstanceNumber = z + 1
    ds.ImagePositionPatient = [_decimal(c) for c in volume.geometry.index_to_lps_mm((z, 0, 0)).tolist()]
    syntax = ds.file_meta.TransferSyntaxUID
    ds.PixelData = encode(np.ascontiguousarray(stored[z]))
    ds["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def _decimal(value: float) -> str:
    """A decimal string (PS3.5 6.2, DS): the 16 characters nearest to the value."""
    return str(format_number_as_ds(float(value)))
