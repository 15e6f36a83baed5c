"""Smoothing and decimation of closed polygons, each with a bound on how far a contour may move."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)

COLLINEAR_TOLERANCE_PIXELS = 1e-9
LARGEST_SLIDE_VOXELS = 0.45  # of the 0.5 to either voxel centre
PULL, PUSH, ROUNDS = 0.5, -0.53, 10  # Taubin's filter: passes what is longer than some ten points
AREA_ROUNDS = 3
SMALLEST_GROWTH = 1e-6  # square pixels: no division by nothing
LONGEST_CHORD_POINTS = 16
LEAST_AREA_SHARE = 0.5


@dataclass(frozen=True)
class Loops:
    """Closed sequences written one after the other: loop `i` is `starts[i]:starts[i + 1]` of an array of points."""

    starts: NDArray[np.intp]

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.intp]) -> "Loops":
        """Loops of so many points each."""
        starts = np.zeros(lengths.size + 1, dtype=np.intp)
        np.cumsum(lengths, out=starts[1:])
        return cls(starts)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """(m,) the number of points of each loop."""
        return np.diff(self.starts)

    def following(self, values: NDArray[Value]) -> NDArray[Value]:
        """For each point the value of the next one of its loop."""
        shifted = np.empty_like(values)
        shifted[:-1] = values[1:]
        shifted[self.starts[1:] - 1] = values[self.starts[:-1]]
        return shifted

    def preceding(self, values: NDArray[Value]) -> NDArray[Value]:
        """For each point the value of the one before it in its loop."""
        shifted = np.empty_like(values)
        shifted[1:] = values[:-1]
        shifted[self.starts[:-1]] = values[self.starts[1:] - 1]
        return shifted

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,) the sum of each loop's values; every loop has a point."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1]))

    def spread(self, values: NDArray[Value]) -> NDArray[Value]:
        """For each point the value (m,) of its loop."""
        return np.repeat(values, self.lengths)

    def selected(self, kept: NDArray[np.bool_]) -> "Loops":
        """The loops when only the points where `kept` is true remain."""
        before = np.zeros(kept.size + 1, dtype=np.intp)
        np.cumsum(kept, out=before[1:])
        return Loops(before[self.starts])


def signed_areas(y: NDArray[np.float64], x: NDArray[np.float64], loops: Loops) -> NDArray[np.float64]:
    """(m,) area of each polygon (y, x), positive where it turns from x towards y."""
    # Differences, not products of whole coordinates, keep the digits far from the origin.
    return loops.sums((loops.following(x) + x) * (loops.following(y) - y)) / 2


def without_collinear(points_yx: NDArray[np.float64], loops: Loops) -> tuple[NDArray[np.float64], Loops]:
    """The polygons without the points that lie straight between their neighbours (within 1e-9 pixels); tips stay."""
    step = loops.following(points_yx) - points_yx
    before = loops.preceding(step)
    doubled_area = before[:, 0] * step[:, 1] - before[:, 1] * step[:, 0]
    turning = np.abs(doubled_area) > COLLINEAR_TOLERANCE_PIXELS * np.hypot(before[:, 0], before[:, 1])
    turning |= before[:, 0] * step[:, 0] + before[:, 1] * step[:, 1] < 0  # the tip of a spike, out and back
    return points_yx[turning], loops.selected(turning)


def relaxed(
    points_yx: NDArray[np.float64],
    loops: Loops,
    along_y: NDArray[np.bool_],
    bound_mm: float,
    spacing_yx_mm: tuple[float, float],
) -> NDArray[np.float64]:
    """Smoothed polygons: each point slides along the line between the two voxel centres it stands half-way between.

    It moves along y where `along_y` is true, else along x, by at most `bound_mm` and by less than half a voxel. As the
    polygons keep their points and their order, no part of a contour moves further than `bound_mm` either, and none
    passes a voxel centre. Points are pulled to the mean of their neighbours and pushed back by slightly more, which
    smooths without shrinking (constrained elastic surface nets, Gibson, MICCAI 1998; Taubin, SIGGRAPH 1995); then
    each polygon's area is brought towards the number of pixels it encloses, as far as the bound allows.
    """
    rails = _Rails.through(points_yx, along_y, bound_mm, spacing_yx_mm)
    y, x = rails.rest_y.copy(), rails.rest_x.copy()
    for factor in (PULL, PUSH) * ROUNDS:
        y += factor * rails.free_y * _towards_neighbours(y, loops)
        x += factor * rails.free_x * _towards_neighbours(x, loops)
        rails.hold(y, x)
    _restore_areas(y, x, loops, rails)
    return np.stack((y, x), axis=1)


@dataclass(frozen=True)
class _Rails:
    """Where points may slide: 1 in `free_y` or `free_x` for the axis, `reach_y` and `reach_x` to either side."""

    rest_y: NDArray[np.float64]
    rest_x: NDArray[np.float64]
    free_y: NDArray[np.float64]
    free_x: NDArray[np.float64]
    reach_y: NDArray[np.float64]
    reach_x: NDArray[np.float64]

    @classmethod
    def through(
        cls,
        points_yx: NDArray[np.float64],
        along_y: NDArray[np.bool_],
        bound_mm: float,
        spacing_yx_mm: tuple[float, float],
    ) -> "_Rails":
        rest_y, rest_x = np.ascontiguousarray(points_yx.T)
        free_y, free_x = along_y.astype(float), (~along_y).astype(float)
        reach_y, reach_x = (min(bound_mm / spacing, LARGEST_SLIDE_VOXELS) for spacing in spacing_yx_mm)
        return cls(rest_y, rest_x, free_y, free_x, reach_y * free_y, reach_x * free_x)

    def hold(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> None:
        """Bring points that went too far back within reach, in place."""
        np.clip(y, self.rest_y - self.reach_y, self.rest_y + self.reach_y, out=y)
        np.clip(x, self.rest_x - self.reach_x, self.rest_x + self.reach_x, out=x)


def _restore_areas(y: NDArray[np.float64], x: NDArray[np.float64], loops: Loops, rails: _Rails) -> None:
    """Let each polygon grow or shrink along the rails until its area is the number of pixels it encloses; in place."""
    # Marching squares cuts an eighth of a pixel off each of a loop's corners, of which four more turn in than out.
    areas = signed_areas(rails.rest_y, rails.rest_x, loops)
    areas += np.sign(areas) / 2
    for _ in range(AREA_ROUNDS):
        growth_y = rails.free_y * (loops.preceding(x) - loops.following(x)) / 2  # of the area, as the point moves by 1
        growth_x = rails.free_x * (loops.following(y) - loops.preceding(y)) / 2
        missing = areas - signed_areas(y, x, loops)
        step = loops.spread(missing / np.maximum(loops.sums(growth_y**2 + growth_x**2), SMALLEST_GROWTH))
        y += step * growth_y
        x += step * growth_x
        rails.hold(y, x)


def _towards_neighbours(values: NDArray[np.float64], loops: Loops) -> NDArray[np.float64]:
    """How far each value is below the mean of the two beside it in its loop."""
    mean = loops.following(values)
    mean += loops.preceding(values)
    mean *= 0.5
    mean -= values
    return mean


def decimated(
    points_yx: NDArray[np.float64], loops: Loops, bound_mm: float, spacing_yx_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], Loops]:
    """The polygons with fewer of their points; contours move by at most `bound_mm` (Hausdorff distance).

    Each loop is first cut into pieces of some thirty points, and a piece's points are left out where they lie within
    `bound_mm` of its chord, or else it is split at the one furthest away (Douglas and Peucker 1973), all pieces of all
    loops at once. A polygon whose area would fall to less than half, or more than double, keeps all of its points.
    """
    lengths = loops.lengths
    closed = Loops.of_lengths(lengths + 1)  # each loop with its first point again at the end
    source = np.arange(closed.starts[-1]) - np.repeat(np.arange(lengths.size), lengths + 1)
    source[closed.starts[1:] - 1] = loops.starts[:-1]
    kept = np.zeros(source.size, dtype=bool)
    first, last = _pieces(closed)
    kept[first] = True
    y_mm, x_mm = (points_yx[source, axis] * spacing_yx_mm[axis] for axis in range(2))
    while first.size:
        furthest, distance_mm = _furthest_from_chord(y_mm, x_mm, first, last)
        split = distance_mm > bound_mm
        first, middle, last = first[split], furthest[split], last[split]
        kept[middle] = True
        first, last = np.concatenate((first, middle)), np.concatenate((middle, last))
        longer = last - first > 1
        first, last = first[longer], last[longer]
    kept = np.delete(kept, closed.starts[1:] - 1)
    return _selected_where_sound(points_yx, loops, kept)


def _pieces(closed: Loops) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last points of the pieces that closed loops are cut into: at least three of each loop."""
    lengths = closed.lengths - 1
    count = np.minimum(np.maximum(3, -(-lengths // LONGEST_CHORD_POINTS)), lengths)
    pieces = Loops.of_lengths(count)
    number = np.arange(pieces.starts[-1]) - pieces.spread(pieces.starts[:-1])
    per_loop, start = pieces.spread(lengths), pieces.spread(closed.starts[:-1])
    first = start + number * per_loop // pieces.spread(count)
    last = start + (number + 1) * per_loop // pieces.spread(count)
    return first, last


def _furthest_from_chord(
    y_mm: NDArray[np.float64], x_mm: NDArray[np.float64], first: NDArray[np.intp], last: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each piece the point furthest from the segment that joins its ends, and its distance; ends count as 0."""
    pieces = Loops.of_lengths(last - first)
    piece_of = pieces.spread(np.arange(first.size))
    index = np.arange(piece_of.size) + (first - pieces.starts[:-1])[piece_of]
    chord_y, chord_x = y_mm[last] - y_mm[first], x_mm[last] - x_mm[first]
    per_length = 1 / np.maximum(chord_y**2 + chord_x**2, np.finfo(float).tiny)
    away_y, away_x = y_mm[index] - y_mm[first][piece_of], x_mm[index] - x_mm[first][piece_of]
    along = away_y * (chord_y * per_length)[piece_of] + away_x * (chord_x * per_length)[piece_of]
    np.clip(along, 0, 1, out=along)
    away_y -= along * chord_y[piece_of]
    away_x -= along * chord_x[piece_of]
    distance = away_y**2 + away_x**2
    greatest = np.maximum.reduceat(distance, pieces.starts[:-1])
    furthest = np.empty_like(first)
    at_greatest = np.flatnonzero(distance == greatest[piece_of])[::-1]  # of equals, the one written last: the first
    furthest[piece_of[at_greatest]] = index[at_greatest]
    return furthest, np.sqrt(greatest)


def _selected_where_sound(
    points_yx: NDArray[np.float64], loops: Loops, kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Loops]:
    """The kept points without collinear ones; all points of polygons whose area would change too much."""
    chosen = loops.selected(kept)
    areas = signed_areas(points_yx[:, 0], points_yx[:, 1], loops)
    share = signed_areas(points_yx[kept, 0], points_yx[kept, 1], chosen) / areas
    lost = (share < LEAST_AREA_SHARE) | (share > 1 / LEAST_AREA_SHARE)
    kept = kept | loops.spread(lost)
    return without_collinear(points_yx[kept], loops.selected(kept))
