"""Every image series below a folder, and what it holds; files that did not change are not read again.

What is known stands in an SQLite file that only its owner may read: the paths of an archive may name people.
"""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from contour import __version__
from contour.core.errors import InputRefused, Reason
from contour.core.volume import Modality
from contour.dicom.folder import FolderSeries, printable, scan_files
from contour.dicom.part10 import FileElements
from contour.dicom.read_series import read_series_files
from contour.dicom.series import ReadLimits, SeriesFiles
from contour.dicom.slice_header import Tag, Values
from contour.dicom.stack import MIN_SLICES
from contour.services.jobs.drawing import cause_of

INDEX_FILE = "index.sqlite"
_FORMAT = 1
_COMMIT_EVERY = 2000
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, kind TEXT, series TEXT, modality TEXT, seen INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    fingerprint TEXT PRIMARY KEY, content TEXT, code TEXT, message TEXT, version TEXT
) WITHOUT ROWID;
"""

Tell = Callable[[int], None]


class Kind(StrEnum):
    """What a file is to a batch."""

    SLICE = "slice"
    BESIDE = "beside"  # of the series, but no slice with a position: a localizer
    DAMAGED = "damaged"  # its series is not known: any in its folder might miss it
    ENHANCED = "enhanced"
    OTHER = "other"


@dataclass(frozen=True)
class FoundSeries:
    """The files of one series, wherever they lie, and with them the damaged ones of their folders.

    `fingerprint` changes with any of them: their names, sizes and times of change.
    """

    uid: str
    modality: str
    slices: int
    enhanced: int
    files: tuple[Path, ...]
    fingerprint: str

    @property
    def is_volume(self) -> bool:
        """Whether there is something to stack, or a multi-frame image, which is refused with the reason."""
        return self.slices >= MIN_SLICES or self.enhanced > 0


@dataclass(frozen=True)
class Refusal:
    """Why a series cannot be read: a stable code and a sentence."""

    code: str
    message: str


class SeriesIndex:
    """What is known of the files below a folder. Use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / INDEX_FILE
        path.touch(mode=0o600)
        self._database = sqlite3.connect(path)
        known = self._database.execute("PRAGMA user_version").fetchone()[0]
        if known != _FORMAT:  # it is a memory of what can be read again
            self._database.executescript("DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS contents;")
        self._database.executescript(_TABLES)
        self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep what was learnt, also where the search was stopped."""
        self._database.commit()
        self._database.close()

    def search(self, root: Path, leave_out: Path, tell: Tell) -> tuple[FoundSeries, ...]:
        """Every CT and MR series below `root`, but for what lies below `leave_out`, by UID.

        Links to folders are not followed; what begins with a dot is passed over. `tell` hears of the files looked at.

        Raises:
            InputRefused: a folder cannot be listed: slices in it would be missed.
        """
        last = self._database.execute("SELECT max(seen) FROM files").fetchone()[0] or 0
        for seen, (path, facts) in enumerate(_files_below(root, leave_out), start=1):
            self._look_at(path, facts, last + 1)
            if seen % _COMMIT_EVERY == 0:
                self._database.commit()
            tell(seen)
        self._database.execute("DELETE FROM files WHERE seen != ?", (last + 1,))
        self._database.commit()
        return tuple(self._found())

    def content(self, series: FoundSeries) -> SeriesFiles | Refusal:
        """The series as a job takes it, or why it cannot be read; read only if its files changed since the last time.

        What an earlier version of this program refused is read again: this one may know better.
        """
        known = self._database.execute(
            "SELECT content, code, message, version FROM contents WHERE fingerprint = ?", (series.fingerprint,)
        ).fetchone()
        if known is not None and (known[0] or known[3] == __version__):
            content, code, message, _ = known
            return SeriesFiles(series.files, series.uid, content) if content else Refusal(code, message)
        answer = _read(series)
        row = (answer.content_sha256, "", "") if isinstance(answer, SeriesFiles) else ("", answer.code, answer.message)
        if row[1] != Reason.UNREADABLE_FILE:  # it may be readable next time
            sql = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?)"
            self._database.execute(sql, (series.fingerprint, *row, __version__))
            self._database.commit()
        return answer

    def _look_at(self, path: Path, facts: os.stat_result, seen: int) -> None:
        key = os.fsencode(path)
        known = self._database.execute("SELECT size, mtime_ns FROM files WHERE path = ?", (key,)).fetchone()
        if known == (facts.st_size, facts.st_mtime_ns):
            self._database.execute("UPDATE files SET seen = ? WHERE path = ?", (seen, key))
            return
        row = (key, facts.st_size, facts.st_mtime_ns, *_kind_of(path), seen)
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _found(self) -> Iterator[FoundSeries]:
        damaged: dict[bytes, list[tuple[bytes, int, int]]] = {}
        for path, size, changed in self._database.execute(
            "SELECT path, size, mtime_ns FROM files WHERE kind = ? ORDER BY path", (Kind.DAMAGED,)
        ):
            damaged.setdefault(os.path.dirname(path), []).append((path, size, changed))  # noqa: PTH120 - of bytes
        uids = self._database.execute("SELECT DISTINCT series FROM files WHERE series != '' ORDER BY series").fetchall()
        for (uid,) in uids:
            rows = self._database.execute(
                "SELECT path, size, mtime_ns, kind, modality FROM files WHERE series = ? ORDER BY path", (uid,)
            ).fetchall()
            folders = sorted({os.path.dirname(row[0]) for row in rows})  # noqa: PTH120 - of bytes
            files = [row[:3] for row in rows] + [one for folder in folders for one in damaged.get(folder, ())]
            yield FoundSeries(
                uid=uid,
                modality=rows[0][4],
                slices=sum(row[3] == Kind.SLICE for row in rows),
                enhanced=sum(row[3] == Kind.ENHANCED for row in rows),
                files=tuple(Path(os.fsdecode(path)) for path, _, _ in files),
                fingerprint=hashlib.sha256(repr((uid, files)).encode()).hexdigest(),
            )


def _files_below(root: Path, leave_out: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for parent, folders, names in os.walk(root.absolute(), onerror=_refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(parent, f) != leave_out.absolute())
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            try:
                facts = path.stat()
            except OSError:  # a link to nowhere, or gone since it was listed
                continue
            if stat.S_ISREG(facts.st_mode):  # a pipe or a device would never end
                yield path, facts


def _refuse(error: OSError) -> None:
    found = f"cannot be listed ({error.strerror})"
    raise InputRefused(Reason.UNREADABLE_FILE, printable(str(error.filename)), found, "folders that can be read")


def _kind_of(path: Path) -> tuple[Kind, str, str]:
    """What a file is, and the series and modality that it states."""
    contents = scan_files(path.parent, [path], ReadLimits())
    if contents.homeless:
        return Kind.DAMAGED, "", ""
    if not contents.series or not contents.series[0].uid:
        return Kind.OTHER, "", ""
    series = contents.series[0]
    kind, image = _kind_in(series)
    return kind, printable(series.uid), Values(image).text(Tag.MODALITY)


def _kind_in(series: FolderSeries) -> tuple[Kind, FileElements]:
    if series.enhanced:
        return Kind.ENHANCED, series.enhanced[0]
    beside = series.localizers or series.without_position
    if beside:
        return Kind.BESIDE, beside[0]
    return Kind.SLICE, (series.slices or series.damaged)[0]


def _read(series: FoundSeries) -> SeriesFiles | Refusal:
    try:
        read = read_series_files(series.files, series.uid)
    except InputRefused as refused:
        cause = cause_of(refused)
        return Refusal(cause.code, cause.message)
    return SeriesFiles(series.files, series.uid, read.content_sha256)


def wanted(series: FoundSeries, modality: Modality) -> bool:
    """Whether a protocol of that modality could draw it, were it whole."""
    return series.is_volume and series.modality == modality
