"""What a name lets one expect of a structure, and what of a drawn one speaks against its name.

Expectations are wide: they tell the left from the right, a cord from an oesophagus, a heart from a liver; how well
something was drawn is not asked here. Children, situs inversus and what surgery moved will be contradicted.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product

from contour.cases.landmarks import Landmarks
from contour.cases.measures import Measures, measure
from contour.config import load_config, shipped_folder
from contour.core.report import Finding, Severity
from contour.core.structures import Structure
from contour.core.volume import Volume

Range = tuple[float, float]

SAME_SIDE_MM = 5.0  # left of a pair must lie at least this far to the left of right
_TO_THE_LEFT = "does not lie to the left of"
OUT_OF_ORDER_MM = 8.0  # what should be higher or in front, and lies this far the other way

# Measured values in words, and those of the ranges.
_CHECKS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("offset_mm", "lies {} of the midline", lambda mm: f"{abs(mm):.0f} mm {'left' if mm >= 0 else 'right'}"),
    ("depth", "lies at {} of the way from the front to the back of the body", lambda part: f"{part:.2f}"),
    ("above_apex_mm", "lies {} the top of the lungs", lambda mm: f"{abs(mm):.0f} mm {'above' if mm >= 0 else 'below'}"),
    (
        "above_base_mm",
        "lies {} the base of the lungs",
        lambda mm: f"{abs(mm):.0f} mm {'above' if mm >= 0 else 'below'}",
    ),
    ("section_cm2", "measures {} in axial planes", lambda cm2: f"{cm2:.1f} cm2"),
    ("mean_hu", "has {} on average", lambda hu: f"{hu:.0f} HU"),
    ("bone_around", "has {} of its surroundings as dense as bone", lambda part: f"{part:.2f}"),
    ("bone_before", "has {} of what lies in front of it as dense as bone", lambda part: f"{part:.2f}"),
    ("air_around", "has {} of its surroundings as thin as air", lambda part: f"{part:.2f}"),
)


@dataclass(frozen=True)
class Expectation:
    """Ranges for a TG-263 name, see `Measures`; None is not checked. `configs/names/anatomy.yaml` explains them."""

    names: tuple[str, ...]
    volume_ml: Range | None = None
    section_cm2: Range | None = None
    offset_mm: Range | None = None
    depth: Range | None = None
    above_apex_mm: Range | None = None
    above_base_mm: Range | None = None
    mean_hu: Range | None = None
    bone_around: Range | None = None
    bone_before: Range | None = None
    air_around: Range | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limits = getattr(self, field.name)
            if field.name != "names" and limits is not None and not limits[0] < limits[1]:
                raise ValueError(f"{field.name} {limits}: the first value must be below the second")


@dataclass(frozen=True)
class AnatomyFile:
    """`configs/names/anatomy.yaml`: expectations of each structure, and the order of pairs of them."""

    structures: tuple[Expectation, ...]
    above: tuple[tuple[str, str], ...]
    before: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Measured:
    """A structure's name and what was measured of it."""

    name: str
    measures: Measures


def expectation(name: str) -> Expectation | None:
    """What is expected of a TG-263 name (of its left-right range: for its own side), or None where nothing is."""
    return _expectations().get(name)


def contradictions(structure: Structure, volume: Volume, landmarks: Landmarks) -> tuple[Finding, ...]:
    """What the anatomy says against the name of `structure`, drawn on `volume`, whose `landmarks` are these.

    One finding for each expectation that is not met, code `anatomy-...`: `anatomy-side` (STOP) where the structure lies
    on the other side of the body, the others CHECK. Empty for an empty structure and for a name of which nothing is
    expected.
    """
    measured = measure_named(structure, volume, landmarks)
    return () if measured is None else judge(measured)


def measure_named(structure: Structure, volume: Volume, landmarks: Landmarks) -> Measured | None:
    """What `judge` needs to know of a structure; None for an empty one, or a name of which nothing is expected."""
    expected = expectation(structure.name)
    if expected is None:
        return None
    surroundings = (expected.bone_around, expected.bone_before, expected.air_around) != (None, None, None)
    measures = measure(structure, volume, landmarks, surroundings=surroundings)
    return None if measures is None else Measured(structure.name, measures)


