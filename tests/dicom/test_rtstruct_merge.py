"""A new version of a structure set: what people drew stays, what was automatic may go, ours comes in."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from rtstruct_cases import anatomy, axial, series_on, with_structures

from contour.core.errors import InputRefused, NotReleased, Reason
from contour.core.planning_system import PlanningSystem
from contour.core.structures import StructureSet
from contour.dicom import rtstruct_merge
from contour.dicom.rtstruct_check import check_rtstruct, unfit_for
from contour.dicom.rtstruct_merge import Merged, merge_rtstruct
from contour.dicom.rtstruct_read import read_contours, read_rtstruct
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SERIES = series_on(axial())


def drawn(*names: str, shift: int = 0) -> StructureSet:
    """The anatomy's first structures under these names, moved along the columns."""
    known = [s for s in anatomy(axial()).structures if not s.empty]
    chosen = (replace(s, name=name) for s, name in zip(known, names, strict=False))
    moved = tuple(replace(s, mask_zyx=np.roll(s.mask_zyx, shift, axis=2)) for s in chosen)
    return with_structures(anatomy(axial()), *moved)


def file_of(structures: StructureSet, path: Path, generation: GenerationAlgorithm) -> Path:
    write_rtstruct(structures, SERIES, path, WriteOptions(generation=generation, now=NOW))
    return path


def theirs(tmp_path: Path, *names: str, change: object = None) -> Path:
    """A structure set that a person drew, with what other systems put into theirs."""
    path = file_of(drawn(*names), tmp_path / "theirs.dcm", GenerationAlgorithm.MANUAL)
    data_set = pydicom.dcmread(path)
    data_set.Manufacturer = "Another"
    data_set.StructureSetLabel = "PLAN 1"
    data_set.StructureSetDescription = "Before"
    data_set.add_new((0x3287, 0x0010), "LO", "ANOTHER SYSTEM")
    data_set.add_new((0x3287, 0x1000), "LO", "private")
    for item in data_set.StructureSetROISequence:
        item.ROINumber += 40
    for item in (*data_set.ROIContourSequence, *data_set.RTROIObservationsSequence):
        item.ReferencedROINumber += 40
    first = data_set.ROIContourSequence[0].ContourSequence[0]
    first.ContourData = [f"{float(v):.4f}0" for v in first.ContourData]  # other digits than ours, the same numbers
    if callable(change):
        change(data_set)
    data_set.save_as(path)
    return path


def merged(tmp_path: Path, existing: Path, *names: str) -> tuple[Merged, Dataset]:
    ours = file_of(drawn(*names, shift=1), tmp_path / "ours.dcm", GenerationAlgorithm.AUTOMATIC)
    done = merge_rtstruct(existing, ours, SERIES, tmp_path / "out.dcm", now=NOW)
    return done, pydicom.dcmread(done.path)


def masks(path: Path) -> dict[str, np.ndarray]:
    shape = SERIES.volume.geometry.shape_zyx
    return {s.name: s.full_mask(shape) for s in read_rtstruct(path, SERIES).structures}


def test_what_a_person_drew_stays_to_the_last_digit_and_ours_comes_behind(tmp_path: Path) -> None:
    existing = theirs(tmp_path, "Lung_L", "Heart")
    before, old = masks(existing), pydicom.dcmread(existing)
    done, new = merged(tmp_path, existing, "HEART", "Liver")
    assert (done.added, done.replaced, done.kept_out) == (("Liver",), (), ("HEART",))
    after = masks(done.path)
    assert list(after) == ["Lung_L", "Heart", "Liver"]
    for name, mask in before.items():
        assert np.array_equal(after[name], mask)
    for a, b in zip(old.ROIContourSequence, new.ROIContourSequence, strict=False):
        assert a.ReferencedROINumber == b.ReferencedROINumber
        for one, other in zip(a.ContourSequence, b.ContourSequence, strict=True):
            assert [str(v) for v in one.ContourData] == [str(v) for v in other.ContourData]
    assert [item.ROINumber for item in new.StructureSetROISequence] == [41, 42, 43]
    assert len({item.ObservationNumber for item in new.RTROIObservationsSequence}) == 3
    assert new[0x3287, 0x1000].value.strip() == b"private"
    assert [f.code for f in check_rtstruct(done.path, SERIES) if f.severity == "stop"] == []


