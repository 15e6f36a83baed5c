"""Rebuilds a package that ships: prepare the cases, train, export, measure, write the card.

    python -m scripts.starter.build PACKAGE --data DATA [--work runs/PACKAGE] [--devices 1] [--threads 2]
    python -m scripts.starter.build PACKAGE --data DATA --prepare-only

Each step leaves its result in the work folder: a build that was killed goes on there. The package appears in
`models/PACKAGE` in whole when everything is done. With a GPU at hand, the training runs on it.
"""

import argparse
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from contour.config import load_config, save_config, shipped_folder
from contour.core.errors import ConfigError
from contour.core.staging import staged
from contour.inference.package import CARD_FILE, Training, write_manifest
from contour.training.config import TrainingConfig
from contour.training.engine import load_run
from contour.training.export import Exported, ExportOptions, export_run
from contour.training.fit import FitInput, Hardware, fit
from contour.training.prepared import cases_sha256
from contour.training.run import CONFIG_FILE
from scripts.starter.card import said_of, text_of
from scripts.starter.measure import measure
from scripts.starter.recipe import Recipe
from scripts.starter.recipes import recipe_of

LIKENESS_CASES = 2  # on whose images ONNX Runtime is held to torch


def main() -> None:
    given = _parse()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    recipe = recipe_of(given.package)
    work = given.work or Path("runs") / recipe.name
    config = load_config(shipped_folder("configs") / "training" / f"{recipe.name}.yaml", TrainingConfig)
    if given.prepare_only:
        found = recipe.prepare(given.data, work, config)
        print(f"{len(found.cases)} cases to train on, {len(found.validation)} to look at, in {work}")
        return
    package = build(recipe, config, given.data, work, Hardware(devices=given.devices, workers=given.workers))
    with staged(shipped_folder("models") / recipe.name) as stage:
        shutil.copytree(package, stage, dirs_exist_ok=True)


def build(recipe: Recipe, config: TrainingConfig, data: Path, work: Path, hardware: Hardware) -> Path:
    """The finished package of `recipe`, in `work`, from the public data in `data`.

    Raises:
        ConfigError: a training with another configuration has begun in `work`.
        ExportDiffersError: the exported network answers otherwise than the trained one.
    """
    prepared = recipe.prepare(data, work, config)
    keep_config(config, work / "train")
    fit(config, prepared, work / "train", hardware)
    exported = export(recipe, config, prepared, data, work)
    figures = measure(recipe, work / "package", data, work)
    text = text_of(recipe, exported.facts, figures)
    (work / "package" / CARD_FILE).write_text(text, encoding="utf-8")
    return work / "package"


def keep_config(config: TrainingConfig, folder: Path) -> None:
    """Writes the training's configuration into its `folder`; a training there may go on longer, but not as another.

    Raises:
        ConfigError: a training with another configuration has begun there.
    """
    path = folder / CONFIG_FILE
    if path.exists() and replace(load_config(path, TrainingConfig), schedule=config.schedule) != config:
        raise ConfigError(str(path), f"is not the configuration of {config.name} {config.version}", "another --work")
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, path)


def export(recipe: Recipe, config: TrainingConfig, prepared: FitInput, data: Path, work: Path) -> Exported:
    """The trained network as a package in `<work>/package`, held to torch on validation cases; not measured yet."""
    run = load_run(work / "train")
    training = Training(
        data=recipe.data,
        licences=recipe.licences,
        command=f"python -m scripts.starter.build {recipe.name} --data DATA",
        data_sha256=cases_sha256(prepared.cases, config.preprocessing),
        steps=run.steps,
    )
    first = [group.cases[0] for group in recipe.validation(data, work / "validation")]
    options = ExportOptions(tuple(first[:LIKENESS_CASES]), said_of(recipe), overwrite=True, training=training)
    return without(export_run(run, work / "package", options), recipe.undrawn)


def without(exported: Exported, undrawn: tuple[str, ...]) -> Exported:
    """The package without the labels that it is not to offer; their channels compete with the others as before."""
    manifest = exported.package.manifest
    kept = replace(manifest, labels=tuple(label for label in manifest.labels if label.name not in undrawn))
    write_manifest(kept, exported.package.folder)
    return replace(
        exported, package=replace(exported.package, manifest=kept), facts=replace(exported.facts, manifest=kept)
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="the name of a recipe")
    parser.add_argument("--data", type=Path, required=True, help="the folder of public images and labels")
    parser.add_argument("--work", type=Path, help="cases, checkpoints, results; runs/PACKAGE by default")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training process")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare patches beside it")
    parser.add_argument("--prepare-only", action="store_true", help="make the cases and stop")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes where there is none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
