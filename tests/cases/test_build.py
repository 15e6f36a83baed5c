"""Small archives built into cases: what is drawn, what is left out and why, and what stands is not built again."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from small_archives import add_series

from contour.cases.archive_index import IndexOptions, index_archive
from contour.cases.assemble import CaseOptions, CaseToBuild
from contour.cases.build import REPORT_FILE, BuildOptions, BuildReport, build_cases, load_findings
from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE
from contour.cases.made_patients import Defect
from contour.cases.made_truth import load_truth
from contour.cases.names import NameEntry, NameMap, save_name_map
from contour.cases.overrides import Override, Overrides
from contour.cases.store import Status, case_folders, load_case, load_record
from contour.core.errors import ConfigError
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries

NAMES = {
    "serdce": "Heart",
    "heart_2": "Heart",
    "lung_l": "Lung_L",
    "lung_r": "Lung_R",
    "cord": "SpinalCord",
    "couch": None,
}
Boxes = dict[str, tuple[slice, slice, slice]]
HEART = (slice(1, 5), slice(4, 12), slice(4, 12))
LEFT = (slice(0, 6), slice(3, 10), slice(10, 14))
RIGHT = (slice(0, 6), slice(3, 10), slice(2, 6))


def draw(
    series: ImageSeries, path: Path, boxes: Boxes, edit: Callable[[pydicom.Dataset], object] | None = None
) -> None:
    """A structure set with a box for each ROI name, then changed by `edit`."""
    structures = []
    for name, box in boxes.items():
        mask: Mask = np.zeros(series.volume.geometry.shape_zyx, dtype=np.bool_)
        mask[box] = True
        structures.append(Structure(name, (255, 0, 0), InterpretedType.ORGAN, *cropped_to_content(mask)))
    drawn = StructureSet("test", series.volume.geometry, tuple(structures))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rtstruct(drawn, series, path, WriteOptions(now=datetime(2026, 1, 2, 10, 11, 12)))
    if edit is not None:
        phantoms.edit(path, edit)


def name_map(path: Path, names: dict[str, str | None]) -> Path:
    entries = tuple(NameEntry(roi, name, ignore=name is None) for roi, name in names.items())
    save_name_map(NameMap(entries), path)
    return path


class Place:
    """A folder with an archive, its index, a map of names, and the cases built from them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.archive, self.cases = folder, folder / "archive", folder / "cases"
        self.names = name_map(folder / "names.yaml", NAMES)

    def build(self, options: CaseOptions | None = None, workers: int = 1) -> BuildReport:
        index = self.folder / "index.sqlite"
        index_archive(self.archive, index, IndexOptions(workers=1))
        return build_cases(index, self.names, self.cases, BuildOptions(options or CaseOptions(), workers))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """One patient: a heart, lungs, a cord drawn in part and a couch, over six slices."""
    place = Place(tmp_path)
    series = add_series(place.archive / "P-1" / "ct")
    boxes = {"serdce": HEART, "lung_l": LEFT, "lung_r": RIGHT, "cord": (slice(2, 6), slice(8, 10), slice(6, 8))}
    draw(series, place.archive / "P-1" / "rs.dcm", boxes | {"couch": (slice(0, 6), slice(13, 14), slice(0, 14))})
    return place


def test_a_case_holds_what_was_drawn(place: Place) -> None:
    report = place.build()
    (folder,) = case_folders(place.cases)
    case = load_case(folder)
    series = read_series(place.archive / "P-1" / "ct")
    assert np.array_equal(case.volume.voxels_zyx, series.volume.voxels_zyx)
    assert case.volume.geometry == series.volume.geometry
    assert {s.name: (s.status, s.drawn_slices, s.roi_names) for s in case.record.structures} == {
        "Heart": (Status.DRAWN, None, ("serdce",)),
        "Lung_L": (Status.DRAWN, None, ("lung_l",)),
        "Lung_R": (Status.DRAWN, None, ("lung_r",)),
        "SpinalCord": (Status.PARTIAL, (2, 5), ("cord",)),
    }
    heart = next(s for s in case.structures.structures if s.name == "Heart")
    expected = np.zeros(case.volume.geometry.shape_zyx, dtype=bool)
    expected[HEART] = True
    assert np.array_equal(heart.full_mask(expected.shape), expected)
    assert "P-1" not in (folder / "case.yaml").read_text(encoding="utf-8")
    assert [case.name for case in report.cases] == [folder.name]
    assert report.set_aside == ()
    assert json.loads((place.cases / REPORT_FILE).read_text(encoding="utf-8"))["cases"][0]["name"] == folder.name


