"""What was drawn: cut, empty, of an odd size, in pieces or with gaps, on the wrong side, unsure."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contour.core.nomenclature import partial_name
from contour.core.protocol import Components, Protocol, ProtocolStructure
from contour.core.report import Finding, Severity
from contour.core.structures import Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.imaging.components import parts_of

MIN_PIECE_PART = 0.005  # crumbs below half a percent of the volume are not called a piece
SAME_SIDE_MM = 5.0
CUT_CODES = ("cut-by-scan", "cut-by-field", "of-a-part")


def check_structures(
    structures: StructureSet, volume: Volume, protocol: Protocol, absent: frozenset[str] = frozenset()
) -> tuple[Finding, ...]:
    """Findings on each structure, in the order of the structure set; `slices` are z indices of the image.

    Of `absent` ones it is known that they are not in the image: nobody looked for them.
    """
    rules = {rule.name: rule for rule in protocol.structures}
    findings: list[Finding] = []
    for structure in structures.structures:
        rule = rules.get(structure.name, ProtocolStructure(structure.name))
        if structure.empty:
            findings += [] if structure.name in absent else [_not_found(structure, rule)]
            continue
        cut = cut_by_image(structure, structures, rule)
        findings += cut
        findings += _volume(structures.volume_ml(structure), rule, is_cut=bool(cut))
        findings += _pieces(structure, rule)
        findings += _mean_hu(structure, volume, rule)
        findings += _confidence(structure, rule)
    return tuple(findings) + _sides(structures)


def _not_found(structure: Structure, rule: ProtocolStructure) -> Finding:
    severity = Severity.CHECK if rule.required else Severity.INFO
    return Finding("not-found", severity, f"{structure.name} was looked for and not found.", structure.name)


def cut_by_image(structure: Structure, structures: StructureSet, rule: ProtocolStructure) -> list[Finding]:
    """A structure that reaches the image's border goes on beyond it: what was drawn is a part."""
    findings = []
    box, shape = structure.box, structures.geometry.shape_zyx
    ends = [z for z, reached in ((0, box.start_zyx[0] == 0), (shape[0] - 1, box.stop_zyx[0] == shape[0])) if reached]
    if ends:
        severity = Severity.INFO if rule.runs_on else Severity.CHECK
        which = " and ".join("first" if z == 0 else "last" for z in ends)
        message = f"{structure.name} reaches the {which} slice: it goes on beyond the image, its volume is a part."
        findings.append(Finding("cut-by-scan", severity, message + _named(rule), structure.name, tuple(ends)))
    sideways = [a for a in (1, 2) if box.start_zyx[a] == 0 or box.stop_zyx[a] == shape[a]]
    if sideways:
        message = f"{structure.name} reaches the edge of the image: it goes on outside the field of view."
        slices = (box.start_zyx[0], box.stop_zyx[0] - 1)
        findings.append(Finding("cut-by-field", Severity.CHECK, message + _named(rule), structure.name, slices))
    return findings


def _named(rule: ProtocolStructure) -> str:
    if rule.runs_on:
        return ""
    partial = partial_name(rule.name)
    return f" It is written as {partial}." if partial else " Its name has no room for TG-263's tilde and stays."


def named_as_parts(
    structures: StructureSet, findings: tuple[Finding, ...], protocol: Protocol
) -> tuple[StructureSet, tuple[Finding, ...]]:
    """Structures that the image cuts, under TG-263's names for parts (`~Liver`), and their findings under these.

    One that usually runs on beyond an image (`ProtocolStructure.runs_on`) keeps its name, and so does one whose name
    has no room for the sign.
    """
    run_on = {rule.name for rule in protocol.structures if rule.runs_on}
    cut = {f.structure for f in findings if f.code in CUT_CODES and f.structure is not None} - run_on
    names = {name: partial_name(name) or name for name in cut}
    renamed = tuple(replace(s, name=names.get(s.name, s.name)) for s in structures.structures)
    about = tuple(replace(f, structure=names.get(f.structure or "", f.structure)) for f in findings)
    return replace(structures, structures=renamed), about


def _volume(volume_ml: float, rule: ProtocolStructure, *, is_cut: bool) -> list[Finding]:
    if rule.volume_ml is None:
        return []
    low, high = rule.volume_ml
    # A part of an organ may be small without being wrong.
    if volume_ml > high or (volume_ml < low and not is_cut):
        message = f"{rule.name} has {volume_ml:.1f} ml; plausible are {low:g} to {high:g} ml."
        return [Finding("volume-implausible", Severity.CHECK, message, rule.name)]
    return []


