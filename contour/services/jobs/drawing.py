"""One job drawn: with networks that stay loaded, into a folder of its own, once, whatever interrupted it before."""

import errno
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contour import __version__
from contour.core.checksum import file_sha256
from contour.core.errors import ConfigError, InputRefused, PackageError, Reason
from contour.core.report import Severity
from contour.core.staging import remove_leftovers
from contour.dicom.rtstruct_read import read_contours
from contour.dicom.series import ReadLimits, SeriesFiles
from contour.inference.engine import NetworkEngine
from contour.inference.package import ModelPackage
from contour.inference.session import SessionOptions, open_network
from contour.pipeline import REPORT_FILE, RTSTRUCT_FILE, RunOptions, contour_series
from contour.services.jobs.job import Cause, JobRequest, JobResult, JobState, TryAgain
from contour.services.jobs.locks import device_slot, slot
from contour.services.jobs.plan import Means, load_planned
from contour.services.jobs.records import read_record

MOST_NETWORKS = 8  # kept loaded by one worker: a protocol needs one to three

# What may pass by itself: a full disk, a network share that is away, memory or handles that others hold.
PASSING_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EIO",
        "EAGAIN",
        "EBUSY",
        "EINTR",
        "ENOMEM",
        "EMFILE",
        "ENFILE",
        "ESTALE",
        "ETIMEDOUT",
        "ENETDOWN",
        "ENETUNREACH",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ECONNRESET",
        "ECONNREFUSED",
        "ECONNABORTED",
        "ENOLCK",
        "ETXTBSY",
        "EREMOTEIO",
    )
    if hasattr(errno, name)
)
# ONNX Runtime says in words alone that memory was short.
_SHORT_OF_MEMORY = ("failed to allocate memory", "out of memory", "bad_alloc", "bad allocation")


class Abandoned(BaseException):
    """The job is no longer this worker's: it was cancelled, given to another, or the worker ends.

    Not an `Exception`, so that nothing between here and the worker takes it for a failure of the job.
    """


@dataclass(frozen=True)
class Machine:
    """What draws on this machine: how networks are opened, how many may draw at once on a device, and what is read."""

    session: SessionOptions = field(default_factory=SessionOptions)
    slots: int = 1
    slots_folder: Path | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)


class Networks:
    """Opened networks, the last used ones kept."""

    def __init__(self, session: SessionOptions) -> None:
        self._session = session
        self._opened: OrderedDict[tuple[str, str], NetworkEngine] = OrderedDict()

    def open(self, package: ModelPackage) -> NetworkEngine:
        """The network of `package`; its checksum was verified when it was opened.

        Raises:
            PackageError: as `open_network`.
        """
        key = (str(package.folder), repr(package.manifest))
        if key not in self._opened:
            self._opened[key] = open_network(package, self._session)
        self._opened.move_to_end(key)
        while len(self._opened) > MOST_NETWORKS:
            self._opened.popitem(last=False)
        return self._opened[key]


def draw_job(
    request: JobRequest, made: datetime, networks: Networks, machine: Machine, check: Callable[[], None]
) -> JobResult:
    """Draw a job into its folder, or find that it was drawn there already.

    `made` is the date and time that the result bears, the same whenever it is drawn; `check` is called often and may
    raise `Abandoned`, upon which nothing of the drawing stays.

    Raises:
        InputRefused: the series must not be contoured, or is no longer the one that was submitted.
        ConfigError: the plan is no longer what it was.
        PackageError: a package is missing, damaged, or fails.
        OSError: a disk.
    """
    finished = finished_result(request)
    if finished is not None:
        return finished
    remove_leftovers(request.folder)
    source, means = _listing(request), load_planned(request.plan)
    opened = tuple(networks.open(package) for package in means.packages)
    locator = networks.open(means.locator) if means.locator else None
    options = replace(_options(request, means, made), locator=locator, limits=machine.limits)
    device = device_slot(str(opened[0].engine)) if opened else "cpu"
    with slot(device, machine.slots, check, machine.slots_folder):
        check()
        contour_series(source, means.protocol, opened, request.folder, options=options, progress=lambda _, __: check())
    result = finished_result(request)
    if result is None:
        raise OSError(errno.EIO, "the files that were just written are not there", str(request.folder))
    return result


