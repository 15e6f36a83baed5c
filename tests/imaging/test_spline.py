import numpy as np
import pytest
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing, Resampling, Standardised, network_grid, nonzero_box, preprocess
from contour.imaging.spline import lone_coarse_axis, nearest_voxels, resample_spline

WIDE = (-3e38, 3e38)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def whole(shape: tuple[int, int, int]) -> Box:
    return Box((0, 0, 0), shape)


@pytest.mark.parametrize("shape", [(14, 33, 9), (20, 12, 40), (20, 25, 30)])
def test_it_is_scipys_cubic_zoom_within_the_images_range(shape: tuple[int, int, int]) -> None:
    values = image(20, 25, 30)
    factors = [m / n for m, n in zip(shape, values.shape, strict=True)]
    expected = ndimage.zoom(values.astype(float), factors, order=3, mode="nearest", grid_mode=True)
    expected = np.clip(expected, values.min(), values.max())
    found = resample_spline(values, shape, whole(shape), None)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    box = Box((2, 3, 1), (11, 9, 8))
    assert np.abs(resample_spline(values, shape, box, None) - expected[box.slices]).max() < 1e-5


def test_along_a_coarse_axis_the_nearest_slice_is_taken() -> None:
    values = image(6, 20, 22)
    shape = (15, 14, 30)
    slices = [
        ndimage.zoom(s.astype(float), (14 / 20, 30 / 22), order=3, mode="nearest", grid_mode=True) for s in values
    ]
    within = np.stack([np.clip(new, old.min(), old.max()) for new, old in zip(slices, values, strict=True)])
    expected = within[nearest_voxels(6, 15)]
    assert np.abs(resample_spline(values, shape, whole(shape), 0) - expected).max() < 1e-5
    box = Box((4, 0, 2), (9, 14, 20))
    assert np.abs(resample_spline(values, shape, box, 0) - expected[box.slices]).max() < 1e-5
    turned = resample_spline(np.moveaxis(values, 0, 2).copy(), (14, 30, 15), whole((14, 30, 15)), 2)
    assert np.abs(turned - np.moveaxis(expected, 0, 2)).max() < 1e-5


def test_nearest_voxels_of_ties_are_the_later_ones() -> None:
    assert nearest_voxels(2, 4).tolist() == [0, 0, 1, 1]
    assert nearest_voxels(4, 2).tolist() == [1, 3]
    assert nearest_voxels(3, 1).tolist() == [1]


def test_only_one_axis_can_be_the_coarse_one() -> None:
    assert lone_coarse_axis((5.0, 1.0, 1.0), (1.5, 1.5, 1.5)) == 0
    assert lone_coarse_axis((2.5, 1.0, 1.0), (1.0, 4.0, 1.0)) == 1
    assert lone_coarse_axis((3.0, 1.0, 1.0), (1.5, 1.5, 1.5)) is None
    assert lone_coarse_axis((0.5, 2.0, 2.0), (6.0, 1.0, 1.0)) is None  # the first spacing decides


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    geometry = Geometry.axial(shape, spacing, (-30.0, 10.0, 5.0), "2.25.1")
    return Volume((100 * image(*shape)).astype(np.int16), geometry, Modality.CT)


def test_the_network_grid_keeps_the_borders_of_the_image() -> None:
    plan = Preprocessing((3.0, 2.0, 2.0), (-100.0, 100.0), 10.0, 50.0, resampling=Resampling.SPLINE, padding_value=0.0)
    case = volume((20, 31, 27), (2.5, 1.1, 0.9))
    grid = network_grid(case.geometry, plan)
    assert grid.shape_zyx == (17, 17, 12)
    for corner, other in (((-0.5,) * 3, (-0.5,) * 3), ((16.5, 16.5, 11.5), (19.5, 30.5, 26.5))):
        assert np.allclose(grid.index_to_lps_mm(corner), case.geometry.index_to_lps_mm(other))
    # Values are normalised first, and resampled then.
    normal = ((np.clip(case.voxels_zyx.astype(np.float32), -100, 100)) - 10) / 50
    expected = resample_spline(normal, grid.shape_zyx, whole(grid.shape_zyx), None)
    assert np.abs(preprocess(case, plan).values_zyx - expected).max() < 1e-6
    assert plan.padding == 0.0


def test_a_native_axis_keeps_its_slices() -> None:
    plan = Preprocessing((9.0, 2.0, 2.0), WIDE, 0.0, 1.0, resampling=Resampling.SPLINE, native_axis=0)
    case = volume((7, 20, 20), (5.0, 1.0, 1.0))
    assert network_grid(case.geometry, plan).shape_zyx == (7, 10, 10)
    slice_alone = Volume(
        case.voxels_zyx[3:4], Geometry.axial((1, 20, 20), (5.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1"), Modality.CT
    )
    assert np.allclose(preprocess(case, plan).values_zyx[3], preprocess(slice_alone, plan).values_zyx[0], atol=1e-4)


def test_standardised_values_have_mean_0_and_deviation_1() -> None:
    case = volume((8, 8, 8), (1.0, 1.0, 1.0))
    plan = Preprocessing((1.0, 1.0, 1.0), WIDE, 0.0, 1.0, resampling=Resampling.SPLINE, standardised=Standardised.IMAGE)
    found = preprocess(case, plan).values_zyx
    assert abs(float(found.mean())) < 1e-5
    assert float(found.std()) == pytest.approx(1.0, abs=1e-5)
    inside = np.zeros((8, 8, 8), dtype=bool)
    inside[2:6, 2:6, 2:6] = True
    masked = Volume(np.where(inside, case.voxels_zyx + 1000, 0).astype(np.int16), case.geometry, Modality.MR)
    masked.voxels_zyx[4, 4, 4] = 0  # a hole belongs to what is around it
    plan = Preprocessing(
        (1.0, 1.0, 1.0), WIDE, 0.0, 1.0, resampling=Resampling.SPLINE, standardised=Standardised.NONZERO
    )
    found = preprocess(masked, plan).values_zyx
    values = masked.voxels_zyx[inside].astype(float)
    assert np.allclose(found[inside], (values - values.mean()) / values.std(), atol=1e-4)
    assert not found[~inside].any()
    assert nonzero_box(masked) == Box((2, 2, 2), (6, 6, 6))


def test_what_is_the_same_everywhere_is_not_divided_by_nothing() -> None:
    case = Volume(np.full((4, 4, 4), 7, dtype=np.int16), volume((4, 4, 4), (1.0, 1.0, 1.0)).geometry, Modality.MR)
    plan = Preprocessing((1.0, 1.0, 1.0), WIDE, 0.0, 1.0, standardised=Standardised.IMAGE)
    assert not preprocess(case, plan).values_zyx.any()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="native_axis 3"):
        Preprocessing((1.0, 1.0, 1.0), (0.0, 1.0), 0.0, 1.0, native_axis=3)
    with pytest.raises(ValueError, match="one of them"):
        Preprocessing((1.0, 1.0, 1.0), WIDE, 0.0, 1.0, percentiles=(1.0, 99.0), standardised=Standardised.IMAGE)
    with pytest.raises(ValueError, match="padding_value"):
        Preprocessing((1.0, 1.0, 1.0), (0.0, 1.0), 0.0, 1.0, padding_value=float("nan"))
