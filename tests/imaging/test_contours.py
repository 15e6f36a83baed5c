import contourpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from contour.imaging.contours import Contours, TraceOptions, trace
from contour.imaging.rasterise import rasterise

MASKS = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9))


def one_slice(*rows: str) -> np.ndarray:
    return np.array([[[c == "#" for c in row] for row in rows]])


def polygons(contours: Contours) -> list[set[tuple[float, float]]]:
    return [{(float(y), float(x)) for y, x in contours.polygon_yx(i)} for i in range(len(contours))]


def disc(radius: float, size: int, centre_yx: tuple[float, float]) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return np.asarray((y - centre_yx[0]) ** 2 + (x - centre_yx[1]) ** 2 <= radius**2)[None]


def test_a_voxel_is_a_diamond_through_the_middles_between_centres():
    contours = trace(one_slice("#"), offset_zyx=(7, 3, 5))
    assert polygons(contours) == [{(2.5, 5.0), (3.0, 4.5), (3.0, 5.5), (3.5, 5.0)}]
    assert contours.slice_indices.tolist() == [7]


def test_a_rectangle_keeps_the_points_where_it_turns_and_no_others():
    contours = trace(np.ones((1, 3, 4), dtype=bool))
    expected = {(-0.5, 0), (-0.5, 3), (0, -0.5), (2, -0.5), (0, 3.5), (2, 3.5), (2.5, 0), (2.5, 3)}
    assert polygons(contours) == [expected]


def test_outer_rings_are_positive_and_holes_negative():
    ring = one_slice("#####", "#...#", "#.#.#", "#...#", "#####")
    areas = trace(ring).signed_areas()
    assert sorted(areas.tolist()) == [-8.5, 0.5, 24.5]


def test_voxels_that_touch_at_a_corner_are_joined():
    assert len(trace(one_slice("#.", ".#"))) == 1
    assert len(trace(one_slice(".#.", "#.#", ".#."))) == 2  # a ring around one outside voxel


def test_checkerboard_is_one_ring_with_its_holes():
    board = (np.indices((1, 8, 8)).sum(axis=0) % 2).astype(bool)
    contours = trace(board)
    mask, offset = rasterise(contours, (8, 8))
    assert offset == (0, 0, 0)
    assert np.array_equal(mask, board)
    assert np.count_nonzero(contours.signed_areas() > 0) == 1


def test_slices_come_in_order_and_empty_ones_are_left_out():
    mask = np.zeros((5, 4, 4), dtype=bool)
    mask[[1, 4], 1:3, 1:3] = True
    mask[4, 0, 3] = mask[1, 3, 0] = True
    contours = trace(mask, offset_zyx=(10, 0, 0))
    assert contours.slice_indices.tolist() == [11, 14]


@pytest.mark.parametrize("shape", [(0, 0, 0), (3, 0, 4), (2, 3, 4)])
def test_nothing_inside_gives_no_contour(shape):
    contours = trace(np.zeros(shape, dtype=bool))
    assert len(contours) == 0
    assert contours.points_yx.shape == (0, 2)
    assert contours.starts.tolist() == [0]
    assert contours.signed_areas().size == 0


def test_a_mask_without_three_axes_is_refused():
    with pytest.raises(ValueError, match="z, y, x"):
        trace(np.ones((3, 3), dtype=bool))


def test_views_of_any_stride_are_traced_alike():
    mask = np.random.default_rng(5).random((6, 11, 13)) < 0.6
    expected = trace(mask)
    for view in (np.asfortranarray(mask), mask[::-1][::-1], np.repeat(mask, 2, axis=2)[:, :, ::2]):
        assert np.array_equal(trace(view).points_yx, expected.points_yx)


def test_chunks_do_not_show(monkeypatch):
    mask = np.random.default_rng(6).random((17, 12, 12)) < 0.6
    whole = trace(mask)
    monkeypatch.setattr("contour.imaging.contours.CHUNK_VOXELS", 300)
    parts = trace(mask)
    assert np.array_equal(parts.points_yx, whole.points_yx)
    assert np.array_equal(parts.starts, whole.starts)
    assert np.array_equal(parts.slice_indices, whole.slice_indices)


def test_the_line_is_that_of_contourpy():
    """An independent tracer of the iso-0.5 line: same rings, same area, and ours are among its points."""
    mask = disc(23.3, 64, (31.7, 30.2)) & ~disc(9.1, 64, (28.0, 33.5))
    lines = contourpy.contour_generator(z=mask[0].astype(float)).lines(0.5)
    contours = trace(mask)
    assert len(contours) == len(lines) == 2
    theirs = {(float(y), float(x)) for line in lines for x, y in line}
    assert set.union(*polygons(contours)) <= theirs
    areas = [abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2 for x, y in (line.T for line in lines)]
    assert sorted(np.abs(contours.signed_areas())) == pytest.approx(sorted(areas), abs=1e-9)


@given(MASKS)
@settings(deadline=None)
def test_round_trip_is_the_identity(mask):
    mask_back, offset = rasterise(trace(mask, offset_zyx=(4, 3, 2)), (20, 20))
    full = np.zeros((20, 20, 20), dtype=bool)
    z, y, x = offset
    full[z : z + mask_back.shape[0], y : y + mask_back.shape[1], x : x + mask_back.shape[2]] = mask_back
    expected = np.zeros_like(full)
    expected[4 : 4 + mask.shape[0], 3 : 3 + mask.shape[1], 2 : 2 + mask.shape[2]] = mask
    assert np.array_equal(full, expected)


@given(MASKS)
@settings(deadline=None)
def test_polygons_are_sound(mask):
    contours = trace(mask)
    lengths = np.diff(contours.starts)
    assert np.all(lengths >= 4)
    assert np.all(np.diff(contours.slice_indices) >= 0)
    assert contours.starts[-1] == len(contours.points_yx)
    by_slice = np.column_stack((np.repeat(contours.slice_indices, lengths), contours.points_yx))
    assert len(np.unique(by_slice, axis=0)) == len(by_slice)  # no contour touches itself or another in a point
    # Each ring loses half a pixel at its corners, four of which turn in more than turn out; each hole gains as much.
    areas = contours.signed_areas()
    rings, holes = np.count_nonzero(areas > 0), np.count_nonzero(areas < 0)
    assert areas.sum() == pytest.approx(np.count_nonzero(mask) - (rings - holes) / 2, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing_yx_mm": (1.0, 1.0), "smoothing_mm": -0.1}, "smoothing_mm -0.1"),
        ({"spacing_yx_mm": (1.0, 1.0), "decimation_mm": float("nan")}, "decimation_mm nan"),
        ({"smoothing_mm": 0.2}, "needs spacing_yx_mm"),
        ({"spacing_yx_mm": (1.0, 0.0)}, "spacing_yx_mm"),
    ],
)
def test_options_that_say_nothing_sensible_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TraceOptions(**options)
