"""How two structures on one grid agree: volume, surface and path-length measures with stated definitions.

Surfaces are made of elements at the corners that 2 x 2 x 2 voxels share, each with the area that marching cubes gives
it there. This is the definition of surface-distance (Nikolov et al., JMIR 2021, arXiv:1809.04430), with which surface
Dice and percentiles of distances agree to rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product

import edt
import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask, Structure, cropped_to_content

STENCIL_PLACES = 800  # so many places around a surface element are looked at before a distance transform is made
BOUNDING_PLACES = 64  # of the other surface, to bound how far a distance transform has to reach
CHUNK_VOXELS = 1 << 20
TOLERANCE_SLACK = 1 + 1e-6  # distances are rounded; one that equals the tolerance is within it


@dataclass(frozen=True)
class Agreement:
    """How a test structure agrees with a reference structure.

    `dice` is twice the common volume over the sum of both. `surface_dice` is the area of both surfaces that lies within
    `tolerance_mm` of the other surface, over their whole area. `hd95_mm` is the greater of both 95th percentiles, by
    area, of the distances from one surface to the other, `hausdorff_mm` the greatest distance, and
    `mean_surface_distance_mm` the mean, by area, over both surfaces. `added_path_length_mm` is the length of the
    reference's contours, over all slices, that lies further than `tolerance_mm` from the test's contours in the same
    slice: what a person would have to draw (Vaassen et al., Phys Imaging Radiat Oncol 2020, who count pixels where this
    measures the length of the contour); `reference_path_length_mm` is the length of all of them.

    Surface elements sit at voxel corners, so distances between surfaces that lie apart come out short by about half a
    voxel, and differences below a voxel are not resolved.

    If one structure is empty, both Dice values are 0 and distances infinite; if both are, all of these are NaN.
    """

    dice: float
    surface_dice: float
    tolerance_mm: float
    hd95_mm: float
    hausdorff_mm: float
    mean_surface_distance_mm: float
    added_path_length_mm: float
    reference_path_length_mm: float
    reference_ml: float
    test_ml: float


@dataclass(frozen=True)
class CompareOptions:
    """How structures are compared: at which tolerances, and within which slices.

    `slices` are the first and the last z index between which both are judged, where nobody looked beyond them. What
    either has outside is cut off, and the planes of the cut are no surface: a tube cut at both ends is measured by
    its side alone.

    Raises:
        ValueError: no tolerance, one that is negative or not finite, or slices in the wrong order.
    """

    tolerances_mm: tuple[float, ...]
    slices: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.tolerances_mm:
            raise ValueError("tolerances_mm: at least one")
        for tolerance_mm in self.tolerances_mm:
            if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
                raise ValueError(f"tolerance_mm {tolerance_mm}: must be finite and at least 0 mm")
        if self.slices is not None and not 0 <= self.slices[0] <= self.slices[1]:
            raise ValueError(f"slices {self.slices}: first and last, from 0 on")


def compare(reference: Structure, test: Structure, geometry: Geometry, tolerance_mm: float) -> Agreement:
    """How `test` agrees with `reference`, both on `geometry`; see `Agreement` for what is measured.

    Raises:
        ValueError: `tolerance_mm` is negative or not finite, or a structure reaches beyond the grid.
    """
    return compare_with(reference, test, geometry, CompareOptions((tolerance_mm,)))[0]


def compare_with(
    reference: Structure, test: Structure, geometry: Geometry, options: CompareOptions
) -> tuple[Agreement, ...]:
    """As `compare`, at each of the tolerances: distances are measured once.

    Raises:
        ValueError: a structure, or the slices, reach beyond the grid.
    """
    for structure in (reference, test):
        _require_inside(structure, geometry)
    if options.slices is not None and options.slices[1] >= geometry.shape_zyx[0]:
        raise ValueError(f"slices {options.slices} of a grid of {geometry.shape_zyx}")
    pair = (reference, test) if options.slices is None else (within(reference, options), within(test, options))
    voxels = [int(np.count_nonzero(structure.mask_zyx)) for structure in pair]
    boxes = [structure.box for structure in pair]
    grid = _Grid.around(boxes[0], boxes[1], geometry.spacing_zyx_mm, max(options.tolerances_mm))
    (surface, path), (test_surface, test_path) = (_elements(s, grid, open_ends=options.slices) for s in pair)
    one_way = _Distances(_distances_mm(surface, test_surface, grid), surface.sizes)
    other_way = _Distances(_distances_mm(test_surface, surface, grid), test_surface.sizes)
    area = one_way.size + other_way.size
    dice = _ratio(2 * _common_voxels(*pair), sum(voxels))
    hd95_mm, hausdorff_mm = (_worse(one_way.percentile_mm(f), other_way.percentile_mm(f)) for f in (0.95, 1.0))
    return tuple(
        Agreement(
            dice=dice,
            surface_dice=_ratio(one_way.size_within(tolerance_mm) + other_way.size_within(tolerance_mm), area),
            tolerance_mm=tolerance_mm,
            hd95_mm=hd95_mm,
            hausdorff_mm=hausdorff_mm,
            mean_surface_distance_mm=_ratio(one_way.moment + other_way.moment, area),
            added_path_length_mm=_length_beyond_mm(path, test_path, grid, tolerance_mm),
            reference_path_length_mm=float(path.sizes.sum()),
            reference_ml=voxels[0] * geometry.voxel_ml,
            test_ml=voxels[1] * geometry.voxel_ml,
        )
        for tolerance_mm in options.tolerances_mm
    )


def within(structure: Structure, options: CompareOptions) -> Structure:
    """The part of `structure` in the slices of `options`; all of it where they name none."""
    if options.slices is None:
        return structure
    start = min(max(options.slices[0] - structure.offset_zyx[0], 0), structure.mask_zyx.shape[0])
    stop = max(start, options.slices[1] + 1 - structure.offset_zyx[0])
    z, y, x = structure.offset_zyx
    mask, offset = cropped_to_content(structure.mask_zyx[start:stop], (z + start, y, x))
    return replace(structure, mask_zyx=mask, offset_zyx=offset)


@dataclass(frozen=True)
class _Grid:
    """The voxel corners of `box` with a margin all around that a stencil can reach into."""

    box: Box
    margin_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    stencil: "_Stencil"

    @classmethod
    def around(
        cls, first: Box, second: Box, spacing_zyx_mm: tuple[float, float, float], tolerance_mm: float
    ) -> "_Grid":
        boxes = [box for box in (first, second) if not box.empty] or [first]
        starts = np.min([box.start_zyx for box in boxes], axis=0).tolist()
        stops = np.max([box.stop_zyx for box in boxes], axis=0).tolist()
        radius_mm = float((STENCIL_PLACES * np.prod(spacing_zyx_mm) * 3 / (4 * np.pi)) ** (1 / 3))
        reach = [max(radius_mm, tolerance_mm if axis else 0) for axis in range(3)]
        z, y, x = (int(r / s) + 1 for r, s in zip(reach, spacing_zyx_mm, strict=True))
        return cls(
            Box(tuple(starts), tuple(stops)), (z, y, x), spacing_zyx_mm, _Stencil.within(radius_mm, spacing_zyx_mm)
        )

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        z, y, x = (n + 1 + 2 * m for n, m in zip(self.box.shape_zyx, self.margin_zyx, strict=True))
        return z, y, x

    @property
    def strides(self) -> NDArray[np.intp]:
        return np.array([self.shape_zyx[1] * self.shape_zyx[2], self.shape_zyx[2], 1])


@dataclass(frozen=True)
class _Stencil:
    """Steps (n, 3) from a place to those around it, nearest first, and their lengths (n,)."""

    steps_zyx: NDArray[np.intp]
    lengths_mm: NDArray[np.float64]

    @classmethod
    def within(cls, radius_mm: float, spacing_zyx_mm: tuple[float, float, float]) -> "_Stencil":
        reach = [int(radius_mm / s) for s in spacing_zyx_mm]
        steps = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)
        lengths = np.linalg.norm(steps * spacing_zyx_mm, axis=1)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] <= radius_mm * TOLERANCE_SLACK]
        return cls(steps[order], lengths[order])

    def in_plane(self, radius_mm: float, spacing_zyx_mm: tuple[float, float, float]) -> "_Stencil":
        """The steps within one slice, as far as `radius_mm`."""
        beyond_mm = 2 * radius_mm + 1
        return _Stencil.within(radius_mm, (beyond_mm, spacing_zyx_mm[1], spacing_zyx_mm[2]))


@dataclass(frozen=True)
class _Elements:
    """Elements of a surface, or of a slice's contours: flat places on the grid, areas or lengths, and where any is."""

    places: NDArray[np.intp]
    sizes: NDArray[np.float64]
    occupied: NDArray[np.bool_]


