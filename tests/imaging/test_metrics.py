from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, cropped_to_content
from contour.imaging.contours import trace
from contour.imaging.metrics import CompareOptions, compare, compare_with
from contour.imaging.smooth import Loops

SHAPE_ZYX = (20, 40, 44)


def grid(shape_zyx=SHAPE_ZYX, spacing_zyx_mm=(1.0, 1.0, 1.0)) -> Geometry:
    return Geometry.axial(shape_zyx, spacing_zyx_mm, (0.0, 0.0, 0.0), "1.2.3")


def structure(mask: np.ndarray) -> Structure:
    return Structure("Heart", (255, 0, 0), InterpretedType.ORGAN, *cropped_to_content(mask.astype(bool)))


def ellipsoid(centre_zyx, radii_zyx, shape_zyx=SHAPE_ZYX) -> np.ndarray:
    z, y, x = (
        (np.arange(n).reshape([-1 if i == a else 1 for i in range(3)]) - c) / r
        for a, (n, c, r) in enumerate(zip(shape_zyx, centre_zyx, radii_zyx, strict=True))
    )
    return np.asarray(z**2 + y**2 + x**2 <= 1)


def cuboid(start_zyx, stop_zyx, shape_zyx=SHAPE_ZYX) -> np.ndarray:
    mask = np.zeros(shape_zyx, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start_zyx, stop_zyx, strict=True))] = True
    return mask


def specks(one_in: int) -> np.ndarray:
    numbers = np.arange(6 * 7 * 9).reshape(6, 7, 9)
    return np.asarray(numbers * 7919 % one_in < 2)


# What surface-distance 0.1 (with numpy 1.26 and scipy 1.11) says of these pairs: Dice, surface Dice at 1 and 2 mm, 95th
# percentile and greatest distance, mean distances and areas of both surfaces.
SURFACE_DISTANCE = [
    (
        ellipsoid((9.2, 19.1, 20.3), (7.1, 13.4, 15.2)),
        ellipsoid((10.4, 18.2, 22.9), (6.3, 14.8, 13.1)),
        (3.0, 1.0, 1.0),
        (0.7854069558981713, 0.5040198813841512, 0.6533648170132127, 6.0, 7.211102550927978),
        ((1.957978557306375, 1.4954791094292252), (3875.3124073060226, 3421.6915302431494)),
    ),
    (
        ellipsoid((9.2, 19.1, 20.3), (9.1, 3.4, 3.2)),
        ellipsoid((10.4, 18.2, 22.9), (5.3, 4.8, 4.1)),
        (2.0, 0.9765625, 0.8),
        (0.4066193853427896, 0.3915493443215623, 0.6988856886671747, 8.0, 10.12719112093773),
        ((2.124178418466165, 1.3925615252499923), (559.4601728724319, 461.04384779937357)),
    ),
    (
        specks(5),
        specks(7),
        (2.0, 1.0, 1.5),
        (0.33976833976833976, 0.9843910564810073, 1.0, 1.0, 1.8027756377319946),
        ((0.10886982429211768, 0.02599106338848725), (797.0146656444898, 719.2914766666778)),
    ),
]


@pytest.mark.parametrize(("first", "second", "spacing", "expected", "means_and_areas"), SURFACE_DISTANCE)
def test_numbers_are_those_of_surface_distance(first, second, spacing, expected, means_and_areas):
    geometry = grid(first.shape, spacing)
    at_1, at_2 = (compare(structure(first), structure(second), geometry, t) for t in (1.0, 2.0))
    found = (at_1.dice, at_1.surface_dice, at_2.surface_dice, at_1.hd95_mm, at_1.hausdorff_mm)
    assert found == pytest.approx(expected, rel=1e-6)
    assert at_1.mean_surface_distance_mm == pytest.approx(np.average(means_and_areas[0], weights=means_and_areas[1]))


def test_a_structure_agrees_with_itself():
    heart = structure(ellipsoid((9, 19, 20), (7, 13, 15)))
    found = compare(heart, heart, grid(), 0.0)
    assert (found.dice, found.surface_dice) == (1.0, 1.0)
    assert (found.hd95_mm, found.hausdorff_mm, found.mean_surface_distance_mm) == (0.0, 0.0, 0.0)
    assert found.added_path_length_mm == 0.0
    assert found.reference_path_length_mm > 0