def test_what_stands_is_not_built_again(place: Place) -> None:
    assert [case.built_now for case in place.build().cases] == [True]
    again = place.build()
    assert [case.built_now for case in again.cases] == [False]
    assert place.build(CaseOptions(structures=("Heart",))).cases[0].built_now
    (folder,) = case_folders(place.cases)
    assert load_record(folder).drawn_names == ("Heart",)
    name_map(place.names, NAMES | {"lung_l": None})
    assert place.build().cases[0].built_now
    assert load_record(folder).structure("Lung_L").status is Status.NOT_DRAWN


def test_a_killed_build_leaves_no_half_case(place: Place) -> None:
    place.build()
    (folder,) = case_folders(place.cases)
    (place.cases / ".case-abc.part").mkdir()
    (folder / "findings.yaml").unlink()  # killed between the case and its findings
    assert [case.built_now for case in place.build().cases] == [True]
    assert sorted(path.name for path in place.cases.iterdir()) == sorted([folder.name, REPORT_FILE])


def test_a_newer_set_replaces_the_case(place: Place) -> None:
    first = place.build().cases[0]
    series = read_series(place.archive / "P-1" / "ct")
    later = {"StructureSetDate": "20260505"}
    draw(
        series,
        place.archive / "P-1" / "rs2.dcm",
        {"serdce": HEART},
        lambda ds: [phantoms.put(ds, k, v) for k, v in later.items()],
    )
    second = place.build().cases[0]
    assert second.name == first.name
    assert second.built_now
    assert load_record(place.cases / second.name).drawn_names == ("Heart",)


def test_a_pair_that_cannot_be_trusted_costs_only_itself(place: Place) -> None:
    other = add_series(place.archive / "P-2" / "ct", "P-2")
    draw(other, place.archive / "P-2" / "rs.dcm", {"couch": LEFT})
    report = place.build()
    assert len(report.cases) == 1
    assert [(item.code, item.why) for item in report.set_aside] == [
        ("no-structures", "no contour under a name that is wanted; allowed: one structure or more")
    ]


def test_a_case_that_is_refused_now_goes_and_one_whose_files_are_away_stays(place: Place) -> None:
    place.build()
    (folder,) = case_folders(place.cases)
    index, archive = place.folder / "index.sqlite", place.archive
    away = archive.rename(place.folder / "away")
    report = build_cases(index, place.names, place.cases, BuildOptions(workers=1))
    assert [item.code for item in report.set_aside] == ["file"]
    assert str(away) not in report.set_aside[0].why
    assert report.of_other_runs == (folder.name,)
    away.rename(archive)
    name_map(place.names, dict.fromkeys(NAMES))
    report = place.build()
    assert report.removed == (folder.name,)
    assert not folder.exists()


def between_planes(ds: pydicom.Dataset) -> None:
    for item in ds.ROIContourSequence[0].ContourSequence:
        numbers = [float(v) for v in item.ContourData]
        item.ContourData = [v + (0.5 if i % 3 == 2 else 0.0) for i, v in enumerate(numbers)]


def dangling(ds: pydicom.Dataset) -> None:
    for item in ds.ROIContourSequence[0].ContourSequence:
        item.ContourImageSequence[0].ReferencedSOPInstanceUID = "2.25.404"


def test_contours_between_planes_are_left_out(place: Place) -> None:
    series = read_series(place.archive / "P-1" / "ct")
    draw(series, place.archive / "P-1" / "rs.dcm", {"serdce": HEART, "lung_l": LEFT}, between_planes)
    (case,) = place.build().cases
    assert [(item.name, item.roi_names, item.code) for item in case.found.left_out] == [
        ("Heart", ("serdce",), "contour-off-slice")
    ]
    record = load_record(place.cases / case.name)
    assert record.structure("Heart").status is Status.NOT_DRAWN
    assert record.drawn_names == ("Lung_L",)


def test_references_may_dangle_where_positions_prove_the_slices(place: Place) -> None:
    series = read_series(place.archive / "P-1" / "ct")
    draw(series, place.archive / "P-1" / "rs.dcm", {"serdce": HEART, "lung_l": LEFT}, dangling)
    (case,) = place.build().cases
    assert case.found.left_out == ()
    assert "dangling-reference" in {finding.code for finding in load_findings(place.cases / case.name).findings}
    assert "Heart" in load_record(place.cases / case.name).drawn_names


