"""`contour batch`: a folder of studies is drawn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contour.cli.failures import ExitCode
from contour.cli.jobs import state_text
from contour.cli.options import (
    Also,
    EngineName,
    Holes,
    Json,
    LocalNames,
    Locate,
    MemoryText,
    ModelFolders,
    ProtocolFolders,
    System,
    Threads,
    known_protocols,
)
from contour.cli.run import DEFAULT_PROTOCOL
from contour.cli.terminal import messages, output, print_json
from contour.cli.worker import Slots, machine_of
from contour.core.planning_system import GENERIC
from contour.inference.session import Engine
from contour.languages import Language
from contour.services.batch.run import PLACES_FILE, WORKER_LOG, BatchOptions, BatchResult, Standing, run_batch
from contour.services.batch.summary import BAD, HTML_FILE, content, reasons, write_summary
from contour.services.jobs.job import STATE_FOLDER, JobState
from contour.services.jobs.plan import Choice, plan_drawing
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions

SHOWN = (JobState.DONE, JobState.NOT_RELEASED, JobState.REFUSED, JobState.FAILED, JobState.SET_ASIDE)
BAR_WIDTH = 40
FAST_RETRIES = (5.0, 30.0, 120.0, 600.0)  # somebody may look on; the next run tries again


def batch(
    folder: Annotated[Path, typer.Argument(help="Folder of the studies, however their files lie in it.")],
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Where the results go; that of an earlier run goes on.")
    ],
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", autocompletion=known_protocols, help="Name or YAML file.")
    ] = DEFAULT_PROTOCOL,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue", "-q", help="A queue that others share, postgresql://...; by default one in the output."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that draw here; 0 leaves it to `contour worker`.")
    ] = 1,
    slots: Slots = 1,
    locate: Locate = True,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    memory: MemoryText = None,
    tps: System = GENERIC.name,
    holes: Holes = None,
    language: LocalNames = Language.ENGLISH,
    also: Also = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Contour every image series below a folder; run again, it draws only what is new or changed.

    Each series gets a folder of its own, named by its content; summary.html, .csv and .json tell of all. Exit code 1:
    some failed, 2: some were refused, 3: some were not released.
    """
    choice = Choice(protocol, locate, tps, holes, language, tuple(also), tuple(protocols), tuple(models))
    plan = plan_drawing(choice)
    state = output_folder / STATE_FOLDER
    with JobQueue.open(queue or state) as jobs:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        machine = machine_of(engine, threads, memory, slots)
        drawing = WorkerOptions(machine, retry_seconds=FAST_RETRIES, log=state / WORKER_LOG)
        with _display(quiet=as_json) as watch:
            result = run_batch(folder, output_folder, plan, jobs, BatchOptions(workers, drawing), watch)
    write_summary(result, output_folder)
    if as_json:
        print_json(content(result))
    else:
        _print_result(result, output_folder, output())
    raise typer.Exit(_exit_code(result))


@contextmanager
def _display(*, quiet: bool) -> Iterator[Callable[[Standing], None]]:
    """A few lines on stderr that follow the batch; a line now and then where stderr is no terminal."""
    console = messages()
    if quiet:
        yield lambda _: None
        return
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda standing: live.update(_picture(standing))


class _Lines:
    """Says when another tenth is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths = -1

    def __call__(self, standing: Standing) -> None:
        ended = sum(count for state, count in standing.counts.items() if state.ended)
        tenths = 10 * ended // standing.series if standing.series else -1
        if tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"{ended} of {standing.series}: {_counts(standing)}", soft_wrap=True)


def _picture(standing: Standing) -> Group:
    if standing.searching:
        return Group(Text(f"Looks through the folder: {standing.files} files"))
    ended = sum(count for state, count in standing.counts.items() if state.ended)
    bar = Table.grid(padding=(0, 1))
    left = "" if standing.seconds_left is None else f"{timedelta(seconds=int(standing.seconds_left))} left"
    bar.add_row(
        ProgressBar(total=standing.series or 1, completed=ended, width=BAR_WIDTH), f"{ended}/{standing.series}", left
    )
    reading = f", {standing.series - standing.read} to read" if standing.read < standing.series else ""
    return Group(bar, Text.from_markup(f"{_counts(standing)}{reading}"))


def _counts(standing: Standing) -> str:
    shown = (*SHOWN, JobState.CANCELLED, JobState.RETRYING, JobState.RUNNING, JobState.WAITING)
    parts = [f"{standing.counts[state]} {state_text(state)}" for state in shown if standing.counts[state]]
    return ", ".join(parts) or "nothing yet"


def _print_result(result: BatchResult, folder: Path, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("Series", justify="right")
    table.add_column("Before", justify="right")
    for state in (*SHOWN, JobState.CANCELLED):
        lines = [line for line in result.lines if line.state is state]
        if lines or state is JobState.DONE:
            table.add_row(state_text(state), str(len(lines)), str(sum(line.before for line in lines) or ""))
    console.print(table)
    for code, count in reasons(result.lines):
        console.print(f"  {count} x {escape(code)}", soft_wrap=True)
    console.print(f"[dim]{result.passed_over} series of other kinds were passed over; {result.seconds:.1f} s[/]")
    where = escape(str(folder / HTML_FILE))
    console.print(
        f"See {where}; where each series lies: {escape(str(folder / STATE_FOLDER / PLACES_FILE))}", soft_wrap=True
    )


def _exit_code(result: BatchResult) -> ExitCode:
    if result.count(*BAD):
        return ExitCode.FAILED
    if result.count(JobState.REFUSED):
        return ExitCode.REFUSED
    return ExitCode.NOT_RELEASED if result.count(JobState.NOT_RELEASED) else ExitCode.DONE
