"""Smaller numbers in a network, and what they cost: half precision and 8-bit integers, each a package of its own.

A variant has another name than the network it comes from (`thorax_ct_int8`), so that a protocol must ask for it: none
is ever chosen silently. It is written only with its loss, measured on real cases.
"""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from contour.cases.score import Measure, score
from contour.cases.store import Case, load_case
from contour.config import save_config
from contour.core.errors import ConfigError
from contour.core.staging import staged
from contour.core.volume import Volume
from contour.imaging.preprocess import network_grid, preprocess
from contour.inference.likeness import Answer, Likeness, answer, likeness
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Manifest,
    ModelPackage,
    load_package,
    write_manifest,
)
from contour.inference.region import around_body, box_of
from contour.inference.session import SessionOptions, open_network
from contour.inference.tiling import plan_tiles
from contour.training.card import CardFacts, CardInput, card_text

LOSS_FILE = "loss.yaml"
CALIBRATION_PATCHES = 24
# Convolutions on the full grid, where values are nearest to image and answer: in single precision they cost a tenth of
# the time, and without them integers lose three times as much.
SINGLE_FIRST, SINGLE_LAST = 2, 3
TOLERANCE_MM = 3.0

Progress = Callable[[str, float], None]


class Variant(StrEnum):
    """How numbers are kept. `FP16`: half precision, normalisation in single. `INT8`: convolutions in 8-bit integers."""

    FP16 = "fp16"
    INT8 = "int8"

    @property
    def words(self) -> str:
        """For the card."""
        if self is Variant.FP16:
            return "Half precision; normalisation in single precision."
        return (
            "Convolutions in 8-bit integers, calibrated on prepared cases; those on the full grid in single precision."
        )


@dataclass(frozen=True)
class StructureLoss:
    """What a variant costs a structure, as means over the cases.

    `dice_to_original` compares the two drawings. `dice_original` and `dice_variant` compare each with what people drew,
    over `referenced` cases; None where no case has the structure drawn.
    """

    name: str
    dice_to_original: float
    least_dice_to_original: float
    referenced: int
    dice_original: float | None
    dice_variant: float | None


@dataclass(frozen=True)
class Loss:
    """The content of `loss.yaml`: a variant beside the network it comes from, on real cases."""

    variant: Variant
    original: str
    original_sha256: str
    original_bytes: int
    variant_bytes: int
    calibrated_on: tuple[str, ...]
    cases: tuple[Likeness, ...]
    structures: tuple[StructureLoss, ...]

    @property
    def original_seconds(self) -> float:
        """Of drawing all cases."""
        return sum(case.reference_seconds for case in self.cases)

    @property
    def variant_seconds(self) -> float:
        """Of drawing all cases."""
        return sum(case.tested_seconds for case in self.cases)


@dataclass(frozen=True)
class VariantOptions:
    """The cases to measure on, and, for integers, others to calibrate on; who draws; and what the card says."""

    measured: tuple[Path, ...]
    calibration: tuple[Path, ...] = ()
    session: SessionOptions = field(default_factory=SessionOptions)
    said: CardInput = field(default_factory=CardInput)
    overwrite: bool = False


def variant_name(manifest: Manifest, variant: Variant) -> str:
    """The name of the variant's package."""
    return f"{manifest.name}_{variant}"


def export_variant(
    original: ModelPackage,
    facts: CardFacts,
    variant: Variant,
    folder: Path,
    options: VariantOptions,
    progress: Progress | None = None,
) -> Loss:
    """Write the variant of `original` as a package into `folder`, with its loss on its card and in `loss.yaml`.

    Raises:
        ConfigError: there is no case to measure on, none to calibrate on, or one is both; or `folder` holds a package
            and `overwrite` is not set.
        InputRefused: a case is damaged.
        PackageError: the changed network does not run.
    """
    _refuse_options(variant, folder, options)
    with staged(folder) as stage:
        network_bytes = _converted(original, variant, options.calibration)
        (stage / NETWORK_FILE).write_bytes(network_bytes)
        (stage / CARD_FILE).write_text("in work\n", encoding="utf-8")
        manifest = replace(
            original.manifest,
            name=variant_name(original.manifest, variant),
            title=f"{original.manifest.title} ({variant})",
            onnx_sha256=hashlib.sha256(network_bytes).hexdigest(),
        )
        write_manifest(manifest, stage)
        loss = measure_loss(original, load_package(stage), variant, options, progress or _silent)
        described = replace(facts, manifest=manifest, variant=f"{variant.words} Its loss stands at the end.")
        text = card_text(options.said, described, datetime.now(UTC).date()) + "\n" + loss_text(loss)
        (stage / CARD_FILE).write_text(text, encoding="utf-8")
        save_config(loss, stage / LOSS_FILE)
    return loss


