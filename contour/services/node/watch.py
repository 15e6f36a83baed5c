"""A folder that images are dropped into, as another source.

It is polled. What the operating system tells of changes (inotify and its like) is silent about files that another
machine writes to a network share, and that is where such folders lie. A file counts as whole once two looks saw it with
the same size and time; that the series is whole is decided as for any other.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from contour.dicom.series import ReadLimits
from contour.services.node.receive import Receiver, Refused, Sender, incoming_file
from contour.services.node.settings import WatchedFolder

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """A file as it was at a look."""

    bytes: int
    modified_ns: int


class Watch:
    """Looks through one folder; call `look` often, it acts when its time has come."""

    def __init__(self, folder: WatchedFolder, called: str, receiver: Receiver, limits: ReadLimits) -> None:
        self._folder, self._receiver, self._limits = folder, receiver, limits
        self._sender = Sender(folder.name, called)
        self._before: dict[Path, _Seen] = {}
        self._taken: dict[Path, _Seen] = {}
        self._next_s = 0.0
        self.away = False  # the folder could not be looked through

    def look(self) -> None:
        """Take what has come to rest since the last look, if it is time for one."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._folder.poll_seconds
        try:
            now = self._files()
        except OSError as error:  # a share that is away comes back
            if not self.away:
                LOG.warning("folder %s cannot be looked through (%s)", self._folder.name, error.strerror)
            self.away = True
            return
        self.away = False
        whole = [path for path, seen in now.items() if self._before.get(path) == seen and self._taken.get(path) != seen]
        self._taken = {path: seen for path, seen in self._taken.items() if path in now}
        self._before = now
        if whole:
            self._take(whole, now)

    def _take(self, paths: list[Path], now: dict[Path, _Seen]) -> None:
        association = object()  # nobody sends while nothing is taken
        for path in sorted(paths):
            try:
                self._take_file(path, now[path], association)
            except OSError as error:  # it is tried again at the next look
                LOG.warning("a file in folder %s was not taken (%s)", self._folder.name, error.strerror)
                continue
            self._taken[path] = now[path]
        self._receiver.end(association, released=True)

    def _take_file(self, path: Path, seen: _Seen, association: object) -> None:
        try:
            if seen.bytes > self._limits.max_file_bytes:
                raise Refused(0xA700, "the file is larger than allowed")
            self._receiver.store(incoming_file(path.read_bytes(), self._limits), self._sender, association)
        except Refused as refused:
            if refused.status == 0xA700 and seen.bytes <= self._limits.max_file_bytes:
                raise OSError(28, "the storage is full") from refused  # later there may be room
            LOG.info("a file in folder %s is passed over (%s)", self._folder.name, refused.comment)

    def _files(self) -> dict[Path, _Seen]:
        found: dict[Path, _Seen] = {}
        for parent, _, names in os.walk(self._folder.path, onerror=_raise):
            for name in names:
                path = Path(parent, name)
                if name.startswith(".") or not path.is_file():
                    continue
                state = path.stat()
                found[path] = _Seen(state.st_size, state.st_mtime_ns)
                if len(found) > self._limits.max_files:
                    raise OSError(27, f"more than {self._limits.max_files} files")
        return found


def _raise(error: OSError) -> None:
    raise error
