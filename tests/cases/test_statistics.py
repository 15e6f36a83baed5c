"""Intervals held to analytic truth: how often they hold the parameter of the distribution that was drawn from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contour.cases.statistics import (
    MIN_PATIENTS,
    BootstrapOptions,
    Interval,
    Statistic,
    estimate,
    interval,
    rate_bounds,
)

FAST = BootstrapOptions(resamples=600)
# Of Beta(16, 3), values like those of Dice: mean, and median by the incomplete beta function (scipy.stats.beta.ppf).
BETA_MEAN, BETA_MEDIAN = 16 / 19, 0.8541903


def patients(count: int, cases_each: int = 1) -> list[str]:
    return [f"p{i}" for i in range(count) for _ in range(cases_each)]


def coverage(draw, truth: float, names: list[str], statistic: Statistic, trials: int = 400) -> float:
    found = [interval(draw(), names, statistic, FAST) for _ in range(trials)]
    return float(np.mean([f is not None and f.low <= truth <= f.high for f in found]))


@pytest.mark.parametrize("count", [8, 30])
@pytest.mark.parametrize("statistic", [Statistic.MEAN, Statistic.MEDIAN])
def test_intervals_hold_the_truth_as_often_as_they_say(count: int, statistic: Statistic) -> None:
    random = np.random.default_rng(11)
    highest = 0.985 if count > 10 else 0.995  # of eight patients, the next narrower interval of a median holds 93 %
    found = coverage(lambda: random.normal(0.8, 0.05, count), 0.8, patients(count), statistic)
    assert 0.91 <= found <= highest
    truth = BETA_MEAN if statistic is Statistic.MEAN else BETA_MEDIAN
    found = coverage(lambda: random.beta(16, 3, count), truth, patients(count), statistic)
    assert 0.90 <= found <= highest


def test_cases_of_a_patient_are_not_taken_for_independent() -> None:
    """Twelve patients with four cases each that hardly differ: the interval must be that of twelve, not of 48."""
    random = np.random.default_rng(5)

    def draw() -> np.ndarray:
        return np.repeat(random.normal(0.8, 0.05, 12), 4) + random.normal(0, 0.005, 48)

    assert 0.90 <= coverage(draw, 0.8, patients(12, 4), Statistic.MEAN) <= 0.985
    assert coverage(draw, 0.8, patients(48), Statistic.MEAN) < 0.75


def test_ninety_percent_is_narrower() -> None:
    random = np.random.default_rng(2)
    found = [
        interval(random.normal(size=20), patients(20), Statistic.MEAN, BootstrapOptions(0.9, 600)) for _ in range(400)
    ]
    assert 0.86 <= np.mean([f is not None and f.low <= 0 <= f.high for f in found]) <= 0.94


def test_the_interval_of_a_mean_is_that_of_student() -> None:
    values = np.random.default_rng(7).normal(size=40)
    found = interval(values, patients(40), Statistic.MEAN, BootstrapOptions(resamples=20000))
    half = 2.0227 * values.std(ddof=1) / np.sqrt(40)  # t of 97.5 % with 39 degrees of freedom
    assert found is not None
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


def test_few_patients_have_no_interval() -> None:
    assert interval(range(8), patients(MIN_PATIENTS - 1) + ["p0"] * 3, Statistic.MEDIAN) is None
    assert interval(range(MIN_PATIENTS), patients(MIN_PATIENTS), Statistic.MEDIAN) is not None


def test_the_order_of_the_cases_is_of_no_consequence() -> None:
    random = np.random.default_rng(3)
    values, names = random.beta(16, 3, 30), patients(10, 3)
    order = random.permutation(30)
    again = interval(values[order], [names[i] for i in order], Statistic.MEAN)
    assert again == interval(values, names, Statistic.MEAN)


def test_what_was_not_found_is_infinitely_far() -> None:
    values = [1.0, 2.0, 3.0, 4.0, np.inf]
    assert estimate(values, Statistic.MEAN) == np.inf
    assert estimate(values, Statistic.MEDIAN) == 3.0
    assert estimate(values, Statistic.PERCENTILE_90) == np.inf
    assert estimate([1.0, np.inf, np.inf, np.inf], Statistic.MEDIAN) == np.inf
    assert np.isnan(estimate([], Statistic.MEAN))
    far = interval([*range(19), np.inf], patients(20), Statistic.MEDIAN)
    assert far is not None
    assert np.isfinite([far.low, far.high]).all()
    mean = interval([*range(19), np.inf], patients(20), Statistic.MEAN)
    assert mean is not None
    assert mean.high == np.inf


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    st.sampled_from([(Statistic.MEDIAN, 50), (Statistic.PERCENTILE_10, 10), (Statistic.PERCENTILE_90, 90)]),
)
def test_percentiles_are_numpys(values: list[float], which: tuple[Statistic, int]) -> None:
    assert estimate(values, which[0]) == pytest.approx(np.percentile(values, which[1]), abs=1e-9)
    assert estimate(values, Statistic.MEAN) == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    # scipy.stats.binomtest(events, trials).proportion_ci(method="exact")
    [(0, 30, 0.0, 0.1157033), (1, 30, 0.0008436, 0.1721695), (7, 20, 0.1539092, 0.5921885), (20, 20, 0.8315665, 1.0)],
)
def test_rates_have_their_exact_bounds(events: int, trials: int, low: float, high: float) -> None:
    found = rate_bounds(events, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_many_trials_are_no_trouble() -> None:
    found = rate_bounds(1500, 20000)
    half = 1.96 * (0.075 * 0.925 / 20000) ** 0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)


@pytest.mark.parametrize(
    ("values", "names", "statistic"),
    [
        ([1.0, 2.0], ["a"], Statistic.MEAN),
        ([1.0, np.nan], ["a", "b"], Statistic.MEAN),
        ([1.0, 2.0], ["a", "b"], Statistic.PERCENTILE_10),
    ],
)
def test_what_has_no_interval_is_refused(values: list[float], names: list[str], statistic: Statistic) -> None:
    with pytest.raises(ValueError, match=r"patient|nan|median"):
        interval(values, names, statistic)


def test_options_state_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="confidence"):
        BootstrapOptions(confidence=95)
    with pytest.raises(ValueError, match="resamples"):
        BootstrapOptions(resamples=10)
    with pytest.raises(ValueError, match="trials"):
        rate_bounds(3, 2)
    assert Interval(0.0, 1.0).low == 0.0
