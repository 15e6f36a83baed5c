"""The queue of jobs: what is to be drawn is put in, and asked about, here. Workers take it out (`worker`).

It lives in a database of DBOS: an SQLite file beside the results for the workers of one machine, or PostgreSQL where
several servers share the work. The two differ in the address alone.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from contour.core.errors import ConfigError
from contour.core.staging import remove_leftovers
from contour.dicom.series import SeriesFiles
from contour.pipeline import REPORT_FILE, RTSTRUCT_FILE
from contour.services.jobs.job import (
    STATE_FOLDER,
    Cause,
    FollowUp,
    FollowUpStatus,
    Job,
    JobRequest,
    JobResult,
    JobState,
    Priority,
    Submission,
)
from contour.services.jobs.plan import DrawingPlan
from contour.services.jobs.records import from_record, to_record, write_record

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

APPLICATION = "contour"
# Of the records and steps below, not of the program: a new program goes on with the work of the one before. It counts
# up when a job's record changes so that older work must start over; workers see to that (`recovery.take_over`).
VERSION = "1"
DRAW, FOLLOW_UP, AGAIN = "draw", "follow-up", "again"  # workflows
DRAW_QUEUE, AGAIN_QUEUE = "contour-draw", "contour-again"  # those of follow-ups bear their handler's name
QUEUE_FILE = "queue.sqlite"

_ACTIVE = ["ENQUEUED", "PENDING", "DELAYED"]
_CANCELLED, _SET_ASIDE, _DRAWN, _FRESH = "cancelled", "set-aside", "drawn", "fresh-since"
_CAUSE, _FOLLOW_UP = "cause-", "follow-up-"


@dataclass(frozen=True)
class Outcome:
    """What a workflow ends with; the causes of what failed stand in its attributes."""

    state: JobState
    result: JobResult | None = None


def queue_url(place: str | Path) -> str:
    """The address of the queue at `place`: a database's URL, or a folder, in which it is a file.

    The folder of a batch's results has its queue in `.contour`.

    Raises:
        ConfigError: a URL of another database.
    """
    text = str(place)
    if text.startswith(("postgresql://", "postgres://", "sqlite:///")):
        return text
    if "://" in text:
        raise ConfigError("queue", text.partition("://")[0] + "://...", "a folder, or a URL postgresql://...")
    folder = Path(text).absolute()
    below = folder / STATE_FOLDER
    return f"sqlite:///{(below if (below / QUEUE_FILE).is_file() else folder) / QUEUE_FILE}"


class JobQueue:
    """The queue at an address. Use it in a `with` block, or `close` it."""

    def __init__(self, url: str, client: "DBOSClient") -> None:
        self.url = url
        self.client = client

    @classmethod
    def open(cls, place: str | Path, *, create: bool = True) -> "JobQueue":
        """The queue at `place` (see `queue_url`), made if there is none and `create` is set.

        Raises:
            ConfigError: the extra `serve` is missing, there is no such queue, or its database does not answer.
        """
        url = queue_url(place)
        try:
            import dbos  # noqa: PLC0415 - an extra, and it takes a second
            from dbos._serialization import DBOSPortableJSON  # noqa: PLC0415
            from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
        except ModuleNotFoundError as error:
            found = f"{error.name} is not installed"
            raise ConfigError("queue", found, "the extra `serve`: pip install 'contour[serve]'") from error
        file = queue_file(url)
        if file is not None and not file.is_file():
            if not create:
                raise ConfigError(str(file), "is not there", "the queue of a batch or a worker")
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.touch(mode=0o600)
        forbid_pickle()
        logging.getLogger("dbos").setLevel(logging.CRITICAL)  # what it says of an address, it says with its password
        try:
            dbos.DBOS.migrate(url)
            client = dbos.DBOSClient(system_database_url=url, serializer=DBOSPortableJSON, application_name=APPLICATION)
        except (SQLAlchemyError, OSError) as error:
            found = " ".join(str(getattr(error, "orig", error)).split())
            raise ConfigError(f"queue {shown(url)}", f"does not answer ({found})", "a database that runs") from error
        return cls(url, client)

    def close(self) -> None:
        """Leave the database alone."""
        self.client.destroy()

    def __enter__(self) -> Self:
        """The queue itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # -- putting in --------------------------------------------------------------------------------------------------

    def submit(
        self,
        series: SeriesFiles,
        plan: DrawingPlan,
        results: Path,
        *,
        priority: Priority = Priority.ROUTINE,
        follow_ups: Iterable[FollowUp] = (),
    ) -> Submission:
        """Have `series` drawn as `plan` says, into `results / job_id`; return at once.

        One job for each content and plan: where the queue knows the job, nothing is drawn a second time. Then the
        results lie where it was first submitted to, `follow_ups` that it does not have yet are done, too, and a
        waiting job gets the more urgent of the two priorities. An ended job stays as it is (see `retry`).

        Raises:
            OSError: the listing of the files cannot be written below `results`.
        """
        request = JobRequest(series.series_instance_uid, series.content_sha256, plan, results.absolute())
        follow_ups = tuple(follow_ups)
        known = self.find(request.job_id)
        if known is None or not known.state.ended:
            write_record(series, (known.request if known else request).listing)
        if known is None:
            options: Any = {
                "workflow_name": DRAW,
                "queue_name": DRAW_QUEUE,
                "workflow_id": request.job_id,
                "priority": int(priority),
                "app_version": VERSION,
                "attributes": _follow_up_attributes(request.job_id, follow_ups),
            }
            self.client.enqueue(options, to_record(request))
        self._hurry(request.job_id, priority)
        self._add_follow_ups(request.job_id, follow_ups)
        return Submission(request.job_id, known is None)

    def retry(self, job_id: str) -> None:
        """Have an ended job, or one that waits to be tried again, drawn now; what failed before counts no longer.

        A result that stands whole in its folder is kept. Follow-ups that did not succeed are tried again, too; those
        that did are not repeated.

        Raises:
            ConfigError: there is no such job, it waits or runs, or all of it succeeded.
        """
        job = self.job(job_id)
        failed = [one.follow_up for one in job.follow_ups if one.state.ended and one.state is not JobState.DONE]
        if not job.state.ended and job.state is not JobState.RETRYING:
            raise ConfigError(f"job {job_id}", f"is {job.state}", "a job that has ended: `contour jobs cancel` ends it")
        whole = job.state is JobState.DONE and (job.request.folder / RTSTRUCT_FILE).is_file()
        if whole and not failed:
            raise ConfigError(f"job {job_id}", "is done, and its result is there", "one that did not succeed")
        if not whole:
            if job.state is JobState.NOT_RELEASED:  # or it would count as drawn
                (job.request.folder / REPORT_FILE).unlink(missing_ok=True)
            self._start_over(job.id, DRAW_QUEUE)
        for follow_up in failed:
            self._start_over(follow_up_id(job.id, follow_up), follow_up_queue(follow_up.name))

    def cancel(self, job_id: str) -> None:
        """End a job that has not ended; a worker that draws it stops and leaves nothing.

        Raises:
            ConfigError: there is no such job, or it has ended.
        """
        job = self.job(job_id)
        if job.state.ended:
            raise ConfigError(f"job {job_id}", f"is {job.state}", "a job that waits or runs")
        self.client.update_workflow_attributes(job.id, {_CANCELLED: True}, merge=True)
        self.client.cancel_workflow(job.id)
        if job.state is not JobState.RUNNING:  # of a worker that was killed before
            remove_leftovers(job.request.folder)

    def forget(self, job_id: str) -> None:
        """Take an ended job out of the queue; its files stay. Submitted again, it is drawn again.

        Raises:
            ConfigError: there is no such job, or it has not ended.
        """
        job = self.job(job_id)
        if not job.state.ended:
            raise ConfigError(f"job {job_id}", f"is {job.state}", "a job that has ended")
        self.client.delete_workflows([job.id, *(follow_up_id(job.id, one.follow_up) for one in job.follow_ups)])

    # -- asking ------------------------------------------------------------------------------------------------------

    def find(self, job_id: str) -> Job | None:
        """The job of that id, without its follow-ups' states; None where there is none."""
        found = self.client.list_workflows(workflow_ids=[job_id], name=DRAW)
        return _job(found[0]) if found else None

    def job(self, job_id: str) -> Job:
        """The job of that id, or whose id alone begins so, with its follow-ups.

        Raises:
            ConfigError: there is none, or several ids begin so.
        """
        if len(job_id) < 32:
            begins = self.client.list_workflows(workflow_id_prefix=job_id, name=DRAW, load_input=False, limit=2)
            if len(begins) != 1:
                found = "is not known" if not begins else "begins several ids"
                raise ConfigError(f"job {job_id}", found, "an id, or its beginning: `contour jobs list`")
            job_id = begins[0].workflow_id
        status = self.client.list_workflows(workflow_ids=[job_id], name=DRAW)
        if not status:
            raise ConfigError(f"job {job_id}", "is not known", "one of those that `contour jobs list` shows")
        return _job(status[0], self.client.list_workflows(workflow_id_prefix=f"{job_id}-", name=FOLLOW_UP))

    def jobs(self, ids: Iterable[str] | None = None, *, limit: int | None = None) -> tuple[Job, ...]:
        """Jobs, the newest first, without their follow-ups' states: all, or those of `ids` that the queue knows."""
        if ids is None:
            found = self.client.list_workflows(name=DRAW, sort_desc=True, limit=limit)
            return tuple(_job(status) for status in found)
        wanted, found = list(ids), []
        for start in range(0, len(wanted), 500):  # a database takes so many parameters
            found += self.client.list_workflows(workflow_ids=wanted[start : start + 500], name=DRAW)
        return tuple(_job(status) for status in found)

    def active(self) -> dict[str, JobState]:
        """The jobs that wait or run, by id: cheap, for who asks often about many."""
        found = self.client.list_workflows(status=_ACTIVE, name=DRAW, load_input=False, load_output=False)
        return {status.workflow_id: _state(status) for status in found}

    def unended(self, handlers: Iterable[str] = ()) -> int:
        """How many jobs wait, run, or wait to be tried again; and follow-ups of these handlers."""
        queues = [DRAW_QUEUE, AGAIN_QUEUE, *map(follow_up_queue, handlers)]
        active = self.client.list_workflows(status=_ACTIVE, queue_name=queues, load_input=False, load_output=False)
        return len(active)

    # -- for workers -------------------------------------------------------------------------------------------------

    def record_cause(self, workflow_id: str, cause: Cause) -> None:
        """Note why a job or follow-up did not succeed this time."""
        key = f"{_CAUSE}{cause.at.isoformat()}-{uuid.uuid4().hex[:8]}"
        self.client.update_workflow_attributes(workflow_id, {key: to_record(cause)}, merge=True)

    def causes(self, workflow_id: str) -> tuple[Cause, ...]:
        """Those that count: since it was submitted, or since a person asked to try again."""
        attributes = self._attributes(workflow_id)
        fresh = attributes.get(_FRESH)
        since = datetime.fromisoformat(fresh) if fresh else datetime.min.replace(tzinfo=UTC)
        return tuple(cause for cause in _causes(attributes) if cause.at > since)

    def set_aside(self, job_id: str) -> None:
        """End a job that ends the processes which draw it."""
        self.client.update_workflow_attributes(job_id, {_SET_ASIDE: True}, merge=True)
        self.client.cancel_workflow(job_id)
        remove_leftovers(self.job(job_id).request.folder)

    def start_follow_ups(self, job_id: str) -> None:
        """Put the follow-ups of a job whose result is released into their queue: those that were not yet."""
        # Said before they are listed: who adds one from now on sees it, and starts it there (`_add_follow_ups`).
        self.client.update_workflow_attributes(job_id, {_DRAWN: True}, merge=True)
        for follow_up in _follow_ups(self._attributes(job_id)):
            self._start_follow_up(job_id, follow_up)

    def try_again(self, workflow_id: str, seconds: float) -> None:
        """Have the workflow started over in so many seconds, if it still asks for it then."""
        options: Any = {
            "workflow_name": AGAIN,
            "queue_name": AGAIN_QUEUE,
            "workflow_id": f"{AGAIN}-{workflow_id}-{uuid.uuid4().hex[:8]}",
            "delay_seconds": seconds,
            "app_version": VERSION,
        }
        self.client.enqueue(options, workflow_id)

    def again(self, workflow_id: str) -> bool:
        """Start a workflow over that waits for it; False where it has not come to its end yet."""
        found = self.client.list_workflows(workflow_ids=[workflow_id])
        if not found:
            return True
        status, state = found[0], _state(found[0])
        if state is JobState.RETRYING:
            self.client.rewind_workflow(workflow_id, queue_name=status.queue_name, application_version=VERSION)
        return state is not JobState.RUNNING

    # -- within ------------------------------------------------------------------------------------------------------

    def _start_over(self, workflow_id: str, queue_name: str) -> None:
        fresh = {_FRESH: datetime.now(UTC).isoformat(), _CANCELLED: False, _SET_ASIDE: False}
        self.client.update_workflow_attributes(workflow_id, fresh, merge=True)
        self.client.rewind_workflow(workflow_id, queue_name=queue_name, application_version=VERSION)

    def _attributes(self, workflow_id: str) -> Mapping[str, Any]:
        found = self.client.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        return (found[0].attributes or {}) if found else {}

    def _add_follow_ups(self, job_id: str, follow_ups: tuple[FollowUp, ...]) -> None:
        if not follow_ups:
            return
        self.client.update_workflow_attributes(job_id, _follow_up_attributes(job_id, follow_ups), merge=True)
        # Whichever comes second, this or `start_follow_ups`, sees what the other wrote; twice is once, by the id.
        if self._attributes(job_id).get(_DRAWN):
            for follow_up in follow_ups:
                self._start_follow_up(job_id, follow_up)

    def _start_follow_up(self, job_id: str, follow_up: FollowUp) -> None:
        options: Any = {
            "workflow_name": FOLLOW_UP,
            "queue_name": follow_up_queue(follow_up.name),
            "workflow_id": follow_up_id(job_id, follow_up),
            "app_version": VERSION,
        }
        self.client.enqueue(options, job_id, to_record(follow_up))

    def _hurry(self, job_id: str, priority: Priority) -> None:
        """DBOS sets a priority at the start alone; one statement on its table changes it while the job waits."""
        import sqlalchemy  # noqa: PLC0415 - comes with DBOS

        table = self.client._sys_db.tables.workflow_status
        waiting = (table.c.workflow_uuid == job_id) & (table.c.status == "ENQUEUED") & (table.c.priority > priority)
        with self.client._sys_db.engine.begin() as connection:
            connection.execute(sqlalchemy.update(table).where(waiting).values(priority=int(priority)))


