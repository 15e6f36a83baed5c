"""Vertebrae of a labelled CT fitted to another one, where only the bodies' centres were placed by hand.

Vertebra by vertebra a similarity transform takes the labelled one to the other image: from centre to centre and along
both spines at first, then as the images of bone agree best. What is bone by its HU and no vertebra by the fit, or the
other way round, is unknown.
"""

from dataclasses import dataclass

import edt
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from contour.core.volume import Volume
from contour.imaging.vertebrae import Part
from contour.training.prepared import UNKNOWN
from scripts.spine_ct.parts import WholeSpine, parts_of

REACH_MM = 42.0  # around a centre: what of the image a fit looks at
WINDOW_HU = (-50.0, 600.0)
SMOOTHING_MM = 1.2
MASK_MARGIN_MM = 4.0
ITERATIONS = 60
LEAST_CORRELATION = 0.4  # a fit that agrees less is not believed
BONE_HU, SOFT_HU = 160.0, 60.0
SURFACE_MM = 2.5
AROUND_MM = 12.0
END_PITCHES = 0.35  # beyond the outer centres by more than this of a pitch, all is unknown

Centres = dict[str, NDArray[np.float64]]  # by level, z, y, x in mm from the first voxel's centre


@dataclass(frozen=True)
class LabelledSpine:
    """A CT with a label map of whole vertebrae on its grid (canonical), the values of the levels, and the cord."""

    volume: Volume
    labels_zyx: NDArray[np.uint8]
    values: dict[str, int]
    cord_zyx: NDArray[np.bool_]

    @property
    def centres(self) -> Centres:
        """The middle of each body, about: the front half of the vertebra's voxels."""
        spacing = np.asarray(self.volume.geometry.spacing_zyx_mm)
        found = {}
        for level, value in self.values.items():
            voxels = np.argwhere(self.labels_zyx == value) * spacing
            if len(voxels):
                found[level] = np.asarray(voxels[voxels[:, 1] < np.quantile(voxels[:, 1], 0.5)].mean(axis=0))
        return found


@dataclass(frozen=True)
class Borrowed:
    """Parts of the spine on the target's grid, 255 where unknown, and how well each vertebra's image agreed."""

    parts_zyx: NDArray[np.uint8]
    correlations: dict[str, float]


def borrow(source: LabelledSpine, target: Volume, centres: Centres) -> Borrowed:
    """`source`'s vertebrae on `target` (canonical), at the levels that both have; `centres` are of the target."""
    levels = [level for level in centres if level in source.centres]
    shape = target.voxels_zyx.shape
    labels: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)
    cord = np.zeros(shape, dtype=bool)
    correlations = {}
    fixed, moving = _itk(_window(target)), _itk(_window(source.volume))
    for number, level in enumerate(levels, start=1):
        transform, correlations[level] = _fit(source, (fixed, moving), (level, levels), centres)
        if correlations[level] < LEAST_CORRELATION:
            continue
        vertebra, piece = _warped(source, fixed, transform, level)
        labels[vertebra & (labels == 0)] = number
        cord |= piece
    whole = WholeSpine(
        labels, tuple(range(1, len(levels) + 1)), cord & (labels == 0), np.zeros(shape, bool), np.zeros(shape, bool)
    )
    parts = parts_of(whole, target.geometry)
    good = {level: centres[level] for level in levels}
    bad = {level: centres[level] for level in levels if correlations[level] < LEAST_CORRELATION}
    return Borrowed(_with_unknown(parts, target, good, bad), correlations)


def _window(volume: Volume) -> Volume:
    return Volume(np.clip(volume.voxels_zyx, *WINDOW_HU).astype(np.float32), volume.geometry, volume.modality)


def _itk(volume: Volume) -> sitk.Image:
    """In a frame of its own: mm from the first voxel's centre, along the canonical axes."""
    image = sitk.GetImageFromArray(volume.voxels_zyx)
    image.SetSpacing(volume.geometry.spacing_zyx_mm[::-1])
    return sitk.SmoothingRecursiveGaussian(image, SMOOTHING_MM)


