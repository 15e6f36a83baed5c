"""Arrays as images of SimpleITK and nibabel, and back, with the geometry that the patient has.

Arrays are (z, y, x) here and in SimpleITK, (x, y, z) in nibabel; coordinates are LPS here and in SimpleITK, RAS in
nibabel. Neither library knows a frame of reference, so the caller states it; none is made up.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from contour.core.errors import ConfigError, InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import geometry_of, to_sitk, volume_of

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

__all__ = ["from_nibabel", "from_sitk", "to_nibabel", "to_sitk"]

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0])


def from_sitk(image: sitk.Image, modality: Modality, frame_of_reference_uid: str) -> Volume:
    """A volume of a SimpleITK image: int16 where its integers fit, else float32.

    Raises:
        InputRefused: it is not 3-D with one value a voxel, or its axes are not orthogonal.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = f"{image.GetDimension()} dimensions, {image.GetNumberOfComponentsPerPixel()} values a voxel"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, "SimpleITK image", found, "3 dimensions, 1 value a voxel")
    try:
        geometry = geometry_of(image, frame_of_reference_uid)
    except ValueError as error:
        raise _not_a_grid("SimpleITK image", error) from error
    return volume_of(sitk.GetArrayFromImage(image), geometry, modality)


def to_nibabel(array_zyx: NDArray[np.generic], geometry: Geometry) -> "Nifti1Image":
    """A NIfTI image in memory, (x, y, z) and RAS, of `array_zyx`; masks become 0 and 1.

    Raises:
        ConfigError: nibabel is not installed.
        ValueError: the array's shape is not the geometry's.
    """
    if array_zyx.shape != geometry.shape_zyx:
        raise ValueError(f"array {array_zyx.shape} does not fit the geometry {geometry.shape_zyx}")
    values = array_zyx.astype(np.uint8) if array_zyx.dtype == np.bool_ else array_zyx
    affine = np.eye(4)
    affine[:3, :3] = RAS_OF_LPS @ geometry.steps_lps_mm[::-1].T
    affine[:3, 3] = RAS_OF_LPS @ geometry.origin_lps_mm
    image: Nifti1Image = _nibabel().Nifti1Image(values.T, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    return image


def from_nibabel(image: "Nifti1Image", modality: Modality, frame_of_reference_uid: str) -> Volume:
    """A volume of a nibabel image, by its affine: int16 where its scaled values are integers that fit, else float32.

    Raises:
        InputRefused: it is not 3-D with one value a voxel, or its axes are not orthogonal.
    """
    array = np.asanyarray(image.dataobj)
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        found = f"shape {array.shape}, values {array.dtype}"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, "nibabel image", found, "3 dimensions, 1 real value a voxel")
    affine = np.asarray(image.affine, dtype=float)
    steps_zyx = (RAS_OF_LPS @ affine[:3, :3]).T[::-1]
    spacing = np.linalg.norm(steps_zyx, axis=1)
    nx, ny, nz = array.shape
    try:
        geometry = Geometry(
            shape_zyx=(nz, ny, nx),
            spacing_zyx_mm=tuple(float(mm) for mm in spacing),  # type: ignore[arg-type]  # three
            origin_lps_mm=tuple(float(mm) for mm in RAS_OF_LPS @ affine[:3, 3]),  # type: ignore[arg-type]
            axes_lps=tuple(  # type: ignore[arg-type]  # three by three
                tuple(float(v) for v in step / (mm or 1.0)) for step, mm in zip(steps_zyx, spacing, strict=True)
            ),
            frame_of_reference_uid=frame_of_reference_uid,
        )
    except ValueError as error:
        raise _not_a_grid("nibabel image", error) from error
    return volume_of(np.ascontiguousarray(array.T), geometry, modality)


def _not_a_grid(where: str, error: ValueError) -> InputRefused:
    return InputRefused(Reason.INVALID_ATTRIBUTE, where, str(error), "a grid with orthogonal axes")


def _nibabel() -> Any:
    try:
        import nibabel  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        raise ConfigError("nibabel", "is not installed", "pip install 'contour[nibabel]'") from error
    return nibabel
