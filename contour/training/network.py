"""The network and its training loop's body."""

from typing import Any

import lightning.pytorch as pl
import torch
from monai.networks.nets import DynUNet
from torch import Tensor

from contour.training.config import NetworkConfig, ScheduleConfig
from contour.training.losses import marginal_dice_ce


def build_network(config: NetworkConfig, channels: int) -> DynUNet:
    """A DynUNet with one input channel and `channels` outputs (background included), instance-normalised."""
    levels = len(config.filters)
    strides = [1] + [2] * (levels - 1)
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=channels,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=list(config.filters),
        norm_name=("instance", {"affine": True}),
        deep_supervision=False,
        res_block=False,
    )


class SegmentationModule(pl.LightningModule):
    """Lightning's view of the network: one step on a batch of patches, AdamW under a one-cycle schedule."""

    def __init__(self, network: torch.nn.Module, schedule: ScheduleConfig) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, channels, z, y, x) of preprocessed images (batch, 1, z, y, x)."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The loss of one batch; MONAI's dictionaries stay inside this package."""
        loss = marginal_dice_ce(self(batch["image"]), batch["label"][:, 0], batch["drawn"])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with the one-cycle learning rate (Smith and Topin, 2019)."""
        schedule = self.schedule
        optimizer = torch.optim.AdamW(self.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=schedule.learning_rate, total_steps=schedule.steps, pct_start=0.1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
