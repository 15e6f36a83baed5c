import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_training import tiny_config

from contour.inference.package import Training, load_package
from contour.inference.session import verify_package
from contour.training import export
from contour.training.network import build_network

ABOUT = export.ExportInput(Training(("made",), ("none",), "python -m made"), "# Card\n")


def test_an_exported_package_opens_and_answers_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_config(1)
    network = build_network(config.network, 3)
    manifest = export.export_package(config, network, ABOUT, tmp_path / "pkg")
    package = load_package(tmp_path / "pkg")
    verify_package(package)
    assert package.manifest == manifest
    assert manifest.onnx_sha256 == hashlib.sha256(package.onnx_path.read_bytes()).hexdigest()
    assert [label.name for label in manifest.labels] == ["Lung_L", "Lung_R"]
    # The exporter's notes would name the paths of the machine that exported it.
    assert str(Path(torch.__file__).parent).encode() not in package.onnx_path.read_bytes()
    assert all(not node.metadata_props and not node.doc_string for node in onnx.load(package.onnx_path).graph.node)
    # Another batch and grid than it was exported with.
    patch = torch.randn(2, 1, 8, 24, 16)
    session = onnxruntime.InferenceSession(package.onnx_path.read_bytes())
    found = session.run(None, {"image": patch.numpy()})[0]
    with torch.inference_mode():
        expected = network.eval()(patch).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_a_network_that_differs_after_export_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    config = tiny_config(1)
    with pytest.raises(export.ExportDiffersError, match="logits differ"):
        export.export_package(config, build_network(config.network, 3), ABOUT, tmp_path / "pkg")
    assert list((tmp_path / "pkg").iterdir()) == []
