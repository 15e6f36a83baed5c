"""An RTSTRUCT's bytes as `RtstructContents`: the reading path, which shares no code with the writing one."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import TEXT_VR_DELIMS, convert_encodings, decode_bytes, python_encoding

from contour.core.errors import InputRefused, Reason
from contour.core.nomenclature import Code, Rgb
from contour.dicom.decimals import parse_decimals
from contour.dicom.elements import BrokenEncoding, ElementReader, Span
from contour.dicom.rtstruct_contents import (
    ReferencedSeries,
    RoiContours,
    RoiDefinition,
    RoiObservation,
    RtstructContents,
)

MAX_FILE_BYTES = 1 << 30
MAX_COORDINATE_MM = 1e6
MAX_INTEGER_BYTES = 12

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
TRANSFER_SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG)

_PREAMBLE = 128
_META_START = _PREAMBLE + 4


def read_contours(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> RtstructContents:
    """Everything that the RTSTRUCT at `path` says, without an image to hold it against.

    Any uncompressed or deflated transfer syntax. Faults of meaning (dangling references, wrong counts) are left for
    `check_rtstruct`.

    Raises:
        InputRefused: no DICOM Part 10 file, another object, a file over `max_bytes` (deflated ones as inflated), a
            transfer syntax other than the four above, broken encoding, or a number that is none.
    """
    where = str(path)
    data = _file_bytes(path, max_bytes)
    if data[_PREAMBLE:_META_START] != b"DICM":
        raise InputRefused(Reason.UNREADABLE_FILE, where, "has no DICM mark at byte 128", "a DICOM Part 10 file")
    try:
        syntax, body_start = _file_meta(data)
        if syntax not in TRANSFER_SYNTAXES:
            allowed = ", ".join(TRANSFER_SYNTAXES)
            raise InputRefused(Reason.UNSUPPORTED_TRANSFER_SYNTAX, where, f"transfer syntax {syntax!r}", allowed)
        if syntax == DEFLATED_LITTLE:
            data, body_start = _inflated(data[body_start:], max_bytes, where), 0
        reader = ElementReader(data, big_endian=syntax == EXPLICIT_BIG)
        root = _Item(reader, Span(body_start, len(data), explicit=syntax != IMPLICIT_LITTLE), encodings=())
        return _contents(path, syntax, root)
    except BrokenEncoding as error:
        raise InputRefused(Reason.TRUNCATED_FILE, where, str(error), "complete data elements") from error


def _file_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputRefused(Reason.TOO_LARGE, str(path), f"{size} bytes", f"{max_bytes} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputRefused(Reason.UNREADABLE_FILE, str(path), error.strerror or "?", "a readable file") from error


def _file_meta(data: bytes) -> tuple[str, int]:
    """Transfer syntax, and where the data set starts."""
    reader = ElementReader(data, big_endian=False)
    syntax, stop = "", _META_START
    while data[stop : stop + 2] == b"\x02\x00":  # the group of the file's meta information
        tag, value = next(reader.elements(Span(stop, len(data), explicit=True)))
        if tag == 0x00020010:
            syntax = reader.value(value).decode("ascii", "replace")
        stop = value.stop
    return syntax, stop


def _inflated(deflated: bytes, max_bytes: int, where: str) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, max_bytes)
    except zlib.error as error:
        raise InputRefused(Reason.TRUNCATED_FILE, where, f"cannot be inflated ({error})", "deflated data") from error
    if not inflater.eof:
        if len(data) >= max_bytes:
            raise InputRefused(Reason.TOO_LARGE, where, "inflates beyond the limit", f"{max_bytes} bytes")
        raise InputRefused(Reason.TRUNCATED_FILE, where, "its deflated data end early", "complete data")
    return data


class _Item:
    """One data set: the root or an item of a sequence. The first element of a tag counts."""

    def __init__(self, reader: ElementReader, span: Span, encodings: Sequence[str]) -> None:
        self._reader = reader
        self._spans: dict[int, Span] = {}
        for tag, value in reader.elements(span):
            self._spans.setdefault(tag, value)
        terms = self.texts(0x00080005)
        self._encodings = terms or tuple(encodings)

    def raw(self, tag: int) -> bytes:
        """The value's bytes without padding; empty where the element is absent."""
        span = self._spans.get(tag)
        return b"" if span is None else self._reader.value(span)

    def encoded(self, tag: int) -> bytes:
        """All bytes of the value: equal ones mean equal content."""
        span = self._spans.get(tag)
        return b"" if span is None else self._reader.data[span.start : span.stop]

    def ascii(self, tag: int) -> str:
        """A value of the default repertoire: UIDs, codes, numbers."""
        return self.raw(tag).decode("ascii", "replace").strip()

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of a multi-valued element of the default repertoire."""
        return tuple(text.strip() for text in self.ascii(tag).split("\\")) if self.raw(tag) else ()

    def text(self, tag: int) -> str:
        """Text in the data set's character set."""
        return _decoded(self.raw(tag), self._encodings).strip()

    def integer(self, tag: int) -> int | None:
        """An integer string (IS, PS3.5 section 6.2: 32 bits); None where absent or no such integer."""
        text = self.ascii(tag)
        try:
            number = int(text) if len(text) <= MAX_INTEGER_BYTES else None
        except ValueError:
            return None
        return number if number is not None and -(2**31) <= number < 2**31 else None

    def items(self, tag: int) -> list["_Item"]:
        """The items of a sequence."""
        span = self._spans.get(tag)
        if span is None:
            return []
        return [_Item(self._reader, item, self._encodings) for item in self._reader.items(span)]


