"""`contour node run`: the DICOM node, until it is told to end."""

import logging
import signal
import sys
import threading
from types import FrameType

from contour.cli.node_settings import NodeFile, load_node, serving
from contour.cli.options import EngineName, MemoryText, Threads
from contour.cli.service_manager import ServiceManager
from contour.cli.worker import Slots, machine_of
from contour.inference.session import Engine
from contour.services.jobs.crew import Crew
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions

TEND_SECONDS = 0.25


def run_node(
    file: NodeFile,
    slots: Slots = 1,
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    memory: MemoryText = None,
) -> None:
    """Listen, draw what the routes name, and send it, until Ctrl-C or SIGTERM; what is unfinished then is resumed."""
    with serving():
        from contour.services.node.check import check_node  # noqa: PLC0415 - an extra
        from contour.services.node.jobs_inbox import JobsInbox, send_handler  # noqa: PLC0415
        from contour.services.node.node import Node  # noqa: PLC0415
    for mistake in check_node(file).mistakes:
        raise mistake
    settings = load_node(file)
    stopping, manager = _stopped_by_signals(), ServiceManager()
    _log_to_stderr()
    machine = machine_of(engine, threads, memory, slots)
    options = WorkerOptions(machine=machine, handlers=(send_handler(settings),))
    with JobQueue.open(settings.queue_place) as queue:
        node = Node(settings, JobsInbox(queue, settings))
        try:
            node.start()
            with Crew(queue, options, settings.workers) as crew:
                manager.ready()
                told = ""
                while not stopping.wait(TEND_SECONDS):
                    node.tend()
                    crew.tend()
                    manager.alive()
                    if crew.last_trouble not in ("", told):
                        told = crew.last_trouble
                        logging.getLogger("contour.node").error("a worker could not go on: %s", told)
                manager.stopping()
        finally:
            node.stop()


def _stopped_by_signals() -> threading.Event:
    """Set when the program is asked to end: what it does at that moment is brought to its end first."""
    stopping = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopping.set()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return stopping


def _log_to_stderr() -> None:
    """Times, hashes and codes; no names."""
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form, force=True)
    logging.getLogger("contour").setLevel(logging.INFO)
