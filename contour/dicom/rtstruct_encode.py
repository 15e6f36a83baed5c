"""The bytes of ROI Contour Sequence (3006,0039), PS3.3 C.8.8.6, in Implicit VR Little Endian.

A data set object for each contour would cost many times the rest of writing: here contours are joined bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

import numpy as np

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import Rgb
from contour.dicom.decimals import format_decimals
from contour.dicom.rtstruct_contents import GeometricType
from contour.imaging.contours import Contours

MAX_VALUE_BYTES = 0xFFFFFFFE

_HEADER = Struct("<HHL")
_ITEM = (0xFFFE, 0xE000)


@dataclass(frozen=True)
class SliceReferences:
    """The encoded Contour Image Sequence (3006,0016) of a contour on each slice, by z index."""

    encoded: tuple[bytes, ...]

    @classmethod
    def to(cls, sop_class_uid: str, sop_instance_uids: Sequence[str]) -> "SliceReferences":
        """References to the images `sop_instance_uids`, one for each z index."""
        sop_class = _element(0x0008, 0x1150, _padded(sop_class_uid, b"\0"))
        images = (sop_class + _element(0x0008, 0x1155, _padded(uid, b"\0")) for uid in sop_instance_uids)
        return cls(tuple(_element(0x3006, 0x0016, _element(*_ITEM, image)) for image in images))


@dataclass(frozen=True)
class RoiToWrite:
    """One ROI with its contours in voxel indices of the image grid."""

    number: int
    color_rgb: Rgb
    contours: Contours


def encode_contour_sequence(rois: Sequence[RoiToWrite], geometry: Geometry, references: SliceReferences) -> bytes:
    """The element ROI Contour Sequence, header included; coordinates in mm, LPS, with three decimals.

    Raises:
        InputRefused: the contours need more than the 4 GiB that DICOM allows.
        ValueError: a coordinate that does not fit a decimal string.
    """
    items = (_element(*_ITEM, _encode_roi(roi, geometry, references)) for roi in rois)
    return _element(0x3006, 0x0039, b"".join(items))


def _encode_roi(roi: RoiToWrite, geometry: Geometry, references: SliceReferences) -> bytes:
    color = "\\".join(str(c) for c in roi.color_rgb)
    return (
        _element(0x3006, 0x002A, _padded(color, b" "))
        + _element(0x3006, 0x0040, _encode_contours(roi.contours, geometry, references))
        + _element(0x3006, 0x0084, _padded(str(roi.number), b" "))
    )


def _encode_contours(contours: Contours, geometry: Geometry, references: SliceReferences) -> bytes:
    slices = np.repeat(contours.slice_indices, np.diff(contours.starts))
    points = geometry.index_to_lps_mm(np.column_stack((slices, contours.points_yx)))
    decimals = format_decimals(points.reshape(-1), 3 * contours.starts)
    closed_planar = _element(0x3006, 0x0042, _padded(GeometricType.CLOSED_PLANAR, b" "))
    ends = decimals.starts.tolist()
    parts: list[bytes] = []
    for i, (z, count) in enumerate(
        zip(contours.slice_indices.tolist(), np.diff(contours.starts).tolist(), strict=True)
    ):
        reference = references.encoded[z]
        stated = _element(0x3006, 0x0046, _padded(str(count), b" "))
        data_length = ends[i + 1] - ends[i]
        length = len(reference) + len(closed_planar) + len(stated) + _HEADER.size + data_length
        parts += (
            _HEADER.pack(*_ITEM, length),
            reference,
            closed_planar,
            stated,
            _HEADER.pack(0x3006, 0x0050, data_length),
            decimals.text[ends[i] : ends[i + 1]],
        )
    return b"".join(parts)


def _element(group: int, element: int, value: bytes) -> bytes:
    if len(value) > MAX_VALUE_BYTES:
        raise InputRefused(Reason.TOO_LARGE, "contours", f"{len(value)} bytes", f"{MAX_VALUE_BYTES} bytes")
    return _HEADER.pack(group, element, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    return value + padding if len(value) % 2 else value