def finished_result(request: JobRequest) -> JobResult | None:
    """What stands whole in the job's folder; None where that is nothing, or a part.

    The report moves in before the RTSTRUCT, so that the two are whole if both are there, or if the report says that
    there is no RTSTRUCT.
    """
    folder = request.folder
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        uid, series_uid = report["rtstruct_sop_instance_uid"], report["series_instance_uid"]
        if series_uid != request.series_instance_uid or report["released"] is not (uid is not None):
            return None
        sha256 = None
        if report["released"]:
            sha256 = file_sha256(folder / RTSTRUCT_FILE)
            if read_contours(folder / RTSTRUCT_FILE).sop_instance_uid != uid:
                return None
        return JobResult(
            folder=folder,
            released=report["released"],
            rtstruct_sop_instance_uid=uid,
            rtstruct_sha256=sha256,
            structures=sum(bool(line["drawn"]) for line in report["structures"]),
            check=_to_check(report),
            seconds=round(sum(report["seconds"].values()), 3),
            drawn_by=report["contour_version"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputRefused):
        return None  # of a run that ended between two files, or a disk that lost its last writes


def cause_of(error: Exception, moment: datetime | None = None) -> Cause:
    """What went wrong, without the names of files and folders: those may be names of people."""
    moment = moment or datetime.now(UTC)
    match error:
        case TryAgain():
            return Cause(error.code, error.message, moment)
        case InputRefused():
            return Cause(error.reason, _without_paths(f"{error.found}; allowed: {error.allowed}"), moment)
        case ConfigError():
            return Cause("configuration", _without_paths(f"{error.found}; allowed: {error.allowed}"), moment)
        case PackageError():
            return Cause("package", _without_paths(f"{error.found}; allowed: {error.allowed}"), moment)
        case OSError():
            name = errno.errorcode.get(error.errno, "unknown") if error.errno else "unknown"
            return Cause(f"disk-{name.lower()}", error.strerror or "the disk or the network", moment)
        case MemoryError():
            return Cause("memory", "not enough memory", moment)
        case _:
            return Cause("fault", f"{type(error).__name__} in the program; its log says where", moment)


def state_after(error: Exception) -> JobState:
    """What a failure means: to be tried again, refused for good, or failed for good.

    A file that cannot be read is tried again: when the job was submitted, it could be.
    """
    if isinstance(error, MemoryError | TryAgain) or _says_short_of_memory(error):
        return JobState.RETRYING
    if isinstance(error, OSError):
        return JobState.RETRYING if error.errno in PASSING_ERRORS else JobState.FAILED
    if isinstance(error, InputRefused) and error.reason is Reason.UNREADABLE_FILE:
        return JobState.RETRYING
    return JobState.REFUSED if isinstance(error, InputRefused | ConfigError | PackageError) else JobState.FAILED


def _options(request: JobRequest, means: Means, made: datetime) -> RunOptions:
    choice = request.plan.choice
    return RunOptions(
        overwrite=True,  # of its own folder, in which nothing whole stands
        system=means.system,
        language=choice.language,
        also=choice.also,
        uid_seed=f"{request.job_id} {__version__}",
        now=made,
    )


def _listing(request: JobRequest) -> SeriesFiles:
    try:
        listing = read_record(request.listing, SeriesFiles)
    except ValueError as error:
        found, allowed = "is damaged", "the listing that was written when the job was submitted"
        raise ConfigError(str(request.listing), found, allowed) from error
    if (listing.series_instance_uid, listing.content_sha256) != (request.series_instance_uid, request.content_sha256):
        raise ConfigError(str(request.listing), "lists another series", "that of the job")
    return listing


def _to_check(report: dict[str, Any]) -> int:
    lines = [*report["findings"], *(finding for line in report["structures"] for finding in line["findings"])]
    return sum(finding["severity"] != Severity.INFO for finding in lines)


def _says_short_of_memory(error: Exception) -> bool:
    return isinstance(error, PackageError) and any(words in error.found.lower() for words in _SHORT_OF_MEMORY)


def _without_paths(text: str) -> str:
    """`text` with whatever looks like a path or a file's name left out."""
    return " ".join("(a file)" if _like_a_path(word) else word for word in text.split())


def _like_a_path(word: str) -> bool:
    bare = word.strip("\"'(),;:.")
    if "/" in bare or "\\" in bare:
        return not all(part.replace(".", "").isdigit() or len(part) <= 3 for part in bare.split("/"))
    suffix = Path(bare).suffix.lower()
    return suffix in (".dcm", ".dicom", ".ima", ".img", ".yaml", ".yml", ".onnx", ".json")
