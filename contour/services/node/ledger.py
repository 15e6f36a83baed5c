"""What the node knows of each series beyond its files: one SQLite file, whose changes are on the disk when they count.

A series is one Series Instance UID from one sender to one called AE title, by its keyed hash. It has versions: the sets
of instances that were decided upon. What was decided stays decided, whenever the node ends and starts again.
"""

import sqlite3
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from contour.core.errors import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    series TEXT PRIMARY KEY, calling TEXT NOT NULL, called TEXT NOT NULL, released INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS version (
    series TEXT NOT NULL REFERENCES series ON DELETE CASCADE, number INTEGER NOT NULL, content TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, route TEXT NOT NULL, job TEXT NOT NULL, result TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (series, number));
CREATE INDEX IF NOT EXISTS version_state ON version (state);
"""


class VersionState(StrEnum):
    """What became of a version of a series."""

    ACCEPTED = "accepted"  # a job draws on it
    DRAWN = "drawn"  # there is a structure set, which is on its way to the destinations
    DONE = "done"  # it has arrived everywhere
    REFUSED = "refused"  # must not be drawn on
    NO_ROUTE = "no-route"  # nothing is to be drawn on it
    FAILED = "failed"  # the job ended without a structure set
    UNDELIVERED = "undelivered"  # a destination did not take it for as long as it was tried


# What may still change: a job that failed, or a destination that did not take its result, may be tried again.
OPEN_STATES = (VersionState.ACCEPTED, VersionState.DRAWN, VersionState.FAILED, VersionState.UNDELIVERED)
# What is still to be drawn or sent by itself: its files are needed.
UNSETTLED_STATES = (VersionState.ACCEPTED, VersionState.DRAWN)


@dataclass(frozen=True)
class SeriesEntry:
    """A series: who sent it to which called AE title, and whether the last association with it was released."""

    series: str
    calling: str
    called: str
    released: bool
    at: float


@dataclass(frozen=True)
class Version:
    """A set of instances that was decided upon. `reason` says why nothing was drawn; `result` is a UID."""

    series: str
    number: int
    content: str
    state: VersionState
    reason: str = ""
    route: str = ""
    job: str = ""
    result: str = ""
    at: float = 0.0


class Ledger:
    """The ledger at `path`, used by one process at a time and by any of its threads.

    Raises:
        ConfigError: another process has it open, or the file is none.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=2.0)
        try:
            # Held until the process ends, however it does: a second node on the same storage would do all twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._db.close()
            found = f"cannot be used ({error})"
            raise ConfigError(str(path), found, "a storage that no other node uses, with its own ledger") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the use of the file."""
        with self._lock:
            self._db.close()

    # -- series --------------------------------------------------------------------------------------------------------

    def touched(self, series: str, calling: str, called: str) -> None:
        """Instances of a series are about to come: until its association is released it is not whole."""
        self._run(
            "INSERT INTO series VALUES (?, ?, ?, 0, ?)"
            " ON CONFLICT (series) DO UPDATE SET released = 0, at = excluded.at",
            (series, calling, called, time.time()),
        )

    def released(self, series: tuple[str, ...]) -> None:
        """All that was to come of these series has come, says who sent it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("UPDATE series SET released = 1 WHERE series = ?", [(one,) for one in series])
            self._db.execute("COMMIT")

    def entry(self, series: str) -> SeriesEntry | None:
        """What is known of a series."""
        rows = self._run("SELECT * FROM series WHERE series = ?", (series,))
        if not rows:
            return None
        name, calling, called, released, at = rows[0]
        return SeriesEntry(name, calling, called, bool(released), at)

    def all_series(self) -> tuple[str, ...]:
        """Every series."""
        return tuple(row[0] for row in self._run("SELECT series FROM series"))

    def forget(self, series: str) -> None:
        """Removes a series with its versions."""
        self._run("DELETE FROM series WHERE series = ?", (series,))

    # -- versions ------------------------------------------------------------------------------------------------------

    def decide(self, version: Version) -> None:
        """Records what was decided upon a set of instances, once."""
        values = (version.content, version.state, version.reason, version.route, version.job, version.result)
        self._run(
            "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (version.series, version.number, *values, time.time()),
        )

    def newest(self, series: str) -> Version | None:
        """The newest version of a series."""
        rows = self._run("SELECT * FROM version WHERE series = ? ORDER BY number DESC LIMIT 1", (series,))
        return _version(rows[0]) if rows else None

    def versions(self, *states: VersionState) -> tuple[Version, ...]:
        """The versions in one of these states, the oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._run(f"SELECT * FROM version WHERE state IN ({marks}) ORDER BY at", states)
        return tuple(map(_version, rows))

    def move(self, version: Version, state: VersionState, *, reason: str = "", result: str = "") -> None:
        """Records what became of a version."""
        self._run(
            "UPDATE version SET state = ?, reason = ?, result = CASE ? WHEN '' THEN result ELSE ? END, at = ?"
            " WHERE series = ? AND number = ?",
            (state, reason, result, result, time.time(), version.series, version.number),
        )

    def settled_before(self, time_s: float) -> tuple[str, ...]:
        """The series of which nothing has happened since, and of which nothing is still to be drawn or sent."""
        marks = ", ".join("?" * len(UNSETTLED_STATES))
        rows = self._run(
            "SELECT series FROM series AS s WHERE at < ? AND NOT EXISTS"
            f" (SELECT 1 FROM version AS v WHERE v.series = s.series AND (v.at >= ? OR v.state IN ({marks})))",
            (time_s, time_s, *UNSETTLED_STATES),
        )
        return tuple(row[0] for row in rows)

    def jobs(self) -> frozenset[str]:
        """The jobs of all versions."""
        return frozenset(row[0] for row in self._run("SELECT DISTINCT job FROM version WHERE job != ''"))

    def counts(self) -> dict[str, int]:
        """How many versions are in each state."""
        return dict(self._run("SELECT state, count(*) FROM version GROUP BY state"))

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()


def _version(row: tuple[Any, ...]) -> Version:
    series, number, content, state, reason, route, job, result, at = row
    return Version(series, number, content, VersionState(state), reason, route, job, result, at)
