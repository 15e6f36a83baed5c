from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from tiny_networks import linear_network

from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError, PackageError
from contour.inference.onnx_package import OnnxStatement, import_onnx
from contour.inference.package import Tiles
from contour.inference.session import verify_package

STATEMENT = """\
name: lungs
title: Lungs by their HU
modality: CT
licence: CC0-1.0
patch_shape_zyx: [8, 16, 16]
preprocessing: {spacing_zyx_mm: [3.0, 2.0, 2.0], clip: [-1000.0, 1000.0], mean: 0.0, std: 500.0, resampling: spline}
overlap: 0.5
tiles: even
labels:
  - {channel: 1, name: Lung_L}
  - {channel: 2, name: Lung_R}
"""


def written(folder: Path, model: onnx.ModelProto, statement: str = STATEMENT) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    (folder / "network.yaml").write_text(statement, encoding="utf-8")
    return folder / "network.onnx", folder / "network.yaml"


def after(model: onnx.ModelProto, operator: str) -> onnx.ModelProto:
    """The network with an operator over its channels at the end."""
    model.graph.node[0].output[0] = "before"
    attributes = {"axis": 1} if operator == "Softmax" else {}
    model.graph.node.append(helper.make_node(operator, ["before"], ["logits"], **attributes))
    return model


def network() -> onnx.ModelProto:
    return linear_network([0.0, 1.0, 2.0], [0.0, 0.5, -3.0])


def test_a_statement_and_a_network_are_a_package(tmp_path: Path) -> None:
    package = import_onnx(*written(tmp_path / "given", network()), tmp_path / "models")
    verify_package(package)
    assert package.folder == tmp_path / "models" / "lungs"
    assert package.manifest.names == ("Lung_L", "Lung_R")
    assert (package.manifest.overlap, package.manifest.tiles) == (0.5, Tiles.EVEN)
    assert package.onnx_path.read_bytes() == (tmp_path / "given" / "network.onnx").read_bytes()
    card = package.card_path.read_text(encoding="utf-8")
    assert "CC0-1.0" in card
    assert package.manifest.onnx_sha256 in card
    with pytest.raises(ConfigError, match="holds a package"):
        import_onnx(*written(tmp_path / "given", network()), tmp_path / "models")


@pytest.mark.parametrize("operator", ["Softmax", "Sigmoid"])
def test_probabilities_are_refused_by_name(tmp_path: Path, operator: str) -> None:
    with pytest.raises(PackageError, match=f"export the network without its last {operator.lower()}"):
        import_onnx(*written(tmp_path / "given", after(network(), operator)), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("channel: 2", "channel: 7", "more than 7"),
        ("channel: 2", "channel: 1", "more than once"),
        ("name: lungs", "name: Lungs!", "lower-case"),
        ("overlap: 0.5", "overlap: 1.0", "below 1"),
        ("tiles: even", "tiles: odd", "odd"),
        ("licence: CC0-1.0\n", "", "licence"),
    ],
)
def test_what_a_statement_cannot_say(tmp_path: Path, old: str, new: str, found: str) -> None:
    given = written(tmp_path / "given", network(), STATEMENT.replace(old, new))
    with pytest.raises((ConfigError, PackageError), match=found):
        import_onnx(*given, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    given = written(tmp_path / "given", network())
    given[0].write_bytes(b"not a network")
    with pytest.raises(PackageError, match="cannot be opened"):
        import_onnx(*given, tmp_path / "models")
    with pytest.raises(PackageError, match="cannot be read"):
        import_onnx(tmp_path / "none.onnx", given[1], tmp_path / "models")


def test_the_example_that_ships_is_a_statement() -> None:
    assert load_config(shipped_folder("configs") / "import" / "onnx.yaml", OnnxStatement).name == "my_lungs"


def test_the_command(contour: Any, tmp_path: Path) -> None:
    given = written(tmp_path / "given", network())
    assert contour("models", "import", "onnx", *given, "--output", tmp_path / "models") == 0
    assert contour("models", "verify", "lungs", "--models", tmp_path / "models") == 0
    assert contour("models", "import", "onnx", *given, "--output", tmp_path / "models") == 2
