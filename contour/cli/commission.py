"""`contour commission`: a site's own approved cases decide whether automatic contours may be used there."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cases.commission import COMMISSION_FILE, Commissioning, Verdict, calibrations, commission, load_limits
from contour.cases.commission_report import HTML_FILE, PDF_FILE, write_commission
from contour.cases.evaluate import EvaluateOptions, evaluate
from contour.cases.evaluate_report import worst_pictures
from contour.cases.store import case_folders
from contour.cli.failures import ExitCode
from contour.cli.options import (
    EngineName,
    Json,
    LocalNames,
    ModelFolders,
    Overwrite,
    ProtocolFolders,
    Threads,
    known_protocols,
    open_locator,
    session_options,
)
from contour.cli.terminal import output, print_json, stage_bars
from contour.inference.session import Engine, open_network
from contour.languages import Language
from contour.library import load_protocol, packages_for
from contour.qa.calibration import CALIBRATION_FILE, save_calibration

_COLORS = {
    Verdict.MET: "green",
    Verdict.MET_NOT_SHOWN: "cyan",
    Verdict.NOT_MET: "bold red",
    Verdict.TOO_FEW: "yellow",
    Verdict.NOT_JUDGED: "bold red",
    Verdict.NO_LIMIT: "dim",
}


def commission_site(
    cases: Annotated[Path, typer.Argument(help="Folder of approved cases, as `contour data make` makes it.")],
    output_folder: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the run, the baseline; what is done there is not done again."),
    ],
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", autocompletion=known_protocols, help="Name or YAML file.")
    ],
    limits: Annotated[str, typer.Option("--limits", help="What is asked: head, thorax, or a YAML file of your own.")],
    against: Annotated[
        Path | None, typer.Option("--against", help="Folder of an earlier run: what became worse?")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="In words, whose cases these are, as the calibration will say.")
    ] = "the site's own approved cases",
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    language: LocalNames = Language.ENGLISH,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw approved cases as in the clinic, hold them against limits, and learn what the networks' doubt is worth.

    commission.html for the screen, commission.pdf for the binder, commission.json as the baseline, calibration.yaml for
    `contour run --calibration`. Exit code 3: a limit is not met.
    """
    asked, rules, session = (
        load_limits(limits),
        load_protocol(protocol, tuple(protocols)),
        session_options(engine, threads),
    )
    networks = tuple(open_network(package, session) for package in packages_for(rules, tuple(models)))
    tolerances = tuple(dict.fromkeys((asked.tolerance_mm, 3.0, 2.0, 1.0)))
    locator = open_locator(rules, tuple(models), session)
    options = EvaluateOptions(tolerances, overwrite=overwrite, locator=locator, selection=source)
    folders = case_folders(cases)
    with stage_bars(quiet=as_json) as tell:
        found = evaluate(
            folders,
            rules,
            networks,
            output_folder,
            options=options,
            progress=lambda _, done: tell("Draw and compare", done),
        )
        made = commission(found, output_folder, asked, against)
        learnt = calibrations(found, tuple(network.manifest for network in networks), source)
        for calibration in learnt:
            file = CALIBRATION_FILE if len(learnt) == 1 else f"calibration-{calibration.package}.yaml"
            save_calibration(calibration, output_folder / file)
        pictures = worst_pictures(found, folders, output_folder, progress=lambda done: tell("Report", done))
        write_commission(made, found, output_folder, pictures, language)
    if as_json:
        print_json(asdict(made))
    else:
        _print(made, output_folder)
    if not made.passed:
        raise typer.Exit(ExitCode.NOT_RELEASED)


def _print(made: Commissioning, folder: Path) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Structure", "Verdict", "Cases", "Missed", "Medians", "Asked"):
        table.add_column(column)
    for line in made.verdicts:
        reached, asked = (
            ", ".join(f"{m.value} {value:.2f}" for m, value in values) for values in (line.reached, line.asked)
        )
        verdict = f"[{_COLORS[line.verdict]}]{line.verdict}[/]"
        table.add_row(escape(line.structure), verdict, str(line.cases), str(line.not_found), reached, asked)
    console = output()
    console.print(table)
    for change in made.changes:
        if change.worse:
            console.print(f"[bold red]worse[/] {escape(change.structure)}: {change.difference:+.3f} of surface Dice")
    if made.seen:
        console.print(f"[bold red]no proof[/]: {made.seen} cases were seen in training or validation")
    console.print("[bold green]All limits are met.[/]" if made.passed else "[bold red]Not all limits are met.[/]")
    console.print(f"{escape(str(folder))}: {HTML_FILE}, {PDF_FILE}, {COMMISSION_FILE}", soft_wrap=True)
