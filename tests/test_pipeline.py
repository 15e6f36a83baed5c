import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from contour import exports, pipeline
from contour.core.errors import ConfigError, InputRefused, NotReleased, Reason
from contour.core.protocol import Protocol, ProtocolStructure
from contour.core.volume import Modality
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_check import check_rtstruct
from contour.dicom.rtstruct_read import read_rtstruct
from contour.exports import Export
from contour.imaging.nifti import read_nifti_array
from contour.imaging.phantom import Phantom
from contour.inference.session import Engine, Network, SessionOptions, open_network
from contour.library import packages_for
from contour.pipeline import Drawing, RunOptions, contour_series, draw_structures
from contour.qa.completeness import standings
from contour.qa.structures import check_structures

FILES = ["preview.png", "report.json", "rtstruct.dcm"]


@pytest.fixture(scope="module")
def networks(tiny_models: Path, tiny_protocol: Protocol) -> tuple[Network, ...]:
    options = SessionOptions(engine=Engine.CPU, threads=1)
    return tuple(open_network(package, options) for package in packages_for(tiny_protocol, (tiny_models,)))


def test_a_folder_becomes_a_proven_rtstruct_with_report_and_picture(
    thorax_series: Path, thorax: Phantom, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    stages: list[tuple[str, float]] = []
    run = contour_series(
        thorax_series, tiny_protocol, networks, tmp_path / "out", progress=lambda s, d: stages.append((s, d))
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES
    series = read_series(thorax_series)
    read = {s.name: s for s in read_rtstruct(tmp_path / "out" / "rtstruct.dcm", series).structures}
    assert list(read) == ["Body", "Lungs", "Bone"]
    assert check_rtstruct(tmp_path / "out" / "rtstruct.dcm", series) == ()
    for structure in run.drawing.structures.structures:
        assert np.array_equal(structure.mask_zyx, read[structure.name].mask_zyx)
        assert structure.offset_zyx == read[structure.name].offset_zyx
    true_body = next(s for s in thorax.structures.structures if s.name == "Body")
    assert run.drawing.structures.volume_ml(read["Body"]) == pytest.approx(
        thorax.structures.volume_ml(true_body), rel=0.01
    )
    assert stages[0][0] == "read"
    assert all(0 <= done <= 1 for _, done in stages)
    assert ("draw", 1.0) in stages


def test_further_forms_hold_the_same_voxels_and_do_not_outlive_their_run(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = contour_series(
        thorax_series, tiny_protocol, networks, out, options=RunOptions(also=(Export.SEG, Export.NIFTI))
    )
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES, "dicom-seg.dcm", "masks"])
    structures = run.drawing.structures
    labels = [str(item.SegmentLabel) for item in pydicom.dcmread(out / "dicom-seg.dcm").SegmentSequence]
    assert labels == [structure.name for structure in structures.structures]
    for structure in structures.structures:
        mask, _ = read_nifti_array(out / "masks" / f"{structure.name}.nii.gz", "1.2.3")
        assert np.count_nonzero(mask) == np.count_nonzero(structure.mask_zyx)
    again = RunOptions(also=(Export.NIFTI,), overwrite=True)
    contour_series(thorax_series, tiny_protocol, networks, out, options=again)
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES, "masks"])
    (out / "rtstruct.dcm").unlink()
    with pytest.raises(ConfigError, match="masks"):
        contour_series(thorax_series, tiny_protocol, networks, out)


