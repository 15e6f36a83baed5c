"""Labels fused from registration and the network's own opinion: known where both together leave little doubt."""

from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy import ndimage

from contour.training.atlas import LUNG_HU
from contour.training.config import TrainingConfig
from contour.training.prepared import UNKNOWN, PreparedCase, load_prepared, save_prepared
from scripts.thorax_ct.prepare import PROPAGATED, UNLABELLED

OPINION = 0.6  # the network's share of a vote; the rest is the propagated label's, blurred by a voxel
MARGIN = 0.25  # between the first and the second of the votes, below which a voxel stays unknown
MEASURED = ("Lung_L", "Lung_R", "Trachea")  # placed by their HU, which no network may overrule


def refine_all(source: Path, target: Path, network: torch.nn.Module, config: TrainingConfig) -> None:
    """Copies the cases of `source` to `target`, those with propagated labels refined; finished ones are kept."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.npz")):
        refined = target / path.name
        if refined.exists():
            continue
        if path.stem in UNLABELLED:
            propagated = load_prepared(source / PROPAGATED / path.name)
            save_prepared(refine(load_prepared(path), propagated, network, config), refined)
        else:
            refined.hardlink_to(path)


def refine(
    case: PreparedCase, propagated: PreparedCase, network: torch.nn.Module, config: TrainingConfig
) -> PreparedCase:
    """The case with labels that network and registration vote for; what their HU place stays as it is."""
    votes = OPINION * _probabilities(case, network, config)
    for value in range(len(config.labels) + 1):
        votes[value] += (1 - OPINION) * ndimage.gaussian_filter(
            (propagated.labels_zyx == value).astype(np.float32), 1.0
        )
    labels = votes.argmax(axis=0).astype(np.uint8)
    second, first = np.partition(votes, -2, axis=0)[-2:]
    labels[first - second < MARGIN] = UNKNOWN
    air_filled = [i for i, x in enumerate(config.labels, start=1) if x.name in MEASURED]
    measured = np.isin(case.labels_zyx, air_filled)
    labels[measured] = case.labels_zyx[measured]
    # Air that is neither lung nor trachea by its HU and place is background, whatever the votes: the room, the bowel.
    clip, mean, std = config.preprocessing.clip, config.preprocessing.mean, config.preprocessing.std
    air = case.image_zyx < (max(LUNG_HU, clip[0]) - mean) / std
    labels[air & ~measured & np.isin(votes.argmax(axis=0), [0, *air_filled])] = 0
    return replace(case, labels_zyx=_without_islands(labels, len(config.labels)))


def _probabilities(case: PreparedCase, network: torch.nn.Module, config: TrainingConfig) -> NDArray[np.float32]:
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
