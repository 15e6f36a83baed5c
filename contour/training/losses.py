"""Dice and cross-entropy that a structure which was not drawn cannot spoil.

A case in which some structures were not drawn says of its background only that it is "background or one of those".
The marginal loss (Shi et al., Medical Image Analysis 70, 2021) adds the probabilities of the undrawn structures to the
background's before it is compared. Voxels of unknown label are left out altogether.
"""

import torch
from torch import Tensor
from torch.nn import functional

from contour.training.cases import UNKNOWN


def marginal_dice_ce(logits: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
    """The sum of cross-entropy and 1 - soft Dice, each averaged over what counts.

    Args:
        logits: (batch, channels, z, y, x), channel 0 is background.
        labels: (batch, z, y, x) integers; 255 is unknown and does not count.
        drawn: (batch, channels) booleans: which structures this case has contours of; channel 0 is ignored.

    """
    known = labels != UNKNOWN
    log_probability = marginalized(functional.log_softmax(logits.float(), dim=1), drawn)
    target = torch.where(known, labels, 0).long()
    losses = functional.nll_loss(log_probability, target, reduction="none")
    cross_entropy = (losses * known).sum() / known.sum().clamp(min=1)
    return cross_entropy + _dice_loss(log_probability.exp(), target, known, drawn)


def marginalized(log_probability: Tensor, drawn: Tensor) -> Tensor:
    """Log probabilities in which undrawn structures count as background, and have (nearly) none of their own."""
    if bool(drawn[:, 1:].all()):
        return log_probability
    undrawn = ~drawn
    undrawn[:, 0] = True  # background is part of the sum
    mask = undrawn[:, :, None, None, None]
    background = log_probability.masked_fill(~mask, -torch.inf).logsumexp(dim=1, keepdim=True)
    structures = log_probability[:, 1:].masked_fill(mask[:, 1:], -30.0)  # exp(-30) is nothing, and finite
    return torch.cat([background, structures], dim=1)


def _dice_loss(probability: Tensor, target: Tensor, known: Tensor, drawn: Tensor) -> Tensor:
    """1 - soft Dice over the structures that were drawn and are present in the batch's patch, smoothed by 1 voxel."""
    probability = probability * known[:, None]
    axes = (2, 3, 4)
    inside = torch.zeros_like(probability).scatter_(1, target[:, None], 1.0) * known[:, None]
    overlap = (probability * inside).sum(axes)
    total = probability.sum(axes) + inside.sum(axes)
    dice = (2 * overlap + 1.0) / (total + 1.0)
    counts = drawn & (inside.sum(axes) > 0)
    counts[:, 0] = False
    if not bool(counts.any()):
        return probability.sum() * 0.0
    return 1.0 - dice[counts].mean()
