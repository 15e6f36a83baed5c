from pathlib import Path

import numpy as np
import phantoms
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.dicom.read_series import read_series
from contour.dicom.series import ImageSeries
from contour.dicom.write_series import SeriesOptions, write_series


def refusal(folder: Path) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_series(folder)
    return caught.value


def check_in_patient(series: ImageSeries) -> None:
    """Every voxel holds the patient's value at the place where the geometry puts it."""
    geometry = series.volume.geometry
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    truth = phantoms.patient_field(geometry.index_to_lps_mm(indices))
    np.testing.assert_allclose(series.volume.voxels_zyx, truth, atol=0.51)
    normal, column, row = geometry.axes_lps
    np.testing.assert_allclose(np.cross(row, column), normal, atol=1e-9)


@pytest.mark.parametrize("position", phantoms.PATIENT_POSITIONS)
def test_every_patient_position_keeps_patient_coordinates(tmp_path: Path, position: str) -> None:
    geometry = phantoms.geometry_along(*phantoms.PATIENT_POSITIONS[position])
    phantoms.ct_series(tmp_path, geometry, SeriesOptions("s", patient_position=position))
    series = read_series(tmp_path)
    check_in_patient(series)
    assert series.volume.geometry.same_grid(geometry, tolerance_mm=1e-6)
    assert series.patient_position == position


