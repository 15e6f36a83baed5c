"""What the server knows: the runs, their images, what was decided. The cases opened last are held."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from contour.core.checksum import file_sha256
from contour.core.errors import InputRefused
from contour.dicom.rtstruct_read import read_contours
from contour.languages import Language
from contour.services.review.case import OpenedCase, open_case
from contour.services.review.decisions import Decided, Decisions
from contour.services.review.series_index import SeriesShelf
from contour.services.review.worklist import ReviewState, RunFolder, review_state, run_folders

CASES_HELD = 2


@dataclass(frozen=True)
class Standing:
    """A run in the worklist: how far its review is, and how many structures its file has."""

    run: RunFolder
    state: ReviewState
    structures: int
    decided: tuple[Decided, ...]


@dataclass(frozen=True)
class _Stamp:
    """A file as it was at a time: where it is as old and as long, it is taken for the same when it is listed."""

    modified_ns: int
    size: int


@dataclass(frozen=True)
class _Facts:
    """What the list needs of a structure set."""

    stamp: _Stamp
    sha256: str
    structures: int


class Office:
    """The runs below `roots`, their images from `shelf`, and the decisions on them."""

    def __init__(self, roots: tuple[Path, ...], shelf: SeriesShelf, decisions: Decisions, language: Language) -> None:
        self.decisions = decisions
        self._roots = roots
        self._shelf = shelf
        self._language = language
        self._lock = threading.Lock()
        self._runs: dict[str, RunFolder] = {}
        self._facts: dict[Path, _Facts] = {}
        self._opened: dict[str, OpenedCase] = {}

    def standings(self) -> tuple[Standing, ...]:
        """Every run, as its folder is now, the urgent first."""
        with self._lock:
            self._look()
            return tuple(self._standing(run) for run in self._runs.values())

    def run(self, key: str) -> RunFolder | None:
        """The run of a key."""
        with self._lock:
            if key not in self._runs:
                self._look()
            return self._runs.get(key)

    def open(self, key: str) -> OpenedCase | None:
        """The case of a key; None if there is none, or it was not released.

        Raises:
            InputRefused: its images lie nowhere here, or it cannot be shown on them.
            OSError: the disk, such as a structure set that is gone.
        """
        run = self.run(key)
        if run is None or run.report is None or not run.report.released:
            return None
        sha256 = file_sha256(run.rtstruct)
        with self._lock:
            held = self._opened.pop(key, None)
            if held is None or held.case.rtstruct_sha256 != sha256:
                while len(self._opened) >= CASES_HELD:
                    self._opened.pop(next(iter(self._opened)))
                series = self._shelf.read(run.report.series_instance_uid)
                held = open_case(run, run.report, series, self._language)
            self._opened[key] = held
            return held

    def _look(self) -> None:
        self._runs = {run.key: run for run in run_folders(self._roots)}

    def _standing(self, run: RunFolder) -> Standing:
        facts, run = self._facts_of(run)
        if facts is None:
            return Standing(run, review_state(run, 0, ()), 0, ())
        decided = self.decisions.of(facts.sha256)
        return Standing(run, review_state(run, facts.structures, decided), facts.structures, decided)

    def _facts_of(self, run: RunFolder) -> tuple[_Facts | None, RunFolder]:
        """(what is known of a run's structure set, the run, unreadable if that is); None where there is none."""
        if run.report is None or not run.report.released:
            return None, run
        try:
            status = run.rtstruct.stat()
            stamp = _Stamp(status.st_mtime_ns, status.st_size)
            known = self._facts.get(run.rtstruct)
            if known is None or known.stamp != stamp:
                known = _Facts(stamp, file_sha256(run.rtstruct), len(read_contours(run.rtstruct).rois))
                self._facts[run.rtstruct] = known
        except (InputRefused, OSError) as error:
            return None, replace(run, report=None, problem=str(error))
        return known, run
