"""Rigid motions between frames of reference: DICOM PS3.3 C.20.2.1.1, coordinates LPS in mm."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contour.core.geometry import Geometry

RIGID_TOLERANCE = 1e-3  # planning systems write matrices with few decimals

Matrix = tuple[
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
]


@dataclass(frozen=True)
class RigidTransform:
    """Where the points of one frame of reference lie in another: `to = matrix @ (from, 1)`, x, y, z in mm, LPS.

    `matrix` is 4 x 4, a rotation and a translation.

    Raises:
        ValueError: the matrix is not a rotation and a translation within 1e-3: it scales, shears or mirrors.
    """

    from_frame_uid: str
    to_frame_uid: str
    matrix: Matrix

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=float)
        rotation = matrix[:3, :3]
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise ValueError(f"matrix {self.matrix}: 4 x 4 finite numbers, the last row 0 0 0 1")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=RIGID_TOLERANCE) or np.linalg.det(rotation) < 0:
            raise ValueError(f"matrix {self.matrix}: a rotation and a translation, without scale, shear or mirroring")

    @classmethod
    def between(cls, frame_uids: tuple[str, str], rotation: ArrayLike, translation_mm: ArrayLike) -> "RigidTransform":
        """The motion from the first to the second frame: `rotation` (3, 3), then `translation_mm` (3)."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, translation_mm
        return cls(*frame_uids, _rows(matrix))

    @property
    def inverse(self) -> "RigidTransform":
        """The way back."""
        rotation = np.asarray(self.matrix)[:3, :3].T
        translation = -rotation @ np.asarray(self.matrix)[:3, 3]
        return RigidTransform.between((self.to_frame_uid, self.from_frame_uid), rotation, translation)

    @property
    def degrees(self) -> float:
        """By how much it turns, about whatever axis."""
        cosine = (float(np.trace(np.asarray(self.matrix)[:3, :3])) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def points(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) points of the first frame, in the second."""
        matrix = np.asarray(self.matrix)
        moved: NDArray[np.float64] = np.asarray(points_lps_mm, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]
        return moved

    def geometry(self, geometry: Geometry) -> Geometry:
        """A grid of the first frame, in the second: no voxel changes, the patient is described anew.

        Raises:
            ValueError: the grid is of another frame of reference.
        """
        if geometry.frame_of_reference_uid != self.from_frame_uid:
            raise ValueError(f"frame of reference {geometry.frame_of_reference_uid}: from {self.from_frame_uid}")
        matrix = np.asarray(self.matrix)
        # A matrix of few decimals turns unit vectors into nearly orthonormal ones: the nearest rotation is meant.
        left, _, right = np.linalg.svd(matrix[:3, :3])
        axes = np.asarray(geometry.axes_lps) @ (left @ right).T
        return replace(
            geometry,
            origin_lps_mm=_three(self.points(geometry.origin_lps_mm)),
            axes_lps=(_three(axes[0]), _three(axes[1]), _three(axes[2])),
            frame_of_reference_uid=self.to_frame_uid,
        )

    def apart_mm(self, other: "RigidTransform", points_lps_mm: ArrayLike) -> float:
        """The greatest distance in mm between where this and `other` put any of the points (n, 3)."""
        apart = np.linalg.norm(self.points(points_lps_mm) - other.points(points_lps_mm), axis=-1)
        return float(apart.max())


def fitted(
    frame_uids: tuple[str, str], from_lps_mm: NDArray[np.float64], to_lps_mm: NDArray[np.float64]
) -> RigidTransform:
    """The motion that brings the points `from_lps_mm` (n, 3) nearest to `to_lps_mm` in the sense of least squares.

    With fewer than three points, or points on a line, only the translation is fitted (Arun et al. 1987,
    doi:10.1109/TPAMI.1987.4767965).
    """
    middle_from, middle_to = from_lps_mm.mean(axis=0), to_lps_mm.mean(axis=0)
    left, sizes, right = np.linalg.svd((from_lps_mm - middle_from).T @ (to_lps_mm - middle_to))
    rotation = np.eye(3)
    if len(from_lps_mm) >= 3 and sizes[1] > 1e-3 * sizes[0]:
        turn = np.diag([1.0, 1.0, np.sign(np.linalg.det(right.T @ left.T))])
        rotation = right.T @ turn @ left.T
    return RigidTransform.between(frame_uids, rotation, middle_to - rotation @ middle_from)


def _rows(matrix: NDArray[np.float64]) -> Matrix:
    a, b, c, d = ((float(r[0]), float(r[1]), float(r[2]), float(r[3])) for r in matrix)
    return a, b, c, d


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
