"""What a network's own sureness was worth on approved cases, and so what may be expected of a new drawing.

For each structure a calibration keeps, of every case, what the network expected of its surface (`Sureness.surface`) and
the surface Dice that a person's contours gave it. From these come, for a new drawing:

- an estimate: the monotone regression of the second on the first (pool adjacent violators), linear between the means
  of its blocks (centred isotonic regression, Oron and Flournoy, Statistics in Biopharmaceutical Research 2017, 9:258);
- an interval that needs no distribution: the jackknife+ (Barber et al., Annals of Statistics 2021, 49:486), a patient
  left out at a time, with residuals in parts of `_spread`, as errors are larger where agreement is poor. It holds the
  truth in 1 - 2 x (1 - coverage) of new cases at least, and in about `coverage` of them in practice, if these are cases
  like those: of the same scanners, protocols and people who draw.

What the calibration is worth is told by `cross_fitted`: each case judged by a calibration that never saw its patient.
"""

from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from contour.config import load_config, save_config
from contour.core.structures import Expectation, Provenance, Structure

CALIBRATION_FILE = "calibration.yaml"
MIN_PATIENTS = 10  # with fewer, one of them left out, no interval of 90 % is shorter than from 0 to 1
COVERAGE = 0.9
MAX_BYTES = 8 << 20

_LEAST_SPREAD = 0.05  # of surface Dice: even where it is expected to be 1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StructureCalibration:
    """The cases of one structure, one entry each: whose it is (numbers of patients, not names), and both figures.

    Raises:
        ValueError: lists of different lengths, fewer than `MIN_PATIENTS` patients, or a figure outside 0 to 1.
    """

    name: str
    patients: tuple[int, ...]
    sureness: tuple[float, ...]
    surface_dice: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.patients) == len(self.sureness) == len(self.surface_dice):
            raise ValueError(f"{self.name}: patients, sureness and surface_dice have one entry for each case")
        if len(set(self.patients)) < MIN_PATIENTS:
            raise ValueError(f"{self.name}: {len(set(self.patients))} patients; at least {MIN_PATIENTS} are needed")
        if not all(0 <= value <= 1 for value in (*self.sureness, *self.surface_dice)):
            raise ValueError(f"{self.name}: sureness and surface_dice lie from 0 to 1")


@dataclass(frozen=True)
class TooFew:
    """A structure that no calibration can be made for, and how many patients it was approved on."""

    name: str
    patients: int


@dataclass(frozen=True)
class Calibration:
    """The content of `calibration.yaml`: what one network's sureness is worth, at one surface tolerance.

    It is bound to the network by `onnx_sha256`. `source` says in words which cases it was learnt on, `cases` and
    `patients` how many; `too_few` names the structures that had not enough of them.

    Raises:
        ValueError: a tolerance that is not above 0, or a coverage that is not from 0.5 to 1.
    """

    package: str
    version: str
    onnx_sha256: str
    protocol: str
    tolerance_mm: float
    coverage: float
    source: str
    made: str
    cases: int
    patients: int
    structures: tuple[StructureCalibration, ...]
    too_few: tuple[TooFew, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.tolerance_mm) and self.tolerance_mm > 0):
            raise ValueError(f"tolerance_mm {self.tolerance_mm}: above 0")
        if not 0.5 <= self.coverage < 1:
            raise ValueError(f"coverage {self.coverage}: from 0.5 to below 1")

    def of(self, name: str) -> StructureCalibration | None:
        """The part of it for one structure."""
        return next((one for one in self.structures if one.name == name), None)

    def draws(self, provenance: Provenance | None) -> bool:
        """Whether it speaks of the network that drew."""
        return provenance is not None and provenance.sha256 == self.onnx_sha256


