"""What an audit measures on one case: sizes, places, parts, gaps, values inside. Judging is `contour.cases.audit`'s."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cc3d
import cv2
import edt
import numpy as np
from numpy.typing import NDArray

from contour.cases.anatomy import Measured, judge_together
from contour.cases.anatomy import judge as judge_name
from contour.cases.assemble import LeftOut
from contour.cases.build import load_findings
from contour.cases.completeness import Completeness, DrawnStructure, gaps_of, judge
from contour.cases.landmarks import Landmarks
from contour.cases.measures import measure as measures_of
from contour.cases.pictures import central_point
from contour.cases.store import Case, CaseStructure, Status, load_case
from contour.core.geometry import Box, Geometry
from contour.core.report import Finding, Severity
from contour.core.structures import InterpretedType, Mask, Structure, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import canonical_axes, canonical_geometry, from_canonical

Index = tuple[int, int, int]
Slices = tuple[int, int]
Point = tuple[float, float, float]

MAIN_PART = 0.2  # a part this large beside the largest is no island but a piece of its own
SAME_BOX = 0.7  # overlap of boxes below which two masks cannot be one drawing
_BLANK_PX = 5  # blank regions are at least so wide: air has noise, and does not form any
_BLANK_BELOW_HU = -900
_NEIGHBOURS = 26
_THINNED = 4  # every so many voxels tell where the middle of the body is


@dataclass(frozen=True)
class Part:
    """A connected part of a structure: `distance_mm` from the largest one, and a voxel of it."""

    volume_ml: float
    distance_mm: float
    point_zyx: Index


@dataclass(frozen=True)
class Beyond:
    """How much of a structure lies where it cannot: `fraction` of its voxels, and one of them."""

    fraction: float = 0.0
    point_zyx: Index = (0, 0, 0)
    clear_slices: Slices | None = None


@dataclass(frozen=True)
class StructureFacts:
    """One drawn structure, measured on the image's grid; slices are z indices of the image.

    `section_mm2` is the mean area of its slices, `centroid_lps_mm` the mean of its voxels, `from_body_mm` that point
    relative to the middle of the body on its axial slices (x to the left, y to posterior; None where no body shows).
    `at_border`: it reaches the border of the image. `mean_hu` leaves out what is blank. `pieces` are the large parts,
    the largest first, `islands` the small ones. `missing` are the slices between its ends on which it has nothing;
    `extent` is what the rules of completeness make of one that is said to be drawn whole.
    """

    name: str
    kind: InterpretedType
    status: Status
    volume_ml: float
    section_mm2: float
    slices: Slices
    centroid_lps_mm: Point
    point_zyx: Index
    at_border: bool
    pieces: tuple[Part, ...]
    islands: tuple[Part, ...]
    missing: tuple[int, ...]
    outside: Beyond
    blank: Beyond
    extent: Completeness | None = None
    from_body_mm: tuple[float, float] | None = None
    mean_hu: float | None = None

    @property
    def whole(self) -> bool:
        """Whether all of it is in the image and was drawn: what sizes can be compared by."""
        return not self.at_border and self.extent is not None and self.extent.status is Status.DRAWN


@dataclass(frozen=True)
class SameMask:
    """Two structures of a case that are nearly one: `dice` of their masks."""

    first: str
    second: str
    dice: float


@dataclass(frozen=True)
class CaseFacts:
    """One case. `empty` names what is said to be drawn and has no voxel; `image_sha256` tells equal images.

    `anatomy` is what speaks against the structures' names, `from_building` what was found when the case was built from
    an archive, with what was left out of it then.
    """

    folder: Path
    name: str
    patient: str
    modality: Modality
    slices: int
    spacing_zyx_mm: Point
    structures: tuple[StructureFacts, ...]
    same_masks: tuple[SameMask, ...]
    empty: tuple[str, ...]
    image_sha256: str
    anatomy: tuple[Finding, ...] = ()
    from_building: tuple[Finding, ...] = ()

    def structure(self, name: str) -> StructureFacts | None:
        """The facts of a structure, or None if it was not drawn."""
        return next((s for s in self.structures if s.name == name), None)


def measure_case(folder: Path) -> CaseFacts:
    """The facts of the case in `folder`.

    Raises:
        ConfigError: its record has a mistake.
        InputRefused: a file is missing, damaged, or not on the record's grid.
    """
    return measure(load_case(folder), folder)


def measure(case: Case, folder: Path) -> CaseFacts:
    """The facts of a case that is in memory; what building it found is read from `folder`.

    Raises:
        ConfigError: as `measure_case`.
    """
    drawn = [_within_drawn(s, case.record.structure(s.name)) for s in case.structures.structures if not s.empty]
    surroundings = _Surroundings(case.volume, drawn)
    return CaseFacts(
        folder=folder,
        name=case.record.name,
        patient=case.record.patient,
        modality=case.volume.modality,
        slices=case.volume.geometry.shape_zyx[0],
        spacing_zyx_mm=case.volume.geometry.spacing_zyx_mm,
        structures=tuple(_measured(s, case, surroundings) for s in drawn),
        same_masks=_same_masks(drawn),
        empty=tuple(s.name for s in case.structures.structures if s.empty),
        image_sha256=_image_sha256(case.volume),
        anatomy=_anatomy(drawn, case),
        from_building=_from_building(folder),
    )


class _Surroundings:
    """Where the body is, where the image has nothing to show, and on which slices the structures lie."""

    def __init__(self, volume: Volume, structures: list[Structure]) -> None:
        self.body_zyx = _body(volume)
        self.ranges = {s.name: (s.box.start_zyx[0], s.box.stop_zyx[0] - 1) for s in structures}
        self.blank_zyx = _blank(volume)
        self._geometry = volume.geometry

    def from_body_mm(self, structure: Structure, centroid_lps_mm: Point) -> tuple[float, float] | None:
        """x and y of a point from the middle of the body on the structure's axial slices."""
        order, _ = canonical_axes(self._geometry)
        first, last = structure.box.start_zyx[order[0]], structure.box.stop_zyx[order[0]]
        parts = [slice(first, last) if axis == order[0] else slice(None, None, _THINNED) for axis in range(3)]
        inside = np.argwhere(self.body_zyx[tuple(parts)])
        if not inside.size:
            return None
        index = [
            float(mean) + first if axis == order[0] else float(mean) * _THINNED
            for axis, mean in enumerate(inside.mean(axis=0))
        ]
        middle = self._geometry.index_to_lps_mm(index)
        return float(centroid_lps_mm[0] - middle[0]), float(centroid_lps_mm[1] - middle[1])


