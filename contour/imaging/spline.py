"""Cubic resampling over the same borders, as networks of nnU-Net's were given their images.

nnU-Net resamples an image by `skimage.transform.resize` of order 3 (Isensee et al., Nature Methods 18, 2021), which is
`scipy.ndimage.zoom` with edges continued and voxel borders, not centres, on each other. That is linear along each axis,
so each axis is one small matrix here, made by scipy itself of the identity: the same numbers in a tenth of the time.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box

ANISOTROPIC = 3.0  # nnU-Net: an axis more than so many times as coarse as the finest is not interpolated along


def lone_coarse_axis(first_zyx_mm: tuple[float, float, float], second_zyx_mm: tuple[float, float, float]) -> int | None:
    """The axis along which nnU-Net takes the nearest slice instead of interpolating, or None.

    It is the one coarsest axis of the first spacing, if that is anisotropic, else of the second; where two axes share
    the coarsest spacing, there is none.
    """
    for spacing in (first_zyx_mm, second_zyx_mm):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def nearest_voxels(n: int, m: int) -> NDArray[np.intp]:
    """(m,): which of `n` voxels lies nearest to each of `m` over the same borders."""
    centres = (n / m) * (np.arange(m) + 0.5) - 0.5
    chosen: NDArray[np.intp] = np.clip(np.floor(centres + 0.5).astype(np.intp), 0, n - 1)
    return chosen


def resample_spline(
    values_zyx: NDArray[np.float32], shape_zyx: tuple[int, int, int], box: Box, nearest_axis: int | None
) -> NDArray[np.float32]:
    """The part `box` of `values_zyx` resampled to `shape_zyx` voxels over the same borders; float32.

    Along `nearest_axis` the nearest slice is taken, and each slice stays within its own range of values; without one
    the image stays within its own.
    """
    axes = [axis for axis in range(3) if axis != nearest_axis and values_zyx.shape[axis] != shape_zyx[axis]]
    values = values_zyx
    taken: NDArray[np.intp] | None = None
    if nearest_axis is not None:
        wanted = nearest_voxels(values.shape[nearest_axis], shape_zyx[nearest_axis])[box.slices[nearest_axis]]
        kept, taken = np.unique(wanted, return_inverse=True)
        values = np.take(values, kept, axis=nearest_axis)
    others = tuple(axis for axis in range(3) if nearest_axis is not None and axis != nearest_axis) or None
    low, high = values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)
    # What shrinks most comes first: the later axes have less to do.
    for axis in sorted(axes, key=lambda a: box.shape_zyx[a] / values_zyx.shape[a]):
        matrix = _spline_matrix(values_zyx.shape[axis], shape_zyx[axis])[box.slices[axis]]
        values = _along(values, matrix, axis)
    if axes:
        np.clip(values, low, high, out=values)
    for axis in range(3):
        if axis == nearest_axis and taken is not None:
            values = np.take(values, taken, axis=axis)
        elif axis not in axes and axis != nearest_axis:
            values = values[(slice(None),) * axis + (box.slices[axis],)]
    return np.ascontiguousarray(values, dtype=np.float32)


def _spline_matrix(n: int, m: int) -> NDArray[np.float32]:
    """(m, n): what each of `n` values counts in each of `m`."""
    matrix = ndimage.zoom(np.eye(n), (m / n, 1.0), order=3, mode="nearest", grid_mode=True)
    return np.asarray(matrix, dtype=np.float32)


def _along(values_zyx: NDArray[np.float32], matrix: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """One product of large matrices: many small ones cost several times as much."""
    if axis == values_zyx.ndim - 1:
        flat = np.ascontiguousarray(values_zyx).reshape(-1, values_zyx.shape[axis])
        return (flat @ matrix.T).reshape(*values_zyx.shape[:-1], len(matrix))
    first = np.moveaxis(values_zyx, axis, 0)
    result = matrix @ np.ascontiguousarray(first).reshape(len(first), -1)
    return np.moveaxis(result.reshape(len(matrix), *first.shape[1:]), 0, axis)