def judge(measured: Measured) -> tuple[Finding, ...]:
    """`contradictions`, from what was measured."""
    name, measures = measured.name, measured.measures
    expected = expectation(name)
    if expected is None:
        return ()
    findings = list(_volume(name, measures, expected))
    for key, words, text in _CHECKS:
        limits, value = getattr(expected, key), getattr(measures, key)
        if limits is None or math.isnan(value) or limits[0] <= value <= limits[1]:
            continue
        if key == "section_cm2" and value < limits[0] and measures.cut:
            continue
        side = key == "offset_mm" and name[-2:] in ("_L", "_R") and value * (1 if name.endswith("_L") else -1) < 0
        code = "anatomy-side" if side else f"anatomy-{key.removesuffix('_mm').removesuffix('_cm2').replace('_', '-')}"
        message = f"{name} {words.format(text(value))}; expected: {text(limits[0])} to {text(limits[1])}."
        findings.append(Finding(code, Severity.STOP if side else Severity.CHECK, message, name))
    return tuple(findings)


def judge_together(structures: tuple[Measured, ...]) -> tuple[Finding, ...]:
    """What the structures of one set say against each other's names: sides exchanged, or an order that cannot be.

    Of two that stand against each other the one that stands against more is blamed, both where there is no such: one
    wrong name among right ones is found alone, two exchanged ones are both.
    """
    wrong = [(a, b, f"{a} {words} {b}") for a, b, words, is_wrong in _relations(structures) if is_wrong]
    blamed: dict[str, list[str]] = {}
    while wrong:
        counts = Counter(name for a, b, _ in wrong for name in (a, b))
        worst = {name for name, count in counts.items() if count == max(counts.values())}
        for name in sorted(worst):
            blamed[name] = [reason for a, b, reason in wrong if name in (a, b)]
        wrong = [(a, b, reason) for a, b, reason in wrong if not worst & {a, b}]
    findings = []
    for name, reasons in blamed.items():
        message = f"{name} contradicts its neighbours: {'; '.join(reasons)}."
        severity = Severity.STOP if any(_TO_THE_LEFT in reason for reason in reasons) else Severity.CHECK
        findings.append(Finding("anatomy-order", severity, message, name))
    return tuple(findings)


def _volume(name: str, measures: Measures, expected: Expectation) -> Iterator[Finding]:
    if expected.volume_ml is None:
        return
    low, high = expected.volume_ml
    if measures.volume_ml > high or (measures.volume_ml < low and not measures.cut):
        message = f"{name} has {measures.volume_ml:.1f} ml; expected: {low:g} ml to {high:g} ml."
        yield Finding("anatomy-volume", Severity.CHECK, message, name)


def _relations(structures: tuple[Measured, ...]) -> Iterator[tuple[str, str, str, bool]]:
    """Pairs that have an order, in words what is wrong with it, and whether it is."""
    by_stem: dict[str, list[Measured]] = {}
    for one in structures:
        by_stem.setdefault(_stem(one.name), []).append(one)
    for stem, sides in by_stem.items():
        left = next((s for s in sides if s.name == f"{stem}_L"), None)
        right = next((s for s in sides if s.name == f"{stem}_R"), None)
        if left is not None and right is not None:
            apart = left.measures.offset_mm - right.measures.offset_mm
            yield left.name, right.name, _TO_THE_LEFT, apart < SAME_SIDE_MM
    file = _file()
    for upper, lower in file.above:
        for a, b in product(by_stem.get(upper, ()), by_stem.get(lower, ())):
            if not a.measures.cut_above:
                apart = a.measures.height_mm - b.measures.height_mm
                yield a.name, b.name, "does not lie above", apart < -OUT_OF_ORDER_MM
    for front, back in file.before:
        for a, b in product(by_stem.get(front, ()), by_stem.get(back, ())):
            apart = b.measures.course.behind(a.measures.course)
            if not math.isnan(apart):
                yield a.name, b.name, "does not lie in front of", apart < -OUT_OF_ORDER_MM


def _stem(name: str) -> str:
    return name[:-2] if name[-2:] in ("_L", "_R") else name


@cache
def _file() -> AnatomyFile:
    return load_config(shipped_folder("configs") / "names" / "anatomy.yaml", AnatomyFile)


@cache
def _expectations() -> dict[str, Expectation]:
    found = {}
    for expected in _file().structures:
        for name in expected.names:
            mirrored = expected.offset_mm is not None and name.endswith("_R")
            own = replace(expected, names=(name,))
            if mirrored and expected.offset_mm is not None:
                own = replace(own, offset_mm=(-expected.offset_mm[1], -expected.offset_mm[0]))
            found[name] = own
    return found