def measure_loss(
    original: ModelPackage, changed: ModelPackage, variant: Variant, options: VariantOptions, progress: Progress
) -> Loss:
    """Draw the measured cases with both networks, one after the other, and compare.

    Raises:
        InputRefused: a case is damaged.
        PackageError: a network does not run.
    """
    networks = open_network(original, options.session), open_network(changed, options.session)
    likenesses: list[Likeness] = []
    scores: list[dict[str, tuple[float, float]]] = []
    for done, folder in enumerate(options.measured):
        progress(f"Measure {variant}", done / len(options.measured))
        case = load_case(folder, original.manifest.names)
        ours, theirs = (answer(network, case.volume) for network in networks)
        likenesses.append(likeness(case.record.name, ours, theirs))
        scores.append(_reference_dices(case, ours, theirs))
    progress(f"Measure {variant}", 1.0)
    return Loss(
        variant=variant,
        original=f"{original.manifest.name} {original.manifest.version}",
        original_sha256=original.manifest.onnx_sha256,
        original_bytes=original.onnx_path.stat().st_size,
        variant_bytes=changed.onnx_path.stat().st_size,
        calibrated_on=tuple(folder.name for folder in options.calibration),
        cases=tuple(likenesses),
        structures=tuple(_loss(name, likenesses, scores) for name in original.manifest.names),
    )


def loss_text(loss: Loss) -> str:
    """The loss as a section of a card, in Markdown."""
    alike = min(case.same_winner for case in loss.cases)
    differ = max(case.max_difference for case in loss.cases)
    cases = "1 real case" if len(loss.cases) == 1 else f"{len(loss.cases)} real cases"
    lines = [
        f"## Loss of {loss.variant}",
        "",
        f"Measured against `{loss.original}` in single precision on {cases}: size "
        f"{loss.variant_bytes / 1e6:.1f} MB instead of {loss.original_bytes / 1e6:.1f} MB; {loss.variant_seconds:.1f} "
        f"instead of {loss.original_seconds:.1f} s for all of them, on the machine that exported; logits differ by up "
        f"to {differ:.2g}, and the winner is the same in at least {100 * alike:.3f} % of the voxels.",
        "",
        "| structure | Dice to single precision | least | Dice to people, single precision | Dice to people, variant |",
        "|---|---|---|---|---|",
    ]
    for one in loss.structures:
        people = (f"{value:.4f}" if value is not None else "-" for value in (one.dice_original, one.dice_variant))
        lines.append(
            f"| {one.name} | {one.dice_to_original:.4f} | {one.least_dice_to_original:.4f} | {' | '.join(people)} |"
        )
    return "\n".join(lines) + "\n"


# -- networks ----------------------------------------------------------------------------------------------------------


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network in half precision inside; input, output and instance normalisation stay in single precision.

    Normalisation adds up squares of a whole patch, and half precision ends at 65,504.
    """
    halved: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=["InstanceNormalization"]
    )
    return halved


def eight_bits(model: onnx.ModelProto, patches: list[NDArray[np.float32]]) -> onnx.ModelProto:
    """The network with convolutions in 8-bit integers, whose ranges are those of `patches` (N, 1, z, y, x) each."""
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(model.SerializeToString())
        quantizing = logging.getLogger()
        level = quantizing.level
        quantizing.setLevel(logging.ERROR)  # advice to preprocess graphs of other exporters
        try:
            quantize_static(
                str(source),
                str(target),
                _Patches(model.graph.input[0].name, patches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*convolutions[:SINGLE_FIRST], *convolutions[-SINGLE_LAST:]],
            )
        finally:
            quantizing.setLevel(level)
        return onnx.load(str(target))


class _Patches(CalibrationDataReader):
    """What the quantizer calibrates on."""

    def __init__(self, name: str, patches: list[NDArray[np.float32]]) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter([{name: patch} for patch in patches])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, as onnxruntime asks for it."""
        return next(self._feeds, None)