def follow_up_id(job_id: str, follow_up: FollowUp) -> str:
    """The same for the same job, name and parameters."""
    text = repr((follow_up.name, sorted(follow_up.parameters.items())))
    return f"{job_id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def follow_up_queue(handler: str) -> str:
    """The queue of the follow-ups of a handler: only workers that have it listen there."""
    return f"contour-follow-up-{handler}"


def forbid_pickle() -> None:
    """Have this process refuse pickles in the database: a row says how it is encoded, and DBOS would believe it."""
    from dbos import _serialization  # noqa: PLC0415 - an extra

    def refuse(_: str) -> Any:
        raise ValueError("the database holds a pickle, which is not opened")

    _serialization.DBOSDefaultSerializer.deserialize = refuse  # type: ignore[assignment]


def shown(url: str) -> str:
    """A database's address without its password."""
    from sqlalchemy import make_url  # noqa: PLC0415 - comes with DBOS

    return make_url(url).render_as_string(hide_password=True)


def queue_file(url: str) -> Path | None:
    """The SQLite file of a queue; None where another database holds it."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _follow_up_attributes(job_id: str, follow_ups: tuple[FollowUp, ...]) -> dict[str, Any]:
    return {f"{_FOLLOW_UP}{follow_up_id(job_id, one)}": to_record(one) for one in follow_ups}


def _follow_ups(attributes: Mapping[str, Any]) -> tuple[FollowUp, ...]:
    return tuple(from_record(attributes[key], FollowUp) for key in sorted(attributes) if key.startswith(_FOLLOW_UP))


def _causes(attributes: Mapping[str, Any]) -> tuple[Cause, ...]:
    causes = [from_record(value, Cause) for key, value in attributes.items() if key.startswith(_CAUSE)]
    return tuple(sorted(causes, key=lambda cause: cause.at))


def _state(status: "WorkflowStatus") -> JobState:
    attributes = status.attributes or {}
    if attributes.get(_SET_ASIDE):
        return JobState.SET_ASIDE
    if attributes.get(_CANCELLED):
        return JobState.CANCELLED
    match status.status:
        case "ENQUEUED" | "DELAYED":
            return JobState.WAITING
        case "PENDING":
            return JobState.RUNNING
        case "CANCELLED":
            return JobState.CANCELLED
        case "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            return JobState.SET_ASIDE
        case "SUCCESS":
            return from_record(status.output, Outcome).state
        case _:
            return JobState.FAILED


def _job(status: "WorkflowStatus", follow_ups: Iterable["WorkflowStatus"] = ()) -> Job:
    attributes, state = status.attributes or {}, _state(status)
    outcome = from_record(status.output, Outcome) if status.status == "SUCCESS" else None
    started = {one.workflow_id: one for one in follow_ups}
    return Job(
        id=status.workflow_id,
        state=state,
        priority=status.priority or 0,
        request=from_record(_arguments(status)[0], JobRequest),
        submitted=_moment(status.created_at) or datetime.now(UTC),
        started=_moment(status.dequeued_at),
        ended=_moment(status.completed_at) if state.ended else None,
        result=outcome.result if outcome else None,
        causes=_causes(attributes),
        follow_ups=tuple(
            _follow_up_status(one, started.get(follow_up_id(status.workflow_id, one)))
            for one in _follow_ups(attributes)
        ),
    )


def _follow_up_status(follow_up: FollowUp, status: "WorkflowStatus | None") -> FollowUpStatus:
    if status is None:
        return FollowUpStatus(follow_up, JobState.WAITING)
    return FollowUpStatus(follow_up, _state(status), _causes(status.attributes or {}))


def _arguments(status: "WorkflowStatus") -> tuple[Any, ...]:
    return tuple(status.input["args"]) if status.input else ()


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
