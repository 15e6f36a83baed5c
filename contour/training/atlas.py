"""Labels for an unlabelled CT from a labelled one: affine and deformable registration in SimpleITK.

The deformable step is the symmetric-forces Demons of Vercauteren et al. (MICCAI 2007), in three resolutions, on CTs
clamped to a window in which contrast medium and bone look like soft tissue: what is left to match are the lungs, the
air ways, the fat planes and the skin, which do not depend on the injection.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.volume import Volume
from contour.imaging.nifti import to_sitk

WINDOW_HU = (-400.0, 80.0)
AIR_HU = -1000.0
LUNG_HU = -400.0
LEVELS = ((4, 1.5, 60), (2, 1.5, 50), (1, 1.7, 30))  # shrink factor, sigma in voxels, iterations
MIN_LUNG_ML = 500.0
OPEN_END_VOXELS = 200  # lung voxels in the first or last slice that mean "the lungs are cut by the image"


@dataclass(frozen=True)
class LungExtent:
    """The air-filled lungs of a CT: their mask, the corners of their box in mm, and whether the image cuts them."""

    mask_zyx: NDArray[np.bool_]
    low_lps_mm: NDArray[np.float64]
    high_lps_mm: NDArray[np.float64]
    cut: bool


def find_lungs(volume: Volume) -> LungExtent:
    """The lungs of a chest CT: the one or two largest bodies of air that do not touch the image's sides.

    Raises:
        ValueError: there are no lungs of 500 ml or more, so that there is nothing to register by.
    """
    air, _ = ndimage.label(volume.voxels_zyx < LUNG_HU)
    sizes = np.bincount(air.ravel())
    outside = np.unique(np.concatenate([air[:, i].ravel() for i in (0, -1)] + [air[..., i].ravel() for i in (0, -1)]))
    sizes[outside] = 0
    sizes[0] = 0
    largest = [i for i in np.argsort(sizes)[-2:] if sizes[i] * volume.geometry.voxel_ml >= MIN_LUNG_ML]
    if not largest:
        raise ValueError(f"no lungs of {MIN_LUNG_ML} ml or more: nothing to register by")
    mask = np.isin(air, largest)
    inside = np.argwhere(mask)
    cut = bool(max(mask[0].sum(), mask[-1].sum()) > OPEN_END_VOXELS)
    low = volume.geometry.index_to_lps_mm(inside.min(axis=0))
    high = volume.geometry.index_to_lps_mm(inside.max(axis=0))
    return LungExtent(mask, low, high, cut)


def propagate_labels(
    atlas: Volume, labels_zyx: NDArray[np.uint8], target: Volume
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The atlas's label map, and its image in HU, brought to the grid of `target`.

    Both volumes are canonical (see `imaging.preprocess.at_spacing`), on cubic voxels of one size; `labels_zyx` is on
    the atlas's grid.

    Raises:
        ValueError: one of them shows no lungs.
    """
    fixed, moving = _windowed(target), _windowed(atlas)
    affine = _affine(fixed, moving, _align_lungs(find_lungs(target), find_lungs(atlas)))
    deformation = _demons(fixed, sitk.Resample(moving, fixed, affine, sitk.sitkLinear, WINDOW_HU[0]))
    both = sitk.CompositeTransform([affine, deformation])
    labels = to_sitk(labels_zyx, atlas.geometry)
    image = to_sitk(atlas.voxels_zyx, atlas.geometry)
    moved_labels = sitk.Resample(labels, fixed, both, sitk.sitkNearestNeighbor, 0)
    moved_image = sitk.Resample(image, fixed, both, sitk.sitkLinear, AIR_HU)
    return sitk.GetArrayFromImage(moved_labels), sitk.GetArrayFromImage(moved_image)


def _windowed(volume: Volume) -> sitk.Image:
    return to_sitk(np.clip(volume.voxels_zyx, *WINDOW_HU).astype(np.float32), volume.geometry)


def _align_lungs(target: LungExtent, atlas: LungExtent) -> sitk.AffineTransform:
    """The scaling that lays one box of lungs over the other; lungs cut by the image say nothing on their height."""
    size_target = target.high_lps_mm - target.low_lps_mm
    scale = (atlas.high_lps_mm - atlas.low_lps_mm) / size_target
    if target.cut or atlas.cut:
        scale[2] = np.sqrt(scale[0] * scale[1])
    centre_target = (target.low_lps_mm + target.high_lps_mm) / 2
    centre_atlas = (atlas.low_lps_mm + atlas.high_lps_mm) / 2
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.diag(scale).ravel().tolist())
    transform.SetCenter(centre_target.tolist())
    transform.SetTranslation((centre_atlas - centre_target).tolist())
    return transform


def _affine(fixed: sitk.Image, moving: sitk.Image, start: sitk.AffineTransform) -> sitk.AffineTransform:
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMattesMutualInformation(32)
    registration.SetMetricSamplingStrategy(registration.RANDOM)
    registration.SetMetricSamplingPercentage(0.1, 1)
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsGradientDescent(1.0, 150, 1e-5, 10)
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetInitialTransform(start, inPlace=True)
    registration.SetShrinkFactorsPerLevel([3, 2])
    registration.SetSmoothingSigmasPerLevel([2, 1])
    registration.Execute(fixed, moving)
    return start


def _demons(fixed: sitk.Image, moving: sitk.Image) -> sitk.DisplacementFieldTransform:
    field = None
    for shrink, sigma, iterations in LEVELS:
        fixed_small, moving_small = (sitk.BinShrink(image, [shrink] * 3) for image in (fixed, moving))
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(sigma)
        demons.SetSmoothDisplacementField(True)
        demons.SetSmoothUpdateField(True)
        demons.SetUpdateFieldStandardDeviations(1.0)
        if field is None:
            field = demons.Execute(fixed_small, moving_small)
        else:
            field = demons.Execute(fixed_small, moving_small, _on_grid(field, fixed_small))
    return sitk.DisplacementFieldTransform(_on_grid(field, fixed))


def _on_grid(field: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(field, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
