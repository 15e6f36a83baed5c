import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import tiny_cases, tiny_config

from contour.training.config import Curve, MemoryLayout, TrainingConfig
from contour.training.fit import Hardware, fit, steps_done, trained_network
from contour.training.patches import PatchDataset, TruncatedFieldOfViewd, WindowedFieldOfViewd
from contour.training.prepared import load_prepared

QUIET = Hardware(workers=0, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of cases, checkpoint) of a training of 100 steps."""
    folder = tmp_path_factory.mktemp("fit")
    return folder, fit(tiny_config(100), tiny_cases(folder), folder / "run", QUIET)


def test_it_learns_which_side_is_which(trained: tuple[Path, Path]) -> None:
    folder, checkpoint = trained
    case = load_prepared(folder / "case0.npz")
    network = trained_network(tiny_config(100), checkpoint)
    with torch.inference_mode():
        logits = network(torch.from_numpy(case.image_zyx.astype(np.float32))[None, None])
    found = logits.argmax(dim=1)[0].numpy()
    for label in (1, 2):
        overlap = 2 * np.sum((found == label) & (case.labels_zyx == label))
        assert overlap / (np.sum(found == label) + np.sum(case.labels_zyx == label)) > 0.8


def _weights(config: TrainingConfig, checkpoint: Path) -> dict[str, torch.Tensor]:
    return trained_network(config, checkpoint).state_dict()


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    data = tiny_cases(tmp_path)
    done = fit(tiny_config(4), data, tmp_path / "run", QUIET)
    stamp = done.stat().st_mtime_ns
    assert fit(tiny_config(4), data, tmp_path / "run", QUIET).stat().st_mtime_ns == stamp


TRAIN_AND_DIE = """
import os, signal, sys
from pathlib import Path
import lightning.pytorch as pl
from tiny_training import tiny_cases, tiny_config
from contour.training import fit as module

class Killer(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 6:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGKILL)

module.LearningRateMonitor = lambda _: Killer()
folder = Path(sys.argv[1])
hardware = module.Hardware(workers=int(sys.argv[2]), progress=False)
module.fit(tiny_config(12, epochs=3), tiny_cases(folder), folder / "run", hardware)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_training_comes_to_the_same_weights_bit_for_bit(workers: int, tmp_path: Path) -> None:
    config = tiny_config(12, epochs=3)
    hardware = Hardware(workers=workers, progress=False)
    straight = fit(config, tiny_cases(tmp_path), tmp_path / "straight", hardware)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", TRAIN_AND_DIE, str(tmp_path), str(workers)]
    died = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    assert steps_done(tmp_path / "run" / "last.ckpt") == 4
    resumed = fit(config, tiny_cases(tmp_path), tmp_path / "run", hardware)
    assert steps_done(resumed) == 12
    expected = _weights(config, straight)
    found = _weights(config, resumed)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    logs = sorted(path.name for path in (tmp_path / "run" / "log" / "csv").iterdir())
    assert logs == ["from_0000000", "from_0000004"]


def test_each_epoch_leaves_a_picture_and_a_line_in_the_log(tmp_path: Path) -> None:
    data = tiny_cases(tmp_path)
    fit(tiny_config(8, epochs=2), replace(data, validation=data.cases[:1]), tmp_path / "run", QUIET)
    pictures = sorted((tmp_path / "run" / "log" / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch_0001.png", "epoch_0002.png"]
    log = (tmp_path / "run" / "log" / "csv" / "from_0000000" / "metrics.csv").read_text().splitlines()
    columns = log[0].split(",")
    assert {"dice", "dice/Lung_L", "loss", "patches_per_second"} <= set(columns)
    dices = [
        float(line.split(",")[columns.index("dice")]) for line in log[1:] if line.split(",")[columns.index("dice")]
    ]
    assert len(dices) == 2
    assert all(0 <= dice <= 1 for dice in dices)
    assert list((tmp_path / "run" / "log" / "tensorboard" / "from_0000000").glob("events.*"))


@pytest.mark.parametrize("change", [{"deep_supervision": 1}, {}])
def test_other_ways_to_train_learn_too(change: dict[str, int], tmp_path: Path) -> None:
    config = tiny_config(60)
    layout = MemoryLayout.CONTIGUOUS if change else MemoryLayout.CHANNELS_LAST
    config = replace(
        config,
        network=replace(config.network, **change),
        schedule=replace(config.schedule, curve=Curve.POLYNOMIAL),
        memory_layout=layout,
    )
    checkpoint = fit(config, tiny_cases(tmp_path), tmp_path / "run", QUIET)
    case = load_prepared(tmp_path / "case0.npz")
    with torch.inference_mode():
        logits = trained_network(config, checkpoint)(torch.from_numpy(case.image_zyx.astype(np.float32))[None, None])
    found = logits.argmax(dim=1)[0].numpy()
    for label in (1, 2):
        overlap = 2 * np.sum((found == label) & (case.labels_zyx == label))
        assert overlap / (np.sum(found == label) + np.sum(case.labels_zyx == label)) > 0.5


def test_patches_are_never_mirrored(tmp_path: Path) -> None:
    config = tiny_config(4)
    data = tiny_cases(tmp_path)
    patches = PatchDataset(data.cases, data.weights, config)
    seen = 0
    for number in range(40):
        labels = patches[number]["label"][0].numpy()
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


def test_a_windowed_patch_keeps_a_box_and_is_air_and_background_elsewhere() -> None:
    transform = WindowedFieldOfViewd(("image", "label"), padding=-3.0, prob=1.0)
    parts = []
    for seed in range(20):
        transform.set_random_state(seed=seed)
        patch = {"image": torch.ones(1, 20, 10, 10), "label": torch.ones(1, 20, 10, 10)}
        result = transform(patch)
        kept = result["label"][0].numpy() == 1
        assert (result["image"][0].numpy() == np.where(kept, 1.0, -3.0)).all()
        sides = [kept.any(axis=tuple(i for i in range(3) if i != axis)) for axis in range(3)]
        assert kept.sum() == np.prod([side.sum() for side in sides])  # a box
        assert [np.ptp(np.flatnonzero(side)) + 1 for side in sides] == [side.sum() for side in sides]
        parts.append([side.mean() for side in sides])
    least = np.min(parts, axis=0)
    assert (least >= (0.2, 0.6, 0.6)).all()
    assert least[0] < 0.5
    assert 5 <= sum(part[1] == part[2] == 1 for part in parts) <= 15  # as often as not whole in plane
