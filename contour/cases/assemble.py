"""One pair of image series and structure set -> a case: masks on the image's grid, and what is known of each.

What cannot be trusted is left out and said: one ROI where only that ROI is at fault, the whole pair otherwise.
Positions decide: references that dangle are noted where every contour lies on a plane of the image, and what lies
between planes is left out. Nothing is joined, filled or renamed unless a person said so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from contour.cases.archive_index import IndexedPair, read_pair
from contour.cases.completeness import Completeness, DrawnStructure, fill_gaps, judge, without_crumbs
from contour.cases.overrides import Override, Overrides
from contour.cases.store import Case, CaseRecord, CaseSource, CaseStructure, Status
from contour.core.errors import ConfigError, InputRefused, Reason
from contour.core.nomenclature import PARTIAL_SIGN
from contour.core.report import Finding, Severity
from contour.core.structures import Mask, Structure, StructureSet
from contour.dicom.rtstruct_check import check_contents
from contour.dicom.rtstruct_contents import RoiDefinition, RtstructContents
from contour.dicom.rtstruct_read import place_contours, read_roi
from contour.dicom.series import ImageSeries

MAX_LABEL_LENGTH = 16


@dataclass(frozen=True)
class CaseOptions:
    """What a person decides about every case.

    `structures` are the TG-263 names to keep (none: all that the map knows). ROIs of one set that the map gives one
    name are united where that name is in `join`, and left out otherwise. Gaps are filled where the contours on both
    sides are at most `fill_gaps_mm` apart.
    """

    structures: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    fill_gaps_mm: float = 0.0
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True)
class CaseToBuild:
    """A pair, the name of its case, and what the map of names says of its ROIs.

    `names` are (ROI name, TG-263 name) of those that have one; `unknown_names` ROI names that the map lacks.
    """

    pair: IndexedPair
    name: str
    names: tuple[tuple[str, str], ...]
    unknown_names: tuple[str, ...]
    options: CaseOptions


@dataclass(frozen=True)
class LeftOut:
    """ROIs of a structure set that did not become the structure `name`, and why; `code` is stable."""

    name: str
    roi_names: tuple[str, ...]
    code: str
    why: str


@dataclass(frozen=True)
class AssembledCase:
    """A case, what was found on the way, and what of its structure set is not in it."""

    case: Case
    findings: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...]


def assemble_case(wanted: CaseToBuild) -> AssembledCase:
    """Read a pair and make its case.

    Raises:
        InputRefused: as `read_pair`; `wrong-series` if images and structure set are of two patients; `no-structures`
            if nothing that is wanted was drawn.
        ConfigError: an override states slices that the image does not have.
        OSError: a file cannot be read.
    """
    series, contents = read_pair(wanted.pair)
    _require_same_patient(contents, series)
    rois, left_out = _read_rois(wanted, contents, series)
    drawn, ambiguous = _one_per_name(rois, wanted.options.join)
    left_out += ambiguous
    findings = [*wanted.pair.findings, *_series_findings(series), *_contour_findings(contents, series, rois)]
    if wanted.options.fill_gaps_mm > 0:
        drawn, filled = _with_filled_gaps(drawn, series, wanted.options.fill_gaps_mm)
        findings += filled
    extents = {roi.name: (roi.drawn.contour_slices[0], roi.drawn.contour_slices[-1]) for roi in drawn}
    chosen = [roi for roi in drawn if not wanted.options.structures or roi.name in wanted.options.structures]
    judged = [(roi, _judged(roi, extents, wanted, series)) for roi in chosen]
    findings += [finding for _, completeness in judged for finding in completeness.findings]
    findings += _unused_overrides(rois, wanted)
    case = _case(wanted, contents, series, judged, left_out)
    return AssembledCase(case, tuple(findings), tuple(left_out))


@dataclass(frozen=True)
class _Roi:
    """An ROI that was read: `mapped` is its name by the map, `name` by a person who corrected that."""

    name: str
    mapped: str
    roi_names: tuple[str, ...]
    drawn: DrawnStructure


# -- ROIs --------------------------------------------------------------------------------------------------------------


def _require_same_patient(contents: RtstructContents, series: ImageSeries) -> None:
    if contents.patient_id != series.identity.patient_id:  # an ID of a patient stays out of messages
        where, allowed = str(contents.path), "the Patient ID of the images"
        raise InputRefused(Reason.WRONG_SERIES, where, "another Patient ID", allowed)


def _read_rois(
    wanted: CaseToBuild, contents: RtstructContents, series: ImageSeries
) -> tuple[list[_Roi], list[LeftOut]]:
    names = dict(wanted.names)
    rois: list[_Roi] = []
    left_out: list[LeftOut] = []
    for definition in contents.rois:
        mapped = names.get(definition.name)
        if mapped is None:
            continue
        override = wanted.options.overrides.of(wanted.name, mapped)
        name = override.name if override is not None and override.name is not None else mapped
        found = _read_roi(name, definition, contents, series)
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            rois.append(_Roi(name, mapped, (definition.name,), found))
    return rois, left_out


def _read_roi(
    name: str, definition: RoiDefinition, contents: RtstructContents, series: ImageSeries
) -> DrawnStructure | LeftOut:
    roi_names = (definition.name,)
    try:
        structure = replace(read_roi(contents, definition, series), name=name)
    except InputRefused as refused:
        return LeftOut(name, roi_names, str(refused.reason), f"{refused.found}; allowed: {refused.allowed}")
    contours = contents.contours_of(definition.number)
    filled = contours.closed & (contours.point_counts >= 3) if contours is not None else np.zeros(0, dtype=bool)
    if contours is None or not filled.any():
        return LeftOut(name, roi_names, "no-contours", "it has no closed contour")
    if structure.empty:
        return LeftOut(name, roi_names, "no-voxel", f"its {int(filled.sum())} contours hold no voxel's centre")
    slices = np.unique(place_contours(contours, series.volume.geometry).slice_indices[filled])
    in_part = definition.name.strip().startswith(PARTIAL_SIGN)
    return DrawnStructure(structure, tuple(int(z) for z in slices), in_part)


def _one_per_name(rois: list[_Roi], join: tuple[str, ...]) -> tuple[list[_Roi], list[LeftOut]]:
    """Each name once: several ROIs of one name are united where a person said so, or where they are the same."""
    groups: dict[str, list[_Roi]] = {}
    for roi in rois:
        groups.setdefault(roi.name, []).append(roi)
    drawn: list[_Roi] = []
    left_out: list[LeftOut] = []
    for name, group in groups.items():
        if len(group) == 1:
            drawn.append(group[0])
        elif name in join or all(_same_mask(group[0], other) for other in group[1:]):
            drawn.append(_united(group))
        else:
            roi_names = tuple(n for roi in group for n in roi.roi_names)
            why = f"{len(group)} ROIs of this name: which one it is, or that they belong together, a person must say"
            left_out.append(LeftOut(name, roi_names, "ambiguous", why))
    return drawn, left_out


def _same_mask(a: _Roi, b: _Roi) -> bool:
    first, second = a.drawn.structure, b.drawn.structure
    return first.offset_zyx == second.offset_zyx and np.array_equal(first.mask_zyx, second.mask_zyx)


def _united(group: list[_Roi]) -> _Roi:
    structures = [roi.drawn.structure for roi in group]
    start = np.min([s.box.start_zyx for s in structures], axis=0)
    stop = np.max([s.box.stop_zyx for s in structures], axis=0)
    mask: Mask = np.zeros(tuple(stop - start), dtype=np.bool_)
    for structure in structures:
        within = tuple(slice(a - o, b - o) for a, b, o in zip(*_corners(structure), start, strict=True))
        mask[within] |= structure.mask_zyx
    offset = (int(start[0]), int(start[1]), int(start[2]))
    slices = tuple(sorted({z for roi in group for z in roi.drawn.contour_slices}))
    in_part = all(roi.drawn.in_part for roi in group)
    united = DrawnStructure(replace(structures[0], mask_zyx=mask, offset_zyx=offset), slices, in_part)
    return replace(group[0], roi_names=tuple(n for roi in group for n in roi.roi_names), drawn=united)


def _corners(structure: Structure) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return structure.box.start_zyx, structure.box.stop_zyx


def _with_filled_gaps(rois: list[_Roi], series: ImageSeries, max_gap_mm: float) -> tuple[list[_Roi], list[Finding]]:
    done, findings = [], []
    for roi in rois:
        before = without_crumbs(roi.drawn)
        drawn = fill_gaps(before, series.volume.geometry.spacing_zyx_mm, max_gap_mm)
        slices = tuple(sorted(set(drawn.contour_slices) - set(before.contour_slices)))
        if slices:
            message = f"{roi.name}: {len(slices)} slices without a contour were filled from their neighbours."
            findings.append(Finding("gaps-filled", Severity.INFO, message, roi.name, slices))
        done.append(replace(roi, drawn=drawn))
    return done, findings


# -- what is known of them ---------------------------------------------------------------------------------------------


def _judged(roi: _Roi, extents: dict[str, tuple[int, int]], wanted: CaseToBuild, series: ImageSeries) -> Completeness:
    override = wanted.options.overrides.of(wanted.name, roi.mapped)
    if override is None or override.status is None:
        return judge(roi.drawn, extents, series.volume.geometry)
    slices = series.volume.geometry.shape_zyx[0]
    if override.drawn_slices is not None and override.drawn_slices[1] >= slices:
        where, found = f"case {wanted.name}, {override.structure}", f"drawn_slices {override.drawn_slices}"
        raise ConfigError(where, found, f"0 to {slices - 1}")
    message = f"{roi.name} is {override.status}, as stated" + (f": {override.reason}" if override.reason else "")
    finding = Finding("stated", Severity.INFO, message, roi.name, override.drawn_slices or ())
    return Completeness(override.status, override.drawn_slices, (finding,))


def _unused_overrides(rois: list[_Roi], wanted: CaseToBuild) -> list[Finding]:
    """A statement on this very case that found nothing to be about."""
    present = {roi.mapped for roi in rois}
    unused: list[Override] = [o for o in wanted.options.overrides.overrides if o.case == wanted.name]
    return [
        Finding("override-unused", Severity.CHECK, f"An override is about {o.structure}, which was not drawn.")
        for o in unused
        if o.structure not in present
    ]


def _series_findings(series: ImageSeries) -> list[Finding]:
    return [finding for finding in series.findings if finding.severity is not Severity.INFO]


# Faults of contours that do not keep a mask from being what its positions say.
_NOTED = (
    "wrong-slice-reference",
    "contour-off-slice",
    "contour-outside-image",
    "repeated-contour",
    "too-few-points",
)


def _contour_findings(contents: RtstructContents, series: ImageSeries, rois: list[_Roi]) -> list[Finding]:
    """What is odd about the contours of the ROIs that were read, under the names that they have here."""
    names = {roi_name: roi.name for roi in rois for roi_name in roi.roi_names}
    findings: list[Finding] = []
    dangling: list[str] = []
    for finding in check_contents(contents, series):
        name = names.get(finding.structure or "")
        if name is not None and finding.code in _NOTED:
            findings.append(replace(finding, severity=Severity.CHECK, structure=name))
        elif name is not None and finding.code == "dangling-reference":
            dangling.append(name)
    if dangling:
        shown = ", ".join(sorted(set(dangling)))
        message = f"Contours of {shown} name images that are not there; they lie on the planes of the series."
        findings.append(Finding("dangling-reference", Severity.INFO, message))
    return findings


def _case(
    wanted: CaseToBuild,
    contents: RtstructContents,
    series: ImageSeries,
    judged: list[tuple[_Roi, Completeness]],
    left_out: Iterable[LeftOut],
) -> Case:
    kept = tuple(roi.drawn.structure for roi, found in judged if found.status is not Status.NOT_DRAWN)
    left_out = tuple(left_out)
    if not kept:
        why = "; ".join(f"{item.name}: {item.why}" for item in left_out) or "no contour under a name that is wanted"
        raise InputRefused(Reason.NO_STRUCTURES, str(contents.path), why, "one structure or more")
    entries = [CaseStructure(roi.name, found.status, roi.roi_names, found.drawn_slices) for roi, found in judged]
    names = {entry.name for entry in entries}
    looked_for = {item.name for item in left_out} | set(wanted.options.structures)
    if wanted.options.structures:
        looked_for &= set(wanted.options.structures)
    entries += [CaseStructure(name, Status.NOT_DRAWN) for name in sorted(looked_for - names)]
    geometry = series.volume.geometry
    record = CaseRecord(
        name=wanted.name,
        patient=wanted.pair.patient,
        modality=series.volume.modality,
        geometry=geometry,
        structures=tuple(entries),
        source=CaseSource(series.series_instance_uid, contents.sop_instance_uid),
    )
    return Case(record, series.volume, StructureSet(wanted.name[:MAX_LABEL_LENGTH], geometry, kept))
