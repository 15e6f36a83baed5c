"""`contour evaluate`: how networks agree with what people drew, on whole cases."""

from dataclasses import asdict, replace
from math import isinf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.evaluate import EvaluateOptions, evaluate, package_protocol
from contour.cases.evaluate_report import REPORT_FILE, ReportOptions, shown_cases, write_report
from contour.cases.evaluation import EVALUATION_FILE, SCORES_FILE, Evaluation
from contour.cases.score import CaseScore, Measure
from contour.cases.split import load_split
from contour.cases.statistics import MIN_PATIENTS, Interval
from contour.cases.store import case_folders
from contour.cases.summary import StructureSummary
from contour.cli.options import (
    EngineName,
    Json,
    ModelFolders,
    Overwrite,
    ProtocolFolders,
    Threads,
    open_checkpoint,
    open_locator,
    session_options,
)
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.core.errors import ConfigError
from contour.core.protocol import Protocol
from contour.inference.engine import NetworkEngine
from contour.inference.package import load_package
from contour.inference.session import Engine, SessionOptions, open_network
from contour.library import find_package, load_protocol, packages_for

WORST_NAMED = 4
DEFAULT_TOLERANCES_MM = [3.0, 2.0, 1.0]


def evaluate_cases(
    cases: Annotated[Path, typer.Argument(help="Folder of cases, as `contour data build` makes it.")],
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; what is done there is not done again.")
    ],
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="Name or YAML file: which networks, and the rules.")
    ] = None,
    package: Annotated[
        list[str],
        typer.Option("--package", help="Package (name or folder) to judge instead of the protocol's; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Folder of a training: judge its last checkpoint, in torch.")
    ] = None,
    split: Annotated[Path | None, typer.Option("--split", help="Split by `contour data split`.")] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only the cases that the split holds out.")] = False,
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Only the cases of this fold of the split.")] = None,
    tolerances_mm: Annotated[
        list[float],
        typer.Option(
            "--tolerance", "-t", min=0.0, max=100.0, help="Surface tolerance in mm; the first is the main one."
        ),
    ] = DEFAULT_TOLERANCES_MM,
    structures: Annotated[
        list[str], typer.Option("--structure", help="Judge this structure; repeatable; by default all.")
    ] = [],  # noqa: B006 - typer copies it
    pictures: Annotated[int, typer.Option(min=0, help="Worst cases of each structure to show in the report.")] = 2,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw whole cases as in the clinic, and compare with what people drew: tables, plots, and pictures of the worst.

    Without --protocol, packages are judged as their networks draw, without rules that remove islands or fill holes.
    """
    chosen, selection = _selected(case_folders(cases), split, fold, held_out=held_out)
    options = EvaluateOptions(
        tolerances_mm=tuple(dict.fromkeys(tolerances_mm)),
        structures=tuple(structures) or None,
        selection=selection,
        overwrite=overwrite,
    )
    rules = None if protocol is None else load_protocol(protocol, tuple(protocols))
    networks = _networks(rules, package, checkpoint, tuple(models), session_options(engine, threads))
    if rules is not None:
        options = replace(options, locator=open_locator(rules, tuple(models), session_options(engine, threads)))
    judged_by = rules or package_protocol([network.manifest for network in networks])
    with stage_bars(quiet=as_json) as tell:
        evaluation = evaluate(
            chosen,
            judged_by,
            networks,
            output_folder,
            options=options,
            progress=lambda _, done: tell("Draw and compare", done),
        )
        write_report(
            evaluation, chosen, output_folder, ReportOptions(pictures), progress=lambda done: tell("Report", done)
        )
    if as_json:
        print_json(_content(evaluation))
        return
    print_evaluation(evaluation, output())
    for case in (case for case in evaluation.cases if case.failure is not None):
        messages().print(f"[bold red]refused[/] {escape(case.case)}: {escape(case.failure or '')}", soft_wrap=True)
    if evaluation.set_aside:
        messages().print(f"[yellow]{len(evaluation.set_aside)} cases set aside[/]; the report says why")
    seen = [case.case for case in evaluation.cases if case.seen]
    if seen:
        found = f"{len(seen)} of {len(evaluation.cases)} cases were seen in training or validation"
        messages().print(f"[bold red]no proof[/]: {found}, {escape(', '.join(seen[:5]))} ...", soft_wrap=True)
    names = ", ".join((REPORT_FILE, EVALUATION_FILE, SCORES_FILE))
    output().print(f"[bold green]Written[/] {escape(str(output_folder))}: {names}", soft_wrap=True)


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """A line for each structure: medians and their intervals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Structure", no_wrap=True)
    surface = f"Surface {evaluation.tolerances_mm[0]:g} mm"
    for column in ("Cases", "Missed", "Dice", "10 %", surface, "HD95 mm"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in evaluation.structures:
        table.add_row(*_cells(line))
    console.print(table)
    count = f"{len(evaluation.cases)} cases of {evaluation.patients} patients ({evaluation.selection})"
    intervals = (
        f"medians, with {100 * evaluation.bootstrap.confidence:g} % intervals by patient"
        if evaluation.patients >= MIN_PATIENTS
        else f"medians; no intervals for fewer than {MIN_PATIENTS} patients"
    )
    console.print(f"[dim]{escape(count)}; {intervals}[/]")
    worst = sorted((one.score for one in shown_cases(evaluation, 1) if one.rank == 1), key=_surface_dice)
    named = ", ".join(
        f"{one.structure} of {one.case} ({_number(_surface_dice(one), 2)})" for one in worst[:WORST_NAMED]
    )
    console.print(f"[dim]Lowest surface Dice: {escape(named)}[/]")


# -- what is judged, and by what ---------------------------------------------------------------------------------------


def _selected(
    folders: tuple[Path, ...], split_file: Path | None, fold: int | None, *, held_out: bool
) -> tuple[tuple[Path, ...], str]:
    """The folders that a split chooses, and that in words."""
    if held_out and fold is not None:
        raise typer.BadParameter("--held-out or --fold, not both")
    if (split_file is not None) != (held_out or fold is not None):
        raise typer.BadParameter("--split goes with --held-out or --fold, and they with it")
    if split_file is None:
        return folders, "all cases"
    split = load_split(split_file)
    names = split.held_out if held_out else split.validation_cases(fold)
    by_name = {folder.name: folder for folder in folders}
    missing = [name for name in names if name not in by_name]
    if missing or not names:
        found = f"{', '.join(missing[:5])} not among the cases" if missing else "no cases there"
        raise ConfigError(str(split_file), found, "the split of these cases")
    what = "held-out cases" if held_out else f"validation cases of fold {fold}"
    return tuple(by_name[name] for name in names), f"{what} of {split_file.name}, seed {split.seed}"


def _networks(
    protocol: Protocol | None,
    packages: list[str],
    checkpoint: Path | None,
    models: tuple[Path, ...],
    options: SessionOptions,
) -> tuple[NetworkEngine, ...]:
    """The networks asked for; those of the protocol if none are named."""
    if checkpoint is not None:
        if packages:
            raise typer.BadParameter("--package or --checkpoint, not both")
        return (open_checkpoint(checkpoint),)
    if packages:
        found = [load_package(Path(name)) if Path(name).is_dir() else find_package(name, models) for name in packages]
    elif protocol is not None:
        found = list(packages_for(protocol, models))
    else:
        raise typer.BadParameter("say what to judge: --protocol, --package or --checkpoint")
    return tuple(open_network(package, options) for package in found)


# -- words -------------------------------------------------------------------------------------------------------------


def _cells(line: StructureSummary) -> tuple[str, ...]:
    dice, surface = line.measure(Measure.DICE), line.measure(Measure.SURFACE_DICE)
    return (
        escape(line.structure),
        str(line.cases),
        f"[yellow]{line.not_found}[/]" if line.not_found else "0",
        _number(dice.median, 2) + _interval(dice.median_interval, 2),
        _number(dice.poor, 2),
        _number(surface.median, 2) + _interval(surface.median_interval, 2),
        _number(line.measure(Measure.HD95_MM).median, 1),
    )


def _interval(ends: Interval | None, digits: int) -> str:
    return "" if ends is None else escape(f" [{_number(ends.low, digits)}, {_number(ends.high, digits)}]")


def _surface_dice(one: CaseScore) -> float:
    return one.value(Measure.SURFACE_DICE)


def _number(value: float, digits: int) -> str:
    return "inf" if isinf(value) else f"{value:.{digits}f}"


def _content(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "cases": len(evaluation.cases),
        "patients": evaluation.patients,
        "selection": evaluation.selection,
        "tolerances_mm": evaluation.tolerances_mm,
        "structures": [asdict(line) for line in evaluation.structures],
        "seen_in_training": [case.case for case in evaluation.cases if case.seen],
        "refused": {case.case: case.failure for case in evaluation.cases if case.failure is not None},
        "set_aside": {one.case: one.reason for one in evaluation.set_aside},
    }
