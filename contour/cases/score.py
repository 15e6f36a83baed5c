"""What networks drew on a case beside what people drew: one score for each structure that can be judged."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from contour.cases.store import CaseRecord, CaseStructure, Status
from contour.core.geometry import Geometry
from contour.core.structures import Structure, Sureness
from contour.imaging.metrics import Agreement, CompareOptions, compare_with


class Outcome(StrEnum):
    """How a structure came out. All but `NEITHER` count: what was not found, or found where nothing is, as worst."""

    FOUND = "found"
    NOT_FOUND = "not found"
    NOT_THERE = "drawn where there is none"
    NEITHER = "rightly not drawn"


class Measure(StrEnum):
    """What is measured of a structure; `Agreement` defines it. Paths are in part of the reference's whole path."""

    DICE = "dice"
    SURFACE_DICE = "surface_dice"
    HD95_MM = "hd95_mm"
    MEAN_SURFACE_DISTANCE_MM = "mean_surface_distance_mm"
    ADDED_PATH_LENGTH_MM = "added_path_length_mm"
    ADDED_PATH_PART = "added_path_part"
    VOLUME_DIFFERENCE_PERCENT = "volume_difference_percent"

    @property
    def higher_is_better(self) -> bool:
        """Whether it is; a difference in volume is best at 0."""
        return self in (Measure.DICE, Measure.SURFACE_DICE)


@dataclass(frozen=True)
class AtTolerance:
    """What depends on the tolerance in mm: see `Agreement`."""

    tolerance_mm: float
    surface_dice: float
    added_path_length_mm: float


@dataclass(frozen=True)
class CaseScore:
    """One structure of one case.

    `agreement` is that at the first tolerance, None where there is nothing on either side; `at_tolerances` has all of
    them. With status `PARTIAL` both were judged within `slices`, the first and last z index that were drawn.
    `confidence` and `sureness` are the network's own.
    """

    case: str
    patient: str
    structure: str
    status: Status
    outcome: Outcome
    agreement: Agreement | None
    at_tolerances: tuple[AtTolerance, ...] = ()
    slices: tuple[int, int] | None = None
    confidence: float | None = None
    sureness: Sureness | None = None

    @property
    def counts(self) -> bool:
        """Whether there is anything to measure."""
        return self.agreement is not None

    def value(self, measure: Measure) -> float:
        """The measured value; infinite distances and differences where only one side has the structure.

        Raises:
            ValueError: there is nothing on either side.
        """
        agreement = self.agreement
        if agreement is None:
            raise ValueError(f"{self.structure} of {self.case}: {self.outcome}, nothing was measured")
        if measure is Measure.ADDED_PATH_PART:
            return _part(agreement.added_path_length_mm, agreement.reference_path_length_mm)
        if measure is Measure.VOLUME_DIFFERENCE_PERCENT:
            return 100 * _part(agreement.test_ml - agreement.reference_ml, agreement.reference_ml)
        return float(getattr(agreement, measure.value))


def score(record: CaseRecord, reference: Structure, test: Structure, tolerances_mm: tuple[float, ...]) -> CaseScore:
    """How `test` agrees with `reference`, the drawn structure of that name of the case `record`.

    Where the reference was drawn in part, both are judged between the slices it states.

    Raises:
        ValueError: the case does not have the structure drawn.
    """
    entry = record.structure(reference.name)
    if entry.status is Status.NOT_DRAWN:
        raise ValueError(f"{reference.name} of {record.name}: not drawn, there is nothing to judge by")
    options = CompareOptions(tolerances_mm, _slices(entry, record.geometry))
    found = compare_with(reference, test, record.geometry, options)
    outcome = _outcome(found[0])
    return CaseScore(
        case=record.name,
        patient=record.patient,
        structure=reference.name,
        status=entry.status,
        outcome=outcome,
        agreement=None if outcome is Outcome.NEITHER else found[0],
        at_tolerances=()
        if outcome is Outcome.NEITHER
        else tuple(AtTolerance(a.tolerance_mm, a.surface_dice, a.added_path_length_mm) for a in found),
        slices=options.slices,
        confidence=test.confidence,
        sureness=test.sureness,
    )


def _slices(entry: CaseStructure, geometry: Geometry) -> tuple[int, int] | None:
    if entry.drawn_slices is None:
        return None
    return entry.drawn_slices[0], min(entry.drawn_slices[1], geometry.shape_zyx[0] - 1)


def _outcome(agreement: Agreement) -> Outcome:
    sides = agreement.reference_ml > 0, agreement.test_ml > 0
    return {
        (True, True): Outcome.FOUND,
        (True, False): Outcome.NOT_FOUND,
        (False, True): Outcome.NOT_THERE,
        (False, False): Outcome.NEITHER,
    }[sides]


def _part(part: float, whole: float) -> float:
    if whole > 0:
        return part / whole
    return float(np.inf) if part > 0 else 0.0
