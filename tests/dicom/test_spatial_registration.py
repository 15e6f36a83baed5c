"""Spatial Registration objects, ours and other systems'."""

import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from heads_of_two_images import CT_FRAME, MR_FRAME, motion
from phantoms import IDENTITY, axial_geometry, sampled_volume

import contour.dicom.spatial_registration as registering
from contour.core.errors import InputRefused, NotReleased, Reason
from contour.core.volume import Modality
from contour.dicom.read_series import read_series
from contour.dicom.spatial_registration import find_registrations, read_registration, write_registration
from contour.dicom.write_series import SeriesOptions, write_series

CORNERS = np.stack(np.meshgrid(*[(-100.0, 100.0)] * 3), axis=-1).reshape(-1, 3)
TO_CT = motion((6, -4, 9), (15, -20, 30))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A CT and an MR of one patient, the MR of another study."""
    folder = tmp_path_factory.mktemp("pair")
    for name, modality, frame, study in (
        ("ct", Modality.CT, CT_FRAME, "2.25.1"),
        ("mr", Modality.MR, MR_FRAME, "2.25.2"),
    ):
        volume = sampled_volume(replace(axial_geometry(), frame_of_reference_uid=frame), modality)
        identity = replace(IDENTITY, study_instance_uid=study)
        write_series(volume, identity, folder / name, SeriesOptions(seed=name))
    return folder


@pytest.fixture
def written(pair, tmp_path):
    path = tmp_path / "registration.dcm"
    write_registration(TO_CT, read_series(pair / "ct"), read_series(pair / "mr"), path, "made for a test")
    return path


def _changed(path, change):
    data_set = pydicom.dcmread(path)
    change(data_set)
    data_set.save_as(path)
    return path


def test_what_is_written_is_read_in_both_directions(written):
    there = read_registration(written, MR_FRAME, CT_FRAME)
    back = read_registration(written, CT_FRAME, MR_FRAME)
    assert there.transform.apart_mm(TO_CT, CORNERS) < 1e-3
    assert back.transform.apart_mm(TO_CT.inverse, CORNERS) < 1e-3
    assert read_registration(written, MR_FRAME, "2.25.7") is None


def test_it_belongs_to_the_study_of_the_fixed_image_and_names_both(written, pair):
    read, ct, mr = pydicom.dcmread(written), read_series(pair / "ct"), read_series(pair / "mr")
    assert (read.PatientName, read.StudyInstanceUID, read.FrameOfReferenceUID) == (
        IDENTITY.patient_name,
        "2.25.1",
        CT_FRAME,
    )
    named = [
        [image.ReferencedSOPInstanceUID for image in item.ReferencedImageSequence] for item in read.RegistrationSequence
    ]
    assert named == [list(ct.sop_instance_uids), list(mr.sop_instance_uids)]
    (other,) = read.StudiesContainingOtherReferencedInstancesSequence
    assert other.StudyInstanceUID == "2.25.2"


@pytest.mark.peer
def test_dicom3tools_find_no_error(written):
    said = subprocess.run(["dciodvfy", str(written)], capture_output=True, text=True, check=False).stderr
    assert "SpatialRegistration" in said
    assert "Error" not in said


def test_a_file_that_reads_otherwise_is_not_released(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(registering, "_matrices", lambda *_: {CT_FRAME: np.eye(4), MR_FRAME: np.eye(4)})
    series = read_series(pair / "ct"), read_series(pair / "mr")
    with pytest.raises(NotReleased):
        write_registration(TO_CT, *series, tmp_path / "registration.dcm", "")
    assert not list(tmp_path.iterdir())


def test_the_frame_of_the_object_needs_no_item(written):
    def without_fixed(data_set):
        del data_set.RegistrationSequence[0]

    found = read_registration(_changed(written, without_fixed), MR_FRAME, CT_FRAME)
    assert found.transform.apart_mm(TO_CT, CORNERS) < 1e-3


def test_a_third_frame_between_both_is_gone_through(written):
    def onto_another(data_set):
        data_set.FrameOfReferenceUID = "2.25.55"
        fixed = data_set.RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence[0]
        fixed.FrameOfReferenceTransformationMatrix = np.asarray(shift.matrix).ravel().tolist()

    shift = motion((0, 0, 0), (1, 2, 3))
    found = read_registration(_changed(written, onto_another), MR_FRAME, CT_FRAME)
    assert np.allclose(found.transform.points(CORNERS), TO_CT.points(CORNERS) - (1, 2, 3), atol=1e-3)


def _matrices(data_set):
    return data_set.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda d: _matrices(d).append(_matrices(d)[0]), "2 matrices"),
        (lambda d: setattr(_matrices(d)[0], "FrameOfReferenceTransformationMatrix", [1.0] * 12), "12 values"),
        (
            lambda d: setattr(
                _matrices(d)[0],
                "FrameOfReferenceTransformationMatrix",
                [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
            ),
            "without scale",
        ),
        (lambda d: setattr(d.RegistrationSequence[0], "FrameOfReferenceUID", MR_FRAME), "two motions"),
    ],
)
def test_what_is_no_clear_rigid_motion_is_refused(written, change, found):
    with pytest.raises(InputRefused, match=found) as refused:
        read_registration(_changed(written, change), MR_FRAME, CT_FRAME)
    assert refused.value.reason is Reason.INVALID_ATTRIBUTE


def test_another_object_is_no_registration(pair, tmp_path):
    with pytest.raises(InputRefused, match="no Spatial Registration"):
        read_registration(next((pair / "ct").iterdir()), MR_FRAME, CT_FRAME)
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM")
    with pytest.raises(InputRefused, match="no Spatial Registration"):
        read_registration(text, MR_FRAME, CT_FRAME)


def test_registrations_are_found_among_images(pair, written, tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")
    (found,) = find_registrations((pair / "ct", tmp_path), MR_FRAME, CT_FRAME)
    assert found.path == written
    assert find_registrations((pair / "ct",), MR_FRAME, CT_FRAME) == ()