def _fit(
    source: LabelledSpine,
    images: tuple[sitk.Image, sitk.Image],
    which: tuple[str, list[str]],
    centres: Centres,
) -> tuple[sitk.Transform, float]:
    """From points of the target to points of the source, and the correlation that it reaches."""
    fixed, moving = images
    level, levels = which
    here, there = centres[level], source.centres[level]
    frame, pitch = _frame(level, levels, centres)
    other_frame, other_pitch = _frame(level, levels, source.centres)
    start = sitk.Similarity3DTransform()
    start.SetCenter([float(v) for v in here[::-1]])
    start.SetTranslation([float(v) for v in (there - here)[::-1]])
    turn = (other_frame.T @ frame)[::-1, ::-1]
    start.SetMatrix((turn * float(np.clip(other_pitch / pitch, 0.75, 1.33))).ravel().tolist(), 1e-6)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricMovingMask(_mask(source, level))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.3)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.02, ITERATIONS, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(_crop(fixed, here), moving)
    return found, -float(method.GetMetricValue())


def _frame(level: str, levels: list[str], centres: Centres) -> tuple[NDArray[np.float64], float]:
    """Rows up, front and left (z, y, x) of a vertebra among its neighbours, and the distance between these."""
    i = levels.index(level)
    above, below = centres[levels[max(0, i - 1)]], centres[levels[min(len(levels) - 1, i + 1)]]
    if above[0] < below[0]:
        above, below = below, above
    steps = 2 if 0 < i < len(levels) - 1 else 1
    up = (above - below) / np.linalg.norm(above - below)
    front = np.array([0.0, -1.0, 0.0]) + up[1] * up
    front /= np.linalg.norm(front)
    return np.stack([up, front, np.cross(front, up)]), float(np.linalg.norm(above - below)) / steps


def _mask(source: LabelledSpine, level: str) -> sitk.Image:
    inside = source.labels_zyx == source.values[level]
    near = edt.edt(~inside, anisotropy=source.volume.geometry.spacing_zyx_mm) <= MASK_MARGIN_MM
    mask = sitk.GetImageFromArray(near.astype(np.uint8))
    mask.SetSpacing(source.volume.geometry.spacing_zyx_mm[::-1])
    return mask


def _crop(image: sitk.Image, centre_mm: NDArray[np.float64]) -> sitk.Image:
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    first = np.clip(np.floor((centre_mm[::-1] - REACH_MM) / spacing).astype(int), 0, size - 8)
    last = np.clip(np.ceil((centre_mm[::-1] + REACH_MM) / spacing).astype(int), first + 8, size)
    return sitk.RegionOfInterest(image, (last - first).tolist(), first.tolist())


def _warped(
    source: LabelledSpine, fixed: sitk.Image, transform: sitk.Transform, level: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The vertebra and the piece of cord in it, on the target's grid."""
    spacing = source.volume.geometry.spacing_zyx_mm
    inside = source.labels_zyx == source.values[level]
    planes = np.flatnonzero(inside.any(axis=(1, 2)))
    piece = source.cord_zyx.copy()
    piece[: planes[0]] = False
    piece[planes[-1] + 1 :] = False
    result = []
    for mask in (inside, piece):
        moving = sitk.GetImageFromArray(mask.astype(np.float32))
        moving.SetSpacing(spacing[::-1])
        result.append(sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear)) > 0.5)
    return result[0], result[1]


def _with_unknown(parts: NDArray[np.uint8], target: Volume, fitted: Centres, bad: Centres) -> NDArray[np.uint8]:
    spacing, hu = target.geometry.spacing_zyx_mm, target.voxels_zyx
    bone = np.isin(parts, (Part.CORE, Part.SHELL, Part.ARCH, Part.JOINT))
    depth = edt.edt(bone, anisotropy=spacing)
    far = edt.edt(~bone, anisotropy=spacing)
    result = parts.copy()
    result[bone & (depth <= SURFACE_MM) & (hu < SOFT_HU)] = UNKNOWN
    result[(parts == 0) & (far <= AROUND_MM) & (hu > BONE_HU)] = UNKNOWN
    result[(parts == Part.CANAL) & (hu > BONE_HU)] = UNKNOWN
    planes = np.arange(len(parts)) * spacing[0]
    heights = sorted(centre[0] for centre in fitted.values())
    low = heights[0] - END_PITCHES * (heights[1] - heights[0])
    high = heights[-1] + END_PITCHES * (heights[-1] - heights[-2])
    result[(planes < low) | (planes > high)] = UNKNOWN
    for centre in bad.values():
        result[np.abs(planes - centre[0]) < REACH_MM / 2] = UNKNOWN
    return result