def test_the_new_version_names_the_old_one_and_is_not_approved(tmp_path: Path) -> None:
    def approve(data_set: Dataset) -> None:
        data_set.ApprovalStatus = "APPROVED"
        data_set.ReviewerName, data_set.ReviewDate, data_set.ReviewTime = "A^B", "20260101", "101010"

    existing = theirs(tmp_path, "Lung_L", change=approve)
    done, new = merged(tmp_path, existing, "Heart")
    old = pydicom.dcmread(existing)
    (predecessor,) = new.PredecessorStructureSetSequence
    assert predecessor.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID == done.sop_instance_uid
    assert new.SOPInstanceUID != old.SOPInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert (new.ApprovalStatus, new.StructureSetLabel, new.Manufacturer) == ("UNAPPROVED", "PLAN 1", "Another")
    assert "ReviewerName" not in new
    assert "added: Heart" in new.StructureSetDescription
    assert new.StructureSetDescription.endswith("Before")
    assert new.StructureSetDate == "20260304"
    again, _ = merged(tmp_path, existing, "Heart")
    assert again.sop_instance_uid == done.sop_instance_uid


def test_only_what_is_automatic_and_not_approved_is_replaced(tmp_path: Path) -> None:
    def automatic(data_set: Dataset) -> None:
        data_set.StructureSetROISequence[1].ROIGenerationAlgorithm = "AUTOMATIC"

    def automatic_approved(data_set: Dataset) -> None:
        automatic(data_set)
        data_set.ApprovalStatus = "APPROVED"

    done, _ = merged(tmp_path, theirs(tmp_path, "Lung_L", "Heart", change=automatic), "Lung_L", "Heart")
    assert (done.added, done.replaced, done.kept_out) == ((), ("Heart",), ("Lung_L",))
    ours = masks(tmp_path / "ours.dcm")
    assert np.array_equal(masks(done.path)["Heart"], ours["Heart"])
    assert not np.array_equal(masks(done.path)["Lung_L"], ours["Lung_L"])
    with pytest.raises(InputRefused, match="has Lung_L, Heart already") as refused:
        merged(tmp_path, theirs(tmp_path, "Lung_L", "Heart", change=automatic_approved), "Lung_L", "Heart")
    assert refused.value.reason is Reason.NO_STRUCTURES


def test_explicit_files_and_other_scripts_come_together(tmp_path: Path) -> None:
    existing = theirs(tmp_path, "Lung_L")
    data_set = pydicom.dcmread(existing)
    data_set.StructureSetROISequence[0].ROIDescription = "Лёгкое"
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.save_as(existing, implicit_vr=False, little_endian=True)
    options = WriteOptions(local_names={"Heart": "Жүрек"}, now=NOW)
    write_rtstruct(drawn("Heart"), SERIES, tmp_path / "ours.dcm", options)
    done = merge_rtstruct(existing, tmp_path / "ours.dcm", SERIES, tmp_path / "out.dcm")
    first, second = read_contours(done.path).rois
    assert first.description == "Лёгкое"
    assert second.description.startswith("Жүрек.")
    assert masks(done.path).keys() == {"Lung_L", "Heart"}


def test_of_another_patient_or_encoding_nothing_is_merged(tmp_path: Path) -> None:
    def other(data_set: Dataset) -> None:
        data_set.PatientID = "someone else"

    with pytest.raises(InputRefused, match="another Patient ID"):
        merged(tmp_path, theirs(tmp_path, "Lung_L", change=other), "Heart")
    existing = theirs(tmp_path, "Lung_L")
    data_set = pydicom.dcmread(existing)
    data_set.file_meta.TransferSyntaxUID = RLELossless
    data_set.save_as(existing, implicit_vr=False, little_endian=True)
    with pytest.raises(InputRefused):
        merged(tmp_path, existing, "Heart")
    assert not (tmp_path / "out.dcm").exists()


def test_a_file_that_lost_a_digit_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rtstruct_merge._merged

    def losing(*arguments: object) -> Dataset:
        data_set = real(*arguments)  # type: ignore[arg-type]
        data = data_set.ROIContourSequence[0].ContourSequence[0].ContourData
        data[0] = float(data[0]) + 0.001
        return data_set

    monkeypatch.setattr(rtstruct_merge, "_merged", losing)
    with pytest.raises(NotReleased, match="Lung_L: its contours"):
        merged(tmp_path, theirs(tmp_path, "Lung_L"), "Heart")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.dcm", "theirs.dcm"]


def test_what_a_planning_system_does_not_take_is_named_after_merging(tmp_path: Path) -> None:
    def long_names(data_set: Dataset) -> None:
        data_set.StructureSetROISequence[0].ROIName = "Heart as drawn by A B"

    existing = theirs(tmp_path, "Heart", change=long_names)
    result, _ = merged(tmp_path, existing, "Lung_L")
    (finding,) = unfit_for(result.path, PlanningSystem())
    assert (finding.code, finding.structure) == ("roi-name-too-long", "Heart as drawn by A B")
    assert unfit_for(result.path, PlanningSystem(name="wide", title="Wide", name_length=64)) == ()
