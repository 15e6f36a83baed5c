"""A queue with its plan and series, and how to see jobs to their end."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contour.dicom.read_series import read_series
from contour.dicom.series import SeriesFiles
from contour.inference.session import Engine, SessionOptions
from contour.services.jobs.crew import Crew
from contour.services.jobs.drawing import Machine
from contour.services.jobs.job import Job
from contour.services.jobs.plan import Choice, DrawingPlan, plan_drawing
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions

LONGEST_SECONDS = 240


@pytest.fixture(scope="session")
def source(thorax_series: Path) -> SeriesFiles:
    """The thorax phantom, as a job takes it."""
    series = read_series(thorax_series)
    return SeriesFiles(series.files, series.series_instance_uid, series.content_sha256)


@pytest.fixture(scope="session")
def choice(tiny_protocol_file: Path, tiny_models: Path) -> Choice:
    return Choice(str(tiny_protocol_file), models=(tiny_models,))


@pytest.fixture(scope="session")
def plan(choice: Choice) -> DrawingPlan:
    return plan_drawing(choice)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with JobQueue.open(tmp_path / "queue") as opened:
        yield opened


@pytest.fixture
def drawing(tmp_path: Path) -> WorkerOptions:
    """Workers of this test alone: their slots, their log, and retries that do not wait."""
    machine = Machine(SessionOptions(Engine.CPU, threads=1), slots_folder=tmp_path / "slots")
    return WorkerOptions(machine, retry_seconds=(0.0, 0.0), poll_seconds=0.1, log=tmp_path / "worker.log")


Finish = Callable[..., dict[str, Job]]


@pytest.fixture
def finish(queue: JobQueue, drawing: WorkerOptions) -> Finish:
    """Keep workers until nothing is left to do; the jobs by id."""

    def see_to_the_end(size: int = 1, **changes: object) -> dict[str, Job]:
        options = replace(drawing, **changes)  # type: ignore[arg-type]
        handlers = [handler.name for handler in options.handlers]
        with Crew(queue, options, size) as crew:
            until = time.monotonic() + LONGEST_SECONDS
            while queue.unended(handlers):
                assert time.monotonic() < until, [(job.state, job.causes) for job in queue.jobs()]
                assert crew.troubles < 3, crew.last_trouble
                crew.tend()
                time.sleep(0.1)
        return {job.id: queue.job(job.id) for job in queue.jobs()}

    return see_to_the_end
