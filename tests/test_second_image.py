"""Structures drawn on an MR and brought to the planning CT."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from heads_of_two_images import CT_FRAME, MR_FRAME, ON_CT, ON_MR, PROTOCOL, ct_head, inside, motion, mr_head, points_of
from phantoms import IDENTITY

from contour import second_image
from contour.core.errors import ConfigError, InputRefused, Reason
from contour.core.protocol import DerivedStructure, Operation, SecondImage
from contour.core.report import RegistrationUse, State
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.spatial_registration import read_registration, write_registration
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.register import LEVELS, register_rigid
from contour.pipeline import RunOptions, contour_series
from contour.second_image import SecondSource, judged

TO_CT = motion((6, -4, 9), (15, -20, 30))


def _write(volume: Volume, folder: Path, **identity: str) -> Path:
    write_series(volume, replace(IDENTITY, **identity), folder, SeriesOptions(seed=folder.name))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    _write(ct_head(), folder / "ct")
    _write(mr_head(TO_CT), folder / "mr", study_instance_uid="2.25.2")
    return folder


@pytest.fixture(autouse=True)
def _coarsely(monkeypatch):
    """The search at its first level alone: to 3 mm, in a tenth of the time."""
    monkeypatch.setattr(second_image, "register_rigid", partial(register_rigid, levels=LEVELS[:1]))


def _run(pair, output, protocol=PROTOCOL, **second):
    source = SecondSource(second.pop("folder", pair / "mr"), (ON_MR,), **second)
    return contour_series(pair / "ct", protocol, (ON_CT,), output, options=RunOptions(second=source))


def _codes(run):
    return {finding.code for finding in run.report.findings}


def _dice_with_truth(run, pair):
    series = read_series(pair / "ct")
    found = read_rtstruct(run.folder / "rtstruct.dcm", series, names=("Hippocampus_L",)).structures[0]
    grid = series.volume.geometry
    truth, drawn = inside("hippocampus", points_of(grid)), found.full_mask(grid.shape_zyx)
    return 2 * (truth & drawn).sum() / (truth.sum() + drawn.sum())


def test_what_is_drawn_on_the_mr_lies_on_the_ct(pair, tmp_path):
    protocol = replace(
        PROTOCOL, derived=(DerivedStructure("Hippocampus_PRV", Operation.GROWN, ("Hippocampus_L",), mm=5.0),)
    )
    run = _run(pair, tmp_path / "out", protocol)
    assert run.report.released
    assert _dice_with_truth(run, pair) > 0.6
    assert _codes(run) & {"registered", "registration-in-doubt"}
    use = run.report.registration
    assert (use.source, use.compared) == ("sought", ("Brain",))
    assert use.surface_mm < 1.5
    assert use.disagreement_mm < 5
    states = {line.name: line.state for line in run.report.structures}
    assert states == {"Brain": State.WHOLE, "Hippocampus_L": State.WHOLE, "Hippocampus_PRV": State.WHOLE}
    assert [package.name for package in run.report.packages] == ["head_ct", "head_mr"]

    read = pydicom.dcmread(run.folder / "rtstruct.dcm")
    ct = read_series(pair / "ct")
    assert {roi.ReferencedFrameOfReferenceUID for roi in read.StructureSetROISequence} == {CT_FRAME}
    assert read.StudyInstanceUID == ct.identity.study_instance_uid
    described = {roi.ROIName: roi.ROIDescription for roi in read.StructureSetROISequence}
    assert "drawn on MR, brought by rigid registration" in described["Hippocampus_L"]
    assert "MR" not in described["Brain"]
    found = read_registration(run.folder / "registration.dcm", MR_FRAME, CT_FRAME)
    assert found.transform.apart_mm(TO_CT, np.array([[0.0, 0, 0], [60, 60, 60]])) < 5
    assert (run.folder / "registration.png").stat().st_size > 10_000
    assert json.loads((run.folder / "report.json").read_text())["registration"]["modality"] == "MR"


def test_a_stated_registration_is_used_and_measured(pair, tmp_path):
    stated = tmp_path / "stated.dcm"
    series = read_series(pair / "ct"), read_series(pair / "mr")
    off = motion((6, -4, 9), (16.5, -20, 30))
    write_registration(off, *series, stated, "by a person")
    run = _run(pair, tmp_path / "out", registration=stated)
    use = run.report.registration
    assert use.source.startswith("stated.dcm")
    assert use.apart_mm == pytest.approx(1.5, abs=3.0)
    assert np.allclose(use.matrix, off.matrix, atol=1e-6)
    assert not (run.folder / "registration.dcm").exists()


def test_a_stated_registration_that_the_images_contradict_brings_nothing(pair, tmp_path):
    stated = tmp_path / "stated.dcm"
    series = read_series(pair / "ct"), read_series(pair / "mr")
    write_registration(motion((6, -4, 9), (15, -20, 45)), *series, stated, "astray")
    run = _run(pair, tmp_path / "out", registration=stated)
    assert "not-registered" in _codes(run)
    line = next(line for line in run.report.structures if line.name == "Hippocampus_L")
    assert (line.drawn, line.state) == (False, State.NOT_MADE)
    assert [finding.code for finding in line.findings] == ["not-brought"]
    assert "not made: Hippocampus_L" in run.report.completeness


@pytest.mark.parametrize(
    ("degrees", "code"), [(20.0, "registered"), (40.0, "registration-in-doubt"), (175.0, "not-registered")]
)
def test_a_head_on_its_crown_brings_nothing(degrees, code):
    use = RegistrationUse("2.25.1", "MR", "sought", (), degrees, ("Brain",), 0.5, 1.0, None)
    assert judged(use).code == code


def test_a_registration_beside_the_images_is_found(pair, tmp_path):
    folder = tmp_path / "mr"
    _write(mr_head(TO_CT), folder, study_instance_uid="2.25.2")
    series = read_series(pair / "ct"), read_series(folder)
    write_registration(TO_CT, *series, folder / "fusion.dcm", "by a person")
    assert _run(pair, tmp_path / "out", folder=folder).report.registration.source.startswith("fusion.dcm")
    write_registration(motion((0, 0, 0), (0, 0, 0)), *series, folder / "other.dcm", "another")
    with pytest.raises(InputRefused, match="2 registrations of the two images that differ"):
        _run(pair, tmp_path / "again", folder=folder)
    assert not (tmp_path / "again").exists()


def test_images_of_one_frame_need_no_search(pair, tmp_path):
    mr = mr_head(motion((0, 0, 0), (0, 0, 0)))
    folder = _write(replace(mr, geometry=replace(mr.geometry, frame_of_reference_uid=CT_FRAME)), tmp_path / "mr")
    run = _run(pair, tmp_path / "out", folder=folder)
    assert run.report.registration.source == "shared frame of reference"
    assert run.report.registration.apart_mm < 5
    assert _dice_with_truth(run, pair) > 0.85


def test_what_the_mr_cuts_is_a_part(pair, tmp_path):
    mr = mr_head(TO_CT)
    through = int(mr.geometry.lps_mm_to_index(TO_CT.inverse.points((26, 14, -8)))[0])
    cut = Volume(mr.voxels_zyx[through:], replace(mr.geometry.cropped(_above(mr, through))), Modality.MR)
    stated = tmp_path / "stated.dcm"
    folder = _write(cut, tmp_path / "mr")
    write_registration(TO_CT, read_series(pair / "ct"), read_series(folder), stated, "")
    run = _run(pair, tmp_path / "out", folder=folder, registration=stated)
    (line,) = (line for line in run.report.structures if line.name == "~Hippocampus_L")
    assert line.state is State.PART
    assert "registration-in-doubt" in _codes(run)  # a brain that is cut tells nothing of where the images lie


def _above(volume, z):
    from contour.core.geometry import Box  # noqa: PLC0415

    return Box((z, 0, 0), volume.geometry.shape_zyx)


def test_another_patients_mr_is_refused(pair, tmp_path):
    folder = _write(mr_head(TO_CT), tmp_path / "mr", patient_id="P-2")
    with pytest.raises(InputRefused, match="another patient id") as refused:
        _run(pair, tmp_path / "out", folder=folder)
    assert refused.value.reason is Reason.WRONG_SERIES
    assert "P-2" not in str(refused.value)


def test_a_required_structure_needs_the_mr(pair, tmp_path):
    with pytest.raises(ConfigError, match="drawn on a second image, and none was given"):
        contour_series(pair / "ct", PROTOCOL, (ON_CT,), tmp_path / "out")
    optional = replace(PROTOCOL, structures=(PROTOCOL.structures[0], replace(PROTOCOL.structures[1], required=False)))
    run = contour_series(pair / "ct", optional, (ON_CT,), tmp_path / "out")
    (finding,) = (f for f in run.report.findings if f.code == "not-offered")
    assert "drawn on a second image" in finding.message


def test_a_protocol_without_a_second_image_takes_none(pair, tmp_path):
    plain = replace(PROTOCOL, structures=PROTOCOL.structures[:1], second_image=None)
    with pytest.raises(InputRefused, match="draws nothing"):
        _run(pair, tmp_path / "out", plain)


def test_a_second_image_is_of_the_protocols_own_structures():
    with pytest.raises(ValueError, match="OpticChiasm must be among structures"):
        replace(PROTOCOL, second_image=SecondImage(Modality.MR, ("head_mr",), ("OpticChiasm",)))
