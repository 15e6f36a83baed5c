"""RTSTRUCT -> structures on the grid of the image series they were drawn on."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import Rgb, lookup
from contour.core.planning_system import MAX_LABEL_LENGTH
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.dicom.rtstruct_contents import (
    RT_STRUCTURE_SET_STORAGE,
    GeometricType,
    RoiContours,
    RoiDefinition,
    RtstructContents,
)
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.series import ImageSeries
from contour.imaging.contours import Contours
from contour.imaging.rasterise import rasterise

__all__ = [
    "PlacedContours",
    "place_contours",
    "read_contours",
    "read_roi",
    "read_roi_polygons",
    "read_rtstruct",
    "require_of_study",
]

# A contour further from its slice than this part of the slice spacing was drawn on other slices.
OFF_SLICE_FRACTION = 0.05
# Two contours of a slice whose boxes and areas agree so far are one, written again: no ring is as thin as that.
REPEATED_WITHIN_VOXELS = 0.02
REPEATED_AREA_FRACTION = 1e-3
_UNCOLORED: Rgb = (200, 200, 200)


def read_rtstruct(path: Path, series: ImageSeries, *, names: tuple[str, ...] | None = None) -> StructureSet:
    """The structures of the RTSTRUCT at `path`, as masks on the grid of `series`; only those of `names` if given.

    Closed planar contours are filled by the even-odd rule on each slice; one that repeats another of its slice, as some
    systems write them, counts once (twice, it would empty the slice). An ROI without any (a point, an open line, no
    contour at all) has an empty mask. Names and colours are the file's own; a type this toolkit does not use is NONE.

    Raises:
        InputRefused: as `read_contours`; `unsupported-object` if the file is no RTSTRUCT; `wrong-series` if patient,
            study or frame of reference are not the images' or `names` has one that the file lacks;
            `invalid-attribute` if it is unclear which contours are whose (ROI Numbers that are not unique, or lead
            nowhere) or what they are (an unknown type, a number of points that is not the stated one);
            `contour-off-slice` if a contour lies further than 5 % of the slice spacing from every slice.
    """
    contents = read_contours(path)
    require_of_study(contents, series)
    rois = _selected(contents, names)
    for roi in rois:
        _require_same_frame(contents, roi, series)
    structures = tuple(_structure(contents, roi, series) for roi in rois)
    return StructureSet(contents.label[:MAX_LABEL_LENGTH], series.volume.geometry, structures)


def require_of_study(contents: RtstructContents, series: ImageSeries) -> None:
    """Refuses what is no structure set of the images' patient and study, or unclear in which contours are whose.

    Raises:
        InputRefused: as `read_rtstruct`, of what does not concern a single ROI.
    """
    if contents.sop_class_uid != RT_STRUCTURE_SET_STORAGE:
        found = f"SOP Class {contents.sop_class_uid[:64]!r}"
        allowed = f"{RT_STRUCTURE_SET_STORAGE}, RTSTRUCT"
        raise InputRefused(Reason.UNSUPPORTED_OBJECT, str(contents.path), found, allowed)
    _require_same_patient(contents, series)
    _require_clear_numbers(contents)


def read_roi(contents: RtstructContents, roi: RoiDefinition, series: ImageSeries) -> Structure:
    """One ROI as `read_rtstruct` reads it, whatever is wrong with the others; patient and study are not looked at.

    Raises:
        InputRefused: as `read_rtstruct`, of what concerns this ROI.
    """
    _require_clear_numbers(contents, {roi.number})
    _require_same_frame(contents, roi, series)
    return _structure(contents, roi, series)


def read_roi_polygons(contents: RtstructContents, roi: RoiDefinition, series: ImageSeries) -> Contours:
    """The closed polygons of one ROI as they stand in the file, on the images' grid; what `read_roi` would fill.

    Raises:
        InputRefused: as `read_roi`.
    """
    _require_clear_numbers(contents, {roi.number})
    _require_same_frame(contents, roi, series)
    contours = contents.contours_of(roi.number)
    if contours is None or not len(contours):
        return Contours(np.zeros((0, 2)), np.zeros(1, dtype=np.intp), np.zeros(0, dtype=np.intp))
    return _polygons(contours, series, f"{contents.path}, ROI {roi.number} {roi.name!r}")


@dataclass(frozen=True)
class PlacedContours:
    """An ROI's contours on an image grid: continuous indices (n, 3) z, y, x of its points, and each contour's slice.

    `off_slice_mm` (m,) is how far the contour's farthest point lies from the plane of that slice.
    """

    indices_zyx: NDArray[np.float64]
    starts: NDArray[np.intp]
    slice_indices: NDArray[np.intp]
    off_slice_mm: NDArray[np.float64]

    @property
    def repeated(self) -> NDArray[np.bool_]:
        """(m,) which contours are another one of their slice, written again; the first of each is none."""
        repeated = np.zeros(len(self.slice_indices), dtype=np.bool_)
        filled = np.flatnonzero(np.diff(self.starts))
        slices = self.slice_indices[filled]
        if np.unique(slices).size == slices.size:
            return repeated
        first = self.starts[filled]
        y, x = self.indices_zyx[:, 1], self.indices_zyx[:, 2]
        box = np.stack([f.reduceat(v, first) for f in (np.minimum, np.maximum) for v in (y, x)], axis=1)
        following = np.arange(1, len(y) + 1)
        following[self.starts[filled + 1] - 1] = first
        areas = np.abs(np.add.reduceat(x * y[following] - x[following] * y, first)) / 2
        order = np.lexsort((filled, areas, slices))
        a, b = order[:-1], order[1:]
        same = (slices[a] == slices[b]) & (areas[b] - areas[a] <= REPEATED_AREA_FRACTION * areas[b])
        same &= np.abs(box[a] - box[b]).max(axis=1) <= REPEATED_WITHIN_VOXELS
        repeated[filled[b[same]]] = True
        return repeated

    def polygons(self, chosen: NDArray[np.bool_]) -> Contours:
        """The contours where `chosen` (m,) is true."""
        counts = np.diff(self.starts)
        starts = np.zeros(int(chosen.sum()) + 1, dtype=np.intp)
        np.cumsum(counts[chosen], out=starts[1:])
        points = self.indices_zyx[:, 1:]
        if not chosen.all():
            points = points[np.repeat(chosen, counts)]
        return Contours(np.ascontiguousarray(points), starts, self.slice_indices[chosen])


def place_contours(contours: RoiContours, geometry: Geometry) -> PlacedContours:
    """Each contour on the slice nearest to it, which may lie outside the grid; one without points on slice -1."""
    indices = geometry.lps_mm_to_index(contours.points_lps_mm)
    counts = contours.point_counts
    filled = counts > 0
    slices = np.full(len(contours), -1, dtype=np.intp)
    off_slice = np.zeros(len(contours))
    if filled.any():
        first = contours.starts[:-1][filled]
        lowest = np.minimum.reduceat(indices[:, 0], first)
        highest = np.maximum.reduceat(indices[:, 0], first)
        slices[filled] = np.rint((lowest + highest) / 2).astype(np.intp)
        off = np.maximum(highest - slices[filled], slices[filled] - lowest)
        off_slice[filled] = off * geometry.spacing_zyx_mm[0]
    return PlacedContours(indices, contours.starts, slices, off_slice)


def _require_same_patient(contents: RtstructContents, series: ImageSeries) -> None:
    facts = (
        ("Patient ID", contents.patient_id, series.identity.patient_id),
        ("Study Instance UID", contents.study_instance_uid, series.identity.study_instance_uid),
    )
    for name, found, allowed in facts:
        if found != allowed:  # an ID of a patient stays out of messages
            raise InputRefused(Reason.WRONG_SERIES, str(contents.path), f"another {name}", f"the {name} of the images")


def _require_same_frame(contents: RtstructContents, roi: RoiDefinition, series: ImageSeries) -> None:
    frame = series.volume.geometry.frame_of_reference_uid
    if roi.frame_of_reference_uid != frame:
        where = f"{contents.path}, ROI {roi.number} {roi.name!r}"
        found, allowed = f"frame of reference {roi.frame_of_reference_uid}", f"the images' {frame}"
        raise InputRefused(Reason.WRONG_SERIES, where, found, allowed)


def _require_clear_numbers(contents: RtstructContents, numbers: set[int] | None = None) -> None:
    """Contours find their ROI by its number: where that is not clear, a mask would be another organ's, or a part."""
    rois = Counter(roi.number for roi in contents.rois)
    sets = Counter(item.roi_number for item in contents.contours)
    for number in (rois | sets) if numbers is None else numbers:
        if rois[number] != 1 or sets[number] > 1:
            found = f"ROI Number {number} of {rois[number]} ROIs and {sets[number]} items of contours"
            raise InputRefused(Reason.INVALID_ATTRIBUTE, str(contents.path), found, "one ROI, one item at most")