def test_a_segmentation_that_differs_costs_no_rtstruct(
    thorax_series: Path,
    tiny_protocol: Protocol,
    networks: tuple[Network, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def differ(*_: object) -> None:
        raise NotReleased(("Lungs: 3 voxels differ",))

    monkeypatch.setattr(exports, "write_seg", differ)
    run = contour_series(thorax_series, tiny_protocol, networks, tmp_path, options=RunOptions(also=(Export.SEG,)))
    assert run.report.released
    assert "not-exported" in [finding.code for finding in run.report.findings]
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES


def test_the_report_says_what_ran_and_never_who(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    run = contour_series(thorax_series, tiny_protocol, networks, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["released"]
    assert content["rtstruct_sop_instance_uid"] == run.report.rtstruct_sop_instance_uid
    assert content["packages"][0]["sha256"] == networks[0].manifest.onnx_sha256
    assert {s["name"] for s in content["structures"]} == {"Body", "Lungs", "Bone"}
    assert [f["code"] for f in content["findings"]] == ["not-offered", "not-located"]
    assert set(content["seconds"]) == {"read", "draw", "write", "preview"}
    assert content["peak_memory_mb"] > 50
    for private in ("Серік", "Әлия", "P-1", "19700102"):
        assert private not in text


def test_the_same_input_gives_the_same_instance(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    uids = {
        contour_series(thorax_series, tiny_protocol, networks, tmp_path / name).report.rtstruct_sop_instance_uid
        for name in ("a", "b")
    }
    assert len(uids) == 1


def test_provenance_stands_on_what_a_network_drew_only(
    thorax: Phantom, tiny_protocol: Protocol, networks: tuple[Network, ...]
) -> None:
    drawing = draw_structures(thorax.volume, tiny_protocol, networks)
    body, lungs, bone = drawing.structures.structures
    assert body.provenance is None
    assert body.confidence is None
    for structure in (lungs, bone):
        assert structure.provenance is not None
        assert structure.provenance.sha256 == networks[0].manifest.onnx_sha256
    assert drawing.structures.label == "TINY"


def test_lungs_by_threshold_match_the_phantom(
    thorax: Phantom, tiny_protocol: Protocol, networks: tuple[Network, ...]
) -> None:
    """The network knows HU only; inside the body and away from the trachea's lumen that is the truth."""
    drawing = draw_structures(thorax.volume, tiny_protocol, networks)
    shape = thorax.volume.geometry.shape_zyx
    drawn = next(s for s in drawing.structures.structures if s.name == "Lungs").full_mask(shape)
    true = {s.name: s.full_mask(shape) for s in thorax.structures.structures}
    lungs = true["Lung_L"] | true["Lung_R"]
    missed = np.count_nonzero(lungs & ~drawn) / np.count_nonzero(lungs)
    assert missed < 0.15


def test_an_earlier_run_stays_unless_overwriting(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    (tmp_path / "rtstruct.dcm").write_bytes(b"edited by a person")
    with pytest.raises(ConfigError, match=r"holds rtstruct\.dcm"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path)
    assert (tmp_path / "rtstruct.dcm").read_bytes() == b"edited by a person"
    contour_series(thorax_series, tiny_protocol, networks, tmp_path, options=RunOptions(overwrite=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES


def test_what_does_not_prove_equal_is_not_released(
    thorax_series: Path,
    tiny_protocol: Protocol,
    networks: tuple[Network, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise NotReleased(("Lungs: 3 voxels differ",))

    monkeypatch.setattr(pipeline, "write_rtstruct", refuse)
    (tmp_path / "rtstruct.dcm").write_bytes(b"of an earlier run")
    run = contour_series(thorax_series, tiny_protocol, networks, tmp_path, options=RunOptions(overwrite=True))
    assert not run.report.released
    assert run.report.rtstruct_sop_instance_uid is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["preview.png", "report.json"]
    stop = [f for f in json.loads((tmp_path / "report.json").read_text())["findings"] if f["severity"] == "stop"]
    assert [f["message"] for f in stop] == ["Lungs: 3 voxels differ"]


def test_left_and_right_exchanged_is_not_released(
    thorax: Phantom, thorax_series: Path, tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"Lung_L": "Lung_R", "Lung_R": "Lung_L"}
    lungs = [s for s in thorax.structures.structures if s.name in other]
    exchanged = replace(thorax.structures, structures=tuple(replace(s, name=other[s.name]) for s in lungs))
    findings = check_structures(exchanged, thorax.volume, tiny_protocol)
    drawing = Drawing(exchanged, findings, (), standings(exchanged, findings, tiny_protocol))
    monkeypatch.setattr(pipeline, "draw_structures", lambda *_, **__: drawing)
    run = contour_series(thorax_series, tiny_protocol, (), tmp_path / "out")
    assert not run.report.released
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["preview.png", "report.json"]
    assert any("left of" in f.message for f in run.report.findings if f.code == "not-released")


def test_a_drawing_of_nothing_is_not_released_and_reported(
    thorax: Phantom, thorax_series: Path, tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros((0, 0, 0), dtype=bool)
    empty = tuple(replace(s, mask_zyx=nothing, offset_zyx=(0, 0, 0)) for s in thorax.structures.structures)
    structures = replace(thorax.structures, structures=empty)
    drawing = Drawing(structures, (), (), standings(structures, (), tiny_protocol))
    monkeypatch.setattr(pipeline, "draw_structures", lambda *_, **__: drawing)
    run = contour_series(thorax_series, tiny_protocol, (), tmp_path / "out")
    assert not run.report.released
    assert [f.message for f in run.report.findings if f.code == "not-released"] == [
        "No structure was found on this image."
    ]


def test_a_failure_leaves_nothing_behind(
    thorax_series: Path,
    tiny_protocol: Protocol,
    networks: tuple[Network, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "write_preview", full_disk)
    with pytest.raises(OSError, match="No space"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_is_known_before_the_work(
    thorax_series: Path,
    tiny_protocol: Protocol,
    networks: tuple[Network, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(pipeline, "read_series", never)
    (tmp_path / "file").write_text("of a person")
    with pytest.raises(ConfigError, match="is a file"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path / "file")
    with pytest.raises(OSError, match="Not a directory"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path / "file" / "out")
    (tmp_path / "loop").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="exists"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path / "loop")
    assert (tmp_path / "file").read_text() == "of a person"


def test_two_runs_into_one_folder_do_not_mix(
    thorax_series: Path,
    tiny_protocol: Protocol,
    networks: tuple[Network, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other_run_ends(*_: object) -> None:
        (tmp_path / "rtstruct.dcm").write_bytes(b"of the other run")

    monkeypatch.setattr(pipeline, "write_preview", other_run_ends)
    with pytest.raises(ConfigError, match=r"holds rtstruct\.dcm"):
        contour_series(thorax_series, tiny_protocol, networks, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["rtstruct.dcm"]
    assert (tmp_path / "rtstruct.dcm").read_bytes() == b"of the other run"


def test_a_title_is_text_and_nothing_else(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    run = contour_series(thorax_series, replace(tiny_protocol, title=r"$\nonsense{$ 100 $"), networks, tmp_path)
    assert run.report.released


def test_a_series_with_a_gap_is_refused_and_nothing_is_made(
    thorax_series: Path, tiny_protocol: Protocol, networks: tuple[Network, ...], tmp_path: Path
) -> None:
    broken = tmp_path / "ct"
    shutil.copytree(thorax_series, broken)
    sorted(broken.iterdir())[30].unlink()
    with pytest.raises(InputRefused) as refused:
        contour_series(broken, tiny_protocol, networks, tmp_path / "out")
    assert refused.value.reason is Reason.MISSING_SLICE
    assert not (tmp_path / "out").exists()


def test_another_modality_is_refused(thorax: Phantom, tiny_protocol: Protocol, networks: tuple[Network, ...]) -> None:
    with pytest.raises(InputRefused) as refused:
        draw_structures(replace(thorax.volume, modality=Modality.MR), tiny_protocol, networks)
    assert refused.value.reason is Reason.WRONG_MODALITY


def test_a_required_structure_that_no_package_draws_is_a_mistake_in_the_protocol(
    thorax: Phantom, tiny_protocol: Protocol, networks: tuple[Network, ...]
) -> None:
    asking = replace(tiny_protocol, structures=(ProtocolStructure("Heart"),))
    with pytest.raises(ConfigError, match="Heart, which no package draws"):
        draw_structures(thorax.volume, asking, networks)
