import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contour.inference.package import Tiles
from contour.inference.tiling import (
    UNCOVERED_LOGIT,
    Blender,
    TilePlan,
    gaussian_weights,
    larger_patch,
    plan_tiles,
)

SIDES = st.integers(1, 24)


def blended(plan: TilePlan, logits_czyx: np.ndarray) -> np.ndarray:
    """What comes out if every tile brings its part of `logits_czyx`."""
    blender = Blender(plan, len(logits_czyx))
    slabs = []
    for layer in plan.layers:
        for start in layer.tiles_zyx:
            box = tuple(slice(a, a + n) for a, n in zip(start, plan.patch_zyx, strict=True))
            blender.add(start, logits_czyx[(slice(None), *box)].copy())
        slabs.append(blender.finish(layer.final_z).copy())
    return np.concatenate(slabs, axis=1)


@given(st.tuples(SIDES, SIDES, SIDES), st.tuples(SIDES, SIDES, SIDES), st.floats(0, 0.9))
def test_tiles_cover_the_grid_and_overlap(
    patch_zyx: tuple[int, int, int], more_zyx: tuple[int, int, int], overlap: float
) -> None:
    shape = tuple(p + m - 1 for p, m in zip(patch_zyx, more_zyx, strict=True))
    plan = plan_tiles(np.ones(shape, dtype=bool), patch_zyx, overlap)
    tiles = np.array([tile for layer in plan.layers for tile in layer.tiles_zyx])
    assert plan.tiles == len(tiles)
    for axis, (n, patch) in enumerate(zip(shape, patch_zyx, strict=True)):
        starts = np.unique(tiles[:, axis])
        assert starts[0] == 0
        assert starts[-1] + patch == n
        if patch > 1:
            assert np.all(np.diff(starts) <= np.ceil(patch * (1 - overlap)))


@given(st.integers(0, 2**32 - 1))
def test_tiles_that_agree_blend_to_what_they_agree_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patch = (4, 6, 5)
    shape = tuple(int(rng.integers(n, 3 * n)) for n in patch)
    logits = rng.normal(size=(2, *shape)).astype(np.float32)
    plan = plan_tiles(np.ones(shape, dtype=bool), patch, float(rng.uniform(0, 0.8)))
    np.testing.assert_allclose(blended(plan, logits), logits, rtol=1e-4, atol=1e-5)


def test_the_middle_of_a_tile_counts_more_than_its_rim() -> None:
    assert gaussian_weights((7, 9, 11)).max() == 1
    weights = gaussian_weights((8, 9, 10))
    assert weights.min() == np.float32(1e-3)
    np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])
    plan = plan_tiles(np.ones((8, 9, 15), dtype=bool), (8, 9, 10), 0.5)
    blender = Blender(plan, 1)
    blender.add((0, 0, 0), np.zeros((1, 8, 9, 10), dtype=np.float32))
    blender.add((0, 0, 5), np.ones((1, 8, 9, 10), dtype=np.float32))
    row = blender.finish(8)[0, 4, 4]
    assert np.all(np.diff(row[5:10]) > 0)
    assert row[5] < 0.1
    assert row[9] > 0.9
    np.testing.assert_allclose(row[7], 0.5, atol=1e-6)


def test_tiles_without_anything_inside_are_not_run_and_become_background() -> None:
    inside = np.zeros((12, 8, 8), dtype=bool)
    inside[9:, :4, :4] = True
    plan = plan_tiles(inside, (4, 4, 4), 0.0)
    assert [layer.tiles_zyx for layer in plan.layers] == [(), (), ((8, 0, 0),)]
    logits = blended(plan, np.full((3, 12, 8, 8), 2.0, dtype=np.float32))
    assert np.all(logits[:, 8:, :4, :4] == 2)
    assert np.all(logits[0, :8] == UNCOVERED_LOGIT)
    assert np.all(logits[1:, :8] == -UNCOVERED_LOGIT)


def test_memory_is_one_layer_deep() -> None:
    plan = plan_tiles(np.ones((400, 4, 4), dtype=bool), (8, 4, 4), 0.5)
    blender = Blender(plan, 2)
    assert max(a.size for a in vars(blender).values() if isinstance(a, np.ndarray)) == 2 * 8 * 4 * 4


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_overlap_has_bounds(overlap: float) -> None:
    with pytest.raises(ValueError, match="below 1"):
        plan_tiles(np.ones((4, 4, 4), dtype=bool), (4, 4, 4), overlap)


def test_a_grid_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than the patch"):
        plan_tiles(np.ones((3, 4, 4), dtype=bool), (4, 4, 4), 0.5)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300)),
    st.integers(0, 4_000_000),
    st.floats(0, 0.6),
)
def test_larger_patches_keep_to_their_bounds(shape: tuple[int, int, int], most: int, overlap: float) -> None:
    given_patch = (64, 80, 96)
    patch = larger_patch(shape, given_patch, overlap, most)
    assert np.prod(patch) <= max(most, np.prod(given_patch))
    assert all(p >= g and p % 16 == 0 for p, g in zip(patch, given_patch, strict=True))
    if most < np.prod(given_patch):
        assert patch == given_patch


def test_a_larger_patch_repeats_less() -> None:
    shape, given_patch = (133, 147, 130), (64, 80, 96)
    everything = np.ones(shape, dtype=bool)
    voxels = plan_tiles(everything, given_patch, 0.25).tiles * np.prod(given_patch)
    patch = larger_patch(shape, given_patch, 0.25, 2_500_000)
    grid = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    larger = plan_tiles(np.ones(grid, dtype=bool), patch, 0.25).tiles * np.prod(patch)
    assert larger < 0.5 * voxels
    assert larger_patch(shape, given_patch, 0.25, 10_000_000) == (144, 160, 144)


def test_even_tiles_lie_where_nnunet_places_them() -> None:
    # compute_steps_for_sliding_window((110, 64, 183), (64, 64, 80), 0.5) of nnunetv2 2.8.1
    plan = plan_tiles(np.ones((110, 64, 183), dtype=bool), (64, 64, 80), 0.5, Tiles.EVEN)
    starts = [sorted({tile[axis] for layer in plan.layers for tile in layer.tiles_zyx}) for axis in range(3)]
    assert starts == [[0, 23, 46], [0], [0, 34, 69, 103]]


def test_even_tiles_are_weighted_as_nnunet_weights_them() -> None:
    weights = gaussian_weights((48, 56, 80), Tiles.EVEN)
    # compute_gaussian((48, 56, 80), 1 / 8, 10) of nnunetv2 2.8.1, which is in half precision
    assert weights[24, 28, 40] == 10.0
    assert weights[0, 28, 40] == pytest.approx(0.003355, rel=1e-3)
    assert weights[0, 0, 0] == np.float32(np.float16(6e-8))
    assert weights[47, 55, 79] == np.float32(np.float16(6e-8))
