"""One CT or MR slice as its header describes it: PS3.3 C.7.6.1 to C.7.6.3, C.8.2.1 (CT), C.8.3.1 (MR).

Values are read from bytes by the rules of PS3.5 6.2 and refused where they break them: nothing is repaired, and no
default stands in for what decides a position or a value.
"""

import math
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

from contour.core.errors import InputRefused, Reason
from contour.dicom.part10 import FileElements, PixelLocation, Syntax, Wanted

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
UNSPECIFIED_RESCALE_TYPE = "US"  # PS3.3 C.11.1.1.2
MAX_RESCALED = 1e30  # single precision ends at 3.4e38; no scanner comes near
SLICE_CLASSES = frozenset({CT_IMAGE_STORAGE, MR_IMAGE_STORAGE})


class Tag(IntEnum):
    """The elements that reading a series looks at: PS3.6 chapter 6."""

    SPECIFIC_CHARACTER_SET = 0x00080005
    IMAGE_TYPE = 0x00080008
    SOP_CLASS_UID = 0x00080016
    SOP_INSTANCE_UID = 0x00080018
    STUDY_DATE = 0x00080020
    STUDY_TIME = 0x00080030
    ACCESSION_NUMBER = 0x00080050
    MODALITY = 0x00080060
    REFERRING_PHYSICIAN_NAME = 0x00080090
    STUDY_DESCRIPTION = 0x00081030
    SERIES_DESCRIPTION = 0x0008103E
    PATIENT_NAME = 0x00100010
    PATIENT_ID = 0x00100020
    PATIENT_BIRTH_DATE = 0x00100030
    PATIENT_SEX = 0x00100040
    BODY_PART_EXAMINED = 0x00180015
    ECHO_TIME = 0x00180081
    GANTRY_DETECTOR_TILT = 0x00181120
    PATIENT_POSITION = 0x00185100
    STUDY_INSTANCE_UID = 0x0020000D
    SERIES_INSTANCE_UID = 0x0020000E
    STUDY_ID = 0x00200010
    ACQUISITION_NUMBER = 0x00200012
    IMAGE_POSITION_PATIENT = 0x00200032
    IMAGE_ORIENTATION_PATIENT = 0x00200037
    FRAME_OF_REFERENCE_UID = 0x00200052
    TEMPORAL_POSITION_IDENTIFIER = 0x00200100
    POSITION_REFERENCE_INDICATOR = 0x00201040
    SAMPLES_PER_PIXEL = 0x00280002
    PHOTOMETRIC_INTERPRETATION = 0x00280004
    NUMBER_OF_FRAMES = 0x00280008
    ROWS = 0x00280010
    COLUMNS = 0x00280011
    PIXEL_SPACING = 0x00280030
    BITS_ALLOCATED = 0x00280100
    BITS_STORED = 0x00280101
    HIGH_BIT = 0x00280102
    PIXEL_REPRESENTATION = 0x00280103
    PIXEL_PADDING_VALUE = 0x00280120
    PIXEL_PADDING_RANGE_LIMIT = 0x00280121
    RESCALE_INTERCEPT = 0x00281052
    RESCALE_SLOPE = 0x00281053
    RESCALE_TYPE = 0x00281054
    LOSSY_IMAGE_COMPRESSION = 0x00282110
    MODALITY_LUT_SEQUENCE = 0x00283000

    @property
    def label(self) -> str:
        """The element as messages call it, with its tag."""
        words = "".join(_ACRONYMS.get(w, w.capitalize()) for w in self.name.split("_"))
        return f"{words} ({self >> 16:04X},{self & 0xFFFF:04X})"


_ACRONYMS = {"UID": "UID", "ID": "ID", "SOP": "SOP", "LUT": "LUT"}

WANTED = Wanted(frozenset(Tag), SLICE_CLASSES, Tag.SERIES_INSTANCE_UID)

T = TypeVar("T")

