"""What an image alone says of where things lie in the body: its midline, its front and back, its lungs.

Measured from the voxels, never from names: names are held against it.
"""

from dataclasses import dataclass
from typing import Self

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import canonical_geometry, to_canonical

LUNG_HU = (-980.0, -500.0)  # lung tissue; what is emptier is the air of windpipe and bowel
LUNG_CORE_MM = 6.0  # radius of an opening: the rim of the body, half air and half skin, is no lung
MIN_LUNG_ML = 300.0  # more than gas in a stomach with food in it
MIN_BODY_CM2 = 30.0  # a plane with less of the body shows no midline


@dataclass(frozen=True)
class LungSpan:
    """The heights of the lungs' lowest and highest plane; None at an end that the image cuts off."""

    base_mm: float | None
    apex_mm: float | None


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of an image, measured along its axes in canonical orientation (superior, posterior, left).

    Heights, depths and positions are in mm from the centre of the first voxel in that orientation. `body_zyx` is the
    body's mask of every `steps_zyx`-th voxel. For each of its planes, at `heights_mm`: `midline_mm` is the middle of
    the body from right to left, `front_mm` and `back_mm` its extent; nan where a plane shows too little body. `lungs`
    is None where the image shows none, or is no CT.
    """

    body_zyx: Mask
    steps_zyx: tuple[int, int, int]
    heights_mm: NDArray[np.float64]
    midline_mm: NDArray[np.float64]
    front_mm: NDArray[np.float64]
    back_mm: NDArray[np.float64]
    lungs: LungSpan | None

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """The landmarks of `volume`: some tenths of a second for a planning CT."""
        body, steps = coarse_body(volume)
        z_mm, y_mm, x_mm = (
            s * n for s, n in zip(canonical_geometry(volume.geometry).spacing_zyx_mm, steps, strict=True)
        )
        heights = np.float64(z_mm) * np.arange(body.shape[0], dtype=np.float64)
        enough = body.sum(axis=(1, 2)) * y_mm * x_mm / 100.0 >= MIN_BODY_CM2
        right, left = _ends(body, 1, enough)
        front, back = _ends(body, 2, enough)
        lungs = None
        if volume.modality is Modality.CT:
            voxels = to_canonical(volume.voxels_zyx, volume.geometry)[:: steps[0], :: steps[1], :: steps[2]]
            lungs = _lungs(_lung_tissue(voxels, body, (y_mm, x_mm)), heights, z_mm * y_mm * x_mm / 1000.0)
        return cls(body, steps, heights, x_mm * (right + left) / 2, y_mm * front, y_mm * back, lungs)

    def at(self, values_mm: NDArray[np.float64], heights_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """One of the series by plane at other heights; nan without any plane that shows the body."""
        known = np.isfinite(values_mm)
        if not known.any():
            return np.full(heights_mm.shape, np.nan)
        between: NDArray[np.float64] = np.interp(heights_mm, self.heights_mm[known], values_mm[known])
        return between


def _ends(body_zyx: Mask, over: int, enough: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and last index of the body in each plane, across the axis `over`; nan where there is not `enough`."""
    profile: Mask = np.any(body_zyx, axis=over)
    first = np.argmax(profile, axis=1).astype(np.float64)
    last = profile.shape[1] - 1.0 - np.argmax(profile[:, ::-1], axis=1)
    return np.where(enough, first, np.nan), np.where(enough, last, np.nan)


def _lung_tissue(voxels_zyx: NDArray[np.generic], body_zyx: Mask, spacing_yx_mm: tuple[float, float]) -> Mask:
    air = np.greater(voxels_zyx, LUNG_HU[0]) & np.less(voxels_zyx, LUNG_HU[1]) & body_zyx
    y, x = (max(1, round(LUNG_CORE_MM / mm)) for mm in spacing_yx_mm)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * x + 1, 2 * y + 1))
    opened = [cv2.morphologyEx(plane.astype(np.uint8), cv2.MORPH_OPEN, kernel) for plane in air]
    return np.stack(opened).astype(np.bool_)


def _lungs(tissue_zyx: Mask, heights_mm: NDArray[np.float64], voxel_ml: float) -> LungSpan | None:
    parts, count = cc3d.connected_components(tissue_zyx, connectivity=6, return_N=True)
    if count == 0:
        return None
    large = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml >= MIN_LUNG_ML
    large[0] = False
    planes = np.flatnonzero(large[parts].any(axis=(1, 2)))
    if planes.size == 0:
        return None
    first, last = int(planes[0]), int(planes[-1])
    # A lung that ends on the next plane but one may as well go on.
    base = None if first <= 1 else float(heights_mm[first])
    apex = None if last >= tissue_zyx.shape[0] - 2 else float(heights_mm[last])
    return LungSpan(base, apex) if base is not None or apex is not None else None
