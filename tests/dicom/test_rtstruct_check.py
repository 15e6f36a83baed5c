"""The semantic checker: each fault that dciodvfy lets pass is found, by its code, and a sound file has none."""

import copy
import subprocess
from dataclasses import replace

import pytest
from rtstruct_cases import IDENTITY, anatomy, axial, oblique, rewritten, series_on, shell, with_structures

from contour.core.planning_system import HoleStyle, PlanningSystem
from contour.core.report import Severity
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_check import check_rtstruct
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    series = series_on(oblique())
    path = tmp_path_factory.mktemp("check") / "rs.dcm"
    write_rtstruct(anatomy(oblique()), series, path)
    return path, series


def first_contour(data_set):
    return data_set.ROIContourSequence[0].ContourSequence[0]


def off_slice(data_set):
    for item in data_set.ROIContourSequence[0].ContourSequence[:2]:
        item.ContourData = [round(float(v) + 0.05, 3) for v in item.ContourData]


def bent(data_set):
    data = list(first_contour(data_set).ContourData)
    data[2] = float(data[2]) + 1.0
    first_contour(data_set).ContourData = data


def dangling(data_set):
    first_contour(data_set).ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5"


def another_slice(data_set):
    contours = data_set.ROIContourSequence[0].ContourSequence
    uid = contours[-1].ContourImageSequence[0].ReferencedSOPInstanceUID
    contours[0].ContourImageSequence[0].ReferencedSOPInstanceUID = uid


def unreferenced(data_set):
    del first_contour(data_set).ContourImageSequence


def wrong_count(data_set):
    first_contour(data_set).NumberOfContourPoints += 1


def a_number_short(data_set):
    first_contour(data_set).ContourData = list(first_contour(data_set).ContourData)[:-1]


def two_points(data_set):
    item = first_contour(data_set)
    item.ContourData, item.NumberOfContourPoints = list(item.ContourData)[:6], 2


def duplicate_number(data_set):
    data_set.StructureSetROISequence[1].ROINumber = data_set.StructureSetROISequence[0].ROINumber


def duplicate_name(data_set):
    data_set.StructureSetROISequence[1].ROIName = data_set.StructureSetROISequence[0].ROIName.upper()


def long_name(data_set):
    data_set.StructureSetROISequence[0].ROIName = "Lung_Left_and_more"


def no_name(data_set):
    data_set.StructureSetROISequence[0].ROIName = ""


def empty_roi(data_set):
    del data_set.ROIContourSequence[0].ContourSequence


def missing_contours(data_set):
    del data_set.ROIContourSequence[0]


def unknown_roi(data_set):
    data_set.ROIContourSequence[0].ReferencedROINumber = 77


def twice_the_contours(data_set):
    data_set.ROIContourSequence.append(copy.deepcopy(data_set.ROIContourSequence[0]))


def unobserved(data_set):
    del data_set.RTROIObservationsSequence[0]


def same_observation(data_set):
    data_set.RTROIObservationsSequence[1].ObservationNumber = 1


def another_frame(data_set):
    data_set.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"


def another_frame_above(data_set):
    data_set.FrameOfReferenceUID = "1.2.3"


def no_frame(data_set):
    del data_set.ReferencedFrameOfReferenceSequence


def another_type(data_set):
    first_contour(data_set).ContourGeometricType = "CLOSED"


def another_class(data_set):
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"