def test_two_rois_of_one_name_are_left_out_unless_joined(place: Place) -> None:
    series = read_series(place.archive / "P-1" / "ct")
    second = (slice(0, 5), slice(4, 12), slice(9, 14))
    boxes = {"serdce": HEART, "heart_2": second, "lung_l": LEFT}
    draw(series, place.archive / "P-1" / "rs.dcm", boxes)
    (case,) = place.build().cases
    assert [(item.code, item.roi_names) for item in case.found.left_out] == [("ambiguous", ("serdce", "heart_2"))]
    (case,) = place.build(CaseOptions(join=("Heart",))).cases
    assert case.found.left_out == ()
    built = load_case(place.cases / case.name, ("Heart",))
    union = np.zeros(series.volume.geometry.shape_zyx, dtype=bool)
    union[HEART] = union[second] = True
    assert np.array_equal(built.structures.structures[0].full_mask(union.shape), union)
    assert built.record.structure("Heart").roi_names == ("serdce", "heart_2")
    draw(series, place.archive / "P-1" / "rs.dcm", boxes | {"heart_2": HEART})
    (case,) = place.build().cases
    assert case.found.left_out == ()  # the same twice is no question


def test_a_roi_without_contours_is_not_drawn(place: Place) -> None:
    series = read_series(place.archive / "P-1" / "ct")

    def emptied(ds: pydicom.Dataset) -> None:
        del ds.ROIContourSequence[0].ContourSequence

    draw(series, place.archive / "P-1" / "rs.dcm", {"serdce": HEART, "heart_2": HEART, "lung_l": LEFT}, emptied)
    (case,) = place.build().cases
    assert [(item.code, item.roi_names) for item in case.found.left_out] == [("no-contours", ("serdce",))]
    assert load_record(place.cases / case.name).structure("Heart").roi_names == ("heart_2",)


def test_a_person_may_state_what_no_rule_can_know(place: Place) -> None:
    name = place.build().cases[0].name
    stated = Overrides(
        (
            Override(name, "Heart", Status.PARTIAL, (1, 3), reason="base cut off"),
            Override(name, "Lung_L", name="Lung_R"),
            Override(name, "Lung_R", name="Lung_L"),
            Override("*", "SpinalCord", Status.DRAWN),
            Override(name, "Trachea", Status.NOT_DRAWN),
        )
    )
    (case,) = place.build(CaseOptions(overrides=stated)).cases
    built = load_case(place.cases / name)
    assert built.record.structure("Heart").drawn_slices == (1, 3)
    assert built.record.structure("Lung_L").roi_names == ("lung_r",)
    right = np.zeros(built.volume.geometry.shape_zyx, dtype=bool)
    right[RIGHT] = True
    left = next(s for s in built.structures.structures if s.name == "Lung_L")
    assert np.array_equal(left.full_mask(right.shape), right)
    assert built.record.structure("SpinalCord").status is Status.DRAWN
    codes = [finding.code for finding in case.found.findings]
    assert codes.count("stated") == 2
    assert codes.count("override-unused") == 1


def test_overrides_and_names_that_fit_nothing_are_refused(place: Place) -> None:
    elsewhere = Overrides((Override("abc", "Heart", Status.NOT_DRAWN),))
    with pytest.raises(ConfigError, match="case abc"):
        place.build(CaseOptions(overrides=elsewhere))
    with pytest.raises(ConfigError, match="no ROI is mapped to Liver"):
        place.build(CaseOptions(structures=("Liver",)))
    name = place.build().cases[0].name
    beyond = Overrides((Override(name, "Heart", Status.PARTIAL, (1, 6)),))
    report = place.build(CaseOptions(overrides=beyond))
    assert [(item.code, item.name) for item in report.set_aside] == [("configuration", name)]


def test_names_that_the_map_lacks_are_listed(place: Place) -> None:
    name_map(place.names, {"serdce": "Heart"})
    (case,) = place.build().cases
    assert case.found.unknown_names == ("cord", "couch", "lung_l", "lung_r")


def test_several_processes_build_the_same(place: Place) -> None:
    for i in (2, 3, 4):
        series = add_series(place.archive / f"P-{i}" / "ct", f"P-{i}")
        draw(series, place.archive / f"P-{i}" / "rs.dcm", {"serdce": HEART})
    alone = place.build()
    hashes = {f.name: load_record(f).content_sha256 for f in case_folders(place.cases)}
    place.cases = place.folder / "again"
    together = place.build(workers=2)
    assert {f.name: load_record(f).content_sha256 for f in case_folders(place.cases)} == hashes
    assert together == replace(alone, cases=together.cases)
    assert [replace(c, found=replace(c.found, inputs_sha256="")) for c in together.cases] == [
        replace(c, found=replace(c.found, inputs_sha256="")) for c in alone.cases
    ]


