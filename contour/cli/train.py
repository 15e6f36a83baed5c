"""`contour train`: a network from reference cases; killed at any moment, the same command goes on."""

import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cases.split import Split, load_split
from contour.cases.store import case_folders
from contour.cli.terminal import messages, stage_bars
from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError


def train(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training YAML, or the name of a shipped one.")],
    cases: Annotated[Path, typer.Argument(help="Folder of cases, as `contour data build` makes it.")],
    run: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: checkpoint, logs, pictures.")],
    split_path: Annotated[
        Path | None, typer.Option("--split", help="Split of the cases, by `contour data split`; else all train.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", min=0, help="The fold that validates; without it every fold trains.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option("--start", help="Go on from a package's folder or a checkpoint of the same network.")
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="GPUs, or processes where there is no GPU.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that prepare patches, per device.")] = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Processors of each training process; by default all.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train a network on reference cases; the same command after a stop goes on to the same weights.

    Structures that a case does not have, or has in part, teach nothing where they were not drawn.
    """
    require_torch("contour train")
    import torch  # noqa: PLC0415 - planning servers have no torch

    from contour.training.config import TrainingConfig  # noqa: PLC0415
    from contour.training.fit import Hardware, fit  # noqa: PLC0415
    from contour.training.run import RunInput, prepare_run  # noqa: PLC0415

    _without_advice()
    config = load_config(_config_file(config_path), TrainingConfig)
    if threads is not None:
        torch.set_num_threads(threads)
    data = RunInput(cases, _split(cases, split_path), fold, start)
    with stage_bars(quiet=quiet) as tell:
        ready = prepare_run(config, data, run, tell)
    checkpoint = fit(config, ready, run, Hardware(devices, workers, progress=not quiet))
    messages().print(f"Trained: {escape(str(checkpoint))}", soft_wrap=True)
    messages().print(f"[bold]Next:[/] {escape(_next_step(cases, run, split_path, fold))}", soft_wrap=True)


def _next_step(cases: Path, run: Path, split_path: Path | None, fold: int | None) -> str:
    """How to look at the network on cases that it has not seen, where there are any."""
    unseen = f" --split {split_path} {'--held-out' if fold is None else f'--fold {fold}'}" if split_path else ""
    return f"contour evaluate {cases} --checkpoint {run}{unseen} --output EVALUATION, then contour export {run}"


def _without_advice() -> None:
    """Lightning's advice is for its developers and its cloud, and what it calls of torch is not the user's to mend."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


def _config_file(given: Path) -> Path:
    shipped = shipped_folder("configs") / "training" / f"{given}.yaml"
    return shipped if not given.exists() and given.name == str(given) and shipped.exists() else given


def _split(cases: Path, path: Path | None) -> Split:
    if path is not None:
        return load_split(path)
    return Split(seed=0, held_out=(), folds=(tuple(folder.name for folder in case_folders(cases)),))


def require_torch(command: str) -> None:
    """Refuse where the training extra is not installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("lightning") is None:
        raise ConfigError(command, "torch, MONAI and Lightning are not installed", "pip install '.[train]'")
