"""What an audit says of a case beside the others: sizes, values and places far from those of the cohort.

Far is measured robustly: from the median, in units of the median absolute deviation (scaled to a standard deviation;
Leys et al. 2013, doi:10.1016/j.jesp.2013.03.013), which a few wrong cases cannot move. Each has a floor, so that a
cohort of near copies does not turn small differences into findings. Fewer than `MIN_COHORT` cases are no cohort.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from contour.cases.audit_checks import CaseFinding, is_target, told
from contour.cases.audit_facts import CaseFacts, StructureFacts
from contour.cases.overrides import Override
from contour.cases.store import Status
from contour.core.report import Finding, Severity
from contour.core.structures import InterpretedType

MIN_COHORT = 8
FAR = 3.5  # robust standard deviations for sizes (Iglewicz and Hoaglin 1993)
VERY_FAR = 5.0  # for what varies with scanners, contrast agents and postures
GROSS = log(5.0)  # no organ of an adult is five times larger or smaller than most: it is another one, or a scrap
SIZE_FLOOR = 0.15  # of a logarithm: sizes within some 15 % are alike
HU_FLOOR = 10.0
PLACE_FLOOR_MM = 4.0
_TO_SIGMA = 1.4826
_BODY = ""  # the middle of the body, among the names of structures that places are measured from
_DIRECTIONS = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))  # + and - of x, y, z in LPS


@dataclass(frozen=True)
class Spread:
    """The middle of a cohort and its robust standard deviation."""

    count: int
    middle: float
    sigma: float

    def away(self, value: float) -> float:
        """How far `value` is from the middle, in standard deviations, signed."""
        return (value - self.middle) / self.sigma


def spread(values: Iterable[float], floor: float) -> Spread | None:
    """The spread of a cohort, at least `floor` wide; None for fewer than `MIN_COHORT` values."""
    known = np.asarray([value for value in values if np.isfinite(value)])
    if known.size < MIN_COHORT:
        return None
    middle = float(np.median(known))
    return Spread(int(known.size), middle, max(floor, _TO_SIGMA * float(np.median(np.abs(known - middle)))))


def check_cohort(cases: tuple[CaseFacts, ...]) -> tuple[CaseFinding, ...]:
    """Findings on each case beside the others of its modality."""
    found: list[CaseFinding] = []
    for modality in dict.fromkeys(case.modality for case in cases):
        cohort = tuple(case for case in cases if case.modality is modality)
        found += [*_sizes_and_values(cohort), *_places(cohort)]
    return (*found, *_equal_images(cases))


# -- sizes and values ------------------------------------------------------------------------------------------------


def _sizes_and_values(cases: tuple[CaseFacts, ...]) -> Iterator[CaseFinding]:
    drawn: dict[str, list[tuple[CaseFacts, StructureFacts]]] = defaultdict(list)
    for case in cases:
        for structure in case.structures:
            if not is_target(structure):
                drawn[structure.name].append((case, structure))
    for members in drawn.values():
        yield from _volumes(members)
        yield from _sections(members)
        yield from _values(members)


def _volumes(members: list[tuple[CaseFacts, StructureFacts]]) -> Iterator[CaseFinding]:
    """Volumes of what is whole: a part of an organ may be small without being wrong."""
    whole = [(case, s) for case, s in members if s.whole]
    cohort = spread((log(s.volume_ml) for _, s in whole), SIZE_FLOOR)
    if cohort is None:
        return
    for case, structure in whole:
        away = cohort.away(log(structure.volume_ml))
        if abs(away) > FAR:
            message = (
                f"{structure.name} has {_amount(structure.volume_ml)} ml, {_times(structure.volume_ml, cohort)} the"
                f" median {_amount(exp(cohort.middle))} ml of {cohort.count} cases ({away:+.1f} robust SD)."
            )
            yield _sized(case, structure, ("volume-unusual", message), log(structure.volume_ml) - cohort.middle)


def _sections(members: list[tuple[CaseFacts, StructureFacts]]) -> Iterator[CaseFinding]:
    """Mean areas of the slices of what was drawn or scanned in part."""
    cohort = spread((log(s.section_mm2) for _, s in members), SIZE_FLOOR)
    if cohort is None:
        return
    for case, structure in members:
        away = cohort.away(log(structure.section_mm2))
        if not structure.whole and abs(away) > VERY_FAR:
            message = (
                f"{structure.name} has {structure.section_mm2 / 100:.1f} cm2 on a slice on average,"
                f" {_times(structure.section_mm2, cohort)} the median {exp(cohort.middle) / 100:.1f} cm2 of"
                f" {cohort.count} cases ({away:+.1f} robust SD)."
            )
            yield _sized(case, structure, ("section-unusual", message), log(structure.section_mm2) - cohort.middle)


def _sized(case: CaseFacts, structure: StructureFacts, said: tuple[str, str], larger: float) -> CaseFinding:
    """A finding on a size, `larger` as a logarithm: a gross one is not this organ, or not all of it."""
    if abs(larger) <= GROSS or structure.kind is InterpretedType.EXTERNAL:
        return told(case, structure, Severity.CHECK, *said)
    away = Override(case.name, structure.name, Status.NOT_DRAWN, reason="another organ, or a scrap of this one")
    return replace(told(case, structure, Severity.STOP, *said), suggestion=(away,))


def _values(members: list[tuple[CaseFacts, StructureFacts]]) -> Iterator[CaseFinding]:
    known = [(case, s, s.mean_hu) for case, s in members if s.mean_hu is not None]
    cohort = spread((hu for _, _, hu in known), HU_FLOOR)
    if cohort is None:
        return
    for case, structure, hu in known:
        away = cohort.away(hu)
        if abs(away) > VERY_FAR:
            message = (
                f"{structure.name} has {hu:.0f} HU on average; the median of {cohort.count} cases is"
                f" {cohort.middle:.0f} HU ({away:+.1f} robust SD)."
            )
            yield told(case, structure, Severity.CHECK, "hu-unusual", message)


def _amount(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _times(value: float, cohort: Spread) -> str:
    return f"{value / exp(cohort.middle):.2g} times"


# -- places ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Beside:
    """A structure's place beside another one, (cases, 3) as x, y, z in LPS; nan where it is not known.

    `moved_mm` is how far it lies from where the median case has it, `away` the same in robust standard deviations.
    """

    moved_mm: NDArray[np.float64]
    away: NDArray[np.float64]


def _places(cases: tuple[CaseFacts, ...]) -> Iterator[CaseFinding]:
    """A structure far from its usual place beside most others of its case, the middle of the body among them.

    One that is misplaced is so beside all others, each of which is misplaced beside this one only.
    """
    names = sorted({s.name for case in cases for s in case.structures if not is_target(s)})
    centroids = {name: np.asarray([_centroid(case, name) for case in cases]) for name in names}
    for name in names:
        beside = {other: _beside(centroids[name] - centroids[other]) for other in names if other != name}
        beside[_BODY] = _beside(np.asarray([_from_body(case, name) for case in cases]))
        for i, case in enumerate(cases):
            structure = case.structure(name)
            if structure is not None:
                yield from _misplaced(case, structure, {other: b for other, b in beside.items() if _known(b, i)}, i)


def _misplaced(case: CaseFacts, structure: StructureFacts, beside: dict[str, _Beside], i: int) -> Iterator[CaseFinding]:
    limit = VERY_FAR if len(beside) > 1 else 2 * VERY_FAR  # one witness must be sure
    far = {other: b for other, b in beside.items() if np.nanmax(np.abs(b.away[i])) > limit}
    if 2 * len(far) <= len(beside):
        return
    moved = np.nan_to_num(
        np.nanmedian([np.where(np.isnan(b.away[i]), 0.0, b.moved_mm[i]) for b in far.values()], axis=0)
    )
    axis = int(np.argmax(np.abs(moved)))
    others = sorted(other for other in far if other != _BODY)
    against = ", ".join(
        [*others[:3], *(["others"] if len(others) > 3 else []), *(["the body"] if _BODY in far else [])]
    )
    where = _DIRECTIONS[axis][int(moved[axis] < 0)]
    message = f"{structure.name} lies {abs(moved[axis]):.0f} mm further {where} than in most cases, beside {against}."
    found = told(case, structure, Severity.CHECK, "place-unusual", message)
    yield replace(found, beside=tuple(others[:3]))


def _beside(offsets_mm: NDArray[np.float64]) -> _Beside:
    moved, away = np.full_like(offsets_mm, np.nan), np.full_like(offsets_mm, np.nan)
    for axis in range(3):
        cohort = spread(offsets_mm[:, axis], PLACE_FLOOR_MM)
        if cohort is not None:
            moved[:, axis] = offsets_mm[:, axis] - cohort.middle
            away[:, axis] = moved[:, axis] / cohort.sigma
    return _Beside(moved, away)


def _known(beside: _Beside, i: int) -> bool:
    return bool(np.isfinite(beside.away[i]).any())


def _centroid(case: CaseFacts, name: str) -> tuple[float, float, float]:
    """x, y, z in mm, LPS; z is nan where a part was not drawn or not scanned, since that moves it."""
    structure = case.structure(name)
    if structure is None:
        return np.nan, np.nan, np.nan
    x, y, z = structure.centroid_lps_mm
    return x, y, z if structure.whole else np.nan


def _from_body(case: CaseFacts, name: str) -> tuple[float, float, float]:
    structure = case.structure(name)
    if structure is None or structure.from_body_mm is None:
        return np.nan, np.nan, np.nan
    return (*structure.from_body_mm, np.nan)


# -- images ----------------------------------------------------------------------------------------------------------


def _equal_images(cases: tuple[CaseFacts, ...]) -> Iterator[CaseFinding]:
    """One image in several cases: of two patients, one person who may come to stand on both sides of a split."""
    alike: dict[str, list[CaseFacts]] = defaultdict(list)
    for case in cases:
        alike[case.image_sha256].append(case)
    for group in alike.values():
        for case in group[1:]:
            first = group[0]
            same_patient = case.patient == first.patient
            severity = Severity.INFO if same_patient else Severity.STOP
            whose = "of the same patient" if same_patient else f"of patient {first.patient}: one person under two names"
            message = f"The image is that of case {first.name}, {whose}."
            yield CaseFinding(case.name, case.patient, Finding("same-image", severity, message))
