import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from nnunet_folders import REGIONS, Made, make_folder, network_of, write_checkpoint
from tiny_training import tiny_config

from contour.core.errors import ConfigError, PackageError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Resampling, Standardised
from contour.inference.package import Tiles
from contour.inference.predict import predict
from contour.inference.session import open_network
from contour.training.importing.checkpoint import load_weights, network_weights, read_checkpoint
from contour.training.importing.names import NamesFile, map_names
from contour.training.importing.nnunet import NnunetOptions, import_nnunet
from contour.training.importing.nnunet_plans import read_model
from contour.training.importing.unet import UNet

OPTIONS = NnunetOptions("made")


def logits_of(package_onnx: Path, patch_nczyx: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(package_onnx.read_bytes(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"image": patch_nczyx})[0]
    return found


def random_patch(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(1, 1, *shape)).astype(np.float32)


@pytest.mark.parametrize("made", [Made(), Made(residual=True, early=True)], ids=["plain", "residual, early plans"])
def test_a_package_answers_as_the_trained_network(tmp_path: Path, made: Made) -> None:
    folder = make_folder(tmp_path / "model", made)
    imported = import_nnunet(folder, tmp_path / "models", OPTIONS)
    patch = random_patch(8, 16, 24)
    with torch.inference_mode():
        expected = network_of(folder, "3d_fullres", 0)(torch.from_numpy(patch)).numpy()
    found = logits_of(imported.package.onnx_path, patch)
    assert found.shape == expected.shape == (1, 4, 8, 16, 24)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    manifest = imported.package.manifest
    assert manifest.patch_shape_zyx == (8, 16, 24)
    assert manifest.preprocessing.spacing_zyx_mm == (3.0, 2.0, 2.5)
    assert manifest.preprocessing.clip == (-948.0, 432.0)
    assert (manifest.preprocessing.mean, manifest.preprocessing.std) == (-153.27, 406.63)
    assert (manifest.preprocessing.resampling, manifest.preprocessing.padding) == (Resampling.SPLINE, 0.0)
    assert (manifest.overlap, manifest.tiles, manifest.modality) == (0.5, Tiles.EVEN, Modality.CT)
    assert manifest.names == ("Lung_L", "Lung_R", "odd one")
    assert any("odd one" in note for note in imported.notes)  # no RTSTRUCT takes a blank


def test_axes_that_the_plans_exchange_and_turn_come_back(tmp_path: Path) -> None:
    made = Made(order=(1, 0, 2), reader="NibabelIOWithReorient")
    folder = make_folder(tmp_path / "model", made)
    imported = import_nnunet(folder, tmp_path / "models", OPTIONS)
    manifest = imported.package.manifest
    assert manifest.patch_shape_zyx == (16, 8, 24)
    assert manifest.preprocessing.spacing_zyx_mm == (2.0, 3.0, 2.5)
    patch = random_patch(16, 8, 24)
    # RAS: y and x of the network's images grow to anterior and right, canonical ones to posterior and left.
    there = patch[:, :, :, ::-1, ::-1].transpose(0, 1, 3, 2, 4).copy()
    with torch.inference_mode():
        answer = network_of(folder, "3d_fullres", 0)(torch.from_numpy(there)).numpy()
    expected = answer.transpose(0, 1, 3, 2, 4)[:, :, :, ::-1, ::-1]
    assert np.abs(logits_of(imported.package.onnx_path, patch) - expected).max() < 1e-4 * np.abs(expected).max()


def test_folds_are_averaged_and_regions_have_a_background(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", Made(labels=REGIONS, folds=(0, 1)))
    imported = import_nnunet(folder, tmp_path / "models", OPTIONS)
    patch = random_patch(8, 16, 24)
    with torch.inference_mode():
        each = [network_of(folder, "3d_fullres", fold)(torch.from_numpy(patch)).numpy() for fold in (0, 1)]
    found = logits_of(imported.package.onnx_path, patch)
    assert found.shape[1] == 3
    expected = (each[0] + each[1]) / 2
    assert np.abs(found[:, 1:] - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.allclose(found[:, 0], -found[:, 1:].max(axis=1))
    assert [(label.name, label.channel, label.threshold) for label in imported.package.manifest.labels] == [
        ("Lungs", 1, 0.5),
        ("Lung_L", 2, 0.5),
    ]


def test_a_network_of_slices_keeps_the_images_own_slices(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", Made(flat=True))
    imported = import_nnunet(folder, tmp_path / "models", OPTIONS)
    manifest = imported.package.manifest
    assert manifest.patch_shape_zyx == (1, 16, 24)
    assert manifest.preprocessing.native_axis == 0
    patch = random_patch(1, 16, 24)
    with torch.inference_mode():
        expected = network_of(folder, "2d", 0)(torch.from_numpy(patch[:, :, 0])).numpy()[:, :, None]
    assert np.abs(logits_of(imported.package.onnx_path, patch) - expected).max() < 1e-4 * np.abs(expected).max()
    # And it draws an image of other voxels, on the image's own grid.
    geometry = Geometry.axial((5, 40, 40), (4.0, 1.5, 1.5), (0.0, 0.0, 0.0), "2.25.1")
    voxels = np.random.default_rng(0).integers(-900, 200, size=geometry.shape_zyx).astype(np.int16)
    drawn = predict(open_network(imported.package), Volume(voxels, geometry, Modality.CT), manifest.names)
    assert sum(int(one.mask_zyx.sum()) for one in drawn) > 0


def test_mr_is_standardised_by_its_own_values(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", Made(channels={"0": "T1"}, scheme="ZScoreNormalization"))
    model = read_model(folder, "3d_fullres")
    assert model.modality is Modality.MR
    assert model.preprocessing.standardised is Standardised.NONZERO
    assert model.preprocessing.crop_to_nonzero


def test_names_are_taken_from_a_file(tmp_path: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("names: {odd one: Heart, lung_right: null}\n", encoding="utf-8")
    labels = ("lung_left", "lung_right", "odd one", "vertebrae_T5")
    mapped = map_names(labels, names)
    assert [one.name for one in mapped] == ["Lung_L", None, "Heart", "vertebrae_T5"]
    assert "whole vertebra" in mapped[3].remark  # a body's name is not a whole vertebra's: a person decides
    # What is known of a data set goes before the aliases, and a person's word before both.
    ready = NamesFile({"vertebrae_T5": "Vert_T05", "odd one": "Liver"})
    assert [one.name for one in map_names(labels, names, ready)] == ["Lung_L", None, "Heart", "Vert_T05"]
    assert [one.name for one in map_names(("heart", "whole heart"))] == ["heart", "whole heart"]
    names.write_text("names: {no such label: Heart}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no such label"):
        map_names(labels, names)
    names.write_text("names: {lung_left: Heart, odd one: Heart}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="more than once"):
        map_names(labels, names)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (Made(channels={"0": "CT", "1": "PET"}), "2 images a case"),
        (Made(channels={"0": "photon counts"}), "does not say whether"),
        (Made(trainer="nnUNetTrainerPrimus"), "trained by nnUNetTrainerPrimus"),
        (Made(scheme="RGBTo01Normalization"), "RGBTo01Normalization"),
        (Made(reader="Tiff3DIO"), "Tiff3DIO"),
    ],
)
def test_what_cannot_be_done_here_is_refused_by_name(tmp_path: Path, made: Made, found: str) -> None:
    plain = make_folder(
        tmp_path / "plain", replace(made, scheme="CTNormalization", reader="SimpleITKIO", channels={"0": "CT"})
    )
    other = replace(made, changed={"batch_size": 2})  # without weights, which it could not make either
    folder = make_folder(tmp_path / "model", other)
    (plain / "fold_0").rename(folder / "fold_0")
    with pytest.raises(PackageError, match=found):
        import_nnunet(folder, tmp_path / "models", OPTIONS)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "resample_torch_fornnunet"),
        ({"resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 0, "order_z": 0}}, "order 3 for images"),
        ({"preprocessor_name": "CTPreprocessor"}, "CTPreprocessor"),
        ({"previous_stage": "3d_lowres"}, "takes what 3d_lowres drew"),
    ],
)
def test_plans_that_ask_for_more_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], found: str) -> None:
    plain, folder = make_folder(tmp_path / "plain"), make_folder(tmp_path / "model", Made(changed=changed))
    (plain / "fold_0").rename(folder / "fold_0")
    with pytest.raises(PackageError, match=found):
        import_nnunet(folder, tmp_path / "models", OPTIONS)


class Runs:
    """A pickle that makes a folder when it is read as pickles are."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_checkpoint_that_would_have_to_be_run_is_refused(tmp_path: Path, protocol: str) -> None:
    folder, proof = make_folder(tmp_path / "model"), tmp_path / "it ran"
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    if protocol == "torch":
        write_checkpoint(checkpoint, network_of(folder, "3d_fullres", 0), optimizer_state=Runs(proof))
    else:
        checkpoint.write_bytes(pickle.dumps({"network_weights": Runs(proof)}))
    with pytest.raises(PackageError, match="mkdir" if protocol == "torch" else "Unsupported operand"):
        import_nnunet(folder, tmp_path / "models", OPTIONS)
    assert not proof.exists()
    assert not (tmp_path / "models").exists()


def test_numpys_names_take_numbers_only(tmp_path: Path) -> None:
    class Dtype:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.dtype, ("O", False, True)

    class Scalar:
        def __reduce__(self) -> tuple[Any, ...]:
            return np._core.multiarray.scalar, (Dtype(), b"12345678")

    torch.save({"network_weights": {}, "x": Scalar()}, tmp_path / "object.pth")
    with pytest.raises(PackageError, match="'O'"):
        read_checkpoint(tmp_path / "object.pth")
    torch.save({"a": np.float64(1.5), "b": np.int32(-7), "c": np.bool_(True)}, tmp_path / "numbers.pth")
    assert read_checkpoint(tmp_path / "numbers.pth") == {"a": 1.5, "b": -7, "c": True}


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    whole = checkpoint.read_bytes()
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        checkpoint.write_bytes(content)
        with pytest.raises(PackageError, match="checkpoint"):
            read_checkpoint(checkpoint)
    with pytest.raises(PackageError, match="cannot be read"):
        read_checkpoint(folder / "fold_7" / "checkpoint_final.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = read_checkpoint(path)
    weights = network_weights(path, content, "network_weights")
    spec = read_model(folder, "3d_fullres").network
    load_weights(UNet(spec), weights, "x")
    with pytest.raises(PackageError, match="of another shape"):
        load_weights(UNet(replace(spec, channels_out=7)), weights, "x")
    with pytest.raises(PackageError, match="missing"):
        load_weights(UNet(replace(spec, residual=True)), weights, "x")
    content["network_weights"]["encoder.stages.0.0.convs.0.all_modules.0.bias"] += 1
    content["network_weights"]["encoder.stages.0.0.convs.0.conv.bias"] = torch.zeros(4)
    with pytest.raises(PackageError, match="called elsewhere"):
        network_weights(path, content, "network_weights")
    weights["decoder.seg_layers.0.bias"][0] = float("nan")
    with pytest.raises(PackageError, match="nan"):
        load_weights(UNet(spec), weights, "x")


def test_folds_of_different_trainings_are_not_mixed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    other = Made(trainer="nnUNetTrainer_5epochs")
    write_checkpoint(folder / "fold_1" / "checkpoint_final.pth", network_of(folder, "3d_fullres", 1), other)
    with pytest.raises(PackageError, match="another training"):
        import_nnunet(folder, tmp_path / "models", OPTIONS)
    with pytest.raises(PackageError, match="is no checkpoint"):
        import_nnunet(folder, tmp_path / "others", replace(OPTIONS, folds=("3",)))


def test_the_command_shows_the_map_of_names(contour: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "model")
    arguments = ("models", "import", "nnunet", folder, "--output", tmp_path / "models", "--name", "made")
    assert contour(*arguments, "--licence", "Apache-2.0") == 0
    shown = capsys.readouterr()
    assert "lung_left" in shown.out
    assert "Lung_L" in shown.out
    assert "Compare left and right" in shown.err
    assert contour(*arguments) == 2  # it is there, and nothing says to overwrite it
    assert "holds a package" in capsys.readouterr().err


def test_only_imported_networks_have_what_training_does_not_prepare() -> None:
    config = tiny_config(steps=1)
    for change in ({"crop_to_nonzero": True}, {"native_axis": 0}):
        with pytest.raises(ValueError, match="imported networks only"):
            replace(config, preprocessing=replace(config.preprocessing, **change))
