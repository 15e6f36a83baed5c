"""Is what people have to change becoming more? Control charts of the edited part, by structure and together.

An exponentially weighted moving average (Roberts, Technometrics 1959, 1:239) of the logarithm of the edited part
against limits from a first period: it sees small lasting changes, and is robust to values that are not normal (Borror,
Montgomery and Runger, J Quality Technology 1999, 31:309). The limit allows for the mean of the first period being an
estimate, and is wider than a single chart's, as many run at once: so wide that in a simulated year without drift one of
ten charts raises a flag in fewer than one year of twenty (`scripts/bench/monitor.py`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from contour.services.monitor.edits import Became
from contour.services.monitor.records import ReturnedSet

BASELINE_CASES = 60
WEIGHT = 0.05
LIMIT = 4.4  # of a structure's chart, in standard deviations of the average
LIMIT_TOGETHER = 3.6  # of all structures' together
TOGETHER = "All structures"
LEAST_PART = 0.02  # below this part of a path, edits say nothing
LEAST_SPREAD = 0.05
CONFIDENCE = 0.95
LEAST_CASES = 10  # of a version, to be compared
HASTY_SECONDS_A_STRUCTURE = 5.0
HASTY_PART = 0.2


@dataclass(frozen=True)
class Chart:
    """The chart of a structure: edited parts in their order, the average and its limit; nothing before a baseline.

    `flagged` is the place of the first case at which the average passed its limit, None where it did not. Average and
    limit of all structures together are in standard deviations of the first period.
    """

    structure: str
    edited_parts: tuple[float, ...]
    approved_at: tuple[str, ...]
    average: tuple[float, ...]
    limit: float | None
    flagged: int | None


@dataclass(frozen=True)
class VersionChange:
    """A structure by an earlier and a later package: mean edited parts, and the interval of their difference."""

    structure: str
    earlier: str
    later: str
    cases: tuple[int, int]
    means: tuple[float, float]
    difference: tuple[float, float]

    @property
    def worse(self) -> bool:
        """Whether more has to be edited than before, beyond chance."""
        return self.difference[0] > 0


@dataclass(frozen=True)
class Haste:
    """Sets that came back without any change: how many, and how many of these too fast to have been looked through."""

    sets: int
    unedited: int
    hasty: int

    @property
    def flagged(self) -> bool:
        """Whether people may no longer look."""
        return self.sets >= LEAST_CASES and self.hasty > HASTY_PART * self.sets


def charts(returned: Sequence[ReturnedSet]) -> tuple[Chart, ...]:
    """A chart of all structures together, by set, and one for each that was ever delivered."""
    by_structure: dict[str, list[tuple[float, str]]] = {}
    for one in returned:
        for line in one.structures:
            if line.became is not Became.ADDED:
                by_structure.setdefault(line.structure, []).append((line.edited_part, one.approved_at))
    found = [chart(name, *zip(*pairs, strict=True)) for name, pairs in sorted(by_structure.items())]
    return (_together(returned), *found) if returned else ()


def chart(structure: str, edited_parts: Sequence[float], approved_at: Sequence[str]) -> Chart:
    """The chart of one structure whose cases are in the order of their approval."""
    return _charted(
        Chart(structure, tuple(edited_parts), tuple(approved_at), (), None, None), _logs(edited_parts), LIMIT
    )


def chart_together(edited_parts: NDArray[np.float64], approved_at: Sequence[str]) -> Chart:
    """The chart of all structures together, from (structures, cases) parts; nan where a case lacks a structure."""
    logs = _logs(edited_parts)
    first = logs[:, :BASELINE_CASES]
    with np.errstate(invalid="ignore"):
        spread = np.maximum(np.nanstd(first, axis=1, ddof=1, keepdims=True), LEAST_SPREAD)
        values = (logs - np.nanmean(first, axis=1, keepdims=True)) / spread
    by_case = np.nanmean(values, axis=0)
    shown = np.nanmean(edited_parts, axis=0)
    empty = Chart(TOGETHER, tuple(float(v) for v in shown), tuple(approved_at), (), None, None)
    return _charted(empty, by_case, LIMIT_TOGETHER, on_logs=False)


def _together(returned: Sequence[ReturnedSet]) -> Chart:
    """Of structures with a first period, by sets that have any of these."""
    by_set = [_delivered_parts(one) for one in returned]
    counts = Counter(name for lines in by_set[:BASELINE_CASES] for name in lines)
    often = [name for name, count in sorted(counts.items()) if count >= BASELINE_CASES / 2]
    kept = [i for i, lines in enumerate(by_set) if not lines.keys().isdisjoint(often)]
    parts = np.array([[by_set[i].get(name, np.nan) for i in kept] for name in often])
    return chart_together(parts.reshape(len(often), len(kept)), [returned[i].approved_at for i in kept])


def _delivered_parts(one: ReturnedSet) -> dict[str, float]:
    return {line.structure: line.edited_part for line in one.structures if line.became is not Became.ADDED}


def _logs(edited_parts: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(np.asarray(edited_parts, dtype=np.float64), 0.0) + LEAST_PART))


def _charted(empty: Chart, values: NDArray[np.float64], limit: float, *, on_logs: bool = True) -> Chart:
    """`empty` with the average of what follows the first period, on the scale of `values` or back from logarithms."""
    if values.size <= BASELINE_CASES:
        return empty
    first = values[:BASELINE_CASES]
    mean, spread = float(first.mean()), max(float(first.std(ddof=1)), LEAST_SPREAD)
    average = _ewma(values[BASELINE_CASES:], mean)
    highest = mean + limit * spread * (WEIGHT / (2 - WEIGHT) + 1 / BASELINE_CASES) ** 0.5
    beyond = np.flatnonzero(average > highest)
    back = (lambda v: float(np.exp(v) - LEAST_PART)) if on_logs else float
    return replace(
        empty,
        average=tuple(back(v) for v in average),
        limit=back(highest),
        flagged=BASELINE_CASES + int(beyond[0]) if beyond.size else None,
    )


def _ewma(values: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    average, found = start, np.empty_like(values)
    for i, value in enumerate(values):
        average = found[i] = (1 - WEIGHT) * average + WEIGHT * value
    return found


def version_changes(returned: Sequence[ReturnedSet]) -> tuple[VersionChange, ...]:
    """Each structure by each package against the one in use before it: Welch's interval of the difference of means."""
    order = list(dict.fromkeys(one.package for one in returned))
    found = []
    for earlier, later in pairwise(order):
        names = sorted(
            {line.structure for one in returned if one.package in (earlier, later) for line in one.structures}
        )
        for name in names:
            first, second = (_parts(returned, package, name) for package in (earlier, later))
            if min(len(first), len(second)) < LEAST_CASES or not (np.ptp(first) or np.ptp(second)):
                continue
            ends = stats.ttest_ind(second, first, equal_var=False).confidence_interval(CONFIDENCE)
            means = (float(np.mean(first)), float(np.mean(second)))
            counts = (len(first), len(second))
            found.append(VersionChange(name, earlier, later, counts, means, (float(ends.low), float(ends.high))))
    return tuple(found)


