import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tiny_networks import linear_network, make_package

from contour.core.errors import PackageError
from contour.inference.package import Label, write_manifest
from contour.inference.package import load_package as load
from contour.inference.session import Engine, SessionOptions, open_network, verify_package

LABELS = (Label(1, "A"), Label(2, "B"))


def altered(network: onnx.ModelProto, port: str, shape: list[int | str]) -> onnx.ModelProto:
    """`network` with another declared shape of its input or output."""
    changed = onnx.ModelProto()
    changed.CopyFrom(network)
    values = changed.graph.input if port == "image" else changed.graph.output
    values[0].CopyFrom(helper.make_tensor_value_info(port, TensorProto.FLOAT, shape))
    return changed


def test_a_network_runs_on_any_patch(tmp_path: Path) -> None:
    network = open_network(make_package(tmp_path, linear_network([0, 1, 2], [0.5, 0, 0]), LABELS))
    patches = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    logits = network.run(patches)
    assert logits.shape == (2, 3, 4, 5, 6)
    np.testing.assert_allclose(logits[:, 0], 0.5)
    np.testing.assert_allclose(logits[:, 2], 2 * patches, rtol=1e-6)


def test_altered_bytes_never_reach_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    content = bytearray(package.onnx_path.read_bytes())
    content[-1] ^= 1
    package.onnx_path.write_bytes(bytes(content))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    with pytest.raises(PackageError, match=r"sha256 [0-9a-f]{64}; allowed: sha256 [0-9a-f]{64}"):
        open_network(package)


def test_the_verified_bytes_are_what_runs(tmp_path: Path) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    network = open_network(package)
    package.onnx_path.unlink()
    assert network.run(np.ones((1, 2, 2, 2), dtype=np.float32))[0, 2, 0, 0, 0] == 2


def test_what_is_not_onnx_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    package.onnx_path.write_bytes(b"not a network")
    write_manifest(replace(package.manifest, onnx_sha256=hashlib.sha256(b"not a network").hexdigest()), tmp_path)
    with pytest.raises(PackageError, match="cannot be opened"):
        open_network(load(tmp_path))


def test_weights_outside_the_checksummed_file_are_refused(tmp_path: Path) -> None:
    network = linear_network(np.arange(600.0), np.zeros(600))
    onnx.save(network, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(PackageError, match="cannot be opened"):
        open_network(make_package(tmp_path, onnx.load(tmp_path / "model.onnx", load_external_data=False), LABELS))


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin"])
def test_weights_are_not_taken_from_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """An addition, which ONNX Runtime does not fold with anything while it opens the network."""
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 16, 24, 24), np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weights"], ["logits"])],
        "addition",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 16, 24, 24])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, 16, 24, 24])],
        [weights],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    onnx.save(network, "n.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    outside = onnx.load("n.onnx", load_external_data=False)
    for entry in outside.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    folder = tmp_path / "package"
    make_package(folder, outside, LABELS)
    (folder / "weights.bin").write_bytes(Path("weights.bin").read_bytes())
    with pytest.raises(PackageError, match="cannot be opened"):
        open_network(load(folder), SessionOptions(engine=Engine.CPU, threads=1))


def test_channels_are_as_many_as_a_byte_tells_apart(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="256 channels; allowed: at most 255"):
        open_network(make_package(tmp_path, linear_network(np.zeros(256), np.zeros(256)), LABELS))
    open_network(make_package(tmp_path, linear_network(np.zeros(255), np.zeros(255)), LABELS))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_what_is_no_number_is_never_drawn_from(tmp_path: Path, bad: float, channel: int) -> None:
    slopes = np.array([0.0, 1.0, 2.0])
    slopes[channel] = bad
    network = open_network(make_package(tmp_path, linear_network(slopes, [0, 0, 0]), LABELS))
    with pytest.raises(PackageError, match="nan or infinity"):
        network.run(np.ones((1, 2, 2, 2), dtype=np.float32))


@pytest.mark.parametrize(
    ("port", "shape", "message"),
    [
        ("image", ["n", 1, 16, 24, 25], "16, 24, 24"),
        ("image", ["n", 2, "z", "y", "x"], "1, 16, 24, 24"),
        ("image", ["n", 1, "z", "y"], "image is"),
        ("logits", ["n", 2, "z", "y", "x"], "2 channels; allowed: more than 2"),
    ],
)
def test_a_network_that_does_not_fit_its_manifest_is_refused(
    tmp_path: Path, port: str, shape: list[int | str], message: str
) -> None:
    channels = 2 if port == "logits" else 3
    network = altered(linear_network(np.arange(channels), np.zeros(channels)), port, shape)
    if shape[1] == 2 and port == "image":
        network.graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(np.ones((3, 2, 1, 1, 1), np.float32), "weights")
        )
    if len(shape) == 4:
        network.graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "weights")
        )
        del network.graph.node[0].attribute[:]
        network = altered(network, "logits", ["n", 3, "z", "y"])
    with pytest.raises(PackageError, match=message):
        open_network(make_package(tmp_path, network, LABELS))


def test_fixed_dimensions_that_fit_and_open_channels_are_accepted(tmp_path: Path) -> None:
    network = altered(linear_network([0, 1, 2], [0, 0, 0]), "image", [1, 1, 16, 24, 24])
    opened = open_network(make_package(tmp_path, altered(network, "logits", ["n", "c", "z", "y", "x"]), LABELS))
    assert opened.channels == 3


def test_verify_runs_a_patch(tmp_path: Path) -> None:
    verify_package(make_package(tmp_path / "good", linear_network([0, 1, 2], [0, 0, 0]), LABELS))
    with pytest.raises(PackageError, match="nan or infinity"):
        verify_package(make_package(tmp_path / "bad", linear_network([0, 1, np.inf], [0, 0, 0]), LABELS))


def test_an_engine_that_is_not_here_is_refused_and_auto_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    for engine in (Engine.CUDA, Engine.TENSORRT, Engine.DIRECTML, Engine.OPENVINO):
        with pytest.raises(PackageError, match=f"engine {engine} does not start here; allowed: one of auto, cpu$"):
            open_network(package, SessionOptions(engine=engine))
    assert open_network(package, SessionOptions(threads=1)).engine is Engine.CPU


def test_without_kept_memory_the_answer_is_the_same(tmp_path: Path) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    patch = np.random.default_rng(2).normal(size=(1, 4, 5, 6)).astype(np.float32)
    kept = open_network(package, SessionOptions(Engine.CPU)).run(patch)
    np.testing.assert_array_equal(open_network(package, SessionOptions(Engine.CPU, spare_memory=True)).run(patch), kept)


def test_at_least_one_thread() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SessionOptions(threads=0)


def test_patches_keep_within_what_is_allowed(tmp_path: Path) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    smallest = int(np.prod(package.manifest.patch_shape_zyx))
    larger = replace(package, manifest=replace(package.manifest, largest_patch_voxels=8 * smallest))
    assert open_network(larger).manifest.largest_patch_voxels == 8 * smallest
    bounded = open_network(larger, SessionOptions(patch_voxels=3 * smallest))
    assert bounded.manifest.largest_patch_voxels == 3 * smallest
    with pytest.raises(PackageError, match=f"patches of {smallest} voxels at least; allowed: at most {smallest - 1}"):
        open_network(larger, SessionOptions(patch_voxels=smallest - 1))
