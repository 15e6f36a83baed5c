"""From a checkpoint to a model package: ONNX, held to torch voxel by voxel before the package exists.

Onnxruntime's logits lie up to some 1e-4 of the largest logit from torch's, where a patch is mostly air: its instance
normalisation adds up 10^5 values in single precision one after the other, and equal values are rounded to one side.
Torch adds up in parts, and lies a hundred times nearer to double precision. The winner changes in a voxel of 10^5.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from contour.cases.evaluation import Evaluation
from contour.cases.store import load_image, load_record
from contour.config import save_config
from contour.core.errors import ConfigError, ContourError
from contour.core.staging import staged
from contour.inference.engine import NetworkEngine
from contour.inference.likeness import Likeness, answer, likeness
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Manifest,
    ModelPackage,
    Training,
    load_package,
    write_manifest,
)
from contour.inference.session import Engine, SessionOptions, open_network
from contour.training.card import CardFacts, CardInput, card_text
from contour.training.config import TrainingConfig
from contour.training.engine import TrainedRun, manifest_of, open_run
from contour.training.fit import trained_network
from contour.training.run import RunRecord

OPSET = 20
MAX_RANDOM_DIFFERENCE = 1e-3  # of a logit on random numbers, in parts of the largest
MAX_CASE_DIFFERENCE = 2e-3  # the same on a real case
LEAST_SAME_WINNER = 0.9999  # of the voxels of a real case; on a small crop a few voxels at borders are more than that,
LEAST_DICE = 0.999  # and then this decides, of each structure

CALIBRATION_CASES = 4
CONFIG_FILE = "training.yaml"
LIKENESS_FILE = "likeness.yaml"

Progress = Callable[[str, float], None]


class ExportDiffersError(ContourError):
    """The exported network answers otherwise than the one that was trained; nothing was released."""


@dataclass(frozen=True)
class ExportInput:
    """What a package says of itself beyond the configuration: where its data come from, and its model card."""

    training: Training
    card: str


@dataclass(frozen=True)
class ExportOptions:
    """What a package is held to, and what it says of itself.

    `cases` are folders of reference cases on whose images ONNX Runtime is compared with torch; `evaluation` is of the
    run's checkpoint, or of an earlier export of it. `session` says what ONNX Runtime runs on. `training` says where the
    network comes from; by default it is what the run's record knows.
    """

    cases: tuple[Path, ...] = ()
    said: CardInput = field(default_factory=CardInput)
    evaluation: Evaluation | None = None
    session: SessionOptions = field(default_factory=lambda: SessionOptions(engine=Engine.CPU))
    overwrite: bool = False
    training: Training | None = None


@dataclass(frozen=True)
class Likenesses:
    """The content of `likeness.yaml`: how alike `tested` answered to `reference`."""

    reference: str
    tested: str
    cases: tuple[Likeness, ...]


@dataclass(frozen=True)
class ChosenCases:
    """Folders of cases to compare and measure on, and others to calibrate on."""

    measured: tuple[Path, ...]
    calibration: tuple[Path, ...]


@dataclass(frozen=True)
class Exported:
    """A package that was written, and what its card says beyond the manifest."""

    package: ModelPackage
    facts: CardFacts


def export_run(
    run: TrainedRun, folder: Path, options: ExportOptions = ExportOptions(), progress: Progress | None = None
) -> Exported:
    """The package of `run` in `folder`: network, manifest, card, the configuration, and how it was held to torch.

    Raises:
        ConfigError: `folder` holds a package and `overwrite` is not set, or the evaluation is of another network.
        ExportDiffersError: onnxruntime's answers differ from torch's on a random patch or on one of the cases.
        InputRefused: a case is damaged.
    """
    if (folder / MANIFEST_FILE).exists() and not options.overwrite:
        raise ConfigError(str(folder), "holds a package", "a folder without one, or overwriting")
    network = trained_network(run.config, run.checkpoint)
    with staged(folder) as stage:
        training = options.training or training_of(run, options.said)
        manifest = export_package(run.config, network, ExportInput(training, "in work\n"), stage)
        torch_network = open_run(run, torch.device("cpu"))
        _refuse_other_evaluation(options.evaluation, (manifest.onnx_sha256, torch_network.manifest.onnx_sha256))
        tested = open_network(load_package(stage), options.session)
        found = compare_on_cases(torch_network, tested, options.cases, progress or _silent)
        for one in found:
            _refuse_unlike(folder, one)
        facts = _facts(run, manifest, options.evaluation, found, _random_difference(run.config, network, stage))
        (stage / CARD_FILE).write_text(card_text(options.said, facts, datetime.now(UTC).date()), encoding="utf-8")
        save_config(run.config, stage / CONFIG_FILE)
        save_config(Likenesses(torch_network.engine, f"onnxruntime {tested.engine}", found), stage / LIKENESS_FILE)
    return Exported(load_package(folder), facts)


def choose_cases(folders: tuple[Path, ...], record: RunRecord | None, measured: int) -> ChosenCases:
    """Up to `measured` cases to measure on: held out from the training if there are such, else of its validation.

    Of the others up to four are for calibration, those that trained first.
    """
    held_out = set(record.held_out) if record else set()
    validated = {use.name for use in record.validation} if record else set()
    trained = {use.name for use in record.training} if record else set()
    ranked = sorted(folders, key=lambda f: (f.name not in held_out, f.name not in validated, f.name in trained, f.name))
    chosen, others = tuple(ranked[:measured]), ranked[measured:]
    others.sort(key=lambda f: (f.name not in trained, f.name))
    return ChosenCases(chosen, tuple(others[:CALIBRATION_CASES]))


def compare_on_cases(
    reference: NetworkEngine, tested: NetworkEngine, cases: tuple[Path, ...], progress: Progress
) -> tuple[Likeness, ...]:
    """How alike two engines answer on the image of each case.

    Raises:
        InputRefused: a case is damaged.
    """
    found = []
    for done, folder in enumerate(cases):
        progress("Compare", done / len(cases))
        record = load_record(folder)
        volume = load_image(folder, record)
        found.append(likeness(record.name, answer(reference, volume), answer(tested, volume)))
    progress("Compare", 1.0)
    return tuple(found)


def training_of(run: TrainedRun, said: CardInput) -> Training:
    """Where the network of `run` comes from; the cases it has seen are pseudonyms and checksums."""
    record = run.record
    seen = (*record.training, *record.validation) if record else ()
    return Training(
        data=said.data,
        licences=said.licences,
        command="contour train",
        data_sha256=record.data_sha256 if record else "",
        steps=run.steps,
        patients=tuple(sorted({use.patient for use in seen})),
        cases_sha256=tuple(sorted(use.content_sha256 for use in seen)),
    )


def export_package(config: TrainingConfig, network: torch.nn.Module, about: ExportInput, folder: Path) -> Manifest:
    """Writes `model.onnx`, `package.yaml` and `CARD.md` into `folder`; the manifest comes last.

    Raises:
        ExportDiffersError: onnxruntime's logits on random numbers differ from torch's by more than 1e-3 of the largest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (NETWORK_FILE + ".part")
    patch = _random_patch(config)
    export_onnx(network, patch, part)
    difference = onnx_difference(network, patch, part)
    if difference > MAX_RANDOM_DIFFERENCE:
        part.unlink()
        found = f"logits differ by {difference:.2g} of the largest"
        raise ExportDiffersError(f"{folder}: {found}; allowed: {MAX_RANDOM_DIFFERENCE}")
    checksum = hashlib.sha256(part.read_bytes()).hexdigest()
    part.replace(folder / NETWORK_FILE)
    (folder / CARD_FILE).write_text(about.card, encoding="utf-8")
    manifest = manifest_of(config, config.version, checksum, about.training)
    write_manifest(manifest, folder)
    return manifest


