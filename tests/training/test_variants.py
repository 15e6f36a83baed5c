from pathlib import Path

import numpy as np
import onnx
import pytest
from case_folders import save_boxes
from onnx import TensorProto

from contour.cases.store import case_folders
from contour.config import load_config
from contour.core.errors import ConfigError
from contour.inference.package import available_packages, load_package
from contour.inference.session import Engine, SessionOptions, verify_package
from contour.training.engine import TrainedRun
from contour.training.export import Exported
from contour.training.variants import LOSS_FILE, Loss, Variant, VariantOptions, export_variant, variant_name

SESSION = SessionOptions(engine=Engine.CPU, threads=1)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("variants")
    save_boxes(folder, 3)
    return case_folders(folder)


@pytest.fixture(scope="module")
def variants(
    exported_run: tuple[TrainedRun, Exported], cases: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[Variant, tuple[Path, Loss]]:
    _, exported = exported_run
    models = tmp_path_factory.mktemp("models")
    options = VariantOptions(cases[:2], cases[2:], SESSION)
    written = {}
    for variant in Variant:
        folder = models / variant_name(exported.package.manifest, variant)
        written[variant] = (folder, export_variant(exported.package, exported.facts, variant, folder, options))
    return written


@pytest.mark.parametrize("variant", list(Variant))
def test_a_variant_is_a_package_of_its_own(
    variant: Variant, variants: dict[Variant, tuple[Path, Loss]], exported_run: tuple[TrainedRun, Exported]
) -> None:
    folder, loss = variants[variant]
    original = exported_run[1].package
    package = load_package(folder)
    verify_package(package)
    assert package.manifest.name == f"{original.manifest.name}_{variant}" == folder.name
    assert package.manifest.onnx_sha256 != original.manifest.onnx_sha256
    assert package.manifest.training == original.manifest.training
    assert loss.variant_bytes < loss.original_bytes
    assert load_config(folder / LOSS_FILE, Loss) == loss
    card = package.card_path.read_text(encoding="utf-8")
    assert f"## Loss of {variant}" in card
    assert "Its loss stands at the end." in card
    assert f"`{package.manifest.onnx_sha256}`" in card


def test_variants_do_not_take_the_place_of_what_they_come_from(variants: dict[Variant, tuple[Path, Loss]]) -> None:
    folder, _ = variants[Variant.FP16]
    names = [package.manifest.name for package in available_packages((folder.parent,))]
    assert names == ["thorax_ct_fp16", "thorax_ct_int8"]


def test_half_precision_costs_little_and_integers_more(variants: dict[Variant, tuple[Path, Loss]]) -> None:
    half, integers = variants[Variant.FP16][1], variants[Variant.INT8][1]
    assert all(case.relative_difference < 0.01 for case in half.cases)
    assert all(case.relative_difference < 0.25 for case in integers.cases)
    assert max(c.max_difference for c in half.cases) < max(c.max_difference for c in integers.cases)
    assert all(line.least_dice_to_original > 0.99 for line in half.structures)
    assert integers.calibrated_on == ("case2",)
    assert [case.case for case in integers.cases] == ["case0", "case1"]
    for line in half.structures:
        assert line.referenced == 2
        assert line.dice_original == pytest.approx(line.dice_variant, abs=0.02)


def test_what_is_kept_in_which_precision(variants: dict[Variant, tuple[Path, Loss]]) -> None:
    half = onnx.load(variants[Variant.FP16][0] / "model.onnx")
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    halves = [t for t in half.graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert sum(np.prod(t.dims) for t in halves) > 0.9 * sum(np.prod(t.dims) for t in half.graph.initializer)
    integers = onnx.load(variants[Variant.INT8][0] / "model.onnx").graph
    made_by = {output: node.op_type for node in integers.node for output in node.output}
    quantized = [made_by.get(node.input[1]) == "DequantizeLinear" for node in integers.node if node.op_type == "Conv"]
    assert quantized[:2] == [False, False]
    assert quantized[-3:] == [False, False, False]
    assert all(quantized[2:-3])
    assert len(quantized) > 5


def test_a_variant_needs_cases_to_measure_its_loss_on(
    exported_run: tuple[TrainedRun, Exported], cases: tuple[Path, ...], tmp_path: Path
) -> None:
    _, exported = exported_run
    for variant, options, words in (
        (Variant.FP16, VariantOptions(()), "no case to measure"),
        (Variant.INT8, VariantOptions(cases[:1]), "no case to calibrate"),
        (Variant.INT8, VariantOptions(cases[:2], cases[1:]), "case1 to calibrate and to measure"),
    ):
        with pytest.raises(ConfigError, match=words):
            export_variant(exported.package, exported.facts, variant, tmp_path / "v", options)
    assert not (tmp_path / "v").exists()
