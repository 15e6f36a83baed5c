from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contour.core.geometry import Box, Geometry

SHAPES = st.tuples(*[st.integers(1, 40)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 6.0)] * 3)
ORIGINS = st.tuples(*[st.floats(-800.0, 800.0)] * 3)


@st.composite
def rotations(draw: st.DrawFn) -> tuple[tuple[float, float, float], ...]:
    """Any orthonormal axes, left-handed ones included, by the QR factors of a random matrix."""
    matrix = np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(3, 3))
    axes, _ = np.linalg.qr(matrix)
    return tuple(tuple(float(v) for v in row) for row in axes)


GEOMETRIES = st.builds(Geometry, SHAPES, SPACINGS, ORIGINS, rotations(), st.just("1.2.3"))
POINTS = st.tuples(*[st.floats(-60.0, 60.0)] * 3)


@given(GEOMETRIES, POINTS)
@settings(deadline=None)
def test_index_to_patient_and_back_is_the_identity(geometry, index):
    assert geometry.lps_mm_to_index(geometry.index_to_lps_mm(index)) == pytest.approx(index, abs=1e-6)


@given(GEOMETRIES, POINTS, POINTS)
@settings(deadline=None)
def test_distances_in_the_patient_are_those_of_the_spacing(geometry, one, other):
    apart = np.linalg.norm(geometry.index_to_lps_mm(one) - geometry.index_to_lps_mm(other))
    assert apart == pytest.approx(np.linalg.norm(np.subtract(one, other) * geometry.spacing_zyx_mm), abs=1e-6)


@given(GEOMETRIES, st.data())
@settings(deadline=None)
def test_a_crop_leaves_every_voxel_where_it_was(geometry, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in geometry.shape_zyx)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, geometry.shape_zyx, strict=True))
    cropped = geometry.cropped(Box(start, stop))
    assert cropped.shape_zyx == Box(start, stop).shape_zyx
    last = np.subtract(cropped.shape_zyx, 1)
    assert cropped.index_to_lps_mm(last) == pytest.approx(geometry.index_to_lps_mm(np.add(start, last)), abs=1e-6)


@given(GEOMETRIES, SPACINGS)
@settings(deadline=None)
def test_respacing_keeps_the_borders_within_half_a_voxel(geometry, spacing):
    respaced = geometry.respaced(spacing)
    assert respaced.spacing_zyx_mm == spacing
    assert respaced.axes_lps == geometry.axes_lps
    for corner in (np.full(3, -0.5), np.subtract(geometry.shape_zyx, 0.5)):
        there = respaced.lps_mm_to_index(geometry.index_to_lps_mm(corner))
        border = np.where(corner < 0, -0.5, np.subtract(respaced.shape_zyx, 0.5))
        # Half a voxel less or more in all, shared by both ends; but at least one voxel, however thick.
        thin = np.asarray(respaced.shape_zyx) == 1
        assert np.all(thin | (np.abs(there - border) <= 0.25 + 1e-6))


@given(GEOMETRIES)
@settings(deadline=None)
def test_respacing_to_the_same_spacing_is_the_same_grid(geometry):
    assert geometry.respaced(geometry.spacing_zyx_mm).same_grid(geometry, tolerance_mm=1e-6)


def test_same_grid_looks_at_the_far_corner_and_the_frame_of_reference():
    geometry = Geometry.axial((100, 512, 512), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), "1.2.3")
    assert geometry.same_grid(replace(geometry, origin_lps_mm=(0.005, 0.0, 0.0)))
    assert not geometry.same_grid(replace(geometry, origin_lps_mm=(0.02, 0.0, 0.0)))
    assert not geometry.same_grid(replace(geometry, spacing_zyx_mm=(2.0, 1.0001, 1.0)))
    assert not geometry.same_grid(replace(geometry, frame_of_reference_uid="1.2.4"))
    assert not geometry.same_grid(replace(geometry, shape_zyx=(100, 512, 511)))


def test_axial_is_the_supine_convention():
    geometry = Geometry.axial((10, 20, 30), (3.0, 2.0, 1.0), (-15.0, -20.0, 100.0), "1.2.3")
    assert geometry.index_to_lps_mm((4, 5, 6)).tolist() == [-9.0, -10.0, 112.0]
    assert geometry.index_to_lps_mm(np.zeros((2, 7, 3))).shape == (2, 7, 3)
    assert geometry.voxel_ml == pytest.approx(0.006)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape_zyx", (0, 5, 5)),
        ("spacing_zyx_mm", (1.0, 0.0, 1.0)),
        ("spacing_zyx_mm", (1.0, float("nan"), 1.0)),
        ("origin_lps_mm", (0.0, float("inf"), 0.0)),
        ("axes_lps", ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0))),
        ("axes_lps", ((0.0, 0.0, 1.001), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))),
        ("axes_lps", ((0.0, 0.0, float("nan")), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))),
    ],
)
def test_a_grid_that_is_none_is_refused(field, value):
    geometry = Geometry.axial((5, 5, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "1.2.3")
    with pytest.raises(ValueError, match=field):
        replace(geometry, **{field: value})


def test_boxes():
    box = Box((2, 3, 4), (5, 3, 9))
    assert box.shape_zyx == (3, 0, 5)
    assert box.empty
    assert Box((5, 5, 5), (2, 9, 9)).shape_zyx == (0, 4, 4)
    grown = Box((2, 3, 4), (5, 6, 9)).grown((3, 1, 0), (6, 20, 20))
    assert grown == Box((0, 2, 4), (6, 7, 9))
    assert np.zeros((6, 20, 20))[grown.slices].shape == grown.shape_zyx