class Killing:
    """A pool whose process is killed by the system whenever it builds the victim."""

    def __init__(self, victim: str) -> None:
        self.victim = victim

    def submit(self, build: Callable[[CaseToBuild, Path], object], case: CaseToBuild, cases: Path) -> Future[object]:
        future: Future[object] = Future()
        if case.name == self.victim:
            future.set_exception(BrokenProcessPool("killed"))
        else:
            future.set_result(build(case, cases))
        return future

    def shutdown(self, *, cancel_futures: bool) -> None:
        assert cancel_futures


def test_a_killed_process_costs_its_pair_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (2, 3, 4, 5):
        series = add_series(place.archive / f"P-{i}" / "ct", f"P-{i}")
        draw(series, place.archive / f"P-{i}" / "rs.dcm", {"serdce": HEART})
    names = [case.name for case in place.build().cases]
    place.cases = place.folder / "again"
    monkeypatch.setattr("contour.cases.build._pool", lambda _: Killing(names[2]))
    report = place.build(workers=2)
    assert [case.name for case in report.cases] == names[:2] + names[3:]
    assert [(item.name, item.code) for item in report.set_aside] == [(names[2], "process-ended")]


@pytest.mark.slow
def test_the_made_archive_is_built_as_its_truth_says(made: Path, tmp_path: Path) -> None:
    truth = load_truth(made / TRUTH_FILE)
    rois = {roi.roi_name: roi for drawn in truth.structure_sets for roi in drawn.rois}
    names = name_map(tmp_path / "names.yaml", {n: None if roi.ignore else roi.name for n, roi in rois.items()})
    index_archive(made / ARCHIVE_FOLDER, tmp_path / "index.sqlite", IndexOptions(workers=1))
    report = build_cases(tmp_path / "index.sqlite", names, tmp_path / "cases", BuildOptions(workers=1))
    assert report.set_aside == ()
    records = {load_record(f).source.structure_set_uid: load_record(f) for f in case_folders(tmp_path / "cases")}
    assert set(records) == {drawn.structure_set_uid for drawn in truth.sets_in_use}
    differing = []
    for drawn in truth.sets_in_use:
        for roi in drawn.rois:
            if roi.name is None:
                continue
            built = records[drawn.structure_set_uid].structure(roi.name)
            if (built.status, built.drawn_slices) != (roi.status, roi.drawn_slices):
                differing.append((roi.defect, built.status))
            elif roi.defect is not Defect.NO_CONTOURS:
                assert built.volume_ml == pytest.approx(roi.volume_ml, rel=0.02)
    # What was spoilt on purpose in a way that concerns the extent, and nothing else.
    assert sorted(differing, key=str) == sorted(
        [
            (Defect.GAP, Status.PARTIAL),
            (Defect.OFF_PLANE, Status.NOT_DRAWN),
            (Defect.SAME_AS_ANOTHER, Status.PARTIAL),  # an "oesophagus" as long as the trachea
        ],
        key=str,
    )


@pytest.mark.data
@pytest.mark.slow
def test_the_real_archive(shared_data: Path, tmp_path: Path) -> None:
    names = {"Lung L": "Lung_L", "Spinal cord": "SpinalCord", "Heart": "Heart", "Esophagus": "Esophagus"}
    index_archive(shared_data / "archive", tmp_path / "index.sqlite", IndexOptions(workers=1))
    report = build_cases(
        tmp_path / "index.sqlite", name_map(tmp_path / "names.yaml", names), tmp_path / "cases", BuildOptions(workers=1)
    )
    cases = {len(load_record(tmp_path / "cases" / c.name).structures): c for c in report.cases}
    first, second = (load_record(tmp_path / "cases" / cases[n].name) for n in (2, 4))
    assert (first.structure("SpinalCord").status, first.structure("SpinalCord").drawn_slices) == (
        Status.PARTIAL,
        (27, 110),  # 84 of 134 slices
    )
    # Only a crumb of the left lung was drawn on slice 43.
    assert first.structure("Lung_L").drawn_slices == (44, 133)
    assert second.structure("SpinalCord").status is Status.DRAWN
    assert second.structure("Heart").status is Status.DRAWN
    assert second.structure("Esophagus").drawn_slices == (0, 103)  # on through the neck, undrawn
    # 62 of its contours are others, written again: even-odd alone makes it 1817 ml.
    assert second.structure("Lung_L").volume_ml == pytest.approx(1965.4, abs=0.1)
