from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk  # the name its documentation uses

from contour.core.errors import InputRefused, Reason
from contour.core.volume import Modality
from contour.dicom.part10 import read_elements
from contour.dicom.read_series import find_series, read_series
from contour.dicom.series import ImageSeries
from contour.dicom.slice_header import WANTED, Tag

pytestmark = pytest.mark.data


def refusal(folder: Path) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_series(folder)
    return caught.value


def check_against_simpleitk(series: ImageSeries) -> None:
    """GDCM, an independent reader, sees the same values at the same places."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in series.files])
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), series.volume.voxels_zyx)
    last = tuple(n - 1 for n in series.volume.geometry.shape_zyx)
    for index in ((0, 0, 0), last, (last[0], 0, last[2])):
        theirs = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(series.volume.geometry.index_to_lps_mm(index), theirs, atol=1e-3)


@pytest.mark.slow
def test_planning_ct_in_jpeg_2000(shared_data: Path) -> None:
    series = read_series(shared_data / "archive" / "LUNG1-001")
    assert series.volume.geometry.shape_zyx == (134, 512, 512)
    assert series.volume.geometry.spacing_zyx_mm == pytest.approx((3.0, 0.9765625, 0.9765625))
    assert series.volume.voxels_zyx.dtype == np.int16
    assert {f.code for f in series.findings} == {"other-objects"}
    for z in (0, 70, 133):  # pydicom's decoder is another one
        slope_1 = pydicom.dcmread(series.files[z]).pixel_array.astype(int) - 1024
        np.testing.assert_array_equal(series.volume.voxels_zyx[z], slope_1)


def test_planning_ct_in_jpeg_ls(shared_data: Path) -> None:
    series = read_series(shared_data / "archive" / "LUNG1-002")
    assert series.volume.geometry.shape_zyx == (111, 512, 512)
    assert "1 RT Dose Storage, 1 RT Plan Storage, 1 RT Structure Set Storage" in series.findings[0].message
    check_against_simpleitk(series)


def test_gantry_tilt_with_uneven_gaps_and_padding(shared_data: Path) -> None:
    refused = refusal(shared_data / "dicom" / "ct_gantry_tilt")
    assert refused.reason is Reason.GANTRY_TILT
    assert "18.50 degrees" in refused.found


def test_sagittal_mr_head_first_prone(shared_data: Path) -> None:
    series = read_series(shared_data / "dicom" / "mr_hfp")
    assert series.volume.modality is Modality.MR
    assert series.patient_position == "HFP"
    assert series.volume.geometry.axes_lps == ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    check_against_simpleitk(series)


def test_images_that_state_no_series_are_refused_and_read_when_they_do(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom" / "ct_jpeg2000"
    assert refusal(folder).reason is Reason.MISSING_ATTRIBUTE
    for n, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        phantoms.put(dataset, "SOPClassUID", dataset.file_meta.MediaStorageSOPClassUID)
        phantoms.put(dataset, "SOPInstanceUID", f"2.25.{n + 1}")
        phantoms.put(dataset, "StudyInstanceUID", "2.25.50")
        phantoms.put(dataset, "SeriesInstanceUID", "2.25.51")
        dataset.save_as(tmp_path / f"{n}.dcm")
    series = read_series(tmp_path)
    assert series.volume.geometry.shape_zyx == (20, 512, 512)
    check_against_simpleitk(series)


def test_padding_of_a_real_ct(shared_data: Path) -> None:
    series = read_series(shared_data / "dicom" / "rt_mim_nonsquare" / "mock_data")
    assert "padding" in {f.code for f in series.findings}
    pixels = pydicom.dcmread(series.files[0]).pixel_array
    padded = pixels == -2000
    assert (series.volume.voxels_zyx[0][padded] == -1000).all()
    np.testing.assert_array_equal(series.volume.voxels_zyx[0][~padded], pixels[~padded] - 1024)


@pytest.mark.parametrize("name", ["oriented_data", "one_slice_data"])
def test_ct_without_frame_of_reference(shared_data: Path, name: str) -> None:
    folder = shared_data / "dicom" / "rt_mim_nonsquare" / name
    listing = find_series(folder)
    assert listing[0].problem is not None
    refused = refusal(folder)
    assert refused.reason in (Reason.NO_FRAME_OF_REFERENCE, Reason.TOO_FEW_SLICES)


def test_several_real_series_are_listed(shared_data: Path) -> None:
    refused = refusal(shared_data / "dicom")
    assert refused.reason is Reason.SEVERAL_SERIES
    assert "(MR, 35 slices)" in refused.found


def test_elements_are_those_that_pydicom_finds(shared_data: Path) -> None:
    files = [
        f for f in (shared_data / "dicom").rglob("*") if f.is_file() and f.suffix != ".txt" and f.name != "LICENSE"
    ]
    assert len(files) > 90
    for file in files:
        elements = read_elements(file, file.name, WANTED, 1 << 25)
        assert elements is not None
        assert elements.problem is None
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(WANTED.tags))
        last = 0xFFFFFFFF if elements.pixels else WANTED.last_tag_of_others
        for tag in WANTED.tags - {Tag.SPECIFIC_CHARACTER_SET}:  # which pydicom decodes at once
            theirs = dataset.get_item(tag) if tag <= last else None
            assert elements.values.get(tag, b"") == (theirs.value or b"" if theirs is not None else b"")
