"""Solids given by signed distances in mm, and a canvas that paints them into voxels: what phantoms are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contour.core.geometry import Box, Geometry

FloatArray = NDArray[np.float32]
Heights = float | NDArray[np.floating]
Distance = Callable[["Points"], FloatArray]
CHUNK_VOXELS = 4_000_000
_CORNERS = np.array([(i & 1, i & 2, i & 4) for i in range(8)], dtype=bool)


@dataclass(frozen=True)
class Points:
    """Places in mm, in a patient frame of x left, y posterior, z superior: three arrays that broadcast together."""

    x: FloatArray
    y: FloatArray
    z: FloatArray

    @classmethod
    def of(cls, points_xyz_mm: ArrayLike) -> "Points":
        """From an array (..., 3)."""
        x, y, z = np.moveaxis(np.asarray(points_xyz_mm, dtype=np.float32), -1, 0)
        return cls(x, y, z)


@dataclass(frozen=True)
class Profile:
    """A smooth curve through knots: a radius or a position that changes along the body axis.

    Between knots it is a cubic with central-difference tangents (Catmull-Rom), beyond them the end values continue.
    """

    at_mm: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def through(cls, *knots: tuple[float, float]) -> "Profile":
        """From (position in mm, value) pairs in any order."""
        pairs = np.array(sorted(knots), dtype=float)
        at = np.arange(pairs[0, 0], pairs[-1, 0] + 1.0, 1.0)
        return cls(at, _hermite(pairs[:, 0], pairs[:, 1:], at)[:, 0])

    def __call__(self, z: Heights) -> FloatArray:
        """The values at `z` in mm, in its shape."""
        return np.asarray(np.interp(z, self.at_mm, self.values), dtype=np.float32)

    def slope(self, z: Heights) -> FloatArray:
        """The change of the value per mm at `z`."""
        return np.asarray(np.interp(z, self.at_mm, np.gradient(self.values, self.at_mm)), dtype=np.float32)


@dataclass(frozen=True)
class Solid:
    """Inside is where `distance` is below 0 mm; nothing lies outside the box from `low` to `high` (x, y, z mm)."""

    distance: Distance
    low_xyz_mm: tuple[float, float, float]
    high_xyz_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Tube:
    """A chain of rounded cones: (n, 3) points in mm and (n,) radii in mm."""

    points_xyz_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    @classmethod
    def through(cls, *knots: tuple[float, float, float, float], step_mm: float = 4.0) -> "Tube":
        """A smooth tube through (x, y, z, radius) knots."""
        array = np.array(knots, dtype=float)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(array[:, :3], axis=0), axis=1))])
        at = np.linspace(0.0, along[-1], max(2, int(along[-1] / step_mm) + 1))
        fine = _hermite(along, array, at)
        return cls(fine[:, :3], fine[:, 3])

    def grown(self, by_mm: float) -> "Tube":
        """The same course with another radius; never below 0.2 mm."""
        return Tube(self.points_xyz_mm, np.maximum(self.radii_mm + by_mm, 0.2))

    def distance(self, points: Points) -> FloatArray:
        """Signed distance in mm to the nearest of the cones."""
        best: FloatArray | None = None
        for i in range(len(self.radii_mm) - 1):
            d = self.cone(i).distance(points)
            best = d if best is None else np.minimum(best, d)
        assert best is not None  # a tube has two points or more
        return best

    def cone(self, i: int) -> Solid:
        """The rounded cone between point `i` and the next, as a solid of its own."""
        return _cone(self.points_xyz_mm[i : i + 2], self.radii_mm[i : i + 2])


def ellipsoid(
    centre_xyz_mm: tuple[float, float, float],
    radii_mm: tuple[float, float, float],
    axes_xyz: ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
) -> Solid:
    """An ellipsoid whose i-th radius lies along row i of `axes_xyz`; the distance is exact at its surface only."""
    axes = np.asarray(axes_xyz, dtype=float)
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    scaled = (axes / np.asarray(radii_mm, dtype=float)[:, None]).astype(np.float32)
    reach = max(radii_mm)
    centre = np.asarray(centre_xyz_mm, dtype=np.float32)

    def distance(p: Points) -> FloatArray:
        x, y, z = p.x - centre[0], p.y - centre[1], p.z - centre[2]
        parts = [row[0] * x + row[1] * y + row[2] * z for row in scaled]
        norm = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2) + np.float32(1e-6)
        # First-order distance: the level function over the length of its gradient.
        slopes = [parts[0] * scaled[0, i] + parts[1] * scaled[1, i] + parts[2] * scaled[2, i] for i in range(3)]
        gradient = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2) / norm
        return np.asarray((norm - 1) / np.maximum(gradient, 1e-3), dtype=np.float32)

    return Solid(distance, _triple(centre - reach), _triple(centre + reach))


def smooth_union(a: FloatArray, b: FloatArray, blend_mm: float) -> FloatArray:
    """The union of two distances with a fillet of `blend_mm` (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend_mm, 0.0, 1.0)
    return np.asarray(b * (1 - h) + a * h - blend_mm * h * (1 - h), dtype=np.float32)


