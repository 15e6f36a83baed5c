import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_networks import box_mean_network, linear_network, make_package

from contour.core.errors import PackageError
from contour.inference import agreement, openvino_runtime
from contour.inference.agreement import BFLOAT16, SINGLE, Disagreement, agrees, disagreement
from contour.inference.package import Label, ModelPackage
from contour.inference.session import Engine, SessionOptions, available_engines, open_network

pytest.importorskip("openvino")

LABELS = (Label(1, "A"), Label(2, "B"))


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openvino_runtime, "installed", lambda: True)
    monkeypatch.setenv("CONTOUR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny", box_mean_network(3, [0, 1, 2], [0.5, 0, 0]), LABELS)


def test_it_answers_as_onnx_runtime_on_any_shape_of_patches(package: ModelPackage) -> None:
    ours = open_network(package, SessionOptions(Engine.CPU, threads=1))
    theirs = open_network(package, SessionOptions(Engine.OPENVINO, threads=1))
    assert (theirs.engine, theirs.channels) == (Engine.OPENVINO, 3)
    for shape in ((1, 4, 5, 6), (2, 8, 8, 8), (1, 16, 24, 24), (1, 4, 5, 6)):
        patches = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(theirs.run(patches), ours.run(patches), atol=1e-5)


def test_auto_takes_it_once_it_has_agreed_and_measures_once(
    package: ModelPackage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert open_network(package, SessionOptions(threads=1)).engine is Engine.OPENVINO
    (remembered,) = (tmp_path / "cache" / "engines").iterdir()
    assert json.loads(remembered.read_text())["relative"] < SINGLE.relative

    def never(*_: object) -> Disagreement:
        raise AssertionError("measured again")

    monkeypatch.setattr("contour.inference.session.disagreement", never)
    assert open_network(package, SessionOptions(threads=1)).engine is Engine.OPENVINO


def test_what_disagrees_is_never_taken(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = openvino_runtime.OpenVino.run
    monkeypatch.setattr(openvino_runtime.OpenVino, "run", lambda self, images: answer(self, images)[:, ::-1])
    assert open_network(package, SessionOptions(threads=1)).engine is Engine.CPU
    with pytest.raises(PackageError, match="openvino answers otherwise than ONNX Runtime; allowed: cpu"):
        open_network(package, SessionOptions(Engine.OPENVINO, threads=1))


def test_what_it_cannot_read_is_left_to_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, linear_network([0, 1, 2], [0, 0, 0]), LABELS)

    def fails(*_: object) -> None:
        raise RuntimeError("an operator\nit does not know")

    monkeypatch.setattr("openvino.Core.read_model", fails)
    assert open_network(package, SessionOptions(threads=1)).engine is Engine.CPU
    with pytest.raises(
        PackageError, match="cannot be opened by OpenVINO: an operator it does not know; allowed: an ON"
    ):
        open_network(package, SessionOptions(Engine.OPENVINO))


def test_weights_outside_the_checksummed_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO itself looks for them where one stands."""
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 16, 24, 24), np.float32), "weights")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 16, 24, 24])
        for name, channels in (("image", 1), ("logits", 3))
    ]
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weights"], ["logits"])], "addition", ports[:1], ports[1:], [weights]
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    monkeypatch.chdir(tmp_path)
    onnx.save(network, "n.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    outside = make_package(tmp_path / "package", onnx.load("n.onnx", load_external_data=False), LABELS)
    for engine in (Engine.AUTO, Engine.OPENVINO):
        with pytest.raises(PackageError, match="cannot be opened"):
            open_network(outside, SessionOptions(engine, threads=1))


def test_bfloat16_is_taken_by_name_alone(package: ModelPackage) -> None:
    if not openvino_runtime.has_bf16():
        assert Engine.OPENVINO_BF16 not in available_engines()
        pytest.skip("a processor without bfloat16")
    network = open_network(package, SessionOptions(Engine.OPENVINO_BF16, threads=1))
    exact = open_network(package, SessionOptions(Engine.CPU, threads=1))
    patch = np.random.default_rng(3).normal(size=(1, 16, 24, 24)).astype(np.float32)
    difference = np.abs(network.run(patch) - exact.run(patch)).max()
    assert 1e-5 < difference < 0.05  # it is another precision, and a close one


@pytest.mark.parametrize(
    ("found", "single", "bfloat"),
    [
        (Disagreement(1e-5, 0), True, True),
        (Disagreement(0.01, 1e-3), False, True),
        (Disagreement(1e-5, 0.01), False, True),
        (Disagreement(float("inf"), 1), False, False),
    ],
)
def test_limits(found: Disagreement, single: bool, bfloat: bool) -> None:
    assert (found.within(SINGLE), found.within(BFLOAT16)) == (single, bfloat)


def test_disagreement_counts_what_differs(package: ModelPackage) -> None:
    run = open_network(package, SessionOptions(Engine.CPU, threads=1)).run
    assert disagreement(package.manifest, run, run) == Disagreement(0, 0)
    other = disagreement(package.manifest, run, lambda images: -run(images))
    assert other.relative == pytest.approx(2)
    assert other.winners > 0.9


def test_a_memory_that_cannot_be_written_or_is_half_written_measures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure() -> Disagreement:
        asked.append(1)
        return Disagreement(0, 0)

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONTOUR_CACHE", str(tmp_path / "file"))
    assert agrees("a" * 64, "engine 1", SINGLE, measure)
    assert agrees("a" * 64, "engine 1", SINGLE, measure)
    assert len(asked) == 2
    monkeypatch.setenv("CONTOUR_CACHE", str(tmp_path / "good"))
    for content in (None, '{"relative": 0', "[]", '{"relative": 9.0, "winners": 0}'):
        if content is not None:
            (file,) = (tmp_path / "good" / "engines").iterdir()
            file.write_text(content)
        assert agrees("a" * 64, "engine 1", SINGLE, measure) is (content is None or "9.0" not in content)
    assert len(asked) == 5
    assert agrees("a" * 64, "engine 2", SINGLE, measure)
    assert agrees("b" * 64, "engine 1", SINGLE, measure)
    assert len(asked) == 7
    assert len(list((tmp_path / "good" / "engines").iterdir())) == 3


def test_where_it_remembers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONTOUR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert agreement._folder() == tmp_path / "contour" / "engines"
