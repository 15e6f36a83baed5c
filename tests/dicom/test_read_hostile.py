import contextlib
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from contour.core.errors import InputRefused, Reason
from contour.dicom.part10 import read_elements
from contour.dicom.read_series import find_series, read_series
from contour.dicom.series import ReadLimits
from contour.dicom.slice_header import WANTED
from contour.dicom.write_series import SeriesOptions


def refusal(folder: Path, limits: ReadLimits | None = None) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_series(folder, limits=limits)
    return caught.value


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, JPEGLSLossless, DeflatedExplicitVRLittleEndian])
def test_a_file_cut_anywhere_is_named_and_never_read(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", transfer_syntax_uid=str(syntax)))
    whole = files[3].read_bytes()
    for kept in (*range(132, len(whole) - 2, 61), len(whole) - 2):
        files[3].write_bytes(whole[:kept])
        refused = refusal(tmp_path)
        # A cut stream may also inflate or decode to garbage; either way the file is named.
        assert refused.where == "0004.dcm", kept
        allowed = (Reason.TRUNCATED_FILE, Reason.UNREADABLE_FILE)
        assert refused.reason in allowed, (kept, refused)
    files[3].write_bytes(whole)
    read_series(tmp_path)


def test_truncated_pixels_say_how_much_is_there(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-100])
    refused = refusal(tmp_path)
    assert refused.reason is Reason.TRUNCATED_FILE
    assert refused.found == f"{len(whole) - 100} of {len(whole)} bytes are there"


def test_a_header_without_pixels(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[1], lambda ds: ds.__delattr__("PixelData"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.TRUNCATED_FILE
    assert refused.where == "0002.dcm"
    assert "PixelData (7FE0,0010)" in refused.found


def test_fewer_pixels_than_the_matrix(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[1], lambda ds: setattr(ds, "PixelData", ds.PixelData[:-48]))
    assert refusal(tmp_path).reason is Reason.TRUNCATED_FILE


def test_more_pixels_than_the_matrix(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[1], lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(48)))
    assert refusal(tmp_path).reason is Reason.INVALID_ATTRIBUTE


def test_damage_in_another_series_does_not_matter(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path / "good", options=SeriesOptions("good"))
    bad = phantoms.ct_series(tmp_path / "bad", options=SeriesOptions("bad"))
    uid = read_series(tmp_path / "good").series_instance_uid
    bad[0].write_bytes(bad[0].read_bytes()[:-10])
    assert read_series(tmp_path, series_instance_uid=uid).series_instance_uid == uid


def test_damage_that_hides_the_series_refuses_any(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "0001.dcm").read_bytes()[:400])
    refused = refusal(tmp_path)
    assert refused.where == "cut.dcm"
    assert refused.reason is Reason.TRUNCATED_FILE


@pytest.mark.parametrize("content", [b"", b"not DICOM at all" * 20, bytes(1000)])
def test_what_is_called_dicom_and_is_not(tmp_path: Path, content: bytes) -> None:
    phantoms.ct_series(tmp_path)
    (tmp_path / "x.dcm").write_bytes(content)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNREADABLE_FILE
    assert refused.where == "x.dcm"


