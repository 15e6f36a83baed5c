"""The line through the centres of the vertebral bodies, and where a point lies beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 3) z, y, x in mm; indices grow to superior, posterior and left

STIFFNESS_MM = 22.0  # waves shorter than about three times this are smoothed away
BEYOND_MM = 150.0  # how far the line goes on straight beyond the bodies
SPACING_MM = 1.0
PROJECTION_STEPS = 4


@dataclass(frozen=True)
class SpineLine:
    """A smooth line that rises with z: points (n, 3) in mm and their heights along the line, 0 at the lowest body."""

    points_mm: Points
    along_mm: NDArray[np.float64]

    def at(self, along_mm: NDArray[np.float64]) -> Points:
        """The line's points at heights along it."""
        columns = [np.interp(along_mm, self.along_mm, self.points_mm[:, axis]) for axis in range(3)]
        return np.stack(columns, axis=-1)

    def at_height(self, z_mm: NDArray[np.float64]) -> Points:
        """The line's points in axial planes."""
        return self.at(np.interp(z_mm, self.points_mm[:, 0], self.along_mm))

    def upward(self, along_mm: NDArray[np.float64]) -> Points:
        """Unit vectors along the line."""
        step = self.at(along_mm + 2.0) - self.at(along_mm - 2.0)
        return np.asarray(step / np.linalg.norm(step, axis=-1, keepdims=True))

    def heights_mm(self, points_mm: Points) -> NDArray[np.float64]:
        """The height along the line of its point nearest to each of `points_mm`."""
        along = np.interp(points_mm[:, 0], self.points_mm[:, 0], self.along_mm)
        for _ in range(PROJECTION_STEPS):
            along = along + ((points_mm - self.at(along)) * self.upward(along)).sum(axis=1)
        return np.asarray(along)


@dataclass(frozen=True)
class SpineFrame:
    """The line, and which way is front at each height: from the canal to the body, at right angles to the line."""

    line: SpineLine
    canal: SpineLine | None

    @classmethod
    def of(cls, bodies_mm: Points, canal_mm: Points, plane_mm: float) -> "SpineFrame":
        """From the voxels of bodies and canal; without a canal, front is the patient's."""
        return cls(fit_line(bodies_mm, plane_mm), fit_line(canal_mm, plane_mm) if len(canal_mm) else None)

    def front(self, along_mm: NDArray[np.float64]) -> Points:
        """Unit vectors to the front."""
        up, here = self.line.upward(along_mm), self.line.at(along_mm)
        front = np.broadcast_to(np.array([0.0, -1.0, 0.0]), here.shape)
        if self.canal is not None:
            front = here - self.canal.at(self.canal.heights_mm(here))
        front = front - (front * up).sum(axis=-1, keepdims=True) * up
        return np.asarray(front / np.linalg.norm(front, axis=-1, keepdims=True))

    def beside(self, points_mm: Points) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Height along the line, mm to the patient's left of it, and mm in front of it."""
        along = self.line.heights_mm(points_mm)
        apart = points_mm - self.line.at(along)
        up, front = self.line.upward(along), self.front(along)
        left = np.cross(front, up)  # in z, y, x order the rule of the right hand turns round
        return along, (apart * left).sum(axis=1), (apart * front).sum(axis=1)


def fit_line(points_mm: Points, plane_mm: float) -> SpineLine:
    """The smooth line through the centres of the planes of `points_mm`, which lie `plane_mm` apart (Whittaker)."""
    planes = np.rint(points_mm[:, 0] / plane_mm).astype(int)
    first = int(planes.min())
    weights = np.bincount(planes - first).astype(np.float64)
    sums = np.stack([np.bincount(planes - first, points_mm[:, axis]) for axis in (1, 2)], axis=1)
    centres: Points = np.asarray(sums / np.maximum(weights, 1.0)[:, None], dtype=np.float64)
    heights = np.asarray((first + np.arange(weights.size)) * plane_mm, dtype=np.float64)
    smooth = _smoothed(centres, weights / max(float(np.median(weights[weights > 0])), 1.0), plane_mm)
    z, yx = _run_on(heights, smooth)
    fine = np.arange(z[0], z[-1] + SPACING_MM / 2, SPACING_MM)
    points = np.column_stack([fine, np.interp(fine, z, yx[:, 0]), np.interp(fine, z, yx[:, 1])])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    return SpineLine(points, along - np.interp(heights[0], fine, along))


def _smoothed(values: Points, weights: NDArray[np.float64], plane_mm: float) -> Points:
    """Weighted values with little curvature; where weights are 0 the line runs on smoothly."""
    if weights.size < 4:
        return np.repeat(np.average(values, axis=0, weights=weights)[None], weights.size, axis=0)
    bend = np.diff(np.eye(weights.size), 2, axis=0)
    matrix = np.diag(weights) + (STIFFNESS_MM / plane_mm) ** 4 * (bend.T @ bend)
    return np.asarray(np.linalg.solve(matrix, weights[:, None] * values))


def _run_on(heights: NDArray[np.float64], yx: Points) -> tuple[NDArray[np.float64], Points]:
    """With a straight piece at both ends, in the direction of the outer 20 mm."""
    if heights.size < 2:
        slopes = np.zeros((2, 2))
    else:
        n = min(heights.size - 1, max(1, int(20.0 / (heights[1] - heights[0]))))
        slopes = np.stack(
            [(yx[n] - yx[0]) / (heights[n] - heights[0]), (yx[-1] - yx[-1 - n]) / (heights[-1] - heights[-1 - n])]
        )
    z = np.concatenate([[heights[0] - BEYOND_MM], heights, [heights[-1] + BEYOND_MM]])
    return z, np.vstack([yx[0] - BEYOND_MM * slopes[0], yx, yx[-1] + BEYOND_MM * slopes[1]])
