"""`contour tps`: what planning systems take of a structure set."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.options import Json
from contour.cli.terminal import output, print_json
from contour.core.planning_system import LIMITS
from contour.library import load_planning_system, planning_system_files


def list_systems(as_json: Json = False) -> None:
    """The planning systems that `--tps` knows by name."""
    systems = [load_planning_system(str(path)) for path in planning_system_files()]
    if as_json:
        print_json([{"name": system.name, "title": system.title} for system in systems])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("--tps", "Planning system", "Names", "Holes", "Not published"):
        table.add_column(column)
    for system in systems:
        names = f"{system.name_length} characters"
        table.add_row(system.name, escape(system.title), names, str(system.holes), escape(system.unknown))
    output().print(table)


def show_system(
    system: Annotated[str, typer.Argument(help="Name or YAML file.")],
    as_json: Json = False,
) -> None:
    """The limits of a planning system, and where each is stated."""
    chosen = load_planning_system(system)
    if as_json:
        print_json(asdict(chosen))
        return
    console = output()
    console.print(f"[bold]{escape(chosen.title)}[/] ({chosen.name})")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Limit", "Value", "Source"):
        table.add_column(column)
    for limit in LIMITS:
        value = getattr(chosen, limit)
        said = "none" if value is None or value == "" else str(value)
        table.add_row(limit, escape(said), escape(chosen.sources.get(limit, "-")))
    console.print(table)
    if chosen.unknown:
        console.print(f"\n[dim]Not published: {escape(chosen.unknown)}[/]")
