"""A site's own cases decide: is what networks draw here within what was asked of them, and what is their doubt worth?

An evaluation (`contour.cases.evaluate`) is held against stated limits, structure by structure; a calibration of the
networks' sureness is learnt from the same cases and judged on patients that it never saw; and a later run is compared
with an earlier one, case by case. The folder of a run is the site's baseline: the limits, verdicts and machine stand in
`commission.json` with the checksum of the evaluation they were taken from.
"""

import hashlib
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import onnxruntime

from contour.cases.evaluation import EVALUATION_FILE, Evaluation, load_evaluation, load_json, save_json
from contour.cases.score import CaseScore, Measure
from contour.cases.statistics import MIN_PATIENTS, BootstrapOptions, Interval, Statistic, interval
from contour.cases.summary import StructureSummary
from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError
from contour.inference.package import Manifest
from contour.qa.calibration import (
    COVERAGE,
    Calibration,
    Judged,
    StructureCalibration,
    TooFew,
    Worth,
    constant_error,
    cross_fitted,
    worth,
)
from contour.qa.calibration import (
    MIN_PATIENTS as CALIBRATION_PATIENTS,
)

COMMISSION_FILE = "commission.json"
LIMITS_FOLDER = "commission"


class Verdict(StrEnum):
    """What the cases say of a structure and its limits."""

    MET = "met"
    MET_NOT_SHOWN = "met, not shown"  # the median is within, the end of its interval is not
    NOT_MET = "not met"
    TOO_FEW = "too few patients"
    NOT_JUDGED = "not judged"  # it has a limit, but no case has it or the protocol does not draw it
    NO_LIMIT = "no limit"


@dataclass(frozen=True)
class AcceptanceLimit:
    """What is asked of a structure: medians over cases, and the part of patients in whom it may be missed.

    Raises:
        ValueError: a part outside 0 to 1, a distance that is not above 0, or nothing asked.
    """

    least_dice: float | None = None
    least_surface_dice: float | None = None
    largest_hd95_mm: float | None = None
    largest_missed_part: float = 0.1

    def __post_init__(self) -> None:
        for name in ("least_dice", "least_surface_dice", "largest_missed_part"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} {value}: from 0 to 1")
        if self.largest_hd95_mm is not None and not self.largest_hd95_mm > 0:
            raise ValueError(f"largest_hd95_mm {self.largest_hd95_mm}: above 0")
        if self.least_dice is None and self.least_surface_dice is None and self.largest_hd95_mm is None:
            raise ValueError("a limit: least_dice, least_surface_dice or largest_hd95_mm")

    @property
    def asked(self) -> tuple[tuple[Measure, float], ...]:
        """Each measure with its limit."""
        pairs = (
            (Measure.DICE, self.least_dice),
            (Measure.SURFACE_DICE, self.least_surface_dice),
            (Measure.HD95_MM, self.largest_hd95_mm),
        )
        return tuple((measure, limit) for measure, limit in pairs if limit is not None)


@dataclass(frozen=True)
class CommissionLimits:
    """The content of a file of limits: `source` says where they come from, `tolerance_mm` is that of surface Dice.

    Raises:
        ValueError: a tolerance that is not above 0, or fewer patients than an interval needs.
    """

    name: str
    title: str
    tolerance_mm: float
    source: str
    structures: dict[str, AcceptanceLimit]
    min_patients: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.tolerance_mm <= 100:
            raise ValueError(f"tolerance_mm {self.tolerance_mm}: above 0, at most 100")
        if self.min_patients < MIN_PATIENTS:
            raise ValueError(f"min_patients {self.min_patients}: at least {MIN_PATIENTS}")


