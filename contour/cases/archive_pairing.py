"""From what the files state to pairs of image series and structure set, and to what is set aside.

All of it follows from the facts alone, in one transaction: the same facts give the same pairs, however often and
wherever the reading of the archive was interrupted.
"""

import posixpath
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydicom.config import IGNORE
from pydicom.uid import UID

from contour.cases.archive_files import FileKind
from contour.cases.archive_tables import DERIVED_TABLES, path_text
from contour.core.errors import Reason
from contour.core.report import Finding, Severity
from contour.dicom.folder import shown
from contour.dicom.stack import MIN_SLICES

APPROVED, REJECTED = "APPROVED", "REJECTED"  # Approval Status (300E,0002)
_DICOMDIR = "1.2.840.10008.1.3.10"
_Path = str | bytes
# A damaged copy of a slice that is whole elsewhere takes nothing from its series.
_WHOLE_ELSEWHERE = """EXISTS (
    SELECT 1 FROM files AS whole INDEXED BY files_by_instance
    WHERE whole.sop_instance_uid = files.sop_instance_uid AND whole.kind = ?)"""


class PairedBy(StrEnum):
    """What ties a structure set to its image series, from the strongest tie to the weakest."""

    SERIES = "series"  # its Referenced Frame of Reference Sequence names the series
    IMAGES = "images"  # its contours, or its list of images, name SOP Instances of the series
    FRAME = "frame"  # the only series of its study in its frame of reference


class Scope(StrEnum):
    """What is set aside as a whole."""

    FOLDER = "folder"
    FILE = "file"
    SERIES = "series"
    STRUCTURE_SET = "structure set"


class Aside(StrEnum):
    """Why something is set aside, beside the reasons for which input is refused (`contour.core.errors.Reason`)."""

    NOT_LISTED = "not-listed"
    NOT_DICOM = "not-dicom"
    OTHER_OBJECT = "other-object"
    LOCALIZER = "localizer"
    NO_POSITION = "no-position"
    COPY = "copy"
    NO_STRUCTURE_SET = "no-structure-set"
    ORPHAN = "orphan"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class _Series:
    uid: str
    study: str
    patient: str
    frame: str
    modality: str
    slices: int
    reason: str
    problem: str


@dataclass(frozen=True)
class _StructureSet:
    path: _Path
    uid: str
    study: str
    patient: str
    approval_status: str
    drawn_at: str
    frames: frozenset[str]
    drawn_rois: int


