"""A spine taken apart: which vertebra each voxel of body and arch belongs to, in order from top to bottom.

A network of few classes says what is body, core of a body, arch, canal, rib and sacrum, the same for every vertebra.
Here the bodies are told apart, by geometry alone and the same way every time: along the line through their centres the
cores come and go; the line is cut where they go, at distances that change little from one vertebra to the next. So two
cores that run into each other are parted, a core that a fracture or a streak divides is kept whole, and a body that is
missing leaves a gap that is known. Then every voxel of a body goes to the nearest core, and every voxel of an arch to
the body from which it is reached through bone first.
"""

from dataclasses import dataclass
from enum import IntEnum

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.imaging.spine_line import SpineFrame, SpineLine, fit_line

Points = NDArray[np.float64]  # (n, 3) z, y, x in mm from the first voxel's centre

STEP_MM = 1.5  # of the profile along the spine
PITCHES_MM = (12.0, 57.0)  # from one disc to the next: a child's neck, a tall adult's loin
EXPECTED_PITCH_MM = 28.0
UNEVEN_COST = 1.5  # of the squared logarithm of two neighbouring pitches' ratio, beside a disc's worth of up to 1
UNUSUAL_COST = 0.15  # of the squared logarithm of a pitch's ratio to the expected one
LEAST_VALLEY = 0.15  # of full height: what a disc is worth is counted from here
CORE_WEIGHT = 0.5  # of the profile; the rest is the body
LEAST_BODY = 0.25  # of its neighbours' median volume, for a body that no end of the image cuts
LEAST_CUT_BODY_ML = 0.3
LEAST_SPINE_ML = 1.5  # a piece of bodies less than this is no spine
ONE_CORE = 0.8  # of a pitch: a piece of core that is no higher than this is one vertebra's
SIDE_LIMIT_MM = 60.0  # a piece further from the rest of the spine, sideways, is no part of it
ARCH_REACH_MM = 90.0  # from the body through bone to the tip of a spinous process
OWNED_AROUND_MM = 4.0  # beyond what the network drew on the working grid: finer masks reach there


class Part(IntEnum):
    """What a voxel of a spine is; 0 is none of these."""

    CORE = 1
    SHELL = 2
    ARCH = 3
    CANAL = 4
    RIB = 5
    SACRUM = 6
    JOINT = 7


BODY = (Part.CORE, Part.SHELL)
BONE = (*BODY, Part.ARCH, Part.JOINT)


@dataclass(frozen=True)
class SpineImage:
    """`parts_zyx` (values of `Part`) on a grid whose indices grow to superior, posterior and left."""

    parts_zyx: NDArray[np.uint8]
    spacing_zyx_mm: tuple[float, float, float]

    def points_mm(self, *parts: Part) -> Points:
        """The voxels of `parts` in mm from the first voxel's centre."""
        where = np.argwhere(self.mask(*parts)).astype(np.float64)
        where *= np.asarray(self.spacing_zyx_mm)
        return where

    def mask(self, *parts: Part) -> Mask:
        """The voxels of `parts`."""
        chosen = np.zeros(256, dtype=bool)
        chosen[list(parts)] = True
        return np.asarray(chosen[self.parts_zyx])

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel."""
        return float(np.prod(self.spacing_zyx_mm)) / 1000.0

    @property
    def extent_mm(self) -> NDArray[np.float64]:
        """The centre of the last voxel, in mm from that of the first."""
        return np.asarray((np.array(self.parts_zyx.shape) - 1.0) * np.array(self.spacing_zyx_mm))


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: `top_mm` and `bottom_mm` are the heights of the discs about it, along the spine.

    `cut` says that the image ends within it; `gap_below` that the next one drawn below it is not its neighbour.
    """

    centre_zyx_mm: tuple[float, float, float]
    top_mm: float
    bottom_mm: float
    body_ml: float
    cut: bool
    gap_below: bool

    @property
    def pitch_mm(self) -> float:
        """From disc to disc."""
        return self.top_mm - self.bottom_mm


@dataclass(frozen=True)
class Spine:
    """Vertebrae from top to bottom; `owner_zyx` holds i + 1 at voxels of, and close around, the i-th of them."""

    vertebrae: tuple[Vertebra, ...]
    owner_zyx: NDArray[np.uint8]
    frame: SpineFrame


def take_apart(image: SpineImage) -> Spine | None:
    """The vertebrae of `image`, or None where no body is to be seen."""
    image = _without_strays(image)
    bodies = image.points_mm(*BODY)
    if len(bodies) * image.voxel_ml < LEAST_SPINE_ML:
        return None
    frame = SpineFrame.of(bodies, image.points_mm(Part.CANAL), image.spacing_zyx_mm[0])
    cuts_mm = _cuts(image, frame.line)
    seeds, vertebrae = _vertebrae(image, frame.line, cuts_mm)
    if not vertebrae:
        return None
    return Spine(vertebrae, _owners(image, seeds), frame)


