"""`contour worker`: draws what is in the queue."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.node_settings import load_node, serving
from contour.cli.options import EngineName, MemoryText, QueuePlace, Threads, memory_bound, read_limits, session_options
from contour.cli.service_manager import ServiceManager
from contour.cli.terminal import messages
from contour.inference.session import Engine
from contour.services.jobs.crew import Crew
from contour.services.jobs.drawing import Machine
from contour.services.jobs.job import Handler
from contour.services.jobs.queue import JobQueue, shown
from contour.services.jobs.worker import WorkerOptions

TEND_SECONDS = 0.5

Slots = Annotated[
    int, typer.Option("--slots", min=1, help="How many may draw at once on this machine's GPU, or its processors.")
]


def machine_of(engine: Engine, threads: int | None, memory: str | None, slots: int) -> Machine:
    """This machine, as the options of a command describe it."""
    bound = memory_bound(memory)
    return Machine(session_options(engine, threads, bound), slots, limits=read_limits(bound))


def worker(
    queue: QueuePlace,
    drain: Annotated[bool, typer.Option("--drain", help="End when the queue is empty, instead of waiting on.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that take jobs; see --slots.")] = 1,
    slots: Slots = 1,
    node: Annotated[
        Path | None, typer.Option("--node", help="Settings of a DICOM node: send to its destinations, too.")
    ] = None,
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    memory: MemoryText = None,
) -> None:
    """Draw the jobs of a queue until Ctrl-C or SIGTERM; what is unfinished then is resumed later, here or elsewhere."""
    options = WorkerOptions(machine=machine_of(engine, threads, memory, slots), handlers=_handlers(node))
    console, manager = messages(), ServiceManager()
    with JobQueue.open(queue) as jobs, Crew(jobs, options, workers) as crew:
        console.print(f"Draws what is in {escape(shown(jobs.url))}; Ctrl-C ends it.", soft_wrap=True)
        manager.ready()
        told = ""
        while not (drain and jobs.unended() == 0):
            crew.tend()
            manager.alive()
            if crew.last_trouble not in ("", told):
                told = crew.last_trouble
                console.print(f"[bold red]A worker could not go on[/] {escape(told)}", soft_wrap=True)
            time.sleep(TEND_SECONDS)


def _handlers(node: Path | None) -> tuple[Handler, ...]:
    """What sends the results of a node's series."""
    if node is None:
        return ()
    with serving():
        from contour.services.node.jobs_inbox import send_handler  # noqa: PLC0415 - an extra
    return (send_handler(load_node(node)),)
