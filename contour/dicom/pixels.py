"""Stored pixels to voxels: PS3.5 section 8 and annex A.4, PS3.3 C.7.6.3 and C.11.1.

Uncompressed pixels go from the file straight into their place in the volume and are rescaled there; compressed ones are
decoded in threads. What a compressed frame claims of its size is held against the header before it is decoded.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydicom.config import IGNORE
from pydicom.uid import UID

from contour.core.errors import InputRefused, Reason
from contour.core.places import zeros_in_file
from contour.dicom.part10 import Inflater, read_fully
from contour.dicom.slice_header import SliceHeader

AIR_HU = -1000

# A padding value between these would be tissue: what a header claims there is left alone, and reported.
_TISSUE_HU = (-900.0, 3071.0)
_MAX_THREADS = 16
_LOOK_BEHIND_BYTES = 1 << 16  # enough for what may follow the pixels, and to see whether a deflated stream ends well

Voxels = NDArray[np.int16] | NDArray[np.float32]
Stored = NDArray[np.uint8] | NDArray[np.int8] | NDArray[np.uint16] | NDArray[np.int16]


@dataclass(frozen=True)
class DecodedVoxels:
    """`voxels_zyx` after slope and intercept; one sha256 digest a slice; how many voxels were padding, made air."""

    voxels_zyx: Voxels
    digests: tuple[bytes, ...]
    padded: int


def read_voxels(slices: Sequence[SliceHeader], in_file_above_bytes: int | None = None) -> DecodedVoxels:
    """The voxels of slices of one matrix: int16 where every slope, intercept and value allows it, else float32.

    CT pixels whose stored value is the padding value become air (-1000 HU). Voxels of more than `in_file_above_bytes`
    lie in a file (`contour.core.places`).

    Raises:
        InputRefused: a file is truncated or damaged, its pixels are not what its header says, or its transfer syntax
            is not read.
    """
    for header in slices:
        _check_stored_length(header)
    whole = all(s.slope.is_integer() and s.intercept.is_integer() for s in slices)
    if whole:
        try:
            return _read_all(slices, _room(slices, np.int16, in_file_above_bytes), _int16_slice)
        except _DoesNotFitError:
            pass
    return _read_all(slices, _room(slices, np.float32, in_file_above_bytes), _float32_slice)


def padding_in_tissue(header: SliceHeader) -> bool:
    """Whether the stated padding of a CT slice lies among tissue values, so that it cannot be honoured."""
    if header.modality != "CT" or header.pixel_format.padding is None:
        return False
    low, high = (v * header.slope + header.intercept for v in header.pixel_format.padding)
    return low < _TISSUE_HU[1] and high > _TISSUE_HU[0]


class _DoesNotFitError(Exception):
    """A value after rescaling lies outside int16."""


def _room(slices: Sequence[SliceHeader], dtype: DTypeLike, in_file_above_bytes: int | None) -> Voxels:
    """Room for the voxels of `slices`, what it holds is of no account."""
    shape = (len(slices), *slices[0].shape_yx)
    if in_file_above_bytes is not None and prod(shape) * np.dtype(dtype).itemsize > in_file_above_bytes:
        return zeros_in_file(shape, dtype)
    return np.empty(shape, dtype)


def _read_all(slices: Sequence[SliceHeader], voxels: Voxels, load: Callable[[SliceHeader, Any], int]) -> DecodedVoxels:

    def one(z: int) -> tuple[int, bytes]:
        padded = load(slices[z], voxels[z])
        return padded, hashlib.sha256(voxels[z]).digest()

    threads = min(os.cpu_count() or 1, _MAX_THREADS, len(slices))
    with ThreadPoolExecutor(threads, thread_name_prefix="read-series") as pool:
        futures = [pool.submit(one, z) for z in range(len(slices))]
        try:
            results = [f.result() for f in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return DecodedVoxels(voxels, tuple(digest for _, digest in results), sum(padded for padded, _ in results))


def _int16_slice(header: SliceHeader, out: NDArray[np.int16]) -> int:
    """Fill `out` with rescaled voxels; how many were padding."""
    stored = _stored(header, out)
    padding = _padding_mask(header, stored)
    slope, intercept = int(header.slope), int(header.intercept)
    if not _fits_int16(header, stored):
        raise _DoesNotFitError
    if slope == 1 and stored.dtype.itemsize == 2:
        # The result fits, so that arithmetic modulo 2**16 gives it, in place and without a wider copy.
        np.add(stored.view(np.uint16), np.uint16(intercept & 0xFFFF), out=out.view(np.uint16))
    else:
        np.copyto(out, stored.astype(np.int32) * slope + intercept, casting="same_kind")
    return _to_air(out, padding)


def _float32_slice(header: SliceHeader, out: NDArray[np.float32]) -> int:
    buffer = np.empty(header.shape_yx, np.int16)
    stored = _stored(header, buffer)
    np.copyto(out, stored * np.float64(header.slope) + np.float64(header.intercept), casting="same_kind")
    return _to_air(out, _padding_mask(header, stored))


def _fits_int16(header: SliceHeader, stored: Stored) -> bool:
    bits, signed = header.pixel_format.bits_stored, header.pixel_format.signed
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if _in_int16(low, header) and _in_int16(high, header):
        return True
    return _in_int16(int(stored.min()), header) and _in_int16(int(stored.max()), header)


def _in_int16(value: int, header: SliceHeader) -> bool:
    return -0x8000 <= value * header.slope + header.intercept <= 0x7FFF


def _padding_mask(header: SliceHeader, stored: Stored) -> NDArray[np.bool_] | None:
    padding = header.pixel_format.padding
    if header.modality != "CT" or padding is None or padding_in_tissue(header):
        return None
    low, high = padding
    mask = (stored == low) if low == high else (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _to_air(out: Voxels, mask: NDArray[np.bool_] | None) -> int:
    if mask is None:
        return 0
    out[mask] = AIR_HU
    return int(np.count_nonzero(mask))


def _stored(header: SliceHeader, room: NDArray[np.int16]) -> Stored:
    """The stored values of a slice, in `room` where they are uncompressed and have 16 bits."""
    if header.syntax.encapsulated:
        return _within_bits(_decoded(header), header)
    if header.pixel_format.bits_allocated == 8:
        eight = np.frombuffer(_native_bytes(header), np.uint8)[: room.size].reshape(room.shape)
        return _within_bits(eight.view(np.int8) if header.pixel_format.signed else eight, header)
    if header.syntax.deflated:
        room[...] = np.frombuffer(_native_bytes(header), "<i2").reshape(room.shape)
    else:
        with header.file.open("rb", buffering=0) as stream:
            _read_into(stream, room, header)
        if header.syntax.big_endian:
            room.byteswap(inplace=True)
    return _within_bits(room if header.pixel_format.signed else room.view(np.uint16), header)


def _native_length(header: SliceHeader) -> int:
    rows, columns = header.shape_yx
    return rows * columns * header.pixel_format.bits_allocated // 8


def _check_stored_length(header: SliceHeader) -> None:
    """Pixel Data must be as long as the matrix asks, and lie inside the file."""
    length, expected = header.pixels.length, _native_length(header)
    if header.syntax.encapsulated:
        if length is not None:
            raise _refused(Reason.UNREADABLE_FILE, header, "compressed, but not in fragments", "PS3.5 annex A.4")
        return
    if length is None:
        raise _refused(Reason.UNREADABLE_FILE, header, "uncompressed, but in fragments", "PS3.5 annex A.4")
    if header.syntax.big_endian and header.pixel_format.bits_allocated == 8:
        raise _refused(Reason.UNSUPPORTED_PIXELS, header, "8 bits in big-endian words", "16 bits allocated")
    if length not in (expected, expected + expected % 2):
        reason = Reason.TRUNCATED_FILE if length < expected else Reason.INVALID_ATTRIBUTE
        raise _refused(reason, header, f"{length} bytes of pixels", f"{expected} bytes for {header.shape_yx} pixels")
    if not header.syntax.deflated and header.pixels.offset + length > header.file_bytes:
        raise _truncated(header, f"{header.file_bytes} of {header.pixels.offset + length} bytes are there")


def _native_bytes(header: SliceHeader) -> bytes:
    """Pixel Data of a deflated file, or of one with 8 bits a pixel."""
    length = _native_length(header)
    with header.file.open("rb") as stream:
        if not header.syntax.deflated:
            stream.seek(header.pixels.offset)
            data = read_fully(stream, length)
        else:
            stream.seek(header.data_set_start)
            data = _inflate(header, stream, length)
    if len(data) != length:
        raise _truncated(header, f"{len(data)} of {length} bytes of pixels are there")
    return data


def _inflate(header: SliceHeader, stream: BinaryIO, length: int) -> bytes:
    try:
        inflater = Inflater(stream, header.file_bytes - header.data_set_start)
        pixels = inflater.read(header.pixels.offset + length)[header.pixels.offset :]
        behind = inflater.read(_LOOK_BEHIND_BYTES)
    except zlib.error as error:
        raise _refused(Reason.UNREADABLE_FILE, header, f"cannot be inflated ({error})", "an undamaged file") from error
    if len(behind) < _LOOK_BEHIND_BYTES and not inflater.complete:
        raise _truncated(header, "the deflated data end early")
    return pixels


def _read_into(stream: Any, room: NDArray[np.int16], header: SliceHeader) -> None:
    stream.seek(header.pixels.offset)
    left = memoryview(room.data).cast("B")
    while left.nbytes:
        count = stream.readinto(left)
        if not count:
            raise _truncated(header, f"ends {left.nbytes} bytes early")
        left = left[count:]


def _within_bits(stored: Stored, header: SliceHeader) -> Stored:
    """`stored` with signs extended from the highest stored bit; refused where other bits above it are set."""
    bits = header.pixel_format.bits_stored
    spare = stored.dtype.itemsize * 8 - bits
    if spare == 0:
        return stored
    low, high = int(stored.min()), int(stored.max())
    limit = 1 << (bits - 1) if header.pixel_format.signed else 1 << bits
    if high < limit and (low >= -limit if header.pixel_format.signed else True):
        return stored
    if header.pixel_format.signed and low >= 0 and high < 2 * limit:
        return (stored << spare) >> spare  # written without extending the sign
    found = f"stored values from {low} to {high}, which {bits} bits cannot hold"
    raise _refused(Reason.UNSUPPORTED_PIXELS, header, found, "values within BitsStored (0028,0101)")


def _decoded(header: SliceHeader) -> Stored:
    codec = _CODECS.get(header.syntax.uid)
    if codec is None:
        name = UID(header.syntax.uid, validation_mode=IGNORE).name
        allowed = "uncompressed, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 transfer syntaxes"
        raise _refused(Reason.UNSUPPORTED_TRANSFER_SYNTAX, header, name, allowed)
    frame = _frame(header)
    precision = codec.check(header, frame)
    try:
        pixels = codec.decode(header, frame)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise _refused(
            Reason.UNREADABLE_FILE, header, f"cannot be decoded ({first_line})", "undamaged pixels"
        ) from error
    if pixels.shape != header.shape_yx or pixels.dtype.itemsize > 2:
        found = f"decoded to {pixels.shape} {pixels.dtype}"
        raise _refused(Reason.UNREADABLE_FILE, header, found, f"{header.shape_yx} of 8 or 16 bits")
    return _with_sign(pixels, precision, signed=header.pixel_format.signed)


def _with_sign(pixels: NDArray[Any], precision: int, *, signed: bool) -> Stored:
    """Decoded pixels as the header's pixel representation reads their `precision` low bits."""
    width = pixels.dtype.itemsize * 8
    if not signed:
        unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
        return unsigned if pixels.dtype.kind == "u" or precision == width else unsigned & ((1 << precision) - 1)
    as_signed = pixels.view(f"i{pixels.dtype.itemsize}")
    spare = width - precision
    return as_signed if pixels.dtype.kind == "i" or spare == 0 else (as_signed << spare) >> spare


