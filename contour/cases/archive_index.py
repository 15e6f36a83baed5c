"""A hospital's archive as an index: which structure set was drawn on which image series, and what was set aside.

The index is one SQLite file. What each file of the archive says is read once and kept; everything that follows from it
(series, pairs, what is set aside) is worked out anew at the end of each run, in one transaction.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from contour.cases.archive_files import FileKind
from contour.cases.archive_pairing import Aside, PairedBy, Scope, pair_archive
from contour.cases.archive_reading import Progress, compare_repeats, list_archive, read_new_files, readers
from contour.cases.archive_tables import (
    explained,
    meta,
    open_for_reading,
    open_for_writing,
    path_text,
    set_meta,
    transaction,
)
from contour.core.errors import InputRefused, Reason
from contour.core.report import Finding, Severity
from contour.core.volume import Modality
from contour.dicom.folder import printable
from contour.dicom.read_series import read_series_files
from contour.dicom.rtstruct_contents import RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.series import ImageSeries, ReadLimits

__all__ = [
    "ArchiveIndex",
    "Aside",
    "IndexOptions",
    "IndexSummary",
    "IndexedPair",
    "IndexedRoi",
    "PairedBy",
    "RoiCount",
    "Scope",
    "SetAside",
    "SetAsideCount",
    "index_archive",
    "open_index",
    "read_pair",
]

_EXAMPLES = 5


@dataclass(frozen=True)
class IndexedRoi:
    """One ROI of a structure set, as far as its contours tell without an image.

    `contours` counts the closed planar contours of three points and more, `other_contours` points, lines and the rest;
    `planes` the planes that the closed ones lie on. `low_lps_mm` and `high_lps_mm` are the corners of the box around
    the closed contours, x, y, z in mm (None without any).
    """

    number: int
    name: str
    interpreted_type: str
    contours: int
    other_contours: int
    planes: int
    low_lps_mm: tuple[float, float, float] | None
    high_lps_mm: tuple[float, float, float] | None


@dataclass(frozen=True)
class IndexedPair:
    """An image series and the structure set that was drawn on it.

    `patient` is a pseudonym. `image_files` are the slices, each once, in no order that means anything. `drawn_at` is
    Structure Set Date and Time as DICOM writes them, joined; `approval_status` may be empty.
    """

    patient: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: Modality
    image_files: tuple[Path, ...]
    structure_set_uid: str
    structure_set_file: Path
    structure_set_label: str
    approval_status: str
    drawn_at: str
    paired_by: PairedBy
    rois: tuple[IndexedRoi, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RoiCount:
    """How often an ROI name occurs among the pairs.

    `structure_sets` have it, in `drawn` of them with closed contours, which are of so many `patients`;
    `interpreted_types` are all that the sets state for it.
    """

    name: str
    structure_sets: int
    drawn: int
    patients: int
    interpreted_types: tuple[str, ...]


@dataclass(frozen=True)
class SetAside:
    """Something that is in no pair. `item` is a path in the archive, or the UID of a series.

    `reason` is an `Aside`, or a `Reason` for which input is refused.
    """

    scope: Scope
    item: str
    reason: str
    message: str


@dataclass(frozen=True)
class SetAsideCount:
    """How much is set aside for one reason (other objects by their kind), with the first few items.

    `message` is what is said of one of them.
    """

    scope: Scope
    reason: str
    message: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class FindingCount:
    """How many pairs have a finding, and what it says of one of them."""

    code: str
    severity: Severity
    pairs: int
    example: str


@dataclass(frozen=True)
class IndexSummary:
    """What an index holds. `series` counts those with slices of CT or MR; `paired_by` has a count for each tie.

    `files_read` and `seconds` are those of the run that made the summary.
    """

    archive: Path
    files: int
    patients: int
    series: int
    structure_sets: int
    pairs: int
    paired_by: tuple[tuple[PairedBy, int], ...]
    findings: tuple[FindingCount, ...]
    set_aside: tuple[SetAsideCount, ...]
    files_read: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class IndexOptions:
    """How an archive is indexed.

    `workers` is the number of processes (None: one a processor). With `pseudonyms_of`, a new index takes the key of
    another one, so that a patient has one pseudonym in both. `moved`: the indexed archive now lies here.
    """

    workers: int | None = None
    pseudonyms_of: Path | None = None
    moved: bool = False


def index_archive(
    archive: Path, index: Path, options: IndexOptions | None = None, progress: Progress | None = None
) -> IndexSummary:
    """Index every file below `archive` in the SQLite file `index`, or bring it up to date.

    What the index knows of a file of the same path, size and time of change is not read again; a killed run goes on
    where it was. Of several structure sets of one series an approved one counts before others, then the newest by its
    date and time; a rejected one never. `progress` is told a stage and the part of it that is done.

    Raises:
        InputRefused: there is no such folder.
        ConfigError: the file at `index` is another one, is of another archive, or another run has it.
        OSError: the index cannot be written, or a reading process was killed.
    """
    options = options or IndexOptions()
    started, tell = time.perf_counter(), progress or _silent
    archive = archive.absolute()
    if not archive.is_dir():
        raise InputRefused(Reason.NO_IMAGES, printable(str(archive)), "is not a folder", "the folder of an archive")
    connection = open_for_writing(index, archive, key_of=options.pseudonyms_of, moved=options.moved)
    with explained(index), closing(connection):
        with transaction(connection):
            set_meta(connection, "complete", "no")
        tell("list", 0.0)
        new = list_archive(connection, archive, index)
        workers = options.workers or os.cpu_count() or 1
        with readers(archive, workers, new) as files:
            tell("headers", 0.0)
            read_new_files(connection, files, tell)
            compare_repeats(connection, files, tell)
        tell("pair", 0.0)
        with transaction(connection):
            pair_archive(connection)
            set_meta(connection, "complete", "yes")
        tell("pair", 1.0)
        return replace(_summary(connection), files_read=new, seconds=time.perf_counter() - started)


def open_index(index: Path) -> "ArchiveIndex":
    """A finished index, for reading; close it, or use it in a `with` block.

    Raises:
        ConfigError: there is none, or a run on it was not finished or is going on.
    """
    return ArchiveIndex(open_for_reading(index))


class ArchiveIndex:
    """A finished index. Nothing of the archive itself is looked at."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.archive = Path(meta(connection, "archive"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def pairs(self, *, superseded: bool = False) -> Iterator[IndexedPair]:
        """The pairs, one an image series, sorted by patient; with `superseded` all structure sets of each series."""
        query = """
            SELECT pairs.structure_set_path, paired_by, series.series_instance_uid, series.study_instance_uid,
                series.patient, series.frame_of_reference_uid, series.modality, label, approval_status, drawn_at,
                files.sop_instance_uid
            FROM pairs JOIN series USING (series_instance_uid)
                JOIN structure_sets ON structure_sets.path = structure_set_path
                JOIN files ON files.path = structure_set_path
            WHERE chosen OR ? ORDER BY series.patient, series.series_instance_uid, drawn_at, structure_set_path"""
        for row in self._connection.execute(query, (superseded,)).fetchall():
            path, tie, series, study, patient, frame, modality, label, approval, drawn_at, uid = row
            yield IndexedPair(
                patient=patient,
                study_instance_uid=study,
                series_instance_uid=series,
                frame_of_reference_uid=frame,
                modality=Modality(modality),
                image_files=self._image_files(series),
                structure_set_uid=uid,
                structure_set_file=self.archive / path_text(path),
                structure_set_label=label,
                approval_status=approval,
                drawn_at=drawn_at,
                paired_by=PairedBy(tie),
                rois=self._rois(path),
                findings=self._findings(path),
            )

    def set_aside(self) -> Iterator[SetAside]:
        """All that is in no pair, and why."""
        query = "SELECT scope, item, reason, message FROM set_aside ORDER BY scope, reason, item"
        for scope, item, reason, message in self._connection.execute(query):
            yield SetAside(Scope(scope), printable(path_text(item)), reason, message)

    def roi_counts(self) -> tuple[RoiCount, ...]:
        """How often each ROI name occurs among the pairs, the most frequent first."""
        query = """
            SELECT name, COUNT(DISTINCT path), COUNT(DISTINCT CASE WHEN contours THEN path END) AS drawn,
                COUNT(DISTINCT CASE WHEN contours THEN patient END), GROUP_CONCAT(DISTINCT interpreted_type)
            FROM pairs JOIN rois ON rois.path = structure_set_path JOIN series USING (series_instance_uid)
            WHERE chosen GROUP BY name ORDER BY drawn DESC, name"""
        return tuple(
            RoiCount(name, sets, drawn, patients, tuple(sorted(filter(None, (types or "").split(",")))))
            for name, sets, drawn, patients, types in self._connection.execute(query)
        )

    def summary(self) -> IndexSummary:
        """What the index holds, in numbers."""
        return _summary(self._connection)

    def patient_id(self, pseudonym: str) -> str:
        """The Patient ID behind a pseudonym, for whoever may see it; empty for one that the index does not know."""
        row = self._connection.execute("SELECT patient_id FROM patients WHERE pseudonym = ?", (pseudonym,)).fetchone()
        return str(row[0]) if row else ""

    def _image_files(self, series: str) -> tuple[Path, ...]:
        query = """
            SELECT path FROM files WHERE series_instance_uid = ? AND kind = ?
                AND path NOT IN (SELECT path FROM copies) ORDER BY path"""
        rows = self._connection.execute(query, (series, FileKind.SLICE))
        return tuple(self.archive / path_text(row[0]) for row in rows)

    def _rois(self, path: str | bytes) -> tuple[IndexedRoi, ...]:
        query = """
            SELECT number, name, interpreted_type, contours, other_contours, planes,
                low_x, low_y, low_z, high_x, high_y, high_z
            FROM rois WHERE path = ? ORDER BY position"""
        rois = []
        for number, name, kind, contours, others, planes, *box in self._connection.execute(query, (path,)):
            low, high = ((box[0], box[1], box[2]), (box[3], box[4], box[5])) if contours else (None, None)
            rois.append(IndexedRoi(number, name, kind, contours, others, planes, low, high))
        return tuple(rois)

    def _findings(self, path: str | bytes) -> tuple[Finding, ...]:
        query = "SELECT code, severity, message FROM pair_findings WHERE structure_set_path = ? ORDER BY position"
        rows = self._connection.execute(query, (path,))
        return tuple(Finding(code, Severity(severity), message) for code, severity, message in rows)


