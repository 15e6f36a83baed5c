"""Linear resampling between grids that share their axes: separable, so that each axis is one cheap pass."""

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.places import zeros_beside

AXES_TOLERANCE = 1e-3
PLANES_AT_A_TIME = 4


def resample_linear(
    array_zyx: NDArray[np.generic], source: Geometry, target: Geometry, *, averaged: bool = True
) -> NDArray[np.float32]:
    """`array_zyx` on `source`, sampled linearly at the voxel centres of `target`; float32.

    An axis that gets coarser is first averaged over the width of the new voxel (area-weighted), so that thin slices
    and fine pixels do not alias; unless `averaged` is false. Beyond the outer centres the nearest voxel's value
    continues.

    Raises:
        ValueError: the grids' axes differ by more than 1e-3, so that sampling is not separable.
    """
    if not np.allclose(source.axes_lps, target.axes_lps, atol=AXES_TOLERANCE):
        raise ValueError(f"axes {source.axes_lps} and {target.axes_lps} differ: resampling here is separable only")
    start = source.lps_mm_to_index(target.origin_lps_mm)
    samplings = [
        _sampling_weights(
            source.shape_zyx[axis],
            target.shape_zyx[axis],
            float(start[axis]),
            target.spacing_zyx_mm[axis] / source.spacing_zyx_mm[axis],
            averaged=averaged,
        )
        for axis in range(3)
    ]
    indices, weights = samplings[0]
    lowest, highest = int(indices.min()), int(indices.max())
    # In-plane first, a few planes at a time: they stay in the processor's cache, and the whole image is never copied.
    shape = (highest + 1 - lowest, *target.shape_zyx[1:])
    planes: NDArray[np.float32] = zeros_beside(array_zyx, shape, np.float32)
    in_plane = sorted((1, 2), key=lambda axis: target.shape_zyx[axis] / source.shape_zyx[axis])
    for first in range(0, len(planes), PLANES_AT_A_TIME):
        values = array_zyx[lowest + first : min(highest + 1, lowest + first + PLANES_AT_A_TIME)]
        for axis in in_plane:
            values = _apply(values, samplings[axis], axis)
        planes[first : first + PLANES_AT_A_TIME] = values
    return np.ascontiguousarray(_apply(planes, (indices - lowest, weights), 0))


def _sampling_weights(
    n: int, m: int, start: float, ratio: float, *, averaged: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each of `m` outputs at `start + i * ratio`: source indices (m, k) and their weights (m, k), rows sum to 1."""
    centres = start + ratio * np.arange(m)
    width = max(1.0, ratio) if averaged else 1.0  # a triangle of half-width 1 interpolates; a wider one averages
    reach = int(np.ceil(width))
    offsets = np.arange(-reach + 1, reach + 1)
    indices = np.floor(centres)[:, None].astype(int) + offsets
    weights = np.clip(1.0 - np.abs(indices - centres[:, None]) / width, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, n - 1), weights.astype(np.float32)


def _apply(
    values: NDArray[np.generic], sampling: tuple[NDArray[np.intp], NDArray[np.float32]], axis: int
) -> NDArray[np.float32]:
    indices, weights = sampling
    shape = [1, 1, 1]
    shape[axis] = -1
    total: NDArray[np.float32] | None = None
    for k in range(indices.shape[1]):
        if not weights[:, k].any():
            continue
        part = np.take(values, indices[:, k], axis=axis).astype(np.float32) * weights[:, k].reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # the weights of each output sum to 1
    return total