_UID = re.compile(r"[0-9.]{1,64}")
_DECIMAL = re.compile(rb" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *")
_INTEGER = re.compile(rb" *[+-]?[0-9]{1,12} *")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a slice stores its pixels: PS3.3 C.7.6.3, PS3.5 8.1.1. `padding` is the inclusive range of stored values."""

    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What one slice says of itself. Positions in mm, LPS; `pixel_spacing_yx_mm` is row spacing, column spacing."""

    file: Path
    name: str
    file_bytes: int
    syntax: Syntax
    data_set_start: int
    pixels: PixelLocation
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    derived: bool
    patient: tuple[bytes, bytes]
    position_lps_mm: tuple[float, float, float]
    row_direction_lps: tuple[float, float, float]
    column_direction_lps: tuple[float, float, float]
    shape_yx: tuple[int, int]
    pixel_spacing_yx_mm: tuple[float, float]
    pixel_format: PixelFormat
    slope: float
    intercept: float
    rescale_type: str
    tilt_degrees: float
    lossy: bool
    phase: tuple[tuple[str, str], ...]


def parse_slice(elements: FileElements) -> SliceHeader:
    """The typed header of a CT or MR slice.

    Raises:
        InputRefused: the file is damaged, an attribute is missing or breaks its value representation, or the pixels
            are of a kind that is not read.
    """
    if elements.problem is not None:
        raise elements.problem
    values = Values(elements)
    modality = values.code(Tag.MODALITY)
    sop_class = values.uid(Tag.SOP_CLASS_UID)
    if (sop_class, modality) not in ((CT_IMAGE_STORAGE, "CT"), (MR_IMAGE_STORAGE, "MR")):
        allowed = "CT with CT Image Storage, MR with MR Image Storage"
        raise values.refused(Reason.INVALID_ATTRIBUTE, f"modality {modality!r} with SOP class {sop_class}", allowed)
    if Tag.FRAME_OF_REFERENCE_UID not in values or not values.text(Tag.FRAME_OF_REFERENCE_UID):
        found = f"no {Tag.FRAME_OF_REFERENCE_UID.label}"
        raise values.refused(Reason.NO_FRAME_OF_REFERENCE, found, "images with a frame of reference")
    position = values.decimals(Tag.IMAGE_POSITION_PATIENT, 3)
    cosines = values.decimals(Tag.IMAGE_ORIENTATION_PATIENT, 6)
    slope, intercept = _rescale(values, modality)
    return SliceHeader(
        file=elements.file,
        name=elements.name,
        file_bytes=elements.file_bytes,
        syntax=elements.syntax,
        data_set_start=elements.data_set_start,
        pixels=_pixels(elements, values),
        sop_class_uid=sop_class,
        sop_instance_uid=values.uid(Tag.SOP_INSTANCE_UID),
        study_instance_uid=values.uid(Tag.STUDY_INSTANCE_UID),
        series_instance_uid=values.uid(Tag.SERIES_INSTANCE_UID),
        frame_of_reference_uid=values.uid(Tag.FRAME_OF_REFERENCE_UID),
        modality=modality,
        derived=values.code(Tag.IMAGE_TYPE, missing="").startswith("DERIVED"),
        patient=(values.raw(Tag.PATIENT_NAME), values.raw(Tag.PATIENT_ID)),
        position_lps_mm=(position[0], position[1], position[2]),
        row_direction_lps=(cosines[0], cosines[1], cosines[2]),
        column_direction_lps=(cosines[3], cosines[4], cosines[5]),
        shape_yx=_shape(values),
        pixel_spacing_yx_mm=_pixel_spacing(values),
        pixel_format=_pixel_format(values),
        slope=slope,
        intercept=intercept,
        rescale_type=values.code(Tag.RESCALE_TYPE, missing=""),
        tilt_degrees=values.decimals(Tag.GANTRY_DETECTOR_TILT, 1, missing=(0.0,))[0],
        lossy=values.code(Tag.LOSSY_IMAGE_COMPRESSION, missing="") == "01",
        phase=tuple((t.label, values.text(t)) for t in _PHASE_TAGS),
    )


