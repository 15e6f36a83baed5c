"""What the page is shown of a case: the file's own polygons, the right way round."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from phantoms import PATIENT_POSITIONS, geometry_along, oblique_geometry
from reviewed_runs import BOXES, Reviewed, reviewed_run

from contour.core.errors import ConfigError, InputRefused, Reason
from contour.core.report import report_from_json, report_to_json
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.languages import Language
from contour.services.review.case import OpenedCase, _as_int16, open_case, views_of
from contour.services.review.series_index import SeriesIndex, SeriesShelf
from contour.services.review.worklist import ReviewState, review_state, run_folders


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    return reviewed_run(tmp_path_factory.mktemp("reviewed"))


def opened(reviewed: Reviewed, language: Language = Language.ENGLISH) -> OpenedCase:
    (run,) = run_folders((reviewed.run.parent,))
    assert run.report is not None
    return open_case(run, run.report, read_series(reviewed.images), language)


def test_polygons_are_those_of_the_file(reviewed: Reviewed) -> None:
    polygons = opened(reviewed).polygons
    file = pydicom.dcmread(reviewed.run / "rtstruct.dcm")
    for item in file.ROIContourSequence:
        rows = polygons.table[polygons.table[:, 0] == item.ReferencedROINumber]
        assert len(rows) == len(item.ContourSequence)
        for (_, z, first, count), contour in zip(rows, item.ContourSequence, strict=True):
            xy = polygons.points_xy[first : first + count].astype(float)
            there = reviewed.geometry.index_to_lps_mm(np.column_stack([np.full(count, z), xy[:, ::-1]]))
            assert np.abs(there.ravel() - np.asarray(contour.ContourData, dtype=float)).max() < 1e-3


def test_the_case_tells_what_the_report_and_the_images_do(reviewed: Reviewed) -> None:
    case = opened(reviewed, Language.KAZAKH).case
    heart = next(s for s in case.structures if s.name == "Heart")
    assert heart.local_name == "Жүрек"
    assert (heart.volume_ml, heart.confidence, heart.color_rgb) == (12.3, 0.5, (255, 0, 0))
    assert heart.contours == BOXES["Heart"][1][0] - BOXES["Heart"][0][0]
    assert [f.code for f in case.findings] == ["low-confidence", "other-objects"]
    assert case.findings[0].roi_number == heart.roi_number
    assert case.patient.name == "Phantom^Test"
    assert case.grid.window == (40.0, 400.0)


def test_a_structure_set_of_other_images_is_refused(reviewed: Reviewed, tmp_path: Path) -> None:
    (run,) = run_folders((reviewed.run,))
    assert run.report is not None
    series = read_series(reviewed.images)
    other = replace(series, identity=replace(series.identity, patient_id="another"))
    with pytest.raises(InputRefused) as refused:
        open_case(run, run.report, other, Language.ENGLISH)
    assert refused.value.reason is Reason.WRONG_SERIES


def test_an_roi_that_cannot_be_shown_says_so_and_the_others_are(reviewed: Reviewed, tmp_path: Path) -> None:
    shutil.copytree(reviewed.run, tmp_path / "run")
    file = pydicom.dcmread(tmp_path / "run" / "rtstruct.dcm")
    contour = file.ROIContourSequence[0].ContourSequence[0]
    numbers = [float(n) for n in contour.ContourData]
    numbers[2] += 1.3
    contour.ContourData = numbers
    file.save_as(tmp_path / "run" / "rtstruct.dcm")
    (run,) = run_folders((tmp_path / "run",))
    assert run.report is not None
    case = open_case(run, run.report, read_series(reviewed.images), Language.ENGLISH).case
    assert "contour-off-slice" in case.structures[0].problem
    assert (case.structures[0].contours, case.structures[1].problem) == (0, "")


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
def test_views_are_the_same_however_the_patient_lies(position: str) -> None:
    geometry = geometry_along(*PATIENT_POSITIONS[position])
    expected = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
    ends = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "I": (2, -1), "S": (2, 1)}
    for view in views_of(geometry):
        assert view.left + view.right + view.top + view.bottom == expected[view.name]
        assert {view.normal_axis, view.across_axis, view.down_axis} == {0, 1, 2}
        for axis, sign, side in (
            (view.across_axis, view.across_sign, view.right),
            (view.down_axis, view.down_sign, view.bottom),
        ):
            patient_axis, direction = ends[side]
            assert geometry.axes_lps[axis][patient_axis] * sign * direction > 0.99


def test_views_of_an_oblique_grid_take_each_axis_once() -> None:
    axial, coronal, sagittal = views_of(oblique_geometry())
    assert {axial.normal_axis, coronal.normal_axis, sagittal.normal_axis} == {0, 1, 2}


def test_values_that_are_no_int16_are_spread_over_it() -> None:
    geometry = oblique_geometry((2, 3, 4))
    values = np.linspace(-2.5, 70000.0, 24, dtype=np.float32).reshape(2, 3, 4)
    voxels, slope, intercept = _as_int16(Volume(values, geometry, Modality.MR))
    assert np.abs(voxels * slope + intercept - values).max() <= slope
    flat, slope, intercept = _as_int16(Volume(np.full((2, 3, 4), 7.5, dtype=np.float32), geometry, Modality.MR))
    assert np.all(flat * slope + intercept == pytest.approx(7.5, abs=1.0))


def test_series_are_found_by_their_uid_and_again_when_they_come(reviewed: Reviewed, tmp_path: Path) -> None:
    now = [0.0]
    index = SeriesIndex((tmp_path,), clock=lambda: now[0])
    uid = read_series(reviewed.images).series_instance_uid
    assert index.files(uid) == ()
    shutil.copytree(reviewed.images, tmp_path / "deep" / "ct")
    assert index.files(uid) == ()  # it has just looked
    now[0] = 60.0
    assert len(index.files(uid)) == 24
    assert SeriesShelf(index).read(uid).volume.geometry.shape_zyx == (24, 64, 72)
    with pytest.raises(InputRefused) as refused:
        SeriesShelf(index).read("2.25.404")
    assert refused.value.reason is Reason.UNKNOWN_SERIES


def test_worklist_puts_the_urgent_first_and_shows_what_it_cannot_read(reviewed: Reviewed, tmp_path: Path) -> None:
    for name in ("calm", "urgent", "broken"):
        shutil.copytree(reviewed.run, tmp_path / name)
    text = (tmp_path / "calm" / "report.json").read_text(encoding="utf-8")
    (tmp_path / "calm" / "report.json").write_text(text.replace('"check"', '"info"'), encoding="utf-8")
    (tmp_path / "broken" / "report.json").write_text('{"released": tru', encoding="utf-8")
    runs = run_folders((tmp_path,))
    assert next(run.folder.name for run in runs) == "urgent"
    broken = next(run for run in runs if run.folder.name == "broken")
    assert "report.json" in broken.problem
    assert review_state(broken, 0, ()) is ReviewState.UNREADABLE
    assert len({run.key for run in runs}) == 3
    with pytest.raises(ConfigError):
        run_folders((tmp_path / "none",))


def test_a_report_comes_back_as_it_was_written(reviewed: Reviewed) -> None:
    text = (reviewed.run / "report.json").read_text(encoding="utf-8")
    assert report_to_json(report_from_json(text, "report.json")) == text
    for damaged in ("[]", "{}", text.replace('"check"', '"perhaps"'), text.replace('"protocol"', '"Protocol"')):
        with pytest.raises(ConfigError):
            report_from_json(damaged, "report.json")
