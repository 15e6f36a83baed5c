"""A batch: every series below a folder becomes a job, and this process keeps the workers that draw them.

What is done stays done: a second run finds the same jobs, and submits only series, protocols and packages that are new
or changed. It may be stopped or killed at any moment and run again.
"""

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contour.core.errors import ConfigError
from contour.dicom.series import SeriesFiles
from contour.pipeline import REPORT_FILE
from contour.services.batch.search import FoundSeries, SeriesIndex, wanted
from contour.services.jobs.crew import Crew
from contour.services.jobs.job import STATE_FOLDER, Job, JobRequest, JobState, Priority
from contour.services.jobs.plan import DrawingPlan
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions

LOOK_SECONDS = 1.0
MOST_TROUBLES = 5  # workers in a row that die before any job
PLACES_FILE = "places.csv"
WORKER_LOG = "worker.log"
LOCK_FILE = "batch.lock"
PASSING_REFUSALS = ("configuration", "package")  # of the set-up, not of the series: it is sound again by now


@dataclass(frozen=True)
class BatchOptions:
    """How a batch runs: how many workers this process keeps (0: others draw), and how they draw."""

    workers: int = 1
    worker: WorkerOptions = field(default_factory=WorkerOptions)


@dataclass(frozen=True)
class Line:
    """One series of a batch. `folder` is that of its results below the output, empty where there are none.

    `code` and `message` say why it was refused or failed; `before` that an earlier run had done it.
    """

    series_instance_uid: str
    state: JobState
    folder: str = ""
    before: bool = False
    structures: int = 0
    check: int = 0
    seconds: float = 0.0
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a batch has come. `files` and `read` count what was looked at and read so far, of `series`.

    `seconds_left` is None as long as nothing tells.
    """

    searching: bool
    files: int
    series: int
    read: int
    counts: dict[JobState, int]
    seconds_left: float | None


@dataclass(frozen=True)
class BatchResult:
    """What became of every series that the protocol could draw; `passed_over` counts those of other kinds."""

    plan: DrawingPlan
    lines: tuple[Line, ...]
    passed_over: int
    seconds: float

    def count(self, *states: JobState) -> int:
        """How many series ended so."""
        return sum(line.state in states for line in self.lines)


Watch = Callable[[Standing], None]


def run_batch(
    root: Path, output: Path, plan: DrawingPlan, queue: JobQueue, options: BatchOptions, watch: Watch
) -> BatchResult:
    """Draw every series below `root` that `plan` can draw into folders of `output`, and wait for the end.

    Series are read while others are drawn. `watch` hears often how far it is.

    Raises:
        InputRefused: `root` or a folder below it cannot be listed.
        ConfigError: `root` is no folder, or the workers die before they draw anything.
        OSError: the disk of `output`.
    """
    if not root.is_dir():
        raise ConfigError(str(root), "is not a folder", "a folder with studies")
    batch = _Batch(output.absolute(), plan, queue, watch)
    state = output.absolute() / STATE_FOLDER
    with _alone(state), SeriesIndex(state) as index, Crew(queue, options.worker, options.workers) as crew:
        found = index.search(root, output, batch.looked_at)
        chosen = tuple(series for series in found if wanted(series, plan.modality))
        _write_places(chosen, state / PLACES_FILE)
        batch.begin(len(chosen))
        for series in chosen:
            batch.take(series, index)
            batch.look(crew)
        while not batch.ended:
            batch.look(crew)
            time.sleep(LOOK_SECONDS / 2)
    return BatchResult(plan, batch.lines(), len(found) - len(chosen), time.monotonic() - batch.started)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two batches into one output would count each other's work."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra

    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(state / LOCK_FILE, blocking=False):
            yield
    except Timeout as error:
        raise ConfigError(str(state.parent), "another batch works into it", "one at a time") from error


class _Batch:
    """A batch under way."""

    def __init__(self, output: Path, plan: DrawingPlan, queue: JobQueue, watch: Watch) -> None:
        self._output, self._plan, self._queue, self._watch = output, plan, queue, watch
        self._lines: dict[str, Line] = {}  # by series: refused at reading, or done before
        self._jobs: dict[str, str] = {}  # series by job: what this run waits for
        self._ended: dict[str, Job] = {}
        self._states: dict[str, JobState] = {}
        self._files = self._series = self._read = 0
        self._next_look = self._told = 0.0
        self.started = self._drawing_since = time.monotonic()

    @property
    def ended(self) -> bool:
        return len(self._ended) == len(self._jobs)

    def looked_at(self, files: int) -> None:
        """The search has come so far."""
        self._files = files
        if time.monotonic() - self._told > LOOK_SECONDS / 4:
            self._tell(searching=True)

    def begin(self, series: int) -> None:
        """So many are to be drawn, or refused."""
        self._series = series
        self._drawing_since = time.monotonic()
        self._tell(searching=False)

    def take(self, series: FoundSeries, index: SeriesIndex) -> None:
        """Submit a series, or find that it is refused, or done already."""
        content = index.content(series)
        self._read += 1
        if not isinstance(content, SeriesFiles):
            self._lines[series.uid] = Line(series.uid, JobState.REFUSED, code=content.code, message=content.message)
            return
        request = JobRequest(series.uid, content.content_sha256, self._plan, self._output)
        known = self._queue.find(request.job_id)
        if known is not None and known.state in (JobState.DONE, JobState.NOT_RELEASED) and _stands(request):
            self._lines[series.uid] = _line(known, before=True)
            return
        if known is not None and known.request.results != self._output and known.state.ended:
            self._queue.forget(known.id)  # the folder of the results was moved, or is another by now
            known = None
        if known is not None and _worth_a_retry(known):
            self._queue.retry(known.id)
        elif known is not None and known.state.ended:
            self._lines[series.uid] = _line(known, before=True)
            return
        self._queue.submit(content, self._plan, self._output, priority=Priority.BATCH)
        self._jobs[request.job_id] = series.uid
        self._states[request.job_id] = JobState.WAITING

    def look(self, crew: Crew) -> None:
        """See to the workers and, now and then, to the jobs."""
        if self._jobs:
            crew.tend()
        if crew.troubles >= MOST_TROUBLES:
            raise ConfigError("the workers", crew.last_trouble, "a set-up in which they start: see the log")
        if time.monotonic() < self._next_look:
            return
        start = time.monotonic()
        active = self._queue.active()
        self._states.update((job_id, active[job_id]) for job_id in self._jobs if job_id in active)
        for job in self._queue.jobs(one for one in self._jobs if one not in active and one not in self._ended):
            self._states[job.id] = job.state
            if job.state.ended:
                self._ended[job.id] = job
        # Many jobs make a look expensive: it may take a twentieth of the time.
        self._next_look = time.monotonic() + max(LOOK_SECONDS, 20 * (time.monotonic() - start))
        self._tell(searching=False)

    def lines(self) -> tuple[Line, ...]:
        """What became of each series, in the order of their UIDs."""
        ended = {self._jobs[job.id]: _line(job) for job in self._ended.values()}
        lines = {**self._lines, **ended}
        return tuple(lines[uid] for uid in sorted(lines))

    def _tell(self, *, searching: bool) -> None:
        self._told = time.monotonic()
        states = [*(line.state for line in self._lines.values()), *self._states.values()]
        counts = {state: states.count(state) for state in JobState}
        self._watch(Standing(searching, self._files, self._series, self._read, counts, self._seconds_left()))

    def _seconds_left(self) -> float | None:
        """By what a series took so far; those not read yet are taken for new ones."""
        if not self._ended:
            return None
        left = len(self._jobs) - len(self._ended) + self._series - self._read
        return left * (time.monotonic() - self._drawing_since) / len(self._ended)


def _worth_a_retry(job: Job) -> bool:
    """A person runs the batch again: what failed may pass now, what is lost is drawn again. Refusals stand."""
    refused_by_setup = job.state is JobState.REFUSED and bool(job.causes) and job.causes[-1].code in PASSING_REFUSALS
    lost = job.state in (JobState.DONE, JobState.NOT_RELEASED)
    return lost or refused_by_setup or job.state in (JobState.FAILED, JobState.RETRYING)


def _stands(request: JobRequest) -> bool:
    """Whether the result is where it belongs; its content is looked at when it is used."""
    return (request.folder / REPORT_FILE).is_file()


def _line(job: Job, *, before: bool = False) -> Line:
    cause = job.causes[-1] if job.causes and job.state not in (JobState.DONE, JobState.NOT_RELEASED) else None
    result = job.result
    return Line(
        series_instance_uid=job.request.series_instance_uid,
        state=job.state,
        folder=job.id if result is not None else "",
        before=before,
        structures=result.structures if result else 0,
        check=result.check if result else 0,
        seconds=result.seconds if result else 0.0,
        code=cause.code if cause else "",
        message=cause.message if cause else "",
    )


def _write_places(found: tuple[FoundSeries, ...], path: Path) -> None:
    """Which series lies where, for its owner alone: the names of folders may be those of people."""
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("series_instance_uid", "folder"))
        writer.writerows((series.uid, str(series.files[0].parent)) for series in found)
    part.replace(path)