def test_a_shifted_box_has_the_values_one_can_work_out():
    first, second = cuboid((5, 10, 10), (15, 20, 20)), cuboid((5, 10, 13), (15, 20, 23))
    found = compare(structure(first), structure(second), grid(spacing_zyx_mm=(2.0, 1.0, 0.5)), 1.0)
    assert found.dice == pytest.approx(0.7)
    assert found.hausdorff_mm == pytest.approx(1.5)
    assert found.reference_ml == pytest.approx(1.0)
    assert found.test_ml == pytest.approx(1.0)
    # Per slice 2 x (9 x 1.0 + 9 x 0.5) mm of straight line and four corners.
    corner = np.hypot(1.0, 0.5) / 2
    assert found.reference_path_length_mm == pytest.approx(10 * (27.0 + 4 * corner))
    # The left side and its corners lie 1.5 mm off; so does the right one, but near the other box's long sides.
    assert found.added_path_length_mm == pytest.approx(10 * (9.0 + 2 * corner + 7.0))


@pytest.mark.parametrize(("tolerance_mm", "surface_dice"), [(2.2, 0.0), (4.6, 1.0)])
def test_concentric_balls_lie_apart_by_the_difference_of_their_radii(tolerance_mm, surface_dice):
    shape = (40, 40, 40)
    small, large = ellipsoid((19, 19, 19), (10,) * 3, shape), ellipsoid((19, 19, 19), (14,) * 3, shape)
    found = compare(structure(large), structure(small), grid(shape), tolerance_mm)
    assert found.surface_dice == surface_dice
    assert found.hd95_mm == pytest.approx(4.0, abs=0.6)
    assert 4.0 - 0.6 < found.mean_surface_distance_mm < 4.0  # short by up to half a voxel, as `Agreement` says


def test_surface_dice_of_a_plate_counts_area():
    """Two plates with one common face: that face agrees, of the other one only the rim."""
    thin, thick = cuboid((5, 5, 5), (7, 35, 35)), cuboid((5, 5, 5), (11, 35, 35))
    found = compare(structure(thin), structure(thick), grid(), 1.0)
    face, rim = 30 * 30, 4 * 30
    assert found.surface_dice == pytest.approx((2 * face + rim * (2 + 3)) / (4 * face + rim * (2 + 6)), abs=0.05)


def test_distances_beyond_the_stencil_are_exact():
    """Far apart, the distance transform takes over; the nearest corners of two boxes tell the truth."""
    shape = (60, 80, 90)
    spacing = (2.5, 0.9, 0.7)
    first, second = cuboid((2, 2, 2), (6, 6, 6), shape), cuboid((40, 60, 70), (44, 64, 74), shape)
    found = compare(structure(first), structure(second), grid(shape, spacing), 1.0)
    furthest = np.linalg.norm(np.array([38, 58, 68]) * spacing)
    assert found.hausdorff_mm == pytest.approx(furthest, rel=1e-5)
    assert (found.dice, found.surface_dice) == (0.0, 0.0)


def test_one_far_island_is_measured_exactly():
    shape = (60, 80, 90)
    body = cuboid((2, 10, 10), (50, 70, 80), shape)
    with_island = body | cuboid((57, 76, 88), (58, 77, 89), shape)
    found = compare(structure(body), structure(with_island), grid(shape, (2.0, 1.0, 1.5)), 1.0)
    # Surface elements sit at voxel corners; the body's own corner is cut off, its nearest elements are one voxel in.
    corner, island = np.array([50, 70, 80]), np.array([58, 77, 89])
    assert found.hausdorff_mm == pytest.approx(np.linalg.norm((island - corner) * (2.0, 1.0, 1.5)), abs=1e-4)
    assert found.hd95_mm == 0.0


