"""From a checkpoint to a model package: ONNX, held to torch voxel by voxel before the package exists."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from contour.core.errors import ContourError
from contour.core.volume import Modality
from contour.inference.package import CARD_FILE, NETWORK_FILE, Label, Manifest, Training, write_manifest
from contour.training.config import TrainingConfig

OPSET = 20
MAX_DIFFERENCE = 1e-3


class ExportDiffersError(ContourError):
    """The exported network answers otherwise than the one that was trained; nothing was released."""


@dataclass(frozen=True)
class ExportInput:
    """What a package says of itself beyond the configuration: where its data come from, and its model card."""

    training: Training
    card: str


def export_package(config: TrainingConfig, network: torch.nn.Module, about: ExportInput, folder: Path) -> Manifest:
    """Writes `model.onnx`, `package.yaml` and `CARD.md` into `folder`; the manifest comes last.

    Raises:
        ExportDiffersError: onnxruntime's logits differ from torch's by more than 1e-3 on a random patch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (NETWORK_FILE + ".part")
    patch = torch.randn(1, 1, *config.patch_shape_zyx, generator=torch.Generator().manual_seed(0))
    export_onnx(network, patch, part)
    difference = onnx_difference(network, patch, part)
    if difference > MAX_DIFFERENCE:
        part.unlink()
        raise ExportDiffersError(f"{folder}: logits differ by {difference:.2g}; allowed: {MAX_DIFFERENCE}")
    checksum = hashlib.sha256(part.read_bytes()).hexdigest()
    part.replace(folder / NETWORK_FILE)
    (folder / CARD_FILE).write_text(about.card, encoding="utf-8")
    manifest = Manifest(
        name=config.name,
        version=config.version,
        title=config.title,
        modality=Modality.CT,
        onnx_sha256=checksum,
        licence=config.licence,
        patch_shape_zyx=config.patch_shape_zyx,
        preprocessing=config.preprocessing,
        labels=tuple(Label(i, label.name) for i, label in enumerate(config.labels, start=1)),
        training=about.training,
        largest_patch_voxels=config.largest_patch_voxels,
    )
    write_manifest(manifest, folder)
    return manifest


def export_onnx(network: torch.nn.Module, patch: torch.Tensor, path: Path) -> None:
    """The network in float32 with a free batch and grid: input "image", output "logits", both (N, C, z, y, x)."""
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        network.eval().float(),
        (patch,),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: free, 2: free, 3: free, 4: free},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    path.write_bytes(_bare(program.model_proto).SerializeToString(deterministic=True))


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
    """The largest absolute difference of a logit between torch and onnxruntime on the CPU, in float32."""
    with torch.inference_mode():
        expected = network.eval().float()(patch).numpy()
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": patch.numpy()})[0]
    return float(np.abs(found - expected).max())
