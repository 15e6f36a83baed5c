"""Rigid motions between frames of reference."""

import numpy as np
import pytest
from heads_of_two_images import CT_FRAME, MR_FRAME, motion

from contour.core.geometry import Geometry
from contour.core.rigid import RigidTransform, fitted

POINTS = np.array([[0.0, 0, 0], [60, 0, 0], [0, 80, 0], [10, -20, 70], [-40, 30, 20]])


def test_a_quarter_turn_takes_left_to_posterior():
    turn = motion((0, 0, 90), (5, 6, 7))
    assert np.allclose(turn.points((10, 0, 0)), (5, 16, 7))
    assert turn.degrees == pytest.approx(90)


def test_there_and_back_is_nowhere():
    there = motion((8, -5, 12), (20, -30, 40))
    assert np.allclose(there.inverse.points(there.points(POINTS)), POINTS)
    assert (there.inverse.from_frame_uid, there.inverse.to_frame_uid) == (CT_FRAME, MR_FRAME)


def test_a_grid_moves_with_its_patient():
    there = motion((8, -5, 12), (20, -30, 40))
    grid = Geometry.axial((4, 5, 6), (3.0, 2.0, 1.0), (-7.0, 8.0, 9.0), MR_FRAME)
    moved = there.geometry(grid)
    index = np.array([[0, 0, 0], [3, 4, 5], [1.5, 2.5, 0.5]])
    assert np.allclose(moved.index_to_lps_mm(index), there.points(grid.index_to_lps_mm(index)))
    assert moved.frame_of_reference_uid == CT_FRAME
    with pytest.raises(ValueError, match=MR_FRAME):
        there.geometry(moved)


def test_few_decimals_still_make_a_grid():
    there = motion((8, -5, 12), (20, -30, 40))
    rough = RigidTransform(MR_FRAME, CT_FRAME, tuple(tuple(round(v, 3) for v in row) for row in there.matrix))
    grid = Geometry.axial((4, 5, 6), (3.0, 2.0, 1.0), (-7.0, 8.0, 9.0), MR_FRAME)
    axes = np.asarray(rough.geometry(grid).axes_lps)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("change", ["scale", "mirror", "row", "nan"])
def test_what_is_no_rigid_motion_is_refused(change):
    matrix = np.eye(4)
    if change == "scale":
        matrix[0, 0] = 1.01
    elif change == "mirror":
        matrix[0, 0] = -1
    elif change == "row":
        matrix[3, 0] = 1
    else:
        matrix[0, 3] = np.nan
    with pytest.raises(ValueError, match="matrix"):
        RigidTransform(MR_FRAME, CT_FRAME, tuple(map(tuple, matrix.tolist())))


def test_points_that_were_moved_tell_the_motion():
    there = motion((8, -5, 12), (20, -30, 40))
    found = fitted((MR_FRAME, CT_FRAME), POINTS, there.points(POINTS))
    assert found.apart_mm(there, POINTS) < 1e-9


def test_one_or_two_points_tell_a_translation_alone():
    found = fitted((MR_FRAME, CT_FRAME), POINTS[:2], POINTS[:2] + np.array((1, 2, 3)))
    assert found.degrees == pytest.approx(0, abs=1e-6)
    assert np.allclose(found.points((0, 0, 0)), (1, 2, 3))


def test_mirrored_points_are_fitted_by_no_mirror():
    found = fitted((MR_FRAME, CT_FRAME), POINTS, POINTS * (-1, 1, 1))
    assert np.linalg.det(np.asarray(found.matrix)[:3, :3]) == pytest.approx(1)
