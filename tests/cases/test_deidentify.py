import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from patients import IDENTITY
from pydicom import Dataset

from contour.cases import deidentify as module
from contour.cases.deidentify import Fate, deidentify
from contour.core.errors import StillIdentified
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct

SECRET = b"0" * 64
Contour = Callable[..., int]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A CT with a structure set, of somebody whose name stands in many places, and a report."""
    folder = tmp_path / "archive"
    phantoms.ct_series(folder / "ct")
    for file in (folder / "ct").iterdir():
        phantoms.edit(file, _with_more)
    series = read_series(folder / "ct")
    names = ("Heart", "Rest_Serik")
    structures = tuple(_ball(name, series.volume.geometry.shape_zyx, 3 + place) for place, name in enumerate(names))
    write_rtstruct(StructureSet("PLAN", series.volume.geometry, structures), series, folder / "rs.dcm", WriteOptions())
    report = pydicom.dcmread(next((folder / "ct").iterdir()))
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(folder / "report.dcm")
    (folder / "notes.txt").write_text("of Serik", encoding="utf-8")
    return folder


def _with_more(dataset: Dataset) -> None:
    dataset.InstitutionName, dataset.StationName = "Central Clinic", "LINAC-7"
    dataset.PatientComments = "father of Aliya Serik"
    dataset.PatientName, dataset.SpecificCharacterSet = "Serik^Aliya=Әлия^Серік", "ISO_IR 192"
    dataset.private_block(0x0011, "VENDOR", create=True).add_new(1, "LO", "Serik")
    request = Dataset()
    request.AccessionNumber, request.RequestedProcedureDescription = "ACC-4711", "plan for Serik"
    request.ScheduledProcedureStepStartDate = "20260105"
    dataset.RequestAttributesSequence = [request]
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.SourceImageSequence = [source]


def _ball(name: str, shape: tuple[int, int, int], radius: int) -> Structure:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    mask = (z - 3) ** 2 + (y - 10) ** 2 + (x - 10) ** 2 <= radius**2
    return Structure(name, (255, 0, 0), InterpretedType.ORGAN, mask, (0, 0, 0))


def test_nobody_is_told_and_everything_still_belongs_together(study: Path, tmp_path: Path) -> None:
    done = deidentify(study, tmp_path / "out", SECRET)
    assert sorted({one.fate for one in done.files}) == [Fate.NOT_DICOM, Fate.OTHER_OBJECT, Fate.WRITTEN]
    assert done.unknown_names == {"Rest_Serik": 1}
    (patient,) = (tmp_path / "out").iterdir()
    content = b"".join(file.read_bytes() for file in patient.rglob("*.dcm"))
    for told in ("Serik", "Aliya", "Серік", "Central", "LINAC", "4711", "P-1", IDENTITY.study_instance_uid):
        assert told.encode() not in content
    (ct,), (rs,) = patient.glob("CT_*"), patient.glob("RTSTRUCT_*/*.dcm")
    before, after = read_series(study / "ct"), read_series(ct)
    np.testing.assert_array_equal(after.volume.voxels_zyx, before.volume.voxels_zyx)
    assert after.volume.geometry.origin_lps_mm == before.volume.geometry.origin_lps_mm
    ours, theirs = read_rtstruct(rs, after), read_rtstruct(study / "rs.dcm", before)
    assert [one.name for one in ours.structures] == ["Heart", "Unnamed_02"]
    for one, other in zip(ours.structures, theirs.structures, strict=True):
        np.testing.assert_array_equal(one.mask_zyx, other.mask_zyx)


def test_what_was_done_is_stated_and_dates_move_by_whole_weeks(study: Path, tmp_path: Path) -> None:
    done = deidentify(study, tmp_path / "out", SECRET)
    dataset = pydicom.dcmread(next((tmp_path / "out").rglob("CT_*/*.dcm")))
    assert dataset.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107"]
    assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    moved = (pydicom.valuerep.DA(dataset.StudyDate) - pydicom.valuerep.DA(IDENTITY.study_date)).days
    assert moved == done.links[0].days
    assert moved % 7 == 0
    assert moved <= -364
    assert dataset.PatientBirthDate == ""
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID


def test_one_key_gives_the_same_names_and_another_others(study: Path, tmp_path: Path) -> None:
    exports = [
        deidentify(study, tmp_path / name, key) for name, key in (("a", SECRET), ("b", SECRET), ("c", b"1" * 64))
    ]
    written = [{one.written for one in export.files} for export in exports]
    assert written[0] == written[1]
    assert written[0].isdisjoint(written[2] - {None})


def test_a_file_that_still_tells_ends_the_export(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = module._profile()
    monkeypatch.setattr(module, "_profile", lambda: lambda e: "keep" if e.keyword == "PatientComments" else profile(e))
    with pytest.raises(StillIdentified, match="PatientComments still holds"):
        deidentify(study, tmp_path / "out", SECRET)
    assert not (tmp_path / "out").exists()


def test_the_command_keeps_who_is_who_apart(
    study: Path, tmp_path: Path, contour: Contour, capsys: pytest.CaptureFixture[str]
) -> None:
    linkage, key = tmp_path / "who.csv", tmp_path / "key"
    options = ["-o", tmp_path / "out", "--key", key, "--linkage", linkage, "--json"]
    assert contour("data", "deidentify", study, *options) == 0
    shown = capsys.readouterr().out
    assert "Serik" not in shown
    assert len(json.loads(shown)["patients"]) == 1
    assert stat.S_IMODE(linkage.stat().st_mode) == stat.S_IMODE(key.stat().st_mode) == 0o600
    rows = list(csv.reader(linkage.read_text(encoding="utf-8").splitlines()))
    assert rows[1][:2] == [json.loads(shown)["patients"][0], IDENTITY.patient_id]
    assert contour("data", "deidentify", study, "-o", tmp_path / "out", "--key", key) == 2
    assert "holds something already" in capsys.readouterr().err


@pytest.mark.data
def test_real_studies_keep_their_contours(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "archive" / "LUNG1-002"
    deidentify(source, tmp_path / "out", SECRET)
    (ct,), (rs,) = (tmp_path / "out").glob("*/CT_*"), (tmp_path / "out").glob("*/RTSTRUCT_*/*.dcm")
    series = read_series(ct)
    original = next(
        path for path in source.iterdir() if pydicom.dcmread(path, stop_before_pixels=True).Modality == "RTSTRUCT"
    )
    ours, theirs = read_rtstruct(rs, series), read_rtstruct(original, read_series(source))
    assert len(ours.structures) == len(theirs.structures) > 3
    for one, other in zip(ours.structures, theirs.structures, strict=True):
        np.testing.assert_array_equal(one.mask_zyx, other.mask_zyx)
