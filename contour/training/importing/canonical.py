"""The axes of networks that others trained, and ours: z, y and x to superior, posterior and left."""

import torch
from torch import Tensor, nn

AS_STORED = "SPL"  # of images in DICOM's usual order, as SimpleITK stores what it converts; and of ours


class CanonicalAxes(nn.Module):
    """Images on canonical axes to a network's, and its logits back.

    `order` says which canonical axis each of the network's is; `orientation` what z, y and x grow to there, as SAR.
    """

    def __init__(self, order: tuple[int, int, int], orientation: str) -> None:
        super().__init__()
        self._flipped = [2 + axis for axis in range(3) if orientation[axis] != AS_STORED[axis]]
        self._there = [0, 1, *(2 + axis for axis in order)]
        self._back = [0, 1, *(2 + order.index(axis) for axis in range(3))]

    def there(self, image: Tensor) -> Tensor:
        """(N, C, z, y, x) as the network has it."""
        return (image.flip(self._flipped) if self._flipped else image).permute(self._there)

    def back(self, logits: Tensor) -> Tensor:
        """The network's answer as (N, C, z, y, x)."""
        turned = logits.permute(self._back)
        return turned.flip(self._flipped) if self._flipped else turned


def with_background(logits: Tensor) -> Tensor:
    """Sigmoids' logits with a channel 0 for the background: where all are unlikely it is likely."""
    return torch.cat((-logits.amax(dim=1, keepdim=True), logits), dim=1)
