from dataclasses import replace

import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from scripts.thorax_ct.lungs import lungs_by_hu

SPACING = (4.0, 3.0, 3.0)


def chest(*, bridge: bool, to_left: bool = True) -> tuple[Volume, dict[str, np.ndarray]]:
    """Two lungs with a vessel each, a trachea that opens into one of them, and a bridge of air in front."""
    shape = (60, 70, 110)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)

    def ball(centre: tuple[int, int, int], radii: tuple[int, int, int]) -> np.ndarray:
        return sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) <= 1

    low, high = ball((30, 35, 28), (24, 22, 17)), ball((30, 35, 80), (24, 24, 20))
    trachea = (abs(y - 35) <= 3) & (abs(x - 54) <= 3) & (z >= 30) & (z <= 58)
    voxels = np.full(shape, 40, dtype=np.int16)
    for lung in (low, high):
        voxels[lung] = -850
    voxels[(abs(y - 35) <= 1) & (abs(x - 80) <= 1) & (z > 10) & (z < 50)] = 30  # a vessel
    voxels[np.broadcast_to(trachea, shape)] = -990
    voxels[30:32, 34:36, 50:62] = -990  # the trachea runs into the lung
    if bridge:
        voxels[28:32, 20:22, 40:66] = -850
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0 if to_left else -1.0, 0.0, 0.0))
    volume = Volume(voxels, Geometry(shape, SPACING, (0.0, 0.0, 0.0), axes, "1.2.3"), Modality.CT)
    return volume, {"low": low, "high": high, "trachea": np.broadcast_to(trachea, shape).copy()}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("bridge", [False, True])
@pytest.mark.parametrize("to_left", [False, True])
def test_lungs_are_told_apart_by_the_patients_side(bridge: bool, to_left: bool) -> None:
    volume, truth = chest(bridge=bridge, to_left=to_left)
    left, right = lungs_by_hu(volume, truth["trachea"])
    at_high, at_low = (left, right) if to_left else (right, left)
    assert dice(at_high, truth["high"]) > 0.98
    assert dice(at_low, truth["low"]) > 0.98
    assert not (left & right).any()


def test_vessels_belong_to_the_lung_and_the_airway_does_not() -> None:
    volume, truth = chest(bridge=False)
    left, right = lungs_by_hu(volume, truth["trachea"])
    assert left[30, 35, 80]
    assert not ((left | right) & truth["trachea"]).any()


def test_a_pocket_of_air_by_itself_is_no_lung() -> None:
    volume, truth = chest(bridge=False)
    volume.voxels_zyx[56:59, 10:16, 84:90] = -900
    left, right = lungs_by_hu(volume, truth["trachea"])
    assert not (left | right)[56:59, 10:16, 84:90].any()


def test_one_lung_alone_is_refused() -> None:
    volume, truth = chest(bridge=False)
    volume.voxels_zyx[truth["low"]] = 40
    with pytest.raises(ValueError, match="no two lungs"):
        lungs_by_hu(volume, truth["trachea"])


def test_an_image_without_lungs_is_refused() -> None:
    volume, truth = chest(bridge=False)
    volume.voxels_zyx[truth["low"] | truth["high"]] = 40
    with pytest.raises(ValueError, match="no lungs of 500 ml"):
        lungs_by_hu(volume, truth["trachea"])


def test_air_between_the_back_and_a_couch_is_no_lung() -> None:
    volume, truth = chest(bridge=True)
    voxels = np.pad(volume.voxels_zyx, ((0, 0), (6, 40), (6, 6)), constant_values=-1000)
    voxels[:, 75:110, 5:-5] = 20  # the wall of a couch, closed at the sides
    voxels[:, 77:108, 7:-7] = -1000
    wider = Volume(voxels, replace(volume.geometry, shape_zyx=voxels.shape), volume.modality)
    left, right = lungs_by_hu(wider, np.pad(truth["trachea"], ((0, 0), (6, 40), (6, 6))))
    for mask, name in ((left, "high"), (right, "low")):
        assert dice(mask, np.pad(truth[name], ((0, 0), (6, 40), (6, 6)))) > 0.95
