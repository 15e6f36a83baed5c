"""`contour protocols`: what can be drawn."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.failures import ExitCode
from contour.cli.options import Json, ModelFolders, ProtocolFolders
from contour.cli.terminal import output, print_json
from contour.core.errors import ConfigError, PackageError
from contour.core.protocol import Protocol
from contour.library import load_protocol, protocol_file, protocol_files, protocol_mistakes


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
    if chosen.derived:
        console.print(_derived_table(chosen))
    if chosen.second_image:
        second = chosen.second_image
        names, packages = ", ".join(second.structures), ", ".join(second.packages)
        console.print(f"\n[dim]Drawn on {second.modality}, given with --mr, by {packages}: {names}[/]")
    if chosen.targets:
        console.print(f"\n[dim]Targets, from a structure set given with --with: {', '.join(chosen.targets)}[/]")
    if chosen.doses:
        console.print(_doses_table(chosen))


def check_protocol(
    protocol: Annotated[str, typer.Argument(help="Name or YAML file.")],
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Every mistake in a protocol file, and what its author may want to know. Exit code 2 if there is a mistake."""
    file = protocol_file(protocol, tuple(protocols))
    mistakes, notes = protocol_mistakes(file, tuple(models))
    if as_json:
        print_json({"mistakes": [_parts(mistake) for mistake in mistakes], "notes": list(notes)})
    else:
        for mistake in mistakes:
            output().print(f"[bold red]Mistake[/] {escape(str(mistake))}", soft_wrap=True)
        for note in notes:
            output().print(f"[yellow]Note[/] {escape(note)}", soft_wrap=True)
        if not mistakes:
            output().print(f"[bold green]Usable[/] {escape(str(file))}", soft_wrap=True)
    if mistakes:
        raise typer.Exit(ExitCode.REFUSED)


def _parts(mistake: ConfigError | PackageError) -> dict[str, str]:
    """A mistake's three parts."""
    return {"where": mistake.where, "found": mistake.found, "allowed": mistake.allowed}


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


def _derived_table(protocol: Protocol) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="\nDerived", title_justify="left")
    for column in ("Structure", "Required", "How"):
        table.add_column(column)
    for rule in protocol.derived:
        required = "helper, not written" if rule.helper else "yes" if rule.required else "no"
        table.add_row(rule.name, required, escape(rule.words))
    return table


def _doses_table(protocol: Protocol) -> Table:
    title = "\nWhy they matter: published dose limits, for a person to read; nothing is computed from them"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in ("Structure", "Fractions", "Limit", "Source"):
        table.add_column(column)
    for dose in protocol.doses:
        table.add_row(dose.structure, str(dose.fractions), escape(dose.limit), escape(dose.source))
    return table


def _range(limits: tuple[float, float] | None) -> str:
    return "-" if limits is None else f"{limits[0]:g} to {limits[1]:g}"