def _without_strays(image: SpineImage) -> SpineImage:
    """Without pieces of vertebrae that lie beside the spine: its parts hang together but for holes along it."""
    spacing = np.asarray(image.spacing_zyx_mm)
    vertebral = image.mask(*BONE, Part.CANAL)
    pieces, count = cc3d.connected_components(vertebral, connectivity=26, return_N=True)
    if count < 2:
        return image
    sizes = np.bincount(pieces.ravel(order="K"), minlength=count + 1)
    sizes[0] = 0
    main = np.argwhere(pieces == sizes.argmax()) * spacing
    line = fit_line(main, image.spacing_zyx_mm[0])
    centres = cc3d.statistics(pieces)["centroids"] * spacing
    aside = np.linalg.norm(centres[:, 1:] - line.at_height(centres[:, 0])[:, 1:], axis=1)
    stays = (aside <= SIDE_LIMIT_MM) | (np.arange(count + 1) == 0)
    return SpineImage(np.where(stays[pieces] | ~vertebral, image.parts_zyx, 0).astype(np.uint8), image.spacing_zyx_mm)


# -- where the discs are ---------------------------------------------------------------------------------------------


def _cuts(image: SpineImage, line: SpineLine) -> NDArray[np.float64]:
    """Heights along the spine (mm, rising) of the discs between the bodies that are in view."""
    heights = line.heights_mm(image.points_mm(*BODY))
    first = float(heights.min())
    count = int((heights.max() - first) / STEP_MM) + 2
    blur_mm = max(2.0, 0.6 * image.spacing_zyx_mm[0])
    body = _profile(heights - first, count, blur_mm)
    core = _profile(line.heights_mm(image.points_mm(Part.CORE)) - first, count, blur_mm)
    level = CORE_WEIGHT * _relative(core) + (1 - CORE_WEIGHT) * _relative(body)
    return np.asarray(first + STEP_MM * _best_cuts(_valleys(level) - LEAST_VALLEY).astype(np.float64))


