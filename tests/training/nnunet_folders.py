"""Small trained-model folders in nnU-Net v2's form, made with torch alone.

Files and keys are those that nnunetv2 2.8.1 (with dynamic_network_architectures 0.4.4 and torch 2.15) wrote when it
trained networks on CTs: its weights stand under two names each, and numbers of numpy lie beside them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contour.training.importing.nnunet_plans import read_model
from contour.training.importing.unet import UNet

RESAMPLING = {"order_z": 0, "force_separate_z": None, "is_seg": False}
CT_VALUES = {"percentile_00_5": -948.0, "percentile_99_5": 432.0, "mean": -153.27, "std": 406.63, "min": -1024.0}
LABELS = {"background": 0, "lung_left": 1, "lung_right": 2, "odd one": 3}
REGIONS = {"background": 0, "lungs": [1, 2], "lung_left": [1]}


@dataclass(frozen=True)
class Made:
    """What a folder says."""

    labels: dict[str, Any] = field(default_factory=lambda: LABELS)
    channels: dict[str, str] = field(default_factory=lambda: {"0": "CT"})
    residual: bool = False
    flat: bool = False
    order: tuple[int, int, int] = (0, 1, 2)
    reader: str = "SimpleITKIO"
    trainer: str = "nnUNetTrainer"
    scheme: str = "CTNormalization"
    folds: tuple[int, ...] = (0,)
    early: bool = False
    changed: dict[str, Any] = field(default_factory=dict)  # entries of the configuration that are otherwise


def make_folder(folder: Path, made: Made = Made()) -> Path:
    """The trained-model folder at `folder`."""
    folder.mkdir(parents=True)
    dataset = {"channel_names": made.channels, "labels": made.labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    name = "2d" if made.flat else "3d_fullres"
    plans = {
        "dataset_name": "Dataset501_Thorax",
        "original_median_spacing_after_transp": [2.5, 1.0, 1.0],
        "image_reader_writer": made.reader,
        "transpose_forward": list(made.order),
        "configurations": {name: configuration(made), "3d_cascade_fullres": {"inherits_from": name}},
        "foreground_intensity_properties_per_channel": {"0": CT_VALUES},
    }
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    if not made.changed:
        for fold in made.folds:
            write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", network_of(folder, name, fold), made)
    return folder


def configuration(made: Made) -> dict[str, Any]:
    dimensions = 2 if made.flat else 3
    kernels, strides = [[3] * dimensions] * 3, [[1] * dimensions, [2] * dimensions, [2] * dimensions]
    shared = {
        "patch_size": [16, 24] if made.flat else [8, 16, 24],
        "spacing": [2.0, 3.0] if made.flat else [3.0, 2.0, 2.5],
        "normalization_schemes": [made.scheme],
        "use_mask_for_norm": [made.scheme == "ZScoreNormalization"],
        "preprocessor_name": "DefaultPreprocessor",
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": RESAMPLING | {"order": 3},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": RESAMPLING | {"order": 1},
    }
    if made.early:
        network = {
            "UNet_class_name": "ResidualEncoderUNet" if made.residual else "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [1, 2, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "conv_kernel_sizes": kernels,
            "pool_op_kernel_sizes": strides,
        }
        return shared | network | made.changed
    depth = "n_blocks_per_stage" if made.residual else "n_conv_per_stage"
    kind = "ResidualEncoderUNet" if made.residual else "PlainConvUNet"
    given = {
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": kernels,
        "strides": strides,
        depth: [1, 2, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    named = f"dynamic_network_architectures.architectures.unet.{kind}"
    return shared | {"architecture": {"network_class_name": named, "arch_kwargs": given}} | made.changed


def network_of(folder: Path, name: str, seed: int) -> UNet:
    """A network of the folder's plans, with random weights."""
    torch.manual_seed(seed)
    network = UNet(read_model(folder, name).network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.3)
    return network.eval()


def write_checkpoint(path: Path, network: UNet, made: Made = Made(), **further: Any) -> None:
    """The network as nnU-Net's trainer writes one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = network.state_dict()
    twice = {_second_name(name): value for name, value in weights.items() if ".conv." in name or ".norm." in name}
    both = weights | twice
    both |= {f"decoder.{name}": value for name, value in both.items() if name.startswith("encoder.")}
    name = "2d" if made.flat else "3d_fullres"
    content = {
        "network_weights": both,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(1.25)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 4,
        "init_args": {"configuration": name, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": made.trainer,
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(content | further, path)


def _second_name(name: str) -> str:
    return name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
