"""Is a structure complete? What its contours tell of slices on which nobody drew it.

The rule. An organ that reaches the first or last slice of the scan is complete there: the scan ends, not the drawing.
An organ that ends inside the image is judged by how that organ ends in the body:

- **runs on** (cord, canal, oesophagus, great vessels, bowel, body outline): it passes from slice to slice. If its last
  section is still at least half of the median section of the 15 mm behind it, the drawing ended, not the organ: it is
  drawn in part, up to that slice. It did end if a structure that follows it in the body begins within 10 mm beyond
  (the brainstem above the cord), or if it ends where it should beside a neighbour that the scan shows to its end (the
  oesophagus at most 50 mm above the lowest slice of a lung: there it enters the stomach).
- **closes** (lungs, heart, liver, kidneys, brain ...): its sections shrink towards its end. If the last one is still at
  least three quarters of the median of all, it was cut there: drawn in part.
- every other organ or end (small organs of a few slices, vertebrae, targets, ends set by convention) is taken as drawn.

An organ without contours on some slices between its ends is drawn in part: on its longest run of slices without a gap
(not drawn at all, where that is less than half of them). A slice with less than a tenth of the section on both sides of
it counts as a gap: its main contour was forgotten. Targets may lie in several pieces and have no gaps.

An organ whose ROI is named as a part (TG-263's tilde, `~Liver`) is taken at its word: complete between its first and
its last slice, and unknown beyond them, unless the scan ends there.

What only a person can know (a heart drawn to the wrong height, a convention of the site) is stated in an overrides
file: see `contour.cases.overrides`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import edt
import numpy as np
from numpy.typing import NDArray

from contour.cases.store import Status
from contour.core.geometry import Geometry
from contour.core.nomenclature import lookup
from contour.core.report import Finding, Severity
from contour.core.structures import InterpretedType, Mask, Structure

RUNNING_SECTION = 0.5  # of the median section: less is a taper
CUT_SECTION = 0.75  # a heart lies on the diaphragm with up to 0.6
BEHIND_MM = 15.0
FOLLOWS_WITHIN_MM = 10.0
ENDS_BESIDE_MM = 50.0
CRUMB_SECTION = 0.1
MIN_SLICES_THAT_CLOSE = 5  # of fewer slices, thick ones, the last may be large by nature
MIN_RUN = 3
LONGEST_RUN_FRACTION = 0.5  # of the drawn slices: shorter, and what was drawn is too scattered to be of use
UPRIGHT = 0.7  # the z axis of the image runs along the body: cosine of 45 degrees
_IN_PIECES = (InterpretedType.GTV, InterpretedType.CTV, InterpretedType.PTV)


class Ending(StrEnum):
    """How an organ ends along the body."""

    RUNS_ON = "runs on"
    CLOSES = "closes"
    ANY = "any"


@dataclass(frozen=True)
class End:
    """One end of an organ; the structures that follow it there, and those that end with it."""

    ending: Ending
    followed_by: tuple[str, ...] = ()
    ends_beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Course:
    """The two ends of an organ along the body."""

    superior: End
    inferior: End


@dataclass(frozen=True)
class Completeness:
    """What is known of a structure's extent: as `CaseStructure` states it, and why."""

    status: Status
    drawn_slices: tuple[int, int] | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class DrawnStructure:
    """A structure and the slices (sorted z indices of the image) on which it has contours, however small.

    `in_part` says that whoever drew it named it as a part.
    """

    structure: Structure
    contour_slices: tuple[int, ...]
    in_part: bool = False


_ANY = End(Ending.ANY)
_RUNS_ON = End(Ending.RUNS_ON)
_CLOSES = End(Ending.CLOSES)
_COURSES = {
    "SpinalCord": Course(End(Ending.RUNS_ON, ("Brainstem", "Brain")), End(Ending.RUNS_ON, ("CaudaEquina",))),
    "SpinalCanal": Course(End(Ending.RUNS_ON, ("Brainstem", "Brain")), End(Ending.RUNS_ON, ("Sacrum",))),
    "Esophagus": Course(
        End(Ending.RUNS_ON, ("Pharynx", "Larynx", "Musc_Constrict")),
        End(Ending.RUNS_ON, ("Stomach",), ("Lung_L", "Lung_R", "Lungs")),
    ),
    "Trachea": Course(End(Ending.RUNS_ON, ("Larynx",)), _ANY),  # below, it ends where it divides, with a full section
    "A_Aorta": Course(_ANY, End(Ending.RUNS_ON, ("A_Iliac_L", "A_Iliac_R"))),
    "A_Carotid": Course(_RUNS_ON, _ANY),
    "V_Jugular_Int": Course(_RUNS_ON, _ANY),
    "V_Venacava_I": Course(_ANY, End(Ending.RUNS_ON, ("V_Iliac_L", "V_Iliac_R"))),
    "Bowel": Course(_RUNS_ON, _RUNS_ON),
    "Bowel_Large": Course(_RUNS_ON, _RUNS_ON),
    "Bowel_Small": Course(_RUNS_ON, _RUNS_ON),
    "Colon": Course(_RUNS_ON, _RUNS_ON),
    "Bone": Course(_RUNS_ON, _RUNS_ON),
    "Body": Course(_RUNS_ON, _RUNS_ON),
    "External": Course(_RUNS_ON, _RUNS_ON),
    "Skin": Course(_RUNS_ON, _RUNS_ON),
    **{
        name: Course(_CLOSES, _CLOSES)
        for name in ("Lung", "Lungs", "Heart", "Pericardium", "Liver", "Spleen", "Kidney", "Kidneys", "Stomach")
    },
    **{name: Course(_CLOSES, _CLOSES) for name in ("Brain", "Bladder", "Breast", "Breasts")},
}


