import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.places import lies_in_file, zeros_in_file
from contour.core.protocol import Components, ProtocolStructure
from contour.imaging.postprocess import finish

GEOMETRY = Geometry.axial((40, 40, 40), (2.0, 1.0, 1.0), (0, 0, 0), "1.2")  # 0.002 ml a voxel


def two_parts() -> np.ndarray:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:6, 2:6, 2:6] = True  # 64 voxels
    mask[10:13, 10:13, 10:13] = True  # 27 voxels
    mask[15, 15, 15] = True
    return mask


def test_the_largest_component_stays() -> None:
    mask, offset = finish(two_parts(), (5, 6, 7), ProtocolStructure("Heart"), GEOMETRY)
    assert offset == (7, 8, 9)
    assert mask.shape == (4, 4, 4)
    assert mask.all()


def test_small_components_go() -> None:
    rule = ProtocolStructure("Lungs", components=Components.ALL, min_component_ml=0.01)
    mask, offset = finish(two_parts(), (0, 0, 0), rule, GEOMETRY)
    assert offset == (2, 2, 2)
    assert np.count_nonzero(mask) == 64 + 27


def test_a_component_of_just_the_least_volume_stays() -> None:
    rule = ProtocolStructure("Lungs", components=Components.ALL, min_component_ml=27 * GEOMETRY.voxel_ml)
    assert np.count_nonzero(finish(two_parts(), (0, 0, 0), rule, GEOMETRY)[0]) == 64 + 27


def test_nothing_large_enough_is_nothing() -> None:
    rule = ProtocolStructure("Heart", min_component_ml=1.0)
    assert finish(two_parts(), (0, 0, 0), rule, GEOMETRY)[0].shape == (0, 0, 0)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[:2, :2, :2] = mask[2:, 2:, 2:] = True
    assert np.count_nonzero(finish(mask, (0, 0, 0), ProtocolStructure("Heart"), GEOMETRY)[0]) == 16


def test_of_equal_components_the_first_stays() -> None:
    mask = np.zeros((9, 3, 3), dtype=bool)
    mask[:3] = mask[6:] = True
    assert finish(mask, (1, 0, 0), ProtocolStructure("Heart"), GEOMETRY)[1] == (1, 0, 0)


@pytest.mark.parametrize(("fill", "voxels"), [(True, 1000), (False, 1000 - 27)])
def test_cavities_are_filled_where_the_rule_says(fill: bool, voxels: int) -> None:
    mask = np.ones((10, 10, 10), dtype=bool)
    mask[4:7, 4:7, 4:7] = False
    rule = ProtocolStructure("Heart", fill_holes=fill)
    assert np.count_nonzero(finish(mask, (0, 0, 0), rule, GEOMETRY)[0]) == voxels


def test_a_tunnel_and_a_cavity_open_to_the_end_are_no_holes() -> None:
    tunnel = np.ones((10, 10, 10), dtype=bool)
    tunnel[:, 4:6, 4:6] = False
    bay = np.ones((10, 10, 10), dtype=bool)
    bay[8:, 4:6, 4:6] = False
    for mask in (tunnel, bay):
        np.testing.assert_array_equal(finish(mask, (0, 0, 0), ProtocolStructure("Heart"), GEOMETRY)[0], mask)


def test_an_island_in_a_cavity_ends_in_the_whole() -> None:
    mask = np.ones((9, 9, 9), dtype=bool)
    mask[2:7, 2:7, 2:7] = False
    mask[4, 4, 4] = True
    rule = ProtocolStructure("Heart", components=Components.ALL)
    assert finish(mask, (0, 0, 0), rule, GEOMETRY)[0].all()


def test_the_given_mask_is_left_alone_and_empty_stays_empty() -> None:
    mask = two_parts()
    finish(mask, (0, 0, 0), ProtocolStructure("Heart"), GEOMETRY)
    np.testing.assert_array_equal(mask, two_parts())
    for empty in (np.zeros((0, 0, 0), dtype=bool), np.zeros((3, 3, 3), dtype=bool)):
        assert finish(empty, (0, 0, 0), ProtocolStructure("Heart"), GEOMETRY)[0].shape == (0, 0, 0)


@given(st.integers(0, 2**32 - 1))
def test_finishing_twice_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((8, 9, 10)) < rng.uniform(0.1, 0.9)
    rule = ProtocolStructure("Heart")
    once, offset = finish(mask, (3, 2, 1), rule, GEOMETRY)
    again, same = finish(once, offset, rule, GEOMETRY)
    np.testing.assert_array_equal(once, again)
    assert offset == same or not once.size


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("components", list(Components))
def test_a_mask_in_a_file_is_finished_alike(seed: int, components: Components) -> None:
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((9, 720, 730)), (1, 3, 3)) > 0.02
    in_file = zeros_in_file(blobs.shape, np.bool_)
    in_file[...] = blobs
    rule = ProtocolStructure("Lungs", components=components, min_component_ml=0.3, fill_holes=True)
    ours, theirs = finish(in_file, (0, 0, 0), rule, GEOMETRY), finish(blobs, (0, 0, 0), rule, GEOMETRY)
    assert lies_in_file(ours[0])
    assert not lies_in_file(theirs[0])
    assert ours[1] == theirs[1]
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert not np.array_equal(ours[0], blobs)