@dataclass(frozen=True)
class Judged:
    """A case as a calibration that never saw its patient expects it, and as it is."""

    name: str
    patient: int
    estimate: float
    low: float
    high: float
    surface_dice: float

    @property
    def held(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low <= self.surface_dice <= self.high


@dataclass(frozen=True)
class Worth:
    """What a calibration is worth, on cases judged without themselves.

    `error` is the calibration error: cases sorted by what is expected, in up to five groups of equal size; the mean
    difference between expected and measured of the groups, weighted by size. `absolute_error` is that of single cases;
    `constant_error` the same where always the mean of the other patients is expected, so that what sureness adds shows.
    `worst` is the largest difference of a case; `covered` the part of the cases that the interval holds, `width` its
    mean width.
    """

    cases: int
    error: float
    bias: float
    absolute_error: float
    constant_error: float
    worst: float
    covered: float
    width: float


# -- learning ----------------------------------------------------------------------------------------------------------


def cross_fitted(points: StructureCalibration, coverage: float = COVERAGE) -> tuple[Judged, ...]:
    """Each case of `points` by a calibration of the other patients."""
    cases = _Cases.of(points)
    judged = []
    for patient in np.unique(cases.patients):
        fit = _Fit.of(cases.part(cases.patients != patient))
        for place in np.flatnonzero(cases.patients == patient):
            expected = _expected(fit, points.sureness[place], coverage)
            judged.append(Judged(points.name, int(patient), *expected, points.surface_dice[place]))
    return tuple(judged)


def worth(judged: tuple[Judged, ...], constant_error: float) -> Worth:
    """The figures of cross-fitted cases, one or more; `constant_error` is `constant_error(points)`."""
    estimates, truths = (np.array([getattr(one, name) for one in judged]) for name in ("estimate", "surface_dice"))
    order = np.argsort(estimates, kind="stable")
    groups = np.array_split(order, min(5, max(1, len(judged) // 5)))
    apart = np.abs(estimates - truths)
    return Worth(
        cases=len(judged),
        error=float(sum(abs((estimates[g] - truths[g]).mean()) * g.size for g in groups) / order.size),
        bias=float((estimates - truths).mean()),
        absolute_error=float(apart.mean()),
        constant_error=constant_error,
        worst=float(apart.max()),
        covered=float(np.mean([one.held for one in judged])),
        width=float(np.mean([one.high - one.low for one in judged])),
    )


def constant_error(points: StructureCalibration) -> float:
    """The mean error of expecting, of each case, the mean of the other patients."""
    patients, truths = np.asarray(points.patients), np.asarray(points.surface_dice)
    errors = [abs(truths[patients != p].mean() - t) for p, t in zip(patients, truths, strict=True)]
    return float(np.mean(errors))


# -- using -------------------------------------------------------------------------------------------------------------


def expectation(structure: Structure, calibrations: tuple[Calibration, ...]) -> Expectation | None:
    """The surface Dice to be expected of `structure`, by the first calibration that knows its network and name.

    Less sure than any case that was calibrated on, it may be worse than any of them: the interval then starts at 0.
    """
    if structure.sureness is None or structure.empty:
        return None
    for calibration in calibrations:
        points = calibration.of(structure.name) if calibration.draws(structure.provenance) else None
        if points is None:
            continue
        estimate, low, high = _expected(_Fit.of(_Cases.of(points)), structure.sureness.surface, calibration.coverage)
        beyond = structure.sureness.surface < min(points.sureness)
        return Expectation(
            surface_dice=round(estimate, 4),
            low=0.0 if beyond else round(low, 4),
            high=round(high, 4),
            tolerance_mm=calibration.tolerance_mm,
            coverage=calibration.coverage,
            cases=len(points.patients),
            source=calibration.source,
            beyond=beyond,
        )
    return None


@dataclass(frozen=True)
class _Cases:
    patients: NDArray[np.int64]
    sureness: Floats
    surface_dice: Floats

    @classmethod
    def of(cls, points: StructureCalibration) -> "_Cases":
        return cls(np.array(points.patients), np.array(points.sureness), np.array(points.surface_dice))

    def part(self, chosen: NDArray[np.bool_]) -> "_Cases":
        return _Cases(self.patients[chosen], self.sureness[chosen], self.surface_dice[chosen])


@dataclass(frozen=True)
class _Curve:
    """A monotone regression: linear between the means of its blocks, constant beyond them."""

    at: Floats
    values: Floats

    @classmethod
    def of(cls, x: Floats, y: Floats) -> "_Curve":
        # Equal values of x are one place: their mean counts for all of them.
        places, owners = np.unique(x, return_inverse=True)
        weights = np.bincount(owners).astype(np.float64)
        means = np.bincount(owners, y) / weights
        blocks = isotonic_regression(means, weights=weights).blocks
        sizes = np.add.reduceat(weights, blocks[:-1])
        centres = np.add.reduceat(places * weights, blocks[:-1]) / sizes
        return cls(centres, np.add.reduceat(means * weights, blocks[:-1]) / sizes)

    def __call__(self, x: float) -> float:
        return float(np.interp(x, self.at, self.values))


@dataclass(frozen=True)
class _Fit:
    """The curve of all cases, those with one patient left out, and by how much each of these misses each left out."""

    curve: _Curve
    without: tuple[_Curve, ...]
    residuals: Floats

    @classmethod
    def of(cls, cases: _Cases) -> "_Fit":
        patients, x, y = cases.patients, cases.sureness, cases.surface_dice
        curves = {p: _Curve.of(x[patients != p], y[patients != p]) for p in np.unique(patients)}
        without = tuple(curves[p] for p in patients)
        found = [curve(a) for curve, a in zip(without, x, strict=True)]
        residuals = [abs(b - f) / _spread(f) for b, f in zip(y, found, strict=True)]
        return cls(_Curve.of(x, y), without, np.asarray(residuals))


def _expected(fit: _Fit, sureness: float, coverage: float) -> tuple[float, float, float]:
    """Estimate, low and high."""
    middles = np.array([curve(sureness) for curve in fit.without])
    reach = fit.residuals * np.array([_spread(m) for m in middles])
    n = middles.size
    lower, upper = floor((1 - coverage) * (n + 1)), ceil(coverage * (n + 1))
    low = np.sort(middles - reach)[lower - 1] if lower >= 1 else 0.0
    high = np.sort(middles + reach)[upper - 1] if upper <= n else 1.0
    estimate = fit.curve(sureness)
    return estimate, float(np.clip(low, 0.0, estimate)), float(np.clip(high, estimate, 1.0))


def _spread(surface_dice: float) -> float:
    """How large errors are beside those at 0: what is nearly perfect can be little better."""
    return 1 - surface_dice + _LEAST_SPREAD


# -- files -------------------------------------------------------------------------------------------------------------


def load_calibration(path: Path) -> Calibration:
    """The calibration at `path`.

    Raises:
        ConfigError: it cannot be read, or has a mistake.
    """
    return load_config(path, Calibration, max_bytes=MAX_BYTES)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write `calibration` as YAML, whole or not at all."""
    header = "What the network's sureness was worth on approved cases; learnt, not for editing."
    save_config(calibration, path, header)