def course(name: str) -> Course:
    """How the organ of a TG-263 name ends; the sides of a pair end alike, and unknown ones in any way."""
    return _COURSES.get(name) or _COURSES.get(name.removesuffix("_L").removesuffix("_R")) or Course(_ANY, _ANY)


def judge(drawn: DrawnStructure, others: Mapping[str, tuple[int, int]], geometry: Geometry) -> Completeness:
    """What the contours of `drawn` say of its extent; `others` are first and last slice of the other structures.

    An image whose slices do not run along the body (sagittal, coronal) tells nothing of the ends.
    """
    drawn = without_crumbs(drawn)
    name, slices = drawn.structure.name, drawn.contour_slices
    gaps = gaps_of(drawn)
    first, last = _longest_run(slices) if gaps else (slices[0], slices[-1])
    findings = []
    if gaps:
        count = f"{len(gaps)} slice{'s' if len(gaps) > 1 else ''} between {slices[0]} and {slices[-1]}"
        message = f"{name} has no contour, or a crumb of one, on {count}"
        if last - first + 1 < max(MIN_RUN, LONGEST_RUN_FRACTION * len(slices)):
            message += f", and on {last - first + 1} in a row at most: taken as not drawn."
            return Completeness(Status.NOT_DRAWN, None, (Finding("gaps", Severity.CHECK, message, name, gaps),))
        message += f": taken as drawn in part, from {first} to {last}."
        findings.append(Finding("gaps", Severity.CHECK, message, name, gaps))
    cut = tuple(end for end, step in ((slices[0], -1), (slices[-1], 1)) if _is_cut(drawn, step, others, geometry))
    if cut:
        ends = " and ".join(map(str, cut))
        message = f"{name} has a full section where it ends inside the image, at slice {ends}: taken as drawn in part."
        severity = Severity.INFO if _runs_on(name) else Severity.CHECK
        findings.append(Finding("cut-inside", severity, message, name, cut))
    low = first if first > slices[0] or slices[0] in cut or drawn.in_part else 0
    high = last if last < slices[-1] or slices[-1] in cut or drawn.in_part else geometry.shape_zyx[0] - 1
    if (low, high) == (0, geometry.shape_zyx[0] - 1):
        return Completeness(Status.DRAWN, None, tuple(findings))
    return Completeness(Status.PARTIAL, (low, high), tuple(findings))


def without_crumbs(drawn: DrawnStructure) -> DrawnStructure:
    """`drawn` without the slices on which only a crumb of it was drawn: they are gaps. The mask stays as it is."""
    if _in_pieces(drawn.structure.name):
        return drawn
    first, sections = drawn.contour_slices[0], _sections(drawn)
    crumbs = set()
    for i in range(1, len(sections) - 1):
        beside = min(sections[max(0, i - 2) : i].max(), sections[i + 1 : i + 3].max())
        if sections[i] < CRUMB_SECTION * beside:
            crumbs.add(first + i)
    return replace(drawn, contour_slices=tuple(z for z in drawn.contour_slices if z not in crumbs))


def gaps_of(drawn: DrawnStructure) -> tuple[int, ...]:
    """The slices between the structure's ends that have no contour; none for what may lie in several pieces."""
    if _in_pieces(drawn.structure.name):
        return ()
    slices = drawn.contour_slices
    return tuple(sorted(set(range(slices[0], slices[-1] + 1)).difference(slices)))


