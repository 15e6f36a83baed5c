"""What a drawn structure looks like, in numbers that tell one organ from another."""

from dataclasses import dataclass
from itertools import starmap

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.cases.landmarks import Landmarks
from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask, Structure
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import canonical_axes, canonical_geometry, to_canonical

BONE_ABOVE_HU = 130.0  # the spongy bone of the old is not denser; blood with contrast agent is as dense
AIR_BELOW_HU = -300.0
AROUND_MM = 7.0  # how far around a structure its surroundings are looked at, in axial planes
BEFORE_MM = 12.0  # and how far in front of it
MIN_PLANES = 3  # a crumb has no typical surroundings


@dataclass(frozen=True, eq=False)
class Course:
    """Where a structure lies in each of its planes: the plane's index, and how far back its centre is, in mm."""

    planes: NDArray[np.intp]
    back_mm: NDArray[np.float64]

    def behind(self, other: "Course") -> float:
        """How far it lies behind `other` on average of the planes that both have, mm; nan for fewer than three."""
        _, own, others = np.intersect1d(self.planes, other.planes, assume_unique=True, return_indices=True)
        return float((self.back_mm[own] - other.back_mm[others]).mean()) if own.size >= MIN_PLANES else np.nan


@dataclass(frozen=True)
class Measures:
    """A structure in numbers; nan where the image does not tell.

    `offset_mm` is how far its centre lies from the body's midline, to the left; `depth` where between the front (0) and
    the back (1) of the body. `above_base_mm` and `above_apex_mm` are the height of its centre above the lungs' lowest
    and highest plane. `section_cm2` is its median area in axial planes. What lies outside the body does not count for
    the rest: `mean_hu`; the parts of what lies within 7 mm around it in axial planes that are as dense as bone
    (`bone_around`), and air or lung (`air_around`); the part of what lies up to 12 mm in front of it that is as dense
    as bone (`bone_before`). `cut`: it reaches the border of the image, `cut_above` the uppermost plane. `height_mm` is
    its centre's height, `course` how deep it lies from plane to plane, to compare with others of the same image.
    """

    volume_ml: float
    offset_mm: float
    depth: float
    above_base_mm: float
    above_apex_mm: float
    section_cm2: float
    mean_hu: float
    bone_around: float
    bone_before: float
    air_around: float
    cut: bool
    cut_above: bool
    height_mm: float
    course: Course


@dataclass(frozen=True)
class _Placed:
    """A mask (z, y, x) in canonical orientation, where it starts on the image, and the image's geometry so oriented."""

    mask_zyx: Mask
    box: Box
    geometry: Geometry

    def millimetres(self, axis: int) -> NDArray[np.float64]:
        """The places of the mask's planes along an axis, from the image's first voxel."""
        places: NDArray[np.float64] = self.geometry.spacing_zyx_mm[axis] * np.arange(
            self.box.start_zyx[axis], self.box.stop_zyx[axis], dtype=np.float64
        )
        return places


def measure(
    structure: Structure, volume: Volume, landmarks: Landmarks, *, surroundings: bool = True
) -> Measures | None:
    """`structure`, drawn on `volume`, in numbers; None for an empty one.

    What lies around it is only looked at with `surroundings`: of a lung, that would take longer than the rest.
    """
    if structure.empty:
        return None
    placed = _placed(structure, volume.geometry)
    by_plane = placed.mask_zyx.sum(axis=(1, 2)).astype(np.float64)
    drawn = by_plane > 0
    weights = by_plane[drawn]
    heights = placed.millimetres(0)[drawn]
    across = (placed.mask_zyx.sum(axis=1) @ placed.millimetres(2))[drawn] / weights
    deep = (placed.mask_zyx.sum(axis=2) @ placed.millimetres(1))[drawn] / weights
    front, back = landmarks.at(landmarks.front_mm, heights), landmarks.at(landmarks.back_mm, heights)
    height = float(np.average(heights, weights=weights))
    _, y_mm, x_mm = placed.geometry.spacing_zyx_mm
    mean_hu, surrounded = np.nan, (np.nan, np.nan, np.nan)
    if volume.modality is Modality.CT:
        mean_hu = _mean_hu(placed, volume, landmarks)
        if surroundings and weights.size >= MIN_PLANES:
            surrounded = _surroundings(placed, volume, landmarks)
    return Measures(
        volume_ml=float(by_plane.sum()) * placed.geometry.voxel_ml,
        offset_mm=float(np.average(across - landmarks.at(landmarks.midline_mm, heights), weights=weights)),
        depth=float(np.average((deep - front) / (back - front), weights=weights)),
        above_base_mm=_above(height, landmarks.lungs.base_mm if landmarks.lungs else None),
        above_apex_mm=_above(height, landmarks.lungs.apex_mm if landmarks.lungs else None),
        section_cm2=float(np.median(weights)) * y_mm * x_mm / 100.0,
        mean_hu=mean_hu,
        bone_around=surrounded[0],
        bone_before=surrounded[1],
        air_around=surrounded[2],
        cut=any(a == 0 or b == n for a, b, n in _borders(placed)),
        cut_above=placed.box.stop_zyx[0] == placed.geometry.shape_zyx[0],
        height_mm=height,
        course=Course(np.flatnonzero(drawn) + placed.box.start_zyx[0], deep),
    )