def _measured(structure: Structure, case: Case, surroundings: _Surroundings) -> StructureFacts:
    entry = case.record.structure(structure.name)
    geometry, mask = case.volume.geometry, structure.mask_zyx
    areas = np.count_nonzero(mask, axis=(1, 2)).astype(float)
    first, last = structure.box.start_zyx[0], structure.box.stop_zyx[0] - 1
    drawn = DrawnStructure(structure, tuple((np.flatnonzero(areas) + first).tolist()))
    centroid = _centroid_lps_mm(structure, geometry)
    blank = mask & surroundings.blank_zyx[structure.box.slices]
    pieces, islands = _parts(structure, geometry)
    _, y_mm, x_mm = geometry.spacing_zyx_mm
    return StructureFacts(
        name=structure.name,
        kind=structure.interpreted_type,
        status=entry.status,
        volume_ml=float(areas.sum()) * geometry.voxel_ml,
        section_mm2=float(areas[areas > 0].mean()) * y_mm * x_mm,
        slices=(first, last),
        centroid_lps_mm=centroid,
        point_zyx=central_point(mask, structure.offset_zyx),
        at_border=_at_border(structure.box, geometry),
        pieces=pieces,
        islands=islands,
        missing=gaps_of(drawn),
        outside=_beyond(mask & ~surroundings.body_zyx[structure.box.slices], structure),
        blank=_beyond(blank, structure),
        extent=judge(drawn, surroundings.ranges, geometry) if entry.status is Status.DRAWN else None,
        from_body_mm=surroundings.from_body_mm(structure, centroid),
        mean_hu=_mean_hu(case.volume, structure, mask & ~blank),
    )


