"""The node put together: it listens, looks at what came, has it drawn, follows what becomes of it, and tidies up."""

import json
import logging
import secrets
import threading
import time
import warnings
from pathlib import Path

from contour.core.errors import ConfigError, InputRefused
from contour.core.keyed import Keyed, load_secret
from contour.dicom.series import ReadLimits
from contour.services.audit_trail import AuditEvent, AuditTrail
from contour.services.node.assemble import Assembler, Desk
from contour.services.node.fetch import fetch
from contour.services.node.inbox import Delivered, Drawing, Inbox, Progress
from contour.services.node.ledger import OPEN_STATES, Ledger, Version, VersionState
from contour.services.node.metrics import HealthServer, NodeHealth, NodeMetrics
from contour.services.node.receive import Receiver, Sender
from contour.services.node.scp import Provider
from contour.services.node.settings import NodeSettings, Peer
from contour.services.node.storage import Storage
from contour.services.node.trouble import PeerTrouble
from contour.services.node.watch import Watch

LOG = logging.getLogger(__name__)

FOLLOW_SECONDS = 1.0
ENDED_FOLLOW_SECONDS = 60.0  # of what ended badly: somebody may have had it tried again
TIDY_SECONDS = 600.0
FETCH_WAITS_SECONDS = (10.0, 30.0, 120.0, 600.0, 600.0, 600.0)
DAY_SECONDS = 86_400.0