def _elements(
    structure: Structure, grid: _Grid, *, open_ends: tuple[int, int] | None = None
) -> tuple[_Elements, _Elements]:
    """The elements of a structure's surface (in mm2) and of its contours in the slices (in mm).

    At a slice of `open_ends` the structure was cut: it goes on as it is there.
    """
    start = int((np.subtract(structure.offset_zyx, grid.box.start_zyx) + grid.margin_zyx) @ grid.strides)
    kinds = (_surface_areas_mm2(grid.spacing_zyx_mm), _contour_lengths_mm(grid.spacing_zyx_mm))
    found: tuple[list[_Found], list[_Found]] = ([], [])
    ends = (structure.box.start_zyx[0], structure.box.stop_zyx[0] - 1)
    goes_on = (False, False) if open_ends is None else (ends[0] == open_ends[0], ends[1] == open_ends[1])
    for first, codes_of_kinds in _neighbour_codes(structure.mask_zyx, goes_on):
        for kind, codes in enumerate(codes_of_kinds):
            # All bits or none of them: no element. One added, those are 0 and 1 (modulo the number of codes).
            at = np.flatnonzero(((codes + np.uint8(1)) & np.uint8(kinds[kind].size - 1)) > 1)
            z, y, x = np.unravel_index(at, codes.shape)
            places = (z + first) * grid.strides[0] + y * grid.strides[1] + x
            found[kind].append((places, kinds[kind][codes.reshape(-1)[at]]))
    return _placed(found[0], grid, start), _placed(found[1], grid, start)


