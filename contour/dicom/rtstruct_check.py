"""Does an RTSTRUCT mean what it says? The faults that checkers of the object's form (dciodvfy) do not see.

Works on any system's files. STOP marks what makes positions or identity untrustworthy, CHECK what planning systems
are known to refuse, cut or lose, INFO what is merely worth knowing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.planning_system import GENERIC, HoleStyle, PlanningSystem
from contour.core.report import Finding, Severity
from contour.dicom.decimals import MAX_DS_BYTES
from contour.dicom.rtstruct_contents import RT_STRUCTURE_SET_STORAGE, GeometricType, RoiContours, RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.rtstruct_read import PlacedContours, place_contours
from contour.dicom.series import ImageSeries

Key = TypeVar("Key", int, str)

PLANE_TOLERANCE_MM = 0.01  # IHE-RO BRTO: positions along the normal agree within 0.01 mm
OUTSIDE_TOLERANCE_VOXELS = 1.0

# What planning systems differ in, and what a name that was changed would mend.
_OF_SYSTEMS = ("label-too-long", "label-characters", "too-many-rois", "roi-name-too-long", "roi-name-characters")


def check_rtstruct(path: Path, series: ImageSeries | None, system: PlanningSystem = GENERIC) -> tuple[Finding, ...]:
    """What is wrong with the RTSTRUCT at `path`, by itself or, where given, against the images it was drawn on.

    `system` is the planning system that is to take it.

    Raises:
        InputRefused: as `read_contours`: a file that cannot be read at all.
    """
    return check_contents(read_contours(path), series, system)


def unfit_for(path: Path, system: PlanningSystem) -> tuple[Finding, ...]:
    """What of the names and the number of ROIs in the file at `path` the planning system does not take.

    Raises:
        InputRefused: as `read_contours`.
    """
    contents = read_contours(path)
    findings = (*_object_findings(contents, system), *_roi_findings(contents, system))
    return tuple(finding for finding in findings if finding.code in _OF_SYSTEMS)


def check_contents(
    contents: RtstructContents, series: ImageSeries | None, system: PlanningSystem = GENERIC
) -> tuple[Finding, ...]:
    """The findings of `check_rtstruct` on contents that have been read; the most severe first."""
    findings = [
        *_object_findings(contents, system),
        *_roi_findings(contents, system),
        *_linkage_findings(contents),
        *_frame_findings(contents),
    ]
    if series is not None:
        findings += _identity_findings(contents, series)
    for item in contents.contours:
        findings += _contour_findings(contents, item, series, system)
    order = (Severity.STOP, Severity.CHECK, Severity.INFO)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _object_findings(contents: RtstructContents, system: PlanningSystem) -> Iterator[Finding]:
    if contents.sop_class_uid != RT_STRUCTURE_SET_STORAGE:
        found = f"SOP Class {contents.sop_class_uid!r}; allowed: {RT_STRUCTURE_SET_STORAGE} (RT Structure Set Storage)"
        yield Finding("wrong-sop-class", Severity.STOP, found)
    if contents.modality != "RTSTRUCT":
        yield Finding("wrong-modality", Severity.STOP, f"Modality {contents.modality!r}; allowed: RTSTRUCT")
    if not contents.label:
        yield Finding("label-missing", Severity.CHECK, "Structure Set Label is empty; allowed: 1 to 16 characters")
    elif len(contents.label) > system.label_length:
        found = f"Structure Set Label {contents.label!r} has {len(contents.label)} characters"
        yield Finding("label-too-long", Severity.CHECK, f"{found}; allowed: {system.label_length}")
    if system.forbidden_in(contents.label):
        message = f"Structure Set Label {contents.label!r}; allowed: none of {system.forbidden_characters}"
        yield Finding("label-characters", Severity.CHECK, message)
    if not contents.rois:
        yield Finding("no-rois", Severity.STOP, "Structure Set ROI Sequence has no item; allowed: one or more")
    if system.rois is not None and len(contents.rois) > system.rois:
        yield Finding("too-many-rois", Severity.CHECK, f"{len(contents.rois)} ROIs; allowed: {system.rois}")


def _roi_findings(contents: RtstructContents, system: PlanningSystem) -> Iterator[Finding]:
    for number in _repeated(roi.number for roi in contents.rois):
        names = ", ".join(repr(roi.name) for roi in contents.rois if roi.number == number)
        message = f"ROI Number {number} stands for {names}; allowed: a number of its own for each ROI"
        yield Finding("duplicate-roi-number", Severity.STOP, message)
    for folded in _repeated(roi.name.casefold() for roi in contents.rois if roi.name):
        names = ", ".join(repr(roi.name) for roi in contents.rois if roi.name.casefold() == folded)
        message = f"ROI Names {names} are equal without regard to case; allowed: names that differ"
        yield Finding("duplicate-roi-name", Severity.CHECK, message, structure=_first_named(contents, folded))
    for roi in contents.rois:
        if not roi.name:
            yield Finding(
                "roi-name-missing", Severity.CHECK, f"ROI {roi.number} has no name; allowed: 1 to 16 characters"
            )
        elif len(roi.name) > system.name_length:
            message = f"ROI Name {roi.name!r} has {len(roi.name)} characters; allowed: {system.name_length}"
            yield Finding("roi-name-too-long", Severity.CHECK, message, structure=roi.name)
        if system.forbidden_in(roi.name):
            message = f"ROI Name {roi.name!r}; allowed: none of {system.forbidden_characters}"
            yield Finding("roi-name-characters", Severity.CHECK, message, structure=roi.name)
        item = contents.contours_of(roi.number)
        if item is None or item.points_lps_mm.size == 0:
            message = f"ROI {roi.number} {roi.name!r} has no contour; allowed: at least one"
            yield Finding("roi-without-contours", Severity.CHECK, message, structure=roi.name)


def _linkage_findings(contents: RtstructContents) -> Iterator[Finding]:
    numbers = {roi.number for roi in contents.rois}
    linked = (
        ("contours", "ROI Contour Sequence", [item.roi_number for item in contents.contours]),
        ("observation", "RT ROI Observations Sequence", [item.roi_number for item in contents.observations]),
    )
    for what, sequence, referenced in linked:
        for number in sorted(set(referenced) - numbers):
            message = f"{sequence} refers to ROI Number {number}; allowed: {_listed(numbers)}"
            yield Finding("dangling-roi-number", Severity.STOP, message)
        if what == "contours":
            for number in _repeated(referenced):
                message = f"{sequence} has several items for ROI Number {number}; allowed: one"
                yield Finding("duplicate-contours", Severity.STOP, message, structure=_name(contents, number))
    for number in sorted(numbers - {item.roi_number for item in contents.observations}):
        message = f"ROI Number {number} has no observation; allowed: one, with its interpreted type"
        yield Finding("roi-without-observation", Severity.CHECK, message, structure=_name(contents, number))
    for number in _repeated(item.number for item in contents.observations):
        message = f"Observation Number {number} occurs more than once; allowed: once"
        yield Finding("duplicate-observation-number", Severity.CHECK, message)


def _frame_findings(contents: RtstructContents) -> Iterator[Finding]:
    frames = set(contents.referenced_frames)
    if not frames:
        message = "Referenced Frame of Reference Sequence is empty; allowed: the images' frame of reference"
        yield Finding("frame-of-reference-missing", Severity.CHECK, message)
    elif contents.frame_of_reference_uid and contents.frame_of_reference_uid not in frames:
        message = f"Frame of Reference UID {contents.frame_of_reference_uid}; allowed: {_listed(frames)}"
        yield Finding("frame-of-reference-mismatch", Severity.STOP, message)
    if frames and not contents.references:
        message = "Referenced Frame of Reference Sequence names no series; allowed: the series that was contoured"
        yield Finding("no-referenced-series", Severity.CHECK, message)
    for roi in contents.rois:
        if frames and roi.frame_of_reference_uid not in frames:
            message = (
                f"ROI {roi.name!r} lies in frame {roi.frame_of_reference_uid or 'none'}; allowed: {_listed(frames)}"
            )
            yield Finding("frame-of-reference-mismatch", Severity.STOP, message, structure=roi.name)


def _identity_findings(contents: RtstructContents, series: ImageSeries) -> Iterator[Finding]:
    identity, frame = series.identity, series.volume.geometry.frame_of_reference_uid
    if contents.patient_id != identity.patient_id:
        yield Finding("wrong-patient", Severity.STOP, "Patient ID is not the images'; allowed: the same patient")
    elif _bare(contents.patient_name) != _bare(identity.patient_name):
        yield Finding("wrong-patient", Severity.STOP, "Patient's Name is not the images'; allowed: the same patient")
    if contents.study_instance_uid != identity.study_instance_uid:
        message = (
            f"Study Instance UID {contents.study_instance_uid}; allowed: the images' {identity.study_instance_uid}"
        )
        yield Finding("wrong-study", Severity.STOP, message)
    if contents.references and series.series_instance_uid not in {r.series_instance_uid for r in contents.references}:
        uids = _listed({reference.series_instance_uid for reference in contents.references})
        message = f"refers to the series {uids}; allowed: the images' {series.series_instance_uid}"
        yield Finding("wrong-series", Severity.STOP, message)
    for roi in contents.rois:
        if roi.frame_of_reference_uid != frame:
            message = (
                f"ROI {roi.name!r} lies in frame {roi.frame_of_reference_uid or 'none'}; allowed: the images' {frame}"
            )
            yield Finding("frame-of-reference-mismatch", Severity.STOP, message, structure=roi.name)


def _contour_findings(
    contents: RtstructContents, item: RoiContours, series: ImageSeries | None, system: PlanningSystem
) -> list[Finding]:
    report = _ContourReport(_name(contents, item.roi_number), item)
    closed = item.closed
    counts = item.point_counts
    known_types = np.array([kind in list(GeometricType) for kind in item.geometric_types], dtype=bool)
    remainder = item.value_counts % 3 != 0
    wrong_count = remainder | ((item.stated_points != counts) & (item.stated_points >= 0))
    findings = [
        report.about(
            "unknown-contour-type", Severity.CHECK, ~known_types, "of an unknown type; allowed: PS3.3 C.8.8.6.1"
        ),
        report.about(
            "wrong-point-count",
            Severity.STOP,
            wrong_count,
            "whose data do not hold as many points as stated; allowed: three numbers for each point",
        ),
        report.about(
            "too-few-points", Severity.CHECK, closed & (counts < 3), "closed with under 3 points; allowed: 3 or more"
        ),
    ]
    if item.longest_decimal > MAX_DS_BYTES:
        message = f"a coordinate has {item.longest_decimal} characters; allowed: {MAX_DS_BYTES}"
        findings.append(Finding("decimal-too-long", Severity.CHECK, message, structure=report.name))
    findings += _size_findings(item, report, system)
    findings += _reference_findings(contents, item, report, series)
    if series is None:
        bent = closed & (_thickness_mm(item) > PLANE_TOLERANCE_MM)
        findings.append(
            report.about(
                "contour-not-planar", Severity.STOP, bent, "that leave their plane; allowed: planar within 0.01 mm"
            )
        )
    else:
        findings += _placement_findings(item, report, series, system)
    return [finding for finding in findings if finding is not None]


def _size_findings(item: RoiContours, report: "_ContourReport", system: PlanningSystem) -> list[Finding | None]:
    points, length = item.point_counts, item.data_bytes
    no_limit = np.iinfo(np.int64).max
    return [
        report.about(
            "too-many-points",
            Severity.CHECK,
            points > (system.contour_points or no_limit),
            f"of up to {int(points.max(initial=0))} points; allowed for {system.title}: {system.contour_points}",
        ),
        report.about(
            "contour-too-long",
            Severity.CHECK,
            length > (system.contour_bytes or no_limit),
            f"of up to {int(length.max(initial=0))} bytes; allowed: {system.contour_bytes}, what Explicit VR can hold",
        ),
    ]


def _reference_findings(
    contents: RtstructContents, item: RoiContours, report: "_ContourReport", series: ImageSeries | None
) -> list[Finding | None]:
    listed = {uid for reference in contents.references for uid in reference.sop_instance_uids}
    present = set(series.sop_instance_uids) if series is not None else listed
    missing = np.array([not uids for uids in item.image_uids], dtype=bool)
    not_listed = np.array([bool(listed) and not listed.issuperset(uids) for uids in item.image_uids], dtype=bool)
    dangling = np.array([not present.issuperset(uids) for uids in item.image_uids], dtype=bool) & ~not_listed
    return [
        report.about(
            "no-image-reference",
            Severity.CHECK,
            missing & item.closed,
            "that name no image; allowed: the SOP Instance of their slice",
        ),
        report.about(
            "dangling-reference",
            Severity.STOP,
            not_listed,
            "that name an image which the structure set does not list; allowed: one of its Contour Image Sequence",
        ),
        report.about(
            "dangling-reference",
            Severity.STOP,
            dangling & (series is not None),
            "that name an image which is not in the series; allowed: a slice of the series",
        ),
    ]


def _placement_findings(
    item: RoiContours, report: "_ContourReport", series: ImageSeries, system: PlanningSystem
) -> list[Finding | None]:
    geometry = series.volume.geometry
    placed = place_contours(item, geometry)
    filled = item.point_counts > 0
    inside = (placed.slice_indices >= 0) & (placed.slice_indices < geometry.shape_zyx[0])
    # A contour lies on the plane that its image states, or on that of the even grid: either is right.
    tolerance_mm = PLANE_TOLERANCE_MM + series.off_grid_mm
    on_plane = inside & (placed.off_slice_mm <= tolerance_mm)
    relevant = item.closed & filled
    own = [series.sop_instance_uids[z] if ok else "" for z, ok in zip(placed.slice_indices, inside, strict=True)]
    slices = set(series.sop_instance_uids)  # a reference to no slice at all dangles: another finding
    pairs = zip(item.image_uids, own, strict=True)
    elsewhere = np.array([uid not in uids and not slices.isdisjoint(uids) for uids, uid in pairs], dtype=bool)
    limits = np.asarray(geometry.shape_zyx[1:]) - 0.5 + OUTSIDE_TOLERANCE_VOXELS
    in_plane = placed.indices_zyx[:, 1:]
    out = np.any((in_plane < -0.5 - OUTSIDE_TOLERANCE_VOXELS) | (in_plane > limits), axis=1)
    out_counts = np.concatenate(([0], np.cumsum(out)))
    beyond = out_counts[item.starts[1:]] > out_counts[item.starts[:-1]]
    worst = float(placed.off_slice_mm[relevant & inside].max(initial=0.0))
    return [
        report.about(
            "contour-off-slice",
            Severity.STOP,
            relevant & ~on_plane,
            f"that lie on no slice (up to {worst:.3f} mm off); allowed: within {tolerance_mm:.4g} mm",
        ),
        report.about(
            "wrong-slice-reference",
            Severity.STOP,
            relevant & on_plane & elsewhere,
            "that name another image than the slice they lie on; allowed: the SOP Instance of their slice",
            slices=placed.slice_indices,
        ),
        report.about(
            "repeated-contour",
            Severity.CHECK,
            relevant & placed.repeated,
            "that repeat another of their slice, where some systems cut a hole; allowed: each contour once",
            slices=placed.slice_indices,
        ),
        report.about(
            "contour-outside-image",
            Severity.CHECK,
            relevant & inside & beyond,
            "that reach beyond the image; allowed: points within a voxel of it",
            slices=placed.slice_indices,
        ),
        report.about(
            "nested-hole",
            Severity.CHECK,
            _nested(placed, system) & relevant,
            f"that cut a hole into another; allowed for {system.title}: keyholes",
            slices=placed.slice_indices,
        ),
    ]


def _nested(placed: PlacedContours, system: PlanningSystem) -> NDArray[np.bool_]:
    """(m,) which contours begin inside another of their slice; none where the system takes such."""
    nested = np.zeros(placed.slice_indices.size, dtype=bool)
    if system.holes is HoleStyle.NESTED:
        return nested
    outlines = [
        placed.indices_zyx[start:stop, 1:].astype(np.float32)
        for start, stop in zip(placed.starts[:-1], placed.starts[1:], strict=True)
    ]
    for z in _repeated(placed.slice_indices.tolist()):
        beside = [int(i) for i in np.flatnonzero(placed.slice_indices == z) if len(outlines[i]) > 2]
        for i in beside:
            first = (float(outlines[i][0, 0]), float(outlines[i][0, 1]))
            nested[i] = any(cv2.pointPolygonTest(outlines[j], first, measureDist=False) > 0 for j in beside if j != i)
    return nested


@dataclass(frozen=True)
class _ContourReport:
    """Findings on the contours of one ROI: one for each fault, however many contours have it."""

    name: str
    item: RoiContours

    def about(
        self,
        code: str,
        severity: Severity,
        faulty: NDArray[np.bool_],
        fault: str,
        slices: NDArray[np.intp] | None = None,
    ) -> Finding | None:
        """A finding on the contours where `faulty` (m,) is true, or None if there are none."""
        which = np.flatnonzero(faulty)
        if which.size == 0:
            return None
        message = (
            f"ROI {self.name!r}: {which.size} of {len(self.item)} contours {fault}; the first is contour {which[0] + 1}"
        )
        where = () if slices is None else tuple(int(z) for z in np.unique(slices[which]))
        return Finding(code, severity, message, structure=self.name, slices=where)


def _thickness_mm(item: RoiContours) -> NDArray[np.float64]:
    """(m,) root mean square distance of each contour's points from the plane that fits them best."""
    thickness = np.zeros(len(item))
    filled = item.point_counts > 3
    if not filled.any():
        return thickness
    counts = item.point_counts
    owner = np.repeat(np.arange(len(item)), counts)
    sums = np.stack([np.bincount(owner, item.points_lps_mm[:, axis], minlength=len(item)) for axis in range(3)], axis=1)
    apart = item.points_lps_mm - (sums / np.maximum(counts, 1)[:, None])[owner]
    covariance = np.empty((len(item), 3, 3))
    for a in range(3):
        for b in range(3):
            covariance[:, a, b] = np.bincount(owner, apart[:, a] * apart[:, b], minlength=len(item))
    smallest = np.linalg.eigvalsh(covariance[filled] / counts[filled, None, None])[:, 0]
    thickness[filled] = np.sqrt(np.maximum(smallest, 0.0))
    return thickness


def _repeated(values: Iterable[Key]) -> list[Key]:
    return [value for value, count in Counter(values).items() if count > 1]


def _name(contents: RtstructContents, number: int) -> str:
    return next((roi.name for roi in contents.rois if roi.number == number), f"ROI {number}")


def _first_named(contents: RtstructContents, folded: object) -> str | None:
    return next((roi.name for roi in contents.rois if roi.name.casefold() == folded), None)


def _bare(person_name: str) -> str:
    """A person's name without empty components at its end, which some systems write and others drop."""
    return "=".join(group.strip().rstrip("^ ") for group in person_name.split("=")).rstrip("=")


def _listed(values: Iterable[object]) -> str:
    texts = sorted(str(value) for value in values)
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