def _decoded(raw: bytes, terms: Sequence[str]) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if not all(term in python_encoding for term in terms):
        return raw.decode("ascii", "replace")
    if len(terms) == 1:
        return raw.decode(python_encoding[terms[0]], "replace")
    return str(decode_bytes(raw, convert_encodings(list(terms)), TEXT_VR_DELIMS))


def _contents(path: Path, syntax: str, root: _Item) -> RtstructContents:
    frames = root.items(0x30060010)
    image_uids = _ImageUids(cache={})
    return RtstructContents(
        path=path,
        transfer_syntax_uid=syntax,
        specific_character_set=root.texts(0x00080005),
        sop_class_uid=root.ascii(0x00080016),
        sop_instance_uid=root.ascii(0x00080018),
        modality=root.ascii(0x00080060),
        patient_name=root.text(0x00100010),
        patient_id=root.text(0x00100020),
        patient_birth_date=root.ascii(0x00100030),
        patient_sex=root.ascii(0x00100040),
        study_instance_uid=root.ascii(0x0020000D),
        series_instance_uid=root.ascii(0x0020000E),
        manufacturer=root.text(0x00080070),
        software_versions=tuple(root.text(0x00181020).split("\\")) if root.raw(0x00181020) else (),
        label=root.text(0x30060002),
        name=root.text(0x30060004),
        description=root.text(0x30060006),
        structure_set_date=root.ascii(0x30060008),
        structure_set_time=root.ascii(0x30060009),
        approval_status=root.ascii(0x300E0002),
        frame_of_reference_uid=root.ascii(0x00200052),
        referenced_frames=tuple(frame.ascii(0x00200052) for frame in frames),
        references=tuple(reference for frame in frames for reference in _references(frame)),
        rois=tuple(_definition(path, item) for item in root.items(0x30060020)),
        contours=tuple(_roi_contours(path, item, image_uids) for item in root.items(0x30060039)),
        observations=tuple(_observation(path, item) for item in root.items(0x30060080)),
    )


def _references(frame: _Item) -> list[ReferencedSeries]:
    return [
        ReferencedSeries(
            frame_of_reference_uid=frame.ascii(0x00200052),
            study_instance_uid=study.ascii(0x00081155),
            series_instance_uid=series.ascii(0x0020000E),
            sop_instance_uids=tuple(image.ascii(0x00081155) for image in series.items(0x30060016)),
        )
        for study in frame.items(0x30060012)
        for series in study.items(0x30060014)
    ]


