"""Jobs drawn by real workers, which are killed, crash, run out of disk, and are told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import dying_worker
import pytest
from dying_worker import POINTS

from contour import __version__
from contour.dicom.rtstruct_read import read_contours
from contour.dicom.series import SeriesFiles
from contour.dicom.uids import derived_uid
from contour.languages import Language
from contour.services.jobs import crew as crew_module
from contour.services.jobs.crew import Crew
from contour.services.jobs.job import FollowUp, Handler, Job, JobResult, JobState, Priority, TryAgain
from contour.services.jobs.plan import Choice, DrawingPlan, plan_drawing
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.worker import WorkerOptions

Finish = Callable[..., dict[str, Job]]
FILES = ["preview.png", "report.json", "rtstruct.dcm"]


def deliver(result: JobResult, parameters: Mapping[str, str]) -> None:
    """A destination that is away at the first try: writes down what it got."""
    book = Path(parameters["book"])
    with book.open("a") as stream:
        stream.write(f"{result.rtstruct_sop_instance_uid} {result.rtstruct_sha256}\n")
    if len(book.read_text().splitlines()) == 1:
        raise TryAgain("destination-away", "no answer")


DELIVER = Handler("deliver", deliver, retry_seconds=(0.0,))


def plans(choice: Choice, count: int) -> list[DrawingPlan]:
    """Different ones that draw the same."""
    choices = [
        replace(choice, language=language, system=system) for system in ("generic", "eclipse") for language in Language
    ]
    return [plan_drawing(one) for one in choices[:count]]


def assert_whole(job: Job) -> None:
    """One RTSTRUCT under the UID that follows from the job, and nothing besides."""
    assert job.state is JobState.DONE, (job.state, job.causes)
    folder = job.request.folder
    assert sorted(path.name for path in folder.iterdir()) == FILES
    uid = derived_uid("rtstruct", f"{job.id} {__version__}")
    assert read_contours(folder / "rtstruct.dcm").sop_instance_uid == uid
    assert json.loads((folder / "report.json").read_text())["rtstruct_sop_instance_uid"] == uid
    assert job.result is not None
    assert job.result.rtstruct_sop_instance_uid == uid


@pytest.mark.slow
def test_killed_at_every_point_each_job_ends_in_one_whole_result(
    queue: JobQueue,
    source: SeriesFiles,
    choice: Choice,
    drawing: WorkerOptions,
    finish: Finish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "run_worker", dying_worker.run_dying_worker)
    folder = dying_worker.points_folder(drawing)
    folder.mkdir()
    book = tmp_path / "book"
    follow_up = FollowUp("deliver", {"book": str(book)})
    for point, plan in zip(POINTS, plans(choice, len(POINTS)), strict=True):
        job_id = queue.submit(source, plan, tmp_path / "out", follow_ups=[follow_up]).job_id
        (folder / job_id).write_text(point)
    jobs = finish(handlers=(DELIVER,))
    assert len(list(folder.glob("*.died"))) == len(POINTS)
    assert len(jobs) == len(POINTS)
    for job in jobs.values():
        assert_whole(job)
        assert [cause.code for cause in job.causes] == ["crash"]
        assert "SIGKILL" in job.causes[0].message
        assert [one.state for one in job.follow_ups] == [JobState.DONE]
    delivered = book.read_text().splitlines()
    assert len(delivered) == len(POINTS) + 1  # the first one twice: the destination was away
    assert {line.split()[0] for line in delivered} == {
        job.result.rtstruct_sop_instance_uid for job in jobs.values() if job.result
    }


@pytest.mark.slow
def test_a_job_that_crashes_or_hangs_its_worker_is_set_aside_and_the_rest_go_on(
    queue: JobQueue,
    source: SeriesFiles,
    choice: Choice,
    finish: Finish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "run_worker", dying_worker.run_poisoned_worker)
    poison = plan_drawing(replace(choice, language=Language.RUSSIAN))
    bad = queue.submit(source, poison, tmp_path / "out", priority=Priority.PERSON).job_id
    good = queue.submit(source, plan_drawing(choice), tmp_path / "out").job_id
    jobs = finish()
    assert jobs[bad].state is JobState.SET_ASIDE
    assert [cause.message.split()[-1] for cause in jobs[bad].causes] == ["SIGSEGV", "SIGABRT", "SIGSEGV"]
    assert not jobs[bad].request.folder.exists()
    assert_whole(jobs[good])


@pytest.mark.slow
def test_what_may_pass_is_tried_again_and_a_fault_is_not(
    queue: JobQueue,
    source: SeriesFiles,
    choice: Choice,
    drawing: WorkerOptions,
    finish: Finish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "run_worker", dying_worker.run_failing_worker)
    folder = dying_worker.points_folder(drawing)
    folder.mkdir()
    ids = [queue.submit(source, plan, tmp_path / "out").job_id for plan in plans(choice, 4)]
    for job_id, failures in zip(ids, ("1", "9", "fault", "0"), strict=True):
        (folder / job_id).write_text(failures)
    gone = queue.job(ids[3]).request
    gone.listing.write_text(gone.listing.read_text().replace(source.content_sha256, "0" * 64))
    jobs = finish()
    assert_whole(jobs[ids[0]])
    found = [(jobs[one].state, [cause.code for cause in jobs[one].causes]) for one in ids]
    assert found == [
        (JobState.DONE, ["disk-enospc"]),
        (JobState.FAILED, ["disk-enospc"] * 3),
        (JobState.FAILED, ["fault"]),
        (JobState.REFUSED, ["configuration"]),
    ]
    assert "Серік" not in (tmp_path / "worker.log").read_text(encoding="utf-8")
    assert "RuntimeError" in (tmp_path / "worker.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_workers_share_the_slot_of_their_machine(
    queue: JobQueue,
    source: SeriesFiles,
    choice: Choice,
    drawing: WorkerOptions,
    finish: Finish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "run_worker", dying_worker.run_slow_worker)
    dying_worker.points_folder(drawing).mkdir()
    for plan in plans(choice, 3):
        queue.submit(source, plan, tmp_path / "out")
    for job in finish(size=2).values():
        assert_whole(job)
    times = (dying_worker.points_folder(drawing) / "times").read_text().splitlines()
    assert len({line.split()[1] for line in times}) == 2  # both drew
    for begins, ends in zip(times[::2], times[1::2], strict=True):
        assert (begins.split()[0], ends.split()[0]) == ("begins", "ends")
        assert begins.split()[1] == ends.split()[1]


@pytest.mark.slow
def test_cancelled_or_stopped_while_it_draws_nothing_stays(
    queue: JobQueue,
    source: SeriesFiles,
    plan: DrawingPlan,
    drawing: WorkerOptions,
    finish: Finish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign = dying_worker.points_folder(drawing) / "drawing"
    sign.parent.mkdir()
    job_id = queue.submit(source, plan, tmp_path / "out").job_id

    def until(holds: Callable[[], bool], crew: Crew) -> None:
        end = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < end
            crew.tend()
            time.sleep(0.05)

    with monkeypatch.context() as patched:
        patched.setattr(crew_module, "run_worker", dying_worker.run_waiting_worker)
        with Crew(queue, drawing) as crew:
            until(sign.exists, crew)
            queue.cancel(job_id)
            until(lambda: "given up" in (tmp_path / "worker.log").read_text(), crew)
            assert queue.job(job_id).state is JobState.CANCELLED
            assert not (tmp_path / "out" / job_id).exists()
            sign.unlink()
            queue.retry(job_id)
            until(sign.exists, crew)
            assert queue.job(job_id).state is JobState.RUNNING
    job = queue.job(job_id)  # the crew was stopped in order
    assert (job.state, job.causes) == (JobState.WAITING, ())
    assert not (tmp_path / "out" / job_id).exists()
    assert_whole(finish()[job_id])


@pytest.mark.slow
def test_a_worker_killed_with_its_keeper_at_random_moments_loses_and_doubles_nothing(
    queue: JobQueue, source: SeriesFiles, choice: Choice, tmp_path: Path
) -> None:
    ids = [queue.submit(source, plan, tmp_path / "out").job_id for plan in plans(choice, 4)]
    arguments = ["worker", "--queue", str(tmp_path / "queue"), "--drain", "--engine", "cpu", "--threads", "1"]
    command = [sys.executable, "-c", "from contour.cli.main import run; run()", *arguments]
    environment = {**os.environ, "CONTOUR_SLOTS": str(tmp_path / "slots")}

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)

    for number in range(2):
        keeper = started()
        running = time.monotonic() + 60
        while not any(job.state is JobState.RUNNING for job in queue.jobs()) and time.monotonic() < running:
            if keeper.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(0.8 * number)
        if number % 2:
            keeper.kill()  # its worker sees that it is alone, and ends
        else:
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait()
    keeper = started()
    assert keeper.wait(timeout=200) == 0
    jobs = [queue.job(job_id) for job_id in ids]
    for job in jobs:
        assert_whole(job)
    assert {cause.code for job in jobs for cause in job.causes} <= {"interrupted"}
    assert len(list((tmp_path / "out").rglob("rtstruct.dcm"))) == len(ids)