def test_stated_patient_position_decides_nothing(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    before = read_series(tmp_path)
    for file in files:
        phantoms.edit(file, lambda ds: setattr(ds, "PatientPosition", "FFP"))
    after = read_series(tmp_path)
    assert after.content_sha256 == before.content_sha256
    assert after.volume.geometry == before.volume.geometry


def test_oblique_planes(tmp_path: Path) -> None:
    geometry = phantoms.oblique_geometry()
    phantoms.ct_series(tmp_path, geometry)
    series = read_series(tmp_path)
    check_in_patient(series)
    assert series.volume.geometry.same_grid(geometry, tolerance_mm=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quaternion=st.tuples(*[st.floats(-1, 1) for _ in range(4)]).filter(lambda q: sum(c * c for c in q) > 0.01))
def test_any_rotation_keeps_patient_coordinates(
    tmp_path_factory: pytest.TempPathFactory, quaternion: tuple[float, ...]
) -> None:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    row = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    column = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    folder = tmp_path_factory.mktemp("rotated")
    phantoms.ct_series(folder, phantoms.geometry_along(row, column, (3, 5, 4)))
    check_in_patient(read_series(folder))


def test_slices_written_against_the_normal_are_turned_to_it(tmp_path: Path) -> None:
    usual = phantoms.axial_geometry()
    backwards = Geometry(
        usual.shape_zyx,
        usual.spacing_zyx_mm,
        usual.origin_lps_mm,
        ((0.0, 0.0, -1.0), *usual.axes_lps[1:]),
        usual.frame_of_reference_uid,
    )
    files = phantoms.ct_series(tmp_path, backwards)
    series = read_series(tmp_path)
    check_in_patient(series)
    assert series.files == files[::-1]
    assert series.volume.geometry.axes_lps[0] == (0.0, 0.0, 1.0)


def test_order_of_files_and_instance_numbers_does_not_matter(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    expected = read_series(tmp_path)
    for number, file in enumerate(files):
        phantoms.edit(file, lambda ds, n=number: setattr(ds, "InstanceNumber", (n * 5) % 7))
        file.rename(file.with_name(f"{(number * 5) % 7}{file.name}"))
    series = read_series(tmp_path)
    assert series.content_sha256 == expected.content_sha256
    assert series.sop_instance_uids == expected.sop_instance_uids


def test_pixel_spacing_is_row_then_column(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)  # 1.2 mm between rows, 0.9 between columns
    assert read_series(tmp_path).volume.geometry.spacing_zyx_mm == pytest.approx((2.5, 1.2, 0.9))


def test_missing_slice_is_named_with_its_place(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path, phantoms.axial_geometry((9, 20, 24)))
    files[3].unlink()
    files[6].unlink()
    files[7].unlink()
    refused = refusal(tmp_path)
    assert refused.reason is Reason.MISSING_SLICE
    assert "3 slice(s) missing at a spacing of 2.5 mm" in refused.found
    assert "1 between 0003.dcm at (-31.5, 12.25, -102.75) mm and 0005.dcm" in refused.found
    assert "2 between 0006.dcm" in refused.found


def test_one_missing_of_three_is_a_missing_slice(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path, phantoms.axial_geometry((4, 20, 24)))
    files[1].unlink()
    assert refusal(tmp_path).reason is Reason.MISSING_SLICE


def test_gaps_are_measured_along_the_normal_and_never_by_thickness(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path, phantoms.oblique_geometry())
    for file in files:
        phantoms.edit(file, lambda ds: setattr(ds, "SliceThickness", 99))
        phantoms.edit(file, lambda ds: setattr(ds, "SpacingBetweenSlices", 0.5))
        phantoms.edit(file, lambda ds: setattr(ds, "SliceLocation", 1.0))
    assert read_series(tmp_path).volume.geometry.spacing_zyx_mm[0] == pytest.approx(2.5)
    files[2].unlink()
    assert refusal(tmp_path).reason is Reason.MISSING_SLICE


def test_uneven_spacing_names_the_worst_gap(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    for file in files[4:]:
        phantoms.moved(file, (0, 0, 0.7))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNEVEN_SPACING
    assert "0004.dcm" in refused.where
    assert "0005.dcm" in refused.where
    assert "3.2 mm" in refused.found


def test_positions_rounded_to_a_tenth_are_read_and_reported(tmp_path: Path) -> None:
    geometry = Geometry.axial((9, 4, 4), (1.25, 1.0, 1.0), (0.0, 0.0, 0.0), phantoms.FRAME_OF_REFERENCE)
    for file in phantoms.ct_series(tmp_path, geometry):

        def rounded(ds: Dataset) -> None:
            ds.ImagePositionPatient = [0, 0, round(float(ds.ImagePositionPatient[2]) + 1e-6, 1)]

        phantoms.edit(file, rounded)
    series = read_series(tmp_path)
    assert series.volume.geometry.spacing_zyx_mm[0] == pytest.approx(1.25, abs=0.01)
    (finding,) = [f for f in series.findings if f.code == "positions-rounded"]
    assert "0.01 mm" in finding.message


def test_one_slice_a_quarter_millimetre_off_is_refused(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.moved(files[3], (0, 0, 0.25))
    assert refusal(tmp_path).reason is Reason.UNEVEN_SPACING


def test_two_slices_at_one_position_say_what_differs(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    copy = tmp_path / "phase2.dcm"
    copy.write_bytes(files[2].read_bytes())

    def second_phase(ds: Dataset) -> None:
        ds.SOPInstanceUID = "2.25.999"
        ds.TemporalPositionIdentifier = 2
        ds.AcquisitionNumber = 4

    phantoms.edit(copy, second_phase)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.DUPLICATE_POSITION
    assert refused.where == "0003.dcm and phase2.dcm"
    assert "TemporalPositionIdentifier" in refused.found
    assert "AcquisitionNumber" in refused.found


@pytest.mark.parametrize("tag", [None, "0", "12"])
def test_gantry_tilt_is_seen_in_the_geometry_whatever_the_tag_says(tmp_path: Path, tag: str | None) -> None:
    tilt = np.radians(12)
    column = (0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    geometry = phantoms.geometry_along((1.0, 0.0, 0.0), column)
    for z, file in enumerate(phantoms.ct_series(tmp_path, geometry)):

        def along_the_table(ds: Dataset, z: int = z) -> None:
            ds.ImagePositionPatient = [-31.5, 12.25, -107.75 + 2.5 * z]
            if tag is not None:
                ds.GantryDetectorTilt = tag

        phantoms.edit(file, along_the_table)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.GANTRY_TILT
    assert "12.00 degrees" in refused.found


def test_stated_tilt_on_straight_original_slices_is_a_contradiction(tmp_path: Path) -> None:
    options = SeriesOptions("s", image_type=("ORIGINAL", "PRIMARY", "AXIAL"))
    for file in phantoms.ct_series(tmp_path, options=options):
        phantoms.edit(file, lambda ds: setattr(ds, "GantryDetectorTilt", "7.5"))
    assert refusal(tmp_path).reason is Reason.GANTRY_TILT


def test_stated_tilt_on_derived_slices_is_reported(tmp_path: Path) -> None:
    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, lambda ds: setattr(ds, "GantryDetectorTilt", "7.5"))
    assert "tilt-stated" in {f.code for f in read_series(tmp_path).findings}


def test_slice_moved_sideways_is_named(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.moved(files[4], (3.0, 0, 0))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.INCONSISTENT_POSITIONS
    assert "0005.dcm" in refused.where


@pytest.mark.parametrize(
    ("cosines", "reason"),
    [
        ([1, 0, 0, 0, 0, 0], Reason.INVALID_ATTRIBUTE),
        ([1, 0, 0, 1, 0, 0], Reason.INVALID_ATTRIBUTE),
        ([0.99, 0, 0, 0, 1, 0], Reason.INVALID_ATTRIBUTE),
        ([1, 0, 0, 0.02, 0.9998, 0], Reason.INVALID_ATTRIBUTE),
    ],
)
def test_orientation_that_is_no_rotation(tmp_path: Path, cosines: list[float], reason: Reason) -> None:
    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, lambda ds: setattr(ds, "ImageOrientationPatient", cosines))
    assert refusal(tmp_path).reason is reason


def test_cosines_with_four_decimals_are_made_orthonormal(tmp_path: Path) -> None:
    geometry = phantoms.oblique_geometry()
    for file in phantoms.ct_series(tmp_path, geometry):

        def rounded(ds: Dataset) -> None:
            ds.ImageOrientationPatient = [round(float(c), 4) for c in ds.ImageOrientationPatient]

        phantoms.edit(file, rounded)
    axes = np.array(read_series(tmp_path).volume.geometry.axes_lps)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(axes, geometry.axes_lps, atol=2e-4)


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("FrameOfReferenceUID", "2.25.555", "frame of reference"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "orientation"),
        ("PixelSpacing", [1.2, 0.8], "pixel spacing"),
        ("PatientID", "P-2", "patient"),
        ("StudyInstanceUID", "2.25.556", "study"),
        ("RescaleType", "US", "rescale type"),
    ],
)
def test_mixed_series_say_what_differs(tmp_path: Path, keyword: str, value: object, said: str) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[5], lambda ds: setattr(ds, keyword, value))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.MIXED_SERIES
    assert "0006.dcm" in refused.where
    assert f"{said} differs" in refused.found
    assert "P-2" not in str(refused)
    assert "5 of 6 slices" in refused.found


def test_mixed_matrix(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    phantoms.ct_series(tmp_path / "b", phantoms.axial_geometry((6, 20, 22)), SeriesOptions("phantom"))
    for file in (tmp_path / "b").iterdir():
        phantoms.edit(file, lambda ds: setattr(ds, "SOPInstanceUID", ds.SOPInstanceUID + "1"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.MIXED_SERIES
    assert "matrix differs: (20, 24) and (20, 22)" in refused.found


def test_single_slice(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path, phantoms.axial_geometry((1, 20, 24)))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.TOO_FEW_SLICES
    assert refused.allowed == "at least 2"


def test_two_slices_are_a_volume(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path, phantoms.axial_geometry((2, 20, 24)))
    assert read_series(tmp_path).volume.geometry.shape_zyx == (2, 20, 24)


def test_mr_sagittal(tmp_path: Path) -> None:
    geometry = phantoms.geometry_along((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
    volume = phantoms.sampled_volume(geometry, phantoms.Modality.MR)
    write_series(volume, phantoms.IDENTITY, tmp_path, SeriesOptions("mr"))
    series = read_series(tmp_path)
    check_in_patient(series)
    assert series.volume.modality is phantoms.Modality.MR
