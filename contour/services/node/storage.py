"""Instances on the disk: written as they came, under names of our own, and nothing half-written.

::

    storage/
      arriving/                               files in work, emptied at each start
      incoming/SERIES/INSTANCE.dcm            what came, one folder for each series and sender
      versions/SERIES/CONTENT/INSTANCE.dcm    what a job draws on: links to the files above, never changed
      quarantine/SERIES/INSTANCE-BYTES.dcm    instances that came again with other bytes

SERIES, INSTANCE and CONTENT are keyed hashes. A file is written as `.part`, brought to the disk (fsync), renamed, and
the folder brought to the disk: what has the name of an instance is whole, whenever the power fails.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contour.core.checksum import file_sha256
from contour.dicom.release import sync_folder

SUFFIX, PART = ".dcm", ".part"


@dataclass(frozen=True)
class Stored:
    """A series on the disk: the names of its instances, and their bytes altogether."""

    names: frozenset[str]
    bytes: int


class Storage:
    """The files of a node below `folder`. Names are keyed hashes, made by the caller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arriving, self.incoming = folder / "arriving", folder / "incoming"
        self.versions, self.quarantine = folder / "versions", folder / "quarantine"
        for place in (self.arriving, self.incoming, self.versions, self.quarantine):
            place.mkdir(parents=True, exist_ok=True)

    def free_bytes(self) -> int:
        """What is free on the disk."""
        return shutil.disk_usage(self.folder).free

    def series_folder(self, series: str) -> Path:
        """The folder of a series, made if there is none."""
        place = self.incoming / series
        if not place.is_dir():
            place.mkdir(exist_ok=True)
            sync_folder(self.incoming)
        return place

    def write_part(self, name: str, pieces: Iterable[bytes | memoryview]) -> Path:
        """A file in work, not yet brought to the disk.

        Raises:
            OSError: the disk; nothing stays.
        """
        part = self.arriving / f"{name}.{secrets.token_hex(4)}{PART}"
        try:
            with part.open("wb", buffering=0) as stream:
                for piece in pieces:
                    _write_all(stream, piece)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return part

    def instance(self, series: str, name: str) -> Path:
        """Where an instance lies."""
        return self.incoming / series / f"{name}{SUFFIX}"

    def set_aside(self, part: Path, series: str, name: str) -> Path:
        """Moves a file in work into quarantine; the same bytes once."""
        place = self.quarantine / series
        place.mkdir(exist_ok=True)
        target = place / f"{name}-{file_sha256(part)[:16]}{SUFFIX}"
        sync_file(part)
        part.replace(target)
        sync_folder(place)
        return target

    def scan(self) -> dict[str, Stored]:
        """The series that came, after a start: files in work are taken away, for nobody was told that they came."""
        found = {}
        for part in (*self.arriving.iterdir(), *self.versions.glob(f"*/*{PART}")):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        for place in sorted(p for p in self.incoming.iterdir() if p.is_dir()):
            names, total = set(), 0
            for entry in os.scandir(place):
                names.add(entry.name.removesuffix(SUFFIX))
                total += entry.stat().st_size
            found[place.name] = Stored(frozenset(names), total)
        return found

    def freeze(self, series: str, names: Iterable[str], content: str) -> Path:
        """The folder with links to these instances, made whole or not at all; it stays as it is when more come.

        Raises:
            OSError: the disk.
        """
        target = self.versions / series / content
        if target.is_dir():
            return target
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f"{content}.{secrets.token_hex(4)}{PART}")
        part.mkdir()
        for name in names:
            _link(self.instance(series, name), part / f"{name}{SUFFIX}")
        sync_folder(part)
        part.replace(target)
        sync_folder(target.parent)
        return target

    def remove_series(self, series: str) -> int:
        """Deletes what came of a series and its versions, not its quarantine; how many files there were."""
        return sum(_remove(place / series) for place in (self.versions, self.incoming))

    def remove_quarantined_before(self, time_s: float) -> int:
        """Deletes files that were quarantined before this time (seconds since the epoch); how many."""
        old = [f for f in self.quarantine.glob(f"*/*{SUFFIX}") if f.stat().st_mtime < time_s]
        for file in old:
            file.unlink(missing_ok=True)
            if not any(file.parent.iterdir()):
                file.parent.rmdir()
        return len(old)


def content_name(names: Iterable[str]) -> str:
    """The name of a set of instances; they themselves never change."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


def sync_file(path: Path) -> None:
    """Waits until the disk has the file."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _write_all(stream: Any, piece: bytes | memoryview) -> None:
    """An unbuffered stream may take less than it is given."""
    view = memoryview(piece)
    while view:
        view = view[stream.write(view) :]


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links: a copy is as good, and larger
        shutil.copyfile(source, target)
        sync_file(target)


def _remove(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    files = sum(1 for path in folder.rglob(f"*{SUFFIX}"))
    shutil.rmtree(folder)
    return files
