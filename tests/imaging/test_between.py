"""Slices between drawn ones: against shapes whose every slice is known."""

import numpy as np
import pytest

from contour.core.structures import Mask
from contour.imaging.between import filled_between

SHAPE = (41, 80, 90)
SPACING_MM = (2.0, 1.0, 1.5)


def _positions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = np.indices(SHAPE)
    return z * SPACING_MM[0], y * SPACING_MM[1], x * SPACING_MM[2]


def _dice(a: Mask, b: Mask) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def _every(mask: Mask, n: int) -> Mask:
    """Only every n-th slice is drawn, and the last one."""
    drawn = np.zeros_like(mask)
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    kept = {*slices[::n].tolist(), int(slices[-1])}
    for z in kept:
        drawn[z] = mask[z]
    return drawn


def ball() -> Mask:
    z, y, x = _positions()
    return (z - 40) ** 2 + (y - 38) ** 2 + (x - 66) ** 2 <= 28**2


def tube() -> Mask:
    """A thin tube that runs so askew that neighbouring drawn slices hardly overlap."""
    z, y, x = _positions()
    return (y - 15 - 0.6 * z) ** 2 + (x - 30 - 0.7 * z) ** 2 <= 6**2


def ring() -> Mask:
    z, y, x = _positions()
    far = np.hypot(y - 38, x - 66)
    return (far <= 12 + 0.25 * z) & (far >= 5 + 0.1 * z)


@pytest.mark.parametrize(
    ("make", "every", "least"), [(ball, 4, 0.95), (tube, 5, 0.93), (ring, 5, 0.95)], ids=["ball", "tube", "ring"]
)
def test_what_was_left_out_comes_back(make, every, least):
    whole = make()
    drawn = _every(whole, every)
    found = filled_between(drawn, SPACING_MM, 15.0)
    assert found.left == ()
    missing = ~drawn.any(axis=(1, 2)) & whole.any(axis=(1, 2))
    assert found.filled == tuple(np.flatnonzero(missing))
    assert np.array_equal(found.mask_zyx[~missing], drawn[~missing])
    assert _dice(found.mask_zyx[missing], whole[missing]) >= least


def test_halfway_between_two_discs_lies_the_disc_between():
    _, y, x = _positions()
    far = np.hypot(y - 40, x - 60)[0]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10], mask[12] = far <= 10, far <= 20
    plane = filled_between(mask, SPACING_MM, 15.0).mask_zyx[11]
    assert _dice(plane, far <= 15) >= 0.97


def test_gaps_too_wide_and_shapes_with_nothing_in_common_are_left():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 10:20, 10:20] = True
    mask[12, 10:20, 10:20] = True  # 20 mm on
    mask[16, 10:14, 10:14] = mask[16, 60:64, 70:74] = True  # two parts
    mask[20, 40:44, 10:14] = True
    found = filled_between(mask, SPACING_MM, 15.0)
    assert found.left == ((2, 12), (16, 20))
    assert found.filled == (13, 14, 15)
    assert not found.mask_zyx[3:12].any()


def test_a_whole_mask_is_left_alone():
    whole = ball()
    found = filled_between(whole, SPACING_MM, 15.0)
    assert (found.filled, found.left) == ((), ())
    assert np.array_equal(found.mask_zyx, whole)


@pytest.mark.parametrize("most_mm", [0.0, -1.0, float("nan")])
def test_a_gap_is_a_length(most_mm):
    with pytest.raises(ValueError, match="most_mm"):
        filled_between(ball(), SPACING_MM, most_mm)
