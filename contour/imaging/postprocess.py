"""A structure finished by its protocol's rules: connected components and holes."""

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.places import lies_in_file, zeros_beside
from contour.core.protocol import Components, ProtocolStructure
from contour.core.structures import Mask, cropped_to_content
from contour.imaging.components import LabelledParts, Parts, parts_by_plane, parts_of, those_in_plane

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
    parts = parts_of(mask_zyx, _NEIGHBOURS)
    kept = parts.voxels * voxel_ml >= max(rule.min_component_ml, voxel_ml / 2)
    if rule.components is Components.LARGEST:
        kept &= 1 + np.arange(kept.size) == parts.largest()
    if kept.all():
        return mask_zyx
    mask: Mask = zeros_beside(mask_zyx, mask_zyx.shape, np.bool_)
    for z, plane in enumerate(mask):
        plane[...] = those_in_plane(parts, z, kept)
    return mask


class _Complement:
    """The planes of what lies outside a mask, with a layer of the outside around each."""

    def __init__(self, mask_zyx: Mask) -> None:
        self._mask_zyx = mask_zyx

    def __len__(self) -> int:
        return len(self._mask_zyx)

    def __getitem__(self, z: int) -> NDArray[np.uint8]:
        return np.pad(~self._mask_zyx[z], 1, constant_values=True).view(np.uint8)


def _without_holes(mask_zyx: Mask) -> Mask:
    """`mask_zyx` with its cavities: parts of its complement that do not reach the border of its box.

    The box fits the structure closely, and a layer around it is outside; so what touches the box is open.
    """
    outside = _Complement(mask_zyx)
    parts: Parts = (
        parts_by_plane(outside, _HOLE_NEIGHBOURS)
        if lies_in_file(mask_zyx)
        else LabelledParts.of(np.stack([outside[z] for z in range(len(outside))]).view(bool), _HOLE_NEIGHBOURS)
    )
    is_open = np.zeros(parts.voxels.size + 1, dtype=np.bool_)
    for end in (0, len(mask_zyx) - 1):
        is_open[parts.of_plane(end)] = True  # the layer around the planes among them: it is one part
    is_open = is_open[1:]
    if is_open.all():
        return mask_zyx
    filled: Mask = zeros_beside(mask_zyx, mask_zyx.shape, np.bool_)
    for z, plane in enumerate(filled):
        plane[...] = ~those_in_plane(parts, z, is_open)[1:-1, 1:-1]
    return filled
