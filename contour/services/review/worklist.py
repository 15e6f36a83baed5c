"""The folders that `contour run` wrote, as a list of what is to be reviewed: the urgent first."""

import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contour.core.errors import ConfigError
from contour.core.report import Finding, RunReport, Severity, report_from_json
from contour.pipeline import PREVIEW_FILE, REPORT_FILE, RTSTRUCT_FILE
from contour.services.review.decisions import Decided, Decision

MAX_REPORT_BYTES = 16 * 1024**2


class ReviewState(StrEnum):
    """How far the review of a case has come."""

    OPEN = "open"
    BEGUN = "begun"
    ACCEPTED = "accepted"
    NEEDS_EDITING = "needs-editing"
    REJECTED = "rejected"
    NOT_RELEASED = "not-released"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class RunFolder:
    """A folder with `report.json`; `key` names it in addresses, and tells nothing of the patient or the path.

    `report` is None if it cannot be read, and `problem` says why.
    """

    folder: Path
    key: str
    report: RunReport | None
    problem: str
    modified_s: float

    @property
    def rtstruct(self) -> Path:
        """The structure set."""
        return self.folder / RTSTRUCT_FILE

    @property
    def preview(self) -> Path:
        """The picture."""
        return self.folder / PREVIEW_FILE

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, the most severe first, in the order of the structures."""
        if self.report is None:
            return ()
        lines = (f for line in self.report.structures for f in line.findings)
        order = [Severity.STOP, Severity.CHECK, Severity.INFO]
        return tuple(sorted((*lines, *self.report.findings), key=lambda f: order.index(f.severity)))

    def count(self, severity: Severity) -> int:
        """How many findings there are of a severity."""
        return sum(finding.severity is severity for finding in self.findings)


def run_folders(roots: tuple[Path, ...]) -> tuple[RunFolder, ...]:
    """Every folder with a report at `roots` and below, the urgent first: stops, then checks, then the oldest.

    Raises:
        ConfigError: there is no such folder.
    """
    found: dict[Path, RunFolder] = {}
    for root in roots:
        if not root.is_dir():
            raise ConfigError(str(root), "is no folder", "folders that `contour run` wrote, or one that holds them")
        for parent, folders, names in os.walk(root.resolve()):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if REPORT_FILE in names:
                found.setdefault(Path(parent), _read(Path(parent)))
    return tuple(
        sorted(found.values(), key=lambda r: (-r.count(Severity.STOP), -r.count(Severity.CHECK), r.modified_s))
    )


def review_state(run: RunFolder, drawn: int, decided: tuple[Decided, ...]) -> ReviewState:
    """Where a case stands, of whose `drawn` structures some have been `decided`."""
    if run.report is None:
        return ReviewState.UNREADABLE
    if not run.report.released:
        return ReviewState.NOT_RELEASED
    decisions = {d.decision for d in decided}
    if not decided:
        return ReviewState.OPEN
    if len(decided) < drawn:
        return ReviewState.BEGUN
    if Decision.REJECT in decisions:
        return ReviewState.REJECTED
    return ReviewState.NEEDS_EDITING if Decision.EDIT in decisions else ReviewState.ACCEPTED


def _read(folder: Path) -> RunFolder:
    path = folder / REPORT_FILE
    key = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    report, problem, modified = None, "", 0.0
    try:
        modified = path.stat().st_mtime
        if path.stat().st_size > MAX_REPORT_BYTES:
            raise ConfigError(str(path), f"{path.stat().st_size} bytes", f"at most {MAX_REPORT_BYTES}")
        report = report_from_json(path.read_text(encoding="utf-8"), str(path))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        problem = str(error)
    return RunFolder(folder, key, report, problem, modified)
