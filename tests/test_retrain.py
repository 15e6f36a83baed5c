"""From a messy archive to a promoted package by the command line: what the page shows, and every ROI of the truth."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shown import PAGES, blocks

from contour.cases.aliases import How
from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE
from contour.cases.made_patients import Defect, Spelling
from contour.cases.made_truth import ArchiveTruth, Oddity, SetRole, TrueRoi, load_truth
from contour.cases.names import NameEntry, load_name_map, save_name_map
from contour.cases.store import CaseRecord, Status, case_folders, load_record
from contour.config import load_config, save_config

Contour = Callable[..., int]
Capture = pytest.CaptureFixture[str]

# By which finding of the audit each mistake shows; those of contours show when the case is built.
SHOWN_BY = {
    Defect.SWAPPED_SIDES: {"wrong-side"},
    Defect.GAP: {"gaps"},
    Defect.ISLAND: {"islands"},
    Defect.WRONG_ORGAN: {"anatomy", "place-unusual", "hu-unusual"},
    Defect.SAME_AS_ANOTHER: {"same-mask"},
    Defect.TOO_LARGE: {"volume-unusual"},
    Defect.DANGLING_REFERENCES: {"dangling-reference"},
    Defect.OFF_PLANE: {"contour-off-slice"},
    Defect.NO_CONTOURS: {"no-contours"},
}
ASIDE = {
    Oddity.PLAN: "other-object",
    Oddity.DOSE: "other-object",
    Oddity.LOCALIZER: "localizer",
    Oddity.SAME_BYTES: "copy",
    Oddity.TRUNCATED: "truncated-file",
    Oddity.NOT_DICOM: "not-dicom",
}
SAME_BODY = ("Body", "External")
PROTOCOL = """\
name: mine
title: What our network draws
modality: CT
packages: [site_ct]
structures: [{name: Lung_L}, {name: Lung_R}, {name: Heart, required: false}]
"""


@pytest.fixture
def say(contour: Contour, capsys: Capture) -> Callable[..., Any]:
    """Run a command with --json; what it printed."""

    def call(*arguments: object) -> Any:
        capsys.readouterr()
        assert contour(*arguments, "--json") == 0, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    return call


@pytest.mark.slow
def test_every_roi_of_the_archive_becomes_what_it_is(
    made: Path, tmp_path: Path, say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    truth = load_truth(made / TRUTH_FILE)

    indexed = say("data", "index", made / ARCHIVE_FOLDER, "--output", "index.sqlite")
    pairs = {(p["series_instance_uid"], Path(p["structure_set_file"])) for p in indexed["pair_list"]}
    assert pairs == {(s.series_instance_uid, made / ARCHIVE_FOLDER / s.file) for s in truth.sets_in_use}
    counts = {count["reason"]: count["count"] for count in indexed["set_aside"] if count["reason"] != "other-object"}
    for reason in set(ASIDE.values()) - {"other-object"}:
        assert counts[reason] == sum(ASIDE.get(odd.why) == reason for odd in truth.odd_files), reason
    for reason, role in (("orphan", SetRole.ORPHAN), ("superseded", SetRole.SUPERSEDED)):
        assert counts[reason] == sum(s.role is role for s in truth.structure_sets)
    assert counts["no-structure-set"] == counts["duplicate-instance"] == 1

    say("data", "names", "index.sqlite", "--output", "names.yaml")
    names = load_name_map(tmp_path / "names.yaml")
    rois = [roi for s in truth.sets_in_use for roi in s.rois]
    in_use = {roi.roi_name: roi for roi in sorted(rois, key=lambda roi: roi.defect is not None)}  # mistakes count
    assert {entry.roi_name for entry in names.entries} == set(in_use)
    for entry in names.entries:
        assert_named_rightly(entry, in_use[entry.roi_name])
    right = tuple(replace(e, name=in_use[e.roi_name].name, ignore=in_use[e.roi_name].ignore) for e in names.entries)
    save_name_map(replace(names, entries=right), tmp_path / "names.yaml")

    say("data", "build", "index.sqlite", "names.yaml", "--output", "cases")
    records = {record.source.series_instance_uid: record for record in map(load_record, case_folders(Path("cases")))}
    for drawn in truth.sets_in_use:
        for roi in drawn.rois:
            if roi.name is not None:
                assert_drawn_as_it_was(records[drawn.series_instance_uid], roi)
        named = {roi.name for roi in drawn.rois}
        assert set(records[drawn.series_instance_uid].drawn_names) <= named
        assert not set(records[drawn.series_instance_uid].drawn_names) & (set(drawn.not_drawn) - named)

    findings = say("data", "audit", "cases", "--output", "audit", "--pictures", "2")
    for drawn in truth.sets_in_use:
        case = records[drawn.series_instance_uid].name
        found = {one["finding"]["code"] for one in findings if one["case"] == case}
        for roi in drawn.rois:
            assert roi.defect is None or found & SHOWN_BY[roi.defect], (roi, found)
    sound = {records[s.series_instance_uid].name for s in truth.sets_in_use if not any(r.defect for r in s.rois)}
    stops = {one["case"] for one in findings if one["finding"]["severity"] == "stop"}
    assert not stops & sound

    split = say("data", "split", "cases", "--output", "split.yaml", "--held-out", "0.3", "--folds", "2")
    sides = [
        {load_record(Path("cases") / name).patient for name in part} for part in (split["held_out"], *split["folds"])
    ]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 10
    patients = {record.patient for record in records.values()}
    assert not any(s.patient_id in (tmp_path / "split.yaml").read_text() for s in truth.series)
    assert len(patients) == 10


@pytest.mark.slow
@pytest.mark.data
def test_two_clinical_cases_become_what_was_drawn_on_them(
    shared_data: Path, tmp_path: Path, say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    indexed = say("data", "index", shared_data / "archive", "--output", "index.sqlite")
    patients = {p["series_instance_uid"]: Path(p["structure_set_file"]).parent.name for p in indexed["pair_list"]}
    assert sorted(patients.values()) == ["LUNG1-001", "LUNG1-002"]
    assert sum(count["count"] for count in indexed["set_aside"]) == 4  # two plans, two doses

    names = say("data", "names", "index.sqlite", "--output", "names.yaml")
    assert {entry["roi_name"]: entry["name"] for entry in names if entry["name"]} == {
        "Patient": "Body",
        "Lung L": "Lung_L",
        "Lung R": "Lung_R",
        "Spinal cord": "SpinalCord",
        "Heart": "Heart",
        "Esophagus": "Esophagus",
        "GTV-1": "GTV1",
        "CTV-1": "CTV1",
        "PTV-1": "PTV1",
    }
    assert all(entry["ignore"] for entry in names if not entry["name"])

    say("data", "build", "index.sqlite", "names.yaml", "--output", "cases")
    found = {patients[r.source.series_instance_uid]: r for r in map(load_record, case_folders(Path("cases")))}
    first, second = found["LUNG1-001"], found["LUNG1-002"]
    drawn = {"Body", "Lung_L", "Lung_R", "SpinalCord", "GTV1", "CTV1", "PTV1"}
    assert set(first.drawn_names) == drawn
    assert set(second.drawn_names) == drawn | {"Heart", "Esophagus"}
    cord = first.structure("SpinalCord")
    assert (cord.status, cord.drawn_slices) == (Status.PARTIAL, (27, 110))  # the image has 134
    assert second.structure("SpinalCord").status is Status.DRAWN

    findings = say("data", "audit", "cases", "--output", "audit", "--pictures", "1")
    assert not [one for one in findings if one["finding"]["severity"] == "stop"]


def assert_named_rightly(entry: NameEntry, roi: TrueRoi) -> None:
    """What is used is right; a typing error or a wrong drawing waits for a person; what nobody knows stays open."""
    alike = entry.name == roi.name or (entry.name in SAME_BODY and roi.name in SAME_BODY)
    if entry.name is not None:
        assert alike, entry
        assert not entry.ignore
    elif roi.name is None:
        assert entry.proposal is None, entry
        assert entry.ignore == roi.ignore, entry
    elif roi.defect is None:
        assert roi.spelling is Spelling.TYPO, entry
        assert entry.proposal in (roi.name, None), entry


def assert_drawn_as_it_was(record: CaseRecord, roi: TrueRoi) -> None:
    """Status, slices and volume of a structure of the case are those of the ROI."""
    assert roi.name is not None
    entry = record.structure(roi.name)
    if roi.defect in (Defect.OFF_PLANE, Defect.NO_CONTOURS):
        assert entry.status is Status.NOT_DRAWN, entry
    elif roi.defect is Defect.GAP:
        assert entry.status is Status.PARTIAL
        assert entry.drawn_slices is not None
        assert roi.defect_slices is not None
        first, last = entry.drawn_slices
        assert last < roi.defect_slices[0] or first > roi.defect_slices[1]
    elif roi.defect is None:
        assert entry.status is roi.status, (entry, roi)
        assert entry.drawn_slices == roi.drawn_slices
        assert entry.volume_ml == pytest.approx(roi.volume_ml, rel=1e-3)


@pytest.mark.slow
def test_what_the_readme_shows_ends_with_a_promoted_package(
    contour: Contour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [
        shlex.split(line)
        for line in blocks(PAGES / "retraining.md", "sh")[0].replace("\\\n", "").splitlines()
        if line[:1].isalpha()
    ]
    assert [" ".join(c[1:3]) if c[1] == "data" else c[1] for c in shown] == [
        "data make",
        "data index",
        "data names",
        "data build",
        "data audit",
        "data build",
        "data split",
        "data plan",
        "train",
        "evaluate",
        "export",
        "promote",
        "promote",
        "promote",
    ]
    for command in shown:
        what = command[2] if command[1] == "data" else command[1]
        if what == "plan":
            monkeypatch.setattr("contour.training.propose.FILTERS", {"cpu": (8, 16, 32), "cuda": (8, 16, 32)})
            monkeypatch.setattr("contour.training.propose.LARGEST_PATCH", {"cpu": 32, "cuda": 32})
        if what == "promote" and "candidate/site_ct" in command:
            package_in_use(contour)
        capsys.readouterr()
        code = contour(*command[1:])
        said, error = capsys.readouterr()
        assert code == 0, f"{command}\n{said}\n{error[-2000:]}"
        if what == "names":
            decide_names(load_truth(Path("made") / TRUTH_FILE))
        if what == "plan":
            shorten(epochs=8)
        if what == "promote":
            assert {"--history": "kept", "--roll-back": "In use again"}.get(command[-1], "Promoted") in said
        if "Promoted" in said:
            draw_with_the_package_in_use(contour)
    for file in ("audit/report.html", "look/report.html", "candidate/site_ct/CARD.md", "run/log/pictures"):
        assert (tmp_path / file).exists(), file


def draw_with_the_package_in_use(contour: Contour) -> None:
    Path("mine.yaml").write_text(PROTOCOL, encoding="utf-8")
    folder = next(Path("made", ARCHIVE_FOLDER).glob("Smith*/*/CT"))
    assert contour("run", folder, "--protocol", "mine.yaml", "--models", "in-use", "--output", "plan") == 0
    assert Path("plan/rtstruct.dcm").is_file()


def decide_names(truth: ArchiveTruth) -> None:
    """What a person does after `contour data names`: typing errors, and names whose drawings the audit will mend."""
    names = load_name_map(Path("names.yaml"))
    sides = ("Left Lung", "Right lung")
    decided = (
        replace(e, name=truth.name_of(e.roi_name)) if e.how is How.FUZZY or e.roi_name in sides else e
        for e in names.entries
    )
    save_name_map(replace(names, entries=tuple(decided)), Path("names.yaml"))


def shorten(epochs: int) -> None:
    """A training of seconds: coarse voxels, few steps."""
    from contour.training.config import TrainingConfig, ValidationConfig  # noqa: PLC0415 - only here torch is needed

    config = load_config(Path("train.yaml"), TrainingConfig)
    coarse = replace(config.preprocessing, spacing_zyx_mm=(8.0, 8.0, 8.0))
    schedule = replace(config.schedule, epochs=epochs, epoch_steps=15, learning_rate=0.01, ema_decay=0.8)
    short = replace(
        config,
        preprocessing=coarse,
        patch_shape_zyx=(32, 32, 32),
        schedule=schedule,
        precision="32-true",
        validation=ValidationConfig(cases=1),
    )
    save_config(short, Path("train.yaml"))


def package_in_use(contour: Contour) -> None:
    """Last year's network: the same training after its first steps."""
    shorten(epochs=1)
    split = ("--split", "split.yaml", "--fold", "0", "--quiet")
    assert contour("train", "train.yaml", "cases", *split, "--output", "run-last-year") == 0
    assert contour("export", "run-last-year", "--output", "in-use") == 0
