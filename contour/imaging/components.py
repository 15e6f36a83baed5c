"""The connected parts of a mask: of one in memory labelled as a whole, of one in a file plane by plane.

Labels of a whole image take four times the memory of its mask, and half the time. Plane by plane none are held: each
plane is labelled by itself, what touches in neighbouring planes is one part, and a graph of these links tells which
labels belong together.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from contour.core.places import lies_in_file
from contour.core.structures import Mask

Plane = NDArray[np.uint8]
Labels = NDArray[np.int32]

_STRAIGHT = ((0, 0),)
_ALL_AROUND = tuple(product((-1, 0, 1), (-1, 0, 1)))


class Planes(Protocol):
    """Planes (y, x) of uint8, 0 outside, by their index: an array (z, y, x), or what makes them when asked."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, z: int, /) -> Any:
        """A plane."""


class Parts(Protocol):
    """The connected parts of planes, numbered from 1 on, 0 outside."""

    @property
    def voxels(self) -> NDArray[np.int64]:
        """How many each part has, from part 1 on."""

    def of_plane(self, z: int) -> NDArray[np.integer[Any]]:
        """(y, x): the part of each pixel of a plane."""

    def largest(self) -> int:
        """The number of the largest part; of several, the one that comes first along z, y, x."""


def those_in_plane(parts: Parts, z: int, kept: NDArray[np.bool_]) -> Mask:
    """(y, x): what of a plane belongs to the parts that are `kept`: a bool for each, from part 1 on."""
    return np.asarray(np.concatenate([[False], kept])[parts.of_plane(z)])


@dataclass(frozen=True)
class LabelledParts:
    """As `Parts`, with their labels (z, y, x) in memory."""

    labels_zyx: NDArray[np.integer[Any]]
    voxels: NDArray[np.int64]

    @classmethod
    def of(cls, mask_zyx: Mask, neighbours: int) -> "LabelledParts":
        """Those of a mask, with 6 or 26 neighbours."""
        labels, count = cc3d.connected_components(mask_zyx, connectivity=neighbours, return_N=True)
        # Plane by plane: `bincount` makes a copy of what it counts, in eight bytes a voxel.
        voxels = np.zeros(count + 1, dtype=np.int64)
        for plane in labels:
            found = np.bincount(plane.ravel(order="K"))
            voxels[: found.size] += found
        return cls(labels, voxels[1:])

    def of_plane(self, z: int) -> NDArray[np.integer[Any]]:
        """As `Parts`."""
        return np.asarray(self.labels_zyx[z])

    def largest(self) -> int:
        """As `Parts`: they are labelled in that order."""
        return int(self.voxels.argmax()) + 1


@dataclass(frozen=True)
class PartsByPlane:
    """As `Parts`, of `planes` that are labelled again when they are asked for.

    `part_of` is the part of each label of each plane, one plane after the other; those of plane z begin at `starts[z]`.
    """

    planes: Planes
    neighbours: int
    voxels: NDArray[np.int64]
    part_of: NDArray[np.intp]
    starts: NDArray[np.intp]

    def of_plane(self, z: int) -> NDArray[np.integer[Any]]:
        """As `Parts`."""
        _, labels = _labelled(self.planes[z], self.neighbours)
        return np.asarray(np.concatenate([[0], self.part_of[self.starts[z] : self.starts[z + 1]]])[labels])

    def largest(self) -> int:
        """As `Parts`."""
        best = 1 + np.flatnonzero(self.voxels == self.voxels.max())
        if best.size == 1:
            return int(best[0])
        first = min(int(np.flatnonzero(self.part_of == part)[0]) for part in best)
        flat = self.of_plane(int(np.searchsorted(self.starts, first, side="right")) - 1).reshape(-1)
        return int(flat[np.isin(flat, best)][0])


def parts_of(mask_zyx: Mask, neighbours: int) -> Parts:
    """The connected parts of a mask, with 6 or 26 neighbours."""
    # cc3d 4.1 fails on some masks that are one voxel wide.
    if lies_in_file(mask_zyx) or 1 in mask_zyx.shape:
        return parts_by_plane(mask_zyx.view(np.uint8), neighbours)
    return LabelledParts.of(mask_zyx, neighbours)


def parts_by_plane(planes: Planes, neighbours: int) -> PartsByPlane:
    """The connected parts of `planes`, with 6 or 26 neighbours.

    Raises:
        ValueError: another number of neighbours.
    """
    if neighbours not in (6, 26):
        raise ValueError(f"neighbours {neighbours}: 6 or 26")
    around = _STRAIGHT if neighbours == 6 else _ALL_AROUND
    sizes, links, starts = [], [], [0]
    before: Labels | None = None
    for z in range(len(planes)):
        voxels, labels = _labelled(planes[z], neighbours)
        sizes.append(voxels)
        if before is not None:
            links.append(_touching(before, labels, around) + np.array([starts[-2] - 1, starts[-1] - 1]))
        before = labels
        starts.append(starts[-1] + voxels.size)
    pairs = np.concatenate(links) if links else np.zeros((0, 2), dtype=np.intp)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(starts[-1], starts[-1]))
    _, found = connected_components(graph, directed=False)
    _, first, part_of = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.intp)
    rank[np.argsort(first)] = np.arange(first.size)
    part_of = rank[part_of]
    counted = np.concatenate(sizes) if sizes else np.zeros(0, dtype=np.int64)
    total = np.zeros(first.size, dtype=np.int64)
    np.add.at(total, part_of, counted)
    return PartsByPlane(planes, neighbours, total, part_of + 1, np.asarray(starts, dtype=np.intp))


def _labelled(plane: Plane, neighbours: int) -> tuple[NDArray[np.int64], Labels]:
    """The voxels of each label of a plane, from label 1 on, and the labels."""
    connectivity = 4 if neighbours == 6 else 8
    _, labels, about, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(plane), connectivity=connectivity)
    return about[1:, cv2.CC_STAT_AREA].astype(np.int64), labels


def _touching(below: Labels, above: Labels, around: tuple[tuple[int, int], ...]) -> NDArray[np.intp]:
    """(n, 2): the pairs of labels, from 1 on, that touch in two neighbouring planes."""
    if len(around) > 1 and below.max() == 1 and above.max() == 1 and bool(((below > 0) & (above > 0)).any()):
        return np.ones((1, 2), dtype=np.intp)  # nearly every pair of planes of an organ
    found = [_pairs(*_shifted(below, above, step)) for step in around]
    return np.unique(np.concatenate(found), axis=0)


def _shifted(below: Labels, above: Labels, step_yx: tuple[int, int]) -> tuple[Labels, Labels]:
    """The pixels of two planes that lie `step_yx` apart."""
    here, there = [], []
    for step in step_yx:
        here.append(slice(max(0, -step), None if step <= 0 else -step))
        there.append(slice(max(0, step), None if step >= 0 else step))
    return below[tuple(here)], above[tuple(there)]


def _pairs(below: Labels, above: Labels) -> NDArray[np.intp]:
    """(n, 2): the pairs that occur; runs of one pair, which neighbours form, are passed over first."""
    both = (below > 0) & (above > 0)
    first, second = below[both], above[both]
    if first.size == 0:
        return np.zeros((0, 2), dtype=np.intp)
    changes = np.flatnonzero((np.diff(first) != 0) | (np.diff(second) != 0)) + 1
    starts = np.concatenate([[0], changes])
    return np.unique(np.stack([first[starts], second[starts]], axis=1).astype(np.intp), axis=0)
