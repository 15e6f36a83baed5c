"""Margins in millimetres: exact on anisotropic and oblique grids.

A mask stands for the cuboids of its voxels. A voxel belongs to the mask grown by a margin if its centre lies within the
margin of one of these cuboids: in each octant of the patient's directions a margin is an eighth of the ellipsoid whose
half axes are the octant's three margins. Shrinking is growing of what lies outside.
"""

from math import ceil, inf

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.protocol import SidesMm
from contour.core.structures import CroppedMask, Mask

ALIGNED = 1e-6  # of 1 minus a cosine: then a grid's axis is one of the patient's
LEAST_MM = 0.1  # where margins differ on an oblique grid: one of 0 mm counts as this
LEAST_COUNTED_MM = 1e-9
SLACK = 1e-5  # of the squared distance in margins: a centre on the surface is inside
DESCENT_STEPS = 400


def grown(region: CroppedMask, geometry: Geometry, margin: SidesMm) -> CroppedMask:
    """`region` on the grid `geometry`, grown by `margin`; it ends with the grid.

    Raises:
        ValueError: a margin that is negative or not finite.
    """
    if region.empty or not any(margin.six):
        return region
    reach_mm = _reach_mm(geometry, margin)
    reach = _reach_voxels(geometry, reach_mm)
    box = region.box.grown(reach, geometry.shape_zyx)
    mask = region.within(box)
    if _is_ball(margin) or _is_aligned(geometry):
        return CroppedMask(_grown_along_axes(mask, geometry.spacing_zyx_mm, reach_mm), box.start_zyx)
    return CroppedMask(_grown_by_kernel(mask, geometry, margin, reach), box.start_zyx)


def shrunk(region: CroppedMask, geometry: Geometry, margin: SidesMm) -> CroppedMask:
    """`region` less what lies within `margin` of the outside; beyond the grid there is outside, too.

    `margin.left` is what goes at its left side, and so on.

    Raises:
        ValueError: a margin that is negative or not finite.
    """
    if region.empty or not any(margin.six):
        return region
    # A layer around, wide enough that all of the outside that matters is in it.
    z, y, x = _reach_voxels(geometry, _reach_mm(geometry, margin))
    start = (region.offset_zyx[0] - z, region.offset_zyx[1] - y, region.offset_zyx[2] - x)
    outside = ~np.pad(region.mask_zyx, ((z, z), (y, y), (x, x)))
    stop = (start[0] + outside.shape[0], start[1] + outside.shape[1], start[2] + outside.shape[2])
    grid = geometry.cropped(Box(start, stop))
    # What lies outside at the left grows to the right.
    towards = SidesMm(
        left=margin.right,
        right=margin.left,
        anterior=margin.posterior,
        posterior=margin.anterior,
        superior=margin.inferior,
        inferior=margin.superior,
    )
    gone = grown(CroppedMask(outside, (0, 0, 0)), grid, towards)
    kept = ~gone.mask_zyx[z:-z, y:-y, x:-x] & region.mask_zyx
    return CroppedMask(kept, region.offset_zyx)


def _is_ball(margin: SidesMm) -> bool:
    return len(set(margin.six)) == 1


def _is_aligned(geometry: Geometry) -> bool:
    return bool(np.all(np.abs(np.asarray(geometry.axes_lps)).max(axis=1) > 1 - ALIGNED))


def _reach_mm(geometry: Geometry, margin: SidesMm) -> tuple[list[float], list[float]]:
    """How far the margin reaches along each index axis of the grid: against it, and with it."""
    low, high = [], []
    towards_lps = np.array(
        [[margin.left, margin.right], [margin.posterior, margin.anterior], [margin.superior, margin.inferior]]
    )
    for axis in np.asarray(geometry.axes_lps):
        # The support of the ellipsoid's octant that the direction points into.
        with_it = np.where(axis > 0, towards_lps[:, 0], towards_lps[:, 1])
        against = np.where(axis > 0, towards_lps[:, 1], towards_lps[:, 0])
        high.append(float(np.linalg.norm(axis * with_it)))
        low.append(float(np.linalg.norm(axis * against)))
    return low, high


def _reach_voxels(geometry: Geometry, reach_mm: tuple[list[float], list[float]]) -> tuple[int, int, int]:
    """Voxels that the margin reaches along each index axis, the farther way."""
    z, y, x = (ceil(max(a, b) / mm + 0.5) for a, b, mm in zip(*reach_mm, geometry.spacing_zyx_mm, strict=True))
    return z, y, x


