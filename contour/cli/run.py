"""`contour run`: a folder of slices becomes an RTSTRUCT."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.evaluate import package_protocol
from contour.cli.failures import ExitCode
from contour.cli.options import (
    Also,
    EngineName,
    Holes,
    Json,
    LocalNames,
    Locate,
    MemoryText,
    ModelFolders,
    Overwrite,
    ProtocolFolders,
    SeriesUid,
    System,
    Threads,
    known_protocols,
    memory_bound,
    open_checkpoint,
    open_locator,
    planning_system,
    read_limits,
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
from contour.core.planning_system import GENERIC
from contour.core.protocol import Protocol
from contour.core.report import Severity
from contour.inference.engine import NetworkEngine
from contour.inference.session import Engine, SessionOptions, open_network
from contour.languages import Language, column_title
from contour.library import load_protocol, packages_for, packages_for_second
from contour.pipeline import RUN_FILES, Run, RunOptions, contour_series
from contour.qa.calibration import load_calibration
from contour.second_image import SecondSource
from contour.targets import TargetSource

DEFAULT_PROTOCOL = "thorax_oar"


def run_series(
    series_folder: Annotated[Path, typer.Argument(help="Folder of the image series, as exported.")],
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "-p",
            autocompletion=known_protocols,
            help=f"Name or YAML file; by default {DEFAULT_PROTOCOL}.",
        ),
    ] = None,
    output_folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the files go; by default NAME-contours here.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Folder of a training: draw with its last checkpoint instead of packages."),
    ] = None,
    locate: Locate = True,
    with_targets: Annotated[
        Path | None,
        typer.Option("--with", help="RTSTRUCT with the targets that the protocol derives structures from."),
    ] = None,
    named_targets: Annotated[
        list[str], typer.Option("--target", help="With --with: NAME=ROI where a target has another name; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    second: Annotated[
        Path | None,
        typer.Option("--mr", help="Folder of an MR of the patient, for the structures that the protocol draws there."),
    ] = None,
    registration: Annotated[
        Path | None,
        typer.Option("--registration", help="With --mr: DICOM Spatial Registration of the two, instead of a search."),
    ] = None,
    calibrations: Annotated[
        list[Path],
        typer.Option("--calibration", help="What to expect here, as `contour commission` learnt it; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    into: Annotated[
        Path | None, typer.Option("--into", help="RTSTRUCT of the series: the result is a new version of it.")
    ] = None,
    series_uid: SeriesUid = None,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    memory: MemoryText = None,
    tps: System = GENERIC.name,
    holes: Holes = None,
    language: LocalNames = Language.ENGLISH,
    also: Also = [],  # noqa: B006 - typer copies it
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Contour the image series in a folder: rtstruct.dcm, report.json and preview.png."""
    target = output_folder or Path(f"{series_folder.resolve().name}-contours")
    bound = memory_bound(memory)
    session = session_options(engine, threads, bound)
    with stage_bars(quiet=as_json) as tell:
        if checkpoint is not None:
            rules, networks = _by_checkpoint(checkpoint, protocol, tuple(protocols))
        else:
            rules = load_protocol(protocol or DEFAULT_PROTOCOL, tuple(protocols))
            packages = packages_for(rules, tuple(models))
            networks = tuple(open_network(package, session) for package in packages)
        locator = open_locator(rules, tuple(models), session) if locate else None
        targets = _targets(with_targets, named_targets)
        beside = _second(second, registration, rules, (tuple(models), session))
        options = RunOptions(
            series_instance_uid=series_uid,
            limits=read_limits(bound),
            overwrite=overwrite,
            locator=locator,
            targets=targets,
            into=into,
            second=beside,
            calibrations=tuple(load_calibration(path) for path in calibrations),
            system=planning_system(tps, holes),
            language=language,
            also=tuple(also),
        )
        run = contour_series(series_folder, rules, networks, target, options=options, progress=tell)
    if as_json:
        print_json(asdict(run.report))
    else:
        print_run(run, output(), language)
    if not run.report.released:
        raise typer.Exit(ExitCode.NOT_RELEASED)


