"""The made archive is what its truth says, by what other parts of the package read from it."""

from pathlib import Path

import cc3d
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE, MadeOptions, make_archive
from contour.cases.made_patients import PATIENTS, Defect, Spelling
from contour.cases.made_truth import ArchiveTruth, Oddity, SetRole, TrueRoi, TrueSet, load_truth
from contour.cases.store import Status
from contour.core.errors import ConfigError
from contour.core.nomenclature import lookup
from contour.core.structures import StructureSet
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.series import ImageSeries

SMALL = MadeOptions(patients=1, spacing_zyx_mm=(12.0, 8.0, 8.0))
UNREADABLE = (Defect.OFF_PLANE, Defect.DANGLING_REFERENCES)


@pytest.fixture(scope="module")
def truth(made: Path) -> ArchiveTruth:
    return load_truth(made / TRUTH_FILE)


def series_of(made: Path, drawn: TrueSet) -> ImageSeries:
    """The planning CT of a set, found by its file's place: where files are mixed, by UID."""
    folder = (made / ARCHIVE_FOLDER / drawn.file).parent
    return read_series(folder, series_instance_uid=drawn.series_instance_uid)


def roi(drawn: TrueSet, roi_name: str) -> TrueRoi:
    return next(r for r in drawn.rois if r.roi_name == roi_name)


def set_with(truth: ArchiveTruth, defect: Defect) -> tuple[TrueSet, TrueRoi]:
    return next((s, r) for s in truth.sets_in_use for r in s.rois if r.defect is defect)


def in_file(made: Path, drawn: TrueSet) -> Dataset:
    return dcmread(made / ARCHIVE_FOLDER / drawn.file)


def test_the_same_options_make_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        make_archive(tmp_path / name, SMALL)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        contents.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert contents[0] == contents[1]
    with pytest.raises(ConfigError, match="is not empty"):
        make_archive(tmp_path / "a", SMALL)


def test_a_failure_leaves_no_archive(tmp_path: Path) -> None:
    def stop(_: str, done: float) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_archive(tmp_path, MadeOptions(patients=2, spacing_zyx_mm=(12.0, 8.0, 8.0)), stop)
    assert list(tmp_path.iterdir()) == []


def test_every_file_is_accounted_for(made: Path, truth: ArchiveTruth) -> None:
    files = {p.relative_to(made / ARCHIVE_FOLDER).as_posix() for p in (made / ARCHIVE_FOLDER).rglob("*") if p.is_file()}
    listed = [s.file for s in truth.structure_sets] + [odd.file for odd in truth.odd_files]
    assert len(listed) == len(set(listed))
    assert set(listed) <= files
    assert len(files) == len(listed) + sum(s.slices for s in truth.series)
    assert {odd.why for odd in truth.odd_files} == set(Oddity)
    assert sum(f.stat().st_size for f in made.rglob("*") if f.is_file()) < 25e6


def test_names_mean_one_thing_and_are_told_apart_in_every_way(truth: ArchiveTruth) -> None:
    meanings = {(r.roi_name, r.name) for s in truth.structure_sets for r in s.rois}
    assert len(meanings) == len({name for name, _ in meanings})
    assert {r.spelling for s in truth.structure_sets for r in s.rois} == set(Spelling)
    assert {r.defect for s in truth.sets_in_use for r in s.rois} == {*Defect, None}
    assert all(lookup(name) is not None for _, name in meanings if name is not None)
    assert truth.name_of("Жұлын") == "SpinalCord"
    assert truth.name_of("kv3") is None


def test_structure_sets_carry_the_names_and_masks_of_the_truth(made: Path, truth: ArchiveTruth) -> None:
    checked = 0
    for drawn in truth.sets_in_use:
        names = [str(item.ROIName) for item in in_file(made, drawn).StructureSetROISequence]
        assert sorted(names) == sorted(r.roi_name for r in drawn.rois)
        if any(r.defect in UNREADABLE for r in drawn.rois):
            continue
        series = series_of(made, drawn)
        read = read_rtstruct(made / ARCHIVE_FOLDER / drawn.file, series)
        masks = {s.name: s for s in read.structures}
        for expected in drawn.rois:
            if expected.status is Status.NOT_DRAWN:
                assert expected.roi_name not in masks or masks[expected.roi_name].empty
                continue
            mask = masks[expected.roi_name]
            assert read.volume_ml(mask) == pytest.approx(expected.volume_ml, abs=1e-3), expected
            if expected.status is Status.PARTIAL:
                assert (mask.box.start_zyx[0], mask.box.stop_zyx[0] - 1) == expected.drawn_slices
                assert 0 < mask.box.start_zyx[0] < mask.box.stop_zyx[0] < series.volume.geometry.shape_zyx[0]
            checked += 1
    assert checked > 60


