"""What is paired with what, by which tie, and what is set aside."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
import small_archives

from contour.cases.archive_index import (
    Aside,
    IndexedPair,
    IndexOptions,
    IndexSummary,
    PairedBy,
    Scope,
    SetAside,
    index_archive,
    open_index,
    read_pair,
)
from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE
from contour.cases.made_truth import Oddity, SetRole, load_truth
from contour.core.errors import InputRefused, Reason
from contour.dicom.read_series import read_series

Indexed = tuple[IndexSummary, list[IndexedPair], list[SetAside]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


def indexed(archive: Path) -> Indexed:
    index = archive.parent / "index.sqlite"
    summary = index_archive(archive, index, IndexOptions(workers=1))
    with open_index(index) as opened:
        return summary, list(opened.pairs()), list(opened.set_aside())


def only_pair(archive: Path) -> IndexedPair:
    _, pairs, _ = indexed(archive)
    assert len(pairs) == 1
    return pairs[0]


def codes(pair: IndexedPair) -> list[str]:
    return [finding.code for finding in pair.findings]


def aside_sets(archive: Path) -> dict[str, str]:
    """Why each structure set that is set aside is."""
    _, _, aside = indexed(archive)
    return {one.item: one.reason for one in aside if one.scope is Scope.STRUCTURE_SET}


# -- whole archives --------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_a_real_archive_is_right_in_every_roi(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "archive"
    summary = index_archive(real, tmp_path / "index.sqlite", IndexOptions(workers=1))
    with open_index(tmp_path / "index.sqlite") as opened:
        pairs, aside = list(opened.pairs()), list(opened.set_aside())
        names = {opened.patient_id(pair.patient): pair for pair in pairs}
    assert (summary.files, summary.patients, summary.series, summary.structure_sets) == (251, 2, 2, 2)
    assert sorted(names) == ["LUNG1-001", "LUNG1-002"]
    kinds = Counter((one.scope, one.reason, one.message) for one in aside)
    assert kinds == {
        (Scope.FILE, Aside.OTHER_OBJECT, "RT Plan Storage"): 2,
        (Scope.FILE, Aside.OTHER_OBJECT, "RT Dose Storage"): 2,
    }
    for patient, pair in names.items():
        ds = pydicom.dcmread(pair.structure_set_file)
        assert pair.structure_set_file.parent.name == patient == ds.PatientID
        assert pair.paired_by is PairedBy.SERIES
        assert codes(pair) == ["dangling-references"]  # on purpose: the contours name images that nobody has
        assert len(pair.image_files) == {"LUNG1-001": 134, "LUNG1-002": 111}[patient]
        contours = {item.ReferencedROINumber: item.get("ContourSequence", []) for item in ds.ROIContourSequence}
        kinds_of = {item.ReferencedROINumber: item.RTROIInterpretedType for item in ds.RTROIObservationsSequence}
        assert len(pair.rois) == len(ds.StructureSetROISequence)
        for roi, stated in zip(pair.rois, ds.StructureSetROISequence, strict=True):
            drawn = [c for c in contours[stated.ROINumber] if c.ContourGeometricType == "CLOSED_PLANAR"]
            texts = [c.get_item("ContourData").value for c in drawn]  # raw: pydicom's numbers take a second each organ
            points = [np.array(text.split(b"\\"), dtype=float).reshape(-1, 3) for text in texts]
            areas = [xyz for xyz in points if len(xyz) >= 3]
            assert (roi.number, roi.name) == (stated.ROINumber, stated.ROIName)
            assert roi.interpreted_type == kinds_of[stated.ROINumber]
            assert (roi.contours, roi.contours + roi.other_contours) == (len(areas), len(contours[stated.ROINumber]))
            assert roi.planes == len({round(float(xyz[0, 2]), 2) for xyz in areas})
            if areas:
                every = np.concatenate(areas)
                np.testing.assert_allclose([roi.low_lps_mm, roi.high_lps_mm], [every.min(0), every.max(0)], atol=1e-3)


def test_a_made_archive_is_what_its_truth_says(made: Path, tmp_path: Path) -> None:
    truth = load_truth(made / TRUTH_FILE)
    summary = index_archive(made / ARCHIVE_FOLDER, tmp_path / "index.sqlite", IndexOptions(workers=1))
    with open_index(tmp_path / "index.sqlite") as opened:
        pairs, aside, counts = list(opened.pairs()), list(opened.set_aside()), opened.roi_counts()
        patients = {opened.patient_id(pair.patient) for pair in pairs}
    slices = {series.series_instance_uid: series.slices for series in truth.series}
    found = {pair.structure_set_uid: (pair.series_instance_uid, len(pair.image_files)) for pair in pairs}
    assert found == {
        drawn.structure_set_uid: (drawn.series_instance_uid, slices[drawn.series_instance_uid])
        for drawn in truth.sets_in_use
    }
    assert patients == {drawn.patient_id for drawn in truth.sets_in_use}
    names = {pair.structure_set_uid: tuple(roi.name for roi in pair.rois) for pair in pairs}
    for drawn in truth.sets_in_use:  # in four languages
        assert sorted(names[drawn.structure_set_uid]) == sorted(roi.roi_name for roi in drawn.rois)
    spelt = Counter(roi.roi_name for drawn in truth.sets_in_use for roi in drawn.rois)
    assert {count.name: count.structure_sets for count in counts} == spelt

    reasons = {one.item: one.reason for one in aside}
    roles = {drawn.file: drawn.role for drawn in truth.structure_sets if drawn.role is not SetRole.IN_USE}
    expected = {SetRole.SUPERSEDED: Aside.SUPERSEDED, SetRole.ORPHAN: Aside.ORPHAN}
    assert {file: reasons[file] for file in roles} == {file: expected[role] for file, role in roles.items()}
    why = {
        Oddity.PLAN: Aside.OTHER_OBJECT,
        Oddity.DOSE: Aside.OTHER_OBJECT,
        Oddity.LOCALIZER: Aside.LOCALIZER,
        Oddity.TRUNCATED: Reason.TRUNCATED_FILE,
        Oddity.NOT_DICOM: Aside.NOT_DICOM,
    }
    odd = [file for file in truth.odd_files if file.why in why]
    assert {file.file: reasons[file.file] for file in odd} == {file.file: why[file.why] for file in odd}
    copies = [file for file in truth.odd_files if file.why is Oddity.SAME_BYTES]
    assert sum(reason == Aside.COPY for reason in reasons.values()) == len(copies)
    lonely = {one.reason for one in aside if one.scope is Scope.SERIES}
    assert lonely == {Aside.NO_STRUCTURE_SET, Reason.DUPLICATE_INSTANCE}  # one native series was spoilt
    assert summary.pairs == len(truth.sets_in_use)


# -- ties ------------------------------------------------------------------------------------------------------------


def test_series_and_files_mixed_in_folders_are_read_as_one(archive: Path) -> None:
    """Two series and two structure sets in one folder, and a series over two folders, in no order."""
    first = small_archives.add_series(archive / "a")
    second = small_archives.add_series(archive / "b", "P-2", frame="2.25.55")
    mixed = archive / "mixed"
    small_archives.add_set(first, mixed / "1.dcm")
    small_archives.add_set(second, mixed / "2.dcm", ("Lung_L", "Lung_R"))
    for name, series in (("x", first), ("y", second)):
        for i, file in enumerate(series.files[1:]):
            file.rename(mixed / f"{name}{(7 * i) % 5}")
    _, pairs, aside = indexed(archive)
    assert not aside
    assert [pair.findings for pair in pairs] == [(), ()]
    by_series = {pair.series_instance_uid: pair for pair in pairs}
    for original, names in ((first, ["Heart"]), (second, ["Lung_L", "Lung_R"])):
        pair = by_series[original.series_instance_uid]
        series, contents = read_pair(pair)
        assert series.content_sha256 == original.content_sha256
        assert [roi.name for roi in contents.rois] == names == [roi.name for roi in pair.rois]
        assert {file.parent.name for file in pair.image_files} == {"mixed", "a" if original is first else "b"}


def test_a_pair_whose_file_is_gone_is_refused(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    pair = only_pair(archive)
    series.files[-1].unlink()  # at an end: the rest would be a whole series
    with pytest.raises(InputRefused, match="is missing"):
        read_pair(pair)


def test_images_tell_where_the_series_is_not_named(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_series(archive / "other", seed="other")
    path = small_archives.add_set(series, archive / "rs.dcm")
    phantoms.edit(path, lambda ds: small_archives.anonymous_references(ds, images=False))
    pair = only_pair(archive)
    assert (pair.paired_by, pair.series_instance_uid) == (PairedBy.IMAGES, series.series_instance_uid)
    assert codes(pair) == ["paired-by-images"]


def test_study_and_frame_tell_where_no_reference_leads_anywhere(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    path = small_archives.add_set(series, archive / "rs.dcm")
    phantoms.edit(path, small_archives.anonymous_references)
    pair = only_pair(archive)
    assert (pair.paired_by, pair.series_instance_uid) == (PairedBy.FRAME, series.series_instance_uid)
    assert codes(pair) == ["paired-by-frame", "listed-images-missing", "dangling-references"]


def test_two_series_in_the_frame_are_not_guessed_between(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_series(archive / "thin", seed="thin")
    path = small_archives.add_set(series, archive / "rs.dcm")
    phantoms.edit(path, small_archives.anonymous_references)
    assert aside_sets(archive) == {"rs.dcm": Reason.SEVERAL_SERIES}


def test_of_two_series_that_a_set_names_the_one_drawn_on_counts(archive: Path) -> None:
    fused = small_archives.add_series(archive / "fused", seed="a")
    series = small_archives.add_series(archive / "ct", seed="b")
    path = small_archives.add_set(series, archive / "rs.dcm")

    def name_both(ds: pydicom.Dataset) -> None:
        study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        first = pydicom.Dataset()
        first.SeriesInstanceUID = fused.series_instance_uid
        study.RTReferencedSeriesSequence.insert(0, first)
        # One contour of many, drawn on the other series.
        image = ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
        image.ReferencedSOPInstanceUID = fused.sop_instance_uids[1]

    phantoms.edit(path, name_both)
    pair = only_pair(archive)
    assert (pair.paired_by, pair.series_instance_uid) == (PairedBy.SERIES, series.series_instance_uid)
    assert codes(pair)[0] == "contours-elsewhere"


def test_missing_slices_show_in_the_list_of_images(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    series.files[0].unlink()
    pair = only_pair(archive)
    assert codes(pair) == ["listed-images-missing"]
    assert "1 of the 6 images" in pair.findings[0].message


def test_another_study_is_a_finding_another_frame_or_patient_a_refusal(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "frame.dcm", ("Lung_R",))
    phantoms.edit(archive / "frame.dcm", lambda ds: small_archives.frames_of(ds, "2.25.66"))
    small_archives.add_set(series, archive / "patient.dcm", ("Lung_L",), PatientID="P-2")
    small_archives.add_set(series, archive / "study.dcm", StudyInstanceUID="2.25.67")
    _, pairs, _ = indexed(archive)
    assert [(pair.structure_set_file.name, codes(pair)) for pair in pairs] == [("study.dcm", ["other-study"])]
    assert aside_sets(archive) == {"frame.dcm": Reason.WRONG_SERIES, "patient.dcm": Reason.WRONG_SERIES}


def test_a_set_on_images_that_are_not_read_says_which(archive: Path) -> None:
    series = small_archives.add_series(archive / "pet")
    small_archives.add_set(series, archive / "rs.dcm")

    def as_pet(ds: pydicom.Dataset) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        ds.Modality = "PT"

    for file in series.files:
        phantoms.edit(file, as_pet)
    _, pairs, aside = indexed(archive)
    assert not pairs
    (message,) = (one.message for one in aside if one.reason == Aside.ORPHAN)
    assert "other object (PT)" in message
    assert sum(one.message == "Positron Emission Tomography Image Storage" for one in aside) == small_archives.SLICES


# -- choosing --------------------------------------------------------------------------------------------------------


def test_approved_counts_before_newest_and_rejected_never(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")

    def add(name: str, rois: tuple[str, ...], **changes: str) -> None:
        small_archives.add_set(series, archive / f"{name}.dcm", rois, **changes)

    add("newest", ("Heart", "Lung_R"), StructureSetDate="20260301", ApprovalStatus="UNAPPROVED")
    add("approved", ("Heart",), StructureSetDate="20260110", ApprovalStatus="APPROVED")
    add("approved_early", ("Heart", "Lung_L"), StructureSetDate="20260109", ApprovalStatus="APPROVED")
    add("rejected", ("Lung_L",), StructureSetDate="20260401", ApprovalStatus="REJECTED")
    summary, pairs, _ = indexed(archive)
    assert [pair.structure_set_file.name for pair in pairs] == ["approved.dcm"]
    assert aside_sets(archive) == {
        "newest.dcm": Aside.SUPERSEDED,
        "approved_early.dcm": Aside.SUPERSEDED,
        "rejected.dcm": Aside.REJECTED,
    }
    assert codes(pairs[0]) == ["several-structure-sets"]
    assert "only the others have: Lung_L, Lung_R." in pairs[0].findings[0].message
    assert (summary.structure_sets, summary.pairs) == (4, 1)
    with open_index(archive.parent / "index.sqlite") as opened:
        every = [pair.structure_set_file.stem for pair in opened.pairs(superseded=True)]
    assert sorted(every) == ["approved", "approved_early", "newest"]


def test_an_empty_newer_set_supersedes_nothing(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "drawn.dcm")
    small_archives.add_set(series, archive / "empty.dcm", ("Lung_R",), StructureSetDate="20270101")

    def empty(ds: pydicom.Dataset) -> None:
        del ds.ROIContourSequence[0].ContourSequence

    phantoms.edit(archive / "empty.dcm", empty)
    assert only_pair(archive).structure_set_file.name == "drawn.dcm"
    assert aside_sets(archive) == {"empty.dcm": Reason.NO_STRUCTURES}


# -- duplicates and damage -------------------------------------------------------------------------------------------


def test_copies_count_once_whatever_program_stored_them(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    path = small_archives.add_set(series, archive / "rs.dcm")
    (archive / "again").mkdir()
    for i, file in enumerate((*series.files, path)):
        small_archives.sent_elsewhere(file, archive / "again" / f"{i}.dcm")
    _, pairs, aside = indexed(archive)
    assert Counter(one.reason for one in aside) == {Aside.COPY: small_archives.SLICES + 1}
    assert len(pairs[0].image_files) == small_archives.SLICES
    assert pairs[0].findings == ()
    assert read_pair(pairs[0])[0].content_sha256 == series.content_sha256


def test_one_uid_with_two_contents_is_not_chosen_between(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    (archive / "other").write_bytes(series.files[2].read_bytes())
    phantoms.edit(archive / "other", lambda ds: setattr(ds, "PixelData", ds.PixelData[::-1]))
    healthy = small_archives.add_series(archive / "b" / "ct", "P-2")
    for name in ("one.dcm", "two.dcm"):
        small_archives.add_set(healthy, archive / "b" / name)
    phantoms.edit(archive / "b" / "two.dcm", lambda ds: setattr(ds, "StructureSetLabel", "changed"))
    _, pairs, aside = indexed(archive)
    assert not pairs
    assert aside_sets(archive) == dict.fromkeys(("rs.dcm", "b/one.dcm", "b/two.dcm"), str(Reason.DUPLICATE_INSTANCE))
    spoilt = {one.item: one.reason for one in aside if one.scope is Scope.SERIES}
    assert spoilt == {
        series.series_instance_uid: Reason.DUPLICATE_INSTANCE,
        healthy.series_instance_uid: Aside.NO_STRUCTURE_SET,
    }


def cut_in_pixels(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def cut_in_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


def without_patient(file: Path) -> None:
    phantoms.edit(file, lambda ds: setattr(ds, "PatientID", ""))


def without_frame(file: Path) -> None:
    phantoms.edit(file, lambda ds: delattr(ds, "FrameOfReferenceUID"))


def of_other_frame(file: Path) -> None:
    phantoms.edit(file, lambda ds: setattr(ds, "FrameOfReferenceUID", "2.25.3"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_in_pixels, Reason.TRUNCATED_FILE),
        (without_patient, Reason.MISSING_ATTRIBUTE),
        (without_frame, Reason.MIXED_SERIES),
        (of_other_frame, Reason.MIXED_SERIES),
    ],
)
def test_a_spoilt_slice_sets_its_series_and_their_set_aside(
    archive: Path, spoil: Callable[[Path], None], reason: Reason
) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    spoil(series.files[2])
    _, pairs, aside = indexed(archive)
    assert not pairs
    assert aside_sets(archive) == {"rs.dcm": reason}
    assert [one.reason for one in aside if one.scope is Scope.SERIES] == [reason]


def test_a_damaged_file_of_no_known_series_is_a_finding_on_its_neighbours(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    cut_in_header(series.files[-1])
    far = small_archives.add_series(archive / "far", "P-2")
    small_archives.add_set(far, archive / "far.dcm")
    _, pairs, aside = indexed(archive)
    found = {pair.structure_set_file.name: codes(pair) for pair in pairs}
    assert found == {"rs.dcm": ["listed-images-missing", "damaged-neighbours"], "far.dcm": []}
    assert [(one.scope, one.reason) for one in aside] == [(Scope.FILE, Reason.TRUNCATED_FILE)]


@pytest.mark.parametrize("cut", [cut_in_pixels, cut_in_header])
def test_a_damaged_copy_of_a_whole_slice_takes_nothing_from_its_series(
    archive: Path, cut: Callable[[Path], None]
) -> None:
    series = small_archives.add_series(archive / "ct")
    small_archives.add_set(series, archive / "rs.dcm")
    copy = archive / "ct" / "interrupted.dcm"
    copy.write_bytes(series.files[2].read_bytes())
    cut(copy)
    _, pairs, aside = indexed(archive)
    assert [(pair.findings, len(pair.image_files)) for pair in pairs] == [((), small_archives.SLICES)]
    assert [(one.item, one.reason) for one in aside] == [("ct/interrupted.dcm", Reason.TRUNCATED_FILE)]
    assert read_pair(pairs[0])[0].content_sha256 == series.content_sha256


def test_a_damaged_structure_set_is_set_aside_by_its_name(archive: Path) -> None:
    series = small_archives.add_series(archive / "ct")
    path = small_archives.add_set(series, archive / "rs.dcm")
    path.write_bytes(path.read_bytes()[:-2000])
    _, pairs, aside = indexed(archive)
    assert not pairs
    assert {(one.scope, one.item, one.reason) for one in aside} == {
        (Scope.FILE, "rs.dcm", Reason.TRUNCATED_FILE),
        (Scope.SERIES, series.series_instance_uid, Aside.NO_STRUCTURE_SET),
    }


def test_findings_name_no_file(archive: Path) -> None:
    """Findings go on into reports, and folders are often named after patients."""
    folder = archive / "Иванов Пётр"
    series = small_archives.add_series(folder, "P-77")
    small_archives.add_set(series, folder / "rs.dcm")
    small_archives.add_set(series, folder / "rs2.dcm", ("Lung_L",), StructureSetDate="20250101")
    cut_in_header(series.files[-1])
    pair = only_pair(archive)
    assert len(pair.findings) == 3
    assert not any("Иванов" in f.message or "P-77" in f.message or "rs" in f.message.split() for f in pair.findings)


def test_roi_counts_tell_drawn_from_listed(archive: Path) -> None:
    for number, names in enumerate((("Heart", "Lung_L"), ("Heart",)), start=1):
        series = small_archives.add_series(archive / str(number) / "ct", f"P-{number}")
        small_archives.add_set(series, archive / str(number) / "rs.dcm", names)

    def undrawn(ds: pydicom.Dataset) -> None:
        del ds.ROIContourSequence[0].ContourSequence

    phantoms.edit(archive / "1" / "rs.dcm", undrawn)
    indexed(archive)
    with open_index(archive.parent / "index.sqlite") as opened:
        counts = {count.name: count for count in opened.roi_counts()}
    assert (counts["Heart"].structure_sets, counts["Heart"].drawn, counts["Heart"].patients) == (2, 1, 1)
    assert (counts["Lung_L"].drawn, counts["Lung_L"].interpreted_types) == (1, ("ORGAN",))
    assert read_series(archive / "2" / "ct").identity.patient_id == "P-2"
