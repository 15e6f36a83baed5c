from pathlib import Path

import numpy as np
import pytest

from contour.core.places import SMALLEST_FILE_BYTES, contiguous_beside, lies_in_file, zeros_beside, zeros_in_file

SHAPE = (5, 1024, 1024)


def test_a_large_array_lies_in_a_file_and_so_does_what_is_made_beside_it() -> None:
    array = zeros_in_file(SHAPE, np.bool_)
    assert array.shape == SHAPE
    assert not array.any()
    array[2, 3, 4] = True
    assert lies_in_file(array)
    assert lies_in_file(array[1:, ::2].transpose(2, 0, 1))
    assert lies_in_file(array.view(np.uint8))
    beside = zeros_beside(array[::-1], SHAPE, np.uint8)
    assert lies_in_file(beside)
    assert beside.sum() == 0
    copy = contiguous_beside(array, array[:, :, ::-1])
    assert lies_in_file(copy)
    assert copy.flags.c_contiguous
    assert np.argwhere(copy).tolist() == [[2, 3, 1019]]


def test_what_is_small_or_beside_an_array_in_memory_stays_in_memory() -> None:
    assert not lies_in_file(zeros_in_file((SMALLEST_FILE_BYTES - 1,), np.uint8))
    assert not lies_in_file(zeros_beside(np.zeros(3), SHAPE, np.bool_))
    whole = zeros_in_file(SHAPE, np.bool_)
    assert contiguous_beside(whole, whole) is whole


def test_files_have_no_name_and_go_with_their_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # tempfile remembers the folder it found first
    array = zeros_in_file((64, 1024, 1024), np.uint8)
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert any(str(tmp_path) in line and "(deleted)" in line for line in maps.read_text().splitlines())
        del array
        assert str(tmp_path) not in maps.read_text()


def test_a_full_disk_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        zeros_in_file(SHAPE, np.bool_)
