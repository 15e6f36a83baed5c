"""The lungs of a CT by their HU, told left from right: what lies between air-filled walls needs no hand."""

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.imaging.body import body_mask

LUNG_HU = -400.0
LEAST_LUNGS_ML = 500.0
VESSELS_MM = 5.0  # what is narrower than twice this between aerated lung belongs to it
LEAST_SHARE = 0.12  # of all lung, for a part to be a lung of its own
MOST_EROSIONS = 8
LEAST_ML = 10.0  # less air by itself is a larynx or a pocket, not lung


def lungs_by_hu(volume: Volume, airway_zyx: Mask) -> tuple[Mask, Mask]:
    """Left and right lung (z, y, x) on the volume's grid, whose x axis runs to the left or to the right.

    `airway_zyx` is what trachea and main bronchi take; it is in neither lung.

    Raises:
        ValueError: there are no lungs, or not two that lie beside each other.
    """
    spacing = volume.geometry.spacing_zyx_mm
    near = (
        ndimage.distance_transform_edt(~airway_zyx, sampling=spacing) <= max(spacing)
        if airway_zyx.any()
        else airway_zyx
    )
    # Air between the back and a curved couch, closed in by both, is as large as a lung.
    within = np.where(body_mask(volume), volume.voxels_zyx, 0)
    air = _aerated(replace(volume, voxels_zyx=within)) & ~near
    air = cc3d.dust(air, threshold=round(LEAST_ML / volume.geometry.voxel_ml), connectivity=26).astype(bool)
    parts = _two_parts(air)
    apart = [ndimage.distance_transform_edt(~part, sampling=spacing) for part in parts]
    whole = _closed(air, spacing) & ~near
    first, second = whole & (apart[0] <= apart[1]), whole & (apart[0] > apart[1])
    first_x, second_x = (float(np.argwhere(mask)[:, 2].mean()) for mask in (first, second))
    to_left = volume.geometry.axes_lps[2][0] > 0
    return (first, second) if (first_x > second_x) == to_left else (second, first)


def _aerated(volume: Volume) -> Mask:
    """The one or two largest bodies of air that do not touch the image's sides."""
    air, _ = ndimage.label(volume.voxels_zyx < LUNG_HU)
    sizes = np.bincount(air.ravel())
    sides = [air[:, i] for i in (0, -1)] + [air[..., i] for i in (0, -1)]
    sizes[np.unique(np.concatenate([side.ravel() for side in sides]))] = 0
    sizes[0] = 0
    largest = [i for i in np.argsort(sizes)[-2:] if sizes[i] * volume.geometry.voxel_ml >= LEAST_LUNGS_ML]
    if not largest:
        raise ValueError(f"no lungs of {LEAST_LUNGS_ML:g} ml or more")
    return np.isin(air, largest)


def _two_parts(air: Mask) -> tuple[Mask, Mask]:
    """Seeds of the two lungs: eroded until the bridge between them, in front or behind, is gone."""
    eroded = air
    for _ in range(MOST_EROSIONS):
        parts, count = cc3d.connected_components(eroded, connectivity=6, return_N=True)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        order = np.argsort(sizes)[::-1]
        if count > 1 and sizes[order[1]] >= LEAST_SHARE * sizes.sum():
            return parts == order[0] + 1, parts == order[1] + 1
        eroded = ndimage.binary_erosion(eroded)
    raise ValueError(f"no two lungs beside each other after {MOST_EROSIONS} erosions")


def _closed(air: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """The aerated lung with its vessels: closed in 3-D by a ball, and holes of axial planes filled."""
    apart = ndimage.distance_transform_edt(~air, sampling=spacing_zyx_mm)
    closed: NDArray[np.bool_] = (
        ndimage.distance_transform_edt(apart <= VESSELS_MM, sampling=spacing_zyx_mm) > VESSELS_MM
    )
    closed |= air
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
