"""Smoothing and decimation of closed polygons, each with a bound on how far a contour may move."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)

COLLINEAR_TOLERANCE = 1e-9  # pixels
LARGEST_SLIDE_VOXELS = 0.45  # of the 0.5 to either voxel centre
PULL, PUSH, ROUNDS = 0.5, -0.53, 10


@dataclass(frozen=True)
class Loops:
    """Closed sequences written one after the other: loop `i` is `starts[i]:starts[i + 1]` of an array of points."""

    starts: NDArray[np.intp]

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.intp]) -> "Loops":
        """Loops of so many points each."""
        starts = np.zeros(lengths.size + 1, dtype=np.intp)
        np.cumsum(lengths, out=starts[1:])
        return cls(starts)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """(m,) the number of points of each loop."""
        return np.diff(self.starts)

    def following(self, values: NDArray[Value]) -> NDArray[Value]:
        """For each point the value of the next one of its loop."""
        shifted = np.empty_like(values)
        shifted[:-1] = values[1:]
        shifted[self.starts[1:] - 1] = values[self.starts[:-1]]
        return shifted

    def preceding(self, values: NDArray[Value]) -> NDArray[Value]:
        """For each point the value of the one before it in its loop."""
        shifted = np.empty_like(values)
        shifted[1:] = values[:-1]
        shifted[self.starts[:-1]] = values[self.starts[1:] - 1]
        return shifted

    def selected(self, kept: NDArray[np.bool_]) -> "Loops":
        """The loops when only the points where `kept` is true remain."""
        before = np.zeros(kept.size + 1, dtype=np.intp)
        np.cumsum(kept, out=before[1:])
        return Loops(before[self.starts])


def without_collinear(points_yx: NDArray[np.float64], loops: Loops) -> tuple[NDArray[np.float64], Loops]:
    """The polygons without the points that lie on the straight line between their neighbours (within 1e-9 pixels)."""
    step = loops.following(points_yx) - points_yx
    before = loops.preceding(step)
    area = before[:, 0] * step[:, 1] - before[:, 1] * step[:, 0]
    turning = np.abs(area) > COLLINEAR_TOLERANCE * np.hypot(before[:, 0], before[:, 1])
    return points_yx[turning], loops.selected(turning)


def relaxed(
    points_yx: NDArray[np.float64],
    loops: Loops,
    along_y: NDArray[np.bool_],
    bound_mm: float,
    spacing_yx_mm: tuple[float, float],
) -> NDArray[np.float64]:
    """Smoothed polygons: each point slides along the line between the two voxel centres it stands between.

    It moves along y where `along_y` is true, else along x, by at most `bound_mm` and less than half a voxel. As the
    polygons keep their order of points, no part of a contour moves further than `bound_mm` either, and none crosses a
    voxel centre. Sliding points are pulled to the mean of their neighbours (constrained elastic surface nets, Gibson,
    MICCAI 1998), alternating with a push back that keeps the area (Taubin, SIGGRAPH 1995).
    """
    moved = np.ascontiguousarray(points_yx.T)
    free = np.stack((along_y, ~along_y)).astype(float)
    reach = np.minimum(bound_mm / np.asarray(spacing_yx_mm), LARGEST_SLIDE_VOXELS)[:, None] * free
    lowest, highest = points_yx.T - reach, points_yx.T + reach
    for factor in (PULL, PUSH) * ROUNDS:
        for axis in range(2):
            values = moved[axis]
            mean = (loops.following(values) + loops.preceding(values)) / 2
            values += factor * (mean - values) * free[axis]
            np.clip(values, lowest[axis], highest[axis], out=values)
    return np.ascontiguousarray(moved.T)


def decimated(
    points_yx: NDArray[np.float64], loops: Loops, bound_mm: float, spacing_yx_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], Loops]:
    """The polygons with fewer of their points; no left-out part lies further than `bound_mm` from what remains."""
    return points_yx, loops
