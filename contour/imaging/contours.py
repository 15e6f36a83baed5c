"""From mask to contours: the exact iso-0.5 line of a mask, for all slices of a structure at once.

Tracing is marching squares on voxel centres (Lorensen and Cline 1987, in the plane), without a loop over points: every
border between an inside and an outside neighbour is a node, each node knows its one successor, and loops are put in
order by pointer doubling (Wyllie 1979). Contours lie half-way between voxel centres, so a reader that samples at voxel
centres gets the mask back, voxel for voxel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.imaging.smooth import Loops, decimated, relaxed, signed_areas, without_collinear

CHUNK_VOXELS = 1 << 20  # slices are worked on in chunks that stay in the processor's cache


@dataclass(frozen=True)
class Contours:
    """Closed planar polygons of one structure, in continuous voxel indices of the image grid.

    A voxel centre has integer indices. Polygon `i` lies on slice `slice_indices[i]`, has the points
    `points_yx[starts[i]:starts[i + 1]]` (row, column), and is closed: its first point is not repeated at the end. What
    is inside an odd number of polygons of a slice belongs to the structure, so holes are polygons of their own.

    `points_yx` is (n, 2), `starts` (m + 1,), `slice_indices` (m,).
    """

    points_yx: NDArray[np.float64]
    starts: NDArray[np.intp]
    slice_indices: NDArray[np.intp]

    def __len__(self) -> int:
        """The number of polygons."""
        return int(self.slice_indices.size)

    def polygon_yx(self, i: int) -> NDArray[np.float64]:
        """The points (n, 2) of polygon `i`, as a view."""
        return self.points_yx[self.starts[i] : self.starts[i + 1]]

    def signed_areas(self) -> NDArray[np.float64]:
        """(m,) area of each polygon in pixels: positive for outer rings, negative for holes as `trace` turns them."""
        return signed_areas(self.points_yx[:, 0], self.points_yx[:, 1], Loops(self.starts))


@dataclass(frozen=True)
class TraceOptions:
    """How contours are drawn from a mask; the default is the exact iso-0.5 line.

    `smoothing_mm` is how far smoothing may move any point of a contour (0: none). Points move along the line between
    their inside and outside voxel centre and never reach either, so smoothing alone changes no voxel that a reader at
    voxel centres gets back. `decimation_mm` is how far the contour may move when points are left out (0: only points
    on a straight line go, which moves nothing). The two add up. No voxel is changed either while `decimation_mm` is
    below (p / 2 - `smoothing_mm`) / sqrt(2), p being the pixel spacing of square pixels.

    Raises:
        ValueError: a bound that is negative or not finite, or a bound in mm without `spacing_yx_mm`.
    """

    spacing_yx_mm: tuple[float, float] | None = None
    smoothing_mm: float = 0.0
    decimation_mm: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("smoothing_mm", self.smoothing_mm), ("decimation_mm", self.decimation_mm)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value}: must be finite and at least 0 mm")
        if self.spacing_yx_mm is None and (self.smoothing_mm > 0 or self.decimation_mm > 0):
            raise ValueError("a bound in mm needs spacing_yx_mm, the spacing of rows and columns")
        if self.spacing_yx_mm is not None and not (
            np.all(np.isfinite(self.spacing_yx_mm)) and min(self.spacing_yx_mm) > 0
        ):
            raise ValueError(f"spacing_yx_mm {self.spacing_yx_mm}: must be finite and above 0 mm")


EXACT = TraceOptions()


def trace(mask_zyx: Mask, offset_zyx: tuple[int, int, int] = (0, 0, 0), options: TraceOptions = EXACT) -> Contours:
    """The contours of a mask that covers the voxels from `offset_zyx` on, slice by slice.

    Outer rings turn so that their signed area in (x, y) is positive, holes the other way; islands are rings of their
    own. Voxels of a slice that touch at a corner are joined, as components of 26 neighbours are. Polygons are ordered
    by slice; each has at least three points (four where nothing is decimated), none of them on a straight line between
    its neighbours.

    Raises:
        ValueError: `mask_zyx` is not three-dimensional.
    """
    if mask_zyx.ndim != 3:
        raise ValueError(f"mask of shape {mask_zyx.shape}: must be z, y, x")
    parts = [_finished(part, options) for part in _traced_chunks(mask_zyx, exact=options.smoothing_mm == 0)]
    if not parts:
        return Contours(np.empty((0, 2)), np.zeros(1, dtype=np.intp), np.empty(0, dtype=np.intp))
    points = np.concatenate([part.points_yx for part in parts])
    points += np.asarray(offset_zyx[1:], dtype=float)
    loops = Loops.of_lengths(np.concatenate([part.loops.lengths for part in parts]))
    return Contours(points, loops.starts, np.concatenate([part.slice_indices for part in parts]) + offset_zyx[0])


@dataclass(frozen=True)
class _Traced:
    """The loops of a chunk of slices: `along_y` says which points lie on a line between two rows' centres."""

    points_yx: NDArray[np.float64]
    along_y: NDArray[np.bool_]
    loops: Loops
    slice_indices: NDArray[np.intp]