def test_organs_are_drawn_in_about_half_of_the_cases(truth: ArchiveTruth) -> None:
    missing = [name for s in truth.sets_in_use for name in s.not_drawn]
    organs = set(missing)
    drawn = [r.name for s in truth.sets_in_use for r in s.rois if r.status is not Status.NOT_DRAWN and r.name in organs]
    assert 0.4 < len(drawn) / (len(drawn) + len(missing)) < 0.6
    assert len(drawn) + len(missing) == len(organs) * len(truth.sets_in_use)
    for name in organs - {"SpinalCanal"}:  # drawn once
        assert 3 <= drawn.count(name) < len(truth.sets_in_use), name


def test_swapped_sides_lie_on_the_wrong_side(made: Path, truth: ArchiveTruth) -> None:
    drawn, _ = set_with(truth, Defect.SWAPPED_SIDES)
    read = read_rtstruct(made / ARCHIVE_FOLDER / drawn.file, series_of(made, drawn))
    left, right = (next(s for s in read.structures if s.name == n) for n in ("Left Lung", "Right lung"))
    assert left.offset_zyx[2] < right.offset_zyx[2]  # x grows to the patient's left
    again = next(s for s in truth.sets_in_use if s.patient_id == drawn.patient_id and s is not drawn)
    assert roi(again, "Left Lung").defect is None
    read = read_rtstruct(made / ARCHIVE_FOLDER / again.file, series_of(made, again))
    left, right = (next(s for s in read.structures if s.name == n) for n in ("Left Lung", "Right lung"))
    assert left.offset_zyx[2] > right.offset_zyx[2]


def test_mistakes_lie_where_the_truth_says(made: Path, truth: ArchiveTruth) -> None:
    drawn, wrong = set_with(truth, Defect.ISLAND)
    mask = _mask(made, drawn, wrong)
    assert wrong.defect_slices is not None
    assert _pieces(mask) == 2
    first, last = wrong.defect_slices
    assert _pieces(mask[:first]) == _pieces(mask[last + 1 :]) == 1

    drawn, copy = set_with(truth, Defect.SAME_AS_ANOTHER)
    assert np.array_equal(_mask(made, drawn, copy), _mask(made, drawn, roi(drawn, "Trachae")))

    drawn, gap = set_with(truth, Defect.GAP)
    heights = _contour_heights(made, drawn, gap.roi_name)
    assert gap.defect_slices is not None
    missing = gap.defect_slices[1] - gap.defect_slices[0] + 1
    assert np.isclose(np.diff(heights).max(), (missing + 1) * 6.0, atol=1e-6)

    drawn, off = set_with(truth, Defect.OFF_PLANE)
    at = np.unique(_contour_heights(made, drawn, off.roi_name))
    series = series_of(made, drawn)
    z = series.volume.geometry.lps_mm_to_index([(0.0, 0.0, h) for h in at])[:, 0]
    assert np.allclose(z - np.floor(z), 0.4, atol=0.01)

    drawn, dangling = set_with(truth, Defect.DANGLING_REFERENCES)
    uids = {
        str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        for contour in _contours(made, drawn, dangling.roi_name)
    }
    assert not uids & set(series_of(made, drawn).sop_instance_uids)


def test_the_re_planned_set_is_the_newer_and_approved(made: Path, truth: ArchiveTruth) -> None:
    (old,) = (s for s in truth.structure_sets if s.role is SetRole.SUPERSEDED)
    new = next(s for s in truth.sets_in_use if s.series_instance_uid == old.series_instance_uid)
    dates = [in_file(made, s).StructureSetDate for s in (old, new)]
    assert dates == sorted(dates)
    assert [in_file(made, s).ApprovalStatus for s in (old, new)] == ["UNAPPROVED", "APPROVED"]


def test_the_orphan_refers_to_no_image_here(made: Path, truth: ArchiveTruth) -> None:
    (orphan,) = (s for s in truth.structure_sets if s.role is SetRole.ORPHAN)
    assert orphan.series_instance_uid not in {s.series_instance_uid for s in truth.series}
    assert orphan.study_instance_uid not in {s.study_instance_uid for s in truth.series}


def test_cyrillic_and_kazakh_patients_read_back(made: Path, truth: ArchiveTruth) -> None:
    names = {str(in_file(made, s).PatientName) for s in truth.structure_sets}
    assert names == {plan.patient_name for plan in PATIENTS}


def _mask(made: Path, drawn: TrueSet, wanted: TrueRoi) -> np.ndarray:
    series = series_of(made, drawn)
    read: StructureSet = read_rtstruct(made / ARCHIVE_FOLDER / drawn.file, series)
    found = next(s for s in read.structures if s.name == wanted.roi_name)
    return found.full_mask(series.volume.geometry.shape_zyx)


def _contours(made: Path, drawn: TrueSet, roi_name: str) -> list[Dataset]:
    data_set = in_file(made, drawn)
    number = next(i.ROINumber for i in data_set.StructureSetROISequence if i.ROIName == roi_name)
    return list(next(i for i in data_set.ROIContourSequence if i.ReferencedROINumber == number).ContourSequence)


def _contour_heights(made: Path, drawn: TrueSet, roi_name: str) -> np.ndarray:
    return np.unique([float(contour.ContourData[2]) for contour in _contours(made, drawn, roi_name)])


def _pieces(mask: np.ndarray) -> int:
    return int(cc3d.connected_components(mask).max())
