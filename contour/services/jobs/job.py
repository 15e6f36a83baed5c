"""A job: one series content, drawn with one plan. What it is, where it stands, what became of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path

from contour.services.jobs.plan import DrawingPlan

STATE_FOLDER = ".contour"  # below the results: the listings of the files, and a batch's queue


class JobState(StrEnum):
    """Where a job stands. The last six are ends, from which only `retry` leads back."""

    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"  # something failed that may pass: it is tried again by itself, later
    DONE = "done"
    NOT_RELEASED = "not-released"  # drawn, but not proven: report and preview are there, no RTSTRUCT
    REFUSED = "refused"  # the input, the protocol or a package must not be used
    FAILED = "failed"  # something kept failing, or the program has a fault
    SET_ASIDE = "set-aside"  # it ended the process that drew it, again and again
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self not in (JobState.WAITING, JobState.RUNNING, JobState.RETRYING)


class Priority(IntEnum):
    """Who goes first; within one, who came first."""

    PERSON = 1  # somebody waits for it
    ROUTINE = 5
    BATCH = 9


@dataclass(frozen=True)
class Cause:
    """Why something did not succeed: a stable code and a sentence, both without file names, which may name people."""

    code: str
    message: str
    at: datetime


@dataclass(frozen=True)
class FollowUp:
    """What is to be done with a released result: a step by the name of its handler, and what it is told.

    `parameters` must hold no patient identity. The same name and parameters for the same job are done once.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FollowUpStatus:
    """Where a follow-up stands; `causes` says what failed so far."""

    follow_up: FollowUp
    state: JobState
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True)
class JobRequest:
    """What is to be drawn, and into which folder: the files appear in `results / id`.

    It names the series by UID and content alone; the files that it is read from stand in a listing beside the results.
    """

    series_instance_uid: str
    content_sha256: str
    plan: DrawingPlan
    results: Path

    @property
    def job_id(self) -> str:
        """Follows from the content of the series and the plan, not from where either lies."""
        digest = hashlib.sha256(b"contour job 1\n")
        for part in (self.content_sha256, *self.plan.parts):
            text = part.encode()
            digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """Where `rtstruct.dcm`, `report.json` and `preview.png` appear."""
        return self.results / self.job_id

    @property
    def listing(self) -> Path:
        """The file that says which files the series is read from. It may hold names; only its owner may read it."""
        return self.results / STATE_FOLDER / "inputs" / f"{self.job_id}.json"


@dataclass(frozen=True)
class JobResult:
    """What was drawn: `folder` holds the files; UID and sha256 are those of the RTSTRUCT, None where none is released.

    `check` counts the findings that a person should look at, `drawn_by` is the version of this program.
    """

    folder: Path
    released: bool
    rtstruct_sop_instance_uid: str | None
    rtstruct_sha256: str | None
    structures: int
    check: int
    seconds: float
    drawn_by: str


@dataclass(frozen=True)
class Job:
    """A job as the queue knows it. `causes` has one entry for each time that it did not succeed, the last one last."""

    id: str
    state: JobState
    priority: int
    request: JobRequest
    submitted: datetime
    started: datetime | None = None
    ended: datetime | None = None
    result: JobResult | None = None
    causes: tuple[Cause, ...] = ()
    follow_ups: tuple[FollowUpStatus, ...] = ()


@dataclass(frozen=True)
class Submission:
    """What `JobQueue.submit` answers: `new` is False where the queue knew the job already."""

    job_id: str
    new: bool


class TryAgain(Exception):
    """Raised by a follow-up's handler for what may pass; without patient identity.

    `code` is stable, such as `destination-away`; the sentence says what happened.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Handler:
    """What does the follow-ups of one name, in a worker: a function that can be imported, told the job's result.

    A handler may be run again after a worker died in it: doing it twice must be as good as once (storing the same
    instance again is). It raises `TryAgain` for what may pass, a `ContourError` for what will not; an OSError is judged
    by its number. So long after a try the next one comes; after the last it has failed. By default it is tried for
    three days.
    """

    name: str
    run: Callable[[JobResult, Mapping[str, str]], None]
    retry_seconds: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, *(1800.0,) * 144)
