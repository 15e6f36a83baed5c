"""A checkpoint as what draws: torch, and MONAI's sliding-window inferer, through the same pipeline as a package.

It shows a network while it is trained, and is the reference that an exported package is held to.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from torch import Tensor

from contour.config import load_config
from contour.core.errors import PackageError
from contour.inference.engine import Progress, Region
from contour.inference.package import Label, Manifest, Training
from contour.inference.tiling import stride
from contour.training.config import TrainingConfig
from contour.training.fit import CHECKPOINT_FILE, steps_done, trained_network
from contour.training.run import CONFIG_FILE, RUN_FILE, RunRecord, load_run_record


@dataclass(frozen=True)
class TrainedRun:
    """What a training left in its folder: the configuration it ran with, its last checkpoint, and the steps to that.

    `record` says which cases it was given; None for a run that was not made from a folder of cases.
    """

    folder: Path
    config: TrainingConfig
    checkpoint: Path
    steps: int
    record: RunRecord | None


class TorchNetwork:
    """A network in torch, as `inference.engine.NetworkEngine` asks; made by `open_run`.

    Its windows lie where ONNX Runtime's do: MONAI is told their stride. Unlike there every window is run, and the
    logits of the whole region are held.
    """

    def __init__(self, network: torch.nn.Module, manifest: Manifest, origin: Path, device: torch.device) -> None:
        self._network = network.eval().to(device)
        self._device = device
        self.manifest = manifest
        self.origin = origin

    @property
    def engine(self) -> str:
        """Either "torch cpu" or "torch cuda"."""
        return f"torch {self._device.type}"

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        """As `NetworkEngine.planes`."""
        logits_czyx = sliding_logits(self._network, region, progress, self._device)
        if not np.isfinite(logits_czyx).all():
            raise PackageError(str(self.origin), "answers with nan or infinity", "finite logits")
        for plane in range(logits_czyx.shape[1]):
            yield logits_czyx[:, plane]


def load_run(folder: Path) -> TrainedRun:
    """The training in `folder`, finished or not.

    Raises:
        ConfigError: its configuration is missing, or that or its record has a mistake.
        PackageError: there is no checkpoint yet.
    """
    config = load_config(folder / CONFIG_FILE, TrainingConfig)
    checkpoint = folder / CHECKPOINT_FILE
    if not checkpoint.is_file():
        raise PackageError(str(folder), f"no {CHECKPOINT_FILE}", "a training that has ended at least one epoch")
    record = load_run_record(folder) if (folder / RUN_FILE).exists() else None
    return TrainedRun(folder, config, checkpoint, steps_done(checkpoint), record)


def open_run(run: TrainedRun, device: torch.device | None = None) -> TorchNetwork:
    """The network of `run` in float32 on `device`; by default CUDA where there is one, else the CPU.

    Its manifest states the checkpoint's checksum, and the steps behind it in the version ("1.0.0+step4500"): what it
    draws is never taken for the drawing of a package.
    """
    chosen = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checksum = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
    training = Training(data=(), licences=(), command="", steps=run.steps)
    manifest = manifest_of(run.config, f"{run.config.version}+step{run.steps}", checksum, training)
    return TorchNetwork(trained_network(run.config, run.checkpoint).float(), manifest, run.checkpoint, chosen)


def manifest_of(config: TrainingConfig, version: str, sha256: str, training: Training) -> Manifest:
    """What a network trained by `config` draws; `sha256` is of the file that holds it."""
    return Manifest(
        name=config.name,
        version=version,
        title=config.title,
        modality=config.modality,
        onnx_sha256=sha256,
        licence=config.licence,
        patch_shape_zyx=config.patch_shape_zyx,
        preprocessing=config.preprocessing,
        labels=tuple(Label(i, label.name, also=label.also) for i, label in enumerate(config.labels, start=1)),
        training=training,
        largest_patch_voxels=config.largest_patch_voxels,
        steps=config.steps,
    )


def sliding_logits(
    predictor: Callable[[Tensor], Tensor], region: Region, progress: Progress, device: torch.device
) -> NDArray[np.float32]:
    """Logits (channels, z, y, x) of `region` by MONAI's sliding-window inferer, which runs `predictor` on windows.

    `predictor` answers windows (1, 1, z, y, x) with logits (1, channels, z, y, x).
    """
    shape, patch = region.values_zyx.shape, region.patch_zyx
    steps = [stride(max(n, p), p, region.overlap) for n, p in zip(shape, patch, strict=True)]
    windows = np.prod([-(-max(0, n - p) // s) + 1 for n, p, s in zip(shape, patch, steps, strict=True)])
    done = 0

    def counted(window: Tensor) -> Tensor:
        nonlocal done
        logits = predictor(window)
        done += 1
        progress(min(1.0, done / float(windows)))
        return logits

    inferer = SlidingWindowInferer(
        patch,
        sw_batch_size=1,
        # MONAI takes an overlap and rounds the stride down from it: half a voxel more is this stride and no other.
        overlap=[max(0.0, 1 - (s + 0.5) / p) for s, p in zip(steps, patch, strict=True)],
        mode="gaussian",
        padding_mode="constant",
        cval=region.padding,
        sw_device=device,
        device=torch.device("cpu"),
    )
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(region.values_zyx))[None, None]
        logits: NDArray[np.float32] = inferer(image, counted)[0].float().numpy()
    return logits
