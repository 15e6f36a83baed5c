"""Margins against the definition, against analytic bodies, and at the ends of the grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.protocol import SIDES, SidesMm
from contour.core.structures import CroppedMask, Mask
from contour.imaging.margins import grown, shrunk

AXIAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
TOLERANCE_MM = 0.1


def turned(seed: int) -> NDArray[np.float64]:
    """Axes of a grid that lies across the patient's."""
    axes, _ = np.linalg.qr(np.eye(3) + 0.35 * np.random.default_rng(seed).normal(size=(3, 3)))
    return AXIAL @ (axes * np.sign(np.diag(axes)))


def grid(
    axes: NDArray[np.float64], shape: tuple[int, int, int], spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)
) -> Geometry:
    return Geometry(shape, spacing, (-11.0, 5.0, 40.0), tuple(map(tuple, axes.tolist())), "1.2.3")  # type: ignore[arg-type]


def whole(region: CroppedMask, geometry: Geometry) -> Mask:
    return region.within(Box((0, 0, 0), geometry.shape_zyx))


def margins_between(source: Mask, geometry: Geometry, margin: SidesMm, fine: int = 25) -> NDArray[np.float64]:
    """(z, y, x) by definition: the least distance, in margins, of each centre to points of the voxels inside."""
    parts = np.linspace(-0.5, 0.5, fine)
    points = np.stack(np.meshgrid(parts, parts, parts, indexing="ij"), axis=-1).reshape(-1, 3)
    towards = np.maximum(1e-9, [margin.left, margin.posterior, margin.superior])
    against = np.maximum(1e-9, [margin.right, margin.anterior, margin.inferior])
    centres = np.argwhere(np.ones(source.shape, dtype=bool))
    least = np.full(len(centres), np.inf)
    for voxel in np.argwhere(source):
        for i, centre in enumerate(centres):
            across = (centre - voxel - points) @ geometry.steps_lps_mm
            least[i] = min(least[i], ((across / np.where(across > 0, towards, against)) ** 2).sum(axis=1).min())
    return np.sqrt(least).reshape(source.shape)


@pytest.mark.parametrize(
    "axes", [AXIAL, -AXIAL, AXIAL[[2, 0, 1]], turned(1)], ids=["axial", "turned", "sagittal", "oblique"]
)
@pytest.mark.parametrize(
    "margin", [SidesMm.all_around(3.0), SidesMm(2.0, 4.0, 3.0, 5.0, 4.5, 1.0)], ids=["ball", "sides"]
)
def test_a_margin_is_what_its_definition_says(axes: NDArray[np.float64], margin: SidesMm) -> None:
    geometry = grid(axes, (5, 9, 10))
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    mask[2, 4, 4] = mask[1, 3, 6] = True
    apart = margins_between(mask, geometry, margin)
    sure = np.abs(apart - 1) * min(margin.six) > TOLERANCE_MM / 2
    found = whole(grown(CroppedMask(mask[1:3, 3:5, 4:7], (1, 3, 4)), geometry, margin), geometry)
    assert np.array_equal(found[sure], (apart < 1)[sure])
    assert sure.mean() > 0.9


@pytest.mark.parametrize("axes", [AXIAL, turned(2), turned(3)], ids=["axial", "oblique", "more oblique"])
def test_a_box_of_voxels_grows_to_the_analytic_rounded_box(axes: NDArray[np.float64]) -> None:
    """On 1 x 1 x 3 mm the surface lies within 0.1 mm of where it should be: no centre beyond that is wrong."""
    geometry, margin_mm = grid(axes, (14, 34, 36)), 7.3
    mask = np.ones((4, 12, 15), dtype=bool)
    found = whole(grown(CroppedMask(mask, (5, 10, 11)), geometry, SidesMm.all_around(margin_mm)), geometry)
    centres = np.argwhere(np.ones(geometry.shape_zyx, dtype=bool))
    middle, half = np.array([6.5, 15.5, 18.0]), np.array([4, 12, 15]) / 2
    outside = np.maximum(np.abs(centres - middle) - half, 0) * geometry.spacing_zyx_mm
    apart = np.linalg.norm(outside, axis=1).reshape(geometry.shape_zyx)
    assert not found[apart > margin_mm + TOLERANCE_MM].any()
    assert found[apart < margin_mm - TOLERANCE_MM].all()


