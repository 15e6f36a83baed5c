"""Metal in a CT: where it is, and what it does to its slices and to no others."""

import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.hardships import stored_as, upright
from contour.imaging.metal import METAL_HU, Rod, with_metal

GEOMETRY = Geometry.axial((7, 128, 140), (5.0, 2.0, 2.0), (-139.0, -127.0, -15.0), "1.2")
WATER = Volume(np.zeros(GEOMETRY.shape_zyx, dtype=np.int16), GEOMETRY, Modality.CT)
BESIDE = (Rod((-20.0, 0.0, 0.0), 3.0, 22.0), Rod((20.0, 0.0, 0.0), 3.0, 22.0))


def at(x_mm: float, y_mm: float) -> tuple[int, int]:
    _, y, x = np.rint(GEOMETRY.lps_mm_to_index((x_mm, y_mm, 0.0))).astype(int)
    return int(y), int(x)


def test_metal_is_where_the_rods_are_and_other_slices_stay() -> None:
    voxels = with_metal(WATER, BESIDE, 0).voxels_zyx
    assert voxels.dtype == np.int16
    for x_mm in (-20.0, 20.0):
        assert (voxels[1:6, *at(x_mm, 0.0)] == METAL_HU).all()  # slices within 11 mm of the middle
    assert not voxels[[0, 6]].any()
    assert voxels[1:6].any(axis=(1, 2)).all()


def test_two_rods_have_a_dark_band_between_them_and_streaks_around() -> None:
    voxels = with_metal(WATER, BESIDE, 0).voxels_zyx[1:6].astype(float)
    y, x = at(0.0, 0.0)
    assert voxels[:, y, x - 3 : x + 4].mean() < -150
    assert abs(voxels[:, y + 20 : y + 24, x - 3 : x + 4].mean()) < 60
    near, far = voxels[:, y + 5 : y + 15, x - 30 : x + 30].std(), voxels[:, y + 45 : y + 55, x - 30 : x + 30].std()
    assert near > 15
    assert near > 1.5 * far


def test_the_band_lies_along_the_line_of_the_rods() -> None:
    above = (Rod((0.0, -20.0, 0.0), 3.0, 22.0), Rod((0.0, 20.0, 0.0), 3.0, 22.0))
    voxels = with_metal(WATER, above, 0).voxels_zyx[1:6].astype(float)
    y, x = at(0.0, 0.0)
    assert voxels[:, y - 3 : y + 4, x].mean() < -150
    assert abs(voxels[:, y - 3 : y + 4, x + 20 : x + 24].mean()) < 60


def test_the_seed_decides_and_the_storage_does_not() -> None:
    once = with_metal(WATER, BESIDE, 7)
    np.testing.assert_array_equal(once.voxels_zyx, with_metal(WATER, BESIDE, 7).voxels_zyx)
    assert (once.voxels_zyx != with_metal(WATER, BESIDE, 8).voxels_zyx).any()
    sagittal = with_metal(stored_as(WATER, (2, 0, 1), (True, False, True)), BESIDE, 7)
    assert sagittal.geometry.same_grid(once.geometry)
    np.testing.assert_array_equal(upright(sagittal).voxels_zyx, once.voxels_zyx)


@pytest.mark.parametrize(("radius_mm", "length_mm"), [(0.0, 10.0), (3.0, -1.0)])
def test_a_rod_has_an_extent(radius_mm: float, length_mm: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Rod((0.0, 0.0, 0.0), radius_mm, length_mm)
