"""`contour data names`: what the ROI names of an archive mean, as a map that a person edits."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.aliases import How
from contour.cases.names import NOT_ORGANS, NameEntry, NameMap, NameOptions, load_name_map, propose_names, save_name_map
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json, stage_bars

SHOWN = 40  # rows of a table on screen; the file has them all


def data_names(
    index: Annotated[Path, typer.Argument(help="The index that `contour data index` made.")],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="The map, YAML; what you changed in an earlier one is kept.")
    ],
    alias_files: Annotated[
        list[Path], typer.Option("--aliases", help="Alias file of your own; it counts before those that ship.")
    ] = [],  # noqa: B006 - typer copies it
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Patients whose structures are measured for each name; 0: none.")
    ] = 5,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes that measure; by default one a processor.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List every ROI name of an archive with the TG-263 name it is proposed to mean, and check that by anatomy.

    Only names that an alias says exactly, and that the measured structures do not contradict, are used. The rest stands
    in the map for you to decide: write a TG-263 name into `name`, or `ignore: true`.
    """
    earlier = load_name_map(output_file) if output_file.exists() else None
    options = NameOptions(tuple(alias_files), samples, workers)
    with stage_bars(quiet=as_json) as tell:
        names = propose_names(index, options, earlier, tell)
    save_name_map(names, output_file)
    if as_json:
        print_json([asdict(entry) for entry in names.entries])
        return
    print_names(names, output())
    output().print(f"\nMap: {escape(str(output_file))}", soft_wrap=True)
    following = f"contour data build {index} {output_file} --output CASES"
    messages().print(f"[bold]Next:[/] decide what is open in the map, then {escape(following)}", soft_wrap=True)


def print_names(names: NameMap, console: Console) -> None:
    """What is used, what a person should decide, and how much is put aside."""
    used = [entry for entry in names.entries if entry.name is not None]
    ignored = [entry for entry in names.entries if entry.name is None and entry.ignore]
    open_ones = [entry for entry in names.entries if entry.name is None and not entry.ignore]
    proposed = [entry for entry in open_ones if entry.how in (How.UNSURE, How.FUZZY, How.BY_PLACE)]
    contradicted = [entry for entry in open_ones if entry.how is How.CONTRADICTED]
    rest = [entry for entry in open_ones if entry not in proposed and entry not in contradicted]
    _print(console, "Used", used, "name")
    _print(console, "[red]Contradicted by the anatomy: not used[/]", contradicted, "proposal")
    _print(console, "[yellow]Proposed: for you to decide[/]", proposed, "proposal")
    _print(console, "[yellow]Not understood[/]", rest, "proposal")
    kinds = ", ".join(f"{sum(e.how is how for e in ignored)} {how}" for how in (*NOT_ORGANS, How.EDITED))
    console.print(
        f"\n{len(names.entries)} names: {len(used)} used, {len(open_ones)} open, {len(ignored)} ignored ({kinds})"
    )


def _print(console: Console, title: str, entries: list[NameEntry], column: str) -> None:
    if not entries:
        return
    table = Table(title=f"\n[bold]{title}[/]", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("ROI name", overflow="fold")
    table.add_column("TG-263")
    table.add_column("How")
    table.add_column("Patients", justify="right")
    table.add_column("Sets", justify="right")
    table.add_column("Remarks", overflow="fold")
    for entry in entries[:SHOWN]:
        table.add_row(*(escape(cell) for cell in _cells(entry, column)))
    console.print(table)
    if len(entries) > SHOWN:
        console.print(f"[dim]... and {len(entries) - SHOWN} more in the map[/]")


def _cells(entry: NameEntry, column: str) -> Iterable[str]:
    meant = getattr(entry, column) or ""
    return entry.roi_name, meant, entry.how, str(entry.patients), str(entry.sets), "; ".join(entry.remarks)
