"""Spines whose vertebrae are known, taken apart again."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_spines import LEVELS, MadeSpine, SpinePlan, kyphosis, made_spine, scoliosis, straight

from contour.imaging.spine_anchors import SeenSacrum, rib_pairs, seen_sacrum
from contour.imaging.vertebrae import BODY, Part, Spine, SpineImage, take_apart

CHEST = LEVELS[LEVELS.index("T03") : LEVELS.index("L2") + 1]


def taken(made: MadeSpine) -> Spine:
    spine = take_apart(made.image)
    assert spine is not None
    return spine


def agreement(made: MadeSpine, spine: Spine, *parts: Part) -> float:
    """The part of the voxels that belong to the right vertebra."""
    bone = np.isin(made.image.parts_zyx, parts)
    return float((spine.owner_zyx[bone] == made.truth_zyx[bone]).mean())


def with_parts(made: MadeSpine, parts_zyx) -> MadeSpine:
    return replace(made, image=SpineImage(parts_zyx, made.image.spacing_zyx_mm))


def near(made: MadeSpine, point_mm, radius_mm: float):
    grid = np.indices(made.image.parts_zyx.shape).reshape(3, -1).T * np.asarray(made.image.spacing_zyx_mm)
    return (np.linalg.norm(grid - point_mm, axis=1) <= radius_mm).reshape(made.image.parts_zyx.shape)


@pytest.mark.parametrize(
    ("curve", "spacing"),
    [(straight, (4.0, 2.0, 2.0)), (kyphosis, (2.0, 2.0, 2.0)), (scoliosis, (3.0, 2.0, 2.0))],
)
def test_each_vertebra_is_told_apart_along_curves_and_in_thick_slices(curve, spacing):
    made = made_spine(SpinePlan(CHEST, curve, spacing_zyx_mm=spacing))

    spine = taken(made)

    assert len(spine.vertebrae) == len(CHEST)
    assert not any(v.gap_below for v in spine.vertebrae)
    found = np.array([v.centre_zyx_mm for v in spine.vertebrae])
    # The ends of the image cut the outer bodies.
    assert np.abs(found - made.middles_mm)[1:-1].max() < 4.0
    assert agreement(made, spine, *BODY) > 0.99
    assert agreement(made, spine, *BODY, Part.ARCH) > 0.9


def test_the_whole_spine_from_the_neck_to_the_sacrum():
    levels = LEVELS[2:]
    made = made_spine(SpinePlan(levels, kyphosis, sacrum=True, spacing_zyx_mm=(2.5, 2.5, 2.5)))

    spine = taken(made)

    assert len(spine.vertebrae) == len(levels)
    assert agreement(made, spine, *BODY) > 0.99
    assert seen_sacrum(made.image, spine) == SeenSacrum(there=True, follows=True)


def test_cores_that_run_into_each_other_are_parted():
    made = made_spine(SpinePlan(CHEST))
    parts = made.image.parts_zyx.copy()
    middle = (made.middles_mm[4] + made.middles_mm[5]) / 2
    bridge = near(made, middle, 14.0) & np.isin(parts, (0, *BODY))
    parts[bridge] = Part.CORE

    spine = taken(with_parts(made, parts))

    assert len(spine.vertebrae) == len(CHEST)
    bone = np.isin(made.image.parts_zyx, BODY)
    assert (spine.owner_zyx[bone] == made.truth_zyx[bone]).mean() > 0.98


def test_a_fracture_does_not_make_two_of_one():
    made = made_spine(SpinePlan(CHEST))
    parts = made.image.parts_zyx.copy()
    row = round(made.middles_mm[5][0] / 2.0)
    parts[row - 1 : row + 1][np.isin(parts[row - 1 : row + 1], BODY)] = 0

    spine = taken(with_parts(made, parts))

    assert len(spine.vertebrae) == len(CHEST)


def test_two_bodies_without_a_core_are_still_found():
    made = made_spine(SpinePlan(CHEST, kyphosis))
    parts = made.image.parts_zyx.copy()
    parts[np.isin(made.truth_zyx, (3, 7)) & (parts == Part.CORE)] = Part.SHELL

    spine = taken(with_parts(made, parts))

    assert len(spine.vertebrae) == len(CHEST)
    assert agreement(made, spine, *BODY) > 0.98


def test_a_body_lost_to_metal_leaves_a_known_gap():
    made = made_spine(SpinePlan(CHEST))
    parts = made.image.parts_zyx.copy()
    parts[near(made, made.middles_mm[5], 24.0) & (made.truth_zyx == 6)] = 0
    parts[near(made, made.middles_mm[5], 24.0) & (parts == Part.CANAL)] = 0

    spine = taken(with_parts(made, parts))

    assert len(spine.vertebrae) == len(CHEST) - 1
    assert [v.gap_below for v in spine.vertebrae] == [i == 4 for i in range(len(CHEST) - 1)]


@pytest.mark.parametrize("cut_mm", [6.0, 14.0])
def test_vertebrae_that_the_image_cuts_count_and_say_so(cut_mm):
    made = made_spine(SpinePlan(CHEST))
    off = round(cut_mm / 2.0)
    image = SpineImage(np.ascontiguousarray(made.image.parts_zyx[off:-off]), made.image.spacing_zyx_mm)

    spine = take_apart(image)

    assert spine is not None
    assert len(spine.vertebrae) == len(CHEST)
    assert [v.cut for v in spine.vertebrae] == [i in (0, len(CHEST) - 1) for i in range(len(CHEST))]


def test_one_vertebra_alone():
    spine = taken(made_spine(SpinePlan(("L3",))))

    assert len(spine.vertebrae) == 1


def test_specks_are_no_spine():
    parts = np.zeros((40, 40, 40), dtype=np.uint8)
    parts[20, 20, 18:22] = Part.CORE

    assert take_apart(SpineImage(parts, (2.0, 2.0, 2.0))) is None


def test_bone_of_the_pelvis_taken_for_a_body_stays_out():
    made = made_spine(SpinePlan(CHEST, half_width_mm=110.0))
    parts = made.image.parts_zyx.copy()
    parts[near(made, made.middles_mm[-1] + [0.0, 0.0, 90.0], 12.0)] = Part.CORE

    spine = taken(with_parts(made, parts))

    assert len(spine.vertebrae) == len(CHEST)
    assert np.abs(np.array([v.centre_zyx_mm for v in spine.vertebrae])[-2] - made.middles_mm[-2]).max() < 4.0


@pytest.mark.parametrize("curve", [straight, scoliosis])
def test_ribs_are_given_to_the_vertebrae_that_bear_them(curve):
    levels = LEVELS[LEVELS.index("C6") : LEVELS.index("L3") + 1]
    made = made_spine(SpinePlan(levels, curve, half_width_mm=90.0))

    pairs = rib_pairs(made.image, taken(made))

    expected = [level.startswith("T") for level in levels]
    assert [pair.left for pair in pairs][1:-1] == expected[1:-1]
    assert [pair.right for pair in pairs][1:-1] == expected[1:-1]


def test_a_rib_of_one_side_only():
    levels = LEVELS[LEVELS.index("T08") : LEVELS.index("L3") + 1]
    made = made_spine(SpinePlan(levels))
    parts = made.image.parts_zyx.copy()
    last = round(made.middles_mm[levels.index("T12")][0] / 2.0)
    parts[: last + 8, :, : parts.shape[2] // 2][parts[: last + 8, :, : parts.shape[2] // 2] == Part.RIB] = 0
    image = SpineImage(parts, made.image.spacing_zyx_mm)

    pair = rib_pairs(image, taken(with_parts(made, parts)))[levels.index("T12")]

    # x grows to the patient's left.
    assert (pair.left, pair.right) == (True, False)


def test_beyond_the_field_of_view_nothing_is_said_of_ribs():
    made = made_spine(SpinePlan(CHEST))
    narrow = SpineImage(np.ascontiguousarray(made.image.parts_zyx[:, :, 18:-18]), made.image.spacing_zyx_mm)
    spine = take_apart(narrow)
    assert spine is not None

    pairs = rib_pairs(narrow, spine)

    assert all(pair.left is None and pair.right is None for pair in pairs)


def test_no_sacrum_below_the_chest():
    made = made_spine(SpinePlan(CHEST))

    assert not seen_sacrum(made.image, taken(made)).follows


def test_scraps_of_a_sacrum_in_the_chest_tell_nothing():
    """As a network draws them that never saw a chest without: in line with the spine and beside it, some low."""
    made = made_spine(SpinePlan(CHEST))
    parts = made.image.parts_zyx.copy()
    free = parts == 0
    scraps = np.zeros(parts.shape, dtype=bool)
    z = parts.shape[0]
    for start in (0, z // 3, z // 2, 2 * z // 3):
        scraps[start : start + 12, -30:-15, 20:50] = True
    parts[scraps & free] = Part.SACRUM
    image = SpineImage(parts, made.image.spacing_zyx_mm)
    spine = take_apart(image)
    assert spine is not None
    assert (parts == Part.SACRUM).sum() * image.voxel_ml > 3
    assert seen_sacrum(image, spine) == SeenSacrum(there=False, follows=False)