def fill_gaps(drawn: DrawnStructure, spacing_zyx_mm: tuple[float, float, float], max_gap_mm: float) -> DrawnStructure:
    """`drawn` with its gaps filled where the contours on both sides are at most `max_gap_mm` apart.

    Shape-based interpolation (Raya and Udupa 1990, doi:10.1109/42.52980): the signed distances to the outlines on both
    sides, mixed in proportion to how far away they are. What a wider gap leaves out stays out, and so do the gaps of
    what may lie in several pieces.
    """
    structure, slices = drawn.structure, drawn.contour_slices
    if not gaps_of(drawn):
        return drawn
    mask, start = structure.mask_zyx.copy(), structure.offset_zyx[0]
    filled = set(slices)
    for a, b in pairwise(slices):
        sides = [mask[z - start] for z in (a, b) if 0 <= z - start < len(mask) and mask[z - start].any()]
        if b - a == 1 or (b - a) * spacing_zyx_mm[0] > max_gap_mm + 1e-6 or len(sides) < 2:
            continue
        below, above = (_signed_distance_mm(side, spacing_zyx_mm[1:]) for side in sides)
        for z in range(a + 1, b):
            part = (z - a) / (b - a)
            mask[z - start] |= (1 - part) * below + part * above > 0
        filled.update(range(a + 1, b))
    return replace(drawn, structure=replace(structure, mask_zyx=mask), contour_slices=tuple(sorted(filled)))


def _in_pieces(name: str) -> bool:
    known = lookup(name)
    return known is not None and known.interpreted_type in _IN_PIECES


def _is_cut(drawn: DrawnStructure, step: int, others: Mapping[str, tuple[int, int]], geometry: Geometry) -> bool:
    """Whether the structure's end towards lower (`step` -1) or higher (1) z was made by who drew it, not by nature."""
    end = drawn.contour_slices[0] if step < 0 else drawn.contour_slices[-1]
    upwards = step * geometry.axes_lps[0][2]
    if end in (0, geometry.shape_zyx[0] - 1) or abs(upwards) < UPRIGHT:
        return False
    organ = course(drawn.structure.name)
    rule = organ.superior if upwards > 0 else organ.inferior
    sections = _sections(drawn)[::-step]  # from the end inwards
    spacing_mm = geometry.spacing_zyx_mm[0]
    if rule.ending is Ending.CLOSES:
        return len(sections) >= MIN_SLICES_THAT_CLOSE and bool(sections[0] >= CUT_SECTION * np.median(sections))
    if rule.ending is Ending.RUNS_ON and not (
        _followed(end, step * FOLLOWS_WITHIN_MM / spacing_mm, rule, others)
        or _ends_beside(end, step, rule, others, geometry)
    ):
        behind = sections[1 : 2 + int(BEHIND_MM / spacing_mm)]
        return not behind.size or bool(sections[0] >= RUNNING_SECTION * np.median(behind))
    return False


def _followed(end: int, reach: float, rule: End, others: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a structure that follows lies, in part, within `reach` slices (signed) beyond `end`."""
    low, high = sorted((end + np.sign(reach), end + reach))
    return any(first <= high and last >= low for first, last in (others[n] for n in rule.followed_by if n in others))


def _ends_beside(end: int, step: int, rule: End, others: Mapping[str, tuple[int, int]], geometry: Geometry) -> bool:
    """Whether a neighbour that ends with the organ does so not much further out, and inside the image."""
    border = 0 if step < 0 else geometry.shape_zyx[0] - 1
    ends = [others[name][0 if step < 0 else 1] for name in rule.ends_beside if name in others]
    reach = ENDS_BESIDE_MM / geometry.spacing_zyx_mm[0]
    return any(other != border and step * (other - end) <= reach for other in ends)


def _runs_on(name: str) -> bool:
    organ = course(name)
    return Ending.RUNS_ON in (organ.superior.ending, organ.inferior.ending)


def _sections(drawn: DrawnStructure) -> NDArray[np.intp]:
    """Voxels on each slice from the first to the last with a contour."""
    structure, slices = drawn.structure, drawn.contour_slices
    sections = np.zeros(slices[-1] + 1, dtype=np.intp)
    start = structure.offset_zyx[0]
    sections[start : start + len(structure.mask_zyx)] = np.count_nonzero(structure.mask_zyx, axis=(1, 2))
    return sections[slices[0] :]


def _longest_run(slices: tuple[int, ...]) -> tuple[int, int]:
    """First and last of the longest run of neighbouring slices; of those alike the lowest."""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(slices)) if b - a > 1), len(slices)]
    begin, stop = max(pairwise(breaks), key=lambda run: run[1] - run[0])
    return slices[begin], slices[stop - 1]


def _signed_distance_mm(mask_yx: Mask, spacing_yx_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Distance to the outline, positive inside; beyond the mask's box all is outside."""
    inside = edt.edt(mask_yx.astype(np.uint8), anisotropy=spacing_yx_mm, black_border=True)
    outside = edt.edt((~mask_yx).astype(np.uint8), anisotropy=spacing_yx_mm)
    distance: NDArray[np.float32] = inside - outside
    return distance
