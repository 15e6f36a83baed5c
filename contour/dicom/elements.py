"""Data elements in bytes (PS3.5 section 7): enough to walk the contours of an RTSTRUCT without an object for each.

pydicom makes a data set of every contour, which costs more than all the rest of reading. This walks bytes, in any
uncompressed encoding, and checks every length before it is believed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 16

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))


class BrokenEncoding(ValueError):
    """Bytes that are not data elements: a length that leads past the end, or nesting without end."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value lies: `data[start:stop]`; `explicit` says how elements inside it are encoded."""

    start: int
    stop: int
    explicit: bool


class ElementReader:
    """Walks the data elements of `data`.

    Raises, from every method:
        BrokenEncoding: a length leads past its end, a delimiter is missing, or sequences nest deeper than 16.
    """

    def __init__(self, data: bytes, *, big_endian: bool) -> None:
        self.data = data
        order = ">" if big_endian else "<"
        self._implicit_header = Struct(order + "HHL")
        self._explicit_header = Struct(order + "HH2sH")
        self._length = Struct(order + "L")
        # What has no stated length is walked once to find its end, not again on each level that it is nested in.
        self._sequence_ends: dict[int, tuple[int, int]] = {}
        self._item_ends: dict[int, tuple[int, int]] = {}

    def elements(self, span: Span, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """Tag (group * 65536 + element) and value of each element in `span`; stops at an item's end delimiter."""
        at, explicit = span.start, span.explicit
        header = self._implicit_header
        while at < span.stop:
            if at + 8 > span.stop:
                raise BrokenEncoding(f"an element at byte {at} is cut off")
            if explicit:
                tag, value, length, inner = self._explicit_element(at, span.stop)
            else:
                group, element, length = header.unpack_from(self.data, at)
                tag, value, inner = group << 16 | element, at + 8, False
            if tag == ITEM_END:
                return
            if length == UNDEFINED:
                stop, at = self._sequence_end(Span(value, span.stop, inner), depth + 1)
            else:
                stop = at = value + length
                if stop > span.stop:
                    raise BrokenEncoding(f"element {tag:08X} at byte {value} is longer than what holds it")
            yield tag, Span(value, stop, inner)

    def items(self, span: Span, depth: int = 0) -> Iterator[Span]:
        """The items of a sequence's value."""
        at = span.start
        while at < span.stop:
            if at + 8 > span.stop:
                raise BrokenEncoding(f"an item at byte {at} is cut off")
            group, element, length = self._implicit_header.unpack_from(self.data, at)
            tag = group << 16 | element
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise BrokenEncoding(f"{tag:08X} at byte {at} stands where an item should")
            start = at + 8
            if length == UNDEFINED:
                stop, at = self._item_end(Span(start, span.stop, span.explicit), depth + 1)
            else:
                stop = at = start + length
                if stop > span.stop:
                    raise BrokenEncoding(f"an item at byte {start} is longer than its sequence")
            yield Span(start, stop, span.explicit)

    def value(self, span: Span) -> bytes:
        """The value's bytes without padding at its end."""
        return self.data[span.start : span.stop].rstrip(b" \0")

    def _explicit_element(self, at: int, stop: int) -> tuple[int, int, int, bool]:
        group, element, vr, length = self._explicit_header.unpack_from(self.data, at)
        tag = group << 16 | element
        if group == 0xFFFE:  # items and delimiters have no VR
            return tag, at + 8, self._length.unpack_from(self.data, at + 4)[0], True
        if vr not in _LONG_VRS:
            return tag, at + 8, length, True
        if at + 12 > stop:
            raise BrokenEncoding(f"element {tag:08X} at byte {at} is cut off")
        # A sequence of unknown VR holds implicit VR elements (PS3.5 section 6.2.2).
        return tag, at + 12, self._length.unpack_from(self.data, at + 8)[0], vr != b"UN"

    def _sequence_end(self, span: Span, depth: int) -> tuple[int, int]:
        """Where the value of a sequence of undefined length stops, and where the next element starts."""
        if span.start in self._sequence_ends:
            return self._sequence_ends[span.start]
        if depth > MAX_DEPTH:
            raise BrokenEncoding(f"sequences nest deeper than {MAX_DEPTH}")
        stop = span.start
        for item in self.items(span, depth):
            stop = item.stop
            if self._tag_at(stop, span.stop) == ITEM_END:
                stop += 8
        if self._tag_at(stop, span.stop) != SEQUENCE_END:
            raise BrokenEncoding(f"the sequence at byte {span.start} has no end")
        self._sequence_ends[span.start] = (stop, stop + 8)
        return stop, stop + 8

    def _item_end(self, span: Span, depth: int) -> tuple[int, int]:
        if span.start in self._item_ends:
            return self._item_ends[span.start]
        if depth > MAX_DEPTH:
            raise BrokenEncoding(f"sequences nest deeper than {MAX_DEPTH}")
        stop = span.start
        for _, value in self.elements(span, depth):
            stop = value.stop
            if self._tag_at(stop, span.stop) == SEQUENCE_END:
                stop += 8
        if self._tag_at(stop, span.stop) != ITEM_END:
            raise BrokenEncoding(f"the item at byte {span.start} has no end")
        self._item_ends[span.start] = (stop, stop + 8)
        return stop, stop + 8

    def _tag_at(self, at: int, stop: int) -> int | None:
        if at + 8 > stop:
            return None
        group, element, _ = self._implicit_header.unpack_from(self.data, at)
        return int(group << 16 | element)
