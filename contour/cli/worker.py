"""`contour worker`: draws what is in the queue."""

import time
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.options import EngineName, QueuePlace, Threads, session_options
from contour.cli.terminal import messages
from contour.inference.session import Engine
from contour.services.jobs.crew import Crew
from contour.services.jobs.drawing import Machine
from contour.services.jobs.queue import JobQueue, shown
from contour.services.jobs.worker import WorkerOptions

TEND_SECONDS = 0.5

Slots = Annotated[
    int, typer.Option("--slots", min=1, help="How many may draw at once on this machine's GPU, or its processors.")
]


def worker(
    queue: QueuePlace,
    drain: Annotated[bool, typer.Option("--drain", help="End when the queue is empty, instead of waiting on.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that take jobs; see --slots.")] = 1,
    slots: Slots = 1,
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
) -> None:
    """Draw the jobs of a queue until Ctrl-C or SIGTERM; what is unfinished then is resumed later, here or elsewhere."""
    options = WorkerOptions(machine=Machine(session_options(engine, threads), slots))
    console = messages()
    with JobQueue.open(queue) as jobs, Crew(jobs, options, workers) as crew:
        console.print(f"Draws what is in {escape(shown(jobs.url))}; Ctrl-C ends it.", soft_wrap=True)
        told = ""
        while not (drain and jobs.unended() == 0):
            crew.tend()
            if crew.last_trouble not in ("", told):
                told = crew.last_trouble
                console.print(f"[bold red]A worker could not go on[/] {escape(told)}", soft_wrap=True)
            time.sleep(TEND_SECONDS)
