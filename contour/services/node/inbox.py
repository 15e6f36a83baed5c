"""What the node asks of whatever draws: to take a series, and to say what became of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from contour.dicom.series import SeriesFiles
from contour.services.node.settings import Route


class Drawing(StrEnum):
    """Where a job stands, as far as a node needs to know."""

    UNDER_WAY = "under-way"
    DRAWN = "drawn"
    ENDED = "ended"  # without a structure set


@dataclass(frozen=True)
class Delivered:
    """A destination of a structure set: whether it has it, and whether it is still tried; why not, as a stable code."""

    destination: str
    sent: bool
    ended: bool
    reason: str = ""


@dataclass(frozen=True)
class Progress:
    """What became of a job. `packages` are those that drew, with the checksums of their networks."""

    drawing: Drawing
    reason: str = ""
    result_uid: str = ""
    packages: tuple[str, ...] = ()
    delivered: tuple[Delivered, ...] = ()


class Inbox(Protocol):
    """Takes series to be drawn. Taken again with the same content and route, a series is the same job."""

    def accept(self, series: SeriesFiles, route: Route) -> str:
        """Have the series drawn as the route says, and sent to its destinations; the id of the job.

        Raises:
            ConfigError: the protocol of the route cannot be used.
            PackageError: a package of it cannot.
            OSError: the disk.
        """

    def progress(self, job: str) -> Progress:
        """What became of a job.

        Raises:
            ConfigError: there is no such job.
        """

    def remove_results(self, jobs: frozenset[str]) -> int:
        """Delete the results of all jobs but these; how many."""
