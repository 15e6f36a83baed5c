"""The shortcut must be exact: every answer is compared with interpolating every class everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contour.inference.decide import AtLeast, AxisSampling, Painter, Winner


def axis_sampling(rng: np.random.Generator, voxels: int) -> AxisSampling:
    """Image voxels finer or coarser than the network's, over all of it and beyond both ends."""
    step = float(rng.choice([0.31, 0.5, 1.0, 1.7]))
    positions = np.arange(-0.9 * step, voxels - 1 + step, step) + rng.uniform(0, 0.05)
    return AxisSampling.of(int(rng.integers(0, 5)), positions, voxels)


def interpolated(logits_czyx: NDArray[np.float32], sampling: tuple[AxisSampling, ...]) -> NDArray[np.float64]:
    values = logits_czyx.astype(np.float64)
    for axis, s in enumerate(sampling, start=1):
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        weight = s.weight.astype(np.float64).reshape(shape)
        values = values.take(s.lower, axis) * (1 - weight) + values.take(s.upper, axis) * weight
    return values


def blobs(rng: np.random.Generator, channels: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Random fields smooth enough for some cells to agree."""
    values = rng.normal(size=(channels, *shape))
    for axis in (1, 2, 3):
        values = values + np.roll(values, 1, axis) + np.roll(values, -1, axis)
    return values.astype(np.float32)


def painted(painter: Painter, channel: int, sampling: tuple[AxisSampling, ...]) -> NDArray[np.bool_]:
    """A channel's mask on all the image voxels of `sampling`."""
    mask, offset = painter.drawn((channel,), np.zeros(0))
    whole = np.zeros([s.lower.size for s in sampling], dtype=bool)
    start = [o - s.first for o, s in zip(offset, sampling, strict=True)]
    if mask.size:
        whole[tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))] = mask
    return whole


@pytest.mark.parametrize("shape", [(7, 9, 8), (1, 6, 5), (6, 1, 1)])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_winner_is_that_of_interpolating_everything(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = blobs(rng, 4, shape)
    z, y, x = (axis_sampling(rng, n) for n in shape)
    painter = Painter([Winner()], [(1,), (3,)], (z, y, x))
    for plane in range(shape[0]):
        painter.feed(logits[:, plane])
    expected = interpolated(logits, (z, y, x))
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4  # ties within float32 may fall either way
    for channel in (1, 3):
        wins = expected.argmax(axis=0) == channel
        np.testing.assert_array_equal(painted(painter, channel, (z, y, x))[clear], wins[clear])


@given(seed=st.integers(0, 2**32 - 1))
def test_thresholds_are_those_of_interpolating_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 7, 9)
    logits = blobs(rng, 3, shape)
    sampling = (axis_sampling(rng, 6), axis_sampling(rng, 7), axis_sampling(rng, 9))
    painter = Painter([AtLeast(1, -0.5), AtLeast(2, 1.0)], [(1,), (2,)], sampling)
    for plane in range(shape[0]):
        painter.feed(logits[:, plane])
    for channel, threshold in ((1, -0.5), (2, 1.0)):
        expected = interpolated(logits, sampling)[channel]
        clear = np.abs(expected - threshold) > 1e-4
        drawn = painted(painter, channel, sampling)
        np.testing.assert_array_equal(drawn[clear], (expected >= threshold)[clear])


def test_a_class_that_wins_no_corner_can_win_between_them() -> None:
    logits = np.array([[[5.0, -9.0]], [[-9.0, 5.0]], [[4.0, 4.0]]], dtype=np.float32)  # (channel, y, x)
    x = AxisSampling.of(0, np.array([0.0, 0.5, 1.0]), 2)
    one = AxisSampling.of(0, np.array([0.0]), 1)
    painter = Painter([Winner()], [(1,), (2,)], (one, one, x))
    painter.feed(logits)
    assert painter.drawn((2,), np.zeros(0))[1] == (0, 0, 1)
    assert painter.drawn((2,), np.zeros(0))[0].shape == (1, 1, 1)
    assert painter.drawn((1,), np.zeros(0))[1] == (0, 0, 2)


def test_nothing_painted_is_empty() -> None:
    one = AxisSampling.of(0, np.array([0.0]), 1)
    painter = Painter([Winner()], [(1,)], (one, one, one))
    painter.feed(np.array([1.0, 0.0], dtype=np.float32).reshape(2, 1, 1))
    assert painter.drawn((1,), np.zeros(0))[0].shape == (0, 0, 0)


def test_the_nearest_plane_may_be_taken_instead() -> None:
    positions = np.array([-0.4, 0.4, 0.5, 1.2, 1.5, 2.4])
    nearest = AxisSampling.of(3, positions, 3).nearest(3)
    assert (nearest.lower + nearest.weight).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest.first == 3
    rng = np.random.default_rng(5)
    logits = blobs(rng, 3, (4, 6, 6))
    plain = [AxisSampling.of(0, np.linspace(0, n - 1, 2 * n), n) for n in logits.shape[1:]]
    sampling = (plain[0].nearest(4), plain[1], plain[2])
    painter = Painter((Winner(),), [(1,), (2,)], sampling)
    for plane in np.moveaxis(logits, 1, 0):
        painter.feed(plane)
    expected = interpolated(logits, sampling).argmax(axis=0)
    for channel in (1, 2):
        assert np.array_equal(painted(painter, channel, sampling), expected == channel)
