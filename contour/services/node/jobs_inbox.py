"""What comes to the node becomes jobs of the queue; their follow-ups, which survive, send what they release."""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from contour.core.checksum import file_sha256
from contour.core.errors import PackageError
from contour.dicom.series import SeriesFiles
from contour.pipeline import REPORT_FILE, RTSTRUCT_FILE
from contour.services.jobs.job import FollowUp, FollowUpStatus, Handler, JobResult, JobState, Priority, TryAgain
from contour.services.jobs.plan import Choice, plan_drawing
from contour.services.jobs.queue import JobQueue
from contour.services.node.inbox import Delivered, Drawing, Progress
from contour.services.node.send import send
from contour.services.node.settings import NodeSettings, Route, Sending
from contour.services.node.trouble import PeerTrouble

SEND, DESTINATION = "send", "destination"


class JobsInbox:
    """The queue, as the node sees it."""

    def __init__(self, queue: JobQueue, settings: NodeSettings) -> None:
        self._queue, self._settings = queue, settings

    def accept(self, series: SeriesFiles, route: Route) -> str:
        """As `Inbox.accept`."""
        choice = Choice(
            protocol=route.protocol,
            system=route.tps,
            language=route.language,
            protocols=tuple(map(Path, self._settings.protocols)),
            models=tuple(map(Path, self._settings.models)),
        )
        submission = self._queue.submit(
            series,
            plan_drawing(choice),
            self._settings.results,
            priority=Priority.PERSON if route.urgent else Priority.ROUTINE,
            follow_ups=[FollowUp(SEND, {DESTINATION: name}) for name in route.destinations],
        )
        return submission.job_id

    def progress(self, job: str) -> Progress:
        """As `Inbox.progress`."""
        found = self._queue.job(job)
        if not found.state.ended:
            return Progress(Drawing.UNDER_WAY)
        if found.state is not JobState.DONE or found.result is None:
            reason = f"{found.state} ({found.causes[-1].code})" if found.causes else str(found.state)
            return Progress(Drawing.ENDED, reason)
        delivered = tuple(_delivered(one) for one in found.follow_ups if one.follow_up.name == SEND)
        uid = found.result.rtstruct_sop_instance_uid or ""
        return Progress(Drawing.DRAWN, result_uid=uid, packages=_packages(found.result.folder), delivered=delivered)

    def remove_results(self, jobs: frozenset[str]) -> int:
        """As `Inbox.remove_results`."""
        results = self._settings.results
        old = [p for p in results.glob("*") if p.is_dir() and not p.name.startswith(".") and p.name not in jobs]
        for folder in old:
            shutil.rmtree(folder)
        return len(old)


def send_handler(settings: NodeSettings) -> Handler:
    """What a worker needs to send results to the node's destinations."""
    return Handler(SEND, partial(send_result, settings), retry_seconds(settings.sending))


def send_result(settings: NodeSettings, result: JobResult, parameters: Mapping[str, str]) -> None:
    """Send a released result to a destination; the same instance, however often.

    Raises:
        TryAgain: the destination does not take it now.
        ConfigError: it may not receive.
        PackageError: the file is no longer the one that was released.
        OSError: the file cannot be read.
    """
    file = result.folder / RTSTRUCT_FILE
    digest = file_sha256(file)
    if digest != result.rtstruct_sha256:
        raise PackageError(RTSTRUCT_FILE, f"sha256 {digest}", f"{result.rtstruct_sha256}, as it was released")
    try:
        send(file, parameters[DESTINATION], settings)
    except PeerTrouble as trouble:
        raise TryAgain(trouble.code, str(trouble)) from trouble


def retry_seconds(sending: Sending) -> tuple[float, ...]:
    """The waits between tries: each twice the one before, up to the longest, until it is to be given up."""
    waits: list[float] = []
    wait, waited = min(sending.first_wait_seconds, sending.longest_wait_seconds), 0.0
    while waited < 3600 * sending.give_up_hours:
        waits.append(wait)
        wait, waited = min(2 * wait, sending.longest_wait_seconds), waited + wait
    return tuple(waits)


def _delivered(status: FollowUpStatus) -> Delivered:
    reason = status.causes[-1].code if status.causes and status.state is not JobState.DONE else ""
    destination = status.follow_up.parameters[DESTINATION]
    return Delivered(destination, status.state is JobState.DONE, status.state.ended, reason)


def _packages(folder: Path) -> tuple[str, ...]:
    """What drew, by the report beside the result."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except OSError:  # deleted as its time had come
        return ()
    return tuple(f"{one['name']} {one['version']} sha256:{one['sha256']}" for one in report["packages"])
