"""Images at the points of a network's grid, as networks of MONAI's were given them.

`Spacingd` of MONAI (1.6) takes linear interpolation at the new voxels' centres, from the centre of the first voxel on;
nothing is averaged where voxels grow. Its sliding window then widens an image that is smaller than a patch.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry

_Shape = tuple[int, int, int]


@dataclass(frozen=True)
class PointSampling:
    """How an image comes to the points of a network's grid.

    The image's first voxel keeps its place, and as many follow as end nearest to its last; `from_end` says for each of
    z, y and x (superior, posterior, left) that the first voxel is the last one there. With `ends`, the lowest and the
    highest value of the whole resampled image become these two. An image of fewer than `least_shape_zyx` voxels gets
    others around it, of the normalised value `fill`, or of the value that is nearest where that is None.

    Raises:
        ValueError: `ends` that do not ascend, or a shape without voxels.
    """

    from_end: tuple[bool, bool, bool] = (False, False, False)
    ends: tuple[float, float] | None = None
    least_shape_zyx: _Shape = (1, 1, 1)
    fill: float | None = None

    def __post_init__(self) -> None:
        if self.ends is not None and not self.ends[0] < self.ends[1]:
            raise ValueError(f"ends {self.ends}: the first value must be below the second")
        if min(self.least_shape_zyx) < 1:
            raise ValueError(f"least_shape_zyx {self.least_shape_zyx}: every axis needs at least one voxel")


def point_grid(image: Geometry, spacing_zyx_mm: tuple[float, float, float], sampling: PointSampling) -> Geometry:
    """The grid over the canonical `image`, without what `least_shape_zyx` adds."""
    start, shape = [], []
    for axis in range(3):
        n, ratio = image.shape_zyx[axis], spacing_zyx_mm[axis] / image.spacing_zyx_mm[axis]
        voxels = max(1, round((n - 1) / ratio + 1))
        shape.append(voxels)
        start.append(n - 1 - (voxels - 1) * ratio if sampling.from_end[axis] else 0.0)
    return _placed(image, (shape[0], shape[1], shape[2]), spacing_zyx_mm, start)


def widened_grid(grid: Geometry, sampling: PointSampling) -> Geometry:
    """`grid` with what `least_shape_zyx` adds."""
    before, after = _added(grid.shape_zyx, sampling)
    z, y, x = (n + a + b for n, a, b in zip(grid.shape_zyx, before, after, strict=True))
    return _placed(grid, (z, y, x), grid.spacing_zyx_mm, [-float(n) for n in before])


def between(values: NDArray[np.float32], ends: tuple[float, float]) -> NDArray[np.float32]:
    """`values`, in place, from the first of `ends` to the second."""
    low, high = values.min(), values.max()
    values -= low
    values *= np.float32((ends[1] - ends[0]) / max(float(high - low), float(np.finfo(np.float32).tiny)))
    values += np.float32(ends[0])
    return values


def widened(values_zyx: NDArray[np.float32], sampling: PointSampling) -> NDArray[np.float32]:
    """Normalised values with what `least_shape_zyx` adds."""
    width = tuple(zip(*_added(values_zyx.shape, sampling), strict=True))
    if not any(n for pair in width for n in pair):
        return values_zyx
    if sampling.fill is None:
        return np.pad(values_zyx, width, mode="edge")
    return np.pad(values_zyx, width, constant_values=sampling.fill)


def _added(shape: tuple[int, ...], sampling: PointSampling) -> tuple[list[int], list[int]]:
    """Voxels before and after each axis; of an odd number the network's last end gets one more."""
    before, after = [], []
    for n, least, from_end in zip(shape, sampling.least_shape_zyx, sampling.from_end, strict=True):
        missing = max(0, least - n)
        first, last = missing // 2, missing - missing // 2
        before.append(last if from_end else first)
        after.append(first if from_end else last)
    return before, after


def _placed(
    on: Geometry, shape_zyx: _Shape, spacing_zyx_mm: tuple[float, float, float], start_zyx: list[float]
) -> Geometry:
    x, y, z = (float(mm) for mm in on.index_to_lps_mm(start_zyx))
    return replace(on, shape_zyx=shape_zyx, spacing_zyx_mm=spacing_zyx_mm, origin_lps_mm=(x, y, z))