@dataclass(frozen=True)
class StructureVerdict:
    """A structure, what it reaches, what is asked, and which of it is missed."""

    structure: str
    verdict: Verdict
    cases: int
    patients: int
    not_found: int
    reached: tuple[tuple[Measure, float], ...]
    asked: tuple[tuple[Measure, float], ...]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A structure against the earlier run, on the cases of both: the mean difference of surface Dice, new less old."""

    structure: str
    cases: int
    patients: int
    difference: float
    interval: Interval | None

    @property
    def worse(self) -> bool:
        """Whether it became worse by more than chance."""
        return self.interval is not None and self.interval.high < 0


@dataclass(frozen=True)
class MachineFacts:
    """Where it was measured."""

    system: str
    processor: str
    processors: int
    python: str
    onnxruntime: str

    @classmethod
    def here(cls) -> "MachineFacts":
        """Those of this machine."""
        return cls(
            f"{platform.system()} {platform.release()}",
            platform.processor() or platform.machine(),
            os.cpu_count() or 1,
            platform.python_version(),
            str(onnxruntime.__version__),
        )


@dataclass(frozen=True)
class CalibratedStructure:
    """What sureness is worth on a structure: cases judged by calibrations that never saw their patient."""

    structure: str
    worth: Worth
    judged: tuple[Judged, ...]


@dataclass(frozen=True)
class Commissioning:
    """The content of `commission.json`. `evaluation_sha256` is that of the `evaluation.json` beside it."""

    made: str
    contour_version: str
    protocol: str
    limits: CommissionLimits
    machine: MachineFacts
    evaluation_sha256: str
    cases: int
    patients: int
    refused: int
    seen: int
    verdicts: tuple[StructureVerdict, ...]
    calibrated: tuple[CalibratedStructure, ...]
    against: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every structure that the limits name meets its own, on cases that no network has seen."""
        limited = [line for line in self.verdicts if line.verdict is not Verdict.NO_LIMIT]
        met = all(line.verdict in (Verdict.MET, Verdict.MET_NOT_SHOWN) for line in limited)
        return bool(limited) and met and not self.seen and not any(change.worse for change in self.changes)


