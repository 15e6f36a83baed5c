"""Names held against the anatomy: structures of a sample of patients are measured under the names they may have."""

import multiprocessing
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import psutil

from contour.cases.anatomy import Measured, expectation, judge, judge_together, measure_named
from contour.cases.archive_index import IndexedPair, read_pair
from contour.cases.landmarks import Landmarks
from contour.core.errors import InputRefused
from contour.dicom.rtstruct_read import read_roi

WORKER_BYTES = 1_500_000_000  # a planning CT with the masks of one structure at a time

Progress = Callable[[str, float], None]
STAGE = "anatomy"


@dataclass(frozen=True)
class Question:
    """An ROI name, and the TG-263 names it may mean (two where a side is to be told)."""

    roi_name: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What the structure that one patient's set calls `roi_name` says of `name`: reasons against it; none if it fits.

    `other_side` is the name of the other side, where that would fit.
    """

    roi_name: str
    name: str
    patient: str
    against: tuple[str, ...]
    other_side: str | None = None


@dataclass(frozen=True)
class _Sample:
    """What is to be measured of one pair."""

    pair: IndexedPair
    questions: tuple[Question, ...]


def examine(
    pairs: Iterable[IndexedPair],
    questions: tuple[Question, ...],
    *,
    samples: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Verdict, ...]:
    """The verdicts on `questions` of up to `samples` patients for each.

    Pairs and ROIs that cannot be read give none; `contour data build` says why.

    Raises:
        OSError: a process was ended from outside, as when memory runs out.
    """
    tell = progress or _silent
    chosen = _chosen(pairs, questions, samples)
    verdicts: list[Verdict] = []
    tell(STAGE, 0.0)
    for done, found in enumerate(_mapped(chosen, workers or _fitting_workers()), start=1):
        verdicts += found
        tell(STAGE, done / len(chosen))
    tell(STAGE, 1.0)
    return tuple(verdicts)


def _chosen(pairs: Iterable[IndexedPair], questions: tuple[Question, ...], samples: int) -> list[_Sample]:
    """The pairs that have a name which is still asked for; one of each patient counts for a name."""
    asked = {q.roi_name: q for q in questions if any(expectation(name) is not None for name in q.names)}
    patients: dict[str, set[str]] = defaultdict(set)
    chosen = []
    for pair in pairs:
        drawn = dict.fromkeys(roi.name for roi in pair.rois if roi.contours and roi.name in asked)
        wanted = [name for name in drawn if len(patients[name]) < samples and pair.patient not in patients[name]]
        if wanted:
            # What else is there comes along: neighbours are held against each other.
            chosen.append(_Sample(pair, tuple(asked[name] for name in drawn)))
            for name in drawn:
                patients[name].add(pair.patient)
    return chosen


def _mapped(samples: list[_Sample], workers: int) -> Iterator[tuple[Verdict, ...]]:
    if workers == 1 or len(samples) < 2:
        yield from map(_verdicts, samples)
        return
    # Not forked: threads of libraries do not survive that.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(samples)), mp_context=context) as pool:
        try:
            yield from pool.map(_verdicts, samples)
        except BrokenProcessPool as error:
            raise OSError("a process that measured structures was ended from outside; use fewer workers") from error


def _verdicts(sample: _Sample) -> tuple[Verdict, ...]:
    try:
        series, contents = read_pair(sample.pair)
    except (InputRefused, OSError):
        return ()
    landmarks = Landmarks.of(series.volume)
    asked = {q.roi_name: q for q in sample.questions}
    measured: list[tuple[str, Measured]] = []
    for roi in contents.rois:
        question = asked.get(roi.name)
        if question is None:
            continue
        try:
            structure = read_roi(contents, roi, series)
        except InputRefused:
            continue
        for name in question.names:
            found = measure_named(replace(structure, name=name), series.volume, landmarks)
            if found is not None:
                measured.append((roi.name, found))
    together = _together(measured, asked)
    return tuple(
        Verdict(
            roi_name,
            one.name,
            sample.pair.patient,
            tuple(f.message for f in judge(one)) + together.get(roi_name, ()),
            _fitting_other_side(one),
        )
        for roi_name, one in measured
    )


def _together(measured: list[tuple[str, Measured]], asked: dict[str, Question]) -> dict[str, tuple[str, ...]]:
    """What neighbours say, by ROI name; of names that are clear, and stand in the set once."""
    times = Counter(one.name for _, one in measured)
    clear = [(r, one) for r, one in measured if len(asked[r].names) == 1 and times[one.name] == 1]
    roi_of = {one.name: roi_name for roi_name, one in clear}
    found: dict[str, tuple[str, ...]] = {}
    for finding in judge_together(tuple(one for _, one in clear)):
        if finding.structure is not None:
            found[roi_of[finding.structure]] = (finding.message,)
    return found


def _fitting_other_side(measured: Measured) -> str | None:
    """The name of the other side, if the structure fits that and not its own."""
    other = {"_L": "_R", "_R": "_L"}.get(measured.name[-2:])
    if other is None or not judge(measured):
        return None
    name = measured.name[:-2] + other
    return name if expectation(name) is not None and not judge(replace(measured, name=name)) else None


def _fitting_workers() -> int:
    return max(1, min(os.cpu_count() or 1, int(psutil.virtual_memory().available) // WORKER_BYTES))


def _silent(_: str, __: float) -> None:
    """No one watches."""
