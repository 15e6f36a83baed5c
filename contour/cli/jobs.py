"""`contour jobs`: what is in the queue, and what became of it."""

from collections import Counter
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.options import Json, QueuePlace
from contour.cli.terminal import messages, output, print_json
from contour.services.jobs.job import Job, JobState
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.records import to_record

STATE_COLORS = {
    JobState.WAITING: "dim",
    JobState.RUNNING: "cyan",
    JobState.RETRYING: "yellow",
    JobState.DONE: "green",
    JobState.NOT_RELEASED: "yellow",
    JobState.REFUSED: "yellow",
    JobState.FAILED: "bold red",
    JobState.SET_ASIDE: "bold red",
    JobState.CANCELLED: "dim",
}
SHORT_ID = 8

JobIds = Annotated[list[str], typer.Argument(help="Ids of jobs, or their first characters.")]


def list_jobs(
    queue: QueuePlace,
    state: Annotated[list[JobState], typer.Option("--state", help="Only jobs in this state; repeatable.")] = [],  # noqa: B006 - typer copies it
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """The jobs of a queue, the newest first."""
    with JobQueue.open(queue, create=False) as jobs:
        found = [job for job in jobs.jobs() if not state or job.state in state]
    shown = found[:limit]
    if as_json:
        print_json([to_record(job) for job in shown])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Job", "State", "Protocol", "Series", "Submitted", "Cause"):
        table.add_column(title, overflow="fold" if title == "Series" else "ellipsis")
    for job in shown:
        cause = job.causes[-1].code if job.causes and job.state is not JobState.DONE else ""
        plan = job.request.plan
        table.add_row(
            job.id[:SHORT_ID],
            state_text(job.state),
            escape(plan.protocol.name),
            job.request.series_instance_uid,
            _when(job.submitted),
            escape(cause),
        )
    output().print(table)
    counts = Counter(job.state for job in found)
    more = f"; the newest {len(shown)} are shown" if len(shown) < len(found) else ""
    output().print(f"\n{', '.join(f'{counts[s]} {s}' for s in JobState if counts[s]) or 'No jobs'}{more}")


def show_job(
    job_id: Annotated[str, typer.Argument(help="Id of a job, or its first characters.")],
    queue: QueuePlace,
    as_json: Json = False,
) -> None:
    """One job: where it stands, where its result lies, what failed, and its follow-ups."""
    with JobQueue.open(queue, create=False) as jobs:
        job = jobs.job(job_id)
    if as_json:
        print_json(to_record(job))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _facts(job):
        table.add_row(f"[bold]{name}[/]", value)
    output().print(table)


def retry_jobs(job_ids: JobIds, queue: QueuePlace) -> None:
    """Have ended jobs drawn again, or those that wait to be tried again at once."""
    with JobQueue.open(queue, create=False) as jobs:
        for job in [jobs.job(job_id) for job_id in job_ids]:  # all known before the first is touched
            jobs.retry(job.id)
            messages().print(f"{job.id[:SHORT_ID]} waits")


def cancel_jobs(job_ids: JobIds, queue: QueuePlace) -> None:
    """End jobs that wait or run; what is being drawn stops and leaves nothing."""
    with JobQueue.open(queue, create=False) as jobs:
        for job in [jobs.job(job_id) for job_id in job_ids]:
            jobs.cancel(job.id)
            messages().print(f"{job.id[:SHORT_ID]} is cancelled")


def state_text(state: JobState) -> str:
    """The word in its colour."""
    return f"[{STATE_COLORS[state]}]{state}[/]"


def _facts(job: Job) -> list[tuple[str, str]]:
    plan = job.request.plan
    facts = [
        ("Job", job.id),
        ("State", state_text(job.state)),
        ("Protocol", f"{escape(plan.protocol.name)}, sha256 {plan.protocol.sha256[:12]}"),
        ("Packages", escape(", ".join(pin.name for pin in plan.packages)) or "none"),
        ("Series", job.request.series_instance_uid),
        ("Content", f"sha256 {job.request.content_sha256[:12]}"),
        ("Priority", str(job.priority)),
        ("Submitted", _when(job.submitted)),
        ("Started", _when(job.started)),
        ("Ended", _when(job.ended)),
        ("Results", escape(str(job.request.folder))),
    ]
    if job.result is not None:
        facts.append(("RTSTRUCT", job.result.rtstruct_sop_instance_uid or "not released; see report.json"))
        facts.append(("Drawn", f"{job.result.structures} structures in {job.result.seconds:.1f} s"))
        facts.append(("To check", f"{job.result.check} findings; see report.json"))
    facts += [(_when(cause.at), f"{escape(cause.code)}: {escape(cause.message)}") for cause in job.causes]
    facts += [(escape(one.follow_up.name), state_text(one.state)) for one in job.follow_ups]
    return facts


def _when(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
