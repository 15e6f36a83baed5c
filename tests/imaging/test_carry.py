"""Masks from one grid to another that lies askew."""

import numpy as np
import pytest
from heads_of_two_images import CT_FRAME, ct_head, inside, motion, mr_head, points_of

from contour.core.geometry import Geometry
from contour.core.structures import CroppedMask, cropped_to_content
from contour.imaging.carry import carried


def _cropped(mask):
    return CroppedMask(*cropped_to_content(mask))


def _dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize(("part", "least"), [("brain", 0.99), ("hippocampus", 0.95)])
def test_a_shape_lies_where_the_patient_has_it(part, least):
    to_ct = motion((12, -9, 15), (20, -30, 40))
    source = mr_head(to_ct, (1.5, 1.5, 1.5)).geometry
    target = ct_head().geometry
    mask = inside(part, to_ct.points(points_of(source)))
    here = carried(_cropped(mask), to_ct.geometry(source), target)
    whole = np.zeros(target.shape_zyx, dtype=bool)
    whole[here.box.slices] = here.mask_zyx
    assert _dice(whole, inside(part, points_of(target))) > least


def test_onto_its_own_grid_nothing_changes():
    grid = ct_head().geometry
    region = _cropped(inside("hippocampus", points_of(grid)))
    here = carried(region, grid, grid)
    assert np.array_equal(here.within(region.box), region.mask_zyx)
    assert here.mask_zyx.sum() == region.mask_zyx.sum()


def test_what_lies_beyond_the_grid_is_lost():
    grid = Geometry.axial((10, 12, 14), (2.0, 2.0, 2.0), (0, 0, 0), CT_FRAME)
    beside = Geometry.axial((10, 12, 14), (2.0, 2.0, 2.0), (10, 0, 0), CT_FRAME)
    far = Geometry.axial((10, 12, 14), (2.0, 2.0, 2.0), (500, 0, 0), CT_FRAME)
    everything = CroppedMask(np.ones(grid.shape_zyx, dtype=bool), (0, 0, 0))
    assert carried(everything, grid, beside).box.stop_zyx == (10, 12, 9)
    assert carried(everything, grid, far).empty
    assert carried(CroppedMask(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)), grid, beside).empty


def test_two_frames_of_reference_are_refused():
    grid = ct_head().geometry
    to_ct = motion((0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="two frames"):
        carried(_cropped(inside("brain", points_of(grid))), grid, mr_head(to_ct).geometry)
