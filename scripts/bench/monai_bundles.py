"""Bundles in MONAI's form, for the comparison of imported packages with MONAI's own pipeline.

    python -m scripts.bench.monai_bundles WORK KIND [--cases CASE ... --steps N]

KIND is `spleen`, a U-Net at 1.5 x 1.5 x 2 mm as the model zoo's `spleen_ct_segmentation` has it, or `whole_body`,
a SegResNet of 104 structures as `wholeBody_ct_segmentation` has it (at 3 mm where the import says
`--set displayable_configs#highres=false`); both with their configurations'
structure, references and expressions, as far as inference reads them. Weights are random, of a fixed seed, or, with
CASES (folders with `image.nii.gz`, `labels.nii.gz` and `labels.json`), trained by MONAI for so many steps on what the
labels call `--structure`. A training that was cut off goes on from where it was. The bundle is WORK/KIND.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

SEED = 11
SAVE_EVERY = 25


@dataclass(frozen=True)
class Kind:
    """What differs between the bundles."""

    network: dict[str, Any]
    pixdim: Any
    scaling: tuple[dict[str, Any], ...]
    window: dict[str, Any]
    probabilities_are_inverted: bool
    weights: str = "model.pt"


UNET = {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "num_res_units": 2, "norm": "batch"}
SEGRESNET = {"init_filters": 32, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1], "dropout_prob": 0.2}
WHOLE_BODY = (
    {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
    {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
)
WINDOW = {"roi_size": [96, 96, 96], "sw_batch_size": 1}
REPLICATED = WINDOW | {"overlap": 0.25, "padding_mode": "replicate", "mode": "gaussian"}
SOFT_TISSUE = {"a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True}
KINDS = {
    "spleen": Kind(
        {"_target_": "UNet", "out_channels": 2} | UNET,
        [1.5, 1.5, 2.0],
        ({"_target_": "ScaleIntensityRanged", "keys": "@image_key"} | SOFT_TISSUE,),
        WINDOW | {"overlap": 0.5},
        probabilities_are_inverted=True,
    ),
    "whole_body": Kind(
        {"_target_": "SegResNet", "out_channels": 105} | SEGRESNET,
        "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        WHOLE_BODY,
        REPLICATED,
        probabilities_are_inverted=False,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("work", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--cases", type=Path, nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--structure", default="liver")
    arguments = parser.parse_args()
    kind = KINDS[arguments.kind]
    folder = arguments.work / arguments.kind
    write_bundle(folder, kind, arguments.structure)
    network = network_of(kind)
    path = folder / "models" / "model.pt"
    if arguments.steps:
        train(network, kind, arguments)
    torch.save(network.state_dict(), path)
    if "displayable_configs" in configuration(kind):
        torch.save(network.state_dict(), path.with_name("model_lowres.pt"))
    print(folder)


def write_bundle(folder: Path, kind: Kind, structure: str) -> None:
    """Configuration and metadata, written by MONAI."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ConfigParser.export_config_file(configuration(kind), folder / "configs" / "inference.json", indent=2)
    count = kind.network["out_channels"]
    names = {1: structure} if count == 2 else {n: f"structure {n}" for n in range(1, count)}
    channels = {"0": "background"} | {str(n): name for n, name in names.items()}
    image = {"type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1}
    metadata = {
        "version": "0.0.1",
        "monai_version": "1.6.1",
        "name": f"Benchmark, {folder.name}",
        "authors": "contour",
        "data_source": "none",
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": {"type": "image", "num_channels": count, "channel_def": channels}},
        },
    }
    ConfigParser.export_config_file(metadata, folder / "configs" / "metadata.json", indent=2)


def configuration(kind: Kind) -> dict[str, Any]:
    """`inference.json`."""
    chosen = isinstance(kind.pixdim, str)
    invert = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "@image_key",
        "nearest_interp": not kind.probabilities_are_inverted,
        "to_tensor": True,
    }
    decide = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
    return {
        **({"displayable_configs": {"highres": True}} if chosen else {}),
        "imports": ["$import glob", "$import numpy"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/images/*.nii.gz')))",
        "device": "$torch.device('cpu')",
        "pixdim": kind.pixdim,
        "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'" if chosen else "model.pt",
        "network_def": {"_target_": kind.network["_target_"], "spatial_dims": 3, "in_channels": 1} | kind.network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureTyped", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
                *kind.scaling,
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer"} | kind.window,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                *((invert, decide) if kind.probabilities_are_inverted else (decide, invert)),
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_dtype": "$numpy.uint8"},
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/' + @modelname",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


def network_of(kind: Kind) -> torch.nn.Module:
    """The network with weights of a fixed seed, the last layer's larger, so that it draws every structure somewhere."""
    torch.manual_seed(SEED)
    network: torch.nn.Module = ConfigParser(configuration(kind)).get_parsed_content("network_def")
    with torch.no_grad():
        list(network.parameters())[-2].mul_(4)
    return network


def train(network: torch.nn.Module, kind: Kind, arguments: argparse.Namespace) -> None:
    """Some steps of MONAI's training on crops of the cases, half of them around the structure."""
    from monai import transforms as mt  # noqa: PLC0415
    from monai.losses import DiceCELoss  # noqa: PLC0415

    parser = ConfigParser(configuration(kind))
    before = parser.get_parsed_content("preprocessing").transforms
    cases = []
    for case in arguments.cases:
        image = {"image": str(case / "image.nii.gz")}
        label = {"label": str(case / "labels.nii.gz")}
        for step in before:
            image = step(image)
        place = [
            mt.LoadImaged("label"),
            mt.EnsureChannelFirstd("label"),
            mt.Orientationd("label", axcodes="RAS", labels=None),
            mt.Spacingd("label", pixdim=parser.get_parsed_content("pixdim"), mode="nearest"),
        ]
        for step in place:
            label = step(label)
        value = json.loads((case / "labels.json").read_text(encoding="utf-8")).get(arguments.structure)
        inside = (label["label"] == value) if value is not None else torch.zeros_like(label["label"])
        cases.append({"image": image["image"], "label": torch.as_tensor(np.asarray(inside, dtype=np.float32))})
    crop = mt.RandCropByPosNegLabeld(["image", "label"], "label", (96, 96, 96), num_samples=2, allow_smaller=True)
    pad = mt.SpatialPadd(["image", "label"], (96, 96, 96))
    crop.set_random_state(SEED)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    state_path = arguments.work / arguments.kind / "training.pt"
    first = 0
    if state_path.is_file():
        state = torch.load(state_path, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    network.train()
    for step in range(first, arguments.steps):
        samples = [pad(sample) for sample in crop(cases[step % len(cases)])]
        image, label = (torch.stack([torch.as_tensor(s[key]) for s in samples]) for key in ("image", "label"))
        optimiser.zero_grad()
        loss = loss_of(network(image), label)
        loss.backward()
        optimiser.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == arguments.steps:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, state_path)
            print(f"step {step + 1}: loss {float(loss):.3f}", flush=True)
    network.eval()


if __name__ == "__main__":
    main()
