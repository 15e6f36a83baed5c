"""Two images of a head brought onto each other."""

import numpy as np
import pytest
from heads_of_two_images import CT_FRAME, MR_FRAME, ct_head, inside, motion, mr_head, points_of

from contour.core.rigid import fitted
from contour.core.structures import CroppedMask, cropped_to_content
from contour.imaging.register import LEVELS, Seen, register_rigid
from contour.second_image import TURNED_DEGREES

COARSE = LEVELS[:1]


def _seen(volume, points):
    return Seen(volume, CroppedMask(*cropped_to_content(inside("brain", points))))


def _middle(seen):
    places = np.argwhere(seen.region.mask_zyx).mean(axis=0) + seen.region.offset_zyx
    return seen.volume.geometry.index_to_lps_mm(places)[None]


@pytest.mark.slow
def test_a_known_motion_is_found():
    to_ct = motion((6, -4, 9), (15, -20, 30))
    ct, mr = ct_head(), mr_head(to_ct)
    fixed, moving = _seen(ct, points_of(ct.geometry)), _seen(mr, to_ct.points(points_of(mr.geometry)))
    start = fitted((MR_FRAME, CT_FRAME), _middle(moving), _middle(fixed))
    assert start.apart_mm(to_ct, moving.points_lps_mm) > 8  # turned, still: the middles tell a translation alone
    found = register_rigid(fixed, moving, start)
    assert found.transform.apart_mm(to_ct, moving.points_lps_mm) < 1.5
    assert found.disagreement_mm < 1.5


def test_what_was_not_found_shows():
    """From the other side, or by a head that stands on its crown: where the search stops differs between machines."""
    to_ct = motion((0, 0, 0), (0, 0, 0))
    ct, mr = ct_head(), mr_head(to_ct)
    fixed, moving = _seen(ct, points_of(ct.geometry)), _seen(mr, points_of(mr.geometry))
    astray = register_rigid(fixed, moving, motion((0, 0, 170), (60, 0, 0)), COARSE)
    assert astray.transform.apart_mm(to_ct, moving.points_lps_mm) > 20
    assert astray.disagreement_mm > 5 or astray.transform.degrees > TURNED_DEGREES.withhold


def test_an_empty_region_is_refused():
    ct = ct_head()
    nothing = Seen(ct, CroppedMask(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)))
    with pytest.raises(ValueError, match="both regions"):
        register_rigid(nothing, nothing, motion((0, 0, 0), (0, 0, 0)))
