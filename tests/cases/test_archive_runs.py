"""Indexing again, killed, in parallel, on files that are anything; and the index as a file of its own."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import phantoms
import pytest
import small_archives

from contour.cases import archive_index, archive_reading, parallel
from contour.cases.archive_files import FileKind, data_set_sha256, read_file
from contour.cases.archive_index import Aside, IndexOptions, Scope, index_archive, open_index
from contour.cases.archive_pairing import pair_archive
from contour.core.errors import ConfigError, InputRefused, Reason

ONE = IndexOptions(workers=1)
CHUNK_FILES = 40  # files of a transaction, here


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two patients, each with a series and a structure set."""
    folder = tmp_path / "archive"
    for patient in ("P-1", "P-2"):
        series = small_archives.add_series(folder / patient / "ct", patient)
        small_archives.add_set(series, folder / patient / "rs.dcm")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture(scope="module")
def long_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files enough for four transactions, a pair and a copy among them."""
    folder = tmp_path_factory.mktemp("long")
    series = small_archives.add_series(folder / "z" / "ct", "P-2")
    path = small_archives.add_set(series, folder / "z" / "rs.dcm")
    small_archives.sent_elsewhere(path, folder / "a.dcm")
    small_archives.series_of(folder / "many", 3 * CHUNK_FILES)
    return folder


# -- again -----------------------------------------------------------------------------------------------------------


def test_only_what_is_new_or_changed_is_read_again(archive: Path, index: Path) -> None:
    first = index_archive(archive, index, ONE)
    files = 2 * (small_archives.SLICES + 1)
    assert (first.files, first.files_read, first.pairs) == (files, files, 2)
    before = small_archives.tables(index)
    assert index_archive(archive, index, ONE).files_read == 0
    assert small_archives.tables(index) == before

    phantoms.edit(archive / "P-1" / "rs.dcm", lambda ds: setattr(ds, "StructureSetLabel", "NEW"))
    (archive / "note.txt").write_text("new")
    again = index_archive(archive, index, ONE)
    assert (again.files, again.files_read) == (files + 1, 2)
    with open_index(index) as opened:
        assert sorted(pair.structure_set_label for pair in opened.pairs()) == ["NEW", "test"]

    (archive / "P-1" / "rs.dcm").unlink()
    gone = index_archive(archive, index, ONE)
    assert (gone.files, gone.files_read, gone.pairs, gone.structure_sets) == (files, 0, 1, 1)
    assert {path for path, *_ in small_archives.tables(index)["rois"]} == {"P-2/rs.dcm"}


def test_a_file_that_changes_while_it_is_read_is_read_again(archive: Path, index: Path) -> None:
    """Size and time are those of the listing: reading comes later, and what changed between is not believed known."""

    def change(stage: str, done: float) -> None:
        if (stage, done) == ("headers", 0.0):
            phantoms.edit(archive / "P-1" / "rs.dcm", lambda ds: setattr(ds, "StructureSetLabel", "LATER"))

    index_archive(archive, index, ONE, change)
    assert index_archive(archive, index, ONE).files_read == 1


def test_an_unreadable_file_is_tried_again(archive: Path, index: Path) -> None:
    link = archive / "link.dcm"
    link.symlink_to(archive.parent / "later.dcm")
    index_archive(archive, index, ONE)
    with open_index(index) as opened:
        assert [(one.item, one.reason) for one in opened.set_aside()] == [("link.dcm", Reason.UNREADABLE_FILE)]
    assert index_archive(archive, index, ONE).files_read == 1


# -- killed ----------------------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from contour.cases import archive_index, archive_reading
archive_reading.CHUNK_FILES = {chunk}
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{moment}
if __name__ == "__main__":
    archive, index, key_of = map(Path, sys.argv[1:])
    archive_index.index_archive(archive, index, archive_index.IndexOptions({workers}, key_of), tell)
"""

MOMENTS = {
    "between two transactions": """
def tell(stage, done):
    if stage == "headers" and done > 0.5: die()
""",
    "while files are written": """
def tell(stage, done): pass
write, written = archive_reading.add_files, []
def half(connection, facts, key):
    written.append(facts)
    write(connection, facts if len(written) < 3 else facts[:30], key)
    if len(written) == 3: die()
archive_reading.add_files = half
""",
    "while copies are compared": """
def tell(stage, done):
    if stage == "copies": die()
""",
    "while pairs are written": """
def tell(stage, done): pass
pair = archive_index.pair_archive
archive_index.pair_archive = lambda connection: die(pair(connection))
""",
}


