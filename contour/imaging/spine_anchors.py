"""What tells levels beside a spine that was taken apart: which vertebrae bear ribs, and whether the sacrum follows.

A rib's inner end lies by the transverse process of its own vertebra, somewhat above the middle of the body: nearer to
it than to the next vertebra in most cases, and where two are about as near the height decides. Along a side the ends
come in the order of the vertebrae, one to each, so that one end in doubt is settled by its neighbours.
"""

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from contour.imaging.vertebrae import BONE, Part, Spine, SpineImage

SIDEWAYS_MM = (12.0, 60.0)  # from the line through the bodies: where a rib's inner part lies
IN_FRONT_MM = (-75.0, 12.0)
INNERMOST_MM = 52.0  # a rib whose nearest part is further away is that of a vertebra out of view
LEAST_STUMP_ML = 0.12
USUAL_HEIGHT = 0.25  # of a pitch above the body's middle
DISTANCE_WORTH_MM = 10.0  # as bad as a whole pitch of height
LEFT_OUT_COST = 2.2  # of an end that is given to no vertebra
PASSED_OVER_COST = 0.8  # of a vertebra without a rib between two that bear one
REACH_MM = 35.0  # between an end and its vertebra at most
SITE_HEIGHTS = (-0.2, 0.4)  # in pitches from the body's middle: where an end would be seen
SITE_SIDEWAYS_MM = 42.0
SITE_IN_FRONT_MM = -28.0
LEAST_SACRUM_ML = 3.0
SACRUM_SIDEWAYS_MM = 35.0
SACRUM_GAP = 0.5  # of the last pitch, between the last vertebra and the sacrum's top
MOSTLY = 0.5  # of the sacrum's voxels must lie below


@dataclass(frozen=True)
class RibPair:
    """Whether a vertebra bears a rib on either side; None where the image does not reach."""

    left: bool | None
    right: bool | None


@dataclass(frozen=True)
class _Stump:
    """The inner end of a rib: its height along the spine, and its distance from each vertebra (inf: out of reach)."""

    height_mm: float
    distances_mm: NDArray[np.float64]


def rib_pairs(image: SpineImage, spine: Spine) -> tuple[RibPair, ...]:
    """What is seen beside each vertebra of `spine`, which was taken from `image`."""
    borne = {side: _borne(image, spine, sign) for side, sign in (("left", 1), ("right", -1))}
    pairs = []
    for i in range(len(spine.vertebrae)):
        left, right = (
            True if i in borne[side] else (False if _in_view(image, spine, i, sign) else None)
            for side, sign in (("left", 1), ("right", -1))
        )
        pairs.append(RibPair(left, right))
    return tuple(pairs)


@dataclass(frozen=True)
class SeenSacrum:
    """Whether what was drawn as sacrum can be one (`there`), and whether it is the last vertebra's lower neighbour."""

    there: bool
    follows: bool


def seen_sacrum(image: SpineImage, spine: Spine) -> SeenSacrum:
    """A sacrum lies in line with the spine and below it: scraps elsewhere in the body tell nothing."""
    points = image.points_mm(Part.SACRUM)
    if not len(points):
        return SeenSacrum(there=False, follows=False)
    heights, left, _ = spine.frame.beside(points)
    last = spine.vertebrae[-1]
    reach_mm = SACRUM_GAP * last.pitch_mm
    below = heights <= last.bottom_mm + reach_mm
    in_line = below & (np.abs(left) < SACRUM_SIDEWAYS_MM)
    there = bool(below.mean() >= MOSTLY and in_line.sum() * image.voxel_ml >= LEAST_SACRUM_ML)
    return SeenSacrum(there, there and bool(heights[in_line].max() >= last.bottom_mm - reach_mm))


def _borne(image: SpineImage, spine: Spine, sign: int) -> frozenset[int]:
    """The vertebrae that bear a rib on one side (`sign` 1: the patient's left)."""
    stumps = _stumps(image, spine, sign)
    if not stumps:
        return frozenset()
    middles = _middles_mm(spine)
    pitches = np.array([vertebra.pitch_mm for vertebra in spine.vertebrae])
    costs = np.array(
        [
            stump.distances_mm / DISTANCE_WORTH_MM
            + np.abs((stump.height_mm - middles) / np.maximum(pitches, 15.0) - USUAL_HEIGHT)
            for stump in stumps
        ]
    )
    return frozenset(_matched(costs))


