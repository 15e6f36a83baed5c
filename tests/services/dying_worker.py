"""Workers that die, fail or wait at chosen points, once for each job and point: what tests start in their place."""

import errno
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from contour import pipeline
from contour.core import staging
from contour.services.jobs import drawing, worker
from contour.services.jobs.job import JobRequest
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions, run_worker

# Where a worker dies: the n-th call of something, in the order in which a drawing comes by.
POINTS = ("read", "draw", "written", "report-moved", "released", "follow-ups-started")


def points_folder(options: WorkerOptions) -> Path:
    """Holds a file for each job, with the point at which its worker dies; and what is written of it."""
    assert options.log is not None
    return options.log.parent / "points"


def run_dying_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """As `run_worker`, dying by SIGKILL at the point that stands in the job's file; which goes first."""
    folder = points_folder(options)
    now: list[JobRequest] = []

    def die_at(point: str) -> None:
        file = folder / now[0].job_id if now else folder / "none"
        if file.is_file() and file.read_text() == point:
            file.rename(file.with_suffix(".died"))
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any], point: str) -> Callable[..., Any]:
        def dying(*args: Any, **options: Any) -> Any:
            die_at(point)
            return function(*args, **options)

        return dying

    def after(function: Callable[..., Any], point: str) -> Callable[..., Any]:
        def dying(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            die_at(point)
            return result

        return dying

    draw_job = drawing.draw_job

    def remembering(request: JobRequest, *args: Any) -> Any:
        now[:] = [request]
        return draw_job(request, *args)

    replace_file = Path.replace

    def moving(self: Path, target: Path) -> Path:
        moved = replace_file(self, target)
        if target.name == pipeline.REPORT_FILE:
            die_at("report-moved")
        return moved

    worker.draw_job = after(remembering, "released")  # type: ignore[assignment]
    pipeline.read_same_series = before(pipeline.read_same_series, "read")
    pipeline.predict_with_steps = after(pipeline.predict_with_steps, "draw")
    pipeline.write_preview = after(pipeline.write_preview, "written")  # type: ignore[assignment]
    staging.Path.replace = moving  # type: ignore[method-assign, assignment]
    JobQueue.start_follow_ups = after(JobQueue.start_follow_ups, "follow-ups-started")  # type: ignore[method-assign]
    run_worker(keeper, url, name, options)


def run_poisoned_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """Its network crashes on jobs in Russian, the second time by never coming back."""
    predict = pipeline.predict_with_steps
    draw_job = drawing.draw_job
    now: list[JobRequest] = []

    def remembering(request: JobRequest, *args: Any) -> Any:
        now[:] = [request]
        return draw_job(request, *args)

    def crashing(*args: Any, **options: Any) -> Any:
        if now[0].plan.choice.language == "ru":
            sign = now[0].results / "crashed-once"
            if sign.exists() and sign.read_text() == "":
                sign.write_text("and hung")
                time.sleep(1000)
            sign.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return predict(*args, **options)

    worker.draw_job = remembering
    worker.HUNG_SECONDS = 2.0
    pipeline.predict_with_steps = crashing
    run_worker(keeper, url, name, options)


def run_failing_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """Its disk is full as often as the file of the job says, and its preview a fault where that says `fault`."""
    folder, patient = points_folder(options), "".join(map(chr, (1057, 1077, 1088, 1110, 1082)))
    draw_job = drawing.draw_job

    def failing(request: JobRequest, *args: Any) -> Any:
        file = folder / request.job_id
        left = file.read_text() if file.is_file() else "0"
        if left == "fault":
            raise RuntimeError(patient)
        if int(left):
            file.write_text(str(int(left) - 1))
            raise OSError(errno.ENOSPC, "No space left on device", f"/data/{patient}/1.dcm")
        return draw_job(request, *args)

    worker.draw_job = failing
    run_worker(keeper, url, name, options)


def run_slow_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """Draws slowly, and writes down when it begins and ends."""
    predict = pipeline.predict_with_steps
    file = points_folder(options) / "times"

    def note(what: str) -> None:
        with file.open("a") as stream:
            stream.write(f"{what} {os.getpid()}\n")

    def slow(network: Any, volume: Any, names: Any, progress: Callable[[float], None], **options: Any) -> Any:
        note("begins")
        for _ in range(10):
            time.sleep(0.05)
            progress(0.0)
        predicted = predict(network, volume, names, progress, **options)
        note("ends")
        return predicted

    pipeline.predict_with_steps = slow
    run_worker(keeper, url, name, options)


def kill_in_a_drawing(process: int, options: WorkerOptions) -> bool:
    """Kill a slow worker that has begun to draw and has not ended; one that is elsewhere goes on. Whether it was."""
    os.kill(process, signal.SIGSTOP)  # so that it is still there when it is killed
    file = points_folder(options) / "times"
    times = file.read_text().splitlines() if file.exists() else []
    drawing_now = times.count(f"begins {process}") > times.count(f"ends {process}")
    os.kill(process, signal.SIGKILL if drawing_now else signal.SIGCONT)
    return drawing_now


def run_waiting_worker(keeper: Connection, url: str, name: str, options: WorkerOptions) -> None:
    """Never ends a drawing by itself; says when it is in one."""
    file = points_folder(options) / "drawing"

    def waiting(_: Any, __: Any, ___: Any, progress: Callable[[float], None], **____: Any) -> Any:
        file.touch()
        while True:
            time.sleep(0.02)
            progress(0.0)

    pipeline.predict_with_steps = waiting
    run_worker(keeper, url, name, options)
