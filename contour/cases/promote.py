"""Whether a new package may take the place of the one in use: only if it is shown to be no worse, by structure.

Both packages are judged on the same cases, of patients whom the new one has not seen. For each structure that the
package in use draws, the differences of the two on each case are averaged, and a one-sided confidence bound of that
mean (patients drawn with replacement, see `cases.statistics`) must lie above minus a stated margin: the network may be
better or worse by chance, but not worse by more than the margin with 95 % confidence. All structures must pass, so that
no correction for their number is due: the risk to promote a package that is inferior somewhere stays at 5 % or less
(intersection-union test, Berger, Technometrics 1982, 24:295-300).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from contour.cases.evaluation import CaseResult, Evaluation
from contour.cases.score import CaseScore, Measure, Outcome
from contour.cases.statistics import MIN_PATIENTS, BootstrapOptions, Statistic, interval
from contour.core.errors import ConfigError
from contour.inference.package import Manifest

PROMOTION_FILE = "promotion.yaml"


class Verdict(StrEnum):
    """What the cases say of a structure. Only the first and the last let a package pass."""

    NOT_INFERIOR = "not inferior"
    NOT_SHOWN = "may be inferior"
    TOO_FEW = "too few patients"
    NOT_DRAWN = "no longer drawn"
    NOT_JUDGED = "not judged"
    ACCEPTED = "accepted unjudged"

    @property
    def passes(self) -> bool:
        """Whether a package with this verdict on a structure may be promoted."""
        return self in (Verdict.NOT_INFERIOR, Verdict.ACCEPTED)


@dataclass(frozen=True)
class PromotionRules:
    """What "no worse" means: the margins by which means may be lower, and the confidence that they are not.

    `accepted_unjudged` names structures that may go in use without having been compared: a person answers for them.

    Raises:
        ValueError: a margin that is not from 0 to 0.2, or a confidence that is not from 0.5 to 1.
    """

    margin_dice: float = 0.02
    margin_surface_dice: float = 0.03
    confidence: float = 0.95
    resamples: int = 10_000
    accepted_unjudged: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, margin in (("margin_dice", self.margin_dice), ("margin_surface_dice", self.margin_surface_dice)):
            if not 0 <= margin <= 0.2:
                raise ValueError(f"{name} {margin}: from 0 to 0.2")
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence {self.confidence}: above 0.5, below 1")

    @property
    def margins(self) -> tuple[tuple[Measure, float], ...]:
        """What is compared, and by how much it may be lower."""
        return (Measure.DICE, self.margin_dice), (Measure.SURFACE_DICE, self.margin_surface_dice)


@dataclass(frozen=True)
class Comparison:
    """One measure of one structure; means over the cases. `bound` is the lower confidence bound of new minus in use.

    Means and bound are None where nothing was compared, the bound also for too few patients.
    """

    structure: str
    measure: Measure
    verdict: Verdict
    margin: float
    cases: int = 0
    patients: int = 0
    mean_in_use: float | None = None
    mean_new: float | None = None
    difference: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class PackageId:
    """A package by its checksum."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Decision:
    """The content of `promotion.yaml` in a package in use: what it replaced, and what that was decided on."""

    new: PackageId
    replaced: PackageId
    rules: PromotionRules
    selection: str
    cases: int
    patients: int
    comparisons: tuple[Comparison, ...]

    @property
    def passes(self) -> bool:
        """Whether every structure does."""
        return all(line.verdict.passes for line in self.comparisons)


@dataclass(frozen=True)
class Judged:
    """A package's manifest and its evaluation."""

    manifest: Manifest
    evaluation: Evaluation


def decide(new: Judged, in_use: Judged, rules: PromotionRules = PromotionRules()) -> Decision:
    """Compare `new` with `in_use`, structure by structure.

    Raises:
        ConfigError: the packages cannot stand for each other, an evaluation is of another package, the two were not
            judged alike on the same cases, or the new package has seen a patient of them, or does not say whom it saw.
    """
    _refuse_other_packages(new.manifest, in_use.manifest)
    for one in (new, in_use):
        _refuse_other_evaluation(one)
    _refuse_unlike_evaluations(new.evaluation, in_use.evaluation)
    _refuse_seen(new.manifest, new.evaluation)
    comparisons = tuple(
        _compare(name, measure, (new, in_use), rules) for name in in_use.manifest.names for measure, _ in rules.margins
    )
    return Decision(
        new=_identity(new.manifest),
        replaced=_identity(in_use.manifest),
        rules=rules,
        selection=new.evaluation.selection,
        cases=len(new.evaluation.cases),
        patients=new.evaluation.patients,
        comparisons=comparisons,
    )


# -- one structure -----------------------------------------------------------------------------------------------------


