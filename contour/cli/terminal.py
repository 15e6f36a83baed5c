"""What the commands share at the terminal: progress, tables of findings, colours."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from contour.core.report import Finding, Severity

# The most severe first.
SEVERITY_COLORS = {Severity.STOP: "bold red", Severity.CHECK: "yellow", Severity.INFO: "dim"}
STAGES = (
    ("prepare", "Prepare cases"),
    ("read", "Read the series"),
    ("draw", "Draw"),
    ("write", "Write and prove"),
    ("preview", "Preview"),
    ("list", "List the archive"),
    ("headers", "Read headers"),
    ("copies", "Compare copies"),
    ("pair", "Pair"),
    ("anatomy", "Measure organs"),
    ("build", "Build cases"),
    ("identities", "Read identities"),
    ("deidentify", "De-identify"),
    ("returned", "Compare returned sets"),
)


def output() -> Console:
    """Results: stdout."""
    return Console()


def messages() -> Console:
    """Everything else: stderr."""
    return Console(stderr=True)


def print_json(content: Any) -> None:
    """JSON on stdout; numbers that JSON does not know become null."""
    sys.stdout.write(json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def stage_bars(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar for each stage of a run on stderr, and the function that moves them."""
    if quiet:
        yield _silent
        return
    columns = (SpinnerColumn(), TextColumn("{task.description:<16}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages()) as progress:
        tasks: dict[str, TaskID] = {}
        titles = dict(STAGES)

        def tell(stage: str, done: float) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    progress.update(earlier, completed=1.0)
                tasks[stage] = progress.add_task(titles.get(stage, stage), total=1.0)
            progress.update(tasks[stage], completed=done)

        yield tell


def findings_table(findings: tuple[Finding, ...], title: str) -> Table:
    """Findings, the most severe first."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    order = list(SEVERITY_COLORS)
    for finding in sorted(findings, key=lambda f: order.index(f.severity)):
        table.add_row(severity_text(finding.severity), finding.code, escape(finding.message))
    return table


def severity_text(severity: Severity) -> str:
    """The word in its colour."""
    return f"[{SEVERITY_COLORS[severity]}]{severity}[/]"


def color_mark(color_rgb: tuple[int, int, int]) -> str:
    """A block in the structure's colour."""
    return "[#{:02x}{:02x}{:02x}]■[/]".format(*color_rgb)


def number(value: float, digits: int) -> str:
    """A number for a table; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _silent(_: str, __: float) -> None:
    """No one watches."""
