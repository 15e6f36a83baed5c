"""When a series is whole, and what then: a job by the first route that matches, or the reason why not."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from contour.core.errors import ConfigError, ContourError, InputRefused, Reason
from contour.dicom.folder import FolderSeries, scan_files
from contour.dicom.read_series import check_series, read_series_files
from contour.dicom.series import ImageSeries, ReadLimits, SeriesFiles
from contour.inference.engine import NetworkEngine
from contour.inference.locate import Location, locate
from contour.inference.session import open_network
from contour.library import load_protocol, locator_for
from contour.services.audit_trail import AuditEvent, AuditTrail
from contour.services.node.inbox import Inbox
from contour.services.node.ledger import Ledger, Version, VersionState
from contour.services.node.metrics import NodeMetrics
from contour.services.node.receive import Quiet, Receiver
from contour.services.node.routes import Arrival, arrival_of, choose, may_match, must_look
from contour.services.node.settings import NodeSettings, Route
from contour.services.node.storage import Storage, content_name

LOG = logging.getLogger(__name__)

# What slices that are still to come would mend.
MENDED_BY_MORE = frozenset({Reason.MISSING_SLICE, Reason.UNEVEN_SPACING, Reason.TOO_FEW_SLICES, Reason.NO_IMAGES})
NOT_RELEASED = "not-released"  # the association broke, and nothing came since
AGAIN_SECONDS = 30.0  # after a route, a protocol or a disk could not be used


@dataclass(frozen=True)
class Desk:
    """What the assembler works with."""

    receiver: Receiver
    storage: Storage
    ledger: Ledger
    trail: AuditTrail
    metrics: NodeMetrics
    inbox: Inbox


class Assembler:
    """Looks at series that have come to rest. `trouble` says what keeps it from deciding; empty for nothing."""

    def __init__(self, desk: Desk, settings: NodeSettings) -> None:
        self._desk, self._settings = desk, settings
        self._limits = ReadLimits(
            max_file_bytes=2 * settings.caps.instance_bytes, max_slices=settings.caps.series_instances
        )
        self._looked_at: dict[str, frozenset[str]] = {}  # series with gaps, as they were when they were looked at
        self._not_before: dict[str, float] = {}
        self._locators: dict[str, NetworkEngine | None] = {}
        self.trouble = ""

    def look(self) -> None:
        """Decide upon the series that have come to rest."""
        for quiet in self._desk.receiver.quiet(self._settings.completion.quiet_seconds):
            if time.monotonic() < self._not_before.get(quiet.series, 0.0):
                continue
            try:
                self._consider(quiet)
                self._not_before.pop(quiet.series, None)
                self.trouble = ""
            except (ConfigError, ContourError, OSError) as error:
                # Of this installation, not of the series: it waits until that is mended.
                self.trouble = f"series cannot be accepted: {error}"
                LOG.error("series %s waits: %s", quiet.series, error)
                self._not_before[quiet.series] = time.monotonic() + AGAIN_SECONDS

    def _consider(self, quiet: Quiet) -> None:
        entry, newest = self._desk.ledger.entry(quiet.series), self._desk.ledger.newest(quiet.series)
        content = content_name(quiet.names)
        if newest and newest.content == content and newest.state is not VersionState.REFUSED:
            self._desk.receiver.decided(quiet)  # the same came again
            return
        given_up = quiet.idle_s >= self._settings.completion.limit_seconds
        if entry is None or not entry.released:
            if given_up:
                self._refuse(quiet, NOT_RELEASED, newest)
            return
        if self._looked_at.get(quiet.series) == quiet.names and not given_up:
            return
        self._looked_at[quiet.series] = quiet.names
        try:
            series = self._checked(quiet)
            self._route(quiet, series, newest)
        except InputRefused as refused:
            if refused.reason not in MENDED_BY_MORE or given_up:
                self._refuse(quiet, refused.reason, newest)
                return
            LOG.info(
                "series %s: %d instances, not whole (%s); waits for more",
                quiet.series,
                len(quiet.names),
                refused.reason,
            )
            return
        self._looked_at.pop(quiet.series, None)

    def _checked(self, quiet: Quiet) -> FolderSeries:
        """The series as its headers describe it.

        Raises:
            InputRefused: it has a gap, or must not be drawn on.
        """
        folder = self._desk.storage.incoming / quiet.series
        paths = [self._desk.storage.instance(quiet.series, name) for name in sorted(quiet.names)]
        contents = scan_files(folder, paths, self._limits)
        if contents.homeless:
            raise contents.homeless[0]
        check_series(contents.series[0], self._limits)
        return contents.series[0]

    def _route(self, quiet: Quiet, series: FolderSeries, newest: Version | None) -> None:
        arrival = arrival_of(series, quiet.sender.calling, quiet.sender.called)
        routes = self._settings.routes
        if not may_match(routes, arrival):
            self._no_route(quiet, choose(routes, arrival).passed_over, newest)
            return
        folder = self._desk.storage.freeze(quiet.series, quiet.names, content_name(quiet.names))
        image = read_series_files(sorted(folder.iterdir()), series.uid, limits=self._limits)
        location = self._location(image, routes, arrival)
        choice = choose(routes, arrival, location)
        if choice.route is None:
            self._no_route(quiet, choice.passed_over, newest)
            return
        self._accept(quiet, image, choice.route, newest)

    def _location(self, image: ImageSeries, routes: tuple[Route, ...], arrival: Arrival) -> Location | None:
        if not must_look(routes, arrival):
            return None
        modality = str(image.volume.modality)
        if modality not in self._locators:
            looking = next(r for r in routes if r.looks and r.modality in (None, modality))
            folders = tuple(map(Path, self._settings.models))
            protocol = load_protocol(looking.protocol, tuple(map(Path, self._settings.protocols)))
            package = locator_for(protocol, folders)
            self._locators[modality] = open_network(package) if package else None
        network = self._locators[modality]
        return locate(network, image.volume) if network is not None else None

    # -- what was decided ----------------------------------------------------------------------------------------------

    def _accept(self, quiet: Quiet, image: ImageSeries, route: Route, newest: Version | None) -> None:
        source = SeriesFiles(image.files, image.series_instance_uid, image.content_sha256)
        job = self._desk.inbox.accept(source, route)
        version = self._version(quiet, newest, VersionState.ACCEPTED, route=route.name, job=job)
        details = {"instances": str(len(quiet.names)), "version": str(version.number), "route": route.name, "job": job}
        self._settle(quiet, version, details)

    def _refuse(self, quiet: Quiet, reason: str, newest: Version | None) -> None:
        version = self._version(quiet, newest, VersionState.REFUSED, reason=reason)
        if newest and (newest.content, newest.state, newest.reason) == (version.content, version.state, version.reason):
            self._desk.receiver.decided(quiet)  # said before
            return
        self._settle(quiet, version, {"instances": str(len(quiet.names)), "reason": reason})

    def _no_route(self, quiet: Quiet, passed_over: tuple[str, ...], newest: Version | None) -> None:
        reason = "; ".join(passed_over) or "there are no routes"
        version = self._version(quiet, newest, VersionState.NO_ROUTE, reason=reason)
        self._settle(quiet, version, {"instances": str(len(quiet.names)), "reason": reason})

    def _version(
        self,
        quiet: Quiet,
        newest: Version | None,
        state: VersionState,
        *,
        reason: str = "",
        route: str = "",
        job: str = "",
    ) -> Version:
        number = newest.number + 1 if newest else 1
        return Version(quiet.series, number, content_name(quiet.names), state, reason, route, job)

    def _settle(self, quiet: Quiet, version: Version, details: dict[str, str]) -> None:
        self._desk.trail.append(AuditEvent(version.state, quiet.sender.calling, quiet.series, details))
        self._desk.ledger.decide(version)
        self._desk.receiver.decided(quiet)
        self._looked_at.pop(quiet.series, None)
        self._desk.metrics.version(version.state)
        LOG.info(
            "series %s version %d: %s %s", quiet.series, version.number, version.state, version.reason or version.job
        )