_Found = tuple[NDArray[np.intp], NDArray[np.float64]]


def _placed(found: list[_Found], grid: _Grid, start: int) -> _Elements:
    places = np.concatenate([np.empty(0, dtype=np.intp), *(p for p, _ in found)]) + start
    occupied = np.zeros(int(np.prod(grid.shape_zyx)), dtype=bool)
    occupied[places] = True
    return _Elements(places, np.concatenate([np.empty(0), *(sizes for _, sizes in found)]), occupied)


def _neighbour_codes(
    mask_zyx: Mask, goes_on: tuple[bool, bool]
) -> Iterator[tuple[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]]]:
    """For chunks of corners, from the first z on: codes of the 8 voxels around, and of the 4 of them at greater z.

    Corner i lies between voxels i - 1 and i of each axis. The bit of the voxel before along all axes is the highest.
    Where the mask `goes_on` below its first or above its last slice, the voxels there are as those of that slice.
    """
    nz, ny, nx = mask_zyx.shape
    if mask_zyx.size == 0:
        return
    depth = max(1, CHUNK_VOXELS // ((ny + 2) * (nx + 2)))
    for first in range(0, nz + 1, depth):
        corners = min(depth, nz + 1 - first)
        slab = np.zeros((corners + 1, ny + 2, nx + 2), dtype=np.uint8)
        low, high = max(first - 1, 0), min(first + corners, nz)
        slab[low - first + 1 : high - first + 1, 1:-1, 1:-1] = mask_zyx[low:high]
        pairs = 2 * slab[:, :, :-1] + slab[:, :, 1:]
        fours = 4 * pairs[:, :-1] + pairs[:, 1:]
        eights = 16 * fours[:-1] + fours[1:]
        if goes_on[0] and first == 0:
            eights[0] = 17 * fours[1]
        if goes_on[1] and first + corners == nz + 1:
            eights[-1] = 17 * fours[-2]
        yield first, (eights, fours[1:])


# The 14 ways, up to rotation, mirroring and exchange of inside and outside, in which a surface passes between eight
# voxels, by their code, and the normals of its triangles along z, y, x, as long as their areas, in eighths of a voxel's
# face (Lorensen and Cline 1987).
_CONFIGURATIONS: tuple[tuple[int, tuple[tuple[int, int, int], ...]], ...] = (
    (0b00000000, ()),
    (0b00000001, ((1, 1, 1),)),
    (0b00000011, ((2, 2, 0), (2, 2, 0))),
    (0b00000110, ((1, 1, 1), (1, 1, 1))),
    (0b00000111, ((4, 0, 0), (2, 2, 2), (1, 1, 1))),
    (0b00001111, ((4, 0, 0), (4, 0, 0))),
    (0b00010110, ((1, 1, 1), (1, 1, 1), (1, 1, 1))),
    (0b00010111, ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 1, 1))),
    (0b00011000, ((1, 1, 1), (1, 1, 1))),
    (0b00011001, ((0, 2, 2), (0, 2, 2), (1, 1, 1))),
    (0b00011011, ((1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 0, 2))),
    (0b00011110, ((4, 0, 0), (1, 1, 1), (2, 2, 2), (1, 1, 1))),
    (0b00111100, ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0))),
    (0b01101001, ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1))),
)