def load_limits(name_or_path: str) -> CommissionLimits:
    """The limits that ship under a name, or those of a YAML file.

    Raises:
        ConfigError: there are none, or the file has a mistake.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return load_config(path, CommissionLimits)
    known = {file.stem: file for file in sorted((shipped_folder("configs") / LIMITS_FOLDER).glob("*.yaml"))}
    if name_or_path not in known:
        raise ConfigError("--limits", f"{name_or_path!r}", f"{', '.join(known)}, or a YAML file")
    return load_config(known[name_or_path], CommissionLimits)


def commission(
    evaluation: Evaluation, folder: Path, limits: CommissionLimits, against: Path | None = None
) -> Commissioning:
    """Judge `evaluation`, which lies in `folder`, by `limits`, and beside the run in the folder `against`; written.

    Raises:
        ConfigError: the earlier run is damaged, or its evaluation is no longer the one that it was made from.
        OSError: `folder` cannot be written to.
    """
    calibrated = tuple(
        CalibratedStructure(points.name, worth(judged, constant_error(points)), judged)
        for points, judged in (
            (p, cross_fitted(p)) for p, _ in _points(evaluation) if isinstance(p, StructureCalibration)
        )
    )
    made = Commissioning(
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        contour_version=evaluation.contour_version,
        protocol=evaluation.protocol,
        limits=limits,
        machine=MachineFacts.here(),
        evaluation_sha256=_sha256(folder / EVALUATION_FILE),
        cases=len(evaluation.cases),
        patients=evaluation.patients,
        refused=sum(case.failure is not None for case in evaluation.cases),
        seen=sum(case.seen for case in evaluation.cases),
        verdicts=_verdicts(evaluation, limits),
        calibrated=calibrated,
        against=None if against is None else against.name,
        changes=() if against is None else _changes(evaluation, _earlier(against)),
    )
    save_json(made, folder / COMMISSION_FILE)
    return made


def calibrations(evaluation: Evaluation, manifests: tuple[Manifest, ...], source: str) -> tuple[Calibration, ...]:
    """What the sureness of each network is worth on these cases, for `contour run --calibration`.

    A network's part are the structures that it is the first to draw. One with too few patients everywhere has none.
    """
    points = _points(evaluation)
    left = {name for _, name in points}
    found = []
    for manifest in manifests:
        own = left & set(manifest.offered)
        left -= own
        learnt = tuple(p for p, name in points if name in own and isinstance(p, StructureCalibration))
        too_few = tuple(p for p, name in points if name in own and isinstance(p, TooFew))
        if learnt:
            found.append(
                Calibration(
                    package=manifest.name,
                    version=manifest.version,
                    onnx_sha256=manifest.onnx_sha256,
                    protocol=evaluation.protocol,
                    tolerance_mm=evaluation.tolerances_mm[0],
                    coverage=COVERAGE,
                    source=source,
                    made=f"{datetime.now(UTC):%Y-%m-%d}",
                    cases=len(evaluation.cases),
                    patients=evaluation.patients,
                    structures=learnt,
                    too_few=too_few,
                )
            )
    return tuple(found)


def _points(evaluation: Evaluation) -> list[tuple[StructureCalibration | TooFew, str]]:
    """For each structure what the network expected and what was measured, where something was drawn."""
    numbers = {patient: i for i, patient in enumerate(sorted({case.patient for case in evaluation.cases}))}
    found: list[tuple[StructureCalibration | TooFew, str]] = []
    for line in evaluation.structures:
        name = line.structure
        scores = [one for one in evaluation.scores if one.structure == name and _calibrates(one)]
        patients = tuple(numbers[one.patient] for one in scores)
        if len(set(patients)) < CALIBRATION_PATIENTS:
            found.append((TooFew(name, len(set(patients))), name))
            continue
        sureness = tuple(round(one.sureness.surface, 4) for one in scores if one.sureness)
        truths = tuple(round(one.value(Measure.SURFACE_DICE), 4) for one in scores)
        found.append((StructureCalibration(name, patients, sureness, truths), name))
    return found


def _calibrates(score: CaseScore) -> bool:
    """Drawn by a network, and by a person: what was not drawn says so itself."""
    return score.counts and score.sureness is not None and score.agreement is not None and score.agreement.test_ml > 0


def _verdicts(evaluation: Evaluation, limits: CommissionLimits) -> tuple[StructureVerdict, ...]:
    """Those of what was compared, then what has a limit and was not compared: such a limit is not met."""
    judged = tuple(_verdict(line, limits) for line in evaluation.structures)
    compared = {line.structure for line in judged}
    return judged + tuple(
        StructureVerdict(name, Verdict.NOT_JUDGED, 0, 0, 0, (), limit.asked)
        for name, limit in limits.structures.items()
        if name not in compared
    )


def _verdict(line: StructureSummary, limits: CommissionLimits) -> StructureVerdict:
    limit = limits.structures.get(line.structure)
    reached = tuple((m, line.measure(m).median) for m in (Measure.DICE, Measure.SURFACE_DICE, Measure.HD95_MM))
    common = (line.cases, line.patients, line.not_found, reached)
    if limit is None:
        return StructureVerdict(line.structure, Verdict.NO_LIMIT, *common, ())
    if line.patients < limits.min_patients:
        return StructureVerdict(line.structure, Verdict.TOO_FEW, *common, limit.asked)
    failed, unsure = [], False
    for measure, bound in limit.asked:
        summary = line.measure(measure)
        ends = summary.median_interval
        if measure.higher_is_better:
            missed, doubtful = summary.median < bound, ends is None or ends.low < bound
        else:
            missed, doubtful = summary.median > bound, ends is None or ends.high > bound
        failed += [measure.value] if missed else []
        unsure |= doubtful
    if line.not_found > limit.largest_missed_part * line.cases:
        failed.append("not_found")
    verdict = Verdict.NOT_MET if failed else Verdict.MET_NOT_SHOWN if unsure else Verdict.MET
    return StructureVerdict(line.structure, verdict, *common, limit.asked, tuple(failed))


def _earlier(folder: Path) -> Evaluation:
    made = load_json(folder / COMMISSION_FILE, Commissioning)
    found = _sha256(folder / EVALUATION_FILE)
    if found != made.evaluation_sha256:
        raise ConfigError(
            str(folder / EVALUATION_FILE), f"sha256 {found}", f"{made.evaluation_sha256}, as when it was judged"
        )
    return load_evaluation(folder)


def _changes(new: Evaluation, old: Evaluation) -> tuple[Change, ...]:
    """Paired by case: both runs saw the same image and the same reference."""
    if new.tolerances_mm[0] != old.tolerances_mm[0]:
        found = f"surface Dice at {old.tolerances_mm[0]:g} mm"
        raise ConfigError("--against", found, f"{new.tolerances_mm[0]:g} mm, as this run has it")
    same = {c.case for c in new.cases} & {c.case for c in old.cases}
    contents = {(c.case, c.content_sha256) for c in old.cases}
    same = {c.case for c in new.cases if c.case in same and (c.case, c.content_sha256) in contents}
    before = {(one.case, one.structure): one for one in old.scores if one.counts}
    changes = []
    for line in new.structures:
        pairs = [
            (one, before[one.case, one.structure])
            for one in new.scores
            if one.structure == line.structure
            and one.counts
            and one.case in same
            and (one.case, one.structure) in before
        ]
        if not pairs:
            continue
        differences = [a.value(Measure.SURFACE_DICE) - b.value(Measure.SURFACE_DICE) for a, b in pairs]
        patients = [a.patient for a, _ in pairs]
        ends = interval(differences, patients, Statistic.MEAN, BootstrapOptions())
        mean = sum(differences) / len(differences)
        changes.append(Change(line.structure, len(pairs), len(set(patients)), mean, ends))
    return tuple(changes)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
