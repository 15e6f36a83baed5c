from dataclasses import replace

import numpy as np
import pytest
from tiny_training import tiny_config

from contour.training.network import build_network
from contour.training.prepared import UNKNOWN, PreparedCase
from contour.training.self_training import Consistency, opinion_of, with_opinion

SHAPE = (20, 24, 28)
BALL = ((np.indices(SHAPE) - np.array([10, 12, 18])[:, None, None, None]) ** 2).sum(axis=0) <= 36


def case(*drawn: bool) -> PreparedCase:
    """A ball of 1 on -1; the first structure may have been drawn beside it."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[8:12, 8:12, 2:6] = int(drawn[0])
    image = np.where(BALL, 1.0, -1.0).astype(np.float16)
    return PreparedCase("one", image, labels, np.zeros(SHAPE, dtype=np.uint8), np.array([drawn]))


def by_brightness(slope: float):
    """An opinion: the second structure is what is bright, the surer the greater the slope."""

    def opinion(image_zyx: np.ndarray) -> np.ndarray:
        bright = 1 / (1 + np.exp(-slope * image_zyx))
        return np.stack([1 - bright, np.zeros_like(bright), bright]).astype(np.float32)

    return opinion


def test_what_is_seen_the_same_in_every_way_is_learnt_from():
    found = with_opinion(case(True, False), tiny_config(4), by_brightness(6.0))
    assert found.drawn.tolist() == [[True, True]]
    learnt, unknown = found.labels_zyx == 2, found.labels_zyx == UNKNOWN
    assert not (learnt & ~BALL).any()
    assert not (BALL & ~learnt & ~unknown).any()
    assert learnt.sum() > 0.7 * BALL.sum()  # all but the outer layer


def test_what_was_drawn_stays_as_it_is():
    before = case(True, False)
    found = with_opinion(before, tiny_config(4), by_brightness(6.0))
    assert np.array_equal(found.labels_zyx == 1, before.labels_zyx == 1)
    whole = case(True, True)
    assert np.array_equal(with_opinion(whole, tiny_config(4), by_brightness(6.0)).labels_zyx, whole.labels_zyx)


def test_an_opinion_that_changes_with_the_view_leaves_the_structure_undrawn():
    def fickle(image_zyx: np.ndarray) -> np.ndarray:
        seen = by_brightness(6.0)(image_zyx)
        return seen if image_zyx.shape == SHAPE else seen[[2, 1, 0]]

    found = with_opinion(case(True, False), tiny_config(4), fickle)
    assert found.drawn.tolist() == [[True, False]]
    assert np.array_equal(found.labels_zyx, case(True, False).labels_zyx)


def test_an_unsure_opinion_is_none():
    found = with_opinion(case(True, False), tiny_config(4), by_brightness(0.3))
    assert found.drawn.tolist() == [[True, False]]


def test_a_network_s_opinion_is_one_in_all_at_every_voxel():
    config = tiny_config(4)
    opinion = opinion_of(build_network(config.network, 3).eval(), config)
    seen = opinion(np.zeros(SHAPE, dtype=np.float32))
    assert seen.shape == (3, *SHAPE)
    assert seen.sum(axis=0) == pytest.approx(np.ones(SHAPE), abs=1e-5)


def test_tissues_without_an_image_are_refused():
    codes = np.zeros(SHAPE, dtype=np.uint8)
    with pytest.raises(ValueError, match="without an image"):
        with_opinion(replace(case(True, False), tissues_zyx=codes), tiny_config(4), by_brightness(6.0))


@pytest.mark.parametrize("bounds", [(0.2, 0.7, 0.6), (0.7, 0.7, 0.6), (1.0, 0.2, 0.6), (0.7, 0.2, 1.0)])
def test_bounds_ascend(bounds):
    with pytest.raises(ValueError, match="0 < doubt < sure < 1"):
        Consistency(*bounds)