class Node:
    """A running node. Call `start`, then `tend` about twice a second, then `stop`.

    Raises:
        ConfigError: another node uses the storage, or something in it is not a node's.
        OSError: the disk.
    """

    def __init__(self, settings: NodeSettings, inbox: Inbox) -> None:
        # What libraries warn of quotes values of data sets, names among them.
        warnings.filterwarnings("ignore", module=r"pydicom|pynetdicom")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        self.settings, self._inbox = settings, inbox
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ledger = Ledger(settings.folder / "node.sqlite")
        secret = load_secret(settings.secret_path)
        self._keyed, self._storage = Keyed(secret), Storage(settings.folder)
        self.metrics, self._trail = NodeMetrics(), AuditTrail(settings.audit_path, secret)
        self._receiver = Receiver(self._storage, self._ledger, self._keyed, self._trail, settings.caps, self.metrics)
        self._provider = Provider(settings, self._receiver, self._trail, self.metrics)
        desk = Desk(self._receiver, self._storage, self._ledger, self._trail, self.metrics, inbox)
        self._assembler = Assembler(desk, settings)
        limits = ReadLimits(max_file_bytes=settings.caps.instance_bytes)
        called = settings.listen.ae_titles[0]
        self._watches = [Watch(folder, called, self._receiver, limits) for folder in settings.folders]
        self._fetcher = Fetcher(settings, self._receiver, self._trail, self._keyed)
        self._health: HealthServer | None = None
        self._followed, self._followed_ended, self._tidied = 0.0, 0.0, 0.0

    @property
    def port(self) -> int:
        """The port that it listens on for associations."""
        return self._provider.port

    @property
    def health_port(self) -> int:
        """The port of its health page."""
        if self._health is None:
            raise RuntimeError("the node was not started")
        return self._health.port

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: a port cannot be had, or a certificate cannot be read.
        """
        self._health = HealthServer(self.settings.health, self.metrics, self.health)
        self._provider.start()
        self._trail.append(AuditEvent("started", "node", "node", {"lines": str(self._trail.head().lines)}))
        LOG.info("listens on %s port %d", self.settings.listen.address, self.port)

    def tend(self) -> None:
        """Do what is due."""
        self._provider.sweep()
        for watch in self._watches:
            watch.look()
        self._fetcher.look()
        self._assembler.look()
        now = time.monotonic()
        if now - self._followed >= FOLLOW_SECONDS:
            self._followed = now
            self._follow()
        if now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            self._tidy()
        self.metrics.state(self._receiver.waiting(), self._storage.free_bytes())

    def stop(self) -> None:
        """Take nothing more, let what comes now end, and leave everything so that the next start goes on."""
        self._provider.stop()
        self._provider.sweep()
        self._fetcher.stop()
        if self._health is not None:
            self._health.stop()
        self._trail.append(AuditEvent("stopped", "node", "node"))
        self._ledger.close()
        LOG.info("stopped")

    def health(self) -> NodeHealth:
        """How it is."""
        counts, free = self._ledger.counts(), self._storage.free_bytes()
        problems = [
            (not self._provider.alive, "does not listen"),
            (free < self.settings.caps.free_bytes, "the disk is nearly full: images are refused"),
            (bool(self._assembler.trouble), "series wait, for they cannot be accepted: see the log"),
            (any(watch.away for watch in self._watches), "a watched folder cannot be looked through"),
            (counts.get(VersionState.UNDELIVERED, 0) > 0, "structure sets could not be delivered"),
            (counts.get(VersionState.FAILED, 0) > 0, "jobs ended without a structure set"),
        ]
        return NodeHealth(
            problems=tuple(words for holds, words in problems if holds),
            listening=self._provider.alive,
            waiting_series=self._receiver.waiting(),
            free_bytes=free,
            versions=counts,
        )

    # -- what becomes of jobs ------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        states: tuple[VersionState, ...] = (VersionState.ACCEPTED, VersionState.DRAWN)
        if time.monotonic() - self._followed_ended >= ENDED_FOLLOW_SECONDS:
            self._followed_ended, states = time.monotonic(), OPEN_STATES
        for version in self._ledger.versions(*states):
            try:
                progress = self._inbox.progress(version.job)
            except ConfigError as error:
                LOG.error("series %s: %s", version.series, error)
                continue
            self._note(version, progress)

    def _note(self, version: Version, progress: Progress) -> None:
        """Record what is new, in the trail before the ledger: rather twice than not at all."""
        state, reason = _state(progress)
        if (state, reason) == (version.state, version.reason):
            return
        if progress.result_uid and not version.result:
            packages = {f"package_{n}": text for n, text in enumerate(progress.packages, start=1)}
            self._record("drawn", version, {"result": progress.result_uid, **packages})
        if state is not VersionState.DRAWN:
            sent = ", ".join(sorted(one.destination for one in progress.delivered if one.sent))
            details = {"result": progress.result_uid, "sent_to": sent, "reason": reason}
            self._record(
                "sent" if state is VersionState.DONE else state, version, {k: v for k, v in details.items() if v}
            )
            LOG.info("series %s version %d: %s %s", version.series, version.number, state, reason)
        for one in progress.delivered if state is not VersionState.DRAWN else ():
            self.metrics.delivery(one.destination, "sent" if one.sent else "failed")
        self._ledger.move(version, state, reason=reason, result=progress.result_uid)
        self.metrics.version(state)

    def _record(self, what: str, version: Version, details: dict[str, str]) -> None:
        details = {**details, "job": version.job, "version": str(version.number)}
        self._trail.append(AuditEvent(what, "node", version.series, details))

    # -- retention -----------------------------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Delete what has been kept for long enough."""
        keep, now = self.settings.retention, time.time()
        for series in self._ledger.settled_before(now - keep.settled_days * DAY_SECONDS):
            if self._receiver.forget(series):
                self._trail.append(AuditEvent("deleted", "node", series))
                LOG.info("series %s: deleted, its time had come", series)
        removed = self._storage.remove_quarantined_before(now - keep.quarantine_days * DAY_SECONDS)
        if removed:
            self._trail.append(AuditEvent("deleted", "node", "quarantine", {"files": str(removed)}))
        self._inbox.remove_results(self._ledger.jobs())


