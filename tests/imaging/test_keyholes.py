"""Keyholes hold the very voxels of the contours they come from, each polygon an outer one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from contour.imaging.contours import Contours, TraceOptions, trace
from contour.imaging.keyholes import keyholed
from contour.imaging.rasterise import rasterise


def lumps(seed: int, grain: float) -> NDArray[np.bool_]:
    """Slices with holes, islands in holes, and corners that touch."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(3, 34, 38)), (0.0, grain, grain))
    return np.asarray(field > 0.02)


def filled(contours: Contours, decimals: int) -> NDArray[np.bool_]:
    rounded = Contours(np.round(contours.points_yx, decimals), contours.starts, contours.slice_indices)
    mask, offset = rasterise(rounded, (34, 38))
    whole = np.zeros((3, 34, 38), dtype=bool)
    z, y, x = (slice(a, a + n) for a, n in zip(offset, mask.shape, strict=True))
    whole[z, y, x] = mask
    return whole


@given(st.integers(0, 100_000), st.floats(0.5, 2.5), st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=60)
def test_the_voxels_stay_and_holes_are_gone(seed: int, grain: float, smoothing: float) -> None:
    mask = lumps(seed, grain)
    contours = trace(mask, options=TraceOptions((1.0, 1.0), smoothing_mm=smoothing))
    joined = keyholed(contours)
    assert np.array_equal(filled(joined, 6), mask)
    assert np.array_equal(filled(joined, 3), mask)
    assert (joined.signed_areas() > 0).all()
    assert joined.signed_areas().sum() == pytest.approx(contours.signed_areas().sum())
    assert len(joined) == np.count_nonzero(contours.signed_areas() > 0)


def test_what_has_no_hole_stays_as_it_is() -> None:
    mask = np.zeros((2, 8, 9), dtype=bool)
    mask[:, 2:5, 3:7] = True
    contours = trace(mask)
    joined = keyholed(contours)
    assert np.array_equal(joined.points_yx, contours.points_yx)
    assert np.array_equal(joined.starts, contours.starts)
    assert len(keyholed(trace(np.zeros((2, 3, 3), dtype=bool)))) == 0


def test_the_channel_runs_up_a_column_to_the_ring_around() -> None:
    mask = np.ones((1, 9, 9), dtype=bool)
    mask[0, 4, 4] = False
    joined = keyholed(trace(mask))
    points = joined.polygon_yx(0)
    turns = np.flatnonzero((points == points[:, None]).all(axis=2).sum(axis=0) == 2)
    ends = points[turns]
    assert len(ends) == 4
    assert np.unique(ends[:, 1]).size == 1
    assert sorted(set(ends[:, 0].tolist())) == [-0.5, 3.5]
