"""What sureness was worth on cases: monotone, held by its interval, bound to the network, refused when too few."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contour.core.errors import ConfigError
from contour.core.structures import InterpretedType, Provenance, Structure, Sureness
from contour.qa.calibration import (
    Calibration,
    StructureCalibration,
    constant_error,
    cross_fitted,
    expectation,
    load_calibration,
    save_calibration,
    worth,
)

SHA = "a" * 64


def _points(cases: int, seed: int, noise: float = 0.03, *, told: bool = True) -> StructureCalibration:
    """Overconfident: the truth is the square of what is told, or has nothing to do with it."""
    rng = np.random.default_rng(seed)
    sureness = rng.uniform(0.6, 0.99, cases)
    truth = sureness**2 if told else rng.uniform(0.4, 0.9, cases)
    dice = np.clip(truth + noise * rng.standard_normal(cases), 0, 1)
    return StructureCalibration("Heart", tuple(range(cases)), tuple(sureness.tolist()), tuple(dice.tolist()))


def _calibration(points: StructureCalibration) -> Calibration:
    return Calibration("net", "1", SHA, "p", 3.0, 0.9, "cases", "2026-01-01", 40, 40, (points,))


def _drawn(sureness: float, sha256: str = SHA) -> Structure:
    return Structure(
        name="Heart",
        color_rgb=(1, 2, 3),
        interpreted_type=InterpretedType.ORGAN,
        mask_zyx=np.ones((2, 2, 2), dtype=bool),
        offset_zyx=(0, 0, 0),
        provenance=Provenance("net", "1", sha256),
        sureness=Sureness(0.9, sureness),
    )


def test_interval_holds_new_cases_as_often_as_it_says():
    held = []
    for seed in range(8):
        calibration = _calibration(_points(30, seed))
        new = _points(60, 1000 + seed)
        for sureness, truth in zip(new.sureness, new.surface_dice, strict=True):
            found = expectation(_drawn(sureness), (calibration,))
            assert found is not None
            held.append(found.low <= truth <= found.high)
    assert 0.86 <= np.mean(held) <= 0.97


def test_expectation_rises_with_sureness_and_corrects_it():
    calibration = _calibration(_points(40, 1, noise=0.0))
    found = [expectation(_drawn(s), (calibration,)) for s in (0.65, 0.75, 0.85, 0.95)]
    values = [one.surface_dice for one in found if one]
    assert values == sorted(values)
    assert values == pytest.approx([0.42, 0.56, 0.72, 0.90], abs=0.03)
    assert all(one and one.low <= one.surface_dice <= one.high for one in found)


def test_less_sure_than_ever_has_no_lower_bound():
    found = expectation(_drawn(0.3), (_calibration(_points(40, 1)),))
    assert found is not None
    assert (found.beyond, found.low) == (True, 0.0)


def test_another_network_has_no_expectation():
    assert expectation(_drawn(0.8, "b" * 64), (_calibration(_points(40, 1)),)) is None
    assert expectation(replace(_drawn(0.8), sureness=None), (_calibration(_points(40, 1)),)) is None


def test_what_tells_something_beats_the_mean_and_what_tells_nothing_does_not():
    telling, silent = _points(40, 2), _points(40, 2, told=False)
    found = worth(cross_fitted(telling), constant_error(telling))
    assert found.absolute_error < 0.5 * found.constant_error
    nothing = worth(cross_fitted(silent), constant_error(silent))
    assert nothing.absolute_error > 0.85 * nothing.constant_error


def test_cases_of_one_patient_never_judge_each_other():
    points = _points(24, 3)
    twice = replace(points, patients=tuple(i // 2 for i in range(24)))
    spoilt = replace(twice, surface_dice=(0.0, *twice.surface_dice[1:]))
    # The other case of the spoilt case's patient is expected as if the spoilt one were not there.
    with_it, without = ([one.estimate for one in cross_fitted(points)] for points in (spoilt, twice))
    assert with_it[:2] == without[:2]
    assert with_it[2:] != without[2:]


@pytest.mark.parametrize("wrong", [{"surface_dice": (1.2,) * 12}, {"patients": (1,) * 12}, {"sureness": (0.5,)}])
def test_too_few_or_impossible_figures_are_refused(wrong: dict[str, tuple[float, ...]]):
    with pytest.raises(ValueError, match="Heart"):
        replace(_points(12, 0), **wrong)


def test_file_says_the_same_when_read_and_refuses_too_few(tmp_path: Path):
    calibration = _calibration(_points(12, 4))
    path = tmp_path / "calibration.yaml"
    save_calibration(calibration, path)
    assert load_calibration(path) == calibration
    lines = path.read_text(encoding="utf-8").replace("tolerance_mm: 3.0", "tolerance_mm: 0.0")
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(ConfigError, match="tolerance_mm"):
        load_calibration(path)
