"""A training small enough for a test: two boxes to tell apart by their side."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from contour.config import load_config, shipped_folder
from contour.training.cases import Case, save_case
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput


def tiny_config(steps: int) -> TrainingConfig:
    """The shipped configuration with two labels, a network of three levels and patches of 16 x 16 x 24 voxels."""
    config = load_config(shipped_folder("configs") / "training" / "thorax_ct.yaml", TrainingConfig)
    return replace(
        config,
        patch_shape_zyx=(16, 16, 24),
        labels=config.labels[:2],
        network=replace(config.network, filters=(8, 16, 16)),
        schedule=replace(config.schedule, steps=steps, checkpoint_every=4, learning_rate=0.02, ema_decay=0.8),
        precision="32-true",
    )


def tiny_cases(folder: Path) -> FitInput:
    """Two cases of one bright box at the left (label 1) and one at the right (label 2) of the grid."""
    paths = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        labels = np.zeros((24, 24, 32), dtype=np.uint8)
        labels[6:18, 6:18, 20:28] = 1
        labels[6:18, 6:18, 4:12] = 2
        image = np.where(labels > 0, 1.0, -1.0) + rng.normal(0, 0.1, labels.shape)
        path = folder / f"case{seed}.npz"
        save_case(Case(path.stem, image.astype(np.float16), labels, (1, 2)), path)
        paths.append(path)
    return FitInput(tuple(paths), (1.0, 1.0))
