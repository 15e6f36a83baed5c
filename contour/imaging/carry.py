"""A mask from one grid to another that lies askew: by its surface, not by its voxels."""

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.structures import CroppedMask, cropped_to_content

PLANES_AT_A_TIME = 16
RIM = 2  # voxels around the mask, so that its surface lies within what is interpolated


def carried(region: CroppedMask, source: Geometry, target: Geometry) -> CroppedMask:
    """`region` on the grid `source`, as the voxels of `target` whose centres lie inside its surface.

    The surface is where the signed distance in mm to the nearest voxel centre of the other side, interpolated linearly,
    is 0: halfway between the last voxel inside and the first outside. Both grids lie in one frame of reference; what
    lies beyond `target` is lost.

    Raises:
        ValueError: the grids are of two frames of reference.
    """
    if source.frame_of_reference_uid != target.frame_of_reference_uid:
        raise ValueError(
            f"{source.frame_of_reference_uid} and {target.frame_of_reference_uid}: two frames of reference"
        )
    nothing = CroppedMask(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0))
    if region.empty:
        return nothing
    mask = np.pad(region.mask_zyx, RIM)
    depth_mm = edt.edt(mask, anisotropy=source.spacing_zyx_mm) - edt.edt(~mask, anisotropy=source.spacing_zyx_mm)
    start = np.asarray(region.offset_zyx) - RIM
    box = _reached(start, mask.shape, source, target)
    if box.empty:
        return nothing
    inside = _inside(depth_mm, start, source, target.cropped(box))
    return CroppedMask(*cropped_to_content(inside, box.start_zyx))


def _reached(start_zyx: NDArray[np.intp], shape_zyx: tuple[int, ...], source: Geometry, target: Geometry) -> Box:
    """The part of `target` that a part of `source` reaches."""
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in shape_zyx), indexing="ij"), axis=-1).reshape(-1, 3) + start_zyx
    there = target.lps_mm_to_index(source.index_to_lps_mm(corners))
    low = np.maximum(np.floor(there.min(axis=0)), 0).astype(int).tolist()
    high = np.minimum(np.ceil(there.max(axis=0)) + 1, target.shape_zyx).astype(int).tolist()
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _inside(
    depth_mm: NDArray[np.float32], start_zyx: NDArray[np.intp], source: Geometry, target: Geometry
) -> NDArray[np.bool_]:
    # Sampling is affine in the indices: of a plane's corner and the steps along its axes.
    to_index = np.linalg.inv(source.steps_lps_mm)
    steps = target.steps_lps_mm @ to_index
    origin = source.lps_mm_to_index(target.origin_lps_mm) - start_zyx
    result = np.zeros(target.shape_zyx, dtype=bool)
    for first in range(0, target.shape_zyx[0], PLANES_AT_A_TIME):
        part = result[first : first + PLANES_AT_A_TIME]
        depths = ndimage.affine_transform(
            depth_mm, steps.T, origin + first * steps[0], output_shape=part.shape, order=1, mode="constant", cval=-1.0
        )
        part[:] = depths > 0
    return result
