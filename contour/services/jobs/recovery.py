"""What a dead worker held, and what an older version of the records left: back into the queue, or set aside."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contour.services.jobs.job import Cause
from contour.services.jobs.locks import Lives
from contour.services.jobs.queue import DRAW, VERSION, JobQueue

if TYPE_CHECKING:
    from dbos import WorkflowStatus

CRASH, INTERRUPTED = "crash", "interrupted"
# A drawing that so often ended the process that drew it is set aside: an image may do that to a decoder or to memory.
MOST_CRASHES = 3
# Deaths that nobody saw the reason of, such as a machine's loss of power, say little about the job; so many do.
MOST_INTERRUPTIONS = 50


def crash(reason: str) -> Cause:
    """The process that drew the job ended by itself, and its keeper saw how."""
    return Cause(CRASH, f"the process that drew it ended: {reason}", datetime.now(UTC))


def interruption() -> Cause:
    """The worker is gone, and nobody saw why."""
    return Cause(INTERRUPTED, "the worker ended while it drew: stopped hard, or its machine did", datetime.now(UTC))


def recover(queue: JobQueue, lives: Lives, worker: str, cause: Cause | None) -> tuple[str, ...]:
    """Put what the dead `worker` had taken back, with why; the ids. Nothing where it lives, or another does this.

    A job that died too often is set aside instead. `cause` None is an orderly end, which counts for nothing.
    """
    with lives.of_dead(worker) as dead:
        if not dead:
            return ()
        held = queue.client.list_workflows(status="PENDING", executor_id=worker, load_input=False, load_output=False)
        for status in held:
            if status.name == DRAW and cause is not None:
                queue.record_cause(status.workflow_id, cause)
            if status.name == DRAW and _died_too_often(queue, status.workflow_id):
                queue.set_aside(status.workflow_id)
            elif not _newer(status.app_version):
                _put_back(queue, status)
        return tuple(status.workflow_id for status in held)


def recover_all(queue: JobQueue, lives: Lives, me: str) -> None:
    """Put back what any dead worker had taken, seen by the worker `me`."""
    running = queue.client.list_workflows(status="PENDING", load_input=False, load_output=False)
    for worker in {status.executor_id for status in running if status.executor_id} - {me}:
        recover(queue, lives, worker, interruption())


def take_over(queue: JobQueue) -> None:
    """Have waiting work of an older version of the records start over as this version's.

    What cannot be read as such ends as failed, with that cause, when its turn comes.
    """
    names = [version["version_name"] for version in queue.client.list_application_versions()]
    older = [name for name in names if name != VERSION and not _newer(name)]
    if not older:
        return
    waiting = queue.client.list_workflows(
        app_version=older, status=["ENQUEUED", "DELAYED"], load_input=False, load_output=False
    )
    for status in waiting:
        _put_back(queue, status)


def _died_too_often(queue: JobQueue, job_id: str) -> bool:
    codes = [cause.code for cause in queue.causes(job_id)]
    return codes.count(CRASH) >= MOST_CRASHES or codes.count(INTERRUPTED) >= MOST_INTERRUPTIONS


def _put_back(queue: JobQueue, status: "WorkflowStatus") -> None:
    if status.app_version == VERSION:
        queue.client.resume_workflow(status.workflow_id, queue_name=status.queue_name)
    else:  # its recorded steps are another version's
        queue.client.cancel_workflow(status.workflow_id)
        queue.client.rewind_workflow(status.workflow_id, queue_name=status.queue_name, application_version=VERSION)


def _newer(version: str | None) -> bool:
    """Whether a later version of the records than this one wrote it: that one's workers take it."""
    return version is not None and version.isdecimal() and int(version) > int(VERSION)
