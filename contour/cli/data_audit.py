"""`contour data audit`: every case looked at, by itself and beside the others."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cases.audit import REPORT_FILE, SUGGESTIONS_FILE, Audit, AuditOptions, audit, save_audit
from contour.cases.audit_report import write_report
from contour.cases.store import case_folders
from contour.cli.options import Json
from contour.cli.terminal import SEVERITY_COLORS, output, print_json, severity_text, stage_bars
from contour.core.report import Severity

SHOWN = 20


def data_audit(
    cases: Annotated[Path, typer.Argument(help="Folder of cases, as `contour data build` makes it.")],
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("audit"),
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds one case in memory.")] = 2,
    pictures: Annotated[int, typer.Option(min=0, help="Draw the most severe findings, so many at most.")] = 300,
    as_json: Json = False,
) -> None:
    """Look for what would teach a network wrongly, and write an HTML report with pictures.

    Findings are for a person to judge: the command ends with 0 whatever it found.
    """
    options = AuditOptions(workers=workers, pictures=pictures)
    with stage_bars(quiet=as_json) as tell:
        found = audit(case_folders(cases), options, tell)
        save_audit(found, output_folder)
        write_report(found, output_folder / REPORT_FILE, options, tell)
    if as_json:
        print_json([asdict(one) for one in found.findings])
        return
    _print(found, output_folder)


def _print(found: Audit, folder: Path) -> None:
    console = output()
    counts = ", ".join(f"{found.count(severity)} {severity_text(severity)}" for severity in SEVERITY_COLORS)
    console.print(f"[bold]{len(found.cases)} cases[/]: {counts}")
    kinds = Counter((f.finding.severity, f.finding.code) for f in found.findings)
    table = Table(box=None, pad_edge=False, show_header=False)
    for severity in SEVERITY_COLORS:
        for (_, code), count in sorted(item for item in kinds.items() if item[0][0] is severity):
            table.add_row(severity_text(severity), code, str(count))
    console.print(table)
    stops = [f for f in found.findings if f.finding.severity is Severity.STOP]
    for one in stops[:SHOWN]:
        console.print(f"[bold red]stop[/] {escape(one.case)}: {escape(one.finding.message)}", soft_wrap=True)
    if len(stops) > SHOWN:
        console.print(f"[dim]and {len(stops) - SHOWN} more[/]")
    place = escape(str(folder))
    console.print(f"Look at [bold]{place}/{REPORT_FILE}[/]", soft_wrap=True)
    if found.suggestions.overrides:
        console.print(
            f"[dim]What the findings would mean, for `contour data build --overrides`: {place}/{SUGGESTIONS_FILE}[/]",
            soft_wrap=True,
        )
