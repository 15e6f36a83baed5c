"""Builds `models/thorax_ct`: prepare the cases, train, refine the propagated labels, train on, export, measure.

    python -m scripts.thorax_ct.build --data DATA [--archive ARCHIVE] [--work runs/thorax_ct]

Each step leaves its result in the work folder and is skipped when it is there; a killed training resumes.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch

from contour.config import load_config, shipped_folder
from contour.inference.package import CARD_FILE, Training
from contour.training.config import TrainingConfig
from contour.training.export import ExportInput, export_package
from contour.training.fit import FitInput, fit, trained_network
from contour.training.prepared import cases_sha256
from scripts.thorax_ct.card import COMMAND, DATA, LICENCES, card_text
from scripts.thorax_ct.evaluate import measure
from scripts.thorax_ct.prepare import ATLAS, prepare_all
from scripts.thorax_ct.refine import refine_all

FIRST_EPOCHS = 14  # before the network is asked for its own opinion of the propagated labels


def main() -> None:
    arguments = _parse()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    config = load_config(shipped_folder("configs") / "training" / "thorax_ct.yaml", TrainingConfig)
    work = arguments.work
    prepare_all(arguments.data, work / "cases", config)
    first = replace(config, schedule=replace(config.schedule, epochs=FIRST_EPOCHS))
    opinion = fit(first, weighted(work / "cases"), work / "train_first")
    refine_all(work / "cases", work / "cases_refined", trained_network(config, opinion), config)
    refined = replace(weighted(work / "cases_refined"), start=trained_network(config, opinion).state_dict())
    checkpoint = fit(config, refined, work / "train")
    package = shipped_folder("models") / config.name
    training = Training(
        DATA, LICENCES, COMMAND, cases_sha256(refined.cases, config.preprocessing), config.schedule.steps
    )
    card = card_text(config, training, "Not measured yet.")
    export_package(config, trained_network(config, checkpoint), ExportInput(training, card), package)
    if arguments.archive:
        (package / CARD_FILE).write_text(card_text(config, training, measure(package, arguments.archive)))


def weighted(folder: Path) -> FitInput:
    """All cases, so that the real ones of the chest are seen most."""
    paths = tuple(sorted(folder.glob("*.npz")))
    return FitInput(paths, tuple(_weight(path.stem) for path in paths))


def _weight(name: str) -> float:
    if name.startswith(ATLAS):
        return 1.5
    if "s0327" in name and "synthetic" in name:
        return 0.5
    if "synthetic" in name:
        return 0.15
    return 0.6 if name.startswith("totalseg") else 1.0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of public images and labels")
    parser.add_argument("--work", type=Path, default=Path("runs/thorax_ct"), help="cases, checkpoints and logs")
    parser.add_argument("--archive", type=Path, help="clinical cases to measure the package on, for its card")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