def _frame(header: SliceHeader) -> bytes:
    """The fragments of the one frame, joined: PS3.5 A.4."""
    fragments: list[bytes] = []
    with header.file.open("rb") as stream:
        stream.seek(header.pixels.offset)
        while True:
            item = stream.read(8)
            tag, length = item[:4], int.from_bytes(item[4:], "little")
            if len(item) < 8 or stream.tell() + length > header.file_bytes:
                raise _truncated(header, "ends inside its compressed pixels")
            if tag == b"\xfe\xff\xdd\xe0":
                break
            if tag != b"\xfe\xff\x00\xe0":
                raise _refused(Reason.UNREADABLE_FILE, header, "no fragment where one must be", "PS3.5 annex A.4")
            fragments.append(stream.read(length))
    return b"".join(fragments[1:])  # the first is the Basic Offset Table


def _refused(reason: Reason, header: SliceHeader, found: str, allowed: str) -> InputRefused:
    return InputRefused(reason, header.name, found, allowed)


def _truncated(header: SliceHeader, found: str) -> InputRefused:
    return _refused(Reason.TRUNCATED_FILE, header, found, "whole files")


@dataclass(frozen=True)
class _Codec:
    """`check` returns the bits of a decoded pixel, and refuses a frame that claims another size than the header."""

    check: Callable[[SliceHeader, bytes], int]
    decode: Callable[[SliceHeader, bytes], NDArray[Any]]


