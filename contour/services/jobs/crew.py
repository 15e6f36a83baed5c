"""The keeper of workers: starts them, sees how they end, and starts others in the place of those that died.

A network or a decoder that crashes takes its process with it, not this one. What the dead worker drew is noted as the
job's fault; a job that does it again and again is set aside (`recovery`), and the others go on.
"""

import multiprocessing
import signal
import socket
import time
import uuid
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Self

from contour.services.jobs.locks import Lives
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.recovery import crash, recover
from contour.services.jobs.worker import CUT_OFF, ENDED, NOT_STARTED, STOP, WorkerOptions, run_worker

STOP_SECONDS = 60.0  # a worker ends between two tiles of an image, and when its last sending ends
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


@dataclass
class _Place:
    """A place for one worker: who has it now, and when the next may."""

    name: str = ""
    process: SpawnProcess | None = None
    talk: Connection | None = None
    started: float = 0.0
    pause: float = 0.0
    free_from: float = 0.0


class Crew:
    """Some workers of a queue. Call `tend` about twice a second; in a `with` block, or `stop` it.

    `troubles` counts the workers in a row that died before they had drawn for a minute and held no job: something is
    wrong with the set-up, and `last_trouble` says what, as far as it is known.
    """

    def __init__(self, queue: JobQueue, options: WorkerOptions, size: int = 1) -> None:
        self._queue = queue
        self._options = options
        self._places = [_Place() for _ in range(size)]
        self._lives = Lives(queue.url)
        self.troubles = 0
        self.last_trouble = ""

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the workers' processes."""
        return tuple(p.process.pid for p in self._places if p.process is not None and p.process.pid is not None)

    def tend(self) -> None:
        """Start workers where there are none, and see to those that ended."""
        for place in self._places:
            if place.process is not None and not place.process.is_alive():
                self._bury(place)
            if place.process is None and time.monotonic() >= place.free_from:
                self._start(place)

    def stop(self) -> None:
        """End the workers in order: what they draw is given up and put back."""
        for place in self._places:
            _say(place, STOP)
        until = time.monotonic() + STOP_SECONDS
        for place in self._places:
            if place.process is None:
                continue
            place.process.join(max(0.0, until - time.monotonic()))
            if place.process.is_alive():
                place.process.kill()
                place.process.join()
            # Also where it ended in order: this is for what it could not put back itself.
            recover(self._queue, self._lives, place.name, None)
            _clear(place)

    def __enter__(self) -> Self:
        """Itself; `tend` starts the workers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _start(self, place: _Place) -> None:
        # A forked process would inherit locks of threads that it does not have.
        context = multiprocessing.get_context("spawn")
        place.name = worker_name()
        place.talk, other = context.Pipe()
        arguments = (other, self._queue.url, place.name, self._options)
        place.process = context.Process(target=run_worker, args=arguments, name=place.name)
        place.process.start()
        other.close()
        place.started = time.monotonic()

    def _bury(self, place: _Place) -> None:
        """A worker ended unasked."""
        process = place.process
        if process is None:
            return
        code = process.exitcode if process.exitcode is not None else ENDED
        said = str(place.talk.recv()) if code == NOT_STARTED and place.talk is not None and place.talk.poll() else ""
        cause = None if code in (ENDED, NOT_STARTED, CUT_OFF) else crash(_how(code))
        held = recover(self._queue, self._lives, place.name, cause)
        well = held or time.monotonic() - place.started > LONGEST_PAUSE_SECONDS
        self.troubles = 0 if well else self.troubles + 1
        self.last_trouble = "" if well else said or _how(code)
        place.pause = (
            FIRST_PAUSE_SECONDS if well else min(2 * place.pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        )
        place.free_from = time.monotonic() + (0.0 if held else place.pause)
        _clear(place)


def worker_name() -> str:
    """A name that no other worker ever had; the machine's own name does not stand in it."""
    return f"{sha256(socket.gethostname().encode()).hexdigest()[:8]}-{uuid.uuid4().hex[:16]}"


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    return f"{name}, as where memory runs out" if name == "SIGKILL" else name


def _say(place: _Place, what: str) -> None:
    try:
        if place.talk is not None:
            place.talk.send(what)
    except OSError:  # it ended meanwhile
        pass


def _clear(place: _Place) -> None:
    if place.talk is not None:
        place.talk.close()
    if place.process is not None:
        place.process.close()
    place.process = place.talk = None
