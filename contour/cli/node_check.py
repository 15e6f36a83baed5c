"""`contour node check`: the settings of a node, looked over."""

import typer
from rich.markup import escape

from contour.cli.failures import ExitCode
from contour.cli.node_settings import NodeFile, serving
from contour.cli.options import Json
from contour.cli.terminal import output, print_json


def check_settings(file: NodeFile, as_json: Json = False) -> None:
    """Every mistake in a node's settings, and its routes in words. Exit code 2 if there is a mistake."""
    with serving():
        from contour.services.node.check import check_node  # noqa: PLC0415 - an extra
    check = check_node(file)
    if as_json:
        mistakes = [{"where": m.where, "found": m.found, "allowed": m.allowed} for m in check.mistakes]
        print_json({"mistakes": mistakes, "notes": list(check.notes), "routes": list(check.routes)})
    else:
        for mistake in check.mistakes:
            output().print(f"[bold red]Mistake[/] {escape(str(mistake))}", soft_wrap=True)
        if check.routes:
            output().print("Routes; of those that match, the first wins. What none matches is not drawn:")
        for number, route in enumerate(check.routes, start=1):
            output().print(f"  {number}. {escape(route)}", soft_wrap=True)
        for note in check.notes:
            output().print(f"[yellow]Note[/] {escape(note)}", soft_wrap=True)
        if not check.mistakes:
            output().print(f"[bold green]Usable[/] {escape(str(file))}", soft_wrap=True)
    if check.mistakes:
        raise typer.Exit(ExitCode.REFUSED)
