"""What people decided on structures: kept in the audit trail alone, and read back from it."""

import json
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contour.core.errors import ConfigError
from contour.services.audit_trail import AuditEvent, AuditTrail, verify

REVIEWED = "reviewed"
LOGGED_IN = "logged-in"
LOG_IN_REFUSED = "log-in-refused"
OPENED = "opened"
MAX_COMMENT_LENGTH = 2000


class Decision(StrEnum):
    """What is to become of a structure."""

    ACCEPT = "accept"
    EDIT = "needs-editing"
    REJECT = "reject"


@dataclass(frozen=True)
class Decided:
    """A decision: on which ROI of which file (by its SHA-256), whose and when (UTC, ISO 8601)."""

    rtstruct_sha256: str
    roi_number: int
    roi_name: str
    decision: Decision
    comment: str
    login: str
    name: str
    when: str


class Decisions:
    """The decisions in the audit trail at `path`; the latest on a structure counts, the earlier ones stay in the trail.

    Raises:
        ConfigError: the trail is not what was written: nothing may be added to it before a person has looked.
        OSError: the disk.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        if path.exists():
            for fault in verify(path, key):
                allowed = "the trail as it was written; keep it for inquiry, and put a new one in its place"
                raise ConfigError(f"{path}: line {fault.line}", fault.message, allowed)
        self._lock = threading.Lock()
        self._path = path
        self._trail = AuditTrail(path, key)
        self._latest: dict[tuple[str, int], Decided] = {}
        self._read_bytes = 0
        self._take_up()

    def of(self, rtstruct_sha256: str) -> tuple[Decided, ...]:
        """The latest decision on each ROI of a file, by ROI Number."""
        with self._lock:
            found = [d for (sha256, _), d in self._latest.items() if sha256 == rtstruct_sha256]
        return tuple(sorted(found, key=lambda d: d.roi_number))

    def record(self, decided: Decided, rtstruct_uid: str, seconds_open: float) -> Decided:
        """Append a decision to the trail; it is on the disk when this returns. `decided.when` is the trail's to say.

        Raises:
            OSError: the disk; nothing was recorded.
        """
        details = {
            "rtstruct_sha256": decided.rtstruct_sha256,
            "roi_number": str(decided.roi_number),
            "roi_name": decided.roi_name,
            "decision": decided.decision.value,
            "comment": decided.comment,
            "name": decided.name,
            "seconds_open": f"{seconds_open:.1f}",
        }
        with self._lock:
            self._trail.append(AuditEvent(REVIEWED, decided.login, rtstruct_uid, details))
            self._take_up()
            return self._latest[decided.rtstruct_sha256, decided.roi_number]

    def note(self, what: str, who: str, subject: str) -> None:
        """Append that something else happened: a log-in, a case opened.

        Raises:
            OSError: the disk.
        """
        with self._lock:
            self._trail.append(AuditEvent(what, who, subject))

    def _take_up(self) -> None:
        """Read the lines that are new since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read_bytes)
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # another process is writing it
                self._read_bytes += len(line)
                entry = json.loads(line)
                if entry["what"] == REVIEWED:
                    decided = _decided(entry)
                    self._latest[decided.rtstruct_sha256, decided.roi_number] = decided


def _decided(entry: dict[str, object]) -> Decided:
    details = entry["details"]
    if not isinstance(details, dict):
        raise ConfigError("audit trail", f"details {details!r}", "those of a decision")
    return Decided(
        rtstruct_sha256=details["rtstruct_sha256"],
        roi_number=int(details["roi_number"]),
        roi_name=details["roi_name"],
        decision=Decision(details["decision"]),
        comment=details["comment"],
        login=str(entry["who"]),
        name=details["name"],
        when=str(entry["when"]),
    )
