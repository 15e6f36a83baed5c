"""A worker: a process that takes jobs out of the queue and draws them, one at a time, with networks that stay loaded.

It is started and watched by `crew`, and may be killed at any moment: what it had taken is put back (`recovery`), and
whoever takes it next finds what was finished. DBOS keeps which step of which job ended how; the files of a job appear
in one step, under UIDs that follow from the job, so that none is drawn twice and none half.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from contour.core.errors import ConfigError, ContourError
from contour.services.jobs.drawing import Abandoned, Machine, Networks, cause_of, draw_job, finished_result, state_after
from contour.services.jobs.job import FollowUp, Handler, JobRequest, JobState
from contour.services.jobs.locks import Life, Lives
from contour.services.jobs.queue import (
    AGAIN,
    AGAIN_QUEUE,
    APPLICATION,
    DRAW,
    DRAW_QUEUE,
    FOLLOW_UP,
    VERSION,
    JobQueue,
    Outcome,
    follow_up_queue,
)
from contour.services.jobs.records import from_record, to_record
from contour.services.jobs.recovery import CRASH, INTERRUPTED, recover, recover_all, take_over

LOG = logging.getLogger("contour.jobs")

WATCH_SECONDS = 0.5
RECOVER_SECONDS = 5.0
FOLLOW_UPS_AT_ONCE = 8
LAST_FOLLOW_UPS_SECONDS = 20.0  # what is being sent may end when the worker is to end
NOT_YET_SECONDS = 30.0
HUNG_SECONDS = 3600.0  # without a sign of progress: between two there are a few tiles, or the reading of a series

STOP = "stop"  # what the keeper says to end it in order
ENDED, NOT_STARTED, CUT_OFF = 0, 2, 3  # exit codes: in order; a mistake in the set-up; the database is gone


@dataclass(frozen=True)
class WorkerOptions:
    """How jobs are drawn here. So long after a failure that may pass comes the next try; after the last, none.

    `handlers` do the follow-ups; `log` is the file that the worker writes its log to, stderr by default.
    """

    machine: Machine = field(default_factory=Machine)
    handlers: tuple[Handler, ...] = ()
    retry_seconds: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, 1800.0, 1800.0, 1800.0)
    poll_seconds: float = 0.25
    log: Path | None = None


def run_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """The process of a worker: draw until the keeper says stop, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the keeper's to handle
    _start_log(options.log)
    try:
        life = Lives(url).hold(name)
        queue = JobQueue.open(url)
    except (ContourError, OSError) as error:
        LOG.error("cannot start: %s", error)
        keeper.send(str(error))
        os._exit(NOT_STARTED)
    worker = Worker(queue, name, options)
    worker.start()
    code = worker.watch(keeper, life)
    worker.end(life)
    # A drawing that was given up waits for the end in a thread that nothing wakes.
    os._exit(code)