# What tells apart the slices that several phases, echoes or diffusion weightings put at one position.
_PHASE_TAGS = (
    Tag.ACQUISITION_NUMBER,
    Tag.TEMPORAL_POSITION_IDENTIFIER,
    Tag.ECHO_TIME,
    Tag.IMAGE_TYPE,
    Tag.SERIES_DESCRIPTION,
)


class Values:
    """Typed access to the raw elements of one file; every refusal names the file and the element."""

    def __init__(self, elements: FileElements) -> None:
        self._name = elements.name
        self._values = elements.values
        self._byte_order = "big" if elements.syntax.big_endian else "little"

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._values

    def refused(self, reason: Reason, found: str, allowed: str) -> InputRefused:
        """The error to raise for this file."""
        return InputRefused(reason, self._name, found, allowed)

    def invalid(self, tag: Tag, allowed: str, reason: Reason = Reason.INVALID_ATTRIBUTE) -> InputRefused:
        """The error for a value of `tag` that is not allowed."""
        return self.refused(reason, f"{tag.label} is {self.text(tag)[:80]!r}", allowed)

    def raw(self, tag: Tag) -> bytes:
        """The bytes of a value without its padding; empty where it is absent."""
        return self._values.get(tag, b"").strip(b"\0 ")

    def text(self, tag: Tag) -> str:
        """A value for messages and comparisons, ASCII only."""
        return self.raw(tag).decode("ascii", errors="backslashreplace")

    def code(self, tag: Tag, *, missing: str | None = None) -> str:
        """A code string; `missing` is used where the element is absent or empty."""
        return self.text(tag) or self._required(tag, missing)

    def uid(self, tag: Tag) -> str:
        """A UID of 1 to 64 digits and periods: nothing that could be a path."""
        uid = self.text(tag) or self._required(tag, None)
        if not _UID.fullmatch(uid):
            raise self.invalid(tag, "1 to 64 digits and periods", Reason.INVALID_UID)
        return uid

    def decimals(self, tag: Tag, count: int, *, missing: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """`count` finite decimal strings (PS3.5 6.2, DS)."""
        if not self.raw(tag):
            return self._required(tag, missing)
        parts = self.raw(tag).split(b"\\")
        if len(parts) != count or not all(_DECIMAL.fullmatch(p) for p in parts):
            raise self.invalid(tag, f"{count} decimal number{'s' if count > 1 else ''}")
        numbers = tuple(float(p) for p in parts)
        if not all(math.isfinite(n) for n in numbers):
            raise self.invalid(tag, "finite numbers")
        return numbers

    def integer(self, tag: Tag, *, missing: int | None = None) -> int:
        """An integer string (IS)."""
        if not self.raw(tag):
            return self._required(tag, missing)
        if not _INTEGER.fullmatch(self.raw(tag)):
            raise self.invalid(tag, "an integer")
        return int(self.raw(tag))

    def short(self, tag: Tag, *, missing: int | None = None) -> int:
        """An unsigned 16-bit number (US)."""
        value = self._values.get(tag, b"")
        if not value:
            return self._required(tag, missing)
        if len(value) != 2:
            raise self.refused(Reason.INVALID_ATTRIBUTE, f"{tag.label} has {len(value)} bytes", "2 bytes")
        return int.from_bytes(value, "big" if self._byte_order == "big" else "little")

    def _required(self, tag: Tag, missing: T | None) -> T:
        if missing is None:
            raise self.refused(Reason.MISSING_ATTRIBUTE, f"no value of {tag.label}", "images that state it")
        return missing


def _shape(values: Values) -> tuple[int, int]:
    rows, columns = values.short(Tag.ROWS), values.short(Tag.COLUMNS)
    if min(rows, columns) < 1:
        raise values.refused(Reason.INVALID_ATTRIBUTE, f"{rows} rows, {columns} columns", "at least 1 of each")
    return rows, columns


def _pixel_spacing(values: Values) -> tuple[float, float]:
    row_spacing, column_spacing = values.decimals(Tag.PIXEL_SPACING, 2)
    if min(row_spacing, column_spacing) <= 0:
        raise values.invalid(Tag.PIXEL_SPACING, "spacings above 0 mm")
    return row_spacing, column_spacing


def _rescale(values: Values, modality: str) -> tuple[float, float]:
    """Slope and intercept; an MR image may have none (PS3.3 C.11.1), a CT image must (C.8.2.1)."""
    if Tag.MODALITY_LUT_SEQUENCE in values:
        raise values.refused(Reason.UNSUPPORTED_PIXELS, Tag.MODALITY_LUT_SEQUENCE.label, "rescale slope and intercept")
    optional = modality == "MR"
    (slope,) = values.decimals(Tag.RESCALE_SLOPE, 1, missing=(1.0,) if optional else None)
    (intercept,) = values.decimals(Tag.RESCALE_INTERCEPT, 1, missing=(0.0,) if optional else None)
    if slope <= 0:
        raise values.invalid(Tag.RESCALE_SLOPE, "a slope above 0")
    if slope * 0xFFFF + abs(intercept) > MAX_RESCALED:
        found = f"{Tag.RESCALE_SLOPE.label} is {slope:g}, {Tag.RESCALE_INTERCEPT.label} {intercept:g}"
        raise values.refused(Reason.INVALID_ATTRIBUTE, found, f"values up to {MAX_RESCALED:g}")
    if modality == "CT" and values.code(Tag.RESCALE_TYPE, missing="HU") not in ("HU", UNSPECIFIED_RESCALE_TYPE):
        raise values.invalid(Tag.RESCALE_TYPE, "HU", Reason.UNSUPPORTED_PIXELS)  # densities, atomic numbers, ...
    return slope, intercept


def _pixels(elements: FileElements, values: Values) -> PixelLocation:
    if values.integer(Tag.NUMBER_OF_FRAMES, missing=1) != 1:
        raise values.invalid(Tag.NUMBER_OF_FRAMES, "one slice a file", Reason.UNSUPPORTED_OBJECT)
    if elements.pixels is None:
        raise values.refused(Reason.UNSUPPORTED_PIXELS, "floating-point pixels", "integer PixelData (7FE0,0010)")
    return elements.pixels


def _pixel_format(values: Values) -> PixelFormat:
    if values.short(Tag.SAMPLES_PER_PIXEL) != 1 or values.code(Tag.PHOTOMETRIC_INTERPRETATION) != "MONOCHROME2":
        found = f"{values.short(Tag.SAMPLES_PER_PIXEL)} samples, {values.text(Tag.PHOTOMETRIC_INTERPRETATION)}"
        raise values.refused(Reason.UNSUPPORTED_PIXELS, found, "one sample, MONOCHROME2")
    allocated, stored = values.short(Tag.BITS_ALLOCATED), values.short(Tag.BITS_STORED)
    high, representation = values.short(Tag.HIGH_BIT), values.short(Tag.PIXEL_REPRESENTATION)
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1 or representation not in (0, 1):
        found = f"{stored} bits stored of {allocated}, high bit {high}, pixel representation {representation}"
        allowed = "8 or 16 bits allocated, no more stored, the high bit one below, representation 0 or 1"
        raise values.refused(Reason.UNSUPPORTED_PIXELS, found, allowed)
    return PixelFormat(allocated, stored, representation == 1, _padding(values, allocated, signed=representation == 1))


def _padding(values: Values, bits_allocated: int, *, signed: bool) -> tuple[int, int] | None:
    """The stored values that are padding, PS3.3 C.7.5.1.1.2: the value, or the range between value and limit."""
    if Tag.PIXEL_PADDING_VALUE not in values:
        return None
    ends = [values.short(Tag.PIXEL_PADDING_VALUE)]
    ends.append(values.short(Tag.PIXEL_PADDING_RANGE_LIMIT, missing=ends[0]))
    if signed:  # written as US or SS, the bits are the same
        ends = [e - 0x10000 if e >= 0x8000 else e for e in ends]
    if bits_allocated == 8:
        ends = [e & 0xFF for e in ends]
    return min(ends), max(ends)