def _converted(original: ModelPackage, variant: Variant, calibration: tuple[Path, ...]) -> bytes:
    model = onnx.load(str(original.onnx_path))
    if variant is Variant.FP16:
        changed = half_precision(model)
    else:
        each = max(1, CALIBRATION_PATCHES // len(calibration))
        patches = [p for folder in calibration for p in _prepared_patches(load_case(folder, ()).volume, original, each)]
        changed = eight_bits(model, patches)
    content: bytes = changed.SerializeToString(deterministic=True)
    return content


def _prepared_patches(volume: Volume, package: ModelPackage, count: int) -> list[NDArray[np.float32]]:
    """Up to `count` patches of a prepared image, spread evenly over those that prediction would run."""
    manifest = package.manifest
    patch = manifest.patch_shape_zyx
    inside = around_body(volume, network_grid(volume.geometry, manifest.preprocessing))
    box = box_of(inside, patch)
    prepared = preprocess(volume, manifest.preprocessing, box)
    missing = [(0, max(0, p - n)) for p, n in zip(patch, box.shape_zyx, strict=True)]
    values = np.pad(prepared.values_zyx, missing, constant_values=manifest.preprocessing.padding)
    plan = plan_tiles(np.pad(inside[box.slices], missing), patch, 0.25)
    tiles = [tile for layer in plan.layers for tile in layer.tiles_zyx]
    chosen = [tiles[i] for i in np.unique(np.linspace(0, len(tiles) - 1, count).round().astype(int))]
    boxes = (tuple(slice(a, a + n) for a, n in zip(tile, patch, strict=True)) for tile in chosen)
    return [np.ascontiguousarray(values[box])[None, None] for box in boxes]


# -- measuring ---------------------------------------------------------------------------------------------------------


def _reference_dices(case: Case, ours: Answer, theirs: Answer) -> dict[str, tuple[float, float]]:
    """By structure the Dice of both drawings with what people drew, where they drew it."""
    drawings = {a.name: (a, b) for a, b in zip(ours.drawn, theirs.drawn, strict=True)}
    found = {}
    for reference in case.structures.structures:
        dices = []
        for drawn in drawings[reference.name]:
            test = replace(reference, mask_zyx=drawn.mask_zyx, offset_zyx=drawn.offset_zyx)
            judged = score(case.record, reference, test, (TOLERANCE_MM,))
            dices.append(judged.value(Measure.DICE) if judged.counts else 1.0)
        found[reference.name] = (dices[0], dices[1])
    return found


def _loss(name: str, likenesses: list[Likeness], scores: list[dict[str, tuple[float, float]]]) -> StructureLoss:
    alike = [line.dice for case in likenesses for line in case.structures if line.name == name]
    people = [case[name] for case in scores if name in case]
    return StructureLoss(
        name=name,
        dice_to_original=float(np.mean(alike)),
        least_dice_to_original=min(alike),
        referenced=len(people),
        dice_original=float(np.mean([ours for ours, _ in people])) if people else None,
        dice_variant=float(np.mean([theirs for _, theirs in people])) if people else None,
    )


def _refuse_options(variant: Variant, folder: Path, options: VariantOptions) -> None:
    where = f"variant {variant}"
    if not options.measured:
        raise ConfigError(where, "no case to measure its loss on", "one or more reference cases")
    if variant is Variant.INT8 and not options.calibration:
        raise ConfigError(where, "no case to calibrate on", "cases beside those it is measured on")
    both = sorted({path.name for path in options.measured} & {path.name for path in options.calibration})
    if both:
        raise ConfigError(where, f"{', '.join(both)} to calibrate and to measure on", "each case for one of the two")
    if (folder / MANIFEST_FILE).exists() and not options.overwrite:
        raise ConfigError(str(folder), "holds a package", "a folder without one, or overwriting")


def _silent(_: str, __: float) -> None:
    """No one listens."""
