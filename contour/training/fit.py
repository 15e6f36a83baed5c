"""Training that can be killed at any moment and goes on, from its last epoch, to the very same weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from filelock import FileLock, Timeout
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader

from contour.core.errors import ConfigError
from contour.training.config import TrainingConfig
from contour.training.network import SegmentationModule, build_network
from contour.training.patches import PatchDataset, WholeCases, patch_loader
from contour.training.validation_pictures import ValidationPictures

CHECKPOINT_FILE = "last.ckpt"
LOG_FOLDER = "log"
LOCK_FILE = ".lock"


class EpochCheckpoint(Checkpoint):
    """Writes everything that training needs to go on, after each epoch, beside the old file first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning calls this after validation, and orders checkpoints behind all other callbacks."""
        del pl_module
        trainer.save_checkpoint(self.path)


@dataclass(frozen=True)
class FitInput:
    """The prepared cases to learn from, how often each is drawn from relative to the others, and those to look at.

    `start` holds the network's weights at the beginning, where they are not random.
    """

    cases: tuple[Path, ...]
    weights: tuple[float, ...]
    validation: tuple[Path, ...] = ()
    start: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Hardware:
    """What trains: `devices` GPUs, or processes where there is no GPU; each with `workers` that prepare patches."""

    devices: int = 1
    workers: int = 1
    progress: bool = True


def fit(config: TrainingConfig, data: FitInput, folder: Path, hardware: Hardware = Hardware()) -> Path:
    """Trains to the last step and returns the checkpoint; goes on from `folder`'s last checkpoint if there is one.

    The checkpoint's network weights are the exponential moving average. Interrupted or not, the weights come out the
    same to the last bit on the same machine with the same threads and workers: patches depend on their number alone.

    Raises:
        ConfigError: another process is training in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _fit(config, data, folder, hardware)


def _fit(config: TrainingConfig, data: FitInput, folder: Path, hardware: Hardware) -> Path:
    last = folder / CHECKPOINT_FILE
    done = steps_done(last)
    if done >= config.schedule.steps:
        return last
    torch.manual_seed(config.schedule.seed)
    network = build_network(config.network, len(config.labels) + 1)
    if data.start is not None:
        network.load_state_dict(data.start)
    trainer = _trainer(config, data, folder, hardware)
    patches = PatchDataset(data.cases, data.weights, config)
    training = patch_loader(patches, hardware.workers, done // config.schedule.epoch_steps)
    looked_at = data.validation[: config.validation.cases]
    trainer.fit(
        SegmentationModule(network, config),
        training,
        DataLoader(WholeCases(looked_at), batch_size=1),
        ckpt_path=last if done else None,
        weights_only=True,
    )
    return last


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two trainings in one folder would write each other's checkpoints."""
    if "LOCAL_RANK" in os.environ:  # a process that the first one started, to train together
        yield
        return
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(str(folder), "another process is training there", "one training in a folder") from error
    try:
        yield
    finally:
        lock.release()


def steps_done(checkpoint: Path) -> int:
    """The steps that lead to a checkpoint; 0 where there is none."""
    if not checkpoint.exists():
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


def averaged(decay: float, average: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """The exponential moving average after one more step; over few steps a shorter one, or chance would stay in it."""
    keep = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (1 - keep) * (current - average)


def trained_network(config: TrainingConfig, checkpoint: Path) -> torch.nn.Module:
    """The averaged network of a checkpoint, in evaluation mode; read weights-only, so that no pickled code runs."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    network = build_network(config.network, len(config.labels) + 1)
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    return network.eval()


def _trainer(config: TrainingConfig, data: FitInput, folder: Path, hardware: Hardware) -> pl.Trainer:
    last = folder / CHECKPOINT_FILE
    callbacks: list[pl.Callback] = [
        EpochCheckpoint(last),
        WeightAveraging(avg_fn=partial(averaged, config.schedule.ema_decay)),
        LearningRateMonitor("step"),
    ]
    if hardware.progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    if data.validation:
        callbacks.append(ValidationPictures(data.validation, folder / LOG_FOLDER / "pictures"))
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=config.schedule.epochs,  # not max_steps: with that, Lightning goes on in the middle of an epoch
        precision=config.precision,
        devices=hardware.devices,
        strategy="ddp" if hardware.devices > 1 else "auto",
        use_distributed_sampler=False,  # the patches' numbers know of the other processes
        logger=_loggers(folder, steps_done(last)),
        gradient_clip_val=1.0,
        log_every_n_steps=min(20, config.schedule.epoch_steps),
        num_sanity_val_steps=0,
        limit_val_batches=None if data.validation else 0,
        callbacks=callbacks,
        enable_progress_bar=hardware.progress,
        enable_model_summary=False,
    )


def _loggers(folder: Path, step: int) -> list[Logger]:
    """A table and TensorBoard; a resumed run writes beside what was logged before, never over it."""
    version = f"from_{step:07d}"
    return [
        CSVLogger(folder / LOG_FOLDER, name="csv", version=version),
        TensorBoardLogger(folder / LOG_FOLDER, name="tensorboard", version=version),
    ]
