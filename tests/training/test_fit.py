from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import tiny_cases, tiny_config

from contour.training.cases import UNKNOWN, load_case
from contour.training.fit import fit, trained_network
from contour.training.patches import PatchStream, TruncatedFieldOfViewd
from scripts.thorax_ct.refine import refine


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of cases, checkpoint) of a training of 100 steps."""
    folder = tmp_path_factory.mktemp("fit")
    return folder, fit(tiny_config(100), tiny_cases(folder), folder / "run", workers=0)


def test_it_learns_which_side_is_which(trained: tuple[Path, Path]) -> None:
    folder, checkpoint = trained
    case = load_case(folder / "case0.npz")
    network = trained_network(tiny_config(100), checkpoint)
    with torch.inference_mode():
        logits = network(torch.from_numpy(case.image_zyx.astype(np.float32))[None, None])
    found = logits.argmax(dim=1)[0].numpy()
    for label in (1, 2):
        overlap = 2 * np.sum((found == label) & (case.labels_zyx == label))
        assert overlap / (np.sum(found == label) + np.sum(case.labels_zyx == label)) > 0.8


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    data = tiny_cases(tmp_path)
    half = fit(tiny_config(4), data, tmp_path / "run", workers=0)
    weights = {k: v.clone() for k, v in trained_network(tiny_config(4), half).state_dict().items()}
    stamp = torch.load(half, weights_only=True)["global_step"]
    assert stamp == 4
    resumed = fit(tiny_config(4), data, tmp_path / "run", workers=0)
    assert torch.load(resumed, weights_only=True)["global_step"] == 4
    assert all(torch.equal(v, weights[k]) for k, v in trained_network(tiny_config(4), resumed).state_dict().items())


def test_patches_are_never_mirrored(tmp_path: Path) -> None:
    config = tiny_config(4)
    data = tiny_cases(tmp_path)
    torch.manual_seed(0)
    stream = iter(PatchStream(data.cases, data.weights, config))
    seen = 0
    for _ in range(40):
        labels = next(stream)["label"][0].numpy()
        left, right = np.argwhere(labels == 1), np.argwhere(labels == 2)
        if len(left) > 50 and len(right) > 50:
            seen += 1
            assert left[:, 2].mean() > right[:, 2].mean()
    assert seen >= 5


def test_a_truncated_patch_is_air_and_background_at_one_end() -> None:
    transform = TruncatedFieldOfViewd(("image", "label"), padding=-3.0, prob=1.0)
    transform.set_random_state(seed=1)
    patch = {"image": torch.ones(1, 12, 4, 4), "label": torch.ones(1, 12, 4, 4)}
    result = transform(patch)
    gone = (result["label"][0, :, 0, 0] == 0).numpy()
    assert 1 <= gone.sum() < 6
    assert gone[0] != gone[-1]
    assert (result["image"][0, :, 0, 0].numpy() == np.where(gone, -3.0, 1.0)).all()


def test_refining_fuses_registration_and_network_and_leaves_contradictions_unknown(trained: tuple[Path, Path]) -> None:
    folder, checkpoint = trained
    config = tiny_config(100)
    truth = load_case(folder / "case1.npz")
    doubtful = np.full(truth.labels_zyx.shape, UNKNOWN, dtype=np.uint8)
    moved = np.roll(truth.labels_zyx, 1, axis=0)  # a registration that is a voxel off
    moved[9:12, 9:12, 15:18] = 1  # and has an island where there is nothing
    # The labels of the shipped configuration are lungs, which their HU place; here the votes decide.
    labels = tuple(replace(label, name=f"Box{i}") for i, label in enumerate(config.labels))
    network = trained_network(config, checkpoint)
    refined = refine(
        replace(truth, labels_zyx=doubtful), replace(truth, labels_zyx=moved), network, replace(config, labels=labels)
    ).labels_zyx
    known = refined != UNKNOWN
    assert known.mean() > 0.8
    assert np.mean(refined[known] == truth.labels_zyx[known]) > 0.97
    for label in (1, 2):
        assert np.mean(refined[truth.labels_zyx == label] == label) > 0.6
    assert not np.any(refined[9:12, 9:12, 15:18] == 1)
