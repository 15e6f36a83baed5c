import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.imaging.nifti import read_nifti_array, read_nifti_geometry, write_nifti

GRID = Geometry.axial((6, 8, 10), (2.5, 1.2, 0.9), (-31.5, 12.25, -107.75), "1.2.3")


def test_a_mask_comes_back_on_its_grid(tmp_path: Path) -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[1:3, 2:5, 4:9] = True
    write_nifti(mask, GRID, tmp_path / "m.nii.gz")
    array, grid = read_nifti_array(tmp_path / "m.nii.gz", "1.2.3")
    assert np.array_equal(array, mask)
    assert grid.same_grid(GRID)


def test_the_grid_is_known_before_a_voxel_is_read(tmp_path: Path) -> None:
    """A header that claims 10 TB, in a file of a few hundred bytes."""
    write_nifti(np.zeros(GRID.shape_zyx, dtype=np.uint8), GRID, tmp_path / "m.nii.gz")
    content = bytearray(gzip.decompress((tmp_path / "m.nii.gz").read_bytes()))
    struct.pack_into("<8h", content, 40, 3, 22000, 22000, 22000, 1, 1, 1, 1)
    (tmp_path / "m.nii.gz").write_bytes(gzip.compress(bytes(content)))
    assert read_nifti_geometry(tmp_path / "m.nii.gz", "1.2.3").shape_zyx == (22000, 22000, 22000)
    with pytest.raises(InputRefused) as refused:
        read_nifti_array(tmp_path / "m.nii.gz", "1.2.3")
    assert refused.value.reason is Reason.UNREADABLE_FILE


def test_several_values_a_voxel_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(tmp_path / "v.nii"))
    with pytest.raises(InputRefused, match="3 values a voxel") as refused:
        read_nifti_geometry(tmp_path / "v.nii", "1.2.3")
    assert refused.value.reason is Reason.UNSUPPORTED_OBJECT


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        write_nifti(np.zeros(GRID.shape_zyx, dtype=np.uint8), GRID, tmp_path / "absent" / "m.nii.gz")
