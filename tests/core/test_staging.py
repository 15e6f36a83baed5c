from pathlib import Path

import pytest

from contour.core.staging import staged


class StoppedError(BaseException):
    pass


def write_and_raise(folder: Path, error: BaseException) -> None:
    with staged(folder) as stage:
        (stage / "one").write_text("new")
        raise error


def test_files_appear_when_all_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with staged(folder) as stage:
        (stage / "one").write_text("1")
        (stage / "two").write_text("2")
        assert not (folder / "one").exists()
    assert sorted(p.name for p in folder.iterdir()) == ["one", "two"]


def test_nothing_stays_after_a_failure_or_a_stop(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        write_and_raise(tmp_path / "a" / "b", StoppedError())
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    with pytest.raises(ValueError, match="no"):
        write_and_raise(tmp_path, ValueError("no"))
    assert [p.name for p in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one").read_text() == "old"


def test_files_of_the_same_name_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    with staged(tmp_path) as stage:
        (stage / "one").write_text("new")
    assert (tmp_path / "one").read_text() == "new"
