"""Where the images of a structure set lie: found below given folders by their Series Instance UID."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from contour.core.errors import InputRefused, Reason
from contour.dicom.folder import scan_files
from contour.dicom.read_series import read_series_files
from contour.dicom.series import ImageSeries, ReadLimits

LOOK_AGAIN_S = 20.0
SERIES_HELD = 2


class SeriesIndex:
    """Files by series, below `roots`; looked through when a series is first asked for, again when one is missing."""

    def __init__(self, roots: tuple[Path, ...], clock: Callable[[], float] = monotonic) -> None:
        self._roots = roots
        self._clock = clock
        self._files: dict[str, tuple[Path, ...]] = {}
        self._looked_s = -LOOK_AGAIN_S
        self._lock = threading.Lock()

    def files(self, series_instance_uid: str) -> tuple[Path, ...]:
        """The files of a series; none if it lies nowhere here."""
        with self._lock:
            known = self._files.get(series_instance_uid, ())
            if known and all(path.exists() for path in known):
                return known
            if self._clock() - self._looked_s >= LOOK_AGAIN_S:
                self._look()
            return self._files.get(series_instance_uid, ())

    def _look(self) -> None:
        files: dict[str, list[Path]] = {}
        for root in self._roots:
            # Folder by folder: an archive holds more files than one series may.
            for parent, folders, names in os.walk(root.resolve()):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for uid, paths in _series_among([Path(parent, name) for name in sorted(names)], Path(parent)):
                    files.setdefault(uid, []).extend(paths)
        self._files = {uid: tuple(paths) for uid, paths in files.items()}
        self._looked_s = self._clock()


class SeriesShelf:
    """The image series that were read last: a case that is opened again, or asked for in parts, is read once."""

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self._held: dict[str, ImageSeries] = {}
        self._lock = threading.Lock()

    def read(self, series_instance_uid: str) -> ImageSeries:
        """The series, checked as for contouring.

        Raises:
            InputRefused: it lies nowhere here, or cannot be trusted.
        """
        with self._lock:
            series = self._held.pop(series_instance_uid, None)
            if series is None:
                files = self._index.files(series_instance_uid)
                if not files:
                    where, found = f"series {series_instance_uid}", "lies in none of the folders of images"
                    raise InputRefused(Reason.UNKNOWN_SERIES, where, found, "a folder given with --series-root")
                while len(self._held) >= SERIES_HELD:
                    self._held.pop(next(iter(self._held)))
                series = read_series_files(files, series_instance_uid)
            self._held[series_instance_uid] = series
            return series


def _series_among(paths: list[Path], folder: Path) -> list[tuple[str, list[Path]]]:
    """(UID, files) of each series; damaged files too, so that reading tells of them instead of doing without."""
    found = scan_files(folder, paths, ReadLimits()).series
    return [(series.uid, [e.file for e in (*series.slices, *series.damaged)]) for series in found]