def export_onnx(network: torch.nn.Module, patch: torch.Tensor, path: Path, *, any_grid: bool = True) -> None:
    """The network in float32: input "image", output "logits", both (N, C, z, y, x).

    Batch and grid are free; without `any_grid` both are the patch's, for networks whose way through any other cannot be
    followed and that are never asked for one.
    """
    free = torch.export.Dim.DYNAMIC
    with _quiet():
        program = torch.onnx.export(
            network.eval().float(),
            (patch,),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: free, 2: free, 3: free, 4: free},) if any_grid else None,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    path.write_bytes(_bare(program.model_proto).SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on torchvision, which is not needed, and on torch's own outdated calls."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # MONAI's deep supervision keeps its outputs in a list, also where only the last is asked for.
            warnings.filterwarnings("ignore", "The tensor attributes .*heads.* were assigned", UserWarning)
            yield
    finally:
        exporter.setLevel(level)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes, which hold the source paths of the machine that exported it."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del item.metadata_props[:]
        item.doc_string = ""
    return model


def onnx_difference(network: torch.nn.Module, patch: torch.Tensor, path: Path) -> float:
    """The largest difference of a logit between torch and onnxruntime on the CPU, in parts of the largest logit."""
    with torch.inference_mode():
        expected = network.eval().float()(patch).numpy()
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": patch.numpy()})[0]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _random_patch(config: TrainingConfig) -> torch.Tensor:
    return torch.randn(1, 1, *config.patch_shape_zyx, generator=torch.Generator().manual_seed(0))


def _random_difference(config: TrainingConfig, network: torch.nn.Module, folder: Path) -> float:
    return onnx_difference(network, _random_patch(config), folder / NETWORK_FILE)


def _facts(
    run: TrainedRun,
    manifest: Manifest,
    evaluation: Evaluation | None,
    found: tuple[Likeness, ...],
    random_difference: float,
) -> CardFacts:
    network = trained_network(run.config, run.checkpoint)
    return CardFacts(
        manifest=manifest,
        config=run.config,
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        training_cases=len(run.record.training) if run.record else None,
        validation_cases=len(run.record.validation) if run.record else None,
        start=run.record.start if run.record else "",
        evaluation=evaluation,
        likenesses=found,
        random_difference=random_difference,
    )


def _refuse_other_evaluation(evaluation: Evaluation | None, checksums: tuple[str, ...]) -> None:
    if evaluation is not None and not any(used.sha256 in checksums for used in evaluation.packages):
        judged = ", ".join(f"{used.name} {used.version} {used.sha256[:12]}" for used in evaluation.packages)
        raise ConfigError("evaluation", f"judged {judged}", f"one of {' or '.join(c[:12] for c in checksums)}")


def _refuse_unlike(folder: Path, found: Likeness) -> None:
    others_win = found.same_winner < LEAST_SAME_WINNER and found.least_dice < LEAST_DICE
    if found.relative_difference > MAX_CASE_DIFFERENCE or others_win:
        raise ExportDiffersError(
            f"{folder}: on {found.case} logits differ by {found.max_difference:.2g} of {found.largest_logit:.3g} and "
            f"the winner is the same in {found.same_winner:.6f} of the voxels (least Dice {found.least_dice:.5f}); "
            f"allowed: {MAX_CASE_DIFFERENCE} of the largest, {LEAST_SAME_WINNER} or a Dice of {LEAST_DICE}"
        )


def _silent(_: str, __: float) -> None:
    """No one listens."""