def _definition(path: Path, item: _Item) -> RoiDefinition:
    return RoiDefinition(
        number=_number(path, item, 0x30060022, "ROI Number"),
        name=item.text(0x30060026),
        frame_of_reference_uid=item.ascii(0x30060024),
        generation_algorithm=item.ascii(0x30060036),
        generation_description=item.text(0x30060038),
        description=item.text(0x30060028),
    )


def _observation(path: Path, item: _Item) -> RoiObservation:
    codes = item.items(0x30060086)
    sides = codes[0].items(0x00620011) if codes else []
    return RoiObservation(
        number=_number(path, item, 0x30060082, "Observation Number"),
        roi_number=_number(path, item, 0x30060084, "Referenced ROI Number"),
        interpreted_type=item.ascii(0x300600A4),
        code=_code(codes[0]) if codes else None,
        laterality=_code(sides[0]) if sides else None,
    )


def _code(item: _Item) -> Code:
    return Code(item.ascii(0x00080100), item.ascii(0x00080102), item.text(0x00080104))


def _number(path: Path, item: _Item, tag: int, name: str) -> int:
    number = item.integer(tag)
    if number is None:
        raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), f"{name} {item.ascii(tag)!r}", "an integer")
    return number


@dataclass(frozen=True)
class _ImageUids:
    """SOP Instances by the bytes that name them: thousands of contours repeat the same few hundred references."""

    cache: dict[bytes, tuple[str, ...]]

    def of(self, contour: _Item) -> tuple[str, ...]:
        encoded = contour.encoded(0x30060016)
        if encoded not in self.cache:
            self.cache[encoded] = tuple(image.ascii(0x00081155) for image in contour.items(0x30060016))
        return self.cache[encoded]


def _roi_contours(path: Path, item: _Item, image_uids: _ImageUids) -> RoiContours:
    roi_number = _number(path, item, 0x30060084, "Referenced ROI Number")
    contours = item.items(0x30060040)
    texts = [contour.raw(0x30060050) for contour in contours]
    try:
        parsed = parse_decimals(b"\\".join(text for text in texts if text))
    except ValueError as error:
        where, found = f"{path}, contours of ROI {roi_number}", f"Contour Data: {error}"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, where, found, "decimal numbers") from error
    if np.abs(parsed.values).max(initial=0.0) > MAX_COORDINATE_MM:
        found = f"a coordinate of {float(np.abs(parsed.values).max()):g} mm"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, f"{path}, contours of ROI {roi_number}", found, "within 1 km")
    counts = np.array([text.count(b"\\") + 1 if text else 0 for text in texts], dtype=np.int64)
    stated = [contour.integer(0x30060046) for contour in contours]
    starts = np.zeros(len(contours) + 1, dtype=np.intp)
    np.cumsum(counts // 3, out=starts[1:])
    return RoiContours(
        roi_number=roi_number,
        color_rgb=_color(item),
        points_lps_mm=_points(parsed.values, counts),
        starts=starts,
        geometric_types=tuple(contour.ascii(0x30060042) for contour in contours),
        stated_points=np.array([-1 if n is None else n for n in stated], dtype=np.int64),
        value_counts=counts,
        image_uids=tuple(image_uids.of(contour) for contour in contours),
        longest_decimal=parsed.longest,
        data_bytes=np.array([len(text) for text in texts], dtype=np.int64),
    )


def _points(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values as points (n, 3); those of a contour beyond a multiple of three belong to no point."""
    if not np.any(counts % 3):
        return values.reshape(-1, 3)
    place = np.arange(values.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return values[place < np.repeat(counts - counts % 3, counts)].reshape(-1, 3)


def _color(item: _Item) -> Rgb | None:
    try:
        red, green, blue = (int(text) for text in item.texts(0x3006002A))
    except ValueError:
        return None
    return red, green, blue
