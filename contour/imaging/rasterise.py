"""From contours to mask: which voxel centres lie inside an odd number of polygons.

Independent of tracing: every polygon edge flips the columns of voxels that it passes over, from the crossing downwards.
"""

import numpy as np
from numpy.typing import NDArray

from contour.core.places import zeros_beside
from contour.core.structures import Mask, cropped_to_content
from contour.imaging.contours import Contours
from contour.imaging.smooth import Loops

# Coordinates are rounded to this fraction of a voxel, so that the last digits of a number in a file do not decide about
# a voxel centre that lies on the contour.
SNAP_VOXELS = 2.0**-14
CHUNK_VOXELS = 1 << 21  # slices are filled in chunks that stay in the processor's cache


def rasterise(
    contours: Contours, shape_yx: tuple[int, int], beside: NDArray[np.generic] | None = None
) -> tuple[Mask, tuple[int, int, int]]:
    """The mask of `contours` on slices of `shape_yx` voxels, cropped to its content, and where it starts (z, y, x).

    A voxel is inside if its centre lies inside an odd number of its slice's polygons (even-odd rule): nested holes and
    islands, and holes cut in by a keyhole channel, all come out as drawn. The turning sense of polygons is of no
    consequence. Of centres that lie exactly on a contour (within 2 ** -15 of a voxel), those at the lower row or column
    index of the structure are inside and those at the upper are not, so that shapes that share a border share no voxel.
    Parts outside the slice are cut off. Without any voxel inside, the mask has shape (0, 0, 0). It lies in a file where
    `beside` does.

    Raises:
        ValueError: a coordinate is not finite.
    """
    if not np.all(np.isfinite(contours.points_yx)):
        raise ValueError("a contour has a coordinate that is not finite")
    slices, rows, columns = _crossings(contours, shape_yx)
    if slices.size == 0:
        return _nothing()
    start = int(slices.min()), int(rows.min()), int(columns.min())
    # Each column has been left again by its last crossing, so no voxel is inside from the greatest row on.
    shape = int(slices.max()) + 1 - start[0], int(rows.max()) - start[1], int(columns.max()) + 1 - start[2]
    if shape[1] == 0:
        return _nothing()
    flat = ((slices - start[0]) * shape[1] + rows - start[1]) * shape[2] + columns - start[2]
    flips: NDArray[np.uint8] = np.zeros(shape, np.uint8) if beside is None else zeros_beside(beside, shape, np.uint8)
    mask = _filled(flat[rows < start[1] + shape[1]], flips)
    if _fits(mask):
        return mask, start
    return cropped_to_content(mask, start)


def _crossings(
    contours: Contours, shape_yx: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Slice, first row from there on, and column of each crossing of a polygon edge with a column of voxel centres.

    Rows are cut to 0 .. shape_yx[0], the latter for crossings below the last row.
    """
    points = np.rint(contours.points_yx / SNAP_VOXELS) * SNAP_VOXELS
    loops = Loops(contours.starts)
    y0, x0 = points[:, 0], points[:, 1]
    y1, x1 = loops.following(y0), loops.following(x0)
    # An edge passes the columns lower <= x < upper: each end belongs to one of the two edges that meet there.
    lower = np.clip(np.ceil(np.minimum(x0, x1)), 0, shape_yx[1]).astype(np.intp)
    upper = np.clip(np.ceil(np.maximum(x0, x1)), 0, shape_yx[1]).astype(np.intp)
    passed = upper - lower
    edge = np.flatnonzero(passed)
    passed = passed[edge]
    first = np.cumsum(passed) - passed
    columns = np.arange(int(passed.sum())) + np.repeat(lower[edge] - first, passed)
    slope = (y1[edge] - y0[edge]) / (x1[edge] - x0[edge])
    intercept = y0[edge] - slope * x0[edge]
    rows = np.ceil(np.repeat(slope, passed) * columns + np.repeat(intercept, passed))
    rows = np.clip(rows, 0, shape_yx[0]).astype(np.intp)
    slices = np.repeat(np.repeat(contours.slice_indices, loops.lengths)[edge], passed)
    return slices, rows, columns


def _filled(flat_crossings: NDArray[np.intp], flips: NDArray[np.uint8]) -> Mask:
    """The voxels with an odd number of crossings above them or at them in their column, in the zeros `flips`."""
    shape_zyx = flips.shape
    np.add.at(flips.reshape(-1), flat_crossings, np.uint8(1))  # only odd or even matters: it may overflow
    depth = max(1, CHUNK_VOXELS // (shape_zyx[1] * shape_zyx[2]))
    for first in range(0, shape_zyx[0], depth):
        chunk = flips[first : first + depth]
        chunk &= 1
        for row in range(1, shape_zyx[1]):
            np.bitwise_xor(chunk[:, row], chunk[:, row - 1], out=chunk[:, row])
    return flips.view(bool)


def _fits(mask_zyx: Mask) -> bool:
    """Whether the mask reaches all six faces of its box."""
    return all(mask_zyx.take(end, axis=axis).any() for axis in range(3) for end in (0, -1))


def _nothing() -> tuple[Mask, tuple[int, int, int]]:
    return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
