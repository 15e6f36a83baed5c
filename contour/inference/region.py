"""Where in a prepared image a network looks: the patient's body and a margin, or a part of that."""

from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import canonical_geometry

BODY_MARGIN_MM = 10.0


def around_body(volume: Volume, grid: Geometry) -> Mask:
    """(z, y, x) on `grid`, canonically oriented: the body and a margin; everywhere if no body can be made out."""
    body, thinning = coarse_body(volume)
    image = canonical_geometry(volume.geometry)
    if not body.any():
        return np.ones(grid.shape_zyx, dtype=bool)
    nearest = []
    for axis in range(3):
        positions = axis_positions(grid, image, axis) / thinning[axis]
        nearest.append(np.clip(np.rint(positions), 0, body.shape[axis] - 1).astype(np.intp))
    return _grown(body[np.ix_(*nearest)], grid.spacing_zyx_mm)


def _grown(mask_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """`mask_zyx` and all within a box of the margin around it; a plane at a time, and then along z."""
    z, y, x = (ceil(BODY_MARGIN_MM / mm) for mm in spacing_zyx_mm)
    kernel = np.ones((2 * y + 1, 2 * x + 1), dtype=np.uint8)
    planes = np.stack([cv2.dilate(plane, kernel) for plane in mask_zyx.astype(np.uint8)])
    grown = planes.copy()
    for step in range(1, min(z, len(planes) - 1) + 1):
        grown[step:] |= planes[:-step]
        grown[:-step] |= planes[step:]
    return grown.view(bool)


def box_of(inside_zyx: Mask, patch_zyx: tuple[int, int, int]) -> Box:
    """The box of what is inside, widened to a patch where the grid has more: real surroundings, not padding."""
    start, stop = [], []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(inside_zyx.any(axis=others))
        first, last = int(found[0]), int(found[-1]) + 1
        n, missing = inside_zyx.shape[axis], max(0, patch_zyx[axis] - (last - first))
        first = max(0, min(first - missing // 2, n - max(patch_zyx[axis], last - first)))
        start.append(first)
        stop.append(min(n, max(last, first + patch_zyx[axis])))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def voxels_within(part: Geometry, grid: Geometry) -> Box:
    """The voxels of `grid` whose centres lie within the outer borders of `part`; the grids share their axes."""
    start, stop = [], []
    for axis in range(3):
        positions = axis_positions(grid, part, axis)
        inside = np.flatnonzero((positions >= -0.5) & (positions <= part.shape_zyx[axis] - 0.5))
        start.append(int(inside[0]) if inside.size else 0)
        stop.append(int(inside[-1]) + 1 if inside.size else 0)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def axis_positions(of: Geometry, on: Geometry, axis: int) -> NDArray[np.float64]:
    """Continuous indices on the grid `on` of the voxels of `of` along `axis`; the grids share their axes."""
    start = on.lps_mm_to_index(of.origin_lps_mm)[axis]
    positions: NDArray[np.float64] = start + np.arange(of.shape_zyx[axis]) * (
        of.spacing_zyx_mm[axis] / on.spacing_zyx_mm[axis]
    )
    return positions
