"""What a run did and found: `report.json` beside every RTSTRUCT."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from contour.core.errors import ConfigError
from contour.core.structures import Expectation


class Severity(StrEnum):
    """How urgently a person should look."""

    INFO = "info"
    CHECK = "check"
    STOP = "stop"


class State(StrEnum):
    """What became of a structure: what usually runs on beyond an image is not a part, though the image ends it."""

    WHOLE = "whole"
    RUNS_ON = "runs-on"
    PART = "part"
    OUTSIDE = "outside"
    NOT_FOUND = "not-found"
    NOT_MADE = "not-made"
    WITHHELD = "withheld"


@dataclass(frozen=True)
class Finding:
    """Something a person should know: a stable `code`, a sentence, and where to look.

    `structure` is None for a finding on the image or the run; `slices` are z indices of the image, first to last.
    """

    code: str
    severity: Severity
    message: str
    structure: str | None = None
    slices: tuple[int, ...] = ()


@dataclass(frozen=True)
class StructureReport:
    """One line of the table: what was drawn, and what became of what the protocol asks for.

    `ends` names the sides of the image that the structure goes on beyond. `doses` are published limits that the
    protocol quotes for it. `local_name` is its name in the run's language, where that is not English. `expected` is the
    agreement to be expected by the site's calibration, where there is one.
    """

    name: str
    drawn: bool
    volume_ml: float
    confidence: float | None
    findings: tuple[Finding, ...] = ()
    doses: tuple[str, ...] = ()
    required: bool = True
    state: State = State.WHOLE
    ends: tuple[str, ...] = ()
    local_name: str | None = None
    expected: Expectation | None = None


@dataclass(frozen=True)
class PackageUse:
    """The package that drew, with the checksum of the network that ran."""

    name: str
    version: str
    sha256: str
    engine: str


@dataclass(frozen=True)
class RegistrationUse:
    """How another image was brought to the one that was contoured, and how well the two lie on each other.

    `matrix` (4 x 4) brings x, y, z in mm, LPS, of the series' frame of reference into the image's; `degrees` is by how
    much it turns. `source` is `sought`, the shared frame of reference, or the file that states it. `disagreement_mm` is
    how far apart the search from either image ends, `apart_mm` how far what is stated lies from what is found, and
    `surface_mm` the mean distance between the surfaces of the structures `compared`, drawn on both; None: not measured.
    """

    series_instance_uid: str
    modality: str
    source: str
    matrix: tuple[tuple[float, ...], ...]
    degrees: float
    compared: tuple[str, ...]
    disagreement_mm: float | None
    surface_mm: float | None
    apart_mm: float | None


@dataclass(frozen=True)
class RunReport:
    """A whole run. It carries UIDs but no patient name; timings in seconds by stage, memory as the process's peak.

    `completeness` says in a sentence how much of what the protocol requires is there.
    """

    contour_version: str
    protocol: str
    released: bool
    series_instance_uid: str
    rtstruct_sop_instance_uid: str | None
    packages: tuple[PackageUse, ...]
    structures: tuple[StructureReport, ...]
    findings: tuple[Finding, ...]
    completeness: str = ""
    set_aside: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    registration: RegistrationUse | None = None
    review: str = "Drawn automatically. For a clinician's review before any use."


def report_to_json(report: RunReport) -> str:
    """`report` as indented JSON in UTF-8 text; the keys are the fields' names."""
    return json.dumps(asdict(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_from_json(text: str, where: str) -> RunReport:
    """The report that `report_to_json` wrote; `where` names the file in messages.

    Raises:
        ConfigError: it is no such report, or one of another version's making.
    """
    try:
        content = json.loads(text)
        lines = tuple(_structure_from(line) for line in content.pop("structures"))
        findings = tuple(_finding_from(finding) for finding in content.pop("findings"))
        packages = tuple(PackageUse(**package) for package in content.pop("packages"))
        set_aside = tuple(content.pop("set_aside", ()))
        used = content.pop("registration", None)
        return RunReport(
            structures=lines,
            findings=findings,
            packages=packages,
            set_aside=set_aside,
            registration=_registration_from(used) if used else None,
            **content,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"is no report of a run ({type(error).__name__}: {error})"
        raise ConfigError(where, found, "report.json as `contour run` writes it") from error


def _structure_from(content: dict[str, Any]) -> StructureReport:
    findings = tuple(_finding_from(finding) for finding in content.pop("findings"))
    doses, ends = tuple(content.pop("doses", ())), tuple(content.pop("ends", ()))
    state = State(content.pop("state", State.WHOLE))
    stated = content.pop("expected", None)
    expected = Expectation(**stated) if stated else None
    return StructureReport(findings=findings, doses=doses, ends=ends, state=state, expected=expected, **content)


def _registration_from(content: dict[str, Any]) -> RegistrationUse:
    matrix, compared = tuple(map(tuple, content.pop("matrix"))), tuple(content.pop("compared"))
    return RegistrationUse(matrix=matrix, compared=compared, **content)


def _finding_from(content: dict[str, Any]) -> Finding:
    severity, slices = Severity(content.pop("severity")), tuple(int(index) for index in content.pop("slices", ()))
    return Finding(severity=severity, slices=slices, **content)