def _within_drawn(structure: Structure, entry: CaseStructure) -> Structure:
    """The part between the slices that are known, where there is any, cropped to its box."""
    mask, (z, y, x) = structure.mask_zyx, structure.offset_zyx
    if entry.drawn_slices is not None:
        first, last = entry.drawn_slices
        known = mask[max(0, first - z) : max(0, last + 1 - z)]
        if known.any():
            mask, z = known, max(z, first)
    mask, offset = cropped_to_content(mask, (z, y, x))
    return replace(structure, mask_zyx=mask, offset_zyx=offset)


def _anatomy(drawn: list[Structure], case: Case) -> tuple[Finding, ...]:
    """What anatomy says against the names; a part of an organ may be smaller than the whole is."""
    landmarks = Landmarks.of(case.volume)
    measured = [Measured(s.name, m) for s in drawn if (m := measures_of(s, case.volume, landmarks)) is not None]
    found = [finding for one in measured for finding in judge_name(one)]
    parts = [s.name for s in drawn if case.record.structure(s.name).status is Status.PARTIAL]
    kept = [f for f in found if f.code != "anatomy-volume" or f.structure not in parts]
    return (*kept, *judge_together(tuple(measured)))


def _body(volume: Volume) -> Mask:
    """The body on the image's grid, about 3 mm generous: an outline is not wrong by the width of a pencil."""
    coarse, thinning = coarse_body(volume)
    kernel = np.ones((3, 3), np.uint8)
    grown = np.stack([cv2.dilate(plane.view(np.uint8), kernel) for plane in np.ascontiguousarray(coarse)])
    for axis, step in enumerate(thinning):
        grown = np.repeat(grown, step, axis=axis)
    z, y, x = canonical_geometry(volume.geometry).shape_zyx
    return np.ascontiguousarray(from_canonical(grown[:z, :y, :x].view(bool), volume.geometry))


def _blank(volume: Volume) -> Mask:
    """Where a CT holds one and the same low value over a region: beyond the field of view, or masked away."""
    voxels, kernel = volume.voxels_zyx, np.ones((_BLANK_PX, _BLANK_PX), np.uint8)
    if volume.modality is not Modality.CT:
        return np.zeros(voxels.shape, dtype=bool)
    planes = []
    for plane in voxels:
        flat = (cv2.dilate(plane, kernel) == cv2.erode(plane, kernel)) & (plane < _BLANK_BELOW_HU)
        planes.append(cv2.dilate(flat.view(np.uint8), kernel))
    return np.stack(planes).view(bool)


def _centroid_lps_mm(structure: Structure, geometry: Geometry) -> Point:
    sums = [structure.mask_zyx.sum(axis=tuple(i for i in range(3) if i != axis)) for axis in range(3)]
    inside = [float((np.arange(s.size) * s).sum() / s.sum()) for s in sums]
    x, y, z = geometry.index_to_lps_mm(np.asarray(inside) + np.asarray(structure.offset_zyx)).tolist()
    return x, y, z


def _at_border(box: Box, geometry: Geometry) -> bool:
    return any(a == 0 or b == n for a, b, n in zip(box.start_zyx, box.stop_zyx, geometry.shape_zyx, strict=True))


