"""Slices that nobody drew, between slices that somebody did.

People draw every second or fifth slice and let the planning system fill the rest. Between two drawn slices the shape
changes evenly: each point's distance to the border, signed, goes linearly from one to the other (shape-based
interpolation: Raya and Udupa, IEEE TMI 1990; the centroids move on a line, as Herman et al., IEEE CG&A 1992, ask for).
"""

from dataclasses import dataclass

import cv2
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.structures import Mask


@dataclass(frozen=True)
class Filled:
    """A mask with the slices between drawn ones. `filled` are the slices that were made, `left` the gaps that were not.

    A gap is left where it is wider than allowed, or where nothing lies between because the shapes have no part in
    common: (last slice before it, first slice after it).
    """

    mask_zyx: Mask
    filled: tuple[int, ...]
    left: tuple[tuple[int, int], ...]


def filled_between(mask_zyx: Mask, spacing_zyx_mm: tuple[float, float, float], most_mm: float) -> Filled:
    """`mask_zyx` with shapes on the empty slices between drawn ones that lie at most `most_mm` apart.

    Slices are the first axis; drawn ones stay as they are.

    Raises:
        ValueError: `most_mm` is not above 0.
    """
    if not most_mm > 0:
        raise ValueError(f"most_mm {most_mm}: above 0")
    result = mask_zyx.copy()
    filled: list[int] = []
    left: list[tuple[int, int]] = []
    drawn = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    for first, last in zip(drawn[:-1].tolist(), drawn[1:].tolist(), strict=True):
        if last - first == 1:
            continue
        between = None
        if (last - first) * spacing_zyx_mm[0] <= most_mm:
            between = _between(mask_zyx[first], mask_zyx[last], last - first - 1, spacing_zyx_mm[1:])
        if between is None:
            left.append((first, last))
            continue
        result[first + 1 : last] = between
        filled += range(first + 1, last)
    return Filled(result, tuple(filled), tuple(left))


def _between(before_yx: Mask, after_yx: Mask, count: int, spacing_yx_mm: tuple[float, float]) -> Mask | None:
    """(count, y, x) the shapes evenly between two, or None where one of them would be empty."""
    shapes = (before_yx, after_yx)
    # Parts that come and go have no one way to move along.
    whole = all(cv2.connectedComponents(shape.astype(np.uint8), connectivity=8)[0] == 2 for shape in shapes)
    centres = [np.argwhere(shape).mean(axis=0) for shape in shapes]
    way_yx = centres[1] - centres[0] if whole else np.zeros(2)
    depths = [_depth_mm(shape, spacing_yx_mm) for shape in shapes]
    planes = []
    for step in range(1, count + 1):
        share = step / (count + 1)
        moved = (_moved(depths[0], share * way_yx), _moved(depths[1], (share - 1) * way_yx))
        plane = (1 - share) * moved[0] + share * moved[1] > 0
        if not plane.any():
            return None
        planes.append(plane)
    return np.stack(planes)


def _depth_mm(shape_yx: Mask, spacing_yx_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Each pixel's distance in mm to the border, positive inside."""
    inside = edt.edt(shape_yx, anisotropy=spacing_yx_mm, black_border=False)
    outside = edt.edt(~shape_yx, anisotropy=spacing_yx_mm, black_border=False)
    half = min(spacing_yx_mm) / 2  # distances are to the nearest centre on the other side
    depth: NDArray[np.float32] = np.where(shape_yx, inside - half, half - outside)
    return depth


def _moved(depth_yx: NDArray[np.float32], way_yx: NDArray[np.float64]) -> NDArray[np.float32]:
    if not way_yx.any():
        return depth_yx
    moved: NDArray[np.float32] = ndimage.shift(depth_yx, way_yx, order=1, mode="nearest")
    return moved
