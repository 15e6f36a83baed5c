"""Dice and cross-entropy that a structure which was not drawn cannot spoil.

A place where some structures were not drawn says of its background only that it is "background or one of those". The
marginal loss (Shi et al., Medical Image Analysis 70, 2021) adds the probabilities of the undrawn structures to the
background's before it is compared, here voxel by voxel, since a structure may be drawn in one part of a scan alone.
Voxels of unknown label are left out altogether.
"""

import torch
from torch import Tensor
from torch.nn import functional

from contour.training.prepared import UNKNOWN

Around = tuple[int | None, ...]  # for each structure the index of the one that it lies inside, or None


def marginal_dice_ce(
    logits: Tensor, labels: Tensor, drawn: Tensor, around: Around = (), balance: float = 0.0
) -> Tensor:
    """The sum of cross-entropy and 1 - soft Dice, each averaged over what counts.

    Args:
        logits: (batch, channels, z, y, x), channel 0 is background.
        labels: (batch, z, y, x) integers; 255 is unknown and does not count.
        drawn: booleans that broadcast to (batch, channels - 1, z, y, x): where which structure's outline is complete.
        around: for each structure the index of the one that it lies inside (the brain around a hippocampus), or None.
        balance: how far the cross-entropy weighs structures alike whatever their size: 0 by voxel, 1 alike.

    """
    known = labels != UNKNOWN
    log_probability = marginalized(functional.log_softmax(logits.float(), dim=1), drawn, around)
    target = torch.where(known, labels, 0).long()
    losses = functional.nll_loss(log_probability, target, reduction="none")
    weights = known.float() if balance == 0 else _balanced(target, known, balance)
    cross_entropy = (losses * weights).sum() / weights.sum().clamp(min=1)
    return cross_entropy + _dice_loss(log_probability, target, known)


def _balanced(target: Tensor, known: Tensor, balance: float) -> Tensor:
    """What each voxel counts: less, the more there are of its label among the known ones; 1 on average."""
    count = torch.bincount(target[known]).clamp(min=1).float()
    weights = count.pow(-balance)[target] * known
    return weights * (known.sum() / weights.sum().clamp(min=1e-6))


def drawn_where(regions: Tensor, drawn: Tensor) -> Tensor:
    """(batch, structures, z, y, x) from `regions` (batch, z, y, x) and `drawn` (batch, regions, structures)."""
    looked_up = [table[region.long()] for region, table in zip(regions, drawn, strict=True)]
    return torch.stack(looked_up).movedim(-1, 1)


def marginalized(log_probability: Tensor, drawn: Tensor, around: Around = ()) -> Tensor:
    """Log probabilities in which undrawn structures have (nearly) none of their own.

    Theirs counts to the structure that they lie inside where that was drawn, and to the background otherwise.
    """
    if bool(drawn.all()):
        return log_probability
    structures, taken = _within_outer(log_probability[:, 1:], drawn, around)
    with_background = torch.cat([log_probability[:, :1], structures.masked_fill(drawn | taken, -torch.inf)], dim=1)
    background = with_background.logsumexp(dim=1, keepdim=True)
    return torch.cat([background, structures.masked_fill(~drawn, -30.0)], dim=1)  # exp(-30) is nothing, and finite


def _within_outer(structures: Tensor, drawn: Tensor, around: Around) -> tuple[Tensor, Tensor]:
    """Log probabilities with those of undrawn inner structures added to the drawn ones around, and which these are."""
    taken = torch.zeros_like(drawn)
    columns = list(structures.unbind(dim=1))
    for inner, outer in enumerate(around):
        if outer is None:
            continue
        taken[:, inner] = ~drawn[:, inner] & drawn[:, outer]
        given = columns[inner].masked_fill(~taken[:, inner], -torch.inf)
        columns[outer] = torch.logaddexp(columns[outer], given)
    return torch.stack(columns, dim=1), taken


def _dice_loss(log_probability: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """1 - soft Dice over the structures that are present in a patch, smoothed by 1 voxel."""
    probability = log_probability.exp() * known[:, None]
    axes = (2, 3, 4)
    inside = torch.zeros_like(probability).scatter_(1, target[:, None], 1.0) * known[:, None]
    overlap = (probability * inside).sum(axes)
    total = probability.sum(axes) + inside.sum(axes)
    dice = (2 * overlap + 1.0) / (total + 1.0)
    counts = inside.sum(axes) > 0
    counts[:, 0] = False
    if not bool(counts.any()):
        return probability.sum() * 0.0
    return 1.0 - dice[counts].mean()