def run_killed(moment: str, workers: int, arguments: tuple[Path, Path, Path]) -> str:
    """Index in a process that kills itself at that moment; what it said before."""
    script = arguments[1].with_suffix(".py")
    script.write_text(_KILLED.format(moment=moment, workers=workers, chunk=CHUNK_FILES))
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def reference(long_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a run that nothing disturbed."""
    index = tmp_path_factory.mktemp("reference") / "index.sqlite"
    summary = index_archive(long_archive, index, ONE)
    assert (summary.pairs, summary.files) == (1, 3 * CHUNK_FILES + small_archives.SLICES + 2)
    return index


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_goes_on_to_the_same_index(
    long_archive: Path, reference: Path, index: Path, moment: str
) -> None:
    run_killed(MOMENTS[moment], 1, (long_archive, index, reference))
    with pytest.raises(ConfigError, match="was not finished"):
        open_index(index)
    summary = index_archive(long_archive, index, ONE)
    read_before = summary.files - summary.files_read
    assert read_before in (2 * CHUNK_FILES, summary.files)  # whole transactions, and not none
    assert small_archives.tables(index) == small_archives.tables(reference)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
def test_readers_end_with_a_killed_run(long_archive: Path, reference: Path, index: Path) -> None:
    moment = """
import multiprocessing
archive_reading.MIN_FILES_FOR_PROCESSES = 1
def tell(stage, done):
    if stage == "headers" and done > 0:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        die()
"""
    readers = [int(pid) for pid in run_killed(moment, 2, (long_archive, index, reference)).split()]
    assert len(readers) == 2
    end = time.monotonic() + 60
    while any(_runs(pid) for pid in readers):
        assert time.monotonic() < end, "a reader outlives its run"
        time.sleep(0.05)
    index_archive(long_archive, index, ONE)
    assert small_archives.tables(index) == small_archives.tables(reference)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def test_several_processes_write_the_same_index(
    long_archive: Path, reference: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_reading, "MIN_FILES_FOR_PROCESSES", 1)
    monkeypatch.setattr(archive_reading, "CHUNK_FILES", CHUNK_FILES)
    summary = index_archive(long_archive, index, IndexOptions(workers=2, pseudonyms_of=reference))
    assert summary.files == summary.files_read
    assert small_archives.tables(index) == small_archives.tables(reference)


def test_a_killed_reader_is_an_error_that_says_what_to_do(
    long_archive: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_reading, "MIN_FILES_FOR_PROCESSES", 1)
    monkeypatch.setattr(parallel, "_start_worker", os.abort)
    with pytest.raises(ChildProcessError, match="run again, it goes on"):
        index_archive(long_archive, index, IndexOptions(workers=2))
    with pytest.raises(ConfigError, match="was not finished"):
        open_index(index)


# -- the index as a file ---------------------------------------------------------------------------------------------


def test_pseudonyms_hide_patients_and_can_be_shared(archive: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.sqlite", "other.sqlite", "same.sqlite")]
    for path, key_of in zip(paths, (None, None, paths[0]), strict=True):
        index_archive(archive, path, IndexOptions(1, key_of))
    patients = []
    for path in paths:
        with open_index(path) as opened:
            patients.append({opened.patient_id(pair.patient): pair.patient for pair in opened.pairs()})
    one, other, same = patients
    assert set(one) == {"P-1", "P-2"}
    assert one == same
    assert not set(one.values()) & set(other.values())
    assert all(len(pseudonym) == 12 and int(pseudonym, 16) >= 0 for pseudonym in one.values())
    rows = small_archives.tables(paths[0])
    rows.pop("patients")
    (archive_row,) = (row for row in rows.pop("meta") if row[0] == "archive")
    assert archive_row[1] == str(archive)
    values = {str(value) for table in rows.values() for row in table for value in row}
    assert not {"P-1", "P-2"} & values
    if os.name == "posix":
        assert stat.S_IMODE(paths[0].stat().st_mode) == 0o600


def test_an_index_is_of_one_archive_until_it_is_said_to_have_moved(archive: Path, index: Path) -> None:
    index_archive(archive, index, ONE)
    moved = archive.rename(archive.with_name("moved"))
    with pytest.raises(ConfigError, match="--moved"):
        index_archive(moved, index, ONE)
    summary = index_archive(moved, index, IndexOptions(workers=1, moved=True))
    assert (summary.files_read, summary.archive) == (0, moved)
    with open_index(index) as opened:
        assert all(file.is_file() for pair in opened.pairs() for file in (*pair.image_files, pair.structure_set_file))


def test_other_files_are_not_taken_for_an_index(archive: Path, tmp_path: Path) -> None:
    text, foreign = tmp_path / "text", tmp_path / "foreign.sqlite"
    text.write_text("a table of something else, long enough to be no empty database " * 20)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE meta (a, b)")
    connection.close()
    before = text.read_bytes(), foreign.read_bytes()
    for path in (text, foreign):
        with pytest.raises(ConfigError):
            index_archive(archive, path, ONE)
        with pytest.raises(ConfigError):
            open_index(path)
    assert (text.read_bytes(), foreign.read_bytes()) == before
    with pytest.raises(ConfigError, match="is missing"):
        open_index(tmp_path / "none.sqlite")
    with pytest.raises(InputRefused, match="is not a folder"):
        index_archive(tmp_path / "none", tmp_path / "new.sqlite", ONE)
    assert not (tmp_path / "new.sqlite").exists()


def test_two_runs_do_not_mix(archive: Path, index: Path) -> None:
    messages = []

    def second_run(stage: str, _: float) -> None:
        if stage == "pair" and not messages:
            for call in (lambda: index_archive(archive, index, ONE), lambda: open_index(index)):
                with pytest.raises(ConfigError) as raised:
                    call()
                messages.append(raised.value.found)

    index_archive(archive, index, ONE, second_run)
    assert set(messages) == {"is in use by another run"}
    with open_index(index) as opened:
        assert len(list(opened.pairs())) == 2


def test_a_full_disk_is_an_error_of_the_disk_and_the_run_goes_on_later(
    archive: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        pair_archive(connection)
        connection.execute("INSERT INTO meta VALUES ('much', ?)", ("x" * 100_000,))

    monkeypatch.setattr(archive_index, "pair_archive", full)
    with pytest.raises(OSError, match="is full"):
        index_archive(archive, index, ONE)
    monkeypatch.undo()
    summary = index_archive(archive, index, ONE)
    assert (summary.files_read, summary.pairs) == (0, 2)


def test_the_index_may_lie_in_the_archive(archive: Path) -> None:
    index = archive / "index.sqlite"
    files = index_archive(archive, index, ONE).files
    again = index_archive(archive, index, ONE)
    assert (again.files, again.files_read) == (files, 0)


# -- files that are anything -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and names of any bytes are POSIX'")
def test_names_links_and_pipes(archive: Path, index: Path) -> None:
    os.mkfifo(archive / "pipe.dcm")  # would never end
    (archive / ".hidden.dcm").write_bytes(b"x")
    (archive / "P-1" / "rs.dcm").rename(archive / "P-1" / os.fsdecode(b"\xff\xfe \xe8.dcm"))
    elsewhere = archive.parent / "elsewhere"
    small_archives.add_series(elsewhere, "P-3")
    (archive / "linked").symlink_to(elsewhere)
    summary = index_archive(archive, index, ONE)
    assert (summary.pairs, summary.files) == (2, 2 * (small_archives.SLICES + 1) + 1)
    with open_index(index) as opened:
        pairs, aside = list(opened.pairs()), list(opened.set_aside())
    assert all(pair.structure_set_file.is_file() for pair in pairs)
    assert {(one.scope, one.item, one.reason) for one in aside} == {
        (Scope.FILE, "pipe.dcm", Aside.NOT_DICOM),
        (Scope.FOLDER, "linked", Aside.NOT_LISTED),
    }
    assert index_archive(archive, index, ONE).files_read == 0


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def changed(data: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.randrange(1, 20)):
        spoilt[rng.randrange(132, len(data))] = rng.randrange(256)
    return bytes(spoilt)


def repeated(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(132, len(data))
    return data[:start] + data[max(132, start - rng.randrange(400)) :]


@pytest.mark.parametrize("spoil", [cut, changed, repeated])
@pytest.mark.parametrize("name", ["rs.dcm", "ct/0003.dcm"])
def test_no_fault_of_a_file_is_an_error(
    archive: Path, name: str, spoil: Callable[[bytes, random.Random], bytes]
) -> None:
    """What a file says is known or set aside, whatever its bytes; and it can be written to the index."""
    rng = random.Random(7)
    whole = (archive / "P-1" / name).read_bytes()
    folder = archive.parent / "spoilt"
    folder.mkdir()
    for i in range(150):
        (folder / f"{i}.dcm").write_bytes(spoil(whole, rng))
        facts = read_file(folder, f"{i}.dcm")
        assert facts.kind is not FileKind.DAMAGED or (facts.reason and facts.problem)
        data_set_sha256(folder, f"{i}.dcm")
    summary = index_archive(folder, archive.parent / "spoilt.sqlite", ONE)
    assert summary.files == 150
