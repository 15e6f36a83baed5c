"""What an audit says of one case by itself: each finding with the voxel to look at, and what would mend it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from contour.cases.audit_facts import CaseFacts, Index, StructureFacts
from contour.cases.overrides import Override
from contour.cases.store import Status
from contour.core.nomenclature import BOTH, LEFT, RIGHT, lookup
from contour.core.report import Finding, Severity
from contour.core.structures import InterpretedType

SAME_SIDE_MM = 5.0  # a left organ lies at least so far to the left of the right one
ACROSS_MM = 20.0  # beyond the middle of the body by so much, a one-sided organ is on the wrong side
OUTSIDE_PART, OUTSIDE_ML = 0.03, 0.2
MOSTLY = 0.5
BLANK_PART = 0.02
FAR_ISLAND_MM = 15.0
LARGE_ISLAND_PART = 0.02
SAME_DICE, ALIKE_DICE = 0.98, 0.95
MIN_CLEAR_SLICES = 3

_TARGETS = (InterpretedType.GTV, InterpretedType.CTV, InterpretedType.PTV)
_NOT_IN_BODY = (InterpretedType.EXTERNAL, InterpretedType.SUPPORT, InterpretedType.CONTROL, InterpretedType.NONE)
_IN_MANY_PIECES = ("Bone", "Bowel", "Bowel_Large", "Bowel_Small", "Colon", "Ribs", "VBs")


@dataclass(frozen=True)
class CaseFinding:
    """A finding on a case. `point_zyx` is the voxel to look at (None where no picture helps).

    `beside` names structures to show with it, `suggestion` what to state in an overrides file if it is right.
    """

    case: str
    patient: str
    finding: Finding
    point_zyx: Index | None = None
    beside: tuple[str, ...] = ()
    suggestion: tuple[Override, ...] = ()


def check_case(facts: CaseFacts) -> tuple[CaseFinding, ...]:
    """Findings that need no other case, nor one another."""
    checks = (_one_side, _outside, _pieces, _islands, _gaps, _extent)
    found = [finding for structure in facts.structures for check in checks for finding in check(facts, structure)]
    return (
        *_swapped(facts),
        *found,
        *_empty(facts),
        *_placed(facts, facts.anatomy),
        *_placed(facts, facts.from_building),
    )


def told(facts: CaseFacts, structure: StructureFacts, severity: Severity, code: str, message: str) -> CaseFinding:
    """A finding on a structure, to be looked at in its middle."""
    finding = Finding(code, severity, message, structure.name, structure.slices)
    return CaseFinding(facts.name, facts.patient, finding, structure.point_zyx)


def paired_name(name: str) -> str | None:
    """The name of the organ on the other side, or None for one that has no side."""
    if name.endswith("_L"):
        return f"{name[:-2]}_R"
    return f"{name[:-2]}_L" if name.endswith("_R") else None


def is_target(structure: StructureFacts) -> bool:
    """Whether it is a target volume: of any shape, in any place, in several pieces."""
    return structure.kind in _TARGETS


# -- sides -----------------------------------------------------------------------------------------------------------


def _swapped(facts: CaseFacts) -> Iterator[CaseFinding]:
    """Left must lie to the patient's left of right."""
    for left in facts.structures:
        right = facts.structure(paired_name(left.name) or "") if left.name.endswith("_L") else None
        if right is None:
            continue
        apart = left.centroid_lps_mm[0] - right.centroid_lps_mm[0]
        if apart >= SAME_SIDE_MM:
            continue
        wrong = left if apart <= -SAME_SIDE_MM else _on_wrong_side((left, right))
        other = right if wrong is left else left
        if apart <= -SAME_SIDE_MM:
            message = f"{left.name} lies {-apart:.0f} mm to the patient's right of {right.name}: the names are swapped."
        else:
            message = f"{left.name} and {right.name} lie on one side (x differs by {abs(apart):.0f} mm)."
        finding = replace(told(facts, wrong, Severity.STOP, "wrong-side", message), beside=(other.name,))
        yield replace(finding, suggestion=_swap(facts, left, right) if apart <= -SAME_SIDE_MM else ())


def _on_wrong_side(pair: tuple[StructureFacts, StructureFacts]) -> StructureFacts:
    """Of two organs on one side, the one that does not belong there."""
    left, right = pair
    return left if left.from_body_mm is None or left.from_body_mm[0] < 0 else right