class Fetcher:
    """Requests to fetch studies, which lie in files until they are done: another program puts them there.

    A request holds an accession number; the file is its owner's alone, and goes when it is done.
    """

    def __init__(self, settings: NodeSettings, receiver: Receiver, trail: AuditTrail, keyed: Keyed) -> None:
        self._settings, self._receiver, self._trail, self._keyed = settings, receiver, trail, keyed
        self._thread: threading.Thread | None = None
        self._not_before: dict[Path, float] = {}
        self._tries: dict[Path, int] = {}
        settings.requests.mkdir(parents=True, exist_ok=True, mode=0o700)

    def look(self) -> None:
        """Take up the next request, one at a time, in a thread of its own."""
        if self._thread is not None and self._thread.is_alive():
            return
        for path in sorted(self._settings.requests.glob("*.json")):
            if time.monotonic() >= self._not_before.get(path, 0.0):
                self._thread = threading.Thread(target=self._do, args=(path,), name="fetch", daemon=True)
                self._thread.start()
                return

    def stop(self) -> None:
        """What is fetched now is left; its request stays for the next start."""
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _do(self, path: Path) -> None:
        try:
            request = json.loads(path.read_text(encoding="utf-8"))
            accession, peer_name = str(request["accession_number"]), str(request["peer"])
        except (OSError, ValueError, KeyError, TypeError):
            LOG.error("request %s cannot be read; it is deleted", path.stem)
            path.unlink(missing_ok=True)
            return
        subject = self._keyed.name("accession", accession)
        association = object()
        peer = self._settings.peer(peer_name)
        calling = peer.ae_title if isinstance(peer, Peer) else peer_name[:16]
        sender = Sender(calling, self._settings.listen.ae_titles[0])
        try:
            got = fetch(
                accession,
                peer_name,
                self._settings,
                lambda one: _ignore(self._receiver.store(one, sender, association)),
            )
        except (PeerTrouble, OSError) as trouble:
            self._receiver.end(association, released=False)
            self._later(path, subject, str(trouble))
        except (ConfigError, InputRefused) as error:
            self._receiver.end(association, released=False)
            self._end(path, subject, "not-fetched", {"peer": peer_name, "reason": type(error).__name__})
        else:
            self._receiver.end(association, released=True)
            self._end(
                path,
                subject,
                "fetched",
                {"peer": peer_name, "series": str(got.series), "instances": str(got.instances)},
            )

    def _later(self, path: Path, subject: str, why: str) -> None:
        tries = self._tries[path] = self._tries.get(path, 0) + 1
        if tries > len(FETCH_WAITS_SECONDS):
            self._end(path, subject, "not-fetched", {"reason": why, "tries": str(tries)})
            return
        self._not_before[path] = time.monotonic() + FETCH_WAITS_SECONDS[tries - 1]
        LOG.warning("request %s: %s; again later", subject, why)

    def _end(self, path: Path, subject: str, what: str, details: dict[str, str]) -> None:
        self._trail.append(AuditEvent(what, "node", subject, details))
        LOG.info("request %s: %s", subject, what)
        path.unlink(missing_ok=True)


def request_fetch(settings: NodeSettings, accession_number: str, peer_name: str) -> None:
    """Leave a request for the node of these settings, which need not run now.

    Raises:
        OSError: the disk.
    """
    settings.requests.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.requests / f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(json.dumps({"accession_number": accession_number, "peer": peer_name}), encoding="utf-8")
    part.replace(path)


def _state(progress: Progress) -> tuple[VersionState, str]:
    """(state, reason) of a version by what became of its job."""
    if progress.drawing is Drawing.UNDER_WAY:
        return VersionState.ACCEPTED, ""
    if progress.drawing is Drawing.ENDED:
        return VersionState.FAILED, progress.reason
    if all(one.sent for one in progress.delivered):
        return VersionState.DONE, ""
    failed = [one for one in progress.delivered if one.ended and not one.sent]
    if failed and all(one.ended for one in progress.delivered):
        return VersionState.UNDELIVERED, "; ".join(map(_why, failed))
    return VersionState.DRAWN, ""


def _why(delivered: Delivered) -> str:
    return f"{delivered.destination}: {delivered.reason}"


def _ignore(_: object) -> None:
    """What a series is called concerns nobody here."""
