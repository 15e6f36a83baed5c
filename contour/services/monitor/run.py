"""Approved sets of a folder matched with what was delivered, measured, and kept."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom

from contour.core.errors import ConfigError, InputRefused
from contour.core.report import RunReport, report_from_json
from contour.dicom.folder import scan_folder
from contour.dicom.rtstruct_contents import RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.series import ReadLimits
from contour.pipeline import REPORT_FILE, RTSTRUCT_FILE
from contour.services.monitor.edits import edits
from contour.services.monitor.records import Records, ReturnedSet

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
APPROVED = "APPROVED"


@dataclass(frozen=True)
class Delivery:
    """What was delivered for a series: a released run in `folder`."""

    folder: Path
    report: RunReport


@dataclass(frozen=True)
class LeftOut:
    """A file of the returned folder that says nothing, and why."""

    file: Path
    why: str


Progress = Callable[[str, float], None]


def take_in(
    returned: Path, delivered: Path, records: Records, tolerance_mm: float, *, any_status: bool, progress: Progress
) -> tuple[LeftOut, ...]:
    """Measure the sets below `returned` that are new against the runs below `delivered`; what was left out, and why.

    Sets are matched by the series that they refer to; of several runs on it, the last one before the approval counts.

    Raises:
        ConfigError: there is no run below `delivered`, or a report is damaged.
    """
    deliveries = _deliveries(delivered)
    known, left_out = records.known(), []
    files = sorted(path for path in returned.rglob("*") if path.is_file())
    for done, path in enumerate(files):
        progress("returned", done / len(files))
        try:
            found = _measured(path, deliveries, known, tolerance_mm, any_status=any_status)
        except InputRefused as refused:
            left_out.append(LeftOut(path, str(refused)))
            continue
        if isinstance(found, str):
            left_out += [LeftOut(path, found)] if found else []
        else:
            records.add(found)
    progress("returned", 1.0)
    return tuple(left_out)


def _deliveries(folder: Path) -> dict[str, list[Delivery]]:
    found: dict[str, list[Delivery]] = {}
    for path in sorted(folder.rglob(REPORT_FILE)):
        report = report_from_json(path.read_text(encoding="utf-8"), str(path))
        if report.released and (path.parent / RTSTRUCT_FILE).is_file():
            found.setdefault(report.series_instance_uid, []).append(Delivery(path.parent, report))
    if not found:
        raise ConfigError(str(folder), f"no released run ({REPORT_FILE} beside {RTSTRUCT_FILE})", "a folder of results")
    return found


def _measured(
    path: Path, deliveries: dict[str, list[Delivery]], known: frozenset[str], tolerance_mm: float, *, any_status: bool
) -> ReturnedSet | str:
    """The measured set, or why there is nothing to measure; an empty reason for what is known or no structure set."""
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["SOPClassUID", "ReviewDate", "ReviewTime"]
        )
    except (pydicom.errors.InvalidDicomError, EOFError, OSError):
        return ""
    if header.get("SOPClassUID", "") != RTSTRUCT_CLASS:
        return ""
    approved = read_contours(path)
    if approved.sop_instance_uid in known:
        return ""
    if approved.approval_status != APPROVED and not any_status:
        return f"its Approval Status is {approved.approval_status or 'not stated'}; --any-status takes it all the same"
    series = {reference.series_instance_uid for reference in approved.references} & deliveries.keys()
    if not series:
        return "it refers to no series that was drawn here"
    uid = sorted(series)[0]
    sets = [(read_contours(one.folder / RTSTRUCT_FILE), one) for one in deliveries[uid]]
    sets = [pair for pair in sets if pair[0].sop_instance_uid != approved.sop_instance_uid]
    if not sets:
        return "it is what was delivered, itself"
    reviewed = _moment(str(header.get("ReviewDate", "") or ""), str(header.get("ReviewTime", "") or ""))
    changed = max(_changed_at(approved), reviewed or "")
    before = [pair for pair in sets if _changed_at(pair[0]) <= changed] or sets
    contents, delivery = max(before, key=lambda pair: _changed_at(pair[0]))
    return ReturnedSet(
        approved_uid=approved.sop_instance_uid,
        delivered_uid=contents.sop_instance_uid,
        series_uid=uid,
        package=", ".join(f"{use.name} {use.version}" for use in delivery.report.packages),
        protocol=delivery.report.protocol,
        approved_at=changed,
        seconds=_seconds_between(_changed_at(contents), reviewed),
        structures=edits(contents, approved, tolerance_mm),
    )


def _changed_at(contents: RtstructContents) -> str:
    """When the content of a set was last changed, as far as it says: YYYYMMDDHHMMSS, later parts 0 where not stated."""
    date, time = contents.structure_set_date, contents.structure_set_time
    return _moment(date, time) or date.ljust(14, "0")[:14]


def _moment(date: str, time: str) -> str | None:
    """YYYYMMDDHHMMSS of a date and a time that may lack minutes and seconds (PS3.5 6.2, TM); None without a time."""
    digits = time.partition(".")[0].strip()
    if not (len(date) == 8 and date.isdigit() and digits.isdigit() and len(digits) in (2, 4, 6)):
        return None
    return date + digits.ljust(6, "0")


def _seconds_between(delivered: str, reviewed: str | None) -> float | None:
    """None where no review is stated, or one before the delivery: clocks of two systems may differ."""
    if reviewed is None:
        return None
    try:
        first, second = (datetime.strptime(text, "%Y%m%d%H%M%S") for text in (delivered, reviewed))
    except ValueError:
        return None
    seconds = (second - first).total_seconds()
    return seconds if seconds >= 0 else None


def collect(chosen: tuple[ReturnedSet, ...], returned: Path, images: Path, folder: Path) -> int:
    """Copy the `chosen` sets from `returned` and their series from `images` into `folder`: an archive for `data index`.

    Raises:
        ConfigError: `folder` holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(str(folder), "holds something already", "a new or empty folder")
    wanted = {one.approved_uid: one.series_uid for one in chosen}
    series = {one.uid: one for one in scan_folder(images, ReadLimits()).series}
    copied = 0
    for path, uid in _structure_sets(returned):
        if uid not in wanted or wanted[uid] not in series:
            continue
        target = folder / f"case-{copied:04d}"
        target.mkdir(parents=True)
        shutil.copyfile(path, target / "rtstruct.dcm")
        for slice_ in series[wanted[uid]].slices:
            shutil.copyfile(slice_.file, target / slice_.file.name)
        copied += 1
    return copied


def _structure_sets(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        except (pydicom.errors.InvalidDicomError, EOFError, OSError):
            continue
        if header.get("SOPClassUID", "") == RTSTRUCT_CLASS:
            yield path, str(header.SOPInstanceUID)


def content_of(returned: tuple[ReturnedSet, ...]) -> str:
    """The UIDs of series, one a line, for other tools."""
    return json.dumps([one.series_uid for one in returned], indent=1) + "\n"
