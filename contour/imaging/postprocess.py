"""A structure finished by its protocol's rules: connected components and holes."""

import cc3d
import numpy as np

from contour.core.geometry import Geometry
from contour.core.protocol import Components, ProtocolStructure
from contour.core.structures import Mask, cropped_to_content

_NEIGHBOURS = 26
_HOLE_NEIGHBOURS = 6  # the complement of 26: a hole does not leak through a diagonal gap that the structure closes


def finish(
    mask_zyx: Mask, offset_zyx: tuple[int, int, int], rule: ProtocolStructure, geometry: Geometry
) -> tuple[Mask, tuple[int, int, int]]:
    """The mask after `rule`, cropped to what is left, and where that starts; (0, 0, 0) voxels if nothing is.

    `mask_zyx` (z, y, x) starts at voxel `offset_zyx` of `geometry`. Components have 26 neighbours; those under
    `min_component_ml` go, and of the rest the largest or all stay; of two equal ones the first along z, y, x. Holes
    are cavities closed in 3-D (6 neighbours): one that is open to the image's end is not a hole.
    """
    mask, offset = cropped_to_content(mask_zyx, offset_zyx)
    if not mask.size:
        return mask, offset
    mask, offset = cropped_to_content(_kept_components(mask, rule, geometry.voxel_ml), offset)
    if rule.fill_holes and mask.size:
        mask = _without_holes(mask)
    return mask, offset


def _kept_components(mask_zyx: Mask, rule: ProtocolStructure, voxel_ml: float) -> Mask:
    parts, count = cc3d.connected_components(mask_zyx, connectivity=_NEIGHBOURS, return_N=True)
    # Plane by plane: `bincount` makes a copy of what it counts, in eight bytes a voxel.
    voxels = np.zeros(count + 1, dtype=np.int64)
    for plane in parts:
        found = np.bincount(plane.ravel(order="K"))
        voxels[: found.size] += found
    voxels[0] = 0
    kept = voxels * voxel_ml >= max(rule.min_component_ml, voxel_ml / 2)
    if rule.components is Components.LARGEST:
        kept &= np.arange(count + 1) == voxels.argmax()
    if kept[1:].all():
        return mask_zyx
    mask: Mask = kept[parts]
    return mask


def _without_holes(mask_zyx: Mask) -> Mask:
    """`mask_zyx` with its cavities: parts of its complement that do not reach the border of its box.

    The box fits the structure closely, and a layer around it is outside; so what touches the box is open.
    """
    outside = np.pad(~mask_zyx, 1, constant_values=True)
    parts, count = cc3d.connected_components(outside, connectivity=_HOLE_NEIGHBOURS, return_N=True)
    if count == 1:
        return mask_zyx
    open_part = parts[0, 0, 0]
    filled: Mask = np.ascontiguousarray((parts == open_part)[1:-1, 1:-1, 1:-1])
    return ~filled
