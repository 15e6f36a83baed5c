"""`contour run`: a folder of slices becomes an RTSTRUCT."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cli.failures import ExitCode
from contour.cli.options import (
    EngineName,
    Json,
    ModelFolders,
    Overwrite,
    ProtocolFolders,
    SeriesUid,
    Threads,
    session_options,
)
from contour.cli.terminal import (
    SEVERITY_COLORS,
    color_mark,
    findings_table,
    messages,
    number,
    output,
    print_json,
    stage_bars,
)
from contour.core.report import Severity
from contour.inference.session import Engine, open_network
from contour.library import load_protocol, packages_for
from contour.pipeline import PREVIEW_FILE, REPORT_FILE, RTSTRUCT_FILE, Run, RunOptions, contour_series

DEFAULT_PROTOCOL = "thorax_oar"


def run_series(
    series_folder: Annotated[Path, typer.Argument(help="Folder of the image series, as exported.")],
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="Name or YAML file.")] = DEFAULT_PROTOCOL,
    output_folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the files go; by default NAME-contours here.")
    ] = None,
    series_uid: SeriesUid = None,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Contour the image series in a folder: rtstruct.dcm, report.json and preview.png."""
    chosen = load_protocol(protocol, tuple(protocols))
    packages = packages_for(chosen, tuple(models))
    target = output_folder or Path(f"{series_folder.resolve().name}-contours")
    with stage_bars(quiet=as_json) as tell:
        networks = tuple(open_network(package, session_options(engine, threads)) for package in packages)
        options = RunOptions(series_instance_uid=series_uid, overwrite=overwrite)
        run = contour_series(series_folder, chosen, networks, target, options=options, progress=tell)
    if as_json:
        print_json(asdict(run.report))
    else:
        print_run(run, output())
    if not run.report.released:
        raise typer.Exit(ExitCode.NOT_RELEASED)


def print_run(run: Run, console: Console) -> None:
    """The table of structures, the findings, and where the files are."""
    console.print(_structures_table(run))
    report = run.report
    structure_findings = tuple(
        f for line in report.structures for f in line.findings if f.severity is not Severity.INFO
    )
    for findings, title in ((structure_findings, "Look at first"), (report.findings, "Image and run")):
        if findings:
            console.print(findings_table(findings, f"\n[bold]{title}[/]"))
    total = sum(report.seconds.values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    memory = f", peak memory {report.peak_memory_mb:,.0f} MB" if report.peak_memory_mb else ""
    console.print(f"\n[dim]{total:.1f} s ({stages}){memory}[/]")
    if report.released:
        names = (RTSTRUCT_FILE, REPORT_FILE, PREVIEW_FILE)
        console.print(f"[bold green]Released[/] {escape(str(run.folder))}: {', '.join(names)}", soft_wrap=True)
        console.print(f"[dim]{report.review}[/]")
    else:
        messages().print("[bold red]Not released[/]: the written RTSTRUCT differs from what was drawn; see the report.")


def _structures_table(run: Run) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("Structure")
    table.add_column("Volume ml", justify="right")
    table.add_column("Confidence", justify="right")
    table.add_column("Findings")
    for structure, line in zip(run.drawing.structures.structures, run.report.structures, strict=True):
        codes = [f"[{SEVERITY_COLORS[f.severity]}]{f.code}[/]" for f in line.findings]
        confidence = "-" if line.confidence is None else number(line.confidence, 2)
        volume = number(line.volume_ml, 1) if line.drawn else "-"
        table.add_row(color_mark(structure.color_rgb), escape(line.name), volume, confidence, " ".join(codes))
    return table
