import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from contour.core.errors import ConfigError
from contour.dicom.rtstruct_parse import read_contours
from contour.services.monitor.charts import (
    BASELINE_CASES,
    TOGETHER,
    chart,
    charts,
    haste,
    path_saved_part,
    version_changes,
    worth_training_on,
)
from contour.services.monitor.edits import Became, StructureEdit, edits
from contour.services.monitor.records import Records, ReturnedSet
from contour.services.monitor.report import Monitoring, write_monitor
from contour.services.monitor.run import take_in

Contour = Callable[..., int]


@pytest.fixture(scope="module")
def delivered(
    thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from contour.cli.main import build_app  # noqa: PLC0415 - of this fixture alone

    folder = tmp_path_factory.mktemp("delivered") / "run"
    options = ["-p", tiny_protocol_file, "--models", tiny_models, "-o", folder, "--threads", "1", "--json"]
    build_app()(["run", str(thorax_series), *map(str, options)], standalone_mode=False)
    return folder


def approved(delivered: Path, file: Path, *, shift_mm: float = 0.0, drop: str = "", status: str = "APPROVED") -> Path:
    """What a person sends back: the upper half of each structure shifted, one ROI without contours."""
    dataset = pydicom.dcmread(delivered / "rtstruct.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.ApprovalStatus = status
    dataset.ReviewDate, dataset.ReviewTime = dataset.StructureSetDate, "235959"
    names = {roi.ROINumber: roi.ROIName for roi in dataset.StructureSetROISequence}
    kept = []
    for item in dataset.ROIContourSequence:
        if names[item.ReferencedROINumber] == drop:
            continue
        contours = item.ContourSequence
        for contour in contours[len(contours) // 2 :]:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            points[:, 0] += shift_mm
            contour.ContourData = [f"{value:.3f}" for value in points.ravel()]
        kept.append(item)
    dataset.ROIContourSequence = kept
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file)
    return file


def test_edits_are_what_a_person_did(delivered: Path, tmp_path: Path) -> None:
    ours = read_contours(delivered / "rtstruct.dcm")
    untouched = edits(ours, read_contours(approved(delivered, tmp_path / "a.dcm")), 3.0)
    assert {line.became for line in untouched} == {Became.UNEDITED}
    assert all(line.surface_dice == 1 and line.edited_part == 0 for line in untouched)
    shifted = edits(ours, read_contours(approved(delivered, tmp_path / "b.dcm", shift_mm=12.0)), 3.0)
    for line in shifted:
        assert line.became is Became.EDITED
        assert 0 < line.edited_slices < line.slices
        assert 0.1 < line.edited_part < 0.5
    nudged = edits(ours, read_contours(approved(delivered, tmp_path / "c.dcm", shift_mm=0.4)), 3.0)
    assert {line.became for line in nudged} == {Became.UNEDITED}
    name = ours.rois[0].name
    removed = edits(ours, read_contours(approved(delivered, tmp_path / "d.dcm", drop=name)), 3.0)
    assert [(line.became, line.edited_part) for line in removed if line.structure == name] == [(Became.REMOVED, 1.0)]
    added = edits(read_contours(tmp_path / "d.dcm"), ours, 3.0)
    assert [line.became for line in added if line.structure == name] == [Became.ADDED]


def test_approved_sets_are_measured_once_and_others_left_out(
    delivered: Path, tmp_path: Path, contour: Contour, capsys: pytest.CaptureFixture[str], thorax_series: Path
) -> None:
    back, out = tmp_path / "back", tmp_path / "out"
    approved(delivered, back / "one.dcm", shift_mm=12.0)
    approved(delivered, back / "draft.dcm", status="UNAPPROVED")
    (back / "notes.txt").write_text("no DICOM", encoding="utf-8")
    arguments = ["monitor", back, "--delivered", delivered.parent, "-o", out]
    assert contour(*arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sets"], found["left_out"]) == (1, 1)
    before = (out / "returned.jsonl").read_bytes()
    assert contour(*arguments, "--collect", tmp_path / "next", "--images", thorax_series) == 0
    assert (out / "returned.jsonl").read_bytes() == before
    assert "Approval Status is UNAPPROVED" in " ".join(capsys.readouterr().err.split())
    assert len(list((tmp_path / "next" / "case-0000").iterdir())) == 1 + len(list(thorax_series.iterdir()))
    assert "Serik" not in before.decode()
    assert contour("monitor", back, "--delivered", back, "-o", out) == 2
    (out / "returned.jsonl").write_bytes(before.replace(b"tiny", b"tony"))
    with pytest.raises(ConfigError, match="the trail as it was written"):
        Records(out / "returned.jsonl")


@pytest.mark.parametrize(
    ("hours", "stated", "seconds"),
    [
        (0, "HHMMSS", 0.0),
        (2, "HHMM", 7200.0),
        (2, "HH", 7200.0),
        (2, "HHMMSS.5", 7200.0),
        (-2, "HHMM", None),
        (2, "", None),
    ],
)
def test_haste_is_known_where_a_review_is_stated(
    delivered: Path, tmp_path: Path, hours: int, stated: str, seconds: float | None
) -> None:
    run, folder = tmp_path / "run", tmp_path / "returned"
    shutil.copytree(delivered, run)
    folder.mkdir()
    dataset = pydicom.dcmread(run / "rtstruct.dcm")
    dataset.StructureSetDate, dataset.StructureSetTime = "20260302", "100000"
    dataset.save_as(run / "rtstruct.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.ApprovalStatus, dataset.ReviewDate = "APPROVED", "20260302"
    time = f"{10 + hours:02d}0000.5"
    dataset.ReviewTime = time[: len(stated)]
    dataset.save_as(folder / "back.dcm")
    records = Records(tmp_path / "records.jsonl")
    take_in(folder, run, records, 3.0, any_status=False, progress=lambda _, __: None)
    (found,) = records.returned()
    assert found.seconds == seconds
    assert found.unedited


def returned(number: int, part: float, package: str = "p 1", seconds: float | None = None) -> ReturnedSet:
    became = Became.EDITED if part else Became.UNEDITED
    lines = tuple(StructureEdit(name, became, 1 - part, 100 * part, 100.0, part, 10, 5) for name in ("Heart", "Liver"))
    return ReturnedSet(
        f"a{number}", f"d{number}", f"s{number}", package, "thorax", f"2026{number:010d}", seconds, lines
    )


def year(drift: float) -> list[ReturnedSet]:
    rng = np.random.default_rng(4)
    parts = 0.08 * np.exp(0.7 * rng.standard_normal(200))
    parts[120:] *= drift
    return [returned(i, min(1.0, float(part))) for i, part in enumerate(parts)]


def test_a_planted_drift_raises_the_flag_and_a_quiet_year_none() -> None:
    quiet, drifting = charts(year(1.0)), charts(year(2.0))
    assert [one.structure for one in quiet] == [TOGETHER, "Heart", "Liver"]
    assert [one.flagged for one in quiet] == [None, None, None]
    assert all(one.flagged is not None and 120 < one.flagged < 180 for one in drifting)
    assert chart("Heart", [0.1] * BASELINE_CASES, [""] * BASELINE_CASES).limit is None


def test_a_worse_version_and_haste_are_flagged() -> None:
    rng = np.random.default_rng(5)
    first = [returned(i, float(p), "p 1") for i, p in enumerate(rng.uniform(0.05, 0.15, 30))]
    second = [returned(50 + i, float(p), "p 2") for i, p in enumerate(rng.uniform(0.15, 0.25, 30))]
    changes = version_changes([*first, *second])
    assert [(one.structure, one.worse) for one in changes] == [("Heart", True), ("Liver", True)]
    assert not any(one.worse for one in version_changes([*second, *(replace(one, package="p 3") for one in first)]))
    hasty = haste([returned(i, 0.0, seconds=3.0) for i in range(12)])
    assert (hasty.unedited, hasty.hasty, hasty.flagged) == (12, 12, True)
    assert not haste([returned(i, 0.0, seconds=300.0) for i in range(12)]).flagged


def test_the_page_says_what_to_look_into(tmp_path: Path) -> None:
    sets = tuple(year(2.0))
    found = Monitoring.of(sets, 5)
    assert path_saved_part(sets) == pytest.approx(
        1 - np.mean([one.structures[0].edited_part for one in sets]), abs=1e-6
    )
    assert [one.series_uid for one in found.for_training] == [one.series_uid for one in worth_training_on(sets, 5)]
    assert max(one.structures[0].edited_part for one in sets) == found.for_training[0].structures[0].edited_part
    page = write_monitor(found, tmp_path).read_text(encoding="utf-8")
    assert "more has to be edited than in the first" in page
    assert page.count("data:image/png") == 1