STOP, CHECK = Severity.STOP, Severity.CHECK
FAULTS = [
    (off_slice, "contour-off-slice", STOP),
    (bent, "contour-off-slice", STOP),
    (dangling, "dangling-reference", STOP),
    (another_slice, "wrong-slice-reference", STOP),
    (unreferenced, "no-image-reference", CHECK),
    (wrong_count, "wrong-point-count", STOP),
    (a_number_short, "wrong-point-count", STOP),
    (two_points, "too-few-points", CHECK),
    (duplicate_number, "duplicate-roi-number", STOP),
    (duplicate_name, "duplicate-roi-name", CHECK),
    (long_name, "roi-name-too-long", CHECK),
    (no_name, "roi-name-missing", CHECK),
    (empty_roi, "roi-without-contours", CHECK),
    (missing_contours, "roi-without-contours", CHECK),
    (unknown_roi, "dangling-roi-number", STOP),
    (twice_the_contours, "duplicate-contours", STOP),
    (unobserved, "roi-without-observation", CHECK),
    (same_observation, "duplicate-observation-number", CHECK),
    (another_frame, "frame-of-reference-mismatch", STOP),
    (another_frame_above, "frame-of-reference-mismatch", STOP),
    (no_frame, "frame-of-reference-missing", CHECK),
    (another_type, "unknown-contour-type", CHECK),
    (another_class, "wrong-sop-class", STOP),
]


@pytest.mark.parametrize(("fault", "code", "severity"), FAULTS, ids=[f.__name__ for f, _, _ in FAULTS])
def test_each_fault_is_found(tmp_path, case, fault, code, severity):
    path, series = case
    findings = check_rtstruct(rewritten(path, tmp_path / "faulty.dcm", fault), series)
    assert code in {finding.code for finding in findings if finding.severity is severity}
    order = [STOP, CHECK, Severity.INFO]
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), key=order.index)


def test_faults_that_need_no_image_are_found_without_one(tmp_path, case):
    path, _ = case
    for fault, code in (
        (bent, "contour-not-planar"),
        (dangling, "dangling-reference"),
        (wrong_count, "wrong-point-count"),
    ):
        findings = check_rtstruct(rewritten(path, tmp_path / "faulty.dcm", fault), None)
        assert [finding.code for finding in findings] == [code]


def test_what_a_planning_system_cannot_take_is_found(case):
    path, series = case
    system = PlanningSystem(
        name_length=5, label_length=3, forbidden_characters="_", rois=1, contour_points=5, contour_bytes=90
    )
    codes = {finding.code for finding in check_rtstruct(path, series, system)}
    assert codes == {
        "roi-name-too-long",
        "roi-name-characters",
        "label-too-long",
        "label-characters",
        "too-many-rois",
        "too-many-points",
        "contour-too-long",
    }


def test_nested_holes_are_found_where_keyholes_are_wanted(tmp_path):
    geometry = axial()
    series, structures = series_on(geometry), with_structures(anatomy(geometry), shell(geometry))
    nested, keyholes = PlanningSystem(), PlanningSystem(holes=HoleStyle.KEYHOLE)
    paths = {}
    for system in (nested, keyholes):
        options = WriteOptions(system=system)
        paths[system.holes] = write_rtstruct(structures, series, tmp_path / f"{system.holes}.dcm", options).path
    (finding,) = check_rtstruct(paths[HoleStyle.NESTED], series, keyholes)
    assert (finding.code, finding.structure) == ("nested-hole", structures.structures[0].name)
    assert len(finding.slices) == geometry.shape_zyx[0] - 2
    assert check_rtstruct(paths[HoleStyle.KEYHOLE], series, keyholes) == ()
    assert check_rtstruct(paths[HoleStyle.NESTED], series, nested) == ()


def test_findings_say_where_and_what_is_allowed(tmp_path, case):
    path, series = case
    (finding,) = check_rtstruct(rewritten(path, tmp_path / "faulty.dcm", another_slice), series)
    assert finding.structure == "Lung_L"
    assert finding.slices == (5,)
    assert "1 of " in finding.message
    assert "contour 1" in finding.message
    assert "allowed: " in finding.message


