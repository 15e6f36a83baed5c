import os
import shutil
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from contour.core.errors import InputRefused, Reason
from contour.core.report import Severity
from contour.dicom.read_series import find_series, read_series
from contour.dicom.series import ImageSeries
from contour.dicom.write_series import SeriesOptions, write_series

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def refusal(folder: Path, uid: str | None = None) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_series(folder, series_instance_uid=uid)
    return caught.value


def codes(series: ImageSeries) -> dict[str, Severity]:
    return {f.code: f.severity for f in series.findings}


def write_object(path: Path, sop_class: str) -> None:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "2.25.77"
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = "2.25.78"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def test_identity_and_references(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    series = read_series(tmp_path)
    headers = [pydicom.dcmread(f, stop_before_pixels=True) for f in files]
    assert series.identity == phantoms.IDENTITY
    assert series.files == files
    assert series.sop_instance_uids == tuple(h.SOPInstanceUID for h in headers)
    assert series.series_instance_uid == headers[0].SeriesInstanceUID
    assert series.sop_class_uid == headers[0].SOPClassUID
    assert series.volume.geometry.frame_of_reference_uid == phantoms.FRAME_OF_REFERENCE
    assert series.findings == ()


def test_what_is_not_an_image_is_set_aside_with_a_line(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path / "ct")
    write_object(tmp_path / "rs.dcm", RT_STRUCTURE_SET)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty").touch()
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    series = read_series(tmp_path)
    assert codes(series) == {"other-objects": Severity.INFO, "not-dicom": Severity.INFO}
    assert "1 RT Structure Set Storage" in series.findings[0].message
    assert "empty, notes.txt" in series.findings[1].message


def test_localizers_are_set_aside(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    localizer = tmp_path / "scout.dcm"
    shutil.copy(files[0], localizer)

    def scout(ds: Dataset) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ds.SOPInstanceUID = "2.25.5"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    phantoms.edit(localizer, scout)
    series = read_series(tmp_path)
    assert series.files == files
    assert codes(series) == {"localizers": Severity.INFO}
    assert "scout.dcm" in series.findings[0].message


def test_images_without_a_position_are_set_aside(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[-1], lambda ds: ds.__delattr__("ImagePositionPatient"))
    series = read_series(tmp_path)
    assert series.files == files[:-1]
    assert codes(series) == {"no-position": Severity.CHECK}
    assert "0006.dcm" in series.findings[0].message


def test_a_slice_that_lost_its_position_leaves_a_gap(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[3], lambda ds: setattr(ds, "ImagePositionPatient", None))
    assert refusal(tmp_path).reason is Reason.MISSING_SLICE


def test_no_image_has_a_position(tmp_path: Path) -> None:
    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, lambda ds: ds.__delattr__("ImagePositionPatient"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.MISSING_ATTRIBUTE
    assert "ImagePositionPatient (0020,0032)" in refused.found


@pytest.mark.parametrize("value", [None, ""])
def test_no_frame_of_reference_is_never_made_up(tmp_path: Path, value: str | None) -> None:
    for file in phantoms.ct_series(tmp_path):
        if value is None:
            phantoms.edit(file, lambda ds: ds.__delattr__("FrameOfReferenceUID"))
        else:
            phantoms.edit(file, lambda ds: setattr(ds, "FrameOfReferenceUID", ""))
    assert refusal(tmp_path).reason is Reason.NO_FRAME_OF_REFERENCE


def test_several_series_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path / "a", options=SeriesOptions("a"))
    phantoms.ct_series(tmp_path / "b", options=SeriesOptions("b", intercept=-1000))
    uids = sorted(read_series(tmp_path / name).series_instance_uid for name in ("a", "b"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.SEVERAL_SERIES
    assert all(f"{uid} (CT, 6 slices)" in refused.found for uid in uids)
    for uid in uids:
        series = read_series(tmp_path, series_instance_uid=uid)
        assert series.series_instance_uid == uid
        assert codes(series) == {"other-series": Severity.INFO}
    listings = find_series(tmp_path)
    assert [(s.series_instance_uid, s.slices, s.problem) for s in listings] == [(uid, 6, None) for uid in uids]


def test_named_series_that_is_not_there(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    refused = refusal(tmp_path, "1.2.3")
    assert refused.reason is Reason.UNKNOWN_SERIES
    assert "CT, 6 slices" in refused.allowed


def test_a_single_image_beside_a_series_is_not_a_choice(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path / "ct", options=SeriesOptions("ct"))
    phantoms.ct_series(tmp_path / "one", phantoms.axial_geometry((1, 20, 24)), SeriesOptions("one"))
    series = read_series(tmp_path)
    assert series.volume.geometry.shape_zyx[0] == 6
    assert codes(series) == {"other-series": Severity.INFO}


def test_enhanced_multi_frame_is_refused_by_name(tmp_path: Path) -> None:
    def enhanced(ds: Dataset) -> None:
        ds.SOPClassUID = ENHANCED_CT
        ds.file_meta.MediaStorageSOPClassUID = ENHANCED_CT
        ds.NumberOfFrames = 40

    for file in phantoms.ct_series(tmp_path, phantoms.axial_geometry((2, 20, 24))):
        phantoms.edit(file, enhanced)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNSUPPORTED_OBJECT
    assert "enhanced multi-frame" in refused.found
    assert "one slice a file" in refused.allowed


def test_frames_in_a_plain_ct(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[0], lambda ds: setattr(ds, "NumberOfFrames", 2))
    assert refusal(tmp_path).reason is Reason.UNSUPPORTED_OBJECT


def test_modality_must_fit_the_object(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[0], lambda ds: setattr(ds, "Modality", "PT"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.INVALID_ATTRIBUTE
    assert "'PT'" in refused.found


def test_exact_copies_are_read_once(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    shutil.copy(files[2], tmp_path / "copy.dcm")
    series = read_series(tmp_path)
    assert series.files == files
    assert codes(series) == {"copies": Severity.INFO}


def test_one_instance_with_two_contents(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    shutil.copy(files[2], tmp_path / "copy.dcm")
    phantoms.edit(tmp_path / "copy.dcm", lambda ds: setattr(ds, "PixelData", ds.PixelData[::-1]))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.DUPLICATE_INSTANCE
    assert refused.where == "0003.dcm and copy.dcm"


def test_empty_and_absent_folders(tmp_path: Path) -> None:
    assert refusal(tmp_path).reason is Reason.NO_IMAGES
    assert refusal(tmp_path / "nowhere").reason is Reason.NO_IMAGES
    write_object(tmp_path / "rs.dcm", RT_STRUCTURE_SET)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.NO_IMAGES
    assert "1 RT Structure Set Storage" in refused.found


def test_listing_says_what_is_wrong_with_a_series(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    files[2].unlink()
    (listing,) = find_series(tmp_path)
    assert listing.slices == 5
    assert listing.problem is not None
    assert listing.problem.startswith("[missing-slice]")


def test_content_checksum_covers_what_decides(tmp_path: Path) -> None:
    def checksum(name: str, options: SeriesOptions, origin_shift: float = 0.0, flip: int = 0) -> str:
        geometry = phantoms.axial_geometry()
        volume = phantoms.sampled_volume(geometry)
        volume.voxels_zyx[2, 3, 4] += flip
        files = write_series(volume, phantoms.IDENTITY, tmp_path / name, options)
        for file in files if origin_shift else ():
            phantoms.moved(file, (origin_shift, 0, 0))
        return read_series(tmp_path / name).content_sha256

    first = checksum("a", SeriesOptions("s"))
    assert checksum("b", SeriesOptions("s", series_description="other", signed=False, intercept=-2000)) == first
    others = [
        checksum("c", SeriesOptions("s"), flip=1),
        checksum("d", SeriesOptions("s"), origin_shift=0.1),
        checksum("e", SeriesOptions("t")),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("charset", "name", "study_description"),
    [
        ("ISO_IR 192", "Қасымов^Әлихан^Нұрланұлы", "Кеуде қуысы"),
        ("ISO_IR 144", "Иванов^Иван^Иванович", "Грудная клетка"),
        ("ISO_IR 100", "Müller^Jörg", "Räume"),
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部"),
    ],
)
def test_names_in_any_script(tmp_path: Path, charset: str, name: str, study_description: str) -> None:
    identity = phantoms.named(name)
    identity = type(identity)(**{**vars(identity), "study_description": study_description})
    options = SeriesOptions("s", specific_character_set=charset)
    write_series(phantoms.sampled_volume(phantoms.axial_geometry()), identity, tmp_path, options)
    series = read_series(tmp_path)
    assert series.identity == identity
    assert series.specific_character_set == (charset,)
    assert series.findings == ()


def test_japanese_with_code_extensions(tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"

    def japanese(ds: Dataset) -> None:
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        ds.PatientName = name

    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, japanese)
    series = read_series(tmp_path)
    assert series.identity.patient_name == name
    assert series.specific_character_set == ("", "ISO 2022 IR 87")


@pytest.mark.parametrize(
    ("charset", "code"), [("", "character-set-undeclared"), ("ISO_IR 192", "character-set-contradicted")]
)
def test_text_that_contradicts_its_character_set_is_kept_byte_by_byte(tmp_path: Path, charset: str, code: str) -> None:
    in_windows_1251 = "Иванов^Иван".encode("cp1251")
    for file in phantoms.ct_series(tmp_path, options=SeriesOptions("s", specific_character_set=charset)):
        data = file.read_bytes().replace(b"Phantom^Test", in_windows_1251 + b" ")
        file.write_bytes(data)
    series = read_series(tmp_path)
    assert series.identity.patient_name.encode("latin-1") == in_windows_1251
    assert codes(series) == {code: Severity.CHECK}
    assert "Иванов" not in series.findings[0].message


def test_unknown_character_set(tmp_path: Path) -> None:
    for file in phantoms.ct_series(tmp_path):
        file.write_bytes(file.read_bytes().replace(b"ISO_IR 192", b"WINDOWS_51"))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.INVALID_ATTRIBUTE
    assert "SpecificCharacterSet" in refused.found


def test_voxels_are_contiguous_and_own(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    voxels = read_series(tmp_path).volume.voxels_zyx
    assert voxels.flags.c_contiguous
    assert voxels.flags.writeable
    assert voxels.dtype == np.int16


def test_names_in_messages_are_text_that_a_terminal_shows(tmp_path: Path) -> None:
    phantoms.ct_series(tmp_path)
    (tmp_path / "two\nlines\x1b[2J.txt").write_text("notes")
    messages = " ".join(f.message for f in read_series(tmp_path).findings)
    assert r"two\nlines\x1b[2J.txt" in messages
    assert messages.isprintable()


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold the last slices, which nothing else would miss."""
    phantoms.ct_series(tmp_path)
    (tmp_path / "rest").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "rest":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InputRefused, match="cannot be listed") as refused:
        read_series(tmp_path)
    assert refused.value.reason is Reason.UNREADABLE_FILE
