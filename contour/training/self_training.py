"""What a network itself says of structures that nobody drew, where it says the same of an image seen in several ways.

A case in which a structure was not drawn teaches nothing of it. A network that has learnt from other cases has an
opinion; where it holds it through changes that do not matter (gain, noise, size), it may be learnt from, and where it
does not, the voxels stay unknown (self-training by consistency, after Xie et al., NeurIPS 2020, "Unsupervised data
augmentation for consistency training"; here as labels, once).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch.nn import functional

from contour.training.config import TrainingConfig
from contour.training.prepared import UNKNOWN, PreparedCase

Probabilities = NDArray[np.float32]  # (channels, z, y, x), background first
Opinion = Callable[[NDArray[np.float32]], Probabilities]  # of an image (z, y, x) on the network's grid and scale


@dataclass(frozen=True)
class Consistency:
    """When an opinion counts.

    A voxel is a structure's where every view gives it at least `sure`, and none's where no view gives it `doubt` or
    more; between, it is unknown. A structure stays undrawn altogether if the Dice of what all views see of it with
    what any view sees is below `agreed`.

    Raises:
        ValueError: bounds that do not ascend within 0 to 1.
    """

    sure: float = 0.7
    doubt: float = 0.2
    agreed: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.doubt < self.sure < 1 or not 0 < self.agreed < 1:
            raise ValueError(f"doubt {self.doubt}, sure {self.sure}, agreed {self.agreed}: 0 < doubt < sure < 1")


def opinion_of(network: torch.nn.Module, config: TrainingConfig) -> Opinion:
    """How `network` sees an image: MONAI's sliding window with half of a patch shared."""

    def probabilities(image_zyx: NDArray[np.float32]) -> Probabilities:
        with torch.inference_mode():
            logits = sliding_window_inference(
                torch.from_numpy(image_zyx)[None, None],
                config.patch_shape_zyx,
                sw_batch_size=1,
                predictor=network,
                overlap=0.5,
                mode="gaussian",
                padding_mode="constant",
                cval=config.preprocessing.padding,
            )
        found: Probabilities = logits.softmax(dim=1)[0].numpy()
        return found

    return probabilities


def with_opinion(
    case: PreparedCase, config: TrainingConfig, opinion: Opinion, consistency: Consistency = Consistency()
) -> PreparedCase:
    """The case with labels for the structures that were drawn nowhere in it, where the opinion is consistent.

    What was drawn stays as it is. The image is seen in four ways, each voxel's least and greatest probability count.

    Raises:
        ValueError: the case has no image.
    """
    if case.tissues_zyx is not None:
        raise ValueError(f"{case.name}: tissues without an image, nothing to have an opinion of")
    undrawn = [i for i in range(case.drawn.shape[1]) if not case.drawn[:, i].any()]
    least, most = _bounds(case.image_zyx.astype(np.float32), opinion)
    labels, drawn = case.labels_zyx.copy(), case.drawn.copy()
    free = labels == 0
    for i in undrawn:
        sure = _largest(free & (least[i + 1] >= consistency.sure))
        possible = free & (most[i + 1] >= consistency.doubt)
        by_all, by_any = free & (least[i + 1] >= 0.5), free & (most[i + 1] >= 0.5)
        if not sure.any() or _dice(by_all, by_any) < consistency.agreed:
            continue
        labels[possible] = UNKNOWN
        labels[sure] = i + 1
        drawn[:, i] = True
    return replace(case, labels_zyx=labels, drawn=drawn)


def _bounds(image_zyx: NDArray[np.float32], opinion: Opinion) -> tuple[Probabilities, Probabilities]:
    """The least and the greatest probability of each class at each voxel, over the views."""
    least: Probabilities | None = None
    most: Probabilities | None = None
    for view, back in _views(image_zyx):
        seen = back(opinion(view))
        least = seen if least is None else np.minimum(least, seen)
        most = seen if most is None else np.maximum(most, seen)
    assert least is not None
    assert most is not None
    return least, most


def _views(
    image_zyx: NDArray[np.float32],
) -> list[tuple[NDArray[np.float32], Callable[[Probabilities], Probabilities]]]:
    """The image as it is; with another gain and noise; and a tenth larger and smaller; and the ways back."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, image_zyx.shape).astype(np.float32)

    def same(seen: Probabilities) -> Probabilities:
        return seen

    def back(seen: Probabilities) -> Probabilities:
        return _resized(seen, image_zyx.shape)

    sizes = [tuple(round(n * factor) for n in image_zyx.shape) for factor in (1.1, 0.9)]
    changed = image_zyx * np.float32(1.1) + np.float32(0.1) + noise
    return [(image_zyx, same), (changed, same), *((_resized(image_zyx[None], size)[0], back) for size in sizes)]


def _resized(values: NDArray[np.float32], shape_zyx: tuple[int, ...]) -> NDArray[np.float32]:
    """(channels, z, y, x) interpolated linearly to another shape."""
    resized = functional.interpolate(torch.from_numpy(values)[None], shape_zyx, mode="trilinear", align_corners=False)
    found: NDArray[np.float32] = resized[0].numpy()
    return found


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 0.0


def _largest(mask_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A structure is in one piece: crumbs of certainty elsewhere are none."""
    if not mask_zyx.any():
        return mask_zyx
    largest: NDArray[np.bool_] = cc3d.largest_k(mask_zyx, k=1, connectivity=26).astype(bool)
    return largest
