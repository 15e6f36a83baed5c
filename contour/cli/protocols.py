"""`contour protocols`: what can be drawn."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.options import Json, ProtocolFolders
from contour.cli.terminal import output, print_json
from contour.core.protocol import Protocol
from contour.library import load_protocol, protocol_files


def list_protocols(protocols: ProtocolFolders = [], as_json: Json = False) -> None:  # noqa: B006 - typer copies it
    """The protocols that `contour run --protocol` knows by name."""
    found = [load_protocol(str(path)) for path in protocol_files(tuple(protocols))]
    if as_json:
        print_json([{"name": p.name, "title": p.title, "modality": str(p.modality)} for p in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Protocol", "Modality", "Title", "Structures"):
        table.add_column(column)
    for protocol in found:
        names = ", ".join(s.name for s in protocol.structures)
        table.add_row(protocol.name, str(protocol.modality), escape(protocol.title), names)
    output().print(table)


def show_protocol(
    protocol: Annotated[str, typer.Argument(help="Name or YAML file.")],
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """What a protocol draws, and by which rules."""
    chosen = load_protocol(protocol, tuple(protocols))
    if as_json:
        print_json(asdict(chosen))
        return
    console = output()
    console.print(f"[bold]{escape(chosen.title)}[/] ({chosen.name}, {chosen.modality})")
    console.print(f"[dim]packages: {', '.join(chosen.packages)}. {escape(chosen.source)}[/]")
    console.print(_rules_table(chosen))


def _rules_table(protocol: Protocol) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Structure", "Required", "Components", "Plausible ml", "Plausible mean HU", "Confidence from"):
        table.add_column(column)
    for rule in protocol.structures:
        table.add_row(
            rule.name,
            "yes" if rule.required else "no",
            str(rule.components),
            _range(rule.volume_ml),
            _range(rule.mean_hu),
            f"{rule.min_confidence:g}",
        )
    return table


def _range(limits: tuple[float, float] | None) -> str:
    return "-" if limits is None else f"{limits[0]:g} to {limits[1]:g}"
