"""Tiny ONNX networks whose answers are known in closed form, as packages."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Label, Manifest, ModelPackage, Training, load_package, write_manifest

# Identity: a network sees HU (clipped to a wide window).
HU = Preprocessing(spacing_zyx_mm=(3.0, 3.0, 3.0), clip=(-1024.0, 3000.0), mean=0.0, std=1.0)


def linear_network(slopes: ArrayLike, intercepts: ArrayLike) -> onnx.ModelProto:
    """logits[c] = slopes[c] * value + intercepts[c] at each voxel by itself: a 1 x 1 x 1 convolution."""
    weights = np.asarray(slopes, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    biases = np.asarray(intercepts, dtype=np.float32)
    return convolution(weights, biases)


def box_mean_network(size: int, slopes: ArrayLike, intercepts: ArrayLike) -> onnx.ModelProto:
    """As `linear_network`, of the mean over `size` voxels along each axis (zero-padded): it looks around."""
    kernel = np.full((1, size, size, size), 1 / size**3)
    weights = (np.asarray(slopes).reshape(-1, 1, 1, 1, 1) * kernel).astype(np.float32)
    return convolution(weights, np.asarray(intercepts, dtype=np.float32))


def convolution(weights: np.ndarray, biases: np.ndarray) -> onnx.ModelProto:
    pads = [n // 2 for n in weights.shape[2:]] * 2
    node = helper.make_node("Conv", ["image", "weights", "biases"], ["logits"], pads=pads)
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, "z", "y", "x"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(biases), "z", "y", "x"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(biases, "biases")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def make_package(
    folder: Path,
    network: onnx.ModelProto,
    labels: tuple[Label, ...],
    patch_shape_zyx: tuple[int, int, int] = (16, 24, 24),
    preprocessing: Preprocessing = HU,
    modality: Modality = Modality.CT,
) -> ModelPackage:
    """A whole package on disk, loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    content = network.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    (folder / "CARD.md").write_text("# A network for tests\n", encoding="utf-8")
    manifest = Manifest(
        name="tiny",
        version="1.0.0",
        title="A network for tests",
        modality=modality,
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
        patch_shape_zyx=patch_shape_zyx,
        preprocessing=preprocessing,
        labels=labels,
        training=Training(data=(), licences=(), command="none: made by hand"),
    )
    write_manifest(manifest, folder)
    return load_package(folder)
