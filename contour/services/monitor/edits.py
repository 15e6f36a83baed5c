"""One approved structure set beside the delivered one it was made from: what did people change?

Both files are enough. Their contours are filled on a grid of their own: the slices they lie on, 1 mm in the plane;
images need not be there. Added path length is the measure of work (Vaassen et al., Phys Imaging Radiat Oncol 2020,
13:1-6: of all measures it goes best with the time that editing takes).
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import whole_name
from contour.core.structures import InterpretedType, Mask, Structure
from contour.dicom.rtstruct_contents import RtstructContents
from contour.dicom.rtstruct_read import place_contours
from contour.imaging.metrics import CompareOptions, compare_with
from contour.imaging.rasterise import rasterise

IN_PLANE_MM = 1.0
EDITED_BEYOND_MM = 1.5  # planning systems resample contours: what moves by less was not edited
MARGIN_MM = 5.0
MAX_SLICES = 4000
LEAST_SPACING_MM = 0.1


class Became(StrEnum):
    """What became of a structure."""

    UNEDITED = "unedited"
    EDITED = "edited"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True)
class StructureEdit:
    """What people did to a structure.

    `edited_part` is the length of the approved contours that had to be drawn, over all of it (1 for what was removed or
    added); `slices` counts those with contours in either, `edited_slices` those where a border moved by more than
    1.5 mm.
    """

    structure: str
    became: Became
    surface_dice: float
    added_path_length_mm: float
    path_length_mm: float
    edited_part: float
    slices: int
    edited_slices: int


def edits(delivered: RtstructContents, approved: RtstructContents, tolerance_mm: float) -> tuple[StructureEdit, ...]:
    """What was done to each structure of `delivered`, and what was added to it; targets of planning are not counted.

    Names are matched without regard to case, a part of an organ (~Liver) with the organ.

    Raises:
        InputRefused: contours that do not lie in axial planes, at even distances.
    """
    grid = _common_grid(delivered, approved)
    before, after = _masks(delivered, grid), _masks(approved, grid)
    found = [_edit(name, before[name], after.get(name), grid, tolerance_mm) for name in before]
    found += [_edit(name, None, after[name], grid, tolerance_mm) for name in after if name not in before]
    return tuple(found)


def _masks(contents: RtstructContents, grid: Geometry) -> dict[str, Structure]:
    """Each ROI with contours as a mask on `grid`, by its name in lower case and without TG-263's sign for parts."""
    found = {}
    for roi in contents.rois:
        observation, contours = contents.observation_of(roi.number), contents.contours_of(roi.number)
        kind = observation.interpreted_type if observation else ""
        if contours is None or not len(contours) or kind in ("GTV", "CTV", "PTV", "ISOCENTER", "MARKER", "SUPPORT"):
            continue
        placed = place_contours(contours, grid)
        chosen = np.array([kind == "CLOSED_PLANAR" for kind in contours.geometric_types]) & ~placed.repeated
        mask, offset = rasterise(placed.polygons(chosen), grid.shape_zyx[1:])
        if mask.size:
            name = whole_name(roi.name).casefold()
            found[name] = Structure(roi.name, (0, 0, 0), InterpretedType.ORGAN, mask, offset)
    return found


def _edit(
    name: str, before: Structure | None, after: Structure | None, grid: Geometry, tolerance_mm: float
) -> StructureEdit:
    if before is None or after is None:
        one = before or after
        assert one is not None, name  # it is in one of both
        shown = whole_name(one.name)
        alone = compare_with(one, one, grid, CompareOptions((tolerance_mm,)))[0]
        path = alone.reference_path_length_mm
        slices = int(one.mask_zyx.any(axis=(1, 2)).sum())
        became = Became.REMOVED if after is None else Became.ADDED
        return StructureEdit(shown, became, 0.0, path if after else 0.0, path, 1.0, slices, slices)
    shown = whole_name(before.name)
    found = compare_with(after, before, grid, CompareOptions((tolerance_mm,)))[0]
    slices, edited = _slices(before, after, grid)
    part = found.added_path_length_mm / found.reference_path_length_mm
    return StructureEdit(
        shown,
        Became.EDITED if edited else Became.UNEDITED,
        round(found.surface_dice, 4),
        round(found.added_path_length_mm, 1),
        round(found.reference_path_length_mm, 1),
        round(part, 4),
        slices,
        edited,
    )


def _slices(before: Structure, after: Structure, grid: Geometry) -> tuple[int, int]:
    """How many slices either lies on, and on how many a border moved."""
    box = before.box.joined(after.box)
    both = [np.zeros(box.shape_zyx, dtype=np.uint8) for _ in range(2)]
    for mask, structure in zip(both, (before, after), strict=True):
        place = tuple(
            slice(a - b, a - b + n)
            for a, b, n in zip(structure.offset_zyx, box.start_zyx, structure.mask_zyx.shape, strict=True)
        )
        mask[place] = structure.mask_zyx
    reach = int(np.ceil(EDITED_BEYOND_MM / grid.spacing_zyx_mm[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    present = edited = 0
    for first, second in zip(*both, strict=True):
        if first.any() or second.any():
            present += 1
            edited += _beyond(first, second, kernel) or _beyond(second, first, kernel)
    return present, edited


def _beyond(inside: np.ndarray, other: np.ndarray, kernel: np.ndarray) -> bool:
    """Whether something of one lies further from the other than the kernel reaches."""
    far: Mask = (inside > 0) & (cv2.dilate(other, kernel) == 0)
    return bool(far.any())


def _common_grid(first: RtstructContents, second: RtstructContents) -> Geometry:
    """A grid around the contours of both: their slices, and 1 mm in the plane."""
    points = [
        item.points_lps_mm for contents in (first, second) for item in contents.contours if len(item.points_lps_mm)
    ]
    if not points:
        raise InputRefused(Reason.NO_STRUCTURES, str(second.path), "no contours", "contours to compare")
    everything = np.concatenate(points)
    heights = np.unique(np.round(everything[:, 2], 2))
    apart = np.diff(heights)
    apart = apart[apart > LEAST_SPACING_MM]
    spacing = float(np.median(apart)) if apart.size else 1.0
    # Gaps between structures are whole numbers of slices.
    steps = apart / spacing
    depth = round(float(heights[-1] - heights[0]) / spacing) + 1
    if (np.abs(steps - np.rint(steps)) > 0.1).any() or depth > MAX_SLICES:
        found = f"planes {apart.min():.2f} to {apart.max():.2f} mm apart along the body"
        raise InputRefused(
            Reason.INCONSISTENT_POSITIONS, str(second.path), found, "contours on the axial slices of a CT or MR"
        )
    low, high = everything.min(axis=0) - MARGIN_MM, everything.max(axis=0) + MARGIN_MM
    columns, rows = (int(np.ceil((high[axis] - low[axis]) / IN_PLANE_MM)) + 1 for axis in (0, 1))
    frame = first.frame_of_reference_uid or (first.referenced_frames[0] if first.referenced_frames else "2.25.1")
    origin = (float(low[0]), float(low[1]), float(heights[0]))
    return Geometry.axial((depth, rows, columns), (spacing, IN_PLANE_MM, IN_PLANE_MM), origin, frame)