def test_added_path_length_looks_at_each_slice_alone():
    first = cuboid((5, 10, 10), (10, 20, 20))
    found = compare(structure(first), structure(cuboid((8, 10, 10), (13, 20, 20))), grid(), 3.0)
    assert found.added_path_length_mm == pytest.approx(found.reference_path_length_mm * 3 / 5)


def test_path_length_is_that_of_the_traced_contours():
    mask = ellipsoid((9.2, 19.1, 20.3), (7.1, 13.4, 15.2)) & ~ellipsoid((9.2, 19.1, 20.3), (4.1, 5.4, 6.2))
    spacing = (3.0, 0.9, 1.3)
    contours = trace(mask)
    points = contours.points_yx * spacing[1:]
    length = np.linalg.norm(Loops(contours.starts).following(points) - points, axis=1).sum()
    found = compare(structure(mask), structure(mask), grid(spacing_zyx_mm=spacing), 1.0)
    assert found.reference_path_length_mm == pytest.approx(length)


def test_empty_structures_are_as_stated():
    heart, nothing = structure(cuboid((5, 5, 5), (9, 9, 9))), structure(np.zeros(SHAPE_ZYX, dtype=bool))
    one = compare(heart, nothing, grid(), 1.0)
    assert (one.dice, one.surface_dice) == (0.0, 0.0)
    assert one.hd95_mm == one.hausdorff_mm == one.mean_surface_distance_mm == np.inf
    assert one.added_path_length_mm == one.reference_path_length_mm > 0
    assert (one.reference_ml, one.test_ml) == (0.064, 0.0)
    other = compare(nothing, heart, grid(), 1.0)
    assert (other.surface_dice, other.hd95_mm, other.added_path_length_mm) == (0.0, np.inf, 0.0)
    both = compare(nothing, nothing, grid(), 1.0)
    assert np.isnan([both.dice, both.surface_dice, both.hd95_mm, both.mean_surface_distance_mm]).all()
    assert both.added_path_length_mm == 0.0


MASKS = arrays(bool, (4, 5, 6))


@given(MASKS, MASKS, st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.9, 0.7)]))
@settings(deadline=None, max_examples=60)
def test_distances_are_symmetric_and_right_by_brute_force(first, second, spacing):
    geometry = grid(first.shape, spacing)
    forth = compare(structure(first), structure(second), geometry, 1.0)
    back = compare(structure(second), structure(first), geometry, 1.0)
    for name in ("dice", "surface_dice", "hd95_mm", "hausdorff_mm", "mean_surface_distance_mm"):
        assert getattr(forth, name) == pytest.approx(getattr(back, name), nan_ok=True)
    if first.any() and second.any():
        here, there = (_surface_corners_mm(m, spacing) for m in (first, second))
        apart = np.linalg.norm(here[:, None] - there, axis=2)
        expected = max(apart.min(axis=0).max(), apart.min(axis=1).max())
        assert forth.hausdorff_mm == pytest.approx(expected, rel=1e-6, abs=1e-9)


def _surface_corners_mm(mask: np.ndarray, spacing) -> np.ndarray:
    padded = np.pad(mask, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 2, 2))
    mixed = windows.any(axis=(3, 4, 5)) & ~windows.all(axis=(3, 4, 5))
    return np.argwhere(mixed) * spacing


def test_the_place_on_the_grid_is_of_no_consequence():
    first, second = ellipsoid((9, 19, 20), (7, 13, 15)), ellipsoid((10, 18, 22), (6, 14, 12))
    expected = compare(structure(first), structure(second), grid(), 1.5)
    moved = [
        replace(structure(m), offset_zyx=tuple(np.add(structure(m).offset_zyx, (30, 7, 41)))) for m in (first, second)
    ]
    assert compare(moved[0], moved[1], grid((100, 100, 100)), 1.5) == expected
    larger = Structure("Heart", (255, 0, 0), InterpretedType.ORGAN, first, (0, 0, 0))  # with an empty rim
    assert compare(larger, structure(second), grid(), 1.5) == expected


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    heart = structure(cuboid((5, 5, 5), (9, 9, 9)))
    with pytest.raises(ValueError, match="tolerance_mm"):
        compare(heart, heart, grid(), tolerance)


