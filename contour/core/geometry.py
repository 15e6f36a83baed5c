"""The sampling grid of an image in the patient: DICOM PS3.3 C.7.6.2.1.1, coordinates LPS in mm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Box:
    """A half-open box of voxel indices: `start_zyx` is inside, `stop_zyx` is not."""

    start_zyx: tuple[int, int, int]
    stop_zyx: tuple[int, int, int]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along z, y, x; never negative."""
        z, y, x = (max(0, b - a) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into a z, y, x array."""
        z, y, x = (slice(a, max(a, b)) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def empty(self) -> bool:
        """Whether the box holds no voxel."""
        return 0 in self.shape_zyx

    def joined(self, other: "Box") -> "Box":
        """The smallest box that holds both; an empty one has no place."""
        if self.empty or other.empty:
            return other if self.empty else self
        start = [min(a, b) for a, b in zip(self.start_zyx, other.start_zyx, strict=True)]
        stop = [max(a, b) for a, b in zip(self.stop_zyx, other.stop_zyx, strict=True)]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def grown(self, margin_zyx: tuple[int, int, int], within_zyx: tuple[int, int, int]) -> "Box":
        """The box with `margin_zyx` voxels more on both sides, cut to a grid of `within_zyx` voxels."""
        start = [max(0, a - m) for a, m in zip(self.start_zyx, margin_zyx, strict=True)]
        stop = [min(n, b + m) for b, m, n in zip(self.stop_zyx, margin_zyx, within_zyx, strict=True)]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@dataclass(frozen=True)
class Geometry:
    """A regular grid of voxels in the patient coordinate system.

    `axes_lps` holds three unit vectors, the directions in which the z (slice), y (row) and x (column) index grow, in
    LPS; they are orthogonal, and may form a left-handed system (slices counted against the cross product of the
    rows and columns). `origin_lps_mm` is the centre of voxel (0, 0, 0).

    Raises:
        ValueError: a shape or spacing that is not positive, or axes that are not orthonormal within 1e-4.
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    origin_lps_mm: tuple[float, float, float]
    axes_lps: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    frame_of_reference_uid: str

    def __post_init__(self) -> None:
        if min(self.shape_zyx) < 1:
            raise ValueError(f"shape_zyx {self.shape_zyx}: every axis needs at least one voxel")
        if not (np.all(np.isfinite(self.spacing_zyx_mm)) and min(self.spacing_zyx_mm) > 0):
            raise ValueError(f"spacing_zyx_mm {self.spacing_zyx_mm}: must be finite and above 0 mm")
        if not np.all(np.isfinite(self.origin_lps_mm)):
            raise ValueError(f"origin_lps_mm {self.origin_lps_mm}: must be finite")
        axes = np.asarray(self.axes_lps, dtype=float)
        if not np.allclose(axes @ axes.T, np.eye(3), atol=ORTHONORMAL_TOLERANCE):
            raise ValueError(f"axes_lps {self.axes_lps}: must be orthonormal within {ORTHONORMAL_TOLERANCE}")

    @classmethod
    def axial(
        cls,
        shape_zyx: tuple[int, int, int],
        spacing_zyx_mm: tuple[float, float, float],
        origin_lps_mm: tuple[float, float, float],
        frame_of_reference_uid: str,
    ) -> Self:
        """The usual grid of a supine CT: x to the left, y to posterior, z to superior."""
        axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
        return cls(shape_zyx, spacing_zyx_mm, origin_lps_mm, axes, frame_of_reference_uid)

    @property
    def steps_lps_mm(self) -> NDArray[np.float64]:
        """(3, 3): row i is the LPS displacement in mm of one voxel along index axis i (z, y, x)."""
        steps: NDArray[np.float64] = np.asarray(self.axes_lps, dtype=float) * np.asarray(self.spacing_zyx_mm)[:, None]
        return steps

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in ml."""
        return float(np.prod(self.spacing_zyx_mm)) / 1000.0

    def index_to_lps_mm(self, indices_zyx: ArrayLike) -> NDArray[np.float64]:
        """Patient coordinates (..., 3) as x, y, z in mm, LPS, of continuous voxel indices (..., 3) as z, y, x."""
        points: NDArray[np.float64] = np.asarray(indices_zyx, dtype=float) @ self.steps_lps_mm + self.origin_lps_mm
        return points

    def lps_mm_to_index(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Continuous voxel indices (..., 3) as z, y, x of patient coordinates (..., 3) as x, y, z in mm, LPS."""
        indices: NDArray[np.float64] = (np.asarray(points_lps_mm, dtype=float) - self.origin_lps_mm) @ np.linalg.inv(
            self.steps_lps_mm
        )
        return indices

    def same_grid(self, other: "Geometry", tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have one frame of reference and shape, and no corner lies further apart."""
        if self.frame_of_reference_uid != other.frame_of_reference_uid or self.shape_zyx != other.shape_zyx:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape_zyx], indexing="ij"), axis=-1).reshape(-1, 3)
        apart = np.linalg.norm(self.index_to_lps_mm(corners) - other.index_to_lps_mm(corners), axis=1)
        return bool(apart.max() <= tolerance_mm)

    def cropped(self, box: Box) -> "Geometry":
        """The grid of the voxels inside `box`."""
        return replace(self, shape_zyx=box.shape_zyx, origin_lps_mm=_point(self.index_to_lps_mm(box.start_zyx)))

    def respaced(self, spacing_zyx_mm: tuple[float, float, float]) -> "Geometry":
        """A grid with another spacing over the same outer borders (voxel edges, not centres).

        Each axis gets the number of voxels nearest to its extent, so that the last voxel may reach past the old
        border, or stop short of it, by at most half a voxel; both ends share the difference.
        """
        extent = np.asarray(self.shape_zyx) * np.asarray(self.spacing_zyx_mm)
        shape = np.maximum(1, np.rint(extent / np.asarray(spacing_zyx_mm))).astype(int)
        centre = self.index_to_lps_mm((np.asarray(self.shape_zyx) - 1) / 2)
        steps = np.asarray(self.axes_lps) * np.asarray(spacing_zyx_mm)[:, None]
        origin = centre - ((shape - 1) / 2) @ steps
        return replace(
            self,
            shape_zyx=(int(shape[0]), int(shape[1]), int(shape[2])),
            spacing_zyx_mm=spacing_zyx_mm,
            origin_lps_mm=_point(origin),
        )

    def recut(self, spacing_zyx_mm: tuple[float, float, float]) -> "Geometry":
        """A grid over exactly the same outer borders, with the numbers of voxels nearest to another spacing.

        Its spacing differs from the one asked for by as much as those numbers are not whole.
        """
        extent = np.asarray(self.shape_zyx) * np.asarray(self.spacing_zyx_mm)
        z, y, x = (max(1, round(float(mm))) for mm in extent / np.asarray(spacing_zyx_mm))
        spacing = extent / (z, y, x)
        corner = self.index_to_lps_mm((-0.5, -0.5, -0.5))
        origin = corner + 0.5 * (np.asarray(self.axes_lps) * spacing[:, None]).sum(axis=0)
        return replace(
            self,
            shape_zyx=(z, y, x),
            spacing_zyx_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
            origin_lps_mm=_point(origin),
        )


def _point(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
