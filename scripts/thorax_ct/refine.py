"""The network's own opinion of the propagated labels: where both agree, or it alone is sure, the label is known."""

from pathlib import Path

import cc3d
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray

from contour.training.cases import UNKNOWN, Case, load_case, save_case
from contour.training.config import TrainingConfig
from scripts.thorax_ct.prepare import UNLABELLED

SURE = 0.85
MEASURED = ("Lung_L", "Lung_R", "Trachea")  # placed by their HU, which no network may overrule


def refine_all(source: Path, target: Path, network: torch.nn.Module, config: TrainingConfig) -> None:
    """Copies the cases of `source` to `target`, those with propagated labels refined; finished ones are kept."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.npz")):
        refined = target / path.name
        if refined.exists():
            continue
        if path.stem in UNLABELLED:
            save_case(refine(load_case(path), network, config), refined)
        else:
            refined.hardlink_to(path)


def refine(case: Case, network: torch.nn.Module, config: TrainingConfig) -> Case:
    """The case with its unknown voxels filled where the network is sure, and its contradictions made unknown."""
    probability = _probabilities(case, network, config)
    opinion = probability.argmax(axis=0).astype(np.uint8)
    sure = probability.max(axis=0) >= SURE
    measured = np.isin(case.labels_zyx, [i for i, x in enumerate(config.labels, start=1) if x.name in MEASURED])
    known = case.labels_zyx != UNKNOWN
    labels = np.full(case.labels_zyx.shape, UNKNOWN, dtype=np.uint8)
    agree = known & (opinion == case.labels_zyx)
    labels[agree] = case.labels_zyx[agree]
    labels[~known & sure] = opinion[~known & sure]
    labels[measured] = case.labels_zyx[measured]
    return Case(case.name, case.image_zyx, _without_islands(labels, len(config.labels)), case.drawn)


def _probabilities(case: Case, network: torch.nn.Module, config: TrainingConfig) -> NDArray[np.float32]:
    image = torch.from_numpy(case.image_zyx.astype(np.float32))[None, None]
    with torch.inference_mode():
        logits = sliding_window_inference(
            image,
            config.patch_shape_zyx,
            sw_batch_size=1,
            predictor=network,
            overlap=0.5,
            mode="gaussian",
            padding_mode="constant",
            cval=config.preprocessing.padding,
        )
        probabilities: NDArray[np.float32] = logits.softmax(dim=1)[0].numpy()
    return probabilities


def _without_islands(labels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Every part of a structure but its largest becomes unknown."""
    for value in range(1, count + 1):
        mask = labels == value
        if mask.any():
            labels[mask & ~cc3d.largest_k(mask, k=1, connectivity=26).astype(bool)] = UNKNOWN
    return labels