def _parts(structure: Structure, geometry: Geometry) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Large parts and islands. Parts that only empty slices separate are one: that is a gap, and told as such."""
    mask = structure.mask_zyx
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    labels, count = cc3d.connected_components(
        np.ascontiguousarray(mask[drawn]), connectivity=_NEIGHBOURS, return_N=True
    )
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    if count == 1:
        point = central_point(mask, structure.offset_zyx)
        return (Part(float(sizes[0]) * geometry.voxel_ml, 0.0, point),), ()
    largest = np.zeros_like(mask)
    largest[drawn] = labels == order[0] + 1
    away_mm = edt.edt(~largest, anisotropy=geometry.spacing_zyx_mm)
    pieces: list[Part] = []
    islands: list[Part] = []
    for label in order + 1:
        part = np.zeros_like(mask)
        part[drawn] = labels == label
        distance = 0.0 if label == order[0] + 1 else float(away_mm[part].min())
        found = Part(float(sizes[label - 1]) * geometry.voxel_ml, distance, central_point(part, structure.offset_zyx))
        (pieces if sizes[label - 1] >= MAIN_PART * sizes.max() else islands).append(found)
    return tuple(pieces), tuple(islands)


def _beyond(wrong_zyx: Mask, structure: Structure) -> Beyond:
    if not wrong_zyx.any():
        return Beyond()
    total = np.count_nonzero(structure.mask_zyx, axis=(1, 2))
    wrong = np.count_nonzero(wrong_zyx, axis=(1, 2))
    clear = _longest_run((total > 0) & (wrong <= 0.02 * total))
    start = structure.offset_zyx[0]
    return Beyond(
        float(wrong.sum() / total.sum()),
        central_point(wrong_zyx, structure.offset_zyx),
        None if clear is None else (clear[0] + start, clear[1] + start),
    )


def _longest_run(wanted: NDArray[np.bool_]) -> Slices | None:
    """First and last index of the longest stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.view(np.int8), [0]])))
    if not edges.size:
        return None
    starts, stops = edges[::2], edges[1::2]
    best = int(np.argmax(stops - starts))
    return int(starts[best]), int(stops[best]) - 1


def _mean_hu(volume: Volume, structure: Structure, inside_zyx: Mask) -> float | None:
    if volume.modality is not Modality.CT or not inside_zyx.any():
        return None
    return float(volume.voxels_zyx[structure.box.slices][inside_zyx].mean(dtype=np.float64))


def _same_masks(structures: list[Structure]) -> tuple[SameMask, ...]:
    found = []
    for i, one in enumerate(structures):
        for other in structures[i + 1 :]:
            if _box_overlap(one.box, other.box) >= SAME_BOX:
                found.append(SameMask(one.name, other.name, _dice(one, other)))
    return tuple(found)


def _box_overlap(a: Box, b: Box) -> float:
    """Volume in common, relative to the volume of both together."""
    common = float(np.prod(_intersection(a, b).shape_zyx))
    return common / (float(np.prod(a.shape_zyx)) + float(np.prod(b.shape_zyx)) - common)


def _intersection(a: Box, b: Box) -> Box:
    start = [max(p, q) for p, q in zip(a.start_zyx, b.start_zyx, strict=True)]
    stop = [min(p, q) for p, q in zip(a.stop_zyx, b.stop_zyx, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _dice(a: Structure, b: Structure) -> float:
    box = _intersection(a.box, b.box)
    inside = [
        s.mask_zyx[
            tuple(slice(p - o, q - o) for p, q, o in zip(box.start_zyx, box.stop_zyx, s.offset_zyx, strict=True))
        ]
        for s in (a, b)
    ]
    both = np.count_nonzero(inside[0] & inside[1])
    return float(2 * both / (np.count_nonzero(a.mask_zyx) + np.count_nonzero(b.mask_zyx)))


def _from_building(folder: Path) -> tuple[Finding, ...]:
    built = load_findings(folder)
    return (*built.findings, *(_left_out(one) for one in built.left_out))


def _left_out(one: LeftOut) -> Finding:
    severity = Severity.INFO if one.code == "no-contours" else Severity.CHECK  # empty ROIs are a habit of templates
    message = f"{', '.join(one.roi_names)} did not become {one.name}: {one.why}."
    return Finding(one.code, severity, message, one.name)


def _image_sha256(volume: Volume) -> str:
    return hashlib.sha256(np.ascontiguousarray(volume.voxels_zyx).data).hexdigest()
