"""`contour data plan`: a training configuration proposed from the cases and this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cases.split import load_split
from contour.cases.store import case_folders
from contour.cli.options import Overwrite
from contour.cli.terminal import messages
from contour.cli.train import require_torch
from contour.config import save_config
from contour.core.errors import ConfigError

HEADER = (
    "Proposed by `contour data plan`; change what you know better, and state the licence before you ship a package."
)


def data_plan(
    cases: Annotated[Path, typer.Argument(help="Folder of cases, as `contour data build` makes it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The YAML file to write.")],
    split_path: Annotated[
        Path | None, typer.Option("--split", help="Look at the cases to train on only, not at those held out.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the package to come.")] = "site_ct",
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="Time for the training.")] = 2.0,
    fewest: Annotated[int, typer.Option("--fewest", min=1, help="Leave out what fewer cases have drawn.")] = 3,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Processors to train on.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Propose spacing, patch, network and schedule, with the reasons: a YAML file for `contour train`.

    Memory layout and patch are measured by training steps on this machine: let nothing else run meanwhile.
    """
    require_torch("contour data plan")
    from contour.training.propose import ProposalOptions, propose  # noqa: PLC0415 - planning servers have no torch

    if output.exists() and not overwrite:
        raise ConfigError(str(output), "exists", "a new file, or --overwrite")
    names = tuple(folder.name for folder in case_folders(cases))
    if split_path is not None:
        names = load_split(split_path).training_cases(None)
    proposal = propose(cases, names, ProposalOptions(name, hours, fewest, threads))
    output.parent.mkdir(parents=True, exist_ok=True)
    save_config(proposal.config, output, "\n".join((HEADER, *proposal.reasons)))
    for reason in proposal.reasons:
        messages().print(escape(reason))
    split = f" --split {split_path}" if split_path else ""
    following = f"contour train {output} {cases}{split} --output RUN"
    messages().print(f"[bold]Next:[/] look at {escape(str(output))}, then {escape(following)}", soft_wrap=True)