def read_pair(pair: IndexedPair, *, limits: ReadLimits | None = None) -> tuple[ImageSeries, RtstructContents]:
    """The images of a pair, checked and decoded, and what its structure set says, as it says it.

    Raises:
        InputRefused: as `read_series_files` and `read_contours`.
    """
    series = read_series_files(pair.image_files, pair.series_instance_uid, limits=limits)
    return series, read_contours(pair.structure_set_file)


def _summary(connection: sqlite3.Connection) -> IndexSummary:
    def count(query: str) -> int:
        return int(connection.execute(f"SELECT COUNT(*) FROM {query}").fetchone()[0])

    ties = connection.execute("SELECT paired_by, COUNT(*) FROM pairs WHERE chosen GROUP BY 1")
    by_tie = dict(ties.fetchall())
    findings = connection.execute(
        """SELECT code, severity, COUNT(DISTINCT structure_set_path), MIN(message) FROM pair_findings JOIN pairs
        USING (structure_set_path) WHERE chosen GROUP BY 1, 2 ORDER BY 1"""
    )
    return IndexSummary(
        archive=Path(meta(connection, "archive")),
        files=count("files"),
        patients=count("(SELECT DISTINCT patient FROM series)"),
        series=count("series"),
        structure_sets=count("structure_sets WHERE path NOT IN (SELECT path FROM copies)"),
        pairs=count("pairs WHERE chosen"),
        paired_by=tuple((tie, by_tie[tie]) for tie in PairedBy if tie in by_tie),
        findings=tuple(FindingCount(code, Severity(severity), *rest) for code, severity, *rest in findings),
        set_aside=_set_aside_counts(connection),
    )


def _set_aside_counts(connection: sqlite3.Connection) -> tuple[SetAsideCount, ...]:
    query = """
        SELECT scope, reason, CASE WHEN reason = ? THEN message ELSE '' END AS kind, COUNT(*) FROM set_aside
        GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 2, 3"""
    example_query = """
        SELECT item, message FROM set_aside WHERE scope = ? AND reason = ? AND ? IN ('', message)
        ORDER BY item LIMIT ?"""
    counts = []
    for scope, reason, kind, number in connection.execute(query, (Aside.OTHER_OBJECT,)).fetchall():
        rows = connection.execute(example_query, (scope, reason, kind, _EXAMPLES)).fetchall()
        examples = tuple(printable(path_text(item)) for item, _ in rows)
        counts.append(SetAsideCount(Scope(scope), reason, rows[0][1], number, examples))
    return tuple(counts)


def _silent(_: str, __: float) -> None:
    """No one watches."""
