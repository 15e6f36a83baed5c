import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from case_folders import save_boxes
from tiny_training import tiny_config
from trained_runs import make_record, make_run

from contour.cases.evaluation import Evaluation
from contour.cases.statistics import BootstrapOptions
from contour.cases.store import case_folders
from contour.config import load_config
from contour.core.errors import ConfigError
from contour.core.report import PackageUse
from contour.inference.package import Training
from contour.inference.session import verify_package
from contour.training import export
from contour.training.config import TrainingConfig
from contour.training.engine import TrainedRun, load_run
from contour.training.export import CONFIG_FILE, LIKENESS_FILE, Exported, ExportOptions, Likenesses, choose_cases
from contour.training.fit import trained_network
from contour.training.network import build_network

ABOUT = export.ExportInput(Training(("made",), ("none",), "python -m made"), "# Card\n")


def test_an_exported_package_opens_and_answers_as_torch_does(exported_run: tuple[TrainedRun, Exported]) -> None:
    run, exported = exported_run
    package = exported.package
    verify_package(package)
    assert package.manifest.onnx_sha256 == hashlib.sha256(package.onnx_path.read_bytes()).hexdigest()
    assert package.manifest.names == ("Lung_L", "Lung_R")
    # The exporter's notes would name the paths of the machine that exported it.
    assert str(Path(torch.__file__).parent).encode() not in package.onnx_path.read_bytes()
    graph = onnx.load(package.onnx_path).graph
    assert all(not node.metadata_props and not node.doc_string for node in graph.node)
    assert len(graph.output) == 1
    assert not [item.name for item in graph.initializer if "supervision" in item.name]
    # Another batch and grid than it was exported with.
    patch = torch.randn(2, 1, 8, 24, 16)
    session = onnxruntime.InferenceSession(package.onnx_path.read_bytes())
    found = session.run(None, {"image": patch.numpy()})[0]
    with torch.inference_mode():
        expected = trained_network(run.config, run.checkpoint)(patch).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_a_package_carries_what_it_was_made_of(exported_run: tuple[TrainedRun, Exported]) -> None:
    run, exported = exported_run
    folder = exported.package.folder
    assert {p.name for p in folder.iterdir()} == {
        "CARD.md",
        "likeness.yaml",
        "model.onnx",
        "package.yaml",
        "training.yaml",
    }
    assert load_config(folder / CONFIG_FILE, TrainingConfig) == run.config
    training = exported.package.manifest.training
    assert training.patients == ("case1", "case2")
    assert training.cases_sha256 == ("1" * 64, "2" * 64)
    assert run.record is not None
    assert training.data_sha256 == run.record.data_sha256
    held = load_config(folder / LIKENESS_FILE, Likenesses)
    assert (held.reference, held.tested) == ("torch cpu", "onnxruntime cpu")
    (case,) = held.cases
    assert case.case == "case0"
    assert case.relative_difference < 1e-4
    assert case.same_winner > 0.9999


def answering(monkeypatch: pytest.MonkeyPatch, difference: float) -> None:
    """An exporter that writes something, and a comparison that finds so much."""
    monkeypatch.setattr(export, "export_onnx", lambda _, __, path: path.write_bytes(b"onnx"))
    monkeypatch.setattr(export, "onnx_difference", lambda *_: difference)


def test_a_network_that_differs_after_export_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 0.01)
    config = tiny_config(1)
    with pytest.raises(export.ExportDiffersError, match="logits differ by"):
        export.export_package(config, build_network(config.network, 3), ABOUT, tmp_path / "pkg")
    assert list((tmp_path / "pkg").iterdir()) == []


def test_one_that_differs_on_a_case_leaves_nothing_behind(
    exported_run: tuple[TrainedRun, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, exported = exported_run
    onnx_bytes = exported.package.onnx_path.read_bytes()
    monkeypatch.setattr(export, "export_onnx", lambda _, __, path: path.write_bytes(onnx_bytes))
    monkeypatch.setattr(export, "LEAST_SAME_WINNER", 1.1)
    monkeypatch.setattr(export, "LEAST_DICE", 1.1)
    save_boxes(tmp_path / "cases", 1)
    options = ExportOptions(case_folders(tmp_path / "cases"))
    with pytest.raises(export.ExportDiffersError, match="on case0 logits differ by"):
        export.export_run(run, tmp_path / "models" / "tiny", options)
    assert not (tmp_path / "models").exists()


def test_voxels_at_borders_do_not_hold_up_structures_that_are_the_same(
    exported_run: tuple[TrainedRun, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, exported = exported_run
    onnx_bytes = exported.package.onnx_path.read_bytes()
    monkeypatch.setattr(export, "export_onnx", lambda _, __, path: path.write_bytes(onnx_bytes))
    monkeypatch.setattr(export, "LEAST_SAME_WINNER", 1.1)
    save_boxes(tmp_path / "cases", 1)
    done = export.export_run(run, tmp_path / "models" / "tiny", ExportOptions(case_folders(tmp_path / "cases")))
    assert done.facts.likenesses[0].least_dice >= 0.999


def test_a_package_is_not_overwritten_unasked(exported_run: tuple[TrainedRun, Exported]) -> None:
    run, exported = exported_run
    with pytest.raises(ConfigError, match="holds a package"):
        export.export_run(run, exported.package.folder)


def test_the_figures_of_another_network_do_not_go_on_a_card(
    exported_run: tuple[TrainedRun, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, exported = exported_run
    onnx_bytes = exported.package.onnx_path.read_bytes()
    monkeypatch.setattr(export, "export_onnx", lambda _, __, path: path.write_bytes(onnx_bytes))
    used = PackageUse("tiny", "1", "f" * 64, "cpu")
    of_another = Evaluation("0", "tiny", (used,), "all cases", (3.0,), BootstrapOptions(), (), (), ())
    with pytest.raises(ConfigError, match="judged tiny 1 ffffffffffff"):
        export.export_run(run, tmp_path / "a", ExportOptions(evaluation=of_another))
    own = replace(of_another, packages=(replace(used, sha256=exported.package.manifest.onnx_sha256),))
    assert export.export_run(run, tmp_path / "b", ExportOptions(evaluation=own)).facts.evaluation == own


def test_held_out_cases_are_measured_and_those_that_trained_calibrate(tmp_path: Path) -> None:
    save_boxes(tmp_path, 6)
    folders = case_folders(tmp_path)
    record = make_record(("case1", "case3", "case5"), ("case4",))
    chosen = choose_cases(folders, record, 2)
    assert [folder.name for folder in chosen.measured] == ["case4", "case0"]
    assert [folder.name for folder in chosen.calibration] == ["case1", "case3", "case5", "case2"]
    alone = choose_cases(folders[:1], None, 3)
    assert ([folder.name for folder in alone.measured], alone.calibration) == (["case0"], ())


def test_a_run_without_a_record_says_nothing_of_its_cases(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run"))
    assert run.record is None
    assert export.training_of(run, export.CardInput()).patients == ()
