"""The top-level elements of a DICOM file up to its pixels, as bytes: PS3.10 section 7.1, PS3.5 section 7 and annex A.

A hospital's folder holds hundreds of files, each with a hundred elements, of which reading an image needs forty. This
walk costs a tenth of a general parser, and it never trusts the file: every length is held against the file's size,
nesting is bounded, and a deflated data set is inflated only as far as it is needed. Elements inside sequences are
passed over: what decides a single-frame image stands at the top level.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from contour.core.errors import InputRefused, Reason

FIRST_READ_BYTES = 16 * 1024
MAX_NESTING = 32

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_OTHER_PIXELS = frozenset({0x7FE00008, 0x7FE00009})  # Float and Double Float Pixel Data
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)

_MEDIA_STORAGE_SOP_CLASS = 0x00020002
_TRANSFER_SYNTAX = 0x00020010


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a transfer syntax writes its data set: PS3.5 annex A."""

    uid: str
    explicit: bool = True
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False


_NATIVE_SYNTAXES = (
    Syntax("1.2.840.10008.1.2", explicit=False),
    Syntax("1.2.840.10008.1.2.1"),
    Syntax("1.2.840.10008.1.2.1.99", deflated=True),
    Syntax("1.2.840.10008.1.2.2", big_endian=True),
)


def syntax_of(uid: str) -> Syntax:
    """The encoding of a transfer syntax. All others than the four native ones encapsulate and are explicit VR LE."""
    return next((s for s in _NATIVE_SYNTAXES if s.uid == uid), Syntax(uid, encapsulated=True))


@dataclass(frozen=True, slots=True)
class PixelLocation:
    """Where the value of Pixel Data starts and how long it is.

    `offset` counts in the file, or in the inflated data set of a deflated file. `length` is None when encapsulated.
    """

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class FileElements:
    """What was read of one file.

    `name` is how messages call the file. `values` holds the raw bytes of the wanted elements by tag, read as far as
    possible; `data_set_start` is where the data set begins in the file; `problem` says why the walk ended early (None:
    it did not).
    """

    file: Path
    name: str
    file_bytes: int
    media_storage_sop_class_uid: str
    syntax: Syntax
    data_set_start: int
    values: dict[int, bytes]
    pixels: PixelLocation | None
    other_pixels: bool
    problem: InputRefused | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which elements to keep: `tags` from all files; beyond `last_tag_of_others` only those of `image_classes`."""

    tags: frozenset[int]
    image_classes: frozenset[str]
    last_tag_of_others: int


def read_elements(file: Path, name: str, wanted: Wanted, max_header_bytes: int) -> FileElements | None:
    """The wanted elements of one file, or None where it is not a DICOM Part 10 file.

    Pixels are located, not read. A file that ends early, or whose elements cannot be followed, comes back with its
    `problem` and what stood before it.
    """
    try:
        with file.open("rb", buffering=0) as stream:
            return _read(stream, file, name, wanted, max_header_bytes)
    except OSError as error:
        problem = InputRefused(Reason.UNREADABLE_FILE, name, f"cannot be read ({error.strerror})", "a readable file")
        return FileElements(file, name, 0, "", syntax_of(""), 0, {}, None, False, problem)


def elements_of(content: bytes, name: str, wanted: Wanted, max_header_bytes: int) -> FileElements | None:
    """As `read_elements`, of a file's bytes that lie in memory."""
    return _read(io.BytesIO(content), Path(name), name, wanted, max_header_bytes)


class Inflater:
    """Reads a raw deflate stream (PS3.5 A.5) in bounded pieces.

    Raises:
        zlib.error: the stream is damaged (on `read`).
    """

    def __init__(self, stream: BinaryIO, stored_bytes: int) -> None:
        self._stream = stream
        self._left = stored_bytes
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._dry = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._inflater.eof or self._dry

    @property
    def complete(self) -> bool:
        """Whether the stream's own end was met, not only the file's."""
        return self._inflater.eof

    def read(self, count: int) -> bytes:
        """The next `count` inflated bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while count > 0 and not self.ended:
            stored = self._inflater.unconsumed_tail
            if not stored:
                stored = self._stream.read(min(self._left, 64 * 1024))
                self._left -= len(stored)
            piece = self._inflater.decompress(stored, count)
            self._dry = not piece and not stored
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def read_fully(stream: BinaryIO, count: int) -> bytes:
    """`count` bytes, or fewer at the file's end; an unbuffered stream may need several reads."""
    pieces: list[bytes] = []
    while count > 0 and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class _NeedMore(Exception):
    """The walk left the bytes at hand; `upto` is where it wants to read."""

    def __init__(self, upto: int) -> None:
        super().__init__(upto)
        self.upto = upto