def _stumps(image: SpineImage, spine: Spine, sign: int) -> tuple[_Stump, ...]:
    """The inner ends of the ribs of one side, from top to bottom."""
    where = np.argwhere(image.parts_zyx == Part.RIB)
    if len(where) == 0:
        return ()
    spacing = np.asarray(image.spacing_zyx_mm)
    heights, left, front = spine.frame.beside(where * spacing)
    sideways = sign * left
    inner = (sideways > SIDEWAYS_MM[0]) & (sideways < SIDEWAYS_MM[1])
    inner &= (front > IN_FRONT_MM[0]) & (front < IN_FRONT_MM[1])
    mask = np.zeros(image.parts_zyx.shape, dtype=bool)
    mask[tuple(where[inner].T)] = True
    pieces, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    of_voxel = pieces[tuple(where.T)]
    found = []
    for piece in range(1, count + 1):
        mine = of_voxel == piece
        if mine.sum() * image.voxel_ml < LEAST_STUMP_ML or sideways[mine].min() > INNERMOST_MM:
            continue
        found.append(_Stump(float(np.median(heights[mine])), _distances_mm(where[mine], image, spine)))
    return tuple(sorted(found, key=lambda stump: -stump.height_mm))


def _distances_mm(stump: NDArray[np.intp], image: SpineImage, spine: Spine) -> NDArray[np.float64]:
    """How near the voxels of a stump come to each vertebra's."""
    spacing = np.asarray(image.spacing_zyx_mm)
    margin = np.ceil(REACH_MM / spacing).astype(int)
    start = np.maximum(stump.min(axis=0) - margin, 0)
    stop = np.minimum(stump.max(axis=0) + margin + 1, image.parts_zyx.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    free = np.ones(tuple(stop - start), dtype=bool)
    free[tuple((stump - start).T)] = False
    far = edt.edt(free, anisotropy=image.spacing_zyx_mm)
    bone = np.isin(image.parts_zyx[box], BONE)
    nearest = np.full(len(spine.vertebrae) + 1, np.inf)
    np.minimum.at(nearest, spine.owner_zyx[box][bone], far[bone])
    nearest[nearest > REACH_MM] = np.inf
    return nearest[1:]


def _matched(costs: NDArray[np.float64]) -> tuple[int, ...]:
    """The columns that rows are given to, in order and each once, at the least cost.

    A row may be left out, at the ends or between; so may a column between two that are taken, for a cost as well.
    """
    rows, columns = costs.shape
    best = costs + LEFT_OUT_COST * np.arange(rows)[:, None]  # the first to be taken
    came_from = np.full((rows, columns), -1)
    for i in range(1, rows):
        for j in range(1, columns):
            before = best[:i, :j] + LEFT_OUT_COST * np.arange(i - 1, -1, -1)[:, None]
            before = before + PASSED_OVER_COST * np.arange(j - 1, -1, -1)
            at = int(before.argmin())
            if before.flat[at] + costs[i, j] < best[i, j]:
                best[i, j] = before.flat[at] + costs[i, j]
                came_from[i, j] = at // j * columns + at % j
    ends = best + LEFT_OUT_COST * np.arange(rows - 1, -1, -1)[:, None]
    at = int(ends.argmin())
    if ends.flat[at] >= LEFT_OUT_COST * rows:
        return ()
    taken = []
    while at >= 0:
        taken.append(at % columns)
        at = int(came_from.flat[at])
    return tuple(taken)


def _middles_mm(spine: Spine) -> NDArray[np.float64]:
    return spine.frame.line.heights_mm(np.array([vertebra.centre_zyx_mm for vertebra in spine.vertebrae]))


def _in_view(image: SpineImage, spine: Spine, i: int, sign: int) -> bool:
    """Whether the image reaches where the inner end of this vertebra's rib would be."""
    vertebra = spine.vertebrae[i]
    heights = _middles_mm(spine)[i] + np.array(SITE_HEIGHTS) * vertebra.pitch_mm
    line, front = spine.frame.line, spine.frame.front(heights)
    left = np.cross(front, line.upward(heights))
    sites = line.at(heights) + sign * SITE_SIDEWAYS_MM * left + SITE_IN_FRONT_MM * front
    return bool(((sites >= 0) & (sites <= image.extent_mm)).all())