def _selected(contents: RtstructContents, names: tuple[str, ...] | None) -> tuple[RoiDefinition, ...]:
    if names is None:
        return contents.rois
    present = {roi.name for roi in contents.rois}
    for name in names:
        if name not in present:
            raise InputRefused(Reason.NO_STRUCTURES, str(contents.path), f"no ROI {name!r}", ", ".join(sorted(present)))
    return tuple(roi for roi in contents.rois if roi.name in names)


def _structure(contents: RtstructContents, roi: RoiDefinition, series: ImageSeries) -> Structure:
    contours, observation = contents.contours_of(roi.number), contents.observation_of(roi.number)
    known = lookup(roi.name)
    color = contours.color_rgb if contours is not None else None
    mask, offset = np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
    if contours is not None and len(contours):
        where = f"{contents.path}, ROI {roi.number} {roi.name!r}"
        mask, offset = rasterise(_polygons(contours, series, where), series.volume.geometry.shape_zyx[1:])
    return Structure(
        name=roi.name,
        color_rgb=color or (known.color_rgb if known else _UNCOLORED),
        interpreted_type=_interpreted_type(observation.interpreted_type if observation else ""),
        mask_zyx=mask,
        offset_zyx=offset,
    )


def _polygons(contours: RoiContours, series: ImageSeries, where: str) -> Contours:
    geometry = series.volume.geometry
    _require_whole(contours, where)
    placed = place_contours(contours, geometry)
    chosen = contours.closed & (contours.point_counts >= 3)
    allowed_mm = OFF_SLICE_FRACTION * geometry.spacing_zyx_mm[0] + series.off_grid_mm
    outside = (placed.slice_indices < 0) | (placed.slice_indices >= geometry.shape_zyx[0])
    off = np.flatnonzero(chosen & (outside | (placed.off_slice_mm > allowed_mm)))
    if off.size:
        i = int(off[0])
        x, y, z = contours.points_lps_mm[contours.starts[i]]
        found = f"contour {i + 1} near ({x:.2f}, {y:.2f}, {z:.2f}) mm lies on no slice ({off.size} contours in all)"
        raise InputRefused(Reason.CONTOUR_OFF_SLICE, where, found, f"within {allowed_mm:.3f} mm of a slice")
    return placed.polygons(chosen & ~placed.repeated)


def _require_whole(contours: RoiContours, where: str) -> None:
    """Refuse contours that would be left out or be filled without all of their points."""
    counts = contours.point_counts
    cut = (contours.value_counts % 3 != 0) | ((contours.stated_points != counts) & (contours.stated_points >= 0))
    for i in np.flatnonzero(cut)[:1]:
        found = f"contour {i + 1} has {contours.value_counts[i]} numbers for {contours.stated_points[i]} points"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, where, found, "three numbers for each point")
    known = set(GeometricType)
    unknown = next((kind for kind in contours.geometric_types if kind not in known), None)
    if unknown is not None:
        found = f"Contour Geometric Type {unknown[:16]!r}"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, where, found, ", ".join(GeometricType))


def _interpreted_type(text: str) -> InterpretedType:
    return next((kind for kind in InterpretedType if kind.value == text), InterpretedType.NONE)