class _TooLong(Exception):
    """More than `limit` bytes stand before the pixels."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class _Garbled(Exception):
    """The bytes at hand are not DICOM elements."""


class _Plain:
    """The bytes of a file from its start; the data set begins at `start`."""

    def __init__(self, stream: BinaryIO, head: bytes, start: int, file_bytes: int) -> None:
        self.start = start
        self.data = head
        self._stream = stream
        self._file_bytes = file_bytes

    @property
    def ended(self) -> bool:
        return len(self.data) >= self._file_bytes

    def grow(self, upto: int) -> None:
        """Read on to `upto` bytes or the file's end."""
        self._stream.seek(len(self.data))
        piece = read_fully(self._stream, min(upto, self._file_bytes) - len(self.data))
        if not piece:  # the file shrank while it was read
            self._file_bytes = len(self.data)
        self.data += piece


class _Inflated:
    """The inflated data set of a deflated file, only as much of it as was asked for."""

    def __init__(self, stream: BinaryIO, start: int, file_bytes: int) -> None:
        self.start = 0
        stream.seek(start)
        self._inflater = Inflater(stream, file_bytes - start)
        self.data = self._inflater.read(FIRST_READ_BYTES)

    @property
    def ended(self) -> bool:
        return self._inflater.ended

    def grow(self, upto: int) -> None:
        """Inflate on to `upto` bytes or the stream's end."""
        self.data += self._inflater.read(upto - len(self.data))


@dataclass(slots=True)
class _Walk:
    """What a walk over a data set wants, may read, and has met so far."""

    tags: frozenset[int]
    last_tag: int
    max_header_bytes: int
    values: dict[int, bytes]
    pixels: PixelLocation | None = None
    other_pixels: bool = False


def _read(stream: BinaryIO, file: Path, name: str, wanted: Wanted, max_header_bytes: int) -> FileElements | None:
    head = read_fully(stream, FIRST_READ_BYTES)
    if head[128:132] != b"DICM":
        return None
    file_bytes = stream.seek(0, 2)
    meta: dict[int, bytes] = {}
    walk = _Walk(wanted.tags, wanted.last_tag_of_others, max_header_bytes, {})
    syntax, start, sop_class, problem = syntax_of(""), 0, "", None
    try:
        start = _meta_end(head, meta)
        if _TRANSFER_SYNTAX not in meta:
            raise _Garbled("no Transfer Syntax UID (0002,0010)")
        syntax = syntax_of(_uid(meta[_TRANSFER_SYNTAX]))
        sop_class = _uid(meta.get(_MEDIA_STORAGE_SOP_CLASS, b""))
        if sop_class in wanted.image_classes:
            walk.last_tag = 0xFFFFFFFF
        source = _Inflated(stream, start, file_bytes) if syntax.deflated else _Plain(stream, head, start, file_bytes)
        _walk_growing(source, syntax, walk)
        if sop_class in wanted.image_classes and walk.pixels is None and not walk.other_pixels:
            # Cut between two elements, or a header alone: either way not an image.
            found = f"has {file_bytes} bytes and ends before PixelData (7FE0,0010)"
            problem = InputRefused(Reason.TRUNCATED_FILE, name, found, "whole files")
    except _NeedMore as error:
        found = f"has {file_bytes} bytes and ends inside an element that reaches to byte {error.upto}"
        problem = InputRefused(Reason.TRUNCATED_FILE, name, found, "whole files")
    except _TooLong as error:
        found = f"more than {error.limit} bytes stand before the pixels"
        problem = InputRefused(Reason.TOO_LARGE, name, found, f"at most {error.limit} bytes")
    except (_Garbled, zlib.error) as error:
        problem = InputRefused(Reason.UNREADABLE_FILE, name, f"cannot be followed ({error})", "DICOM PS3.10 files")
    located = (walk.pixels, walk.other_pixels, problem)
    return FileElements(file, name, file_bytes, sop_class, syntax, start, walk.values, *located)


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", errors="backslashreplace")


def _meta_end(head: bytes, meta: dict[int, bytes]) -> int:
    """Collect the file meta information (always explicit VR LE) into `meta`; where the data set begins."""
    offset = 132
    while head[offset : offset + 2] == b"\x02\x00":
        tag, start, length, _ = _element(head, offset, explicit=True, prefix="<")
        offset = start + length
        if offset > len(head):
            raise _NeedMore(offset)
        meta[tag] = head[start:offset]
    return offset