def _parts(returned: Sequence[ReturnedSet], package: str, structure: str) -> list[float]:
    lines = (line for one in returned if one.package == package for line in one.structures)
    return [line.edited_part for line in lines if line.structure == structure and line.became is not Became.ADDED]


def haste(returned: Sequence[ReturnedSet]) -> Haste:
    """Sets without a change, and those of them that came back in less than five seconds a structure."""
    unedited = [one for one in returned if one.unedited]
    hasty = [
        one
        for one in unedited
        if one.seconds is not None and one.seconds < HASTY_SECONDS_A_STRUCTURE * len(one.structures)
    ]
    return Haste(len(returned), len(unedited), len(hasty))


def path_saved_part(returned: Sequence[ReturnedSet]) -> float:
    """The part of all approved contours that nobody had to draw: an estimate of the time saved by drawing."""
    lines = [line for one in returned for line in one.structures if line.became is not Became.REMOVED]
    whole = sum(line.path_length_mm for line in lines)
    return 1 - sum(line.added_path_length_mm for line in lines) / whole if whole else 0.0


def worth_training_on(returned: Sequence[ReturnedSet], count: int) -> tuple[ReturnedSet, ...]:
    """The sets in which most had to be changed: what a next training learns most from."""

    def edited(one: ReturnedSet) -> float:
        return max((line.edited_part for line in one.structures), default=0.0)

    return tuple(sorted((one for one in returned if not one.unedited), key=edited, reverse=True)[:count])