class Worker:
    """The state of one worker process: what it draws now, and whether it is to end."""

    def __init__(self, queue: JobQueue, name: str, options: WorkerOptions) -> None:
        self._queue = queue
        self._name = name
        self._options = options
        self._handlers = {handler.name: handler for handler in options.handlers}
        self._networks = Networks(options.machine.session)
        self._stopping = threading.Event()
        self._drawing: str | None = None
        self._given_up: str | None = None  # the job that was found to be no longer this worker's
        self._seen = 0.0  # when the drawing last showed a sign of progress
        self._following = 0
        self._count = threading.Lock()

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take jobs from now on."""
        from dbos import DBOS, DBOSConfig  # noqa: PLC0415 - an extra, and it takes a second
        from dbos._serialization import DBOSPortableJSON  # noqa: PLC0415

        # What died is known by its lock, and put back by `recovery`: DBOS's own limit would count other deaths, too.
        @DBOS.workflow(name=DRAW, max_recovery_attempts=None)
        def _(record: dict[str, Any]) -> Any:
            return self._draw(record)

        @DBOS.workflow(name=FOLLOW_UP, max_recovery_attempts=None)
        def _(job_id: str, record: dict[str, Any]) -> Any:
            return self._follow_up(job_id, record)

        @DBOS.workflow(name=AGAIN, max_recovery_attempts=None)
        def _(workflow_id: str) -> None:
            self._again(workflow_id)

        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._queue.url,
            "application_version": VERSION,
            "executor_id": self._name,
            "serializer": DBOSPortableJSON,
            "log_level": "CRITICAL",  # its errors may hold arguments
        }
        DBOS(config=config)
        others = (AGAIN_QUEUE, *map(follow_up_queue, self._handlers))
        DBOS.listen_queues([DRAW_QUEUE, *others])
        DBOS.launch()
        for queue, at_once in ((DRAW_QUEUE, 1), *((other, FOLLOW_UPS_AT_ONCE) for other in others)):
            DBOS.register_queue(queue, worker_concurrency=at_once, polling_interval_sec=self._options.poll_seconds)
        take_over(self._queue)
        LOG.info("worker %s takes jobs", self._name)

    def watch(self, keeper: Connection, life: Life) -> int:
        """Look after this process until it is to end; the exit code."""
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with DBOS

        lives, recovered = Lives(self._queue.url), 0.0
        while True:
            try:
                if keeper.poll(WATCH_SECONDS) and keeper.recv() == STOP:
                    return ENDED
            except (EOFError, OSError):
                # The keeper was killed. So is this: nobody would ever end it. Another worker takes its work up.
                os._exit(CUT_OFF)
            try:
                if not life.held():
                    LOG.error("worker %s lost its database", self._name)
                    os._exit(CUT_OFF)  # others count it as dead: it must not go on
                self._look_at_job()
                if time.monotonic() - recovered > RECOVER_SECONDS:
                    recover_all(self._queue, lives, self._name)
                    recovered = time.monotonic()
            except SQLAlchemyError as error:
                LOG.warning("database: %s", type(error).__name__)

    def end(self, life: Life) -> None:
        """Give up what is drawn, let what is sent end, and put back what was taken."""
        from dbos import DBOS  # noqa: PLC0415 - an extra

        self._stopping.set()
        until = time.monotonic() + LAST_FOLLOW_UPS_SECONDS
        while self._drawing is not None or (self._following and time.monotonic() < until):
            time.sleep(0.05)
        DBOS.destroy()
        life.release()
        recover(self._queue, Lives(self._queue.url), self._name, None)
        self._queue.close()
        LOG.info("worker %s ends", self._name)

    def _look_at_job(self) -> None:
        """Is what is drawn here still this worker's to draw?"""
        drawing = self._drawing
        if drawing is None:
            return
        if time.monotonic() - self._seen > HUNG_SECONDS:
            LOG.error("job %s: hangs", drawing)
            os.abort()  # the keeper counts it as the job's crash
        found = self._queue.client.list_workflows(workflow_ids=[drawing], load_input=False, load_output=False)
        if not found or found[0].status != "PENDING" or found[0].executor_id != self._name:
            self._given_up = drawing

    def _check(self) -> None:
        self._seen = time.monotonic()
        if self._stopping.is_set() or (self._drawing is not None and self._given_up == self._drawing):
            raise Abandoned

    # -- workflows ---------------------------------------------------------------------------------------------------

    def _draw(self, record: dict[str, Any]) -> Any:
        """A job: drawn, then its follow-ups started."""
        from dbos import DBOS  # noqa: PLC0415 - an extra

        job_id = str(DBOS.workflow_id)
        outcome = DBOS.run_step({"name": "draw"}, lambda: self._attempt(job_id, record))
        if from_record(outcome, Outcome).state is JobState.DONE:
            DBOS.run_step({"name": "start follow-ups"}, lambda: self._queue.start_follow_ups(job_id))
        return outcome

    def _follow_up(self, job_id: str, record: dict[str, Any]) -> Any:
        from dbos import DBOS  # noqa: PLC0415 - an extra

        workflow_id = str(DBOS.workflow_id)
        return DBOS.run_step({"name": "follow-up"}, lambda: self._follow(workflow_id, job_id, record))

    def _again(self, workflow_id: str) -> None:
        if not self._queue.again(workflow_id):
            self._queue.try_again(workflow_id, NOT_YET_SECONDS)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _attempt(self, job_id: str, record: dict[str, Any]) -> Any:
        """Draw a job, or say why not. Where it is given up, nothing is recorded: it was, or will be, put back."""
        job = self._queue.find(job_id)
        if job is not None and job.state.ended:  # cancelled while it was put back
            return to_record(Outcome(job.state))
        self._seen = time.monotonic()
        self._given_up, self._drawing = None, job_id
        try:
            request = from_record(record, JobRequest)
            self._check()
            made = job.submitted if job else datetime.now(UTC)
            LOG.info("job %s: draws", job_id)
            result = draw_job(request, made.astimezone(), self._networks, self._options.machine, self._check)
            state = JobState.DONE if result.released else JobState.NOT_RELEASED
            LOG.info("job %s: %s, %.1f s", job_id, state, result.seconds)
            return to_record(Outcome(state, result))
        except Abandoned:
            LOG.info("job %s: given up", job_id)
            if self._stopping.is_set():
                self._drawing = None
                threading.Event().wait()  # nothing more is taken while this waits for the process to end
            raise
        except Exception as error:  # noqa: BLE001 - the job loop: whatever one job does, the next one is drawn
            return self._failed(job_id, error, self._options.retry_seconds)
        finally:
            self._drawing = None

    def _follow(self, workflow_id: str, job_id: str, record: dict[str, Any]) -> Any:
        """Do a follow-up, or say why not."""
        with self._count:
            self._following += 1
        handler = None
        try:
            follow_up = from_record(record, FollowUp)
            handler, job = self._handlers[follow_up.name], self._queue.find(job_id)
            # The files are the truth, and there before the queue's record of them.
            result = finished_result(job.request) if job else None
            if result is None or not result.released:
                raise ConfigError(f"job {job_id}", "has no released result", "one that is done")
            handler.run(result, follow_up.parameters)
            return to_record(Outcome(JobState.DONE))
        except Exception as error:  # noqa: BLE001 - the job loop
            return self._failed(workflow_id, error, handler.retry_seconds if handler else ())
        finally:
            with self._count:
                self._following -= 1

    def _failed(self, workflow_id: str, error: Exception, retry_seconds: tuple[float, ...]) -> Any:
        """Record why, and have it tried again where that may help and was not done too often."""
        state, cause = state_after(error), cause_of(error)
        if cause.code == "fault":
            LOG.error(
                "%s: %s\n%s", workflow_id, type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            )
        self._queue.record_cause(workflow_id, cause)
        if state is JobState.RETRYING:
            tries = [one for one in self._queue.causes(workflow_id) if one.code not in (CRASH, INTERRUPTED)]
            if len(tries) > len(retry_seconds):
                state = JobState.FAILED
            else:
                self._queue.try_again(workflow_id, retry_seconds[len(tries) - 1])
        LOG.warning("%s: %s (%s)", workflow_id, state, cause.code)
        return to_record(Outcome(state))


def _start_log(file: Path | None) -> None:
    """The log goes to stderr or a file: times, ids and codes; no names."""
    if file is not None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("dbos").setLevel(logging.CRITICAL)