def _pieces(structure: Structure, rule: ProtocolStructure) -> list[Finding]:
    """Slices left out of something that goes on behind them, and pieces that this does not account for."""
    severity = Severity.INFO if rule.components is Components.ALL else Severity.CHECK
    findings = []
    gaps = _gaps(structure)
    if gaps:
        count = sum(last - first + 1 for first, last in gaps)
        message = f"{structure.name} is drawn below and above {count} slice{'s' * (count > 1)} that it is missing on."
        ends = tuple(z for gap in gaps for z in dict.fromkeys(gap))
        findings.append(Finding("missing-slices", severity, message, structure.name, ends))
    sizes = parts_of(structure.mask_zyx, 26).voxels
    pieces = int(np.count_nonzero(sizes >= MIN_PIECE_PART * sizes.sum()))
    if pieces > 1 + len(gaps):
        message = f"{structure.name} lies in {pieces} pieces."
        findings.append(Finding("several-pieces", severity, message, structure.name))
    return findings


def _gaps(structure: Structure) -> list[tuple[int, int]]:
    """First and last slice of each run without the structure whose sections on both sides lie over each other.

    What lies apart sideways, too, is another piece; and a crumb below or above leaves no gap.
    """
    areas = np.array([np.count_nonzero(plane) for plane in structure.mask_zyx])
    drawn = np.flatnonzero(areas)
    below, total = np.cumsum(areas), areas.sum()
    return [
        (structure.box.start_zyx[0] + int(z) + 1, structure.box.start_zyx[0] + int(after) - 1)
        for z, after in pairwise(drawn)
        if after > z + 1
        and MIN_PIECE_PART * total <= below[z] <= (1 - MIN_PIECE_PART) * total
        and (structure.mask_zyx[z] & structure.mask_zyx[after]).any()
    ]


def _mean_hu(structure: Structure, volume: Volume, rule: ProtocolStructure) -> list[Finding]:
    if rule.mean_hu is None or volume.modality is not Modality.CT:
        return []
    low, high = rule.mean_hu
    planes = zip(volume.voxels_zyx[structure.box.slices], structure.mask_zyx, strict=True)
    total = sum(float(values.sum(where=inside, dtype=np.float64)) for values, inside in planes)
    mean = total / np.count_nonzero(structure.mask_zyx)
    if low <= mean <= high:
        return []
    message = f"{structure.name} has {mean:.0f} HU on average; plausible are {low:g} to {high:g} HU."
    return [Finding("hu-implausible", Severity.CHECK, message, structure.name)]


def _confidence(structure: Structure, rule: ProtocolStructure) -> list[Finding]:
    if structure.confidence is None or structure.confidence >= rule.min_confidence:
        return []
    message = f"{structure.name} was drawn with confidence {structure.confidence:.2f}, below {rule.min_confidence:g}."
    return [Finding("low-confidence", Severity.CHECK, message, structure.name)]


def _sides(structures: StructureSet) -> tuple[Finding, ...]:
    """Left must lie to the patient's left of right: a pair that does not is swapped, or one of it misplaced."""
    found = {s.name: s for s in structures.structures if not s.empty}
    findings = []
    for name, left in found.items():
        right = found.get(f"{name[:-2]}_R") if name.endswith("_L") else None
        if right is None:
            continue
        apart = centroid_lps_mm(left, structures)[0] - centroid_lps_mm(right, structures)[0]
        if apart < SAME_SIDE_MM:
            message = f"{left.name} does not lie to the patient's left of {right.name} (x differs by {apart:.0f} mm)."
            findings.append(Finding("wrong-side", Severity.STOP, message, left.name))
            findings.append(Finding("wrong-side", Severity.STOP, message, right.name))
    return tuple(findings)


def centroid_lps_mm(structure: Structure, structures: StructureSet) -> NDArray[np.float64]:
    """(3,) x, y, z of the mean of a structure's voxels, in mm, LPS."""
    sums = [structure.mask_zyx.sum(axis=tuple(i for i in range(3) if i != axis)) for axis in range(3)]
    inside = [float((np.arange(s.size) * s).sum() / s.sum()) for s in sums]
    index = np.asarray(inside) + np.asarray(structure.offset_zyx)
    return structures.geometry.index_to_lps_mm(index)
