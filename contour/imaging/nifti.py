"""NIfTI images and masks: read with the patient geometry that their header states, written with the one they have."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume


def read_nifti(path: Path, modality: Modality, frame_of_reference_uid: str) -> Volume:
    """The image at `path`: voxels (z, y, x) as int16 where the file holds integers that fit, else float32.

    NIfTI knows no frame of reference, so the caller states it. SimpleITK turns the header's RAS into LPS.

    Raises:
        InputRefused: the file cannot be read, is not 3-D, or its axes are not orthogonal.
    """
    array, geometry = read_nifti_array(path, frame_of_reference_uid)
    return volume_of(array, geometry, modality)


def volume_of(array_zyx: NDArray[np.generic], geometry: Geometry, modality: Modality) -> Volume:
    """A volume of any real numbers (z, y, x): int16 where they are integers that fit, else float32."""
    limits = np.iinfo(np.int16)
    whole = np.issubdtype(array_zyx.dtype, np.integer) or array_zyx.dtype == np.bool_
    if whole and array_zyx.min() >= limits.min and array_zyx.max() <= limits.max:
        return Volume(array_zyx.astype(np.int16), geometry, modality)
    return Volume(array_zyx.astype(np.float32), geometry, modality)


def read_nifti_array(path: Path, frame_of_reference_uid: str) -> tuple[NDArray[np.generic], Geometry]:
    """The stored values (z, y, x) and their geometry; for label maps and masks.

    Raises:
        InputRefused: as `read_nifti_geometry`, or the voxels are damaged.
    """
    geometry = read_nifti_geometry(path, frame_of_reference_uid)
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path))), geometry
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def read_nifti_geometry(path: Path, frame_of_reference_uid: str) -> Geometry:
    """The grid of the image at `path`, from its header: a small file may claim more voxels than memory holds.

    Raises:
        InputRefused: the header cannot be read, the image is not 3-D with one value a voxel, or its axes are not
            orthogonal.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        found = f"{reader.GetDimension()} dimensions, {reader.GetNumberOfComponents()} values a voxel"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, str(path), found, "3 dimensions, 1 value a voxel")
    try:
        return geometry_of(reader, frame_of_reference_uid)
    except ValueError as error:
        raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), str(error), "a grid with orthogonal axes") from error


def write_nifti(array_zyx: NDArray[np.generic], geometry: Geometry, path: Path) -> None:
    """`array_zyx` on `geometry` as a NIfTI file; masks are written as 0 and 1.

    Raises:
        OSError: the file cannot be written.
    """
    values = array_zyx.astype(np.uint8) if array_zyx.dtype == np.bool_ else array_zyx
    try:
        sitk.WriteImage(to_sitk(values, geometry), str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {_last_words(error)}") from error


def geometry_of(image: sitk.ImageFileReader | sitk.Image, frame_of_reference_uid: str) -> Geometry:
    """The grid of an image of SimpleITK, which counts x, y, z.

    Raises:
        ValueError: its axes are not orthogonal.
    """
    axes_zyx = np.array(image.GetDirection()).reshape(3, 3).T[::-1]
    x, y, z = image.GetSize()
    sx, sy, sz = image.GetSpacing()
    return Geometry(
        shape_zyx=(z, y, x),
        spacing_zyx_mm=(sz, sy, sx),
        origin_lps_mm=image.GetOrigin(),
        axes_lps=tuple(tuple(float(v) for v in axis) for axis in axes_zyx),  # type: ignore[arg-type]  # three by three
        frame_of_reference_uid=frame_of_reference_uid,
    )


def to_sitk(array_zyx: NDArray[np.generic], geometry: Geometry) -> sitk.Image:
    """A SimpleITK image of `array_zyx`; SimpleITK counts x, y, z and holds the direction's columns per index axis."""
    image = sitk.GetImageFromArray(array_zyx)
    image.SetOrigin(geometry.origin_lps_mm)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetDirection(np.asarray(geometry.axes_lps)[::-1].T.ravel().tolist())
    return image


def _unreadable(path: Path, error: RuntimeError) -> InputRefused:
    return InputRefused(Reason.UNREADABLE_FILE, str(path), _last_words(error), "a NIfTI image with orthogonal axes")


def _last_words(error: RuntimeError) -> str:
    return " ".join(str(error).split())[-200:]