def test_a_bare_data_set_without_the_file_header(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    whole = files[5].read_bytes()
    start = whole.index(struct.pack("<HH2s", 8, 5, b"CS"))
    (tmp_path / "IM0006").write_bytes(whole[start:])
    files[5].unlink()
    assert refusal(tmp_path).where == "IM0006"


def deflated_bomb(file: Path, inflated_bytes: int, header: bytes) -> None:
    """A file of some KB whose data set inflates to `inflated_bytes` zeros behind `header`."""
    whole = pydicom.dcmread(file)
    whole.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole.save_as(file)
    packed = file.read_bytes()
    meta_end = 132 + 12 + struct.unpack("<L", packed[140:144])[0]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [squeeze.compress(header)]
    zeros = bytes(1 << 20)
    pieces += [squeeze.compress(zeros) for _ in range(inflated_bytes >> 20)]
    file.write_bytes(packed[:meta_end] + b"".join(pieces) + squeeze.flush())


def peak_bytes_of_refusal(folder: Path, limits: ReadLimits | None = None) -> tuple[InputRefused, int]:
    tracemalloc.start()
    try:
        refused = refusal(folder, limits)
        return refused, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_deflated_bomb_before_the_pixels(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    element = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 40 << 20)
    deflated_bomb(files[2], 40 << 20, element)
    assert files[2].stat().st_size < 500_000
    refused, peak = peak_bytes_of_refusal(tmp_path)
    assert refused.reason is Reason.TOO_LARGE
    assert refused.where == "0003.dcm"
    assert peak < 20 << 20


def test_deflated_bomb_of_many_small_elements(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    element = struct.pack("<HH2sH", 0x0009, 0x1001, b"LO", 0)
    deflated_bomb(files[2], 0, element * (1 << 14))
    assert files[2].stat().st_size < 3_000
    refused, peak = peak_bytes_of_refusal(tmp_path, ReadLimits(max_header_bytes=1 << 16))
    assert refused.reason is Reason.TOO_LARGE
    assert peak < 4 << 20


def test_deflated_bomb_in_and_behind_the_pixels(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    plain = pydicom.dcmread(files[2])
    plain.save_as(tmp_path / "plain", enforce_file_format=True)
    data = (tmp_path / "plain").read_bytes()
    (tmp_path / "plain").unlink()
    start = 132 + 12 + struct.unpack("<L", data[140:144])[0]
    pixels = data.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    deflated_bomb(files[2], 40 << 20, data[start : pixels + 8] + struct.pack("<L", 40 << 20))
    refused, peak = peak_bytes_of_refusal(tmp_path)
    assert refused.reason is Reason.INVALID_ATTRIBUTE
    assert peak < 20 << 20
    # The right length, and hundreds of megabytes behind it: read as far as the pixels reach.
    deflated_bomb(files[2], 40 << 20, data[start:])
    tracemalloc.start()
    np.testing.assert_array_equal(
        read_series(tmp_path).volume.voxels_zyx[2], phantoms.sampled_volume(phantoms.axial_geometry()).voxels_zyx[2]
    )
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frame_of_another_size_is_not_decoded(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", transfer_syntax_uid=str(syntax)))

    def swollen(ds: Dataset) -> None:
        frame = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
        if syntax == JPEG2000Lossless:
            frame[8:16] = struct.pack(">LL", 60_000, 60_000)
        else:
            start = frame.index(b"\xff\xf7")
            frame[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
        ds.PixelData = encapsulate([bytes(frame)])

    phantoms.edit(files[2], swollen)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.INVALID_ATTRIBUTE
    assert "60000 rows, 60000 columns" in refused.found


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_damaged_compressed_pixels(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", transfer_syntax_uid=str(syntax)))
    phantoms.edit(
        files[2], lambda ds: setattr(ds, "PixelData", encapsulate([b"\xff\xd8" + b"garbage!" * 9 + b"\xff\xd9"]))
    )
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNREADABLE_FILE
    assert refused.where == "0003.dcm"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_compressed_stream_without_its_end(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", transfer_syntax_uid=str(syntax)))

    def cut(ds: Dataset) -> None:
        ds.PixelData = encapsulate([get_frame(ds.PixelData, 0, number_of_frames=1)[:-40]])

    phantoms.edit(files[2], cut)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.TRUNCATED_FILE
    assert refused.where == "0003.dcm"


@pytest.mark.parametrize(
    ("limits", "where", "allowed"),
    [
        (ReadLimits(max_files=5), "", "at most 5"),
        (ReadLimits(max_slices=5), "the series", "at most 5"),
        (ReadLimits(max_file_bytes=1500), "0001.dcm", "at most 1500 for one slice"),
        (ReadLimits(max_voxels=2879), "the series", "at most 2879"),
    ],
)
def test_caps(tmp_path: Path, limits: ReadLimits, where: str, allowed: str) -> None:
    phantoms.ct_series(tmp_path)
    refused = refusal(tmp_path, limits)
    assert refused.reason is Reason.TOO_LARGE
    assert refused.where == (where or str(tmp_path))
    assert refused.allowed == allowed


def test_a_claimed_matrix_is_capped_before_it_is_allocated(tmp_path: Path) -> None:
    def huge(ds: Dataset) -> None:
        ds.Rows = ds.Columns = 65_535

    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, huge)
    refused, peak = peak_bytes_of_refusal(tmp_path)
    assert refused.reason is Reason.TOO_LARGE
    assert peak < 10 << 20


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SOPInstanceUID", "../../etc/passwd"),
        ("SeriesInstanceUID", "1.2/../3"),
        ("FrameOfReferenceUID", "1.2.3 ; rm"),
        ("StudyInstanceUID", "1" * 65),
        ("SOPInstanceUID", "1.2.3\\4"),
    ],
)
def test_uids_that_are_no_uids(tmp_path: Path, keyword: str, value: str) -> None:
    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, lambda ds: phantoms.put(ds, keyword, value))
    (listing,) = find_series(tmp_path)
    assert listing.problem is not None
    refused = refusal(tmp_path)
    if keyword == "SOPInstanceUID":  # all alike: the clash is found first
        assert refused.reason in (Reason.INVALID_UID, Reason.DUPLICATE_INSTANCE)
    else:
        assert refused.reason is Reason.INVALID_UID
        assert "1 to 64 digits and periods" in refused.allowed


def test_nesting_without_end(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    whole = files[0].read_bytes()
    start = whole.index(struct.pack("<HH2s", 0x0018, 0x0050, b"DS"))
    sequence = struct.pack("<HH2sHL", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 2**32 - 1
    )
    files[0].write_bytes(whole[:start] + sequence * 5000 + whole[start:])
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNREADABLE_FILE
    assert "nest deeper" in refused.found


def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    """A flipped or random byte anywhere in a header gives a series or a refusal, nothing else."""
    files = phantoms.ct_series(tmp_path, phantoms.axial_geometry((2, 4, 4)))
    whole = files[0].read_bytes()
    rng = np.random.default_rng(11)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in rng.integers(128, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        files[0].write_bytes(bytes(damaged))
        with contextlib.suppress(InputRefused):
            assert read_series(tmp_path).volume.geometry.shape_zyx[0] == 2
        assert all(listing.slices <= 2 for listing in find_series(tmp_path))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_random_damage_of_compressed_pixels(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    options = SeriesOptions("s", transfer_syntax_uid=str(syntax))
    files = phantoms.ct_series(tmp_path, phantoms.axial_geometry((2, 16, 16)), options)
    whole = files[0].read_bytes()
    start = whole.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    rng = np.random.default_rng(7)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(start, len(whole), 2):
            damaged[place] = rng.integers(0, 256)
        files[0].write_bytes(bytes(damaged))
        with contextlib.suppress(InputRefused):
            assert read_series(tmp_path).volume.geometry.shape_zyx == (2, 16, 16)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    assert "pipe.dcm" in read_series(tmp_path).findings[0].message


def test_random_bytes_are_never_followed_beyond_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for n in range(200):
        file = tmp_path / str(n)
        body = rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes()
        file.write_bytes(bytes(128) + b"DICM" + body)
        elements = read_elements(file, file.name, WANTED, 1 << 20)
        assert elements is not None
        assert elements.problem is not None or elements.pixels is None
