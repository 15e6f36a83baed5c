"""Training that can be killed at any moment and goes on from its last checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from contour.training.config import TrainingConfig
from contour.training.network import SegmentationModule, build_network
from contour.training.patches import PatchStream, patch_loader


@dataclass(frozen=True)
class FitInput:
    """The stored cases, how often each is drawn from relative to the others, and a checkpoint to start from, if any."""

    cases: tuple[Path, ...]
    weights: tuple[float, ...]
    start: Path | None = None


def fit(config: TrainingConfig, data: FitInput, folder: Path, workers: int = 1) -> Path:
    """Trains to the last step and returns the checkpoint; goes on from `folder`'s last checkpoint if there is one.

    The checkpoint's network weights are the exponential moving average.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    if (
        last.exists()
        and torch.load(last, map_location="cpu", weights_only=True)["global_step"] >= config.schedule.steps
    ):
        return last
    pl.seed_everything(config.schedule.seed, workers=True)
    if data.start is None:
        network: torch.nn.Module = build_network(config.network, len(config.labels) + 1)
    else:
        network = trained_network(config, data.start).train()
    module = SegmentationModule(network, config.schedule)
    trainer = pl.Trainer(
        default_root_dir=folder,
        max_steps=config.schedule.steps,
        max_epochs=-1,
        precision=config.precision,
        logger=CSVLogger(folder, name="log", version=""),
        gradient_clip_val=1.0,
        log_every_n_steps=20,
        callbacks=[
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=config.schedule.checkpoint_every),
            EMAWeightAveraging(decay=config.schedule.ema_decay),
            LearningRateMonitor("step"),
            TQDMProgressBar(refresh_rate=20),
        ],
        enable_model_summary=False,
    )
    loader = patch_loader(PatchStream(data.cases, data.weights, config), workers)
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None, weights_only=True)
    return last


def trained_network(config: TrainingConfig, checkpoint: Path) -> torch.nn.Module:
    """The averaged network of a checkpoint, in evaluation mode; read weights-only, so that no pickled code runs."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    network = build_network(config.network, len(config.labels) + 1)
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    return network.eval()