def _grown_along_axes(
    mask_zyx: Mask, spacing_zyx_mm: tuple[float, float, float], reach_mm: tuple[list[float], list[float]]
) -> Mask:
    """The exact transform, axis by axis (the ellipsoids' axes are the grid's, or they are balls).

    Each pass keeps, for each voxel, the least squared distance so far, in margins.
    """
    z_costs, y_costs, x_costs = (_costs(mm, low, high) for mm, low, high in zip(spacing_zyx_mm, *reach_mm, strict=True))
    squared = np.where(mask_zyx, np.float32(0), np.float32(inf))
    # A plane at a time stays in the processor's cache.
    for plane in squared:
        _pass(plane, x_costs, 1)
        _pass(plane, y_costs, 0)
    for row in range(squared.shape[1]):
        _pass(squared[:, row], z_costs, 0)
    return np.asarray(squared <= 1 + SLACK)


def _costs(spacing_mm: float, low_mm: float, high_mm: float) -> list[tuple[int, np.float32]]:
    """Steps along an axis, and what each adds to the squared distance; those that lead beyond the margin left out."""
    costs = []
    for sign, margin_mm in ((-1, low_mm), (1, high_mm)):
        for step in range(1, ceil(margin_mm / spacing_mm + 0.5) + 1):
            # A margin that is a rounding error is none: its square would not be a number.
            cost = ((step - 0.5) * spacing_mm / margin_mm) ** 2 if margin_mm > LEAST_COUNTED_MM else inf
            if cost <= 1 + SLACK:
                costs.append((sign * step, np.float32(cost)))
    return costs


def _pass(squared: NDArray[np.float32], costs: list[tuple[int, np.float32]], axis: int) -> None:
    """One axis of the transform, in place, on a plane."""
    before = np.moveaxis(squared.copy(), axis, 0)
    after = np.moveaxis(squared, axis, 0)
    n = len(after)
    for step, cost in costs:
        if abs(step) < n:
            source = before[: n - step] if step > 0 else before[-step:]
            target = after[step:] if step > 0 else after[: n + step]
            np.minimum(target, source + cost, out=target)


def _grown_by_kernel(mask_zyx: Mask, geometry: Geometry, margin: SidesMm, reach_zyx: tuple[int, int, int]) -> Mask:
    """The same with every step that stays within the margin, for ellipsoids that lie across the grid."""
    ranges = [np.arange(-n, n + 1) for n in reach_zyx]
    steps = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
    kernel = _squared_distances(steps.reshape(-1, 3), geometry, margin).reshape(steps.shape[:3]) <= 1 + SLACK
    planes = mask_zyx.astype(np.uint8)
    result = np.zeros_like(planes)
    depth = len(planes)
    for step, flat in zip(ranges[0].tolist(), kernel, strict=True):
        if not flat.any() or abs(step) >= depth:
            continue
        mirrored = np.ascontiguousarray(flat[::-1, ::-1]).astype(np.uint8)  # dilating looks from the target back
        for z in range(max(0, -step), min(depth, depth - step)):
            if planes[z].any():
                result[z + step] |= cv2.dilate(planes[z], mirrored, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return result.astype(bool)


def _squared_distances(steps_zyx: NDArray[np.intp], geometry: Geometry, margin: SidesMm) -> NDArray[np.float64]:
    """(n,) squared distance, in margins, from a voxel's cuboid to the centre of the voxel that lies so many steps off.

    The nearest point of the cuboid by accelerated projected gradients (Beck and Teboulle 2009, doi:10.1137/080716542):
    what is minimised is convex, and smooth across the borders of the octants.
    """
    axes, half = np.asarray(geometry.axes_lps), np.asarray(geometry.spacing_zyx_mm) / 2
    centres = steps_zyx * np.asarray(geometry.spacing_zyx_mm)
    towards = 1 / np.maximum(LEAST_MM, [margin.left, margin.posterior, margin.superior]) ** 2
    against = 1 / np.maximum(LEAST_MM, [margin.right, margin.anterior, margin.inferior]) ** 2
    rate = 1 / max(towards.max(), against.max())

    def scaled(points_zyx: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        across = (centres - points_zyx) @ axes
        return across, across * np.where(across > 0, towards, against)

    nearest = np.clip(centres, -half, half)
    ahead, momentum = nearest, 1.0
    for _ in range(DESCENT_STEPS):
        found = np.clip(ahead + rate * (scaled(ahead)[1] @ axes.T), -half, half)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = found + (momentum - 1) / following * (found - nearest)
        nearest, momentum = found, following
    across, weighted = scaled(nearest)
    return np.asarray((across * weighted).sum(axis=1))