def test_each_side_grows_by_its_own_margin_whatever_the_order_of_storage() -> None:
    margin = SidesMm(left=2, right=4, anterior=6, posterior=8, superior=9, inferior=3)
    for axes in (AXIAL, -AXIAL, AXIAL[[2, 1, 0]], AXIAL[[1, 2, 0]] * [[1], [-1], [1]]):
        geometry = grid(axes, (41, 41, 41), (1.0, 1.0, 1.0))
        centre = geometry.index_to_lps_mm((20, 20, 20))
        region = grown(CroppedMask(np.ones((1, 1, 1), dtype=bool), (20, 20, 20)), geometry, margin)
        reached = geometry.index_to_lps_mm(np.argwhere(region.mask_zyx) + region.offset_zyx) - centre
        assert np.allclose(reached.max(axis=0), (2, 8, 9), atol=1e-6)
        assert np.allclose(reached.min(axis=0), (-4, -6, -3), atol=1e-6)


@pytest.mark.parametrize("axes", [AXIAL, turned(4)], ids=["axial", "oblique"])
def test_what_shrinks_is_what_its_surroundings_leave(axes: NDArray[np.float64]) -> None:
    geometry = grid(axes, (9, 20, 22))
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    mask[2:8, 3:17, 4:18] = True
    mask[4, 9, 10] = False  # a hole grows, too
    for margin in (SidesMm.all_around(3.2), SidesMm(1.0, 3.0, 2.0, 4.0, 3.5, 3.5)):
        turned_margin = SidesMm(
            margin.right, margin.left, margin.posterior, margin.anterior, margin.inferior, margin.superior
        )
        outside = whole(grown(CroppedMask(~mask, (0, 0, 0)), geometry, turned_margin), geometry)
        found = whole(shrunk(CroppedMask(mask, (0, 0, 0)), geometry, margin), geometry)
        assert np.array_equal(found, mask & ~outside)
        assert 0 < found.sum() < mask.sum()


def test_beyond_the_grid_is_outside_and_growing_ends_with_it() -> None:
    geometry = grid(AXIAL, (6, 10, 10))
    full = CroppedMask(np.ones(geometry.shape_zyx, dtype=bool), (0, 0, 0))
    core = shrunk(full, geometry, SidesMm.all_around(2.0))
    kept = np.argwhere(whole(core, geometry))
    assert kept.min(axis=0).tolist() == [1, 2, 2]
    assert kept.max(axis=0).tolist() == [4, 7, 7]
    assert whole(grown(core, geometry, SidesMm.all_around(30.0)), geometry).all()


@given(
    st.lists(st.floats(0, 6), min_size=6, max_size=6),
    st.integers(0, 10_000),
    st.sampled_from([AXIAL, -AXIAL, AXIAL[[1, 0, 2]], turned(5)]),
)
@settings(deadline=None, max_examples=40)
def test_growing_keeps_all_that_was_there_and_shrinking_adds_nothing(
    six: list[float], seed: int, axes: NDArray[np.float64]
) -> None:
    geometry = grid(axes, (7, 12, 11))
    mask = np.random.default_rng(seed).random(geometry.shape_zyx) < 0.1
    margin, region = SidesMm(*six), CroppedMask(mask, (0, 0, 0))
    wide, narrow = whole(grown(region, geometry, margin), geometry), whole(shrunk(region, geometry, margin), geometry)
    assert wide[mask].all()
    assert not narrow[~mask].any()


def test_a_margin_that_is_a_rounding_error_is_none() -> None:
    geometry, region = grid(AXIAL, (5, 5, 5)), CroppedMask(np.ones((1, 1, 1), dtype=bool), (2, 2, 2))
    wide = whole(grown(region, geometry, SidesMm(inferior=7e-160)), geometry)
    assert np.count_nonzero(wide) == 1


def test_nothing_grows_to_nothing_and_bad_margins_are_named() -> None:
    geometry = grid(AXIAL, (4, 5, 6))
    empty = CroppedMask(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0))
    assert grown(empty, geometry, SidesMm.all_around(5.0)).empty
    assert shrunk(empty, geometry, SidesMm.all_around(5.0)).empty
    for side, mm in zip(SIDES, (-1.0, float("nan"), float("inf"), -0.5, -2.0, -9.0), strict=True):
        with pytest.raises(ValueError, match=f"{side} {mm}: finite and at least 0 mm"):
            SidesMm(**{side: mm})
