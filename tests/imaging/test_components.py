import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from contour.imaging.components import LabelledParts, parts_by_plane, parts_of, those_in_plane


def random_mask(seed: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 12, 3))
    return rng.random(shape) < density


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.2, 0.35, 0.6, 0.95]), st.sampled_from([6, 26]))
def test_parts_are_those_of_labelling_the_whole(seed: int, density: float, neighbours: int) -> None:
    mask = random_mask(seed, density)
    parts = parts_by_plane(mask.view(np.uint8), neighbours)
    ours = np.stack([parts.of_plane(z) for z in range(len(mask))])
    theirs = cc3d.connected_components(mask, connectivity=neighbours)
    pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()], axis=1), axis=0)
    assert len(pairs) == len(np.unique(ours)) == len(np.unique(theirs))  # one to one
    assert (ours > 0).tolist() == mask.tolist()
    np.testing.assert_array_equal(parts.voxels, np.bincount(ours.ravel())[1:])
    whole = LabelledParts.of(mask, neighbours)
    assert sorted(whole.voxels) == sorted(parts.voxels)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_largest_is_the_first_of_equal_ones(seed: int) -> None:
    mask = random_mask(seed, 0.2)
    parts = parts_by_plane(mask.view(np.uint8), 26)
    if not mask.any():
        assert parts.voxels.size == 0
        return
    labels = cc3d.connected_components(mask, connectivity=26).ravel()
    sizes = np.bincount(labels)[1:]
    first = labels[np.isin(labels, 1 + np.flatnonzero(sizes == sizes.max()))][0]
    for one in (parts, LabelledParts.of(mask, 26)):
        kept = 1 + np.arange(one.voxels.size) == one.largest()
        ours = np.stack([those_in_plane(one, z, kept) for z in range(len(mask))])
        np.testing.assert_array_equal(ours.ravel(), labels == first)


def test_other_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours 18: 6 or 26"):
        parts_by_plane(np.ones((1, 1, 1), np.uint8), 18)


@pytest.mark.parametrize("shape", [(1, 1, 9), (9, 1, 1), (1, 9, 1), (4, 5, 1), (1, 1, 1)])
def test_a_mask_one_voxel_wide_has_parts(shape: tuple[int, int, int]) -> None:
    for seed in range(40):
        mask = np.random.default_rng(seed).random(shape) < 0.5
        _, count = ndimage.label(mask, np.ones((3, 3, 3)))
        assert parts_of(mask, 26).voxels.size == count
