"""The index as SQLite tables: facts as the files state them, and what follows from them.

Facts (`files`, `structure_sets`, `rois`, `set_series`, `set_images`, `patients`) are kept from run to run; `copies`,
`series`, `pairs`, `pair_findings` and `set_aside` are worked out anew by each. The index holds Patient IDs and the key
of the pseudonyms: it stays where the archive is, readable by its owner only.
"""

import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contour.cases.archive_files import FileFacts
from contour.core.errors import ConfigError

APPLICATION_ID = 0x436F6E74  # what tells an index from any other SQLite file: PRAGMA application_id
VERSION = 1
PSEUDONYM_DIGITS = 12
_KEY_BYTES = 32

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE patients (pseudonym TEXT PRIMARY KEY, patient_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    path PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, modality TEXT NOT NULL, patient TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL, series_instance_uid TEXT NOT NULL, frame_of_reference_uid TEXT NOT NULL,
    reason TEXT NOT NULL, problem TEXT NOT NULL, data_sha256 TEXT
) WITHOUT ROWID;
CREATE INDEX files_by_instance ON files (sop_instance_uid);
CREATE INDEX files_by_series ON files (series_instance_uid, kind);
CREATE TABLE structure_sets (
    path PRIMARY KEY REFERENCES files ON DELETE CASCADE, label TEXT NOT NULL, approval_status TEXT NOT NULL,
    drawn_at TEXT NOT NULL, frames TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE rois (
    path REFERENCES structure_sets ON DELETE CASCADE, position INTEGER, number INTEGER NOT NULL, name TEXT NOT NULL,
    interpreted_type TEXT NOT NULL, frame_of_reference_uid TEXT NOT NULL, contours INTEGER NOT NULL,
    other_contours INTEGER NOT NULL, planes INTEGER NOT NULL,
    low_x REAL, low_y REAL, low_z REAL, high_x REAL, high_y REAL, high_z REAL,
    PRIMARY KEY (path, position)
) WITHOUT ROWID;
CREATE TABLE set_series (
    path REFERENCES structure_sets ON DELETE CASCADE, series_instance_uid TEXT, PRIMARY KEY (path, series_instance_uid)
) WITHOUT ROWID;
CREATE TABLE set_images (
    path REFERENCES structure_sets ON DELETE CASCADE, sop_instance_uid TEXT, contours INTEGER NOT NULL,
    listed INTEGER NOT NULL, PRIMARY KEY (path, sop_instance_uid)
) WITHOUT ROWID;
CREATE TABLE unlisted (path PRIMARY KEY, problem TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE copies (path PRIMARY KEY, original NOT NULL) WITHOUT ROWID;
CREATE TABLE series (
    series_instance_uid TEXT PRIMARY KEY, study_instance_uid TEXT NOT NULL, patient TEXT NOT NULL,
    frame_of_reference_uid TEXT NOT NULL, modality TEXT NOT NULL, slices INTEGER NOT NULL,
    reason TEXT NOT NULL, problem TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE pairs (
    structure_set_path PRIMARY KEY, series_instance_uid TEXT NOT NULL, paired_by TEXT NOT NULL, chosen INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE pair_findings (
    structure_set_path, position INTEGER, code TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (structure_set_path, position)
) WITHOUT ROWID;
CREATE TABLE set_aside (scope TEXT, item, reason TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (scope, item))
    WITHOUT ROWID;
"""

DERIVED_TABLES = ("copies", "series", "pairs", "pair_findings", "set_aside")


def open_for_writing(index: Path, archive: Path, *, key_of: Path | None, moved: bool) -> sqlite3.Connection:
    """The index at `index`, made if there is none, locked for this process until it is closed.

    Raises:
        ConfigError: another file stands there, it is of another archive (and not `moved`), or another run has it.
        OSError: it cannot be written.
    """
    with explained(index):
        new = not index.exists() or index.stat().st_size == 0
        if new:
            index.parent.mkdir(parents=True, exist_ok=True)
            index.touch(mode=0o600)
        connection = sqlite3.connect(index, timeout=1.0, isolation_level=None)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA foreign_keys = ON")
        try:
            with transaction(connection):
                if new:
                    _create(connection, archive, pseudonym_key(key_of) if key_of else secrets.token_bytes(_KEY_BYTES))
                _require_index(connection, index)
                _require_archive(connection, index, archive, moved=moved)
        except BaseException:
            connection.close()
            raise
    return connection


def open_for_reading(index: Path) -> sqlite3.Connection:
    """The finished index at `index`.

    Raises:
        ConfigError: there is none, or a run on it was not finished or is going on.
    """
    if not index.is_file():
        raise ConfigError(str(index), "is missing", "an index made by `contour data index`")
    with explained(index):
        # Not read-only: what a killed run left in the journal has to be rolled back first.
        connection = sqlite3.connect(index, timeout=1.0, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only = ON")
            _require_index(connection, index)
            complete = meta(connection, "complete") == "yes"
        except BaseException:
            connection.close()
            raise
    if not complete:
        connection.close()
        raise ConfigError(str(index), "the last run was not finished", "`contour data index` again: it goes on")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what the block writes, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def meta(connection: sqlite3.Connection, key: str) -> str:
    """A value of the index's own; empty where it is not set."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Set a value of the index's own."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def pseudonym_key(index: Path) -> bytes:
    """The key of the pseudonyms of another index: with it, one patient has one pseudonym in both.

    Raises:
        ConfigError: as `open_for_reading`.
    """
    connection = open_for_reading(index)
    try:
        return bytes.fromhex(meta(connection, "pseudonym_key"))
    finally:
        connection.close()


def pseudonym(key: bytes, patient_id: str) -> str:
    """Twelve hexadecimal digits that stand for a Patient ID, and lead back to it only with the index."""
    return hmac.digest(key, patient_id.encode("utf-8", "surrogatepass"), "sha256").hex()[:PSEUDONYM_DIGITS]


def stored_path(relative: str) -> str | bytes:
    """A path as the tables hold it: text, or bytes where it is not Unicode."""
    try:
        relative.encode()
    except UnicodeEncodeError:
        return os.fsencode(relative)
    return relative


def path_text(stored: str | bytes) -> str:
    """The path that `stored_path` was given."""
    return stored if isinstance(stored, str) else os.fsdecode(stored)


def add_files(connection: sqlite3.Connection, facts: Iterable[tuple[FileFacts, int, int]], key: bytes) -> None:
    """Write what files say; beside each its size in bytes and its time of change in ns."""
    for one, size_bytes, mtime_ns in facts:
        path = stored_path(one.path)
        patient = pseudonym(key, one.patient_id) if one.patient_id else ""
        if patient:
            connection.execute("INSERT OR IGNORE INTO patients VALUES (?, ?)", (patient, one.patient_id))
        row = (path, size_bytes, mtime_ns, one.kind, one.sop_class_uid, one.sop_instance_uid, one.modality, patient)
        uids = (one.study_instance_uid, one.series_instance_uid, one.frame_of_reference_uid)
        values = (*row, *uids, one.reason, one.problem, None)
        connection.execute(f"INSERT INTO files VALUES ({_marks(len(values))})", values)
        if one.structure_set is not None:
            _add_structure_set(connection, path, one)


def _add_structure_set(connection: sqlite3.Connection, path: str | bytes, facts: FileFacts) -> None:
    found = facts.structure_set
    if found is None:
        return
    row = (path, found.label, found.approval_status, found.drawn_at, "\n".join(found.frames))
    connection.execute(f"INSERT INTO structure_sets VALUES ({_marks(len(row))})", row)
    connection.executemany("INSERT INTO set_series VALUES (?, ?)", [(path, uid) for uid in found.series])
    images = [(path, image.sop_instance_uid, image.contours, image.listed) for image in found.images]
    connection.executemany("INSERT INTO set_images VALUES (?, ?, ?, ?)", images)
    rois = [
        (
            *(path, position, roi.number, roi.name, roi.interpreted_type, roi.frame_of_reference_uid),
            *(roi.contours, roi.other_contours, roi.planes),
            *(roi.low_lps_mm or (None, None, None)),
            *(roi.high_lps_mm or (None, None, None)),
        )
        for position, roi in enumerate(found.rois)
    ]
    connection.executemany(f"INSERT INTO rois VALUES ({_marks(15)})", rois)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _create(connection: sqlite3.Connection, archive: Path, key: bytes) -> None:
    for statement in _SCHEMA.split(";"):  # `executescript` would end the transaction
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    set_meta(connection, "archive", str(archive))
    set_meta(connection, "pseudonym_key", key.hex())


def _require_index(connection: sqlite3.Connection, index: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise ConfigError(
            str(index), "is another program's file", "an index made by `contour data index`, or a new file"
        )
    if version != VERSION:
        raise ConfigError(str(index), f"is an index of version {version}", f"version {VERSION}, or a new file")


def _require_archive(connection: sqlite3.Connection, index: Path, archive: Path, *, moved: bool) -> None:
    known = meta(connection, "archive")
    if moved:
        set_meta(connection, "archive", str(archive))
    elif known != str(archive):
        raise ConfigError(str(index), f"is the index of {known}", "that archive; --moved if it lies elsewhere now")


@contextmanager
def explained(index: Path) -> Iterator[None]:
    """SQLite's errors as what a person can act on.

    Raises:
        ConfigError: another run has the index, or the file is none.
        OSError: the disk.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ConfigError(str(index), "is in use by another run", "one run at a time") from error
        raise OSError(f"{index}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(str(index), f"is no index ({error})", "an index made by `contour data index`") from error
