"""`contour node health`: how the node that runs on this machine is."""

import json
import urllib.error
import urllib.request
from typing import Any

import typer
from rich.markup import escape

from contour.cli.failures import ExitCode
from contour.cli.node_settings import NodeFile, load_node
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json

TIMEOUT_SECONDS = 10.0


def show_health(file: NodeFile, as_json: Json = False) -> None:
    """What the node's health page says. Exit code 1 if it has problems, or does not answer."""
    health = load_node(file).health
    host = f"[{health.address}]" if ":" in health.address else health.address
    page = _page(f"http://{host}:{health.port}/health")
    if as_json:
        print_json(page)
    for problem in page["problems"] if not as_json else ():
        messages().print(f"[bold red]Problem[/] {escape(problem)}", soft_wrap=True)
    if page["problems"]:
        raise typer.Exit(ExitCode.FAILED)
    if not as_json:
        output().print(f"[bold green]Well[/] {page['waiting_series']} series wait; versions: {_counts(page)}")


def _page(url: str) -> dict[str, Any]:
    # Straight to this machine: a proxy of the surroundings would ask another.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))
    except OSError as error:
        return {"problems": [f"the node does not answer at {url} ({getattr(error, 'reason', error)})"]}


def _counts(page: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(page["versions"].items())) or "none"