def _finished(part: _Traced, options: TraceOptions) -> _Traced:
    """Smoothed and decimated. Chunk by chunk, because these steps pass over their points many times."""
    points, loops, spacing = part.points_yx, part.loops, options.spacing_yx_mm
    if spacing is None:
        return part
    if options.smoothing_mm > 0:
        points = relaxed(points, loops, part.along_y, options.smoothing_mm, spacing)
        points, loops = without_collinear(points, loops)
    if options.decimation_mm > 0:
        points, loops = decimated(points, loops, options.decimation_mm, spacing)
    return replace(part, points_yx=points, loops=loops)


def _traced_chunks(mask_zyx: Mask, *, exact: bool) -> Iterator[_Traced]:
    """The loops of the mask's slices; `exact` leaves out the points on straight lines, else every border is a point."""
    nz, ny, nx = mask_zyx.shape
    if mask_zyx.size == 0:
        return
    depth = min(nz, max(1, CHUNK_VOXELS // ((ny + 1) * (nx + 1))))
    grid = _PaddedGrid.allocated(depth, ny, nx)
    for first in range(0, nz, depth):
        slices = mask_zyx[first : first + depth]
        grid.voxels[: len(slices), 1:, 1:] = slices
        grid.voxels[len(slices) :] = 0
        nodes = _borders(grid)
        if nodes.keys.size:
            yield _ordered(grid, nodes, first, exact=exact)


# A border is a node of the graph of contours. Those between columns (x and x + 1 of a row) are of kind 0, those between
# rows of kind 1, and a second bit says whether the first of both voxels is the inside one. Together they say where the
# contour runs, keeping the inside on one hand: BETWEEN_COLUMNS + 0 to smaller y, + 1 to greater y; BETWEEN_ROWS + 0 to
# greater x, + 1 to smaller x. Looking ahead there are two voxels: one beside the inside voxel and one beside the
# outside voxel. If the second is inside, the contour turns around the outside voxel (which joins voxels that touch at a
# corner); if both are outside, it turns around the inside voxel; else it goes straight on.
_TURN_IN, _STRAIGHT, _TURN_OUT = 0, 1, 2
_COLUMNS, _ROWS = 0, 1

# For each of the four sorts of borders: (rows, columns) from the border's first voxel to the voxel ahead of the inside
# and of the outside voxel; then for each of the three cases the kind of the next border, the step to its first voxel,
# and the direction (0 to 7, in eighths of a turn) of the segment that leads there.
_AHEAD_OF_INSIDE = np.array([(-1, 1), (1, 0), (1, 1), (0, -1)])
_AHEAD_OF_OUTSIDE = np.array([(-1, 0), (1, 1), (0, 1), (1, -1)])
_NEXT_KIND = np.array([(_ROWS, _COLUMNS, _ROWS)] * 2 + [(_COLUMNS, _ROWS, _COLUMNS)] * 2)
_NEXT_STEP = np.array(
    [
        [(-1, 1), (-1, 0), (-1, 0)],
        [(0, 0), (1, 0), (0, 1)],
        [(1, 0), (0, 1), (0, 0)],
        [(0, -1), (0, -1), (1, -1)],
    ]
)
_DIRECTION = np.array([(7, 6, 5), (3, 2, 1), (1, 0, 7), (5, 4, 3)], dtype=np.uint8)


@dataclass(frozen=True)
class _PaddedGrid:
    """A chunk of slices as one flat array, with an empty row before each slice and column before each row.

    `flat` holds the voxels, `voxels` (depth, ny + 1, nx + 1) is a view of it, and `node_at` is room for the number of
    the node at each border, indexed by its key: the first voxel's flat index, times two, plus the kind.
    """

    flat: NDArray[np.uint8]
    voxels: NDArray[np.uint8]
    node_at: NDArray[np.int32]

    @classmethod
    def allocated(cls, depth: int, ny: int, nx: int) -> "_PaddedGrid":
        count = depth * (ny + 1) * (nx + 1)
        flat = np.zeros(count + nx + 3, dtype=np.uint8)
        voxels = flat[:count].reshape(depth, ny + 1, nx + 1)
        # Only entries that were written for the current chunk are ever read: contours are closed.
        return cls(flat, voxels, np.empty(2 * flat.size, dtype=np.int32))

    @property
    def stride(self) -> int:
        return int(self.voxels.shape[2])


@dataclass(frozen=True)
class _Nodes:
    """Borders, ordered by kind and then by place: `keys` as in `_PaddedGrid`, `sort` 0 to 3 as in the tables above."""

    keys: NDArray[np.intp]
    sort: NDArray[np.intp]


def _borders(grid: _PaddedGrid) -> _Nodes:
    flat = grid.flat
    between_columns = np.flatnonzero((flat[:-1] ^ flat[1:]).view(bool))
    between_rows = np.flatnonzero((flat[: -grid.stride] ^ flat[grid.stride :]).view(bool))
    first = np.concatenate((between_columns, between_rows))
    sort = flat[first].astype(np.intp)
    sort[between_columns.size :] += 2
    first *= 2
    first[between_columns.size :] += 1
    return _Nodes(first, sort)


def _ordered(grid: _PaddedGrid, nodes: _Nodes, first_slice: int, *, exact: bool) -> _Traced:
    case = _cases(grid, nodes)
    node, lengths = _in_loops(_successors(grid, nodes, case))
    loops = Loops.of_lengths(lengths)
    roots = node[loops.starts[:-1]]
    if exact:
        direction = _DIRECTION.ravel()[(3 * nodes.sort + case)[node]]
        turning = direction != loops.preceding(direction)
        node, loops = node[turning], loops.selected(turning)
    keys = nodes.keys[node]
    kind, place = keys & 1, keys >> 1
    rows_per_slice, stride = grid.voxels.shape[1:]
    row, column = np.divmod(place, stride)
    points = np.empty((node.size, 2))
    np.add(row % rows_per_slice - 1, 0.5 * kind, out=points[:, 0])
    np.subtract(column - 0.5, 0.5 * kind, out=points[:, 1])
    slices = (nodes.keys[roots] >> 1) // (stride * rows_per_slice)
    return _Traced(points, kind.astype(bool), loops, slices + first_slice)


def _cases(grid: _PaddedGrid, nodes: _Nodes) -> NDArray[np.intp]:
    """Whether the contour, at each border, turns around the inside voxel, goes on, or turns around the outside one."""
    place, step = nodes.keys >> 1, np.array([grid.stride, 1])
    inside_on = grid.flat[place + (_AHEAD_OF_INSIDE @ step)[nodes.sort]]
    outside_on = grid.flat[place + (_AHEAD_OF_OUTSIDE @ step)[nodes.sort]]
    return np.asarray(np.maximum(inside_on, 2 * outside_on), dtype=np.intp)


def _successors(grid: _PaddedGrid, nodes: _Nodes, case: NDArray[np.intp]) -> NDArray[np.intp]:
    steps = 2 * (_NEXT_STEP @ np.array([grid.stride, 1])) + _NEXT_KIND - np.array([0, 0, 1, 1])[:, None]
    grid.node_at[nodes.keys] = np.arange(nodes.keys.size, dtype=np.int32)
    return np.asarray(grid.node_at[nodes.keys + steps.ravel()[3 * nodes.sort + case]], dtype=np.intp)


def _in_loops(successor: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A permutation's cycles, written one after the other, each from its lowest number on; and their lengths."""
    count = successor.size
    root, jump = np.arange(count), successor
    while True:  # after round k, root is the lowest number among the next 2 ** k of the cycle
        lower = np.minimum(root, root[jump])
        if np.array_equal(lower, root):
            break
        root, jump = lower, jump[jump]
    roots = np.flatnonzero(root == np.arange(count))
    jump = successor.copy()
    jump[roots] = roots
    to_root = np.ones(count, dtype=np.intp)
    to_root[roots] = 0
    while (further := to_root[jump]).any():
        to_root += further
        jump = jump[jump]
    lengths = to_root[successor[roots]] + 1
    end = np.empty(count, dtype=np.intp)
    end[roots] = np.cumsum(lengths)
    end = end[root]
    end -= to_root
    end[roots] -= lengths
    node = np.empty(count, dtype=np.intp)
    node[end] = np.arange(count)
    return node, lengths