def _swap(facts: CaseFacts, left: StructureFacts, right: StructureFacts) -> tuple[Override, ...]:
    pairs = ((left.name, right.name), (right.name, left.name))
    return tuple(Override(facts.name, one, name=other, reason="sides swapped") for one, other in pairs)


def _one_side(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    """An organ whose other side was not drawn, against the middle of the body."""
    known = lookup(structure.name)
    side = known.laterality if known else None
    pair = paired_name(structure.name)
    if side not in (LEFT, RIGHT) or structure.from_body_mm is None or (pair and facts.structure(pair)):
        return
    to_left = structure.from_body_mm[0]
    across = -to_left if side == LEFT else to_left
    if across > ACROSS_MM:
        where = "right" if side == LEFT else "left"
        message = f"{structure.name} lies {across:.0f} mm to the patient's {where} of the middle of the body."
        suggestion = (Override(facts.name, structure.name, name=pair, reason="on the other side"),) if pair else ()
        yield replace(told(facts, structure, Severity.STOP, "wrong-side", message), suggestion=suggestion)


# -- place -----------------------------------------------------------------------------------------------------------


def _outside(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    """Outside the body, or where the image has nothing to show."""
    if structure.kind in _NOT_IN_BODY:
        return
    outside, blank = structure.outside, structure.blank
    if blank.fraction > BLANK_PART and blank.fraction >= MOSTLY * outside.fraction:
        severity = Severity.STOP if blank.fraction > MOSTLY else Severity.CHECK
        message = f"{structure.name}: {_percent(blank.fraction)} of it lie where the image is blank."
        found = told(facts, structure, severity, "blank-image", message)
        yield replace(found, point_zyx=blank.point_zyx, suggestion=(_clear_part(facts, structure),))
    elif outside.fraction > OUTSIDE_PART and outside.fraction * structure.volume_ml > OUTSIDE_ML:
        severity = Severity.STOP if outside.fraction > MOSTLY else Severity.CHECK
        if is_target(structure):  # its margin may leave the body
            severity = Severity.INFO
        message = f"{structure.name}: {_percent(outside.fraction)} of it lie outside the body."
        found = told(facts, structure, severity, "outside-body", message)
        away = Override(facts.name, structure.name, Status.NOT_DRAWN, reason="outside the body")
        yield replace(found, point_zyx=outside.point_zyx, suggestion=(away,) if severity is Severity.STOP else ())


def _clear_part(facts: CaseFacts, structure: StructureFacts) -> Override:
    """What is left of a structure where the image shows something."""
    clear = structure.blank.clear_slices
    if clear is None or clear[1] - clear[0] + 1 < MIN_CLEAR_SLICES:
        return Override(facts.name, structure.name, Status.NOT_DRAWN, reason="the image is blank there")
    return Override(facts.name, structure.name, Status.PARTIAL, clear, reason="the image is blank beyond")


# -- shape -----------------------------------------------------------------------------------------------------------


def _pieces(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    known = lookup(structure.name)
    allowed = 2 if known is not None and known.laterality == BOTH else 1
    if len(structure.pieces) <= allowed or is_target(structure) or _scattered(structure):
        return
    sizes = ", ".join(f"{part.volume_ml:.1f}" for part in structure.pieces)
    message = f"{structure.name} lies in {len(structure.pieces)} large pieces ({sizes} ml)."
    found = told(facts, structure, Severity.CHECK, "several-pieces", message)
    yield replace(found, point_zyx=structure.pieces[allowed].point_zyx)


def _islands(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    """Small parts away from the rest: far or sizeable ones are mistakes, the others crumbs."""
    if not structure.islands or is_target(structure) or _scattered(structure):
        return
    worst = max(structure.islands, key=lambda part: (part.distance_mm, part.volume_ml))
    islands_ml = sum(part.volume_ml for part in structure.islands)
    wrong = worst.distance_mm >= FAR_ISLAND_MM or islands_ml >= LARGE_ISLAND_PART * structure.volume_ml
    count = len(structure.islands)
    amount = f"a stray island of {islands_ml:.2f} ml" if count == 1 else f"{count} stray islands, {islands_ml:.2f} ml"
    message = f"{structure.name} has {amount}, up to {worst.distance_mm:.0f} mm from the rest."
    found = told(facts, structure, Severity.CHECK if wrong else Severity.INFO, "islands", message)
    slices = (min(p.point_zyx[0] for p in structure.islands), max(p.point_zyx[0] for p in structure.islands))
    yield replace(found, point_zyx=worst.point_zyx, finding=replace(found.finding, slices=slices))


def _gaps(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    """Slices without a contour between two that have one, in the part that is said to be known."""
    if not structure.missing or structure.extent is not None:  # what is said to be whole: see `_extent`
        return
    yield _gap(facts, structure, "within the part that is said to be drawn")


def _extent(facts: CaseFacts, structure: StructureFacts) -> Iterator[CaseFinding]:
    """What is said to be drawn whole, and by the rules of completeness is not."""
    extent = structure.extent
    if extent is None or extent.status is Status.DRAWN:
        return
    stated = Override(facts.name, structure.name, extent.status, extent.drawn_slices)
    if structure.missing:
        suggestion = (replace(stated, reason="gaps between slices"),)
        yield replace(_gap(facts, structure, "between its ends"), suggestion=suggestion)
    for finding in extent.findings:
        if finding.code == "cut-inside" and finding.slices:
            ends = " and ".join(map(str, finding.slices))
            message = f"{structure.name} is said to be whole, but ends with a full section at slice {ends}: cut there?"
            found = told(facts, structure, finding.severity, finding.code, message)
            _, y, x = structure.point_zyx
            yield replace(
                found,
                point_zyx=(finding.slices[0], y, x),
                finding=replace(found.finding, slices=finding.slices),
                suggestion=() if structure.missing else (replace(stated, reason="cut inside the image"),),
            )


def _gap(facts: CaseFacts, structure: StructureFacts, where: str) -> CaseFinding:
    count = len(structure.missing)
    slices = f"slice {structure.missing[0]}" if count == 1 else f"{count} slices ({_ranges(structure.missing)})"
    found = told(facts, structure, Severity.CHECK, "gaps", f"{structure.name} has nothing on {slices} {where}.")
    _, y, x = structure.point_zyx
    middle = structure.missing[count // 2]
    return replace(found, point_zyx=(middle, y, x), finding=replace(found.finding, slices=structure.missing))


def _scattered(structure: StructureFacts) -> bool:
    return structure.kind in _NOT_IN_BODY or structure.name in _IN_MANY_PIECES


# -- pairs and nothing -----------------------------------------------------------------------------------------------


def same_masks(facts: CaseFacts, doubted: frozenset[str]) -> Iterator[CaseFinding]:
    """One drawing under two names. Of the two, the one that other findings speak against is to be left out."""
    for pair in facts.same_masks:
        first, second = facts.structure(pair.first), facts.structure(pair.second)
        if first is None or second is None or pair.dice < ALIKE_DICE:
            continue
        alike = (is_target(first) and is_target(second)) or (first.kind is second.kind is InterpretedType.EXTERNAL)
        severity = Severity.INFO if alike else Severity.STOP if pair.dice >= SAME_DICE else Severity.CHECK
        words = "are one drawing under two names" if pair.dice >= SAME_DICE else "are nearly the same"
        message = f"{first.name} and {second.name} {words} (Dice {pair.dice:.3f})."
        wrong = [name for name in (first.name, second.name) if name in doubted]
        copies = tuple(
            Override(facts.name, name, Status.NOT_DRAWN, reason="a copy under another name") for name in wrong
        )
        found = replace(told(facts, first, severity, "same-mask", message), beside=(second.name,))
        yield replace(found, suggestion=copies if len(copies) == 1 else ())


def _empty(facts: CaseFacts) -> Iterator[CaseFinding]:
    for name in facts.empty:
        message = f"{name} is said to be drawn and has no voxel."
        suggestion = (Override(facts.name, name, Status.NOT_DRAWN, reason="nothing was drawn"),)
        finding = Finding("empty-mask", Severity.CHECK, message, name)
        yield CaseFinding(facts.name, facts.patient, finding, suggestion=suggestion)


def _placed(facts: CaseFacts, findings: tuple[Finding, ...]) -> Iterator[CaseFinding]:
    """Findings of others, with the voxel to look at: what anatomy says, and what building the case found."""
    for finding in findings:
        structure = facts.structure(finding.structure or "")
        point = structure.point_zyx if structure else None
        if point and finding.slices:
            point = (finding.slices[0], point[1], point[2])
        yield CaseFinding(facts.name, facts.patient, finding, point)


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.01 else f"{100 * part:.1f} %"


def _ranges(slices: tuple[int, ...]) -> str:
    """Slices as `3-7, 12`."""
    runs = [[z for _, z in run] for _, run in groupby(enumerate(slices), key=lambda item: item[1] - item[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