def _compare(name: str, measure: Measure, both: tuple[Judged, Judged], rules: PromotionRules) -> Comparison:
    new, in_use = both
    margin = dict(rules.margins)[measure]
    if name not in new.manifest.names:
        return Comparison(name, measure, Verdict.NOT_DRAWN, margin)
    pairs = _pairs(name, new.evaluation, in_use.evaluation)
    if not pairs:
        verdict = Verdict.ACCEPTED if name in rules.accepted_unjudged else Verdict.NOT_JUDGED
        return Comparison(name, measure, verdict, margin)
    values = np.array([[_value(score, measure) for score in pair] for pair in pairs])
    differences = values[:, 0] - values[:, 1]
    patients = [ours.patient for ours, _ in pairs]
    options = BootstrapOptions(confidence=2 * rules.confidence - 1, resamples=rules.resamples)
    ends = interval(differences, patients, Statistic.MEAN, options)
    bound = None if ends is None else round(ends.low, 9)
    mean_new, mean_in_use = values.mean(axis=0)
    return Comparison(
        structure=name,
        measure=measure,
        verdict=_verdict(name, bound, margin, rules),
        margin=margin,
        cases=len(pairs),
        patients=len(set(patients)),
        mean_in_use=float(mean_in_use),
        mean_new=float(mean_new),
        difference=float(differences.mean()),
        bound=bound,
    )


def _verdict(name: str, bound: float | None, margin: float, rules: PromotionRules) -> Verdict:
    if bound is None:
        return Verdict.ACCEPTED if name in rules.accepted_unjudged else Verdict.TOO_FEW
    return Verdict.NOT_INFERIOR if bound > -margin else Verdict.NOT_SHOWN


def _pairs(name: str, new: Evaluation, in_use: Evaluation) -> list[tuple[CaseScore, CaseScore]]:
    """The scores of both on each case that says something of the structure."""
    theirs = {score.case: score for score in in_use.scores if score.structure == name}
    pairs = [(score, theirs[score.case]) for score in new.scores if score.structure == name and score.case in theirs]
    return [pair for pair in pairs if any(score.counts for score in pair)]


def _value(score: CaseScore, measure: Measure) -> float:
    """What counts: where rightly nothing was drawn, all is well."""
    return 1.0 if score.outcome is Outcome.NEITHER else score.value(measure)


# -- what cannot be compared -------------------------------------------------------------------------------------------


def _refuse_other_packages(new: Manifest, in_use: Manifest) -> None:
    if (new.name, new.modality) != (in_use.name, in_use.modality):
        found = f"{new.name} for {new.modality}"
        raise ConfigError("new package", found, f"{in_use.name} for {in_use.modality}, as protocols ask for by name")
    if new.onnx_sha256 == in_use.onnx_sha256:
        raise ConfigError("new package", f"{new.name} {new.version} is the one in use", "another network")


def _refuse_other_evaluation(judged: Judged) -> None:
    used = judged.evaluation.packages
    if all(one.sha256 != judged.manifest.onnx_sha256 for one in used):
        found = ", ".join(f"{one.name} {one.version} {one.sha256[:12]}" for one in used)
        wanted = f"{judged.manifest.name} {judged.manifest.version} {judged.manifest.onnx_sha256[:12]}"
        raise ConfigError("evaluation", f"judged {found}", wanted)


def _refuse_unlike_evaluations(new: Evaluation, in_use: Evaluation) -> None:
    for what, ours, theirs in (
        ("version of contour", new.contour_version, in_use.contour_version),
        ("protocol", new.protocol, in_use.protocol),
        ("tolerances in mm", new.tolerances_mm[:1], in_use.tolerances_mm[:1]),
    ):
        if ours != theirs:
            raise ConfigError("evaluations", f"{what} {ours} and {theirs}", f"the same {what} for both packages")
    ours_cases, their_cases = _contents(new.cases), _contents(in_use.cases)
    if ours_cases != their_cases:
        only = sorted(name for name, _ in ours_cases ^ their_cases)
        raise ConfigError("evaluations", f"differ in {', '.join(only[:5])}", "the same content of the same cases")


def _contents(cases: tuple[CaseResult, ...]) -> set[tuple[str, str]]:
    return {(case.case, case.content_sha256) for case in cases}


def _refuse_seen(new: Manifest, evaluation: Evaluation) -> None:
    training = new.training
    if not training.patients or not training.cases_sha256:
        found = f"{new.name} {new.version} does not say which cases it was trained on"
        raise ConfigError("new package", found, "a package that `contour export` wrote from a training on cases")
    seen = sorted(
        case.case
        for case in evaluation.cases
        if case.patient in training.patients or case.content_sha256 in training.cases_sha256
    )
    if seen:
        found = f"{', '.join(seen[:5])}{' ...' if len(seen) > 5 else ''} taught the new package, or their patients did"
        raise ConfigError("evaluation", found, "cases held out: contour data split, contour evaluate --held-out")


def _identity(manifest: Manifest) -> PackageId:
    return PackageId(manifest.name, manifest.version, manifest.onnx_sha256)


def verdict_sentence(decision: Decision) -> str:
    """The outcome in a sentence."""
    if decision.passes:
        return f"Not inferior in any of {len({c.structure for c in decision.comparisons})} structures."
    failing = sorted({f"{c.structure} ({c.verdict})" for c in decision.comparisons if not c.verdict.passes})
    few = any(c.verdict is Verdict.TOO_FEW for c in decision.comparisons)
    advice = f" A bound needs {MIN_PATIENTS} patients who have the structure drawn." if few else ""
    return f"Not shown to be no worse: {', '.join(failing)}.{advice}"
