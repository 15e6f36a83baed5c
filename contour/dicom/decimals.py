"""Decimal strings (DS, PS3.5 section 6.2) by the million: coordinates to text and back without a loop over numbers."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_DS_BYTES = 16
DECIMALS = 3  # micrometres: far below any voxel, and ten characters for any patient

_SCALE = 10**DECIMALS
_TABLED = 10_000  # whole millimetres on either side of 0 that are looked up; beyond 10 m each number is formatted
_POINT, _MINUS, _BACKSLASH, _SPACE, _ZERO = b".-\\ 0"
_POWERS = 10.0 ** np.arange(MAX_DS_BYTES + 1)
_CHUNK = 1 << 16  # values worked on at a time stay in the processor's cache


@dataclass(frozen=True)
class DecimalTexts:
    """The values of several DS attributes one after the other: value `i` is `text[starts[i]:starts[i + 1]]`, padded."""

    text: bytes
    starts: NDArray[np.intp]


def format_decimals(values: NDArray[np.float64], starts: NDArray[np.intp]) -> DecimalTexts:
    r"""`values` with three decimals and `\` between them, padded to even length for each attribute.

    Attribute `i` holds `values[starts[i]:starts[i + 1]]`; none may be empty.

    Raises:
        ValueError: a value that is not finite or needs more than 16 characters.
    """
    if values.size == 0:
        return DecimalTexts(b"", np.zeros(starts.size, dtype=np.intp))
    largest = float(np.abs(values).max())
    if not largest < 10 ** (MAX_DS_BYTES - DECIMALS - 2):
        raise ValueError(f"value {largest}: does not fit {MAX_DS_BYTES} characters")
    last = starts[1:] - 1
    if largest >= _TABLED - 1:
        records, lengths = _formatted_records(values)
    else:
        records, lengths = _looked_up_records(values)
    # Every record ends in a backslash, which the last one of an attribute swaps for its padding.
    sizes = np.add.reduceat(lengths, starts[:-1]) - 1
    odd = sizes % 2 == 1
    records[last, -1] = np.where(odd, _SPACE, 0)
    text = records.tobytes().translate(None, b"\0")
    ends = np.zeros(starts.size, dtype=np.intp)
    np.cumsum(sizes + odd, out=ends[1:])
    return DecimalTexts(text, ends)


def _looked_up_records(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Each value as 16 bytes, unused ones 0, the last a backslash; and how many are used."""
    whole_texts, fraction_texts, whole_lengths = _tables()
    records = np.empty((values.size, 2), dtype=np.uint64)
    lengths = np.empty(values.size, dtype=np.intp)
    for first in range(0, values.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        scaled = np.rint(values[part] * _SCALE).astype(np.int32)
        whole, fraction = np.divmod(np.abs(scaled), _SCALE)
        whole += np.where(scaled < 0, _TABLED, 0).astype(np.int32)
        np.take(whole_texts, whole, out=records[part, 0])
        np.take(fraction_texts, fraction, out=records[part, 1])
        np.take(whole_lengths, whole, out=lengths[part])
    return records.view(np.uint8), lengths + (DECIMALS + 2)


def _formatted_records(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    rounded = np.round(values, DECIMALS) + 0.0  # adding 0 makes -0 a 0
    texts = [f"{value:.{DECIMALS}f}".encode() for value in rounded.tolist()]
    width = MAX_DS_BYTES + 1
    records = np.frombuffer(b"".join(text.ljust(MAX_DS_BYTES, b"\0") + b"\\" for text in texts), dtype=np.uint8)
    return records.reshape(-1, width).copy(), np.array([len(text) + 1 for text in texts], dtype=np.intp)


@cache
def _tables() -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.intp]]:
    """Texts of whole numbers (negative ones, -0 included, from `_TABLED` on) and of fractions, as 8 bytes each."""
    wholes = [str(i) for i in range(_TABLED)] + [f"-{i}" for i in range(_TABLED)]
    fractions = [f".{i:0{DECIMALS}d}".rjust(7, "\0") + "\\" for i in range(_SCALE)]
    return (
        np.array([text.encode() for text in wholes], dtype="S8").view(np.uint64),
        np.frombuffer("".join(fractions).encode(), dtype=np.uint64),
        np.array([len(text) for text in wholes], dtype=np.intp),
    )


@dataclass(frozen=True)
class ParsedDecimals:
    """Numbers read from decimal strings, and the characters of the longest."""

    values: NDArray[np.float64]
    longest: int


def parse_decimals(text: bytes) -> ParsedDecimals:
    r"""The numbers in `text`, separated by `\`; each the double nearest to its decimal.

    Raises:
        ValueError: an entry that is empty or no finite decimal number.
    """
    if not text:
        return ParsedDecimals(np.empty(0), 0)
    characters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(characters == _BACKSLASH)
    ends = np.append(ends, characters.size)
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    longest = int(lengths.max())
    plain = longest <= MAX_DS_BYTES and int(lengths.min()) > 0
    points = _points(characters, starts, ends) if plain else None
    values = None if points is None else _parse_plain(characters, starts, points, ends)
    return ParsedDecimals(_parse_any(text) if values is None else values, longest)


def _points(characters: NDArray[np.uint8], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Where the decimal point of each number stands, its end where it has none; None if a number has several."""
    points = np.flatnonzero(characters == _POINT)
    if points.size == 0:
        return ends
    first = points[np.minimum(np.searchsorted(points, starts), points.size - 1)]
    pointed = (starts <= first) & (first < ends)
    return np.where(pointed, first, ends) if int(pointed.sum()) == points.size else None


def _parse_plain(
    characters: NDArray[np.uint8], starts: NDArray[np.intp], points: NDArray[np.intp], ends: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """Numbers of the form -12.345 or -12, or None: another character occurs, or more digits than a double has."""
    values = np.empty(ends.size)
    for first in range(0, ends.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        point = points[part]
        negative = characters[starts[part]] == _MINUS
        wholes, fractions = point - starts[part] - negative, np.maximum(ends[part] - point - 1, 0)
        if int((wholes + fractions).max()) > 15:
            return None
        mantissa = np.zeros(point.size)
        valid = True
        for place in range(int(wholes.max()), 0, -1):
            digit = characters[np.maximum(point - place, 0)] - _ZERO
            used = wholes >= place
            valid &= not np.any(used & (digit > 9))
            mantissa = mantissa * 10 + np.where(used, digit, 0)
        for place in range(1, int(fractions.max()) + 1):
            digit = characters[np.minimum(point + place, characters.size - 1)] - _ZERO
            used = fractions >= place
            valid &= not np.any(used & (digit > 9))
            mantissa = np.where(used, mantissa * 10 + digit, mantissa)
        if not (valid and bool(np.all(wholes + fractions > 0))):
            return None
        # The digits are an exact integer below 2 ** 53, so that the one division rounds correctly.
        mantissa /= _POWERS[fractions]
        values[part] = np.where(negative, -mantissa, mantissa)
    return values


def _parse_any(text: bytes) -> NDArray[np.float64]:
    try:
        values = np.array([float(entry) for entry in text.split(b"\\")])
    except ValueError as error:
        raise ValueError(f"not a decimal number ({error})") from error
    if not np.all(np.isfinite(values)):
        raise ValueError("not a finite decimal number")
    return values
