"""What each voxel of the image is: the network's logits, interpolated linearly and decided, without interpolating most.

A voxel of the image lies between eight voxels of the network's grid (a cell). Where all eight have the same winner,
linear interpolation cannot change it: each of the eight logits of that class is at least those of the others, and
interpolation is a mean with weights that are not negative. The same holds for a threshold. So only the voxels of mixed
cells, at the borders of structures, are interpolated, and the answer is exactly that of interpolating every class
everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contour.core.places import zeros_beside
from contour.core.structures import Mask

MIXED = 255  # the code of a cell whose corners differ; channels are below it


@dataclass(frozen=True)
class AxisSampling:
    """Where the image's voxels lie between the network's voxels along one axis.

    Image index `first + i` lies between network indices `lower[i]` and `upper[i]`, at `weight[i]` of the way.
    """

    first: int
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, first: int, positions: NDArray[np.float64], voxels: int) -> "AxisSampling":
        """Image voxels from index `first` on at continuous network `positions`, on an axis of `voxels` voxels.

        Beyond the outer voxels' centres the outer voxel continues.
        """
        inside = np.clip(positions, 0, voxels - 1)
        lower = np.minimum(np.floor(inside).astype(np.intp), max(0, voxels - 2))
        upper = np.minimum(lower + 1, voxels - 1)
        return cls(first, lower, upper, (inside - lower).astype(np.float32))

    def nearest(self, voxels: int) -> "AxisSampling":
        """The same voxels, each with the one network voxel that is nearest (the upper of two): no interpolation."""
        chosen = self.nearest_voxels(voxels)
        lower = np.minimum(chosen, max(0, voxels - 2))
        upper = np.minimum(lower + 1, voxels - 1)
        return AxisSampling(self.first, lower, upper, (chosen - lower).astype(np.float32))

    def nearest_voxels(self, voxels: int) -> NDArray[np.intp]:
        """The network voxel nearest to each image voxel, the upper of two."""
        nearest: NDArray[np.intp] = np.minimum(np.floor(self.lower + self.weight + 0.5).astype(np.intp), voxels - 1)
        return nearest

    def between(self, lowest: int, highest: int) -> slice:
        """The entries whose `lower` is at least `lowest` and at most `highest`."""
        start, stop = np.searchsorted(self.lower, (lowest, highest + 1))
        return slice(int(start), int(stop))


class Rule(Protocol):
    """How logits decide. Codes are channel numbers, 0 for background."""

    @property
    def channels(self) -> slice:
        """The channels that have a say."""

    def decides(self, channel: int) -> bool:
        """Whether the rule's codes say where `channel` is."""

    def codes(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Codes (...) of logits (channels that have a say, ...)."""


@dataclass(frozen=True)
class Winner:
    """The channel with the greatest logit, the first of equal ones: softmax networks."""

    @property
    def channels(self) -> slice:
        """All of them."""
        return slice(None)

    def decides(self, channel: int) -> bool:
        """Every channel."""
        return channel > 0

    def codes(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Argmax in passes over whole channels: numpy's own strides over them and takes several times as long."""
        best = logits[0].copy()
        codes: NDArray[np.uint8] = np.zeros(best.shape, dtype=np.uint8)
        for channel in range(1, len(logits)):
            np.copyto(codes, channel, where=logits[channel] > best)
            np.maximum(best, logits[channel], out=best)
        return codes


@dataclass(frozen=True)
class AtLeast:
    """One channel by itself, inside where its logit reaches a threshold: sigmoid networks."""

    channel: int
    logit: float

    @property
    def channels(self) -> slice:
        """This one."""
        return slice(self.channel, self.channel + 1)

    def decides(self, channel: int) -> bool:
        """This channel only."""
        return channel == self.channel

    def codes(self, logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The channel number, or 0."""
        return np.where(logits[0] >= self.logit, self.channel, 0).astype(np.uint8)


@dataclass(frozen=True)
class _NetworkPlane:
    """A final plane of the network's grid: its logits, and what its voxels are by each rule."""

    logits_cyx: NDArray[np.float32]
    codes_yx: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class _Piece:
    """A mask of one image plane, cropped to what it holds, a bit a voxel: all pieces wait until the image is done."""

    start_zyx: tuple[int, int, int]
    width: int
    bits_yx: NDArray[np.uint8]

    @property
    def stop_zyx(self) -> tuple[int, int, int]:
        z, y, x = self.start_zyx
        return z + 1, y + len(self.bits_yx), x + self.width


def _piece(mask_yx: Mask, start_zyx: tuple[int, int, int]) -> _Piece | None:
    rows = np.flatnonzero(mask_yx.any(axis=1))
    if rows.size == 0:
        return None
    mask = mask_yx[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(mask.any(axis=0))
    mask = mask[:, columns[0] : columns[-1] + 1]
    z, y, x = start_zyx
    return _Piece((z, y + int(rows[0]), x + int(columns[0])), mask.shape[1], np.packbits(mask, axis=1))


def _joined(pieces: list[_Piece], beside: NDArray[np.generic]) -> tuple[Mask, tuple[int, int, int]]:
    if not pieces:
        return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
    z0, y0, x0 = (min(piece.start_zyx[axis] for piece in pieces) for axis in range(3))
    z1, y1, x1 = (max(piece.stop_zyx[axis] for piece in pieces) for axis in range(3))
    whole: Mask = zeros_beside(beside, (z1 - z0, y1 - y0, x1 - x0), np.bool_)
    for piece in pieces:
        (z, y, x), (_, stop_y, stop_x) = piece.start_zyx, piece.stop_zyx
        mask = np.unpackbits(piece.bits_yx, axis=1, count=piece.width).view(bool)
        whole[z - z0, y - y0 : stop_y - y0, x - x0 : stop_x - x0] = mask
    return whole, (z0, y0, x0)


class Painter:
    """Takes the network's planes one after the other, and paints every image plane that lies before the last one."""

    def __init__(
        self,
        rules: Sequence[Rule],
        structures: Sequence[tuple[int, ...]],
        sampling_zyx: tuple[AxisSampling, AxisSampling, AxisSampling],
    ) -> None:
        """`structures` lists the channels that make up each structure; those of one are decided by one rule."""
        self._rules = tuple(rules)
        self._z, self._y, self._x = sampling_zyx
        self._pieces: dict[tuple[int, ...], list[_Piece]] = {channels: [] for channels in structures}
        self._previous: _NetworkPlane | None = None
        self._next_z = 0

    def feed(self, logits_cyx: NDArray[np.float32]) -> None:
        """The next plane of logits (channels, y, x) of the network's grid; the array may be reused afterwards."""
        logits = logits_cyx.copy()
        plane = _NetworkPlane(logits, tuple(rule.codes(logits[rule.channels]) for rule in self._rules))
        self._paint_between(self._previous or plane, plane, np.flatnonzero(self._z.upper == self._next_z))
        self._previous = plane
        self._next_z += 1

    def drawn(self, channels: tuple[int, ...], beside: NDArray[np.generic]) -> tuple[Mask, tuple[int, int, int]]:
        """The mask of a structure and the image index where it starts; (0, 0, 0) voxels if nothing was painted.

        It lies in a file where `beside`, the image, does.
        """
        return _joined(self._pieces[channels], beside)

    def _paint_between(self, below: _NetworkPlane, above: _NetworkPlane, planes: NDArray[np.intp]) -> None:
        """Paint the image planes (entries of the z sampling) that lie between two neighbouring network planes."""
        if planes.size == 0:
            return
        for rule, codes_below, codes_above in zip(self._rules, below.codes_yx, above.codes_yx, strict=True):
            cells = _cells(codes_below, codes_above)
            rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
            if rows.size == 0:
                continue
            ys = self._y.between(int(rows[0]), int(rows[-1]))
            xs = self._x.between(int(columns[0]), int(columns[-1]))
            codes = cells[self._y.lower[ys]][:, self._x.lower[xs]]
            mixed = np.nonzero(codes == MIXED)
            points = _Points.of(self._y, self._x, mixed[0] + ys.start, mixed[1] + xs.start, cells.shape[1])
            logits_below = points.interpolated(below.logits_cyx[rule.channels])
            logits_above = points.interpolated(above.logits_cyx[rule.channels])
            for i in planes:
                weight = self._z.weight[i]
                codes[mixed] = rule.codes(logits_below * (1 - weight) + logits_above * weight)
                self._keep(codes, (self._z.first + int(i), self._y.first + ys.start, self._x.first + xs.start), rule)

    def _keep(self, codes_yx: NDArray[np.uint8], start_zyx: tuple[int, int, int], rule: Rule) -> None:
        for channels, pieces in self._pieces.items():
            piece = _piece(_any_of(codes_yx, channels), start_zyx) if rule.decides(channels[0]) else None
            if piece is not None:
                pieces.append(piece)


def _any_of(codes_yx: NDArray[np.uint8], channels: tuple[int, ...]) -> Mask:
    inside: Mask = codes_yx == channels[0]
    for channel in channels[1:]:
        inside |= codes_yx == channel
    return inside


@dataclass(frozen=True)
class _Points:
    """Points between the voxels of a network plane: flat indices of the four voxels around each, and their weights."""

    corners: tuple[NDArray[np.intp], ...]
    weights: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(
        cls, y: AxisSampling, x: AxisSampling, at_y: NDArray[np.intp], at_x: NDArray[np.intp], width: int
    ) -> "_Points":
        """The points at entries `at_y` and `at_x` of the two samplings, on planes of `width` columns."""
        lower_y, upper_y = y.lower[at_y] * width, y.upper[at_y] * width
        lower_x, upper_x = x.lower[at_x], x.upper[at_x]
        wy, wx = y.weight[at_y], x.weight[at_x]
        return cls(
            (lower_y + lower_x, lower_y + upper_x, upper_y + lower_x, upper_y + upper_x),
            ((1 - wy) * (1 - wx), (1 - wy) * wx, wy * (1 - wx), wy * wx),
        )

    def interpolated(self, logits_cyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n): bilinear within the plane."""
        flat = logits_cyx.reshape(len(logits_cyx), -1)
        total = np.zeros((len(flat), self.corners[0].size), dtype=np.float32)
        for corner, weight in zip(self.corners, self.weights, strict=True):
            part = np.take(flat, corner, axis=1, mode="clip")  # indices are inside; "clip" spares the check
            part *= weight
            total += part
        return total


def _cells(below_yx: NDArray[np.uint8], above_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(y, x): the code that the eight voxels from (y, x) on share, or MIXED; the last row and column stand alone."""
    agree = below_yx == above_yx
    cells = np.where(agree, below_yx, MIXED).astype(np.uint8)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        cells[here][cells[here] != cells[there]] = MIXED
    return cells
