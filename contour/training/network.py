"""The network and its training loop's body."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import DynUNet
from torch import Tensor

from contour.training.config import Curve, MemoryLayout, NetworkConfig, TrainingConfig
from contour.training.losses import drawn_where, marginal_dice_ce
from contour.training.prepared import UNKNOWN

WARM_UP = 0.1  # of the steps, while the one-cycle rate rises


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
        deep_supervision=config.deep_supervision > 0,
        deep_supr_num=max(1, config.deep_supervision),
        res_block=False,
    )


class SegmentationModule(pl.LightningModule):
    """Lightning's view of the network: one step on a batch of patches, and a look at whole cases after each epoch."""

    def __init__(self, network: torch.nn.Module, config: TrainingConfig) -> None:
        super().__init__()
        self.layout = (
            torch.channels_last_3d if config.memory_layout is MemoryLayout.CHANNELS_LAST else torch.contiguous_format
        )
        self.network = network.to(memory_format=self.layout)
        self.config = config
        self.drawings: list[Tensor] = []  # label maps (z, y, x) of the validation cases, for whoever wants to show them
        self._started = 0.0

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, channels, z, y, x) of preprocessed images (batch, 1, z, y, x).

        While training with deep supervision: (batch, outputs, channels, z, y, x), the finest output first.
        """
        logits: Tensor = self.network(image.contiguous(memory_format=self.layout))
        return logits

    def on_train_epoch_start(self) -> None:
        """Starts the clock that counts patches."""
        self._started = time.perf_counter()

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of one batch; MONAI's dictionaries stay inside this package."""
        outputs = self(batch["image"])
        drawn = drawn_where(batch["regions"][:, 0], batch["drawn"])
        labels = batch["label"][:, 0]
        if self.config.network.deep_supervision:
            losses = [self._loss(output, labels, drawn) for output in outputs.unbind(dim=1)]
            weights = [0.5**i for i in range(len(losses))]
            loss = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        else:
            loss = self._loss(outputs, labels, drawn)
        self.log("loss", loss, prog_bar=True)
        seconds = time.perf_counter() - self._started
        self.log("patches_per_second", (index + 1) * len(labels) * self.trainer.world_size / seconds)
        return loss

    def _loss(self, logits: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
        return marginal_dice_ce(logits, labels, drawn, self.config.around, self.config.balance)

    def on_validation_epoch_start(self) -> None:
        """Forgets the drawings of the epoch before."""
        self.drawings.clear()

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Dice of each structure where it was drawn, on a whole case."""
        image = batch["image"]
        logits = sliding_window_inference(
            image,
            self.config.patch_shape_zyx,
            sw_batch_size=1,
            predictor=self,
            overlap=self.config.validation.overlap,
            mode="gaussian",
            padding_mode="constant",
            cval=self.config.preprocessing.padding,
        )
        found = logits.argmax(dim=1)
        self.drawings.append(found[0].to(torch.uint8).cpu())
        drawn = drawn_where(batch["regions"][:, 0], batch["drawn"])[0] & (batch["label"][0] != UNKNOWN)
        dices = []
        for i, label in enumerate(self.config.labels, start=1):
            inside = (batch["label"][0, 0] == i) & drawn[i - 1]
            if inside.any():
                ours = (found[0] == i) & drawn[i - 1]
                dices.append(2 * (inside & ours).sum() / (inside.sum() + ours.sum()))
                self.log(f"dice/{label.name}", dices[-1], on_epoch=True, batch_size=1, sync_dist=True)
        if dices:
            self.log("dice", torch.stack(dices).mean(), prog_bar=True, on_epoch=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW with the learning rate of the configured curve."""
        schedule = self.config.schedule
        optimizer = torch.optim.AdamW(self.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        if schedule.curve is Curve.ONE_CYCLE:
            rate: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=schedule.learning_rate, total_steps=schedule.steps + 1, pct_start=WARM_UP
            )
        else:
            rate = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=schedule.steps, power=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}