def _targets(path: Path | None, named: list[str]) -> TargetSource | None:
    """The structure set with targets, and which ROI each is."""
    pairs = [text.partition("=") for text in named]
    for text, (name, _, roi) in zip(named, pairs, strict=True):
        if not name or not roi:
            raise typer.BadParameter(f"{text!r}: NAME=ROI, as in PTV='PTV 50 Gy'", param_hint="--target")
    if path is None:
        if named:
            raise typer.BadParameter("needs --with, the structure set that holds it", param_hint="--target")
        return None
    return TargetSource(path, {name: roi for name, _, roi in pairs})


def _second(
    folder: Path | None, registration: Path | None, rules: Protocol, using: tuple[tuple[Path, ...], SessionOptions]
) -> SecondSource | None:
    """The other image, and the networks that draw on it."""
    if folder is None:
        if registration is not None:
            raise typer.BadParameter("needs --mr, the image that it brings", param_hint="--registration")
        return None
    models, session = using
    networks = tuple(open_network(package, session) for package in packages_for_second(rules, models))
    return SecondSource(folder, networks, registration=registration)


def _by_checkpoint(
    folder: Path, protocol: str | None, protocols: tuple[Path, ...]
) -> tuple[Protocol, tuple[NetworkEngine, ...]]:
    """A training's network; without a protocol it draws all that it knows."""
    network = open_checkpoint(folder)
    rules = load_protocol(protocol, protocols) if protocol else package_protocol([network.manifest])
    return rules, (network,)


def print_run(run: Run, console: Console, language: Language = Language.ENGLISH) -> None:
    """The table of structures, with their names in `language`, the findings, and where the files are."""
    console.print(_structures_table(run, language))
    report = run.report
    structure_findings = tuple(
        f for line in report.structures for f in line.findings if f.severity is not Severity.INFO
    )
    for findings, title in ((structure_findings, "Look at first"), (report.findings, "Image and run")):
        if findings:
            console.print(findings_table(findings, f"\n[bold]{title}[/]"))
    console.print(f"\n{escape(report.completeness)}")
    total = sum(report.seconds.values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    memory = f", peak memory {report.peak_memory_mb:,.0f} MB" if report.peak_memory_mb else ""
    console.print(f"[dim]{total:.1f} s ({stages}){memory}[/]")
    if report.released:
        names = [name for name in RUN_FILES if (run.folder / name).exists()]
        console.print(f"[bold green]Released[/] {escape(str(run.folder))}: {', '.join(names)}", soft_wrap=True)
        console.print(f"[dim]{report.review}[/]")
    else:
        messages().print("[bold red]Not released[/]: the written RTSTRUCT differs from what was drawn; see the report.")


def _structures_table(run: Run, language: Language) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("Structure")
    if language is not Language.ENGLISH:
        table.add_column(column_title(language))
    table.add_column("Volume ml", justify="right")
    table.add_column("Confidence", justify="right")
    if run.drawing.expected:
        table.add_column("Expected surface Dice")
    table.add_column("State")
    table.add_column("Findings")
    for structure, standing, line in zip(
        run.drawing.structures.structures, run.drawing.standings, run.report.structures, strict=True
    ):
        codes = [f"[{SEVERITY_COLORS[f.severity]}]{f.code}[/]" for f in line.findings]
        confidence = "-" if line.confidence is None else number(line.confidence, 2)
        volume = number(line.volume_ml, 1) if line.drawn else "-"
        names = [line.name] if language is Language.ENGLISH else [line.name, line.local_name or ""]
        expected = ([line.expected.words if line.expected else "-"]) if run.drawing.expected else []
        cells = (*map(escape, names), volume, confidence, *expected, standing.words, " ".join(codes))
        table.add_row(color_mark(structure.color_rgb), *cells)
    return table
