"""Scores of many cases as one line for each structure: means, medians, the poor end, and how sure they are."""

from collections.abc import Iterable
from dataclasses import dataclass

from contour.cases.score import CaseScore, Measure, Outcome
from contour.cases.statistics import BootstrapOptions, Interval, Statistic, estimate, interval, rate_bounds
from contour.cases.store import Status


@dataclass(frozen=True)
class MeasureSummary:
    """One measure of one structure over all cases that count, with intervals by patient (None: too few patients).

    `poor` is the 10th percentile where higher is better, else the 90th: one case in ten is worse. Cases where the
    structure was not found count with Dice 0 and infinite distances; `mean_where_found` leaves them out, and is None
    where it was found nowhere.
    """

    measure: Measure
    mean: float
    mean_interval: Interval | None
    median: float
    median_interval: Interval | None
    poor: float
    worst: float
    mean_where_found: float | None


@dataclass(frozen=True)
class ToleranceSummary:
    """Surface Dice at one tolerance over all cases that count."""

    tolerance_mm: float
    mean: float
    median: float
    poor: float


@dataclass(frozen=True)
class StructureSummary:
    """One structure over all cases. `missed_patients` bounds the rate of patients to come in whom it is not found."""

    structure: str
    cases: int
    patients: int
    drawn_in_part: int
    not_found: int
    drawn_where_none: int
    missed_patients: Interval
    measures: tuple[MeasureSummary, ...]
    at_tolerances: tuple[ToleranceSummary, ...]

    def measure(self, measure: Measure) -> MeasureSummary:
        """The line of that measure."""
        return next(line for line in self.measures if line.measure is measure)


def summarize(scores: Iterable[CaseScore], options: BootstrapOptions) -> tuple[StructureSummary, ...]:
    """A summary of each structure that counts somewhere, in the order in which `scores` name them first."""
    of_structure: dict[str, list[CaseScore]] = {}
    for one in scores:
        if one.counts:
            of_structure.setdefault(one.structure, []).append(one)
    return tuple(_summary(name, found, options) for name, found in of_structure.items())


def _summary(name: str, scores: list[CaseScore], options: BootstrapOptions) -> StructureSummary:
    patients = {s.patient for s in scores}
    missed = {s.patient for s in scores if s.outcome is Outcome.NOT_FOUND}
    return StructureSummary(
        structure=name,
        cases=len(scores),
        patients=len(patients),
        drawn_in_part=sum(s.status is Status.PARTIAL for s in scores),
        not_found=sum(s.outcome is Outcome.NOT_FOUND for s in scores),
        drawn_where_none=sum(s.outcome is Outcome.NOT_THERE for s in scores),
        missed_patients=rate_bounds(len(missed), len(patients), options.confidence),
        measures=tuple(_measure(measure, scores, options) for measure in Measure),
        at_tolerances=tuple(_tolerance(place, scores) for place in range(len(scores[0].at_tolerances))),
    )


def _measure(measure: Measure, scores: list[CaseScore], options: BootstrapOptions) -> MeasureSummary:
    values = [s.value(measure) for s in scores]
    found = [s.value(measure) for s in scores if s.outcome is Outcome.FOUND]
    patients = [s.patient for s in scores]
    return MeasureSummary(
        measure=measure,
        mean=estimate(values, Statistic.MEAN),
        mean_interval=interval(values, patients, Statistic.MEAN, options),
        median=estimate(values, Statistic.MEDIAN),
        median_interval=interval(values, patients, Statistic.MEDIAN, options),
        poor=estimate(values, _poor_end(measure)),
        worst=min(values) if measure.higher_is_better else max(values, key=abs),
        mean_where_found=estimate(found, Statistic.MEAN) if found else None,
    )


def _tolerance(place: int, scores: list[CaseScore]) -> ToleranceSummary:
    values = [s.at_tolerances[place].surface_dice for s in scores]
    return ToleranceSummary(
        tolerance_mm=scores[0].at_tolerances[place].tolerance_mm,
        mean=estimate(values, Statistic.MEAN),
        median=estimate(values, Statistic.MEDIAN),
        poor=estimate(values, Statistic.PERCENTILE_10),
    )


def _poor_end(measure: Measure) -> Statistic:
    return Statistic.PERCENTILE_10 if measure.higher_is_better else Statistic.PERCENTILE_90
