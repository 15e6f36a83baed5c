"""What was found about each returned set, kept as an audit trail: appended, never changed, no patient named."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from contour.core.errors import ConfigError
from contour.services.audit_trail import AuditEvent, AuditTrail, verify
from contour.services.monitor.edits import Became, StructureEdit

RETURNED = "returned"


@dataclass(frozen=True)
class ReturnedSet:
    """An approved set: which delivery it answers, when it was approved (YYYYMMDDHHMMSS), and what was changed.

    `seconds` is what lay between the delivery and the review, None where the file states no date and time of one.
    """

    approved_uid: str
    delivered_uid: str
    series_uid: str
    package: str
    protocol: str
    approved_at: str
    seconds: float | None
    structures: tuple[StructureEdit, ...]

    @property
    def unedited(self) -> bool:
        """Whether nothing at all was changed."""
        return all(one.became is Became.UNEDITED for one in self.structures)


class Records:
    """The returned sets that are known, in the trail at `path`; of several answers to one delivery the last counts.

    Raises:
        ConfigError: the trail was tampered with.
        OSError: the disk.
    """

    def __init__(self, path: Path) -> None:
        for fault in verify(path) if path.exists() else ():
            raise ConfigError(f"{path}: line {fault.line}", fault.message, "the trail as it was written")
        self._path, self._trail = path, AuditTrail(path)

    def known(self) -> frozenset[str]:
        """The UIDs of the approved sets that were measured already."""
        return frozenset(one.approved_uid for one in self._all())

    def add(self, returned: ReturnedSet) -> None:
        """Append a set; it is on the disk when this returns."""
        content = asdict(returned)
        subject = content.pop("delivered_uid")
        details = {key: json.dumps(value) for key, value in content.items()}
        self._trail.append(AuditEvent(RETURNED, "contour monitor", subject, details))

    def returned(self) -> tuple[ReturnedSet, ...]:
        """The last answer to each delivery, by the time of approval."""
        latest = {one.delivered_uid: one for one in self._all()}
        return tuple(sorted(latest.values(), key=lambda one: (one.approved_at, one.approved_uid)))

    def _all(self) -> list[ReturnedSet]:
        if not self._path.exists():
            return []
        entries = (json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines())
        return [_read(entry) for entry in entries if entry["what"] == RETURNED]


def _read(entry: dict[str, dict[str, str]]) -> ReturnedSet:
    content = {key: json.loads(value) for key, value in entry["details"].items()}
    lines = [StructureEdit(**{**line, "became": Became(line["became"])}) for line in content.pop("structures")]
    return ReturnedSet(delivered_uid=str(entry["subject"]), structures=tuple(lines), **content)
