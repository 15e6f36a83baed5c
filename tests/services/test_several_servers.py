"""One queue on PostgreSQL for workers that share nothing else but the folder of the results."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dying_worker
import pytest

from contour.dicom.rtstruct_read import read_contours
from contour.dicom.series import SeriesFiles
from contour.languages import Language
from contour.services.jobs import crew as crew_module
from contour.services.jobs.crew import Crew
from contour.services.jobs.job import JobState
from contour.services.jobs.locks import Lives
from contour.services.jobs.plan import Choice, DrawingPlan, plan_drawing
from contour.services.jobs.queue import JobQueue
from contour.services.jobs.recovery import recover_all
from contour.services.jobs.worker import WorkerOptions

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def programs() -> Path | None:
    """Where Debian puts `initdb`, or the first on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def other_user() -> str | None:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database of this test's own."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    user, home = other_user(), Path("/tmp") / f"contour-test-postgres-{os.getpid()}"
    home.mkdir(mode=0o700)
    if user:
        shutil.chown(home, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: object) -> None:
        command = [str(folder / program), *map(str, arguments)]
        subprocess.run(command, user=user, cwd=home, check=True, stdout=subprocess.DEVNULL, timeout=60)

    try:
        run("initdb", "-D", home / "data", "-U", "contour", "-A", "trust", "--no-sync")
        options = f"-p {port} -k {home} -h 127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", home / "data", "-o", options, "-l", home / "log", "-w", "start")
        try:
            yield f"postgresql://contour@127.0.0.1:{port}/contour"
        finally:
            run("pg_ctl", "-D", home / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def queue(database: str) -> Iterator[JobQueue]:
    with JobQueue.open(database) as opened:
        yield opened
        opened.client.delete_workflows([status.workflow_id for status in opened.client.list_workflows()])


def test_two_workers_one_killed_every_job_ends_once(
    queue: JobQueue,
    source: SeriesFiles,
    choice: Choice,
    drawing: WorkerOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew_module, "run_worker", dying_worker.run_slow_worker)
    dying_worker.points_folder(drawing).mkdir()
    choices = [replace(choice, language=one, system=s) for one in Language for s in ("generic", "eclipse")]
    ids = [queue.submit(source, plan_drawing(one), tmp_path / "out").job_id for one in choices]
    # Two servers: each has slots of its own.
    other = replace(drawing, machine=replace(drawing.machine, slots_folder=tmp_path / "slots2"))
    with Crew(queue, drawing) as first, Crew(queue, other) as second:
        until = time.monotonic() + 240
        killed = False
        while not all(job.state.ended for job in queue.jobs()):
            assert time.monotonic() < until, [(job.state, job.causes) for job in queue.jobs()]
            first.tend()
            second.tend()
            running = queue.client.list_workflows(status="PENDING", name="draw")
            if not killed and len({status.executor_id for status in running}) == 2:
                killed = dying_worker.kill_in_a_drawing(first.processes[0], drawing)
            time.sleep(0.05)
    jobs = [queue.job(job_id) for job_id in ids]
    assert [job.state for job in jobs] == [JobState.DONE] * len(ids)
    assert [cause.code for job in jobs for cause in job.causes] == ["crash"]
    uids = {read_contours(job.request.folder / "rtstruct.dcm").sop_instance_uid for job in jobs}
    assert uids == {job.result.rtstruct_sop_instance_uid for job in jobs if job.result}
    assert len(uids) == len(ids)
    times = (dying_worker.points_folder(drawing) / "times").read_text().splitlines()
    assert len([line for line in times if line.startswith("ends")]) == len(ids)  # none was drawn twice to the end
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_workers_lock_ends_with_its_connection(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path, database: str
) -> None:
    job_id = queue.submit(source, plan, tmp_path).job_id
    lives = Lives(database)
    life = lives.hold("w-1")
    assert life.held()
    table = queue.client._sys_db.tables.workflow_status
    with queue.client._sys_db.engine.begin() as connection:
        connection.execute(table.update().values(status="PENDING", executor_id="w-1"))
    recover_all(queue, lives, "w-2")
    assert queue.job(job_id).state is JobState.RUNNING
    life._connection.close()  # type: ignore[attr-defined]
    assert not life.held()
    recover_all(queue, lives, "w-2")
    assert queue.job(job_id).state is JobState.WAITING


def test_the_command_takes_the_address(
    contour: Callable[..., int],
    thorax_series: Path,
    tiny_protocol_file: Path,
    tiny_models: Path,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONTOUR_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setenv("CONTOUR_QUEUE", database)
    chosen = ("-p", tiny_protocol_file, "--models", tiny_models, "--engine", "cpu", "--threads", 1)
    assert contour("batch", thorax_series, "-o", tmp_path / "out", "-q", database, *chosen) == 0
    assert not (tmp_path / "out" / ".contour" / "queue.sqlite").exists()
    capsys.readouterr()
    assert contour("jobs", "list") == 0
    assert "1 done" in capsys.readouterr().out
