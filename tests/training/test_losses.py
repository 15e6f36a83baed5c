import math

import pytest
import torch

from contour.training.losses import drawn_where, marginal_dice_ce, marginalized


def test_cross_entropy_of_uniform_logits_is_the_log_of_the_channels_plus_dice() -> None:
    logits = torch.zeros(1, 4, 2, 2, 2)
    labels = torch.ones(1, 2, 2, 2)
    drawn = torch.ones(1, 3, 1, 1, 1, dtype=torch.bool)
    # Soft Dice of a probability of 1/4 everywhere in 8 voxels: (2 * 2 + 1) / (2 + 8 + 1).
    assert marginal_dice_ce(logits, labels, drawn).item() == pytest.approx(math.log(4) + 1 - 5 / 11, rel=1e-5)


def test_unknown_voxels_do_not_count() -> None:
    torch.manual_seed(0)
    drawn = torch.ones(1, 2, 1, 1, 1, dtype=torch.bool)
    labels = torch.ones(1, 2, 2, 2)
    labels[0, 0] = 255
    logits = torch.randn(1, 3, 2, 2, 2)
    other = logits.clone()
    other[:, :, 0] = torch.randn(1, 3, 2, 2)
    assert marginal_dice_ce(logits, labels, drawn).item() == pytest.approx(
        marginal_dice_ce(other, labels, drawn).item()
    )


def test_an_undrawn_structure_is_not_taught_as_background() -> None:
    logits = torch.zeros(1, 3, 1, 1, 4, requires_grad=True)
    labels = torch.zeros(1, 1, 1, 4)
    drawn = torch.tensor([True, False])[None, :, None, None, None]
    marginal_dice_ce(logits, labels, drawn).backward()
    gradient = logits.grad
    assert gradient is not None
    # Background voxels push down what was drawn, and hold background and the undrawn structure alike.
    assert (gradient[0, 1] > 0).all()
    assert torch.allclose(gradient[0, 0], gradient[0, 2])
    assert (gradient[0, 2] < 0).all()


def test_marginal_probabilities_sum_to_one() -> None:
    torch.manual_seed(1)
    log_probability = torch.randn(2, 5, 3, 3, 3).log_softmax(dim=1)
    drawn = torch.tensor([[True, False, True, False], [True] * 4])[:, :, None, None, None]
    probability = marginalized(log_probability, drawn).exp()
    assert torch.allclose(probability.sum(dim=1), torch.ones(2, 3, 3, 3), atol=1e-5)
    assert torch.allclose(probability[1], log_probability[1].exp(), atol=1e-6)
    expected = log_probability[0, [0, 2, 4]].exp().sum(dim=0)
    assert torch.allclose(probability[0, 0], expected, atol=1e-5)


def test_a_patch_without_structures_still_has_a_gradient() -> None:
    logits = torch.zeros(1, 2, 2, 2, 2, requires_grad=True)
    loss = marginal_dice_ce(logits, torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_what_is_drawn_in_a_part_of_the_patch_is_background_there_only() -> None:
    drawn = drawn_where(torch.tensor([[[[0, 0, 1, 1]]]]), torch.tensor([[[True, True], [True, False]]]))
    assert drawn.shape == (1, 2, 1, 1, 4)
    assert drawn[0, 1, 0, 0].tolist() == [True, True, False, False]
    logits = torch.zeros(1, 3, 1, 1, 4, requires_grad=True)
    marginal_dice_ce(logits, torch.zeros(1, 1, 1, 4), drawn).backward()
    gradient = logits.grad
    assert gradient is not None
    assert (gradient[0, 2, 0, 0, :2] > 0).all()
    assert (gradient[0, 2, 0, 0, 2:] < 0).all()
    assert (gradient[0, 1] > 0).all()


def test_an_inner_structure_that_was_not_drawn_counts_to_the_one_around_it():
    """The brain was drawn, the hippocampus in it was not: a network that says hippocampus there is right."""
    labels = torch.ones(1, 1, 1, 4, dtype=torch.long)  # brain
    logits = torch.zeros(1, 3, 1, 1, 4)
    logits[:, 2] = 20.0  # it says: hippocampus
    drawn = torch.tensor([True, False]).view(1, 2, 1, 1, 1)
    wrong = marginal_dice_ce(logits, labels, drawn)
    right = marginal_dice_ce(logits, labels, drawn, (None, 0))
    assert right < 1e-3 < wrong
    background = torch.zeros_like(labels)
    assert marginal_dice_ce(logits, background, drawn, (None, 0)) > 10  # outside the brain it is wrong all the same
    undrawn = torch.tensor([False, False]).view(1, 2, 1, 1, 1)
    assert marginal_dice_ce(logits, background, undrawn, (None, 0)) < 1e-3


def test_balance_weighs_structures_alike_whatever_their_size() -> None:
    """A hundred voxels of background guessed right, ten of an organ guessed wrong, and one more that is unknown."""
    labels = torch.zeros(1, 1, 1, 111)
    labels[..., :10], labels[..., 110] = 1, 255
    logits = torch.zeros(1, 2, 1, 1, 111)
    logits[:, 0] = 3.0
    right, wrong = math.log(1 + math.exp(-3)), 3 + math.log(1 + math.exp(-3))
    drawn = torch.ones(1, 1, 1, 1, 1, dtype=torch.bool)
    dice = marginal_dice_ce(logits, labels, drawn).item() - (100 * right + 10 * wrong) / 110
    for balance, expected in (
        (1.0, (right + wrong) / 2),
        (0.5, (10 * right + math.sqrt(10) * wrong) / (10 + math.sqrt(10))),
    ):
        assert marginal_dice_ce(logits, labels, drawn, (), balance).item() - dice == pytest.approx(expected, rel=1e-4)
