"""The folder of a training that never took place: a network of random weights, as `fit` would leave it."""

from pathlib import Path

import torch
from tiny_training import tiny_config

from contour.config import save_config
from contour.training.config import TrainingConfig
from contour.training.fit import CHECKPOINT_FILE
from contour.training.network import build_network
from contour.training.run import CONFIG_FILE, RUN_FILE, CaseUse, RunRecord

STEPS = 7


def make_run(folder: Path, config: TrainingConfig | None = None, record: RunRecord | None = None) -> Path:
    """A RUN folder with a checkpoint of step 7, and a record if one is given."""
    chosen = config or tiny_config(1)
    torch.manual_seed(0)
    network = build_network(chosen.network, len(chosen.labels) + 1)
    folder.mkdir(parents=True)
    save_config(chosen, folder / CONFIG_FILE)
    if record is not None:
        save_config(record, folder / RUN_FILE)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "global_step": STEPS}, folder / CHECKPOINT_FILE)
    return folder


def make_record(training: tuple[str, ...], held_out: tuple[str, ...]) -> RunRecord:
    """A record of cases whose patients are called as they are."""
    uses = tuple(CaseUse(name, name, name[-1] * 64) for name in training)
    return RunRecord("0", uses, (), held_out, None, "")
