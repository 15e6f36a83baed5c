"""Holes as keyholes: one polygon that runs to the hole along a channel of no width, around it, and back.

DICOM PS3.3 C.8.8.6.3 describes this for closed planar contours with an excluded inside. Readers that fill every polygon
of its own, and so lose holes that are written as polygons inside others, fill these as they are meant.
"""

import numpy as np
from numpy.typing import NDArray

from contour.imaging.contours import Contours

Polygon = NDArray[np.float64]  # (n, 2) row, column


def keyholed(contours: Contours) -> Contours:
    """The same areas without holes of their own: each hole is part of the outer ring around it.

    Channels run along a column, from the hole's least row to the nearest ring at lesser rows.
    """
    areas = contours.signed_areas()
    polygons, slices = [], []
    for index in np.unique(contours.slice_indices):
        members = np.flatnonzero(contours.slice_indices == index).tolist()
        outer = [contours.polygon_yx(i) for i in members if areas[i] > 0]
        holes = [contours.polygon_yx(i) for i in members if areas[i] <= 0]
        joined = _joined(outer, holes) if holes else outer
        polygons += joined
        slices += [index] * len(joined)
    if not polygons:
        return contours
    starts = np.concatenate([[0], np.cumsum([len(polygon) for polygon in polygons])]).astype(np.intp)
    return Contours(np.concatenate(polygons), starts, np.asarray(slices, dtype=np.intp))


def _joined(outer: list[Polygon], holes: list[Polygon]) -> list[Polygon]:
    """Outer rings with the holes of one slice in them: the hole of least rows first, so that no other is in its way."""
    rings = list(outer)
    for hole in sorted(holes, key=lambda polygon: float(polygon[:, 0].min())):
        top = int(hole[:, 0].argmin())
        row, column = hole[top]
        met = [_above(ring, row, column) for ring in rings]
        ring = max(range(len(rings)), key=lambda i: met[i][0])
        at, edge = met[ring]
        door = np.array([[at, column]])
        around = np.concatenate([np.roll(hole, -top, axis=0), hole[top : top + 1]])
        rings[ring] = np.concatenate([rings[ring][: edge + 1], door, around, door, rings[ring][edge + 1 :]])
    return rings


def _above(ring: Polygon, row: float, column: float) -> tuple[float, int]:
    """The row nearest above `row` where the ring crosses the column, and the edge that does; -inf where none does."""
    y0, x0 = ring[:, 0], ring[:, 1]
    y1, x1 = np.roll(y0, -1), np.roll(x0, -1)
    passes = (np.minimum(x0, x1) <= column) & (column < np.maximum(x0, x1))
    edges = np.flatnonzero(passes)
    rows = y0[edges] + (column - x0[edges]) / (x1[edges] - x0[edges]) * (y1[edges] - y0[edges])
    rows = np.where(rows < row, rows, -np.inf)
    if not edges.size or np.isneginf(rows.max()):
        return -np.inf, -1
    return float(rows.max()), int(edges[rows.argmax()])