def test_a_structure_beyond_the_grid_is_refused():
    heart = structure(cuboid((5, 5, 5), (9, 9, 9)))
    with pytest.raises(ValueError, match="covers"):
        compare(heart, replace(heart, offset_zyx=(17, 0, 0)), grid(), 1.0)


def test_several_tolerances_are_those_one_by_one():
    first, second = structure(ellipsoid((9, 19, 20), (7, 13, 15))), structure(ellipsoid((10, 18, 22), (6, 14, 12)))
    found = compare_with(first, second, grid(), CompareOptions((3.0, 0.0, 1.5)))
    assert found == tuple(compare(first, second, grid(), t) for t in (3.0, 0.0, 1.5))


def test_a_tube_cut_at_both_ends_is_measured_by_its_side_alone():
    """A rod beside a thicker one of the same axis, the cut through both: no cap agrees, none disagrees."""
    rod, thick = cuboid((0, 10, 10), (20, 16, 16)), cuboid((2, 6, 6), (18, 20, 20))
    found = compare_with(structure(rod), structure(thick), grid(), CompareOptions((3.9, 5.7), (5, 12)))
    assert found[0].reference_ml == pytest.approx(8 * 36 / 1000)
    assert found[0].test_ml == pytest.approx(8 * 196 / 1000)
    assert found[0].dice == pytest.approx(2 * 36 / (36 + 196))
    # Between the cut planes the surfaces lie 4 mm apart, and 5.66 mm at the corners of the thick rod.
    assert found[0].surface_dice == 0.0
    assert found[1].surface_dice == 1.0
    corner = np.hypot(1.0, 1.0) / 2
    assert found[0].reference_path_length_mm == pytest.approx(8 * (20 + 4 * corner))
    closed = compare(
        structure(cuboid((5, 10, 10), (13, 16, 16))), structure(cuboid((5, 6, 6), (13, 20, 20))), grid(), 1
    )
    assert closed.surface_dice > 0.1  # the caps would agree


def test_structures_that_end_within_the_slices_keep_their_ends():
    first, second = cuboid((3, 10, 10), (9, 20, 20)), cuboid((3, 10, 10), (12, 20, 20))
    options = CompareOptions((1.0,), (5, 15))
    (found,) = compare_with(structure(first), structure(second), grid(), options)
    assert found.hausdorff_mm == pytest.approx(3.0)
    assert found.dice == pytest.approx(2 * 4 / (4 + 7))


def test_slices_that_hold_all_change_nothing():
    first, second = structure(ellipsoid((9, 19, 20), (7, 13, 15))), structure(ellipsoid((10, 18, 22), (6, 14, 12)))
    whole = CompareOptions((1.5,), (0, SHAPE_ZYX[0] - 1))
    assert compare_with(first, second, grid(), whole) == (compare(first, second, grid(), 1.5),)


def test_nothing_within_the_slices_is_an_empty_structure():
    first, second = structure(cuboid((3, 10, 10), (9, 20, 20))), structure(cuboid((12, 10, 10), (15, 20, 20)))
    (found,) = compare_with(first, second, grid(), CompareOptions((1.0,), (3, 8)))
    assert (found.dice, found.hd95_mm, found.test_ml) == (0.0, np.inf, 0.0)


def test_cutting_does_not_depend_on_chunks(monkeypatch):
    first, second = structure(ellipsoid((9, 19, 20), (9, 13, 15))), structure(ellipsoid((10, 18, 22), (9, 14, 12)))
    options = CompareOptions((1.5,), (6, 13))
    expected = compare_with(first, second, grid(), options)
    monkeypatch.setattr("contour.imaging.metrics.CHUNK_VOXELS", 1)
    assert compare_with(first, second, grid(), options) == expected


@pytest.mark.parametrize("slices", [(-1, 4), (5, 4), (3, 20)])
def test_slices_that_are_none_of_the_grid_are_refused(slices):
    heart = structure(cuboid((5, 5, 5), (9, 9, 9)))
    with pytest.raises(ValueError, match="slices"):
        compare_with(heart, heart, grid(), CompareOptions((1.0,), slices))