def _walk_growing(source: _Plain | _Inflated, syntax: Syntax, walk: _Walk) -> None:
    """Walk the data set, reading on and starting again wherever the walk leaves the bytes at hand."""
    while True:
        try:
            _walk_top_level(source, syntax, walk)
            return
        except _NeedMore as error:
            if source.ended:
                raise
            if error.upto > walk.max_header_bytes:
                raise _TooLong(walk.max_header_bytes) from None
            source.grow(min(max(error.upto, 2 * len(source.data)), walk.max_header_bytes))


def _walk_top_level(source: _Plain | _Inflated, syntax: Syntax, walk: _Walk) -> None:
    data, offset = source.data, source.start
    explicit = _looks_explicit(data, offset, syntax)
    prefix = ">" if syntax.big_endian else "<"
    while offset < len(data) or not source.ended:
        tag, start, length, vr = _element(data, offset, explicit=explicit, prefix=prefix)
        if tag == _PIXELS:
            walk.pixels = PixelLocation(start, None if length == _UNDEFINED else length)
            return
        if tag > walk.last_tag:
            return
        walk.other_pixels |= tag in _OTHER_PIXELS
        if length == _UNDEFINED:
            # Of an unknown VR the content is implicit VR LE, whatever surrounds it: PS3.5 6.2.2 note 4.
            form = (False, "<") if vr == b"UN" else (explicit, prefix)
            offset = _sequence_end(data, start, form, 1)
            if tag in walk.tags:
                walk.values[tag] = b""
            continue
        offset = start + length
        if offset > len(data):
            raise _NeedMore(offset)
        if tag in walk.tags:
            walk.values[tag] = data[start:offset]


def _looks_explicit(data: bytes, offset: int, syntax: Syntax) -> bool:
    """Whether the first element carries a VR: some writers declare one encoding and use the other."""
    vr = data[offset + 4 : offset + 6]
    return syntax.explicit if len(vr) < 2 else vr in _SHORT_VRS or vr in _LONG_VRS


_EXPLICIT = {"<": struct.Struct("<HH2sH"), ">": struct.Struct(">HH2sH")}
_IMPLICIT = {"<": struct.Struct("<HHL"), ">": struct.Struct(">HHL")}
_LENGTH = {"<": struct.Struct("<L"), ">": struct.Struct(">L")}


def _element(data: bytes, offset: int, *, explicit: bool, prefix: str) -> tuple[int, int, int, bytes]:
    """(tag, where the value starts, its length, VR or b"") of the element at `offset`."""
    if offset + 8 > len(data):
        raise _NeedMore(offset + 8)
    if not explicit:
        group, number, length = _IMPLICIT[prefix].unpack_from(data, offset)
        return group << 16 | number, offset + 8, length, b""
    group, number, vr, length = _EXPLICIT[prefix].unpack_from(data, offset)
    if vr in _SHORT_VRS:
        return group << 16 | number, offset + 8, length, vr
    if group == 0xFFFE:  # items and delimiters have no VR
        return group << 16 | number, offset + 8, _LENGTH[prefix].unpack_from(data, offset + 4)[0], b""
    if not (vr.isalpha() and vr.isupper()):
        raise _Garbled(f"no value representation at byte {offset}")
    if offset + 12 > len(data):
        raise _NeedMore(offset + 12)
    # Value representations yet to be invented have the long form, too: PS3.5 7.1.2.
    return group << 16 | number, offset + 12, _LENGTH[prefix].unpack_from(data, offset + 8)[0], vr


def _sequence_end(data: bytes, offset: int, form: tuple[bool, str], depth: int) -> int:
    """The offset behind the delimiter of the sequence whose first item is at `offset`."""
    if depth > MAX_NESTING:
        raise _Garbled(f"sequences nest deeper than {MAX_NESTING}")
    while True:
        tag, start, length, _ = _element(data, offset, explicit=False, prefix=form[1])
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM:
            raise _Garbled(f"no sequence item at byte {offset}")
        offset = start + length if length != _UNDEFINED else _item_end(data, start, form, depth)


def _item_end(data: bytes, offset: int, form: tuple[bool, str], depth: int) -> int:
    explicit, prefix = form
    while True:
        tag, start, length, vr = _element(data, offset, explicit=explicit, prefix=prefix)
        if tag == _ITEM_END:
            return start
        if length == _UNDEFINED:
            offset = _sequence_end(data, start, (False, "<") if vr == b"UN" else form, depth + 1)
        else:
            offset = start + length
