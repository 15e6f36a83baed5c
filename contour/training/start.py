"""Weights to begin with: a package's, read from its ONNX file, or a checkpoint's; nothing is unpickled."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from contour.core.errors import PackageError
from contour.inference.package import load_package
from contour.training.config import TrainingConfig
from contour.training.network import build_network

OUTPUT_LAYERS = ("output_block.", "deep_supervision_heads.")


def starting_weights(start: Path, config: TrainingConfig) -> dict[str, Tensor]:
    """The state of the configured network with the weights of `start`, a package's folder or a checkpoint.

    Of a package, the outputs of labels with the same names are taken over; those of other labels begin at random, as
    do deep supervision's. A checkpoint must have the same labels in the same order.

    Raises:
        PackageError: the package is altered, or its network or the checkpoint's is not the configured one.
    """
    torch.manual_seed(config.schedule.seed)
    network = build_network(config.network, len(config.labels) + 1)
    # Skip connections make MONAI list a layer under several names: the file has one of them.
    parameters = dict(network.named_parameters(remove_duplicate=False))
    given = _of_package(start, config, parameters) if start.is_dir() else _of_checkpoint(start)
    taken = set()
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != value.shape:
            found = f"weights {name} {tuple(value.shape)}"
            raise PackageError(str(start), found, f"those of a network with filters {config.network.filters}")
        with torch.no_grad():
            parameter.copy_(value)
        taken.add(id(parameter))
    missing = [n for n, p in parameters.items() if id(p) not in taken and not n.startswith(OUTPUT_LAYERS[1])]
    if missing:
        allowed = f"a network with filters {config.network.filters}"
        raise PackageError(str(start), f"has no weights {missing[0]}", allowed)
    state: dict[str, Tensor] = network.state_dict()
    return state


def _of_checkpoint(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def _of_package(folder: Path, config: TrainingConfig, parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    package = load_package(folder)
    content = package.onnx_path.read_bytes()
    if sha256(content).hexdigest() != package.manifest.onnx_sha256:
        raise PackageError(str(package.onnx_path), "differs from its checksum", "the file that the manifest names")
    channels = {label.name: label.channel for label in package.manifest.labels}
    weights = {}
    for item in onnx.load_from_string(content).graph.initializer:
        if item.name not in parameters:
            continue  # numbers of the graph itself
        value = torch.from_numpy(np.array(numpy_helper.to_array(item), dtype=np.float32))
        if item.name.startswith(OUTPUT_LAYERS[0]):
            value = _matched_outputs(value, parameters[item.name], channels, config)
        weights[item.name] = value
    return weights


def _matched_outputs(
    value: Tensor, parameter: torch.nn.Parameter, channels: dict[str, int], config: TrainingConfig
) -> Tensor:
    """The output layer's rows by label; a label that the package does not know keeps its random row."""
    rows = parameter.detach().clone()
    if value.shape[1:] != rows.shape[1:]:
        return value  # the caller says what does not fit
    rows[0] = value[0]
    for i, label in enumerate(config.labels, start=1):
        if label.name in channels:
            rows[i] = value[channels[label.name]]
    return rows
