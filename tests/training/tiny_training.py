"""A training small enough for a test: two boxes to tell apart by their side."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from contour.config import load_config, shipped_folder
from contour.training.config import HardCtConfig, TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import PreparedCase, save_prepared


def tiny_config(steps: int, epochs: int = 1) -> TrainingConfig:
    """The shipped configuration with two labels, a network of three levels and patches of 16 x 16 x 24 voxels."""
    config = load_config(shipped_folder("configs") / "training" / "thorax_ct.yaml", TrainingConfig)
    schedule = replace(
        config.schedule,
        epochs=epochs,
        epoch_steps=steps // epochs,
        learning_rate=0.02,
        ema_decay=0.8,
        batch_size=1,
        seed=20,
    )
    return replace(
        config,
        patch_shape_zyx=(16, 16, 24),
        labels=tuple(replace(label, patches=1.0) for label in config.labels[:2]),
        network=replace(config.network, filters=(8, 16, 16)),
        schedule=schedule,
        augmentation=replace(
            config.augmentation,
            rotate_degrees=12.0,
            elastic_probability=0.0,
            window_probability=0.0,
            hard_ct=HardCtConfig(),
        ),
        precision="32-true",
        synthesis=None,
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
        regions = np.zeros(labels.shape, dtype=np.uint8)
        save_prepared(
            PreparedCase(path.stem, image.astype(np.float16), labels, regions, np.ones((1, 2), dtype=bool)), path
        )
        paths.append(path)
    return FitInput(tuple(paths), (1.0, 1.0))
