"""What a job is, and what the queue does without a worker."""

import errno
import json
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contour.core.errors import ConfigError, InputRefused, PackageError, Reason
from contour.core.planning_system import HoleStyle
from contour.dicom.series import SeriesFiles
from contour.languages import Language
from contour.services.jobs import recovery
from contour.services.jobs.drawing import cause_of, state_after
from contour.services.jobs.job import FollowUp, JobRequest, JobState, Priority, TryAgain
from contour.services.jobs.locks import Lives
from contour.services.jobs.plan import Choice, DrawingPlan, load_planned, plan_drawing
from contour.services.jobs.queue import DRAW_QUEUE, QUEUE_FILE, JobQueue, queue_url
from contour.services.jobs.records import read_record, to_record


def test_the_same_content_and_plan_are_one_job(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    first = queue.submit(source, plan, tmp_path / "out")
    again = queue.submit(source, plan, tmp_path / "elsewhere")
    assert first.new
    assert again == replace(first, new=False)
    (job,) = queue.jobs()
    assert job.state is JobState.WAITING
    assert job.request.folder == tmp_path / "out" / first.job_id
    assert read_record(job.request.listing, SeriesFiles) == source
    assert job.request.listing.stat().st_mode & 0o077 == 0


def test_what_decides_the_result_decides_the_job(
    source: SeriesFiles, plan: DrawingPlan, choice: Choice, tiny_protocol_file: Path, tmp_path: Path
) -> None:
    def job_id(chosen: Choice, content: str = source.content_sha256) -> str:
        return JobRequest(source.series_instance_uid, content, plan_drawing(chosen), tmp_path).job_id

    edited = tmp_path / "tiny.yaml"
    edited.write_text(tiny_protocol_file.read_text(encoding="utf-8").replace("100", "101"), encoding="utf-8")
    ids = [
        job_id(choice),
        job_id(choice, "0" * 64),
        job_id(replace(choice, protocol=str(edited))),
        job_id(replace(choice, language=Language.KAZAKH)),
        job_id(replace(choice, holes=HoleStyle.KEYHOLE)),
        job_id(replace(choice, system="eclipse")),
    ]
    assert len(set(ids)) == len(ids)
    copied = tmp_path / "copied" / "tiny.yaml"
    copied.parent.mkdir()
    copied.write_bytes(tiny_protocol_file.read_bytes())
    assert job_id(replace(choice, protocol=str(copied))) == ids[0]  # where it lies does not count


def test_a_protocol_or_package_that_changed_meanwhile_is_not_drawn_with(
    choice: Choice, tiny_protocol_file: Path, tiny_models: Path, tmp_path: Path
) -> None:
    own = tmp_path / "tiny.yaml"
    own.write_bytes(tiny_protocol_file.read_bytes())
    planned = plan_drawing(replace(choice, protocol=str(own)))
    assert load_planned(planned).plan == planned
    own.write_bytes(own.read_bytes() + b"# edited\n")
    with pytest.raises(ConfigError, match="as when it was submitted"):
        load_planned(planned)


def test_who_waits_goes_first_also_with_a_job_of_a_batch(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    queue.submit(source, plan, tmp_path, priority=Priority.BATCH)
    queue.submit(source, plan, tmp_path, priority=Priority.PERSON)
    assert queue.jobs()[0].priority == Priority.PERSON
    queue.submit(source, plan, tmp_path, priority=Priority.ROUTINE)
    assert queue.jobs()[0].priority == Priority.PERSON


def test_the_database_holds_no_name_and_no_path_of_an_image(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    named = tmp_path / "Әлия_Серік"
    files = tuple(named / file.name for file in source.files)
    queue.submit(replace(source, files=files), plan, tmp_path / "out")
    (job,) = queue.jobs()
    queue.record_cause(job.id, cause_of(InputRefused(Reason.UNREADABLE_FILE, str(files[0]), f"{files[1]}", "a file")))
    rows = list(sqlite3.connect(tmp_path / "queue" / QUEUE_FILE).iterdump())
    assert job.id in "".join(rows)
    assert [row for row in rows if "Серік" in row or files[0].name in row] == []


def test_a_database_with_a_pickle_is_not_believed(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    queue.submit(source, plan, tmp_path)
    with sqlite3.connect(tmp_path / "queue" / QUEUE_FILE) as database:
        database.execute("UPDATE workflow_status SET serialization = 'py_pickle'")
        database.execute("UPDATE workflow_input SET inputs = 'Y29zCnN5c3RlbQooUydmYWxzZScKdFIu'")
    loaded = queue.client.list_workflows()[0].input
    assert not loaded or "args" not in loaded


def test_cancelled_jobs_can_be_retried_and_running_ones_cannot(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    job_id = queue.submit(source, plan, tmp_path).job_id
    with pytest.raises(ConfigError, match="is waiting"):
        queue.retry(job_id)
    queue.cancel(job_id[:8])
    assert queue.job(job_id).state is JobState.CANCELLED
    with pytest.raises(ConfigError, match="is cancelled"):
        queue.cancel(job_id)
    assert not queue.submit(source, plan, tmp_path).new  # a person decided: submitting again does not undo it
    assert queue.job(job_id).state is JobState.CANCELLED
    queue.retry(job_id)
    assert queue.job(job_id).state is JobState.WAITING
    with pytest.raises(ConfigError, match="is not known"):
        queue.job("f" * 32)


def test_waiting_work_of_an_older_version_is_taken_over_and_of_a_later_one_left(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, choice: Choice, tmp_path: Path
) -> None:
    other = plan_drawing(replace(choice, language=Language.RUSSIAN))
    ids = [queue.submit(source, one, tmp_path).job_id for one in (plan, other)]
    database = sqlite3.connect(tmp_path / "queue" / QUEUE_FILE)
    with database:
        for version, job_id in zip(("0", "2"), ids, strict=True):
            database.execute(
                "UPDATE workflow_status SET application_version = ? WHERE workflow_uuid = ?", (version, job_id)
            )
            database.execute(
                "INSERT INTO application_versions (version_id, version_name) VALUES (?, ?)", (version, version)
            )
    recovery.take_over(queue)
    versions = dict(database.execute("SELECT workflow_uuid, application_version FROM workflow_status"))
    assert versions == {ids[0]: "1", ids[1]: "2"}
    assert {queue.job(job_id).state for job_id in ids} == {JobState.WAITING}


def test_a_dead_workers_job_is_put_back_and_a_living_ones_left(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    job_id = queue.submit(source, plan, tmp_path).job_id
    database = sqlite3.connect(tmp_path / "queue" / QUEUE_FILE)

    def taken() -> None:
        with database:
            database.execute("UPDATE workflow_status SET status = 'PENDING', executor_id = 'w-1'")

    taken()
    lives = Lives(queue.url)
    life = lives.hold("w-1")
    recovery.recover_all(queue, lives, "w-2")
    assert queue.job(job_id).state is JobState.RUNNING
    life.release()
    recovery.recover_all(queue, lives, "w-2")
    assert queue.job(job_id).state is JobState.WAITING
    assert [cause.code for cause in queue.job(job_id).causes] == ["interrupted"]
    for _ in range(recovery.MOST_CRASHES):
        taken()
        recovery.recover(queue, lives, "w-1", recovery.crash("SIGSEGV"))
    job = queue.job(job_id)
    assert job.state is JobState.SET_ASIDE
    assert job.causes[-1].message == "the process that drew it ended: SIGSEGV"
    queue.retry(job_id)
    taken()
    recovery.recover(queue, lives, "w-1", recovery.crash("SIGSEGV"))
    assert queue.job(job_id).state is JobState.WAITING  # what was before a person's decision counts no longer


def test_follow_ups_are_added_before_and_after_the_drawing_and_once_each(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    early, late = FollowUp("send", {"to": "A"}), FollowUp("send", {"to": "B"})
    job_id = queue.submit(source, plan, tmp_path, follow_ups=[early]).job_id
    assert queue.client.list_workflows(name="follow-up") == []
    queue.start_follow_ups(job_id)
    for _ in range(2):
        queue.submit(source, plan, tmp_path, follow_ups=[early, late])
    started = queue.client.list_workflows(name="follow-up")
    assert sorted(status.input["args"][1]["parameters"]["to"] for status in started if status.input) == ["A", "B"]
    assert [one.state for one in queue.job(job_id).follow_ups] == [JobState.WAITING] * 2
    assert {status.queue_name for status in started} == {"contour-follow-up-send"}


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), JobState.RETRYING, "disk-enospc"),
        (OSError(errno.EACCES, "Permission denied"), JobState.FAILED, "disk-eacces"),
        (MemoryError(), JobState.RETRYING, "memory"),
        (PackageError("m", "fails on a patch: Failed to allocate memory", "x"), JobState.RETRYING, "package"),
        (PackageError("m", "sha256 0", "sha256 1"), JobState.REFUSED, "package"),
        (InputRefused(Reason.UNREADABLE_FILE, "1.dcm", "cannot be read", "x"), JobState.RETRYING, "unreadable-file"),
        (InputRefused(Reason.WRONG_SITE, "image", "a head", "a thorax"), JobState.REFUSED, "wrong-site"),
        (ConfigError("p.yaml", "is gone", "there"), JobState.REFUSED, "configuration"),
        (TryAgain("away", "no answer"), JobState.RETRYING, "away"),
        (RuntimeError("Серік"), JobState.FAILED, "fault"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_is_refused_is_not(error: Exception, state: JobState, code: str) -> None:
    cause = cause_of(error)
    assert (state_after(error), cause.code) == (state, code)
    assert "Серік" not in cause.message


@pytest.mark.parametrize("text", ["/data/Серік/1.dcm", "C:\\Серік\\1.dcm", "see Серік.dcm", "'Серік.IMA'"])
def test_a_cause_names_no_file(text: str) -> None:
    message = cause_of(InputRefused(Reason.INVALID_ATTRIBUTE, text, f"{text} and 12 mm/s", text)).message
    assert "Серік" not in message
    assert "12 mm/s" in message


def test_a_record_survives_json(source: SeriesFiles, plan: DrawingPlan, tmp_path: Path) -> None:
    from contour.services.jobs.records import from_record  # noqa: PLC0415

    request = JobRequest(source.series_instance_uid, source.content_sha256, plan, tmp_path)
    assert from_record(json.loads(json.dumps(to_record(request))), JobRequest) == request
    with pytest.raises(ValueError, match="no record of a JobRequest"):
        from_record({"plan": 1}, JobRequest)


def test_where_a_queue_is(tmp_path: Path) -> None:
    assert queue_url("postgresql://u:p@h/db") == "postgresql://u:p@h/db"
    assert queue_url(tmp_path) == f"sqlite:///{tmp_path}/queue.sqlite"
    (tmp_path / ".contour").mkdir()
    (tmp_path / ".contour" / QUEUE_FILE).touch()
    assert queue_url(tmp_path) == f"sqlite:///{tmp_path}/.contour/queue.sqlite"
    with pytest.raises(ConfigError, match=r"mysql://\.\.\."):
        queue_url("mysql://u:secret@h/db")
    with pytest.raises(ConfigError, match="is not there"):
        JobQueue.open(tmp_path / "none", create=False)


def test_a_database_that_does_not_answer_is_said_without_its_password() -> None:
    with pytest.raises(ConfigError, match="does not answer") as raised:
        JobQueue.open("postgresql://contour:geheim@127.0.0.1:1/contour")
    assert "geheim" not in str(raised.value)


def test_moments_are_of_the_zone_of_greenwich(
    queue: JobQueue, source: SeriesFiles, plan: DrawingPlan, tmp_path: Path
) -> None:
    queue.submit(source, plan, tmp_path)
    age = (datetime.now(UTC) - queue.jobs()[0].submitted).total_seconds()
    assert -2 < age < 60
    assert queue.client.list_workflows()[0].queue_name == DRAW_QUEUE
    assert (tmp_path / "queue" / QUEUE_FILE).stat().st_mode & 0o077 == 0


def test_without_the_extra_the_command_says_which_one(
    contour: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dbos", None)
    assert contour("batch", tmp_path, "-o", tmp_path / "out") == 2
    assert "contour[serve]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
