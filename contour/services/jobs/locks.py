"""Locks that the operating system, or the database, releases when their holder dies: who lives, and who may draw.

A worker holds the lock of its own name as long as it lives. Whoever gets the lock of another's name knows that this
one is dead, and that nobody else deals with its work at that moment. No clock is compared and no heartbeat missed.

A machine has a few slots, files of its own whatever the queue: who draws holds one. Several workers, batches and nodes
on one machine thus share its GPU; on other servers other slots guard other GPUs.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from contour.core.errors import ConfigError
from contour.services.jobs.queue import queue_file

if TYPE_CHECKING:
    import psycopg

POLL_SECONDS = 0.2
SLOTS = "contour-slots"
_NAME = re.compile(r"[a-z0-9-]{1,64}")


class Lives:
    """The locks that say which workers of a queue live."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = queue_file(url)

    def hold(self, worker: str) -> "Life":
        """The lock of `worker`, taken.

        Raises:
            ConfigError: somebody holds it.
        """
        life = self._life(worker)
        if not life.take():
            raise ConfigError(f"worker {worker}", "lives already", "a name of its own for each worker")
        return life

    @contextmanager
    def of_dead(self, worker: str) -> Iterator[bool]:
        """Whether `worker` is dead; if so, nobody else gets this answer while the block lasts."""
        life = self._life(worker)
        dead = life.take()
        try:
            yield dead
        finally:
            if dead:
                life.release()

    def _life(self, worker: str) -> "Life":
        if not _NAME.fullmatch(worker):
            raise ConfigError(f"worker {worker!r}", "a name with other characters", "a to z, 0 to 9 and -")
        return PostgresLife(self._url, worker) if self._file is None else FileLife(self._file.parent, worker)


class Life(Protocol):
    """A worker's lock."""

    def take(self) -> bool:
        """Take it; False where somebody holds it."""

    def held(self) -> bool:
        """Whether it is still held: a lost connection to the database lets go of it."""

    def release(self) -> None:
        """Let go of it."""


class FileLife:
    """A file beside the SQLite file of the queue."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / "workers" / f"{worker}.lock"
        self._lock: Any = None

    def take(self) -> bool:
        """As `Life.take`."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra

        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._lock = lock
        return True

    def held(self) -> bool:
        """As `Life.held`."""
        return self._lock is not None

    def release(self) -> None:
        """As `Life.release`; the file goes with it."""
        if self._lock is not None:
            if os.name != "nt":  # Windows does not remove what is open
                self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


class PostgresLife:
    """An advisory lock (PostgreSQL, 13.3.5) of a connection of its own; it ends with the connection.

    The server probes silent connections after 10 s, so that one whose machine lost its power counts as dead in 40 s.
    """

    def __init__(self, url: str, worker: str) -> None:
        self._url = url
        self._key = int.from_bytes(hashlib.sha256(f"contour worker {worker}".encode()).digest()[:8], "big", signed=True)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def take(self) -> bool:
        """As `Life.take`."""
        import psycopg  # noqa: PLC0415 - comes with DBOS

        connection = psycopg.connect(self._url, autocommit=True)
        for setting, value in (("idle", 10), ("interval", 10), ("count", 3)):
            connection.execute(f"SET tcp_keepalives_{setting} = {value}")
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def held(self) -> bool:
        """As `Life.held`."""
        import psycopg  # noqa: PLC0415 - comes with DBOS

        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def release(self) -> None:
        """As `Life.release`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def slots_folder() -> Path:
    """Where the slots of this machine lie: the same for every user and service, unless CONTOUR_SLOTS says otherwise.

    Services with a temporary folder of their own would not meet there, hence /run/lock where there is one.
    """
    stated = os.environ.get("CONTOUR_SLOTS")
    if stated:
        return Path(stated)
    shared = Path("/run/lock")
    made = shared / SLOTS  # also where a hardened service may write there, and to nothing else in /run/lock
    base = shared if made.is_dir() or (shared.is_dir() and os.access(shared, os.W_OK)) else Path(tempfile.gettempdir())
    return base / SLOTS


def device_slot(engine: str) -> str:
    """How the slots of a device are called: the processors are one, and so is each choice of GPUs."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "") if engine == "cuda" else ""
    return "-".join(part for part in (engine, re.sub(r"[^A-Za-z0-9]+", "-", chosen).strip("-")) if part)


@contextmanager
def slot(device: str, slots: int, check: Callable[[], None], folder: Path | None = None) -> Iterator[int]:
    """One of the machine's `slots` of a device, waited for and held during the block; `check` may end the waiting.

    Raises:
        OSError: the folder of the slots cannot be written to.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra

    files = _slot_files(folder or slots_folder(), device, slots)
    locks = [FileLock(file, blocking=False) for file in files]
    while True:
        for number, lock in enumerate(locks):
            try:
                lock.acquire()
            except Timeout:
                continue
            try:
                yield number
            finally:
                lock.release()
            return
        check()
        time.sleep(POLL_SECONDS)


def _slot_files(folder: Path, device: str, slots: int) -> list[Path]:
    """The files, which workers of other users may lock, too."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    files = [folder / f"{device}-{number}.lock" for number in range(slots)]
    for file in files:
        if not file.exists():
            file.touch()
            file.chmod(0o666)
    return files