class Canvas:
    """HU and labels on a grid, painted solid over solid, the later on top, with edges as soft as a scanner's.

    `hu_zyx` is float32 and `labels_zyx` uint8. The grid may lie in any direction. Grid coordinates are shifted by
    `origin_lps_mm`, the place of the solids' own (0, 0, 0).
    """

    def __init__(self, geometry: Geometry, origin_lps_mm: tuple[float, float, float], background_hu: float) -> None:
        self.geometry = geometry
        self.hu_zyx: FloatArray = np.full(geometry.shape_zyx, background_hu, dtype=np.float32)
        self.labels_zyx = np.zeros(geometry.shape_zyx, dtype=np.uint8)
        self._origin = np.asarray(origin_lps_mm, dtype=float)
        self._steps = geometry.steps_lps_mm
        self._per_mm = np.linalg.inv(self._steps)
        self._first = np.asarray(geometry.origin_lps_mm) - self._origin

    def points(self, box: Box) -> Points:
        """The centres of the voxels of `box`, as open as the grid's directions allow."""
        steps = self._steps
        corner = np.asarray(box.start_zyx) @ steps + self._first
        parts = []
        for patient_axis in range(3):
            total = np.full((1, 1, 1), corner[patient_axis])
            for axis, count in enumerate(box.shape_zyx):
                if abs(steps[axis, patient_axis]) > 1e-9:
                    shape = [1, 1, 1]
                    shape[axis] = count
                    total = total + (np.arange(count) * steps[axis, patient_axis]).reshape(shape)
            parts.append(total.astype(np.float32))
        return Points(*parts)

    def chunks(self, solid: Solid, margin_mm: float = 2.0) -> list[Box]:
        """The solid's box in voxels, cut along z into parts of bounded size; empty where it misses the grid."""
        low, high = np.asarray(solid.low_xyz_mm) - margin_mm, np.asarray(solid.high_xyz_mm) + margin_mm
        corners = np.where(_CORNERS, high, low)
        indices = (corners - self._first) @ self._per_mm
        start = np.maximum(np.floor(indices.min(axis=0)), 0).astype(int)
        stop = np.minimum(np.ceil(indices.max(axis=0)) + 1, self.geometry.shape_zyx).astype(int)
        if np.any(stop <= start):
            return []
        step = max(1, int(CHUNK_VOXELS // ((stop[1] - start[1]) * (stop[2] - start[2]))))
        return [
            Box((z, int(start[1]), int(start[2])), (min(z + step, int(stop[0])), int(stop[1]), int(stop[2])))
            for z in range(int(start[0]), int(stop[0]), step)
        ]

    def paint(self, solid: Solid, hu: float | None, *, label: int | None = None, edge_mm: float = 1.2) -> None:
        """Fill `solid` with `hu` (None leaves what is there) and set its label (None leaves what is there)."""
        for box in self.chunks(solid):
            distance = solid.distance(self.points(box))
            if hu is not None:
                part = self.hu_zyx[box.slices]
                part += np.clip(0.5 - distance / np.float32(edge_mm), 0, 1) * (np.float32(hu) - part)
            if label is not None:
                self.labels_zyx[box.slices][np.broadcast_to(distance < 0, box.shape_zyx)] = label

    def paint_tube(self, tube: Tube, hu: float, *, label: int | None = None, edge_mm: float = 1.2) -> None:
        """Fill a tube: its cones meet in one distance first, so that joints do not show."""
        reach = float(tube.radii_mm.max())
        whole = Solid(
            tube.distance, _triple(tube.points_xyz_mm.min(0) - reach), _triple(tube.points_xyz_mm.max(0) + reach)
        )
        for box in self.chunks(whole):
            distance = np.full(box.shape_zyx, np.float32(1e3))
            for i in range(len(tube.radii_mm) - 1):
                cone = tube.cone(i)
                for inner in self.chunks(cone):
                    both = _intersection(inner, box)
                    if not both.empty:
                        part = distance[_relative(both, box)]
                        np.minimum(part, cone.distance(self.points(both)), out=part)
            part = self.hu_zyx[box.slices]
            part += np.clip(0.5 - distance / np.float32(edge_mm), 0, 1) * (np.float32(hu) - part)
            if label is not None:
                self.labels_zyx[box.slices][distance < 0] = label

    def brighten_tube(self, tube: Tube, hu: float, edge_mm: float = 1.0) -> None:
        """Raise a tube to `hu` where what is there is darker: vessels in a lung, thinner than a voxel or not."""
        for i in range(len(tube.radii_mm) - 1):
            cone = tube.cone(i)
            # A vessel thinner than the edge is wide fills its voxels in part only.
            filled = min(1.0, 2.0 * float(tube.radii_mm[i]) / edge_mm)
            for box in self.chunks(cone):
                part = self.hu_zyx[box.slices]
                cover = np.float32(filled) * np.clip(0.5 - cone.distance(self.points(box)) / np.float32(edge_mm), 0, 1)
                np.maximum(part, part + cover * (np.float32(hu) - part), out=part)


def _cone(ends_xyz_mm: NDArray[np.float64], radii_mm: NDArray[np.float64]) -> Solid:
    start = ends_xyz_mm[0].astype(np.float32)
    along = (ends_xyz_mm[1] - ends_xyz_mm[0]).astype(np.float32)
    length2 = np.float32(max(float(along @ along), 1e-6))
    r0, r1 = np.float32(radii_mm[0]), np.float32(radii_mm[1])

    def distance(p: Points) -> FloatArray:
        x, y, z = p.x - start[0], p.y - start[1], p.z - start[2]
        t = np.clip((x * along[0] + y * along[1] + z * along[2]) / length2, 0, 1)
        d2 = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
        return np.asarray(np.sqrt(d2) - (r0 + t * (r1 - r0)), dtype=np.float32)

    reach = float(radii_mm.max())
    return Solid(distance, _triple(ends_xyz_mm.min(axis=0) - reach), _triple(ends_xyz_mm.max(axis=0) + reach))


def _hermite(at: NDArray[np.float64], values: NDArray[np.float64], where: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic Hermite curve through `values` (n, k) at `at` (n,), sampled at `where` (m,): (m, k)."""
    tangents = (
        np.gradient(values, at, axis=0)
        if len(at) > 2
        else np.zeros_like(values) + np.diff(values, axis=0) / np.diff(at)
    )
    i = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(at) - 2)
    h = (at[i + 1] - at[i])[:, None]
    t = np.clip((where - at[i])[:, None] / h, 0, 1)
    return np.asarray(
        (2 * t**3 - 3 * t**2 + 1) * values[i]
        + (t**3 - 2 * t**2 + t) * h * tangents[i]
        + (3 * t**2 - 2 * t**3) * values[i + 1]
        + (t**3 - t**2) * h * tangents[i + 1]
    )


def _intersection(a: Box, b: Box) -> Box:
    start = tuple(max(p, q) for p, q in zip(a.start_zyx, b.start_zyx, strict=True))
    stop = tuple(min(p, q) for p, q in zip(a.stop_zyx, b.stop_zyx, strict=True))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _relative(box: Box, to: Box) -> tuple[slice, slice, slice]:
    z, y, x = (slice(a - o, b - o) for a, b, o in zip(box.start_zyx, box.stop_zyx, to.start_zyx, strict=True))
    return z, y, x


def _triple(values: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
