"""One image of a patient brought onto another, rigidly: SimpleITK's registration, and how far it can be believed.

What is sought is the motion under which the two images tell most of each other (mutual information after Mattes et al.
2003, doi:10.1109/TMI.2003.809072), in a region that moves as one: the head's bone and what lies within. It is sought
twice, each image once held still: two searches that end apart have not both found it.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from contour.core.protocol import SidesMm
from contour.core.rigid import RigidTransform
from contour.core.structures import CroppedMask
from contour.core.volume import Modality, Volume
from contour.imaging.margins import grown
from contour.imaging.nifti import to_sitk
from contour.imaging.preprocess import at_spacing

SPACING_MM = 1.5  # of the finest level: beyond the accuracy that planning slices carry nothing is won
AROUND_MM = 12.0  # around what was drawn: the skull's bone, which CT and MR show alike by its absence
BINS = 32
CT_WINDOW_HU = (-200.0, 500.0)
MR_PERCENTILES = (1.0, 99.5)
SURFACE_POINTS = 400
ASTRAY_MM = 2.0  # searches that end further apart: one of them may have stopped on its way


@dataclass(frozen=True)
class Level:
    """A level of the search: every `shrink`-th voxel of the finest, smoothed, and the part of them that is compared."""

    shrink: int
    smoothing_mm: float
    sampled: float


# A third level at 1.5 mm doubled the time and won nothing on made heads with known motions.
LEVELS = (Level(4, 3.0, 1.0), Level(2, 1.5, 0.3))


@dataclass(frozen=True)
class Registration:
    """How the moving image lies on the fixed one.

    `transform` brings points of the moving image's frame of reference into the fixed one's. `disagreement_mm` is how
    far the search with the images exchanged puts a point of the region from there, at most.
    """

    transform: RigidTransform
    disagreement_mm: float


@dataclass(frozen=True)
class Seen:
    """An image, and the region of it that moves as one: a mask on its grid."""

    volume: Volume
    region: CroppedMask

    @property
    def points_lps_mm(self) -> NDArray[np.float64]:
        """(n, 3) points all over the region's surface, some hundred."""
        inside = self.region.mask_zyx
        core = inside.copy()
        for axis in range(3):
            core &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
        shell = np.argwhere(inside & ~core)
        chosen = shell[:: max(1, len(shell) // SURFACE_POINTS)] + self.region.offset_zyx
        return self.volume.geometry.index_to_lps_mm(chosen)


def register_rigid(
    fixed: Seen, moving: Seen, start: RigidTransform, levels: tuple[Level, ...] = LEVELS
) -> Registration:
    """The motion from `moving`'s frame of reference to `fixed`'s, sought from `start`; the same every time.

    Raises:
        ValueError: a region is empty.
    """
    if fixed.region.empty or moving.region.empty:
        raise ValueError("register_rigid: both regions need voxels")
    still, other, points = _prepared(fixed), _prepared(moving), moving.points_lps_mm
    there = _searched(still, other, start.inverse, levels).transform.inverse
    back = _searched(other, still, start, levels)
    if there.apart_mm(back.transform, points) > ASTRAY_MM:
        # Did the way back stop short, or does it lead elsewhere? What it finds from the other end tells.
        back = min(back, _searched(other, still, there, levels), key=lambda found: found.metric)
    return Registration(there, there.apart_mm(back.transform, points))


@dataclass(frozen=True)
class _Found:
    """Where a search ended, and how much the images tell of each other there: the less, the more."""

    transform: RigidTransform
    metric: float


def _searched(still: "_Prepared", other: "_Prepared", start: RigidTransform, levels: tuple[Level, ...]) -> _Found:
    """The motion from `still`'s frame to `other`'s, along which ITK fetches what it compares.

    Powell's search needs no gradient: down the metric's slope, searches stopped 5 to 15 mm short where a head's shape
    alone tells how it is turned.
    """
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(still.region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([level.sampled for level in levels])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([level.shrink for level in levels])
    method.SetSmoothingSigmasPerLevel([level.smoothing_mm for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsPowell(numberOfIterations=12, maximumLineIterations=50, stepLength=1.0, stepTolerance=0.02)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetNumberOfThreads(1)  # sums in one order: the same result every time
    method.SetInitialTransform(_euler(start, _centre(still.region)), inPlace=True)
    found = method.Execute(still.image, other.image)
    frames = start.from_frame_uid, start.to_frame_uid
    return _Found(_transform(found, frames), float(method.GetMetricValue()))


@dataclass(frozen=True)
class _Prepared:
    """An image around its region in cubes of 1.5 mm, its values clipped to what tissues have; and the region there."""

    image: sitk.Image
    region: sitk.Image


def _prepared(seen: Seen) -> _Prepared:
    geometry = seen.volume.geometry
    around = grown(seen.region, geometry, SidesMm.all_around(AROUND_MM))
    margin = [int(np.ceil(2 * AROUND_MM / mm)) for mm in geometry.spacing_zyx_mm]
    box = around.box.grown((margin[0], margin[1], margin[2]), geometry.shape_zyx)
    part = seen.volume.cropped(box)
    image = at_spacing(part, (SPACING_MM, SPACING_MM, SPACING_MM))
    low, high = CT_WINDOW_HU
    if seen.volume.modality is not Modality.CT:
        low, high = (float(v) for v in np.percentile(image.voxels_zyx, MR_PERCENTILES))
    values = np.clip(image.voxels_zyx, low, high).astype(np.float32)
    inside = Volume(around.within(box).astype(np.float32), part.geometry, Modality.CT)
    region = at_spacing(inside, (SPACING_MM, SPACING_MM, SPACING_MM)).voxels_zyx >= 0.5
    return _Prepared(to_sitk(values, image.geometry), to_sitk(region.astype(np.uint8), image.geometry))


def _centre(region: sitk.Image) -> tuple[float, float, float]:
    values = sitk.GetArrayViewFromImage(region)
    z, y, x = (float(v) for v in np.argwhere(values).mean(axis=0))
    px, py, pz = region.TransformContinuousIndexToPhysicalPoint((x, y, z))
    return float(px), float(py), float(pz)


def _euler(start: RigidTransform, centre_lps_mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    """ITK's x -> R (x - c) + c + t."""
    matrix = np.asarray(start.matrix)
    euler = sitk.Euler3DTransform()
    euler.SetCenter(centre_lps_mm)
    euler.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-3)
    centre = np.asarray(centre_lps_mm)
    euler.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return euler


def _transform(found: sitk.Transform, frame_uids: tuple[str, str]) -> RigidTransform:
    corners = np.vstack([np.zeros(3), np.eye(3)])
    origin, *ends = (np.asarray(found.TransformPoint(corner.tolist())) for corner in corners)
    return RigidTransform.between(frame_uids, np.column_stack([end - origin for end in ends]), origin)
