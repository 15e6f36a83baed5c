"""The patient's body in an image, without the couch: where to look, and the outline that a dose is calculated in."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.places import contiguous_beside, zeros_beside
from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.imaging.components import parts_by_plane, those_in_plane
from contour.imaging.preprocess import canonical_geometry, from_canonical, to_canonical

CT_BODY_ABOVE_HU = -350.0  # between air and fat; clothes, blankets and mattresses lie below
COUCH_SHELL_MM = 4.0  # radius of the opening: what is thinner than twice this does not count as body by itself
SECOND_PART = 0.2  # a part this large beside the largest one is body too: the other leg

_COARSE_MM = 3.0


def body_mask(volume: Volume) -> Mask:
    """(z, y, x) on the volume's grid: the body, with the air inside it (lungs, bowel, airways).

    CT: above -350 HU; MR: above a threshold between the noise of the air and the tissue (Otsu). Shells thinner than
    8 mm, such as a couch top, are taken off by an opening in axial planes; the largest connected part stays, with
    others at least a fifth its size; thin parts next to it (ears, nose) come back, and holes in axial planes are
    filled. A couch that is solid and touches the skin, and air that arms and trunk enclose, count as body.
    """
    geometry = canonical_geometry(volume.geometry)
    voxels = to_canonical(volume.voxels_zyx, volume.geometry)
    threshold = CT_BODY_ABOVE_HU if volume.modality is Modality.CT else _mr_threshold(voxels)
    _, y_mm, x_mm = geometry.spacing_zyx_mm
    kernel = _ellipse(COUCH_SHELL_MM / y_mm, COUCH_SHELL_MM / x_mm)
    # One array of the image's size, whatever is done: long scans must fit, too.
    body: NDArray[np.uint8] = zeros_beside(volume.voxels_zyx, voxels.shape, np.uint8)
    for plane, values in zip(body, voxels, strict=True):
        plane[...] = cv2.morphologyEx(_above(values, threshold), cv2.MORPH_OPEN, kernel)
    _keep_largest_parts(body)
    for plane, values in zip(body, voxels, strict=True):
        near = cv2.dilate(plane, kernel, iterations=2) & _above(values, threshold)
        plane[...] = _filled(near)
    mask: Mask = contiguous_beside(body, from_canonical(body.view(bool), volume.geometry))
    return mask


def coarse_body(volume: Volume) -> tuple[Mask, tuple[int, int, int]]:
    """`body_mask` of every n-th voxel, canonically oriented, n for z, y, x such that voxels are about 3 mm; and n.

    For finding out where to look: a tenth of a second for a CT of 200 slices.
    """
    geometry = canonical_geometry(volume.geometry)
    z, y, x = (max(1, round(_COARSE_MM / mm)) for mm in geometry.spacing_zyx_mm)
    voxels = to_canonical(volume.voxels_zyx, volume.geometry)[::z, ::y, ::x]
    spacing_z, spacing_y, spacing_x = geometry.spacing_zyx_mm
    shape_z, shape_y, shape_x = voxels.shape
    thinned = replace(
        geometry,
        shape_zyx=(shape_z, shape_y, shape_x),
        spacing_zyx_mm=(spacing_z * z, spacing_y * y, spacing_x * x),
    )
    return body_mask(Volume(np.ascontiguousarray(voxels), thinned, volume.modality)), (z, y, x)


def _above(values_yx: NDArray[np.generic], threshold: float) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.greater(values_yx, threshold)).view(np.uint8)


def _mr_threshold(voxels_zyx: NDArray[np.generic]) -> float:
    """Half of Otsu's threshold on values up to the 99th percentile: dark tissue is body, the noise of air is not."""
    sample = voxels_zyx[tuple(slice(None, None, max(1, n // 64)) for n in voxels_zyx.shape)].astype(np.float64)
    low, high = float(sample.min()), float(np.percentile(sample, 99))
    if high <= low:
        return high
    counts, edges = np.histogram(np.minimum(sample, high), bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    otsu = float(centres[int(np.nanargmax(between))])
    return low + (otsu - low) / 2


def _ellipse(radius_y: float, radius_x: float) -> NDArray[np.uint8]:
    y, x = int(radius_y + 0.5), int(radius_x + 0.5)
    kernel: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * x + 1, 2 * y + 1))
    return kernel


def _keep_largest_parts(mask_zyx: NDArray[np.uint8]) -> None:
    """Clear all but the largest connected part (6 neighbours) and those at least a fifth its size."""
    parts = parts_by_plane(mask_zyx, 6)
    kept = parts.voxels >= SECOND_PART * parts.voxels.max(initial=0)
    if kept.all():
        return
    for z, plane in enumerate(mask_zyx):
        plane[...] = those_in_plane(parts, z, kept)


def _filled(plane_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    outlines, _ = cv2.findContours(plane_yx, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(plane_yx)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled
