"""Structures derived from others: booleans, margins, hulls and ranges of slices, each in its own box of the grid."""

from collections.abc import Mapping

import cv2
import numpy as np

from contour.core.geometry import Box, Geometry
from contour.core.protocol import BodyEnd, DerivedStructure, Height, Operation, SidesMm
from contour.core.structures import CroppedMask, Mask, cropped_to_content, united
from contour.imaging.contours import Contours
from contour.imaging.margins import grown, shrunk
from contour.imaging.preprocess import from_canonical, to_canonical
from contour.imaging.rasterise import rasterise

HEIGHT_TOLERANCE_MM = 1e-3  # slices whose centre lies on a height belong to what it bounds


def derive(rule: DerivedStructure, known: Mapping[str, CroppedMask], geometry: Geometry) -> CroppedMask:
    """What `rule` makes of the masks in `known`, on the grid `geometry`.

    Raises:
        KeyError: one that is not optional is missing.
    """
    operands = [known[name] for name in rule.of] + [known[name] for name in rule.optional if name in known]
    first, *others = operands
    match rule.operation:
        case Operation.UNION:
            result = united(operands)
        case Operation.INTERSECTION:
            result = _intersection(first, others)
        case Operation.SUBTRACTION:
            result = _less(first, others)
        case Operation.GROWN:
            result = grown(first, geometry, rule.margin)
        case Operation.SHRUNK:
            result = shrunk(first, geometry, rule.margin)
        case Operation.RING:
            inner = grown(first, geometry, SidesMm.all_around(rule.inner_mm))
            result = _less(grown(first, geometry, rule.margin), [inner])
        case Operation.HULL:
            result = _hull(first, geometry)
        case Operation.BETWEEN:
            result = _between(
                first, _height_mm(rule.lowest, known, geometry), _height_mm(rule.highest, known, geometry), geometry
            )
    return CroppedMask(*cropped_to_content(result.mask_zyx, result.offset_zyx))


def _intersection(first: CroppedMask, others: list[CroppedMask]) -> CroppedMask:
    result = first.mask_zyx.copy()
    for other in others:
        result &= other.within(first.box)
    return CroppedMask(result, first.offset_zyx)


def _less(first: CroppedMask, others: list[CroppedMask]) -> CroppedMask:
    result = first.mask_zyx.copy()
    for other in others:
        result &= ~other.within(first.box)
    return CroppedMask(result, first.offset_zyx)


def _hull(region: CroppedMask, geometry: Geometry) -> CroppedMask:
    """Of each slice that is most nearly axial: the voxels whose centres lie in the hull of those inside."""
    mask = np.ascontiguousarray(to_canonical(region.mask_zyx, geometry))
    polygons, slices = [], []
    for z, plane in enumerate(mask):
        inside = np.argwhere(plane)
        if len(inside) > 2:
            polygons.append(cv2.convexHull(inside.astype(np.int32))[:, 0].astype(np.float64))
            slices.append(z)
    starts = np.concatenate([[0], np.cumsum([len(polygon) for polygon in polygons])]).astype(np.intp)
    hull = mask.copy()
    if polygons:
        contours = Contours(np.concatenate(polygons), starts, np.asarray(slices, dtype=np.intp))
        filled, offset = rasterise(contours, (mask.shape[1], mask.shape[2]))
        hull |= CroppedMask(filled, offset).within(Box((0, 0, 0), (mask.shape[0], mask.shape[1], mask.shape[2])))
    return CroppedMask(np.ascontiguousarray(from_canonical(hull, geometry)), region.offset_zyx)


def _height_mm(height: Height | None, known: Mapping[str, CroppedMask], geometry: Geometry) -> float | None:
    """Where a height lies along the patient's z axis; None for no bound."""
    if height is None:
        return None
    inside = np.argwhere(known[height.structure].mask_zyx) + known[height.structure].offset_zyx
    # Half a voxel beyond the outer centres: there the structure ends.
    half = float(np.abs(np.asarray(geometry.steps_lps_mm)[:, 2]).sum()) / 2
    heights = geometry.index_to_lps_mm(inside)[:, 2]
    end = heights.max() + half if height.end is BodyEnd.SUPERIOR else heights.min() - half
    return float(end + height.mm)


def _between(region: CroppedMask, lowest: float | None, highest: float | None, geometry: Geometry) -> CroppedMask:
    axes = [np.arange(a, b) for a, b in zip(region.box.start_zyx, region.box.stop_zyx, strict=True)]
    z, y, x = np.asarray(geometry.steps_lps_mm)[:, 2]
    heights = geometry.origin_lps_mm[2] + (
        axes[0][:, None, None] * z + axes[1][None, :, None] * y + axes[2][None, None, :] * x
    )
    kept: Mask = region.mask_zyx.copy()
    if lowest is not None:
        kept &= heights >= lowest - HEIGHT_TOLERANCE_MM
    if highest is not None:
        kept &= heights <= highest + HEIGHT_TOLERANCE_MM
    return CroppedMask(kept, region.offset_zyx)
