"""What each voxel of the image is: the network's logits, interpolated linearly and decided, without interpolating most.

A voxel of the image lies between eight voxels of the network's grid (a cell). Where all eight have the same winner,
linear interpolation cannot change it: each of the eight logits of that class is at least those of the others, and
interpolation is a mean with weights that are not negative. The same holds for a threshold. So only the voxels of mixed
cells, at the borders of structures, are interpolated, and the answer is exactly that of interpolating every class
everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask, cropped_to_content

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

    def of_plane(self, logits_cyx: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Codes (y, x) of all channels' logits (channels, y, x)."""

    def of_points(self, logits_nc: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Codes (n,) of the logits (n, channels) of the channels that have a say."""


@dataclass(frozen=True)
class Winner:
    """The channel with the greatest logit: softmax networks."""

    @property
    def channels(self) -> slice:
        """All of them."""
        return slice(None)

    def decides(self, channel: int) -> bool:
        """Every channel."""
        return True

    def of_plane(self, logits_cyx: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The first of the greatest, as argmax has it, in passes over whole planes (argmax strides over channels)."""
        best = logits_cyx[0].copy()
        codes: NDArray[np.uint8] = np.zeros(best.shape, dtype=np.uint8)
        for channel in range(1, len(logits_cyx)):
            np.copyto(codes, channel, where=logits_cyx[channel] > best)
            np.maximum(best, logits_cyx[channel], out=best)
        return codes

    def of_points(self, logits_nc: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The first of the greatest."""
        codes: NDArray[np.uint8] = logits_nc.argmax(axis=1).astype(np.uint8)
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

    def of_plane(self, logits_cyx: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The channel number, or 0."""
        return np.where(logits_cyx[self.channel] >= self.logit, self.channel, 0).astype(np.uint8)

    def of_points(self, logits_nc: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The channel number, or 0."""
        return np.where(logits_nc[:, 0] >= self.logit, self.channel, 0).astype(np.uint8)


@dataclass(frozen=True)
class _NetworkPlane:
    """A final plane of the network's grid: logits channel-last, so that a voxel's lie together, and codes by rule."""

    logits_yxc: NDArray[np.float32]
    codes_yx: tuple[NDArray[np.uint8], ...]


@dataclass
class _Pieces:
    """A channel's masks by image plane, each cropped to the region that was looked at."""

    starts_zyx: list[tuple[int, int, int]] = field(default_factory=list)
    masks_yx: list[Mask] = field(default_factory=list)

    def joined(self) -> tuple[Mask, tuple[int, int, int]]:
        if not self.masks_yx:
            return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
        starts = np.array(self.starts_zyx)
        stops = starts + [(1, *mask.shape) for mask in self.masks_yx]
        first = starts.min(axis=0)
        whole = np.zeros(stops.max(axis=0) - first, dtype=bool)
        for (z, y, x), mask in zip(starts - first, self.masks_yx, strict=True):
            whole[z, y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        return cropped_to_content(whole, (int(first[0]), int(first[1]), int(first[2])))


class Painter:
    """Takes the network's planes one after the other, and paints every image plane that lies before the last one."""

    def __init__(
        self,
        rules: Sequence[Rule],
        channels: Sequence[int],
        sampling_zyx: tuple[AxisSampling, AxisSampling, AxisSampling],
    ) -> None:
        self._rules = tuple(rules)
        self._z, self._y, self._x = sampling_zyx
        self._pieces = {channel: _Pieces() for channel in channels}
        self._previous: _NetworkPlane | None = None
        self._next_z = 0

    def feed(self, logits_cyx: NDArray[np.float32]) -> None:
        """The next plane of logits (channels, y, x) of the network's grid; the array may be reused afterwards."""
        plane = _NetworkPlane(
            np.ascontiguousarray(np.moveaxis(logits_cyx, 0, -1)),
            tuple(rule.of_plane(logits_cyx) for rule in self._rules),
        )
        self._paint_between(self._previous or plane, plane, np.flatnonzero(self._z.upper == self._next_z))
        self._previous = plane
        self._next_z += 1

    def drawn(self, channel: int) -> tuple[Mask, tuple[int, int, int]]:
        """The mask of a channel and the image index where it starts; (0, 0, 0) voxels if nothing was painted."""
        return self._pieces[channel].joined()

    def _paint_between(self, below: _NetworkPlane, above: _NetworkPlane, planes: NDArray[np.intp]) -> None:
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
            at_y, at_x = np.nonzero(codes == MIXED)
            corners = _Corners.of(self._y, self._x, at_y + ys.start, at_x + xs.start, cells.shape[1])
            logits_below = corners.interpolated(below.logits_yxc[:, :, rule.channels])
            logits_above = corners.interpolated(above.logits_yxc[:, :, rule.channels])
            for i in planes:
                weight = self._z.weight[i]
                codes[at_y, at_x] = rule.of_points(logits_below * (1 - weight) + logits_above * weight)
                self._keep(codes, (self._z.first + int(i), self._y.first + ys.start, self._x.first + xs.start), rule)

    def _keep(self, codes_yx: NDArray[np.uint8], start_zyx: tuple[int, int, int], rule: Rule) -> None:
        for channel, pieces in self._pieces.items():
            mask = codes_yx == channel
            if rule.decides(channel) and mask.any():
                pieces.starts_zyx.append(start_zyx)
                pieces.masks_yx.append(mask)


@dataclass(frozen=True)
class _Corners:
    """Points between the voxels of a network plane: the flat index of the first of the four around each, and more."""

    first: NDArray[np.intp]
    step_y: NDArray[np.intp]
    step_x: NDArray[np.intp]
    weight_y: NDArray[np.float32]
    weight_x: NDArray[np.float32]

    @classmethod
    def of(
        cls, y: AxisSampling, x: AxisSampling, at_y: NDArray[np.intp], at_x: NDArray[np.intp], width: int
    ) -> "_Corners":
        """The points at entries `at_y` and `at_x` of the two samplings, on planes of `width` columns."""
        return cls(
            first=y.lower[at_y] * width + x.lower[at_x],
            step_y=(y.upper - y.lower)[at_y] * width,
            step_x=(x.upper - x.lower)[at_x],
            weight_y=y.weight[at_y][:, None],
            weight_x=x.weight[at_x][:, None],
        )

    def interpolated(self, logits_yxc: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, channels): bilinear within the plane."""
        flat = logits_yxc.reshape(-1, logits_yxc.shape[-1])
        values = flat[self.first] * ((1 - self.weight_y) * (1 - self.weight_x))
        values += flat[self.first + self.step_x] * ((1 - self.weight_y) * self.weight_x)
        values += flat[self.first + self.step_y] * (self.weight_y * (1 - self.weight_x))
        values += flat[self.first + self.step_y + self.step_x] * (self.weight_y * self.weight_x)
        return values


def _cells(below_yx: NDArray[np.uint8], above_yx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(y, x): the code that the eight voxels from (y, x) on share, or MIXED; the last row and column stand alone."""
    agree = below_yx == above_yx
    cells = np.where(agree, below_yx, MIXED).astype(np.uint8)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        cells[here][cells[here] != cells[there]] = MIXED
    return cells
