"""The reading of an archive: every file listed, and what is new or changed read once, by several processes.

Each chunk of files is one transaction: killed at any moment, the next run goes on behind the last chunk.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from contour.cases.archive_files import FileFacts, FileKind, data_set_sha256, read_file
from contour.cases.archive_tables import add_files, meta, path_text, stored_path, transaction
from contour.cases.parallel import results, worker_pool

Progress = Callable[[str, float], None]

CHUNK_FILES = 256
MIN_FILES_FOR_PROCESSES = 1000  # starting a process costs as much as reading these
_CHUNKS_IN_FLIGHT_PER_WORKER = 3

T = TypeVar("T")
_Chunk = tuple[str, ...]


@dataclass(frozen=True)
class Readers:
    """What reads an archive's files: the processes of `pool`, or this one where there is none."""

    archive: Path
    pool: ProcessPoolExecutor | None = None
    ahead: int = 1

    def over(self, function: Callable[[Path, _Chunk], T], chunks: Iterable[_Chunk]) -> Iterator[T]:
        """`function` of the archive and each chunk of paths, in their order."""
        if self.pool is None:
            return (function(self.archive, chunk) for chunk in chunks)
        return results(self.pool, partial(function, self.archive), chunks, self.ahead)


def list_archive(connection: sqlite3.Connection, archive: Path, index: Path) -> int:
    """List the archive and forget what vanished, changed or could not be read; how many are to be read.

    Hidden files are passed over, and so is the index itself.
    """
    connection.execute("DROP TABLE IF EXISTS temp.listed")
    connection.execute("CREATE TEMP TABLE listed (path PRIMARY KEY, size_bytes, mtime_ns) WITHOUT ROWID")
    unlisted: list[tuple[str | bytes, str]] = []
    own = {index.absolute(), index.absolute().with_name(index.name + "-journal")}
    with transaction(connection):
        rows = _files_below(archive, own, unlisted)
        connection.executemany("INSERT INTO temp.listed VALUES (?, ?, ?)", rows)
        connection.execute("DELETE FROM unlisted")
        connection.executemany("INSERT INTO unlisted VALUES (?, ?)", unlisted)
        connection.execute(
            """DELETE FROM files WHERE kind = ? OR NOT EXISTS (
                SELECT 1 FROM temp.listed AS now WHERE now.path = files.path
                    AND now.size_bytes = files.size_bytes AND now.mtime_ns = files.mtime_ns)""",
            (FileKind.UNREADABLE,),
        )
        connection.execute("DELETE FROM temp.listed WHERE path IN (SELECT path FROM files)")
    (new,) = connection.execute("SELECT COUNT(*) FROM temp.listed").fetchone()
    return int(new)


def read_new_files(connection: sqlite3.Connection, files: Readers, progress: Progress) -> None:
    """Read what `list_archive` found to be new."""
    key = bytes.fromhex(meta(connection, "pseudonym_key"))
    (count,) = connection.execute("SELECT COUNT(*) FROM temp.listed").fetchone()
    done = 0
    rows = connection.execute("SELECT path FROM temp.listed ORDER BY path")
    for facts in files.over(_read_chunk, _chunks(path_text(row[0]) for row in rows)):
        with transaction(connection):
            add_files(connection, [(one, *_stat(connection, one.path)) for one in facts], key)
        done += len(facts)
        progress("headers", done / count)


def compare_repeats(connection: sqlite3.Connection, files: Readers, progress: Progress) -> None:
    """Take the checksums of files that share a SOP Instance UID, to tell copies from conflicts."""
    query = """
        SELECT path FROM files WHERE kind IN (?, ?) AND data_sha256 IS NULL AND sop_instance_uid IN (
            SELECT sop_instance_uid FROM files WHERE kind IN (?, ?) GROUP BY 1 HAVING COUNT(*) > 1)
        ORDER BY path"""
    kinds = (FileKind.SLICE, FileKind.STRUCTURE_SET)
    paths = [path_text(row[0]) for row in connection.execute(query, kinds * 2)]
    done = 0
    for digests in files.over(_digest_chunk, _chunks(paths)):
        with transaction(connection):
            # What could not be read this time is NULL still, and tried again by the next run.
            rows = [(digest or None, stored_path(path)) for path, digest in digests]
            connection.executemany("UPDATE files SET data_sha256 = ? WHERE path = ?", rows)
        done += len(digests)
        progress("copies", done / len(paths))


@contextmanager
def readers(archive: Path, workers: int, files: int) -> Iterator[Readers]:
    """What reads chunks of files: `workers` processes, or this one where there is little to read.

    Raises:
        ChildProcessError: a process was killed; what was read before is kept.
    """
    if workers == 1 or files < MIN_FILES_FOR_PROCESSES:
        yield Readers(archive)
        return
    try:
        with worker_pool(workers) as pool:
            yield Readers(archive, pool, _CHUNKS_IN_FLIGHT_PER_WORKER * workers)
    except ChildProcessError as error:
        raise ChildProcessError(f"{archive}: {error}; run again, it goes on") from error


def _read_chunk(archive: Path, paths: _Chunk) -> tuple[FileFacts, ...]:
    return tuple(read_file(archive, path) for path in paths)


def _digest_chunk(archive: Path, paths: _Chunk) -> tuple[tuple[str, str], ...]:
    return tuple((path, data_set_sha256(archive, path)) for path in paths)


def _chunks(paths: Iterable[str]) -> Iterator[_Chunk]:
    rest = iter(paths)
    while chunk := tuple(islice(rest, CHUNK_FILES)):
        yield chunk


def _stat(connection: sqlite3.Connection, path: str) -> tuple[int, int]:
    """Size and time of change as they were when the file was listed: a later change will be seen by the next run."""
    query = "SELECT size_bytes, mtime_ns FROM temp.listed WHERE path = ?"
    size_bytes, mtime_ns = connection.execute(query, (stored_path(path),)).fetchone()
    return size_bytes, mtime_ns


def _files_below(
    archive: Path, own: set[Path], unlisted: list[tuple[str | bytes, str]]
) -> Iterator[tuple[str | bytes, int, int]]:
    """Path, size and time of change of each file; folders that cannot be listed are added to `unlisted`."""
    root = os.path.join(archive, "")  # noqa: PTH118 - strings, for a hundred thousand files

    def relative(path: str) -> str:
        return path[len(root) :].replace(os.sep, "/")

    def note(error: OSError) -> None:
        path = str(error.filename)
        unlisted.append((stored_path(relative(path)), f"cannot be listed ({error.strerror})"))

    for parent, folders, names in os.walk(root, onerror=note):
        for name in folders:
            path = os.path.join(parent, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                unlisted.append((stored_path(relative(path)), "is a link to a folder, and not followed"))
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118
            if name.startswith(".") or Path(path) in own:
                continue
            try:
                found = os.stat(path)  # noqa: PTH116
                yield stored_path(relative(path)), found.st_size, found.st_mtime_ns
            except OSError:
                yield stored_path(relative(path)), -1, 0  # a broken link; reading it will say so
