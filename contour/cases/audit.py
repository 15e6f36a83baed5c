"""Every case looked at by itself and beside the others: what a person should check before a network learns from it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from contour.cases.audit_checks import CaseFinding, check_case, same_masks
from contour.cases.audit_cohort import check_cohort
from contour.cases.audit_facts import CaseFacts, measure_case
from contour.cases.overrides import Override, Overrides, save_overrides
from contour.cases.parallel import in_order
from contour.cases.store import Status
from contour.core.errors import ContourError
from contour.core.report import Finding, Severity

AUDIT_FILE = "audit.json"
REPORT_FILE = "report.html"
SUGGESTIONS_FILE = "overrides.suggested.yaml"
SUGGESTIONS_HEADER = """\
Suggested by `contour data audit`: what each finding would mean for a case, if it is right. Look at the report, take
out what is wrong, then build again with --overrides and this file."""

Progress = Callable[[str, float], None]

_ORDER = {Severity.STOP: 0, Severity.CHECK: 1, Severity.INFO: 2}
# A structure that is on the wrong side, outside the body or a copy lies in an odd place and has odd values, too.
_EXPLAINS = ("wrong-side", "outside-body", "blank-image", "same-mask")
_EXPLAINED = ("place-unusual", "hu-unusual", "volume-unusual", "section-unusual")
_ANATOMY = "anatomy-"
# The cohort's word on a structure says more than the wide range for all adults, and where contours lie more than what
# images they name.
_SAID_BETTER = {
    "dangling-references": "dangling-reference",
    "anatomy-volume": "volume-unusual",
    "anatomy-section": "section-unusual",
    "anatomy-mean-hu": "hu-unusual",
    "anatomy-offset": "place-unusual",
    "anatomy-depth": "place-unusual",
}
_MISFIT_CODES = ("hu-unusual", "anatomy-mean-hu", "outside-body", "place-unusual", "anatomy-bone-around")
_MISFIT_STRUCTURES, _MISFIT_PART = 3, 0.5


@dataclass(frozen=True)
class AuditOptions:
    """`workers` processes measure, each with one case in memory; `pictures` are drawn of the most severe findings."""

    workers: int = 1
    pictures: int = 300


@dataclass(frozen=True)
class Audit:
    """What was measured and found; `findings` stand with the most severe first, then by case."""

    cases: tuple[CaseFacts, ...]
    findings: tuple[CaseFinding, ...]
    unreadable: tuple[str, ...] = field(default=())

    @property
    def suggestions(self) -> Overrides:
        """What the findings suggest to state, one statement a structure: that of the most severe finding."""
        chosen: dict[tuple[str, str], Override] = {}
        for found in self.findings:
            if all((o.case, o.structure) not in chosen for o in found.suggestion):
                chosen |= {(o.case, o.structure): o for o in found.suggestion}
        return Overrides(tuple(sorted(chosen.values(), key=lambda o: (o.case, o.structure))))

    def count(self, severity: Severity) -> int:
        """How many findings are of that severity."""
        return sum(found.finding.severity is severity for found in self.findings)


def audit(folders: tuple[Path, ...], options: AuditOptions = AuditOptions(), progress: Progress | None = None) -> Audit:
    """Measure the cases in `folders` and judge them, each by itself and beside the others.

    A case that cannot be read is a finding, and the others go on. `progress` is told the part that is done (0 to 1).

    Raises:
        ChildProcessError: a working process was killed.
    """
    facts: list[CaseFacts] = []
    unreadable: list[CaseFinding] = []
    tell = progress or _silent
    tell("Measure cases", 0.0)
    for i, measured in enumerate(in_order(_measured, folders, options.workers)):
        if isinstance(measured, CaseFacts):
            facts.append(measured)
        else:
            unreadable.append(measured)
        tell("Measure cases", (i + 1) / len(folders))
    return judged(tuple(facts), tuple(unreadable))


def judged(cases: tuple[CaseFacts, ...], unreadable: tuple[CaseFinding, ...] = ()) -> Audit:
    """The findings on measured cases."""
    found = [*(f for case in cases for f in check_case(case)), *check_cohort(cases)]
    by_case = {case.name: [f for f in found if f.case == case.name] for case in cases}
    found = list(unreadable)
    for case in cases:
        own = by_case[case.name]
        doubted = frozenset(f.finding.structure or "" for f in own if f.finding.severity is not Severity.INFO)
        own += same_masks(case, doubted)
        found += _misfit(case, own) + _joined(_without_explained(own))
    return Audit(cases, tuple(sorted(found, key=_rank)), tuple(f.case for f in unreadable))


def save_audit(found: Audit, folder: Path) -> None:
    """Write `audit.json` and `overrides.suggested.yaml` into `folder`.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(found), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    part = folder / (AUDIT_FILE + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(folder / AUDIT_FILE)
    save_overrides(found.suggestions, folder / SUGGESTIONS_FILE, SUGGESTIONS_HEADER)


def _rank(found: CaseFinding) -> tuple[int, str, str, str]:
    return _ORDER[found.finding.severity], found.case, found.finding.structure or "", found.finding.code


def _measured(folder: Path) -> CaseFacts | CaseFinding:
    try:
        return measure_case(folder)
    except ContourError as error:  # these do not survive the way back from a process; their words do
        finding = Finding("unreadable-case", Severity.STOP, f"The case cannot be read: {error}")
        return CaseFinding(folder.name, "", finding)


def _misfit(case: CaseFacts, found: list[CaseFinding]) -> list[CaseFinding]:
    """Many structures at odds with what the image shows: they were drawn on another one, or one of both was moved."""
    odd = {f.finding.structure or "": f for f in found if f.finding.code in _MISFIT_CODES and _counts(f)}
    if len(odd) < max(_MISFIT_STRUCTURES, _MISFIT_PART * len(case.structures)):
        return []
    message = (
        f"{len(odd)} of {len(case.structures)} structures do not fit the image ({', '.join(sorted(odd))}):"
        " were they drawn on another one?"
    )
    first = next(iter(odd.values()))
    finding = Finding("image-misfit", Severity.STOP, message)
    suggestion = tuple(
        Override(case.name, s.name, Status.NOT_DRAWN, reason="does not fit the image") for s in case.structures
    )
    return [replace(first, finding=finding, beside=tuple(s.name for s in case.structures), suggestion=suggestion)]


def _without_explained(found: list[CaseFinding]) -> list[CaseFinding]:
    """Without those that only follow from a more telling one on the same structure."""
    telling = [f for f in found if f.finding.code in _EXPLAINS and _counts(f)]
    explained = {name for f in telling for name in (f.finding.structure, *f.beside)}
    said = {(f.finding.code, f.finding.structure) for f in found}
    kept = []
    for f in found:
        code, structure = f.finding.code, f.finding.structure
        follows = structure in explained and (code in _EXPLAINED or code.startswith(_ANATOMY))
        if not follows and (_SAID_BETTER.get(code), structure) not in said:
            kept.append(f)
    return kept


def _joined(found: list[CaseFinding]) -> list[CaseFinding]:
    """What anatomy says against one name, in one finding."""
    against: dict[str | None, list[CaseFinding]] = {}
    for f in found:
        if f.finding.code.startswith(_ANATOMY):
            against.setdefault(f.finding.structure, []).append(f)
    joined = []
    for several in against.values():
        first = min(several, key=lambda f: _ORDER[f.finding.severity])
        code = first.finding.code if len(several) == 1 else "anatomy"
        message = " ".join(f.finding.message for f in several)
        joined.append(replace(first, finding=replace(first.finding, code=code, message=message)))
    return [f for f in found if not f.finding.code.startswith(_ANATOMY)] + joined


def _counts(found: CaseFinding) -> bool:
    return found.finding.severity is not Severity.INFO


def _silent(_: str, __: float) -> None:
    """No one watches."""
