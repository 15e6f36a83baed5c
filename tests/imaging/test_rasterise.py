import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contour.imaging.contours import Contours
from contour.imaging.rasterise import rasterise

SHAPE_YX = (14, 17)


def contours_of(*polygons: tuple[int, list[tuple[float, float]]]) -> Contours:
    starts = np.cumsum([0, *(len(points) for _, points in polygons)])
    points = np.array([p for _, points in polygons for p in points], dtype=float).reshape(-1, 2)
    return Contours(points, starts, np.array([z for z, _ in polygons], dtype=np.intp))


def full(contours: Contours, slices: int = 1) -> np.ndarray:
    mask, (z, y, x) = rasterise(contours, SHAPE_YX)
    result = np.zeros((slices, *SHAPE_YX), dtype=bool)
    result[z : z + mask.shape[0], y : y + mask.shape[1], x : x + mask.shape[2]] = mask
    return result


def inside_by_crossings(points: list[tuple[float, float]], y: int, x: int) -> bool:
    """The textbook test (Franklin's pnpoly), one point at a time, with rays along rows where we go along columns."""
    inside = False
    for (y0, x0), (y1, x1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
    return inside


def rectangle(y0: float, x0: float, y1: float, x1: float) -> list[tuple[float, float]]:
    return [(y0, x0), (y0, x1), (y1, x1), (y1, x0)]


# Coordinates that no voxel centre can lie on, nor any edge between them: thirds, with a step of their own.
OFF_CENTRE = st.integers(-9, 60).map(lambda i: i / 3.1 + 0.0123)


@given(st.lists(st.lists(st.tuples(OFF_CENTRE, OFF_CENTRE), min_size=3, max_size=9), min_size=1, max_size=3))
@settings(deadline=None)
def test_any_polygons_agree_with_the_textbook_test(polygons):
    mask = full(contours_of(*((0, p) for p in polygons)))[0]
    expected = np.zeros(SHAPE_YX, dtype=bool)
    for y, x in np.ndindex(SHAPE_YX):
        expected[y, x] = sum(inside_by_crossings(p, y, x) for p in polygons) % 2
    # Centres within the snapping distance of an edge may fall either way.
    assert np.count_nonzero(mask != expected) <= _near_edges(polygons)
    assert np.array_equal(mask, expected) or _near_edges(polygons) > 0


def _near_edges(polygons) -> int:
    y, x = np.indices(SHAPE_YX)
    near = np.zeros(SHAPE_YX, dtype=bool)
    for points in polygons:
        for a, b in zip(points, points[1:] + points[:1], strict=True):
            dy, dx = b[0] - a[0], b[1] - a[1]
            along = np.clip(((y - a[0]) * dy + (x - a[1]) * dx) / max(dy * dy + dx * dx, 1e-12), 0, 1)
            near |= np.hypot(y - a[0] - along * dy, x - a[1] - along * dx) < 2e-4
    return int(np.count_nonzero(near))


@given(st.permutations(range(6)), st.integers(0, 5), st.booleans())
@settings(deadline=None, max_examples=30)
def test_order_start_and_sense_are_of_no_consequence(order, start, reverse):
    polygons = [(z, rectangle(1.2 + z, 2.3, 9.7, 11.4 + k)) for z in range(2) for k in range(3)]
    turned = [(z, (p[::-1] if reverse else p)) for z, p in (polygons[i] for i in order)]
    turned = [(z, p[start % 4 :] + p[: start % 4]) for z, p in turned]
    assert np.array_equal(full(contours_of(*turned), 2), full(contours_of(*polygons), 2))


def test_nested_polygons_are_holes_and_islands():
    mask = full(
        contours_of(
            (0, rectangle(0.5, 0.5, 11.5, 11.5)), (0, rectangle(2.5, 2.5, 9.5, 9.5)), (0, rectangle(4.5, 4.5, 7.5, 7.5))
        )
    )
    assert np.count_nonzero(mask) == 11**2 - 7**2 + 3**2
    assert mask[0, 6, 6]
    assert not mask[0, 3, 3]
    assert mask[0, 1, 1]


def test_a_keyhole_channel_cuts_the_same_hole():
    hole = rectangle(3.5, 3.5, 8.5, 8.5)
    outer = rectangle(0.5, 0.5, 11.5, 11.5)
    keyhole = [*outer, outer[0], hole[0], hole[3], hole[2], hole[1], hole[0]]
    assert np.array_equal(full(contours_of((0, keyhole))), full(contours_of((0, outer), (0, hole))))


def test_shapes_that_share_a_border_through_centres_share_no_voxel():
    left, right = rectangle(2, 2, 8, 6), rectangle(2, 6, 8, 10)
    one, other = full(contours_of((0, left))), full(contours_of((0, right)))
    assert np.count_nonzero(one) == np.count_nonzero(other) == 6 * 4
    assert not np.any(one & other)
    assert one[0, 2, 2]
    assert not one[0, 8, 6]


def test_last_digits_do_not_decide_about_a_centre_on_the_contour():
    noisy = [(y + 3e-7 * (-1) ** i, x - 4e-7 * (-1) ** i) for i, (y, x) in enumerate(rectangle(2, 2, 8, 6))]
    assert np.array_equal(full(contours_of((0, noisy))), full(contours_of((0, rectangle(2, 2, 8, 6)))))


def test_parts_outside_the_slice_are_cut_off():
    assert full(contours_of((0, rectangle(-5.5, -7.5, 30.5, 40.5)))).all()
    mask, offset = rasterise(contours_of((3, rectangle(9.5, 12.5, 30.5, 40.5))), SHAPE_YX)
    assert mask.shape == (1, 4, 4)
    assert mask.all()
    assert offset == (3, 10, 13)


@pytest.mark.parametrize(
    "polygon",
    [
        rectangle(20.5, 3.5, 25.5, 8.5),
        rectangle(-9.5, 3.5, -2.5, 8.5),
        rectangle(3.5, -9.5, 8.5, -2.5),
        rectangle(3.5, 30.5, 8.5, 35.5),
        rectangle(3.2, 3.2, 3.8, 3.8),
        [(3.0, 4.0), (3.0, 4.0), (3.0, 4.0)],
    ],
)
def test_without_a_centre_inside_nothing_comes_back(polygon):
    mask, offset = rasterise(contours_of((0, polygon)), SHAPE_YX)
    assert mask.shape == (0, 0, 0)
    assert offset == (0, 0, 0)


def test_no_contour_gives_nothing():
    mask, _ = rasterise(contours_of(), SHAPE_YX)
    assert mask.shape == (0, 0, 0)


def test_the_mask_is_cropped_where_polygons_cancel():
    both = contours_of(
        (0, rectangle(0.5, 0.5, 9.5, 9.5)),
        (0, rectangle(0.5, 0.5, 3.5, 9.5)),
        (1, rectangle(2, 2, 4, 4)),
        (1, rectangle(2, 2, 4, 4)),
    )
    mask, offset = rasterise(both, SHAPE_YX)
    assert mask.shape == (1, 6, 9)
    assert offset == (0, 4, 1)


def test_a_coordinate_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        rasterise(contours_of((0, [(0.0, 0.0), (float("nan"), 1.0), (2.0, 2.0)])), SHAPE_YX)


def test_a_disc_has_the_area_of_a_disc():
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = [(100.3 + 80 * np.sin(a), 110.7 + 80 * np.cos(a)) for a in angles]
    mask, _ = rasterise(contours_of((0, circle)), (256, 256))
    assert np.count_nonzero(mask) == pytest.approx(np.pi * 80**2, rel=2e-3)