def test_decimals_and_labels_longer_than_they_may_be_are_found(tmp_path, case):
    path, series = case
    data = path.read_bytes()
    label = b"\x06\x30\x02\x00\x0a\x00\x00\x00thorax_oar"
    assert label in data
    long = data.replace(label, b"\x06\x30\x02\x00\x12\x00\x00\x00thorax_oar_second ")
    start = long.index(b"\x06\x30\x50\x00")
    length = int.from_bytes(long[start + 4 : start + 8], "little")
    text = long[start + 8 : start + 8 + length]
    first, rest = text.split(b"\\", 1)
    padding = b"0" * (17 - len(first))
    assert (len(padding) + length) % 2 == 0 or text.endswith(b" ")
    stretched = (first + padding + b"\\" + rest).rstrip(b" ")
    stretched += b" " * (len(stretched) % 2)
    faulty = tmp_path / "faulty.dcm"
    faulty.write_bytes(_with_contour_data(long, start, length, stretched))
    codes = {finding.code for finding in check_rtstruct(faulty, series)}
    assert codes == {"label-too-long", "decimal-too-long"}


def _with_contour_data(data, start, length, text):
    """The file with the first contour's data exchanged, and the lengths of all that holds it mended."""
    grown = len(text) - length
    changed = bytearray(data[:start] + b"\x06\x30\x50\x00" + len(text).to_bytes(4, "little") + text)
    changed += data[start + 8 + length :]
    sequence = data.index(b"\x06\x30\x39\x00")
    contours = data.index(b"\x06\x30\x40\x00", sequence)
    for header in (sequence, sequence + 8, contours, contours + 8):  # sequence, item of the ROI, sequence, item
        old = int.from_bytes(data[header + 4 : header + 8], "little")
        changed[header + 4 : header + 8] = (old + grown).to_bytes(4, "little")
    return bytes(changed)


def test_images_of_another_patient_study_series_or_frame_are_told_apart(case):
    path, series = case
    geometry = series.volume.geometry
    others = {
        "wrong-patient": replace(series, identity=replace(IDENTITY, patient_id="KZ-0002")),
        "wrong-study": replace(series, identity=replace(IDENTITY, study_instance_uid="1.2.3")),
        "wrong-series": replace(series, series_instance_uid="1.2.3"),
        "frame-of-reference-mismatch": series_on(replace(geometry, frame_of_reference_uid="1.2.3")),
    }
    for code, other in others.items():
        assert code in {finding.code for finding in check_rtstruct(path, other) if finding.severity is STOP}
    namesake = replace(series, identity=replace(IDENTITY, patient_name="Другой^Человек"))
    assert "wrong-patient" in {finding.code for finding in check_rtstruct(path, namesake)}


def test_contours_beyond_the_image_are_found(tmp_path, case):
    path, series = case
    geometry = series.volume.geometry
    cropped = replace(geometry, shape_zyx=(geometry.shape_zyx[0], 24, 28))
    codes = {finding.code for finding in check_rtstruct(path, series_on(cropped))}
    assert "contour-outside-image" in codes


@pytest.mark.peer
def test_the_checker_of_form_alone_does_not_see_these(tmp_path, case):
    path, _ = case
    for fault in (off_slice, dangling, wrong_count, another_frame):
        faulty = rewritten(path, tmp_path / "faulty.dcm", fault)
        assert subprocess.run(["dciodvfy", str(faulty)], capture_output=True, check=False).returncode == 0


@pytest.mark.data
def test_clinical_references_that_lead_nowhere_are_found(shared_data):
    folder = shared_data / "archive/LUNG1-002"
    findings = check_rtstruct(folder / "1.dcm", read_series(folder))
    assert {finding.code for finding in findings} == {"dangling-reference", "repeated-contour"}
    assert "Heart" in {finding.structure for finding in findings}
    assert {finding.structure for finding in findings if finding.code == "repeated-contour"} == {"Lung L"}


@pytest.mark.data
def test_files_made_to_be_wrong_are_found_wrong(shared_data):
    folder = shared_data / "dicom/rt_mim_nonsquare/mock_data"
    assert check_rtstruct(folder / "rt.dcm", None) == ()
    findings = check_rtstruct(folder / "non_existent_reference_rt.dcm", None)
    assert [finding.code for finding in findings] == ["no-referenced-series"]


def test_axial_cases_are_sound(tmp_path):
    path = write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm").path
    assert check_rtstruct(path, series_on(axial())) == ()
