"""Training speed and memory beside a plain MONAI loop: same cases, network, patches and augmentation, one run.

    python -m scripts.bench.training CASES [--config headneck_ct] [--steps 30] [--threads 2]

The plain loop is that of MONAI's tutorials: a Dataset in memory, DataLoader, DiceCELoss, AdamW, every structure that
was not drawn taught as background; once in float32, as there, and once under bfloat16. Each runs in its own process.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from monai.data import Dataset
from monai.losses import DiceCELoss
from torch.utils.data import DataLoader

from contour.cases.split import Split
from contour.cases.store import case_folders
from contour.config import load_config, shipped_folder
from contour.training.config import TrainingConfig, ValidationConfig
from contour.training.fit import CHECKPOINT_FILE, FitInput, Hardware, fit
from contour.training.network import build_network
from contour.training.patches import case_item, patch_transform
from contour.training.prepared import load_prepared
from contour.training.run import RunInput, prepare_run

CASES = 8


def main() -> None:
    given = _parse()
    if given.way:
        _measure(given)
        return
    rows = {}
    for way in WAYS:
        command = [sys.executable, "-m", "scripts.bench.training", *sys.argv[1:], "--way", way]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        speed, megabytes = (float(v) for v in done.stdout.split()[-2:])
        rows[way] = (speed, megabytes)
        print(f"{way:24} {speed:8.3f} patches/s {megabytes:8.0f} MB", flush=True)
    ours = rows["contour"]
    for way, (speed, megabytes) in rows.items():
        print(
            f"contour against {way:24} {ours[0] / speed:6.2f} times the patches, {ours[1] / megabytes:6.2f} the memory"
        )


def _measure(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    config = load_config(shipped_folder("configs") / "training" / f"{given.config}.yaml", TrainingConfig)
    config = replace(
        config, schedule=replace(config.schedule, epochs=1, epoch_steps=given.steps), validation=ValidationConfig(0)
    )
    names = tuple(folder.name for folder in case_folders(given.cases))[:CASES]
    with tempfile.TemporaryDirectory() as folder:
        data = prepare_run(config, RunInput(given.cases, Split(0, (), (names,))), Path(folder))
        seconds = WAYS[given.way](config, data, Path(folder))
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(given.steps * config.schedule.batch_size / seconds, sum(used) * 1.024e-3)


def _contour(config: TrainingConfig, data: FitInput, folder: Path) -> float:
    start = time.perf_counter()
    checkpoint = fit(config, data, folder, Hardware(progress=False))
    assert checkpoint == folder / CHECKPOINT_FILE
    return time.perf_counter() - start


def _plain(precision: torch.dtype) -> Callable[[TrainingConfig, FitInput, Path], float]:
    def train(config: TrainingConfig, data: FitInput, folder: Path) -> float:
        del folder
        start = time.perf_counter()
        items = [case_item(load_prepared(path)) for path in data.cases]
        dataset = Dataset(items * config.schedule.steps, patch_transform(config))
        loader = DataLoader(dataset, batch_size=config.schedule.batch_size, num_workers=1, collate_fn=_collate)
        channels = len(config.labels) + 1
        network = build_network(config.network, channels)
        loss = DiceCELoss(to_onehot_y=True, softmax=True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.schedule.learning_rate)
        for step, batch in enumerate(loader, start=1):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
                output = network(batch["image"])
            value = loss(output.float(), batch["label"].clamp(max=channels - 1))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if step == config.schedule.steps:
                break
        return time.perf_counter() - start

    return train


def _collate(items: list[list[dict[str, torch.Tensor]]]) -> dict[str, torch.Tensor]:
    """The sampler answers a list of one patch for each case."""
    return {key: torch.stack([item[0][key] for item in items]) for key in ("image", "label")}


WAYS: dict[str, Callable[[TrainingConfig, FitInput, Path], float]] = {
    "contour": _contour,
    "plain MONAI float32": _plain(torch.float32),
    "plain MONAI bfloat16": _plain(torch.bfloat16),
}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="folder of reference cases")
    parser.add_argument("--config", default="headneck_ct", help="name of a shipped training configuration")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
