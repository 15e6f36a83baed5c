"""`contour data build`: cases from an index and a map of names."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.assemble import CaseOptions
from contour.cases.build import REPORT_FILE, BuildOptions, BuildReport, build_cases
from contour.cases.overrides import Overrides, load_overrides
from contour.cases.store import Status
from contour.cli.failures import ExitCode
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json, severity_text, stage_bars
from contour.core.report import Severity

UNKNOWN_NAMES_SHOWN = 10


def data_build(
    index: Annotated[Path, typer.Argument(help="Index by `contour data index`.")],
    names: Annotated[Path, typer.Argument(help="Map of names by `contour data names`, looked through by a person.")],
    cases: Annotated[Path, typer.Option("--output", "-o", help="Folder of the cases; what stands is kept.")],
    structures: Annotated[
        list[str], typer.Option("--structure", help="TG-263 name to keep; may be repeated; by default all.")
    ] = [],  # noqa: B006 - typer copies it
    overrides: Annotated[
        Path | None, typer.Option("--overrides", help="YAML of what a person states of single structures.")
    ] = None,
    join: Annotated[
        list[str], typer.Option("--join", help="TG-263 name whose ROIs of one set are united; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    fill_gaps_mm: Annotated[
        float, typer.Option("--fill-gaps", min=0.0, max=20.0, help="Fill gaps of contours at most so many mm apart.")
    ] = 0.0,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes to build with; by default as many as fit.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a case from each pair: the image, a mask for each structure, and whether that was drawn whole or in part.

    What cannot be trusted is set aside with its reason, and the rest goes on. A case with the same inputs is not built
    again, so a run that was stopped goes on where it was. Exit code 2 if there is no case in the end.
    """
    stated = load_overrides(overrides) if overrides else Overrides()
    case_options = CaseOptions(tuple(structures), tuple(join), fill_gaps_mm, stated)
    with stage_bars(quiet=as_json) as tell:
        report = build_cases(index, names, cases, BuildOptions(case_options, workers), tell)
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report, output())
        output().print(f"\nCases: {escape(str(cases))}; what became of each pair: {REPORT_FILE}", soft_wrap=True)
        if report.cases:
            messages().print(f"[bold]Next:[/] contour data audit {escape(str(cases))} --output audit", soft_wrap=True)
    if not report.cases:
        messages().print("[bold red]No case[/] could be built.")
        raise typer.Exit(ExitCode.REFUSED)


def print_report(report: BuildReport, console: Console) -> None:
    """How many cases, what each structure has, what was found and set aside."""
    patients = len({case.patient for case in report.cases})
    built = sum(case.built_now for case in report.cases)
    before = len(report.cases) - built
    console.print(f"[bold]{len(report.cases)} cases[/] of {patients} patients: {built} built, {before} as before")
    if report.removed:
        console.print(f"Removed, refused now: {', '.join(report.removed)}")
    if report.of_other_runs:
        console.print(f"Not of this index, left alone: {', '.join(report.of_other_runs)}", soft_wrap=True)
    if report.cases:
        console.print(_structures_table(report))
        for table in (_findings_table(report), _left_out_table(report)):
            if table.rows:
                console.print(table)
    unknown = Counter(name for case in report.cases for name in case.found.unknown_names)
    if unknown:
        shown = ", ".join(repr(name) for name, _ in unknown.most_common(UNKNOWN_NAMES_SHOWN))
        more = f" and {len(unknown) - UNKNOWN_NAMES_SHOWN} more" if len(unknown) > UNKNOWN_NAMES_SHOWN else ""
        console.print(f"\n[yellow]Not in the map[/]: {escape(shown)}{more}. Run `contour data names` again.")
    if report.set_aside:
        table = _table("Pairs set aside", ("Case", "Code", "Why"))
        for item in report.set_aside:
            table.add_row(item.name, item.code, escape(item.why))
        console.print(table)


def _structures_table(report: BuildReport) -> Table:
    table = _table("Structures", ("Structure", "Drawn", "In part", "Patients", "Median ml"))
    names = sorted({s.name for case in report.cases for s in case.structures})
    for name in names:
        found = [(case.patient, s) for case in report.cases for s in case.structures if s.name == name]
        drawn = [(patient, s) for patient, s in found if s.status is not Status.NOT_DRAWN]
        whole = [s for _, s in drawn if s.status is Status.DRAWN]
        volumes = sorted(s.volume_ml for s in whole)
        median = f"{volumes[len(volumes) // 2]:.1f}" if volumes else "-"
        patients = len({patient for patient, _ in drawn})
        table.add_row(escape(name), str(len(whole)), str(len(drawn) - len(whole)), str(patients), median)
    return table


def _findings_table(report: BuildReport) -> Table:
    table = _table("Findings", ("", "Cases", "Finding", "For example"))
    cases: dict[tuple[Severity, str], dict[str, str]] = {}
    for case in report.cases:
        for finding in case.found.findings:
            cases.setdefault((finding.severity, finding.code), {}).setdefault(case.name, finding.message)
    for (severity, code), messages_of in sorted(cases.items(), key=lambda item: -len(item[1])):
        name, message = next(iter(messages_of.items()))
        table.add_row(severity_text(severity), str(len(messages_of)), code, f"{name}: {escape(message)}")
    return table


def _left_out_table(report: BuildReport) -> Table:
    table = _table("ROIs left out", ("Case", "Structure", "ROI", "Code", "Why"))
    for case in report.cases:
        for item in case.found.left_out:
            table.add_row(case.name, item.name, escape(", ".join(item.roi_names)), item.code, escape(item.why))
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=f"\n[bold]{title}[/]", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("Drawn", "In part", "Patients", "Median ml", "Cases") else "left"
        )
    return table