def _profile(heights_mm: NDArray[np.float64], count: int, blur_mm: float) -> NDArray[np.float64]:
    """How many voxels lie at each step of height, blurred."""
    steps = np.rint(heights_mm / STEP_MM).astype(int)
    voxels = np.bincount(np.clip(steps, 0, count - 1), minlength=count).astype(np.float64)
    reach = int(np.ceil(3 * blur_mm / STEP_MM))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_MM / blur_mm) ** 2)
    # Beyond the ends the last voxels go on: an end of the image is no disc.
    padded = np.pad(voxels, reach, mode="edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode="valid"), dtype=np.float64)


def _relative(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """In parts of what is usual about there: bodies grow downwards."""
    reach = int(EXPECTED_PITCH_MM / STEP_MM)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(profile, reach, mode="edge"), 2 * reach + 1)
    usual = windows.max(axis=1)
    return np.asarray(profile / np.maximum(usual, 0.2 * max(usual.max(), 1.0)))


def _valleys(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep each place lies below the lower of the highest places above and below it."""
    reach = int(1.5 * EXPECTED_PITCH_MM / STEP_MM)  # across a body that is missing
    padded = np.pad(level, reach, mode="constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach + 1)
    below, above = windows[: level.size].max(axis=1), windows[reach:].max(axis=1)
    return np.asarray(np.minimum(below, above) - level)


def _best_cuts(worth: NDArray[np.float64]) -> NDArray[np.intp]:
    """The steps at which to cut: the greatest sum of `worth` less what uneven distances cost (Viterbi).

    `best[j, d]` is the best sum whose last cuts are at step j and d steps before it; column 0 is for a first cut.
    """
    shortest, longest = (int(mm / STEP_MM) for mm in PITCHES_MM)
    distances = np.arange(shortest, longest + 1)
    logs = np.log(distances * STEP_MM / EXPECTED_PITCH_MM)
    uneven = UNEVEN_COST * (logs[:, None] - logs[None]) ** 2  # (this distance, the one before)
    unusual = UNUSUAL_COST * logs**2
    n = worth.size
    best = np.full((n, distances.size + 1), -np.inf)
    came_from = np.zeros((n, distances.size + 1), dtype=np.intp)
    for j in range(n):
        if j <= longest:
            best[j, 0] = worth[j]
        for column in range(1, distances.size + 1):
            distance = int(distances[column - 1])
            if distance > j:
                break
            before = best[j - distance].copy()
            before[1:] -= uneven[column - 1]
            came_from[j, column] = before.argmax()
            best[j, column] = before.max() + worth[j] - unusual[column - 1]
    ends = best[max(0, n - longest) :]
    if ends.max() <= 0:  # one body, or nothing worth a cut
        return np.zeros(0, dtype=np.intp)
    row, last = np.unravel_index(int(ends.argmax()), ends.shape)
    return _traced(came_from, distances, max(0, n - longest) + int(row), int(last))


def _traced(came_from: NDArray[np.intp], distances: NDArray[np.intp], j: int, column: int) -> NDArray[np.intp]:
    cuts = [j]
    while column > 0:
        earlier = j - int(distances[column - 1])
        column = int(came_from[j, column])
        j = earlier
        cuts.append(j)
    return np.array(cuts[::-1], dtype=np.intp)


# -- what lies between the discs -------------------------------------------------------------------------------------


def _vertebrae(
    image: SpineImage, line: SpineLine, cuts_mm: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], tuple[Vertebra, ...]]:
    """A seed for each vertebra (its number, from 1, at voxels of its core), and the vertebrae from top to bottom."""
    bodies = np.argwhere(image.mask(*BODY))
    points = bodies * np.asarray(image.spacing_zyx_mm)
    heights = line.heights_mm(points)
    edges = np.concatenate([[heights.min() - STEP_MM], cuts_mm, [heights.max() + STEP_MM]])
    intervals = np.searchsorted(cuts_mm, heights)
    counts = np.bincount(intervals, minlength=edges.size - 1)
    ends = _touches_ends(image, bodies[:, 0], intervals, edges.size - 1)
    volumes_ml = counts.astype(np.float64) * image.voxel_ml
    real = _real(volumes_ml, ends)
    is_core = image.parts_zyx[tuple(bodies.T)] == Part.CORE
    core_intervals = _whole_cores(image, bodies[is_core], heights[is_core], edges)
    seeds = np.zeros(image.parts_zyx.shape, dtype=np.uint8)
    vertebrae: list[Vertebra] = []
    accepted = np.flatnonzero(real)[::-1]
    for number, i in enumerate(accepted, start=1):
        seed = bodies[is_core][core_intervals == i]
        if len(seed) == 0:
            middle = np.abs(heights - (edges[i] + edges[i + 1]) / 2) <= (edges[i + 1] - edges[i]) / 4
            inside = intervals == i
            seed = bodies[inside & middle] if (inside & middle).any() else bodies[inside]
        seeds[tuple(seed.T)] = number
        centre = points[intervals == i].mean(axis=0)
        vertebrae.append(
            Vertebra(
                centre_zyx_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
                top_mm=float(edges[i + 1]),
                bottom_mm=float(edges[i]),
                body_ml=float(volumes_ml[i]),
                cut=bool(ends[i]),
                gap_below=bool(number < accepted.size and accepted[number] != i - 1),
            )
        )
    return seeds, tuple(vertebrae)


def _touches_ends(image: SpineImage, planes: NDArray[np.intp], intervals: NDArray[np.intp], count: int) -> Mask:
    at_end = (planes == 0) | (planes == image.parts_zyx.shape[0] - 1)
    return np.bincount(intervals[at_end], minlength=count) > 0


def _real(volumes_ml: NDArray[np.float64], ends: Mask) -> Mask:
    """Which intervals hold a body: enough beside their neighbours, or a piece that the image cuts."""
    real = np.zeros(volumes_ml.size, dtype=bool)
    for i, volume in enumerate(volumes_ml):
        around = volumes_ml[max(0, i - 3) : i + 4]
        usual = float(np.median(around[around > LEAST_CUT_BODY_ML])) if (around > LEAST_CUT_BODY_ML).any() else 0.0
        real[i] = volume >= LEAST_CUT_BODY_ML and (bool(ends[i]) or volume >= LEAST_BODY * usual)
    return real


def _whole_cores(
    image: SpineImage, cores: NDArray[np.intp], heights: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The interval of each voxel of a core: for a piece that is one vertebra's the one that holds most of it.

    The cuts are at right angles to the line, and end plates need not be; pieces that run into each other are cut.
    """
    pieces = cc3d.connected_components(image.mask(Part.CORE), connectivity=6)[tuple(cores.T)]
    result = np.searchsorted(edges[1:-1], heights)
    for piece in np.unique(pieces):
        inside = pieces == piece
        most = int(np.bincount(result[inside]).argmax())
        if np.ptp(heights[inside]) <= ONE_CORE * (edges[most + 1] - edges[most]):
            result[inside] = most
    return result


# -- whose voxel is whose --------------------------------------------------------------------------------------------


def _owners(image: SpineImage, seeds_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The vertebra of each voxel of body and arch, and of those around them."""
    box = _box_around(image.mask(*BONE), OWNED_AROUND_MM, image.spacing_zyx_mm)
    spine = SpineImage(np.ascontiguousarray(image.parts_zyx[box]), image.spacing_zyx_mm)
    finest = min(image.spacing_zyx_mm)
    body, bone = spine.mask(*BODY), spine.mask(*BODY, Part.ARCH)
    owner = _nearest_seed(body, seeds_zyx[box], image.spacing_zyx_mm)
    # Joints last: through them a vertebra would reach the neighbour's arch.
    grown = _spread(np.where(body, owner, 0).astype(np.uint8), bone, int(ARCH_REACH_MM / finest))
    grown = _spread(grown, spine.mask(*BONE), int(ARCH_REACH_MM / finest))
    # Between two bodies the nearest core decides, for voxels that only a finer grid calls body, too.
    owner[grown > 0] = grown[grown > 0]
    around = np.ones(owner.shape, dtype=bool)
    result = np.zeros(image.parts_zyx.shape, dtype=np.uint8)
    result[box] = _spread(owner, around, int(np.ceil(OWNED_AROUND_MM / finest)))
    return result


def _box_around(
    mask_zyx: Mask, margin_mm: float, spacing_zyx_mm: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    slices = []
    for axis, mm in enumerate(spacing_zyx_mm):
        inside = np.flatnonzero(mask_zyx.any(axis=tuple(i for i in range(3) if i != axis)))
        margin = int(np.ceil(margin_mm / mm))
        slices.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + 1 + margin))
    return slices[0], slices[1], slices[2]


def _nearest_seed(
    body_zyx: Mask, seeds_zyx: NDArray[np.uint8], spacing_zyx_mm: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """The number of the seed nearest to each voxel within reach of a body."""
    spacing = np.asarray(spacing_zyx_mm)
    owner = np.zeros(body_zyx.shape, dtype=np.uint8)
    nearest = np.full(body_zyx.shape, np.inf, dtype=np.float32)
    for number in range(1, int(seeds_zyx.max()) + 1):
        where = np.argwhere(seeds_zyx == number)
        margin = np.ceil(EXPECTED_PITCH_MM / spacing).astype(int)
        start = np.maximum(where.min(axis=0) - margin, 0)
        stop = np.minimum(where.max(axis=0) + margin + 1, body_zyx.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        far = edt.edt(seeds_zyx[box] != number, anisotropy=spacing_zyx_mm)
        closer = far < nearest[box]
        nearest[box][closer] = far[closer]
        owner[box][closer] = number
    return np.where(_grown(body_zyx, OWNED_AROUND_MM, spacing_zyx_mm), owner, 0).astype(np.uint8)


def _grown(mask_zyx: Mask, margin_mm: float, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    within: Mask = edt.edt(~mask_zyx, anisotropy=spacing_zyx_mm) <= margin_mm
    return within


def _spread(owner_zyx: NDArray[np.uint8], through_zyx: Mask, steps: int) -> NDArray[np.uint8]:
    """`owner_zyx` spread through a mask, one voxel at a time and evenly from all; each voxel goes to who is first.

    Steps go by turns to 6 and to 26 neighbours, which makes a ball nearly round.
    """
    owner = np.pad(owner_zyx, 1)
    through = np.pad(through_zyx, 1)
    for step in range(steps):
        free = np.flatnonzero(through.ravel() & (owner.ravel() == 0))
        taken = _first_neighbour(owner, free, _OFFSETS_6 if step % 2 else _OFFSETS_26)
        if not taken.any():
            if step % 2 == 0:
                break
            continue
        owner.ravel()[free] = taken
    return np.ascontiguousarray(owner[1:-1, 1:-1, 1:-1])


def _first_neighbour(
    owner: NDArray[np.uint8], free: NDArray[np.intp], offsets: tuple[tuple[int, int, int], ...]
) -> NDArray[np.uint8]:
    strides = np.array([owner.shape[1] * owner.shape[2], owner.shape[2], 1])
    flat = owner.ravel()
    taken = np.zeros(free.size, dtype=np.uint8)
    for offset in offsets:
        neighbour = flat[free + int(strides @ np.asarray(offset))]
        taken = np.where(taken == 0, neighbour, taken)
    return taken


_OFFSETS_26 = tuple(
    sorted(
        ((z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)),
        key=lambda o: (abs(o[0]) + abs(o[1]) + abs(o[2]), o),
    )
)
_OFFSETS_6 = _OFFSETS_26[:6]