def _placed(structure: Structure, geometry: Geometry) -> _Placed:
    order, flips = canonical_axes(geometry)
    mask = np.ascontiguousarray(to_canonical(structure.mask_zyx, geometry.cropped(structure.box)))
    box, shape = structure.box, geometry.shape_zyx
    start = [
        shape[a] - box.stop_zyx[a] if flipped else box.start_zyx[a] for a, flipped in zip(order, flips, strict=True)
    ]
    stop = [n + size for n, size in zip(start, mask.shape, strict=True)]
    placed = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return _Placed(mask.astype(np.bool_, copy=False), placed, canonical_geometry(geometry))


def _borders(placed: _Placed) -> list[tuple[int, int, int]]:
    return list(zip(placed.box.start_zyx, placed.box.stop_zyx, placed.geometry.shape_zyx, strict=True))


def _above(height_mm: float, mark_mm: float | None) -> float:
    return np.nan if mark_mm is None else height_mm - mark_mm


def _mean_hu(placed: _Placed, volume: Volume, landmarks: Landmarks) -> float:
    """Over the voxels that lie in the body: some images were emptied beyond a region."""
    voxels = to_canonical(volume.voxels_zyx, volume.geometry)[placed.box.slices]
    inside = voxels[placed.mask_zyx & _in_body(placed.box, landmarks)]
    return float(inside.mean(dtype=np.float64)) if inside.size else np.nan


def _surroundings(placed: _Placed, volume: Volume, landmarks: Landmarks) -> tuple[float, float, float]:
    """The parts of bone around and in front, and of air around."""
    _, y_mm, x_mm = placed.geometry.spacing_zyx_mm
    margin = (0, int(np.ceil(max(AROUND_MM, BEFORE_MM) / y_mm)), int(np.ceil(AROUND_MM / x_mm)))
    grown = placed.box.grown(margin, placed.geometry.shape_zyx)
    starts = [a - b for a, b in zip(placed.box.start_zyx, grown.start_zyx, strict=True)]
    ends = [(a, n - a - size) for a, n, size in zip(starts, grown.shape_zyx, placed.mask_zyx.shape, strict=True)]
    mask = np.pad(placed.mask_zyx, ends)
    voxels = to_canonical(volume.voxels_zyx, volume.geometry)[grown.slices]
    bone = np.greater(voxels, BONE_ABOVE_HU)
    outside = ~mask & _in_body(grown, landmarks)
    around = _dilated(mask, _disc(AROUND_MM / y_mm, AROUND_MM / x_mm)) & outside
    before = _dilated(mask, _upwards(BEFORE_MM / y_mm)) & outside
    if not (around.any() and before.any()):
        return np.nan, np.nan, np.nan
    air = np.less(voxels[around], AIR_BELOW_HU)
    return float(bone[around].mean()), float(bone[before].mean()), float(air.mean())


def _in_body(box: Box, landmarks: Landmarks) -> Mask:
    """The coarse body mask at the voxels of `box`."""
    shape = landmarks.body_zyx.shape

    def coarse(axis: int, _: int) -> NDArray[np.intp]:
        fine = np.arange(box.start_zyx[axis], box.stop_zyx[axis])
        places: NDArray[np.intp] = np.minimum(fine // landmarks.steps_zyx[axis], shape[axis] - 1)
        return places

    inside: Mask = landmarks.body_zyx[np.ix_(*starmap(coarse, enumerate(shape)))]
    return inside


def _disc(radius_y: float, radius_x: float) -> NDArray[np.uint8]:
    size = (2 * max(1, round(radius_x)) + 1, 2 * max(1, round(radius_y)) + 1)
    kernel: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)
    return kernel


def _upwards(rows: float) -> NDArray[np.uint8]:
    """A kernel that grows a mask towards lower rows: in front of it."""
    n = max(1, round(rows))
    kernel = np.zeros((2 * n + 1, 1), dtype=np.uint8)
    kernel[n:] = 1
    return kernel


def _dilated(mask_zyx: Mask, kernel: NDArray[np.uint8]) -> Mask:
    return np.stack([cv2.dilate(plane.astype(np.uint8), kernel) for plane in mask_zyx]).astype(np.bool_)
