import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms as mt
from monai.data import MetaTensor

from contour.core.errors import PackageError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import network_grid, preprocess
from contour.training.importing.bundle_config import BundleConfig
from contour.training.importing.bundle_steps import read_before
from contour.training.importing.monai import MonaiOptions, import_monai

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}
LOADED = ({"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"})
PLACED = (
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
)
WHOLE_BODY = (
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
    {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
)
SPLEEN = (
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
)


def configuration(scaling: tuple[dict[str, Any], ...] = SPLEEN, **changed: Any) -> dict[str, Any]:
    return {
        "highres": True,
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "pixdim": "$[2.0, 3.0, 2.5] if @highres else [4.0, 4.0, 4.0]",
        "network_def": NETWORK,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOADED, *PLACED, *scaling]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 16, 12], "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
        "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"},
    } | changed


def bundle(folder: Path, **changed: Any) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(configuration(**changed)), encoding="utf-8")
    output = {"channel_def": {"0": "background", "1": "spleen"}}
    form = {"inputs": {"image": {"modality": "CT"}}, "outputs": {"pred": output}}
    metadata = {"version": "0.1", "name": "made", "network_data_format": form}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    torch.save(made_network().state_dict(), folder / "models" / "model.pt")
    return folder


def made_network() -> torch.nn.Module:
    from monai.networks.nets import UNet  # noqa: PLC0415

    torch.manual_seed(3)
    return UNet(3, 1, 2, [4, 8], [2]).eval()


def test_a_package_answers_as_the_bundles_network(tmp_path: Path) -> None:
    import onnxruntime  # noqa: PLC0415

    imported = import_monai(bundle(tmp_path / "bundle"), tmp_path / "models", MonaiOptions("made"))
    manifest = imported.package.manifest
    assert manifest.names == ("Spleen",)
    assert manifest.patch_shape_zyx == (12, 16, 8)
    assert manifest.preprocessing.spacing_zyx_mm == (2.5, 3.0, 2.0)
    patch = np.random.default_rng(1).normal(size=(1, 1, 12, 16, 8)).astype(np.float32)
    there = patch[:, :, :, ::-1, ::-1].transpose(0, 1, 4, 3, 2).copy()
    with torch.inference_mode():
        expected = made_network()(torch.from_numpy(there)).numpy().transpose(0, 1, 4, 3, 2)[:, :, :, ::-1, ::-1]
    session = onnxruntime.InferenceSession(imported.package.onnx_path.read_bytes())
    found = session.run(None, {"image": patch})[0]
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("scaling", [SPLEEN, WHOLE_BODY], ids=["a range", "standardised, then from end to end"])
def test_values_are_those_of_monais_own_transforms(scaling: tuple[dict[str, Any], ...]) -> None:
    voxels = np.random.default_rng(2).integers(-1000, 1000, size=(13, 22, 31)).astype(np.int16)
    geometry = Geometry.axial((13, 22, 31), (2.5, 1.1, 1.3), (5.0, -7.0, 11.0), "2.25.1")
    affine = np.array([[-1.3, 0, 0, -5.0], [0, -1.1, 0, 7.0], [0, 0, 2.5, 11.0], [0, 0, 0, 1]])
    stored = torch.from_numpy(voxels.transpose(2, 1, 0)[None].astype(np.float32))
    found: Any = {"image": MetaTensor(stored, affine=torch.from_numpy(affine))}
    for step in (*PLACED, *scaling):
        given = {key: value for key, value in step.items() if key != "_target_"}
        given |= {"pixdim": [2.0, 3.0, 2.5]} if "pixdim" in step else {}
        found = getattr(mt, str(step["_target_"]))(**given)(found)
    expected = np.asarray(found["image"])[0].transpose(2, 1, 0)[:, ::-1, ::-1]
    before = read_before(BundleConfig("made", configuration(scaling)))
    prepared = preprocess(Volume(voxels, geometry, Modality.CT), before.preprocessing)
    assert prepared.geometry == network_grid(geometry, before.preprocessing)
    assert prepared.values_zyx.shape == expected.shape
    assert np.abs(prepared.values_zyx - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"pixdim": "$__import__('os').system('true')"}, "system"),
        ({"network_def": {"_target_": "scripts.net.Own"}}, "scripts.net.Own"),
        ({"preprocessing": {"transforms": [{"_target_": "Lambdad", "keys": "image", "func": "$print"}]}}, "Lambdad"),
        ({"inferer": {"_target_": "SimpleInferer"}}, "SimpleInferer"),
    ],
)
def test_what_would_have_to_be_run_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], found: str) -> None:
    with pytest.raises(PackageError, match=found):
        import_monai(bundle(tmp_path / "bundle", **changed), tmp_path / "models", MonaiOptions("made"))
    assert not (tmp_path / "models" / "made").exists()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), folder / "models" / "model.pt")
    with pytest.raises(PackageError, match="TorchScript"):
        import_monai(folder, tmp_path / "models", MonaiOptions("made"))