class _Refused(Exception):
    """A structure set that cannot be paired."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class _Images:
    """The image series by UID and by study, and how many damaged files in each folder do not tell theirs."""

    series: dict[str, _Series]
    by_study: dict[str, list[_Series]]
    damaged: Counter[str]


@dataclass(frozen=True)
class _Tie:
    """The series of a structure set, what ties them, and what deserves a look."""

    series: _Series
    paired_by: PairedBy
    findings: tuple[Finding, ...]


def pair_archive(connection: sqlite3.Connection) -> None:
    """Work out `copies`, `series`, `pairs`, `pair_findings` and `set_aside` anew; the caller holds the transaction."""
    for table in DERIVED_TABLES:
        connection.execute(f"DELETE FROM {table}")
    conflicts = _find_copies(connection)
    images = _find_images(connection, conflicts)
    ties = _tie_structure_sets(connection, images, conflicts)
    _choose(connection, ties)
    _set_aside_files(connection)
    _set_aside_series(connection, images.series.values())


# -- files and series ------------------------------------------------------------------------------------------------


def _find_copies(connection: sqlite3.Connection) -> dict[_Path, str]:
    """Fill `copies`; the files that share a SOP Instance UID with another content, and the sentence that says so."""
    groups: dict[str, list[tuple[_Path, str | None]]] = defaultdict(list)
    query = """
        SELECT sop_instance_uid, path, data_sha256 FROM files
        WHERE kind IN (?, ?) AND sop_instance_uid IN (
            SELECT sop_instance_uid FROM files WHERE kind IN (?, ?) GROUP BY 1 HAVING COUNT(*) > 1)
        ORDER BY sop_instance_uid, path"""
    for uid, path, digest in connection.execute(query, (FileKind.SLICE, FileKind.STRUCTURE_SET) * 2):
        groups[uid].append((path, digest))
    conflicts: dict[_Path, str] = {}
    for files in groups.values():
        original = files[0][0]
        if len({digest for _, digest in files}) == 1 and files[0][1]:
            rows = [(path, original) for path, _ in files[1:]]
            connection.executemany("INSERT INTO copies VALUES (?, ?)", rows)
            continue
        names = shown([path_text(path) for path, _ in files])
        conflicts |= {path: f"one SOP Instance UID with different content: {names}" for path, _ in files}
    return conflicts


def _find_images(connection: sqlite3.Connection, conflicts: dict[_Path, str]) -> _Images:
    series = _find_series(connection, conflicts)
    by_study: dict[str, list[_Series]] = defaultdict(list)
    for one in series.values():
        by_study[one.study].append(one)
    query = f"SELECT path FROM files WHERE kind IN (?, ?) AND series_instance_uid = '' AND NOT {_WHOLE_ELSEWHERE}"
    lost = connection.execute(query, (FileKind.DAMAGED, FileKind.UNREADABLE, FileKind.SLICE))
    damaged = Counter(posixpath.dirname(path_text(row[0])) for row in lost)
    return _Images(series, by_study, damaged)


def _find_series(connection: sqlite3.Connection, conflicts: dict[_Path, str]) -> dict[str, _Series]:
    """Fill `series`: the CT and MR series with slices, each with the first thing that speaks against reading it."""
    spoilt = _spoilt_series(connection, conflicts)
    query = """
        SELECT series_instance_uid, MIN(study_instance_uid), MIN(patient), MIN(frame_of_reference_uid), MIN(modality),
            COUNT(*), MAX(study_instance_uid), MAX(patient), MAX(frame_of_reference_uid), MAX(modality)
        FROM files WHERE kind = ? AND path NOT IN (SELECT path FROM copies) GROUP BY series_instance_uid"""
    series = {}
    for uid, *values in connection.execute(query, (FileKind.SLICE,)):
        lowest, slices, highest = values[:4], values[4], values[5:]
        reason, problem = spoilt.get(uid) or _series_problem(lowest, highest, slices)
        study, patient, frame, modality = lowest
        series[uid] = _Series(uid, study, patient, frame, modality, slices, reason, problem)
    rows = [(s.uid, s.study, s.patient, s.frame, s.modality, s.slices, s.reason, s.problem) for s in series.values()]
    connection.executemany("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return series


def _spoilt_series(connection: sqlite3.Connection, conflicts: dict[_Path, str]) -> dict[str, tuple[str, str]]:
    """Series that one of their own files makes untrustworthy: reason and sentence by UID."""
    spoilt: dict[str, tuple[str, str]] = {}
    query = f"""
        SELECT series_instance_uid, path, reason, problem FROM files
        WHERE kind = ? AND series_instance_uid != '' AND NOT {_WHOLE_ELSEWHERE} ORDER BY path"""
    for uid, path, reason, problem in connection.execute(query, (FileKind.DAMAGED, FileKind.SLICE)):
        spoilt.setdefault(uid, (reason, f"{path_text(path)} {problem}"))
    for path, message in conflicts.items():
        row = connection.execute("SELECT series_instance_uid FROM files WHERE path = ?", (path,)).fetchone()
        spoilt.setdefault(row[0], (Reason.DUPLICATE_INSTANCE, message))
    return spoilt


def _series_problem(lowest: list[str], highest: list[str], slices: int) -> tuple[str, str]:
    for what, low, high in zip(("study", "patient", "frame of reference", "modality"), lowest, highest, strict=True):
        if low != high:
            return Reason.MIXED_SERIES, f"its slices name more than one {what}"
    _, _, frame, modality = lowest
    if not frame:
        return Reason.NO_FRAME_OF_REFERENCE, "its slices have no frame of reference"
    if modality not in ("CT", "MR"):
        return Reason.INVALID_ATTRIBUTE, f"its slices are CT or MR images of modality {modality!r}"
    if slices < MIN_SLICES:
        return Reason.TOO_FEW_SLICES, f"has {slices} slice"
    return "", ""


# -- structure sets --------------------------------------------------------------------------------------------------


def _tie_structure_sets(
    connection: sqlite3.Connection, images: _Images, conflicts: dict[_Path, str]
) -> dict[str, list[tuple[_StructureSet, _Tie]]]:
    """The structure sets of each series; those that have none are set aside."""
    ties: dict[str, list[tuple[_StructureSet, _Tie]]] = defaultdict(list)
    for found in _structure_sets(connection):
        try:
            if found.path in conflicts:
                raise _Refused(Reason.DUPLICATE_INSTANCE, conflicts[found.path])
            tie = _tie(connection, found, images)
        except _Refused as refused:
            _add_aside(connection, Scope.STRUCTURE_SET, found.path, (refused.reason, refused.message))
        else:
            ties[tie.series.uid].append((found, tie))
    return ties


def _structure_sets(connection: sqlite3.Connection) -> list[_StructureSet]:
    query = """
        SELECT path, sop_instance_uid, study_instance_uid, patient, approval_status, drawn_at, frames
        FROM structure_sets JOIN files USING (path) WHERE path NOT IN (SELECT path FROM copies) ORDER BY path"""
    roi_query = "SELECT frame_of_reference_uid FROM rois WHERE path = ? AND contours > 0"
    sets = []
    for path, uid, study, patient, approval, drawn_at, listed in connection.execute(query).fetchall():
        frames = [row[0] for row in connection.execute(roi_query, (path,))]
        stated = {uid for uid in frames if uid} or {uid for uid in listed.split("\n") if uid}
        sets.append(
            _StructureSet(path, uid, study, patient, approval, drawn_at, frozenset(stated), drawn_rois=len(frames))
        )
    return sets


def _tie(connection: sqlite3.Connection, found: _StructureSet, images: _Images) -> _Tie:
    if found.approval_status == REJECTED:
        raise _Refused(Aside.REJECTED, f"its Approval Status is {REJECTED}")
    if not found.drawn_rois:
        raise _Refused(Reason.NO_STRUCTURES, "no ROI has a closed contour")
    if not found.frames:
        raise _Refused(Reason.NO_FRAME_OF_REFERENCE, "states no frame of reference")
    one, paired_by, findings = _series_of(connection, found, images)
    if one.patient != found.patient:
        raise _Refused(Reason.WRONG_SERIES, f"names another patient than its images, series {one.uid}")
    if one.reason:
        raise _Refused(one.reason, f"its images, series {one.uid}, cannot be trusted: {one.problem}")
    if one.frame not in found.frames:
        raise _Refused(Reason.WRONG_SERIES, f"is in another frame of reference than its images, series {one.uid}")
    return _Tie(one, paired_by, (*findings, *_findings(connection, found, one), *_neighbours(connection, one, images)))


def _series_of(
    connection: sqlite3.Connection, found: _StructureSet, images: _Images
) -> tuple[_Series, PairedBy, tuple[Finding, ...]]:
    """The series that a structure set was drawn on: by the series' name, else its images', else by frame."""
    query = "SELECT series_instance_uid FROM set_series WHERE path = ? ORDER BY 1"
    named = [row[0] for row in connection.execute(query, (found.path,))]
    contours = _contours_by_series(connection, found)
    known = [uid for uid in named if uid in images.series]
    if known:
        chosen = _most_drawn(known, contours)
        return images.series[chosen], PairedBy.SERIES, _elsewhere(contours, chosen)
    if contours:
        chosen = _most_drawn(list(contours), contours)
        message = f"The series that it names is not in the archive, but its images are, in series {chosen}."
        found_elsewhere = _elsewhere(contours, chosen)
        return (
            images.series[chosen],
            PairedBy.IMAGES,
            (Finding("paired-by-images", Severity.INFO, message), *found_elsewhere),
        )
    study = images.by_study.get(found.study, [])
    alike = [one for one in study if one.frame in found.frames and one.slices >= MIN_SLICES]
    if len(alike) == 1:
        message = "The archive has neither series nor images that it names: paired by study and frame of reference."
        return alike[0], PairedBy.FRAME, (Finding("paired-by-frame", Severity.CHECK, message),)
    if alike:
        uids = shown([one.uid for one in alike])
        raise _Refused(Reason.SEVERAL_SERIES, f"its study has {len(alike)} series in its frame of reference: {uids}")
    raise _Refused(Aside.ORPHAN, _orphan_message(connection, named))


def _contours_by_series(connection: sqlite3.Connection, found: _StructureSet) -> dict[str, int]:
    """How many contours of a structure set name slices of each series (0: only its list of images does)."""
    query = """
        SELECT series_instance_uid, SUM(contours) FROM (
            SELECT DISTINCT set_images.sop_instance_uid, series_instance_uid, contours
            FROM set_images JOIN files USING (sop_instance_uid) WHERE set_images.path = ? AND kind = ?)
        GROUP BY 1 ORDER BY 1"""
    return {uid: int(count) for uid, count in connection.execute(query, (found.path, FileKind.SLICE))}


def _most_drawn(candidates: list[str], contours: dict[str, int]) -> str:
    """The only candidate, or the one whose slices most contours name."""
    if len(candidates) == 1:
        return candidates[0]
    ranked = sorted(candidates, key=lambda uid: -contours.get(uid, 0))
    if contours.get(ranked[0], 0) == contours.get(ranked[1], 0):
        raise _Refused(Reason.SEVERAL_SERIES, f"names {len(candidates)} series alike: {shown(candidates)}")
    return ranked[0]


def _elsewhere(contours: dict[str, int], chosen: str) -> tuple[Finding, ...]:
    others = {uid: count for uid, count in contours.items() if uid != chosen and count}
    if not others:
        return ()
    count = sum(others.values())
    message = f"{count} contours name slices of other series: {shown(sorted(others))}."
    return (Finding("contours-elsewhere", Severity.CHECK, message),)


def _orphan_message(connection: sqlite3.Connection, named: list[str]) -> str:
    for uid in named:
        query = "SELECT kind, modality FROM files WHERE series_instance_uid = ? AND kind != ?"
        row = connection.execute(query, (uid, FileKind.SLICE)).fetchone()
        if row is not None:
            kind, modality = row
            return f"its images, series {uid}, are not read: {kind}" + (f" ({modality})" if modality else "")
    return f"its images are not in the archive: series {shown(named)}" if named else "names no images, and none fit"


def _findings(connection: sqlite3.Connection, found: _StructureSet, series: _Series) -> tuple[Finding, ...]:
    """What a person should know of a pair, beside what ties it."""
    findings = []
    if found.study != series.study:
        message = "The structure set stands in another study than its images."
        findings.append(Finding("other-study", Severity.CHECK, message))
    query = """
        SELECT SUM(listed AND known IS NULL), SUM(listed), SUM(contours > 0 AND known IS NULL), SUM(contours > 0)
        FROM (SELECT listed, contours, (
            SELECT 1 FROM files INDEXED BY files_by_instance
            WHERE files.sop_instance_uid = set_images.sop_instance_uid AND series_instance_uid = ? AND kind = ?
            ) AS known
            FROM set_images WHERE path = ?)"""
    row = connection.execute(query, (series.uid, FileKind.SLICE, found.path)).fetchone()
    missing, listed, dangling, drawn = (int(value or 0) for value in row)
    if missing:
        message = f"{missing} of the {listed} images that the structure set lists are not in the series: is it whole?"
        findings.append(Finding("listed-images-missing", Severity.CHECK, message))
    if dangling:
        message = f"{dangling} of the {drawn} images that its contours name are not in the series."
        findings.append(Finding("dangling-references", Severity.CHECK, message))
    elif not drawn:
        findings.append(Finding("no-references", Severity.INFO, "Its contours name no images."))
    query = "SELECT name FROM rois WHERE path = ? AND contours > 0 AND frame_of_reference_uid != ? ORDER BY position"
    foreign = [row[0] for row in connection.execute(query, (found.path, series.frame))]
    if foreign:
        message = f"ROIs that do not state the frame of reference of the images: {shown(foreign)}."
        findings.append(Finding("other-frame", Severity.CHECK, message))
    return tuple(findings)


def _neighbours(connection: sqlite3.Connection, series: _Series, images: _Images) -> tuple[Finding, ...]:
    """Damaged files without a series beside the slices: one of them may be a slice that is missing at an end."""
    if not images.damaged:
        return ()
    query = "SELECT path FROM files WHERE series_instance_uid = ? AND kind = ?"
    rows = connection.execute(query, (series.uid, FileKind.SLICE))
    folders = {posixpath.dirname(path_text(row[0])) for row in rows}
    beside = sum(images.damaged[folder] for folder in folders)
    if not beside:
        return ()
    # No paths: findings go on into reports, and folders are often named after patients.
    message = f"Damaged or unreadable files beside the slices, which may be slices themselves: {beside}."
    return (Finding("damaged-neighbours", Severity.CHECK, message),)


def _choose(connection: sqlite3.Connection, ties: dict[str, list[tuple[_StructureSet, _Tie]]]) -> None:
    """Of several structure sets of a series an approved one counts before others, then the newest.

    Structure Set Date and Time decide, and for equal ones the SOP Instance UID: any order, but always the same.
    """
    for uid, candidates in ties.items():
        ranked = sorted(candidates, key=lambda c: (c[0].approval_status == APPROVED, c[0].drawn_at, c[0].uid))
        best = ranked[-1][0]
        for found, tie in ranked:
            chosen = found is best
            values = (found.path, uid, tie.paired_by, chosen)
            connection.execute("INSERT INTO pairs VALUES (?, ?, ?, ?)", values)
            findings = (*tie.findings, *(_superseded_rois(connection, best, ranked) if chosen else ()))
            rows = [(found.path, i, f.code, f.severity, f.message) for i, f in enumerate(findings)]
            connection.executemany("INSERT INTO pair_findings VALUES (?, ?, ?, ?, ?)", rows)
            if not chosen:
                why = "approved" if best.approval_status == APPROVED != found.approval_status else "newer"
                message = f"{path_text(best.path)} is {why}, of the same series"
                _add_aside(connection, Scope.STRUCTURE_SET, found.path, (Aside.SUPERSEDED, message))


def _superseded_rois(
    connection: sqlite3.Connection, best: _StructureSet, ranked: list[tuple[_StructureSet, _Tie]]
) -> tuple[Finding, ...]:
    """What is lost with the structure sets that were not chosen."""
    if len(ranked) == 1:
        return ()
    query = "SELECT DISTINCT name FROM rois WHERE path = ? AND contours > 0"
    names = {found.path: {row[0] for row in connection.execute(query, (found.path,))} for found, _ in ranked}
    lost = sorted(set().union(*names.values()) - names[best.path])
    message = f"Chosen among {len(ranked)} structure sets of the series"
    message += f"; only the others have: {shown(lost)}." if lost else "; the others have no ROI that it lacks."
    return (Finding("several-structure-sets", Severity.CHECK if lost else Severity.INFO, message),)


# -- what is set aside -----------------------------------------------------------------------------------------------


def _set_aside_files(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO set_aside SELECT ?, path, ?, problem FROM unlisted", (Scope.FOLDER, Aside.NOT_LISTED)
    )
    words = (
        (FileKind.FOREIGN, Aside.NOT_DICOM, "is not DICOM"),
        (FileKind.LOCALIZER, Aside.LOCALIZER, "is a localizer"),
        (FileKind.NO_POSITION, Aside.NO_POSITION, "has no Image Position (Patient)"),
        (FileKind.ENHANCED, Reason.UNSUPPORTED_OBJECT, "is an enhanced multi-frame image: export one slice a file"),
    )
    for kind, reason, message in words:
        query = "INSERT INTO set_aside SELECT ?, path, ?, ? FROM files WHERE kind = ?"
        connection.execute(query, (Scope.FILE, reason, message, kind))
    query = "INSERT INTO set_aside SELECT ?, path, reason, problem FROM files WHERE kind IN (?, ?)"
    connection.execute(query, (Scope.FILE, FileKind.DAMAGED, FileKind.UNREADABLE))
    query = "INSERT INTO set_aside SELECT ?, path, ?, 'a copy of another file' FROM copies"
    connection.execute(query, (Scope.FILE, Aside.COPY))
    query = "SELECT DISTINCT sop_class_uid FROM files WHERE kind = ? AND sop_class_uid != ?"
    for (uid,) in connection.execute(query, (FileKind.OTHER, _DICOMDIR)).fetchall():
        name = UID(uid, validation_mode=IGNORE).name or "object without a SOP Class"
        query = "INSERT INTO set_aside SELECT ?, path, ?, ? FROM files WHERE kind = ? AND sop_class_uid = ?"
        connection.execute(query, (Scope.FILE, Aside.OTHER_OBJECT, name, FileKind.OTHER, uid))


def _set_aside_series(connection: sqlite3.Connection, series: Iterable[_Series]) -> None:
    paired = {row[0] for row in connection.execute("SELECT series_instance_uid FROM pairs")}
    for one in series:
        if one.reason:
            _add_aside(connection, Scope.SERIES, one.uid, (one.reason, one.problem))
        elif one.uid not in paired:
            message = f"no structure set for {one.slices} {one.modality} slices"
            _add_aside(connection, Scope.SERIES, one.uid, (Aside.NO_STRUCTURE_SET, message))


def _add_aside(connection: sqlite3.Connection, scope: Scope, item: _Path, why: tuple[str, str]) -> None:
    connection.execute("INSERT INTO set_aside VALUES (?, ?, ?, ?)", (scope, item, *why))
