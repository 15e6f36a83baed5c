"""An append-only record of who did what, when, and what came of it: JSON lines, each bound to the one before.

Every line carries the SHA-256 of the line before it and its own: a line that was changed, removed, put in or put
elsewhere breaks the chain at that place. What a chain cannot show by itself is its own end cut off: `head` tells the
number of lines and the last hash, to be kept or printed elsewhere, and `verify` holds the file against them.

With a key (the node's secret) the hashes are keyed (HMAC, RFC 2104): who can write to the file but does not have the
key cannot make a new chain either.
"""

import hashlib
import hmac
import json
import os
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from contour.core.errors import ConfigError

FIRST = "0" * 64  # what stands for the line before the first
MAX_LINE_BYTES = 64 * 1024
_TAIL_BYTES = 2 * MAX_LINE_BYTES


@dataclass(frozen=True)
class AuditEvent:
    """One thing that happened.

    `what` is a stable code (`received`, `drawn`, `sent`, `reviewed`, ...), `who` an AE title, a user or a program,
    `subject` the keyed hash or UID of what it was done to. `details` may hold anything that says more (checksums of
    packages, the UID of the result, a reason); no name or number of a patient belongs in any of them.
    """

    what: str
    who: str
    subject: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditHead:
    """How far a trail goes: the number of its lines, and the hash of the last."""

    lines: int
    sha256: str


@dataclass(frozen=True)
class AuditFault:
    """Where a trail is not what was written: the number of the line, from 1, and what is wrong with it."""

    line: int
    message: str


class AuditTrail:
    """Appends to the trail at `path`, from any thread and any process of this machine, one after the other.

    Raises:
        ConfigError: the extra `serve` is missing, or the last line of the file is none of a trail, so that nothing can
            be bound to it.
        OSError: the disk.
    """

    def __init__(self, path: Path, key: bytes = b"") -> None:
        try:
            from filelock import FileLock  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            allowed = "the extra `serve`: pip install 'contour[serve]'"
            raise ConfigError("audit trail", f"{error.name} is not installed", allowed) from error
        self.path = path
        self._key = key
        path.parent.mkdir(parents=True, exist_ok=True)
        self._threads, self._processes = threading.Lock(), FileLock(f"{path}.lock")
        self._bytes, self._previous, self._number = -1, FIRST, 0
        self.head()

    def append(self, event: AuditEvent) -> None:
        """Add `event`; it is on the disk when this returns.

        Raises:
            ValueError: the event is longer than a line may be.
            OSError: the disk; nothing was added.
        """
        with self._threads, self._processes:
            self._catch_up()
            entry = {
                "number": self._number + 1,
                "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
                **asdict(event),
                "previous": self._previous,
            }
            digest = _digest(entry, self._key)
            line = (_canonical({**entry, "sha256": digest}) + "\n").encode()
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"an event of {len(line)} bytes: at most {MAX_LINE_BYTES}")
            self._write(line)
            self._bytes, self._previous, self._number = self._bytes + len(line), digest, self._number + 1

    def head(self) -> AuditHead:
        """How far the trail goes now."""
        with self._threads, self._processes:
            self._catch_up()
            return AuditHead(self._number, self._previous)

    def _catch_up(self) -> None:
        """Another process may have appended, or have died in the middle of it."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._bytes:
            _drop_torn_end(self.path)
            self._previous, self._number = _last(self.path)
            self._bytes = self.path.stat().st_size if self.path.exists() else 0

    def _write(self, line: bytes) -> None:
        """Whole or not at all: half a line would break the chain for good."""
        with self.path.open("ab", buffering=0) as stream:
            start = stream.seek(0, os.SEEK_END)
            try:
                written = stream.write(line)
                if written != len(line):
                    raise OSError(f"{self.path}: {written} of {len(line)} bytes written")
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(start)
                raise


def verify(path: Path, key: bytes = b"", head: AuditHead | None = None) -> tuple[AuditFault, ...]:
    """Every place at which the trail at `path` is not what was written; none if it is whole.

    After a fault the chain is taken up again at the line as it stands, so that each fault shows once. `head` is what
    `AuditTrail.head` said earlier: a trail that is shorter, or has another line in that place, was cut or made anew.

    Raises:
        OSError: the file cannot be read.
    """
    faults: list[AuditFault] = []
    previous, number, at_head = FIRST, 0, FIRST
    with path.open("rb") as stream:
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            found, fault = _read_line(raw, number, previous, key)
            if fault:
                faults.append(AuditFault(number, fault))
            previous = found
            at_head = found if head is not None and number == head.lines else at_head
    if head is not None and number < head.lines:
        faults.append(AuditFault(number + 1, f"{head.lines - number} lines are missing at the end"))
    elif head is not None and at_head != head.sha256:
        faults.append(AuditFault(head.lines, "is not the line that stood there"))
    return tuple(faults)


def head_of(path: Path) -> AuditHead:
    """How far the trail at `path` goes, as it stands.

    Raises:
        ConfigError: its last line is no line of a trail.
        OSError: the file cannot be read.
    """
    sha256, number = _last(path)
    return AuditHead(number, sha256)


def _read_line(raw: bytes, number: int, previous: str, key: bytes) -> tuple[str, str]:
    """(the line's hash, what is wrong with it; empty for nothing)."""
    try:
        entry = json.loads(raw)
        stated, linked, counted = entry.pop("sha256"), entry["previous"], entry["number"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return hashlib.sha256(raw).hexdigest(), "is no line of a trail"
    if not raw.endswith(b"\n"):
        return str(stated), "has no end"
    if not hmac.compare_digest(str(stated), _digest(entry, key)):
        return str(stated), "was changed (its hash is another)"
    if linked != previous or counted != number:
        return str(stated), "does not follow on the line before it: lines were removed, put in or moved"
    return str(stated), ""


def _digest(entry: dict[str, object], key: bytes) -> str:
    content = _canonical(entry).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else hashlib.sha256(content).hexdigest()


def _canonical(entry: dict[str, object]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _drop_torn_end(path: Path) -> None:
    """A line whose writing was cut short (power, a kill) never counted as appended: it is taken away."""
    if not path.exists():
        return
    with path.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        stream.seek(start)
        tail = stream.read()
        if tail and not tail.endswith(b"\n"):
            stream.truncate(start + tail.rfind(b"\n") + 1)
            os.fsync(stream.fileno())


def _last(path: Path) -> tuple[str, int]:
    """(hash, number) of the last line."""
    if not path.exists() or path.stat().st_size == 0:
        return FIRST, 0
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        line = stream.read().splitlines()[-1]
    try:
        entry = json.loads(line)
        return str(entry["sha256"]), int(entry["number"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: the last line", "is no line of an audit trail", "an audit trail") from error
