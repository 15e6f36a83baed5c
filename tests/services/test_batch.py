"""A folder of studies drawn by the command, stopped, run again, changed, and looked at."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from phantoms import named

from contour.core.volume import Modality, Volume
from contour.dicom.folder import FolderContents, scan_files
from contour.dicom.read_series import find_series
from contour.dicom.series import ReadLimits
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import Phantom
from contour.pipeline import RTSTRUCT_FILE
from contour.services.batch.search import FoundSeries, SeriesIndex
from contour.services.jobs.queue import JobQueue

Contour = Callable[..., int]
PATIENT = "Әлия_Серік"


def study(folder: Path, volume: Volume, seed: str) -> tuple[Path, ...]:
    return write_series(volume, named("Әлия^Серік"), folder, SeriesOptions(seed=seed))


def some_slices(volume: Volume, count: int, modality: Modality) -> Volume:
    geometry = replace(volume.geometry, shape_zyx=(count, *volume.geometry.shape_zyx[1:]))
    return Volume(volume.voxels_zyx[:count], geometry, modality)


@pytest.fixture
def archive(thorax: Phantom, tmp_path: Path) -> Path:
    """Two whole studies, one of them in two folders; one with a gap; an MR; a single image; and a text."""
    root = tmp_path / "archive" / PATIENT
    volume = thorax.volume
    study(root / "one", volume, "one")
    moved = study(root / "two", volume, "two")
    (root / "two" / "rest").mkdir()
    for file in moved[::2]:
        file.rename(root / "two" / "rest" / file.name)
    study(root / "gap", volume, "gap")[10].unlink()
    study(root / "mr", some_slices(volume, 6, Modality.MR), "mr")
    study(root / "scout", some_slices(volume, 1, Modality.CT), "scout")
    (root / "readme.txt").write_text("nothing")
    return tmp_path / "archive"


@pytest.fixture
def arguments(
    tiny_protocol_file: Path, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("CONTOUR_SLOTS", str(tmp_path / "slots"))
    chosen = ["-p", tiny_protocol_file, "--models", tiny_models, "--engine", "cpu", "--threads", "1"]
    return [str(one) for one in (*chosen, "-o", tmp_path / "out")]


@pytest.mark.slow
def test_a_batch_draws_what_can_be_drawn_and_a_second_one_what_changed(
    contour: Contour,
    archive: Path,
    arguments: list[str],
    thorax: Phantom,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert contour("batch", archive, *arguments) == 2
    printed = capsys.readouterr()
    assert "missing-slice" in printed.out
    first = {line["series_instance_uid"]: line for line in lines(out)}
    assert sorted(line["state"] for line in first.values()) == ["done", "done", "refused"]
    assert {line["code"] for line in first.values()} == {"", "missing-slice"}
    drawn = [line["folder"] for line in first.values() if line["state"] == "done"]
    assert all(
        sorted(p.name for p in (out / one).iterdir()) == ["preview.png", "report.json", RTSTRUCT_FILE] for one in drawn
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [".contour", *drawn, *(f"summary.{s}" for s in ("csv", "html", "json"))]
    )
    assert json.loads((out / "summary.json").read_text())["passed_over"] == 2
    # No name in any file that others may read, nor in the name of one, nor in what is printed.
    for path in out.rglob("*"):
        assert "Серік" not in path.name
        if path.suffix in (".csv", ".html", ".json", ".log") and path.stat().st_mode & 0o077:
            assert "Серік" not in path.read_text(encoding="utf-8")
    assert "Серік" not in printed.out + printed.err
    assert PATIENT in (out / ".contour" / "places.csv").read_text(encoding="utf-8")

    times = {one: (out / one / RTSTRUCT_FILE).stat().st_mtime_ns for one in drawn}
    log = (out / ".contour" / "worker.log").read_bytes()
    assert contour("batch", archive, *arguments, "--json") == 2
    again = json.loads(capsys.readouterr().out)
    assert [line["before"] for line in again["series"] if line["state"] == "done"] == [True, True]
    assert (out / ".contour" / "worker.log").read_bytes() == log  # no worker was started
    assert {one: (out / one / RTSTRUCT_FILE).stat().st_mtime_ns for one in drawn} == times

    # One mended, one with other values, one result lost, and one new: these are drawn.
    shutil.rmtree(archive / PATIENT / "gap")
    study(archive / PATIENT / "gap", thorax.volume, "gap")
    brighter = Volume(thorax.volume.voxels_zyx + 1, thorax.volume.geometry, Modality.CT)
    study(archive / PATIENT / "one", brighter, "one")
    lost = next(
        f
        for uid, f in ((u, line["folder"]) for u, line in first.items())
        if f and uid in uids_in(archive / PATIENT / "two")
    )
    shutil.rmtree(out / lost)
    study(archive / PATIENT / "new", thorax.volume, "new")
    assert contour("batch", archive, *arguments, "--json") == 0
    last = json.loads(capsys.readouterr().out)
    assert [(line["state"], line["before"]) for line in last["series"]] == [("done", False)] * 4
    assert (out / lost / RTSTRUCT_FILE).is_file()
    with JobQueue.open(out) as queue:
        assert len(queue.jobs()) == 5  # of the changed one both contents


@pytest.mark.slow
def test_a_batch_killed_and_stopped_goes_on_where_it_was(
    contour: Contour, thorax: Phantom, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        study(tmp_path / "archive" / str(number), thorax.volume, str(number))
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from contour.cli.main import run; run()", "batch", str(tmp_path / "archive")]
    stood: dict[Path, tuple[int, bytes]] = {}
    for number, how in enumerate((signal.SIGKILL, signal.SIGTERM), start=1):
        batch = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, env={**os.environ})
        until = time.monotonic() + 120
        while len(list(out.glob("*/rtstruct.dcm"))) < number:
            assert time.monotonic() < until
            time.sleep(0.05)
        batch.send_signal(how)
        _, said = batch.communicate()
        assert batch.returncode == (-how if how == signal.SIGKILL else 128 + how)
        assert b"Traceback" not in said
        stood |= {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("*/rtstruct.dcm")}
    assert len(stood) >= 2
    assert contour("batch", tmp_path / "archive", *arguments, "--json") == 0
    done = json.loads(capsys.readouterr().out)["series"]
    assert [line["state"] for line in done] == ["done"] * 4
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stood} == stood  # none was drawn again
    assert len({line["folder"] for line in done}) == 4
    assert not list(out.rglob("*.part"))


def test_a_mistake_is_said_before_anything_is_read(contour: Contour, arguments: list[str], tmp_path: Path) -> None:
    assert contour("batch", tmp_path / "none", *arguments) == 2
    assert contour("batch", tmp_path, "-o", tmp_path / "o", "-p", "nonsense") == 2
    assert not (tmp_path / "o").exists()


def test_nothing_to_draw_is_no_failure(contour: Contour, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert contour("batch", tmp_path / "empty", *arguments) == 0
    assert lines(tmp_path / "out") == []


def test_files_are_read_again_only_if_they_changed(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search() -> tuple[FoundSeries, ...]:
        with SeriesIndex(tmp_path / "state") as index:
            return index.search(archive, tmp_path / "out", lambda _: None)

    first = search()
    assert sorted((series.modality, series.is_volume) for series in first) == [
        ("CT", False),
        ("CT", True),
        ("CT", True),
        ("CT", True),
        ("MR", True),
    ]
    read: list[Path] = []

    def noting(folder: Path, paths: list[Path], limits: ReadLimits) -> FolderContents:
        read.extend(paths)
        return scan_files(folder, paths, limits)

    monkeypatch.setattr("contour.services.batch.search.scan_files", noting)
    assert search() == first
    assert read == []
    changed = sorted((archive / PATIENT / "one").iterdir())[3]
    os.utime(changed, ns=(1, 1))
    (archive / PATIENT / "one" / "damaged.dcm").write_bytes(b"no DICOM")
    again = search()
    assert set(read) == {changed, archive / PATIENT / "one" / "damaged.dcm"}
    differing = [new for old, new in zip(first, again, strict=True) if old != new]
    assert [len(new.files) - new.slices for new in differing] == [1]  # the damaged file might be one of its slices


@pytest.mark.data
@pytest.mark.slow
def test_a_real_archive_in_a_batch(
    contour: Contour, shared_data: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two clinical CTs, compressed, beside their RT objects."""
    assert contour("batch", shared_data / "archive", *arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [line["state"] for line in result["series"]] == ["done", "done"]
    names = " ".join(path.name for path in (tmp_path / "out").rglob("*"))
    assert "LUNG1" not in names + (tmp_path / "out" / "summary.html").read_text(encoding="utf-8")
    assert "LUNG1" not in "".join(sqlite3.connect(tmp_path / "out" / ".contour" / "queue.sqlite").iterdump())


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def uids_in(folder: Path) -> set[str]:
    return {series.series_instance_uid for series in find_series(folder)}