def _check_claim(header: SliceHeader, claim: tuple[int, int, int, int] | None) -> int:
    rows, columns = header.shape_yx
    allocated = header.pixel_format.bits_allocated
    if claim is None:
        raise _refused(Reason.UNREADABLE_FILE, header, "no frame header in the compressed pixels", "undamaged pixels")
    if claim[:3] != (rows, columns, 1) or not 1 <= claim[3] <= allocated:
        found = "compressed pixels of {} rows, {} columns, {} components, {} bits".format(*claim)
        allowed = f"{rows} rows, {columns} columns, 1 component, at most {allocated} bits, as the header says"
        raise _refused(Reason.INVALID_ATTRIBUTE, header, found, allowed)
    return claim[3]


def _check_end(header: SliceHeader, frame: bytes) -> None:
    """Every JPEG stream ends in the marker FFD9; decoders make something up of a stream without it."""
    if not frame[-64:].rstrip(b"\0").endswith(b"\xff\xd9"):
        raise _truncated(header, "its compressed pixels have no end marker")


def _check_jpeg(header: SliceHeader, frame: bytes) -> int:
    _check_end(header, frame)
    return _check_claim(header, _jpeg_claim(frame))


def _jpeg_claim(frame: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, components, bits) of a JPEG or JPEG-LS frame header: ISO 10918-1 B.2.2, ISO 14495-1 C.2.2."""
    offset = 2
    while frame[:2] == b"\xff\xd8" and offset + 10 <= len(frame) and frame[offset] == 0xFF:
        marker = frame[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows = int.from_bytes(frame[offset + 5 : offset + 7], "big")
            columns = int.from_bytes(frame[offset + 7 : offset + 9], "big")
            return rows, columns, frame[offset + 9], frame[offset + 4]
        offset += 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return None


def _check_jpeg2000(header: SliceHeader, frame: bytes) -> int:
    _check_end(header, frame)
    return _check_claim(header, _jpeg2000_claim(frame))


def _jpeg2000_claim(frame: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, components, bits) of a JPEG 2000 codestream: ISO 15444-1 A.5.1."""
    start = 0 if frame.startswith(b"\xff\x4f\xff\x51") else frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(frame) < start + 43:
        return None
    right, bottom, left, top = (int.from_bytes(frame[start + i : start + i + 4], "big") for i in (8, 12, 16, 20))
    components = int.from_bytes(frame[start + 40 : start + 42], "big")
    return bottom - top, right - left, components, (frame[start + 42] & 0x7F) + 1


