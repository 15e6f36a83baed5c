from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from contour.core.geometry import Geometry
from contour.imaging.resample import resample_linear

SHAPES = st.tuples(*[st.integers(1, 12)] * 3)
SPACINGS = st.tuples(*[st.floats(0.4, 5.0)] * 3)


def grid(shape_zyx, spacing_zyx_mm) -> Geometry:
    return Geometry.axial(shape_zyx, spacing_zyx_mm, (-31.0, 12.0, 7.0), "1.2.3")


@given(SHAPES, SPACINGS, SPACINGS)
@settings(deadline=None)
def test_a_constant_stays_and_no_value_overshoots(shape, spacing, target_spacing):
    source = grid(shape, spacing)
    target = source.respaced(target_spacing)
    values = np.random.default_rng(0).uniform(-1000, 1000, shape).astype(np.float32)
    resampled = resample_linear(values, source, target)
    assert resampled.shape == target.shape_zyx
    assert resampled.dtype == np.float32
    assert resampled.min() >= values.min() - 1e-2
    assert resampled.max() <= values.max() + 1e-2
    assert resample_linear(np.full(shape, -700, dtype=np.int16), source, target) == pytest.approx(-700, abs=1e-2)


@given(SHAPES, SPACINGS)
@settings(deadline=None)
def test_the_same_grid_gives_the_same_values(shape, spacing):
    values = np.random.default_rng(1).integers(-1024, 3071, shape).astype(np.int16)
    source = grid(shape, spacing)
    assert resample_linear(values, source, source.respaced(spacing)) == pytest.approx(values, abs=1e-2)


@given(st.tuples(*[st.floats(0.2, 1.0)] * 3))
@settings(deadline=None, max_examples=20)
def test_finer_sampling_reproduces_a_linear_image(fraction):
    source = grid((9, 11, 10), (3.0, 1.5, 2.0))
    target = source.respaced(tuple(s * f for s, f in zip(source.spacing_zyx_mm, fraction, strict=True)))
    assert _linear_error_mm(source, target) < 1e-3


@given(st.tuples(*[st.floats(1.0, 4.0)] * 3))
@settings(deadline=None, max_examples=20)
def test_coarser_sampling_shifts_nothing_by_more_than_a_sixth_of_a_voxel(factor):
    source = grid((40, 44, 42), (1.0, 0.8, 1.2))
    target = source.respaced(tuple(s * f for s, f in zip(source.spacing_zyx_mm, factor, strict=True)))
    assert _linear_error_mm(source, target) < 0.2


def _linear_error_mm(source: Geometry, target: Geometry) -> float:
    """How far values that are their own coordinate are off, away from the borders; the worst of the three axes."""
    worst = 0.0
    for axis in range(3):
        here, there = (np.moveaxis(_indices_mm(g), -1, 0)[axis] for g in (source, target))
        resampled = resample_linear(here, source, target)
        reach = 1.5 * max(source.spacing_zyx_mm[axis], target.spacing_zyx_mm[axis])
        inner = (there > here.min() + reach) & (there < here.max() - reach)
        worst = max(worst, float(np.abs(resampled - there)[inner].max(initial=0.0)))
    return worst


def _indices_mm(geometry: Geometry) -> np.ndarray:
    """(z, y, x, 3) the place of each voxel centre along the grid's axes in mm, from the patient's origin."""
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), axis=-1)
    return geometry.index_to_lps_mm(indices) @ np.asarray(geometry.axes_lps).T


def test_interpolation_is_that_of_simpleitk():
    rng = np.random.default_rng(2)
    values = rng.uniform(-1000, 1000, (12, 15, 14)).astype(np.float32)
    source = grid(values.shape, (2.5, 1.1, 0.9))
    target = source.respaced((1.7, 0.6, 0.8))
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(source.spacing_zyx_mm[::-1])
    image.SetOrigin(source.origin_lps_mm)
    theirs = sitk.Resample(
        image,
        target.shape_zyx[::-1],
        sitk.Transform(),
        sitk.sitkLinear,
        target.origin_lps_mm,
        target.spacing_zyx_mm[::-1],
        image.GetDirection(),
        -5000.0,
    )
    expected = sitk.GetArrayFromImage(theirs)
    inside = expected > -4000
    assert np.count_nonzero(inside) > 0.9 * inside.size
    assert resample_linear(values, source, target)[inside] == pytest.approx(expected[inside], abs=0.05)


def test_fine_stripes_do_not_alias():
    stripes = np.zeros((4, 4, 60), dtype=np.float32)
    stripes[:, :, ::2] = 100.0
    source = grid(stripes.shape, (1.0, 1.0, 0.5))
    inner = resample_linear(stripes, source, source.respaced((1.0, 1.0, 2.0)))[:, :, 2:-2]
    assert inner == pytest.approx(50.0, abs=5.0)


def test_beyond_the_outer_centres_the_nearest_value_continues():
    values = np.array([1.0, 2.0, 4.0], dtype=np.float32).reshape(1, 1, 3)
    source = grid(values.shape, (1.0, 1.0, 1.0))
    wider = Geometry.axial((1, 1, 7), (1.0, 1.0, 1.0), (-33.0, 12.0, 7.0), "1.2.3")
    assert resample_linear(values, source, wider).ravel().tolist() == [1, 1, 1, 2, 4, 4, 4]


def test_grids_with_other_axes_are_refused():
    source = grid((3, 3, 3), (1.0, 1.0, 1.0))
    turned = replace(source, axes_lps=((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="separable"):
        resample_linear(np.zeros((3, 3, 3)), source, turned)
