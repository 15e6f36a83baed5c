"""How sure a network is of each structure, and where: the agreement that it expects of its own drawing.

Two sums are kept per structure, while the network's planes come by, and two planes at most are held:

- the Dice expected of the drawing, from the probability inside it and everywhere;
- the part of its surface expected within `SURFACE_MM` of the true one. Across each face between a voxel inside and one
  outside, the logit of the structure falls by some amount a mm. If the probabilities are right, the true surface lies
  within t mm of the drawn one with the probability p(-t) - p(t) = tanh(t x slope / 2): certain where the logit falls
  steeply, doubtful where it is flat. Faces count by their area.

Neither is calibrated: networks are surer than they should be. `contour.qa.calibration` learns from cases what they are
worth.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.inference.package import Label, Manifest

SURFACE_MM = 2.0
LEAST_PROBABILITY = 1e-6  # beyond, single precision does not tell 1 from what is almost 1


@dataclass
class _Sums:
    """Of one structure: probability everywhere and inside, and voxels inside; by plane the area of faces, and sure."""

    dice: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    area: list[float] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Plane:
    """What was said of one structure on the plane before."""

    probability_yx: NDArray[np.float32]
    inside_yx: Mask


class Expected:
    """Takes the planes of a network (logits on a grid of `spacing_zyx_mm`), and sums up per structure and plane."""

    def __init__(
        self, manifest: Manifest, labels: tuple[Label, ...], spacing_zyx_mm: tuple[float, float, float]
    ) -> None:
        self._thresholds = {label.channel: label.threshold for label in labels}
        self._channels = {label.channel: manifest.channels(label) for label in labels}
        self._spacing_zyx_mm = spacing_zyx_mm
        self._sums = {label.channel: _Sums() for label in labels}
        self._before: dict[int, _Plane] = {}

    def feed(self, logits_cyx: NDArray[np.float32]) -> None:
        """The next plane of logits (channels, y, x); the array may be reused afterwards."""
        if all(threshold is None for threshold in self._thresholds.values()):
            self._feed_softmax(logits_cyx)
        else:
            self._feed_sigmoid(logits_cyx)

    def dice(self, label: Label) -> float:
        """2 x (probability inside) / (probability everywhere + voxels inside), from 0 to 1; 0 if nothing is inside."""
        everywhere, inside, voxels = self._sums[label.channel].dice
        return float(2 * inside / (everywhere + voxels)) if voxels else 0.0

    def surface(self, label: Label) -> float:
        """The part of the drawn surface that is expected within `SURFACE_MM` of the true one; 0 without a surface."""
        sums = self._sums[label.channel]
        return sum(sums.sure) / area if (area := sum(sums.area)) else 0.0

    def surface_by_plane(self, label: Label) -> NDArray[np.float64]:
        """(planes,) the same of the faces of each plane; NaN where it has none."""
        sums = self._sums[label.channel]
        area = np.asarray(sums.area)
        parts: NDArray[np.float64] = np.divide(sums.sure, area, out=np.full(area.shape, np.nan), where=area > 0)
        return parts

    def _feed_softmax(self, logits_cyx: NDArray[np.float32]) -> None:
        greatest = logits_cyx.max(axis=0)
        probability = np.exp(logits_cyx - greatest)
        probability /= probability.sum(axis=0)
        for channel, together in self._channels.items():
            winner = logits_cyx[channel] == greatest
            shared = probability[channel]
            for other in together[1:]:
                winner = winner | (logits_cyx[other] == greatest)
                shared = shared + probability[other]
            self._add(channel, _Plane(shared, winner))

    def _feed_sigmoid(self, logits_cyx: NDArray[np.float32]) -> None:
        for channel, threshold in self._thresholds.items():
            with np.errstate(over="ignore"):  # beyond a logit of -88 the probability is 0, as it should be
                probability = 1 / (1 + np.exp(-logits_cyx[channel]))
            self._add(channel, _Plane(probability, probability >= threshold))

    def _add(self, channel: int, plane: _Plane) -> None:
        sums, before = self._sums[channel], self._before.pop(channel, None)
        sums.area.append(0.0)
        sums.sure.append(0.0)
        there = bool(plane.inside_yx.any())
        sums.dice += _dice_sums(plane) if there else (plane.probability_yx.sum(dtype=np.float64), 0.0, 0.0)
        if not there and before is None:
            return
        box = _box(plane.inside_yx | before.inside_yx if before else plane.inside_yx)
        values, inside = _falls(plane.probability_yx[box]), plane.inside_yx[box]
        for axis in (0, 1):
            self._count(sums, (np.diff(values, axis=axis), np.diff(inside, axis=axis)), axis + 1, -1)
        if before is not None:
            # Faces between two planes count in the plane of the voxel inside, so that no slice has faces alone.
            falls = values - _falls(before.probability_yx[box])
            inside_before = before.inside_yx[box]
            self._count(sums, (falls, inside & ~inside_before), 0, -1)
            self._count(sums, (falls, inside_before & ~inside), 0, -2)
        if there:
            self._before[channel] = plane

    def _count(self, sums: _Sums, faces: tuple[NDArray[np.float32], Mask], axis: int, plane: int) -> None:
        falls, crossed = faces
        others = [mm for other, mm in enumerate(self._spacing_zyx_mm) if other != axis]
        slopes = np.abs(falls[crossed]) / self._spacing_zyx_mm[axis]
        face_mm2 = others[0] * others[1]
        sums.area[plane] += slopes.size * face_mm2
        sums.sure[plane] += float(np.tanh(slopes * (SURFACE_MM / 2)).sum(dtype=np.float64)) * face_mm2


def _dice_sums(plane: _Plane) -> NDArray[np.float64]:
    inside = plane.probability_yx[plane.inside_yx]
    return np.array([plane.probability_yx.sum(dtype=np.float64), inside.sum(dtype=np.float64), inside.size])


def _falls(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit of a probability."""
    clipped = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    logits: NDArray[np.float32] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _box(inside_yx: Mask) -> tuple[slice, slice]:
    """Where a mask is true, and a voxel around it."""
    rows, columns = np.flatnonzero(inside_yx.any(axis=1)), np.flatnonzero(inside_yx.any(axis=0))
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)