def _check_rle(header: SliceHeader, frame: bytes) -> int:
    """Packed bits never grow by more than a 128th: a longer frame holds more than the matrix."""
    limit = 64 + 2 * _native_length(header) + 1024
    if len(frame) > limit:
        found = f"{len(frame)} bytes of run lengths"
        raise _refused(Reason.INVALID_ATTRIBUTE, header, found, f"at most {limit} bytes for {header.shape_yx} pixels")
    return header.pixel_format.bits_allocated


def _decode_jpegls(header: SliceHeader, frame: bytes) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegls_decode(frame))


def _decode_jpeg2000(header: SliceHeader, frame: bytes) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg2k_decode(frame))


def _decode_rle(header: SliceHeader, frame: bytes) -> NDArray[Any]:
    """Byte planes of packed bits, the most significant first: PS3.5 annex G."""
    planes = header.pixel_format.bits_allocated // 8
    numbers = np.frombuffer(frame[:64], "<u4")
    if len(numbers) < 16 or numbers[0] != planes:
        raise ValueError(f"{planes} RLE segments expected")
    ends = [*(int(n) for n in numbers[2 : planes + 1]), len(frame)]
    pixels = np.empty((*header.shape_yx, planes), np.uint8)
    for i, (start, end) in enumerate(zip(numbers[1 : planes + 1], ends, strict=True)):
        plane = np.empty(header.shape_yx, np.uint8)
        count = len(imagecodecs.packbits_decode(frame[int(start) : end], out=plane.reshape(-1).data))
        if count != plane.size:
            raise ValueError(f"an RLE segment of {count} pixels")
        pixels[..., planes - 1 - i] = plane
    return pixels.view(f"<u{planes}")[..., 0]


def _decode_jpeg(header: SliceHeader, frame: bytes) -> NDArray[Any]:
    """JPEG of 8 and 12 bits by its cosines, and lossless JPEG (process 14) of up to 16 bits."""
    return np.asarray(imagecodecs.jpeg_decode(frame))


_JPEG = _Codec(_check_jpeg, _decode_jpeg)
_JPEG_LS = _Codec(_check_jpeg, _decode_jpegls)
_JPEG_2000 = _Codec(_check_jpeg2000, _decode_jpeg2000)
_CODECS = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG,
    "1.2.840.10008.1.2.4.70": _JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.5": _Codec(_check_rle, _decode_rle),
}


def decoders() -> tuple[tuple[str, bool], ...]:
    """The families of compressed pixels, and whether this installation decodes them."""
    return (
        ("RLE", bool(imagecodecs.PACKBITS.available)),
        ("JPEG", bool(imagecodecs.JPEG8.available and imagecodecs.JPEGSOF3.available)),
        ("JPEG-LS", bool(imagecodecs.JPEGLS.available)),
        ("JPEG 2000", bool(imagecodecs.JPEG2K.available)),
    )
