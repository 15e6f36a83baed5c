"""What a set of measured cases says of cases to come: means, medians and their confidence intervals, by patient.

Cases of one patient resemble each other, so patients are drawn, not cases: each of them with all of its cases. The
intervals are percentile bootstrap intervals widened for few patients (Hesterberg, The American Statistician 2015,
69:371-386, section 5.2: plain percentile intervals are too narrow by the missing n - 1 and Student's t), which here
cover normal and skewed values as BCa intervals do, and better for few patients. No interval knows of failures that have
not happened yet: `rate_bounds` says how many there may be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, lgamma, log, log1p
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PATIENTS = 6  # a median of fewer has no interval of 95 % at all
_CHUNK_NUMBERS = 1 << 21  # resamples x cases held at once


class Statistic(StrEnum):
    """What is said of many values. The percentiles are between order statistics, linearly."""

    MEAN = "mean"
    MEDIAN = "median"
    PERCENTILE_10 = "10th percentile"
    PERCENTILE_90 = "90th percentile"


_FRACTIONS = {Statistic.MEDIAN: 0.5, Statistic.PERCENTILE_10: 0.1, Statistic.PERCENTILE_90: 0.9}


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class BootstrapOptions:
    """How intervals are made. A one-sided bound of 95 % is an end of the interval of 90 %.

    Raises:
        ValueError: a confidence that is not between 0 and 1, or fewer than 100 resamples.
    """

    confidence: float = 0.95
    resamples: int = 4000
    seed: int = 20260101

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence {self.confidence}: must lie between 0 and 1")
        if self.resamples < 100:
            raise ValueError(f"resamples {self.resamples}: at least 100")


def estimate(values: ArrayLike, statistic: Statistic) -> float:
    """`statistic` of `values` (n,), which may be infinite; NaN if there are none."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return float("nan")
    return float(_weighted(np.sort(array), np.ones((1, array.size), dtype=np.int64), statistic)[0])


def interval(
    values: ArrayLike, patients: Sequence[str], statistic: Statistic, options: BootstrapOptions = BootstrapOptions()
) -> Interval | None:
    """The confidence interval of the mean or median of cases to come, from `values` (n,) of cases of `patients` (n,).

    The same input has the same interval, whatever the order of the cases. None for fewer than `MIN_PATIENTS`
    patients; an end is infinite where the statistic of so many resamples is.

    Raises:
        ValueError: as many patients as values are needed, values that are numbers, and a mean or a median: of a
            percentile near the end, dozens of patients do not know enough for an interval that holds what it says.
    """
    if statistic not in (Statistic.MEAN, Statistic.MEDIAN):
        raise ValueError(f"statistic {statistic}: mean or median")
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(patients),):
        raise ValueError(f"{array.shape} values of {len(patients)} patients: one patient for each value")
    if np.isnan(array).any():
        raise ValueError("values: nan has no place among measured cases")
    # Sorted by value, and patients numbered by their name: the order of the cases leaves no trace.
    order = sorted(range(len(patients)), key=lambda i: (array[i], patients[i]))
    names, owners = np.unique([patients[i] for i in order], return_inverse=True)
    if names.size < MIN_PATIENTS:
        return None
    found = np.sort(_resampled(array[order], owners, statistic, options))
    tail = _tail(options.confidence, names.size)
    low, high = np.quantile(found, (tail, 1 - tail), method="inverted_cdf")
    return Interval(float(low), float(high))


def rate_bounds(events: int, trials: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a rate (Clopper and Pearson, Biometrika 1934) of which `events` in `trials` were seen.

    Raises:
        ValueError: no trials, or not 0 to `trials` events.
    """
    if trials < 1 or not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials: at least one trial, and no more events than trials")
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else _root(lambda rate: 1 - _at_most(events - 1, trials, rate) - tail)
    high = 1.0 if events == trials else _root(lambda rate: tail - _at_most(events, trials, rate))
    return Interval(low, high)


def _resampled(
    values: NDArray[np.float64], owners: NDArray[np.intp], statistic: Statistic, options: BootstrapOptions
) -> NDArray[np.float64]:
    """(resamples,) the statistic of as many patients drawn with replacement; `values` ascend."""
    random = np.random.default_rng(options.seed)
    patients = int(owners.max()) + 1
    chunk = max(1, _CHUNK_NUMBERS // values.size)
    found = []
    for first in range(0, options.resamples, chunk):
        count = min(chunk, options.resamples - first)
        times = random.multinomial(patients, np.full(patients, 1 / patients), size=count)
        found.append(_weighted(values, times[:, owners], statistic))
    return np.concatenate(found)


def _weighted(values: NDArray[np.float64], times: NDArray[np.int64], statistic: Statistic) -> NDArray[np.float64]:
    """(resamples,) the statistic of ascending `values` (n,), each taken so many `times` (resamples, n)."""
    if statistic is Statistic.MEAN:
        # 0 x infinity is no number: what was not drawn does not count.
        finite = np.isfinite(values)
        sums = times[:, finite] @ values[finite]
        return np.where(times[:, ~finite].any(axis=1), np.inf, sums / times.sum(axis=1))
    reached = times.cumsum(axis=1)
    place = (reached[:, -1] - 1) * _FRACTIONS[statistic]
    below = np.floor(place).astype(np.int64)
    lower, upper = (values[(reached <= k[:, None]).sum(axis=1)] for k in (below, np.ceil(place).astype(np.int64)))
    part = place - below
    with np.errstate(invalid="ignore"):  # infinity minus itself, which the first case takes
        found: NDArray[np.float64] = np.where((part == 0) | (lower == upper), lower, lower + part * (upper - lower))
    return found


def _tail(confidence: float, patients: int) -> float:
    """The part of the resamples to leave out at each end."""
    quantile = _student_quantile(1 - (1 - confidence) / 2, patients - 1)
    return NormalDist().cdf(-quantile * (patients / (patients - 1)) ** 0.5)


def _student_quantile(probability: float, freedom: int) -> float:
    """Student's t by its expansion in the normal quantile (Abramowitz and Stegun 26.7.5): within 0.2 % from 5 on."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def _at_most(events: int, trials: int, rate: float) -> float:
    """The probability of at most so many events; a rate between 0 and 1."""
    logarithms = (
        lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(rate) + (trials - k) * log1p(-rate)
        for k in range(events + 1)
    )
    return sum(exp(logarithm) for logarithm in logarithms)


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a rate is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