@cache
def _surface_areas_mm2(spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """(256,) the area of the surface between eight voxels, by their code."""
    z, y, x = spacing_zyx_mm
    faces_mm2 = np.array([y * x, z * x, z * y]) / 8
    areas = np.zeros(256)
    bits = 1 << np.arange(7, -1, -1)
    for code, normals in _CONFIGURATIONS:
        corners = (code & bits).astype(bool).reshape(2, 2, 2)
        for order, turns in product(permutations(range(3)), product((1, -1), repeat=3)):
            turned = corners.transpose(order)[:: turns[0], :: turns[1], :: turns[2]]
            area = sum(float(np.linalg.norm(np.array(n)[list(order)] * faces_mm2)) for n in normals)
            same = int(turned.reshape(-1) @ bits)
            areas[[same, 255 - same]] = area
    return areas


@cache
def _contour_lengths_mm(spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """(16,) the length of the contour between four voxels of a slice, by their code."""
    _, y, x = spacing_zyx_mm
    lengths = np.full(16, np.hypot(y, x) / 2)
    lengths[[0b0000, 0b1111]] = 0
    lengths[[0b0011, 0b1100]] = x
    lengths[[0b0101, 0b1010]] = y
    lengths[[0b0110, 0b1001]] = np.hypot(y, x)
    return lengths


def _distances_mm(elements: _Elements, others: _Elements, grid: _Grid) -> NDArray[np.float64]:
    """(n,) from each element to the nearest of the others; infinite if there are none.

    Surfaces that are compared mostly lie close together, so the places around each element are looked at first, the
    nearest first; only what remains needs a distance transform, in the smallest box that is sure to hold the nearest.
    """
    distances = np.full(elements.places.size, np.inf)
    if others.places.size == 0:
        return distances
    remaining = _nearby(elements.places, others.occupied, grid, distances)
    if remaining.size:
        distances[remaining] = _transformed_mm(elements.places[remaining], others, grid)
    return distances


def _nearby(
    places: NDArray[np.intp], occupied: NDArray[np.bool_], grid: _Grid, distances: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Fill in the distances of elements that have an other one within the stencil; the numbers of those without."""
    remaining, at = np.arange(places.size), places
    for step, length_mm in zip(grid.stencil.steps_zyx @ grid.strides, grid.stencil.lengths_mm, strict=True):
        hit = occupied[at + step]
        if hit.any():
            distances[remaining[hit]] = length_mm
            remaining, at = remaining[~hit], at[~hit]
            if remaining.size == 0:
                break
    return remaining


def _transformed_mm(places: NDArray[np.intp], others: _Elements, grid: _Grid) -> NDArray[np.float64]:
    """(n,) the distance from each place to the nearest of the others, by a distance transform around the places."""
    spacing = np.asarray(grid.spacing_zyx_mm)
    zyx = np.stack(np.unravel_index(places, grid.shape_zyx), axis=1)
    sample = others.places[np.linspace(0, others.places.size - 1, BOUNDING_PLACES).astype(np.intp)]
    squared_mm2 = np.full(places.size, np.inf)
    for other in np.stack(np.unravel_index(sample, grid.shape_zyx), axis=1):
        np.minimum(squared_mm2, (((zyx - other) * spacing) ** 2).sum(axis=1), out=squared_mm2)
    bound = np.sqrt(squared_mm2)[:, None] / spacing + 1
    low = np.maximum(np.floor((zyx - bound).min(axis=0)), 0).astype(np.intp)
    high = np.minimum(np.ceil((zyx + bound).max(axis=0)) + 1, grid.shape_zyx).astype(np.intp)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    free = ~others.occupied.reshape(grid.shape_zyx)[box]
    transform = edt.edt(free, anisotropy=grid.spacing_zyx_mm, black_border=False, parallel=1)
    z, y, x = (zyx - low).T
    return np.asarray(transform[z, y, x], dtype=np.float64)


def _length_beyond_mm(path: _Elements, other: _Elements, grid: _Grid, tolerance_mm: float) -> float:
    """The length of the path's elements without an other element within the tolerance in their slice."""
    at, lengths = path.places, path.sizes
    for step in grid.stencil.in_plane(tolerance_mm, grid.spacing_zyx_mm).steps_zyx @ grid.strides:
        beyond = ~other.occupied[at + step]
        at, lengths = at[beyond], lengths[beyond]
    return float(lengths.sum())


@dataclass(frozen=True)
class _Distances:
    """Distances of a surface's elements to the other surface, and the elements' areas."""

    distances_mm: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]

    @property
    def size(self) -> float:
        return float(self.areas_mm2.sum())

    @property
    def moment(self) -> float:
        return float((self.distances_mm * self.areas_mm2).sum())

    def size_within(self, tolerance_mm: float) -> float:
        return float(self.areas_mm2[self.distances_mm <= tolerance_mm * TOLERANCE_SLACK].sum())

    def percentile_mm(self, fraction: float) -> float:
        """The distance that `fraction` of the area does not exceed; NaN without any area."""
        if self.distances_mm.size == 0:
            return float("nan")
        if fraction == 1.0:
            return float(self.distances_mm.max())
        order = np.argsort(self.distances_mm)
        reached = np.cumsum(self.areas_mm2[order])
        place = int(np.searchsorted(reached, fraction * reached[-1]))
        return float(self.distances_mm[order[min(place, order.size - 1)]])


def _worse(one: float, other: float) -> float:
    """The greater of both that are defined."""
    return float(np.fmax(one, other))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _common_voxels(first: Structure, second: Structure) -> int:
    start = np.maximum(first.offset_zyx, second.offset_zyx)
    stop = np.minimum(first.box.stop_zyx, second.box.stop_zyx)
    if np.any(stop <= start):
        return 0
    parts = [
        s.mask_zyx[tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, s.offset_zyx, strict=True))]
        for s in (first, second)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _require_inside(structure: Structure, geometry: Geometry) -> None:
    box = structure.box
    if min(box.start_zyx) < 0 or np.any(np.greater(box.stop_zyx, geometry.shape_zyx)):
        raise ValueError(
            f"structure {structure.name} covers {box.start_zyx} to {box.stop_zyx} of a grid of {geometry.shape_zyx}"
        )
