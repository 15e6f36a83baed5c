"""How alike two engines of one network answer on a real image: logits voxel by voxel, and the structures drawn."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.inference.engine import NetworkEngine, Progress, Region
from contour.inference.package import Manifest
from contour.inference.predict import Drawn, predict


@dataclass(frozen=True)
class StructureLikeness:
    """A structure as both drew it, on the image's grid. `dice` is 1 where neither drew anything."""

    name: str
    dice: float
    voxels: int
    voxels_different: int


@dataclass(frozen=True)
class Likeness:
    """How a tested engine answers on the image `case`, beside a reference.

    Logits are compared in every voxel of the network's grid that was looked at; `largest_logit` is the reference's
    largest by absolute value, and `same_winner` the part of the voxels in which the same channel has the greatest
    logit. Seconds are of the whole drawing.
    """

    case: str
    max_difference: float
    mean_difference: float
    largest_logit: float
    same_winner: float
    structures: tuple[StructureLikeness, ...]
    reference_seconds: float
    tested_seconds: float

    @property
    def relative_difference(self) -> float:
        """The largest difference of a logit, in parts of the largest logit."""
        return self.max_difference / self.largest_logit if self.largest_logit else self.max_difference

    @property
    def least_dice(self) -> float:
        """That of the structure drawn least alike."""
        return min(structure.dice for structure in self.structures)


@dataclass(frozen=True)
class Answer:
    """What an engine answered on an image: all logits (channels, z, y, x), what it drew, and the seconds it took."""

    logits_czyx: NDArray[np.float32]
    drawn: tuple[Drawn, ...]
    seconds: float


def answer(network: NetworkEngine, volume: Volume) -> Answer:
    """All that `network` has to say on `volume`, through `predict`.

    Raises:
        InputRefused, PackageError: as `predict`.
    """
    keeping = _Keeping(network)
    start = time.perf_counter()
    drawn = predict(keeping, volume, network.manifest.names)
    seconds = time.perf_counter() - start
    return Answer(np.stack(keeping.kept_cyx, axis=1), drawn, round(seconds, 3))


def likeness(case: str, reference: Answer, tested: Answer) -> Likeness:
    """How alike two answers on one image are.

    Raises:
        ValueError: the two were asked about different regions or channels.
    """
    if reference.logits_czyx.shape != tested.logits_czyx.shape:
        raise ValueError(f"logits {reference.logits_czyx.shape} and {tested.logits_czyx.shape}: not of one network")
    greatest, total, largest, alike = 0.0, 0.0, 0.0, 0
    for ours, theirs in zip(_by_plane(reference), _by_plane(tested), strict=True):
        difference = np.abs(ours - theirs)
        greatest = max(greatest, float(difference.max()))
        total += float(difference.sum(dtype=np.float64))
        largest = max(largest, float(np.abs(ours).max()))
        alike += int(np.count_nonzero(ours.argmax(axis=0) == theirs.argmax(axis=0)))
    voxels = reference.logits_czyx[0].size
    return Likeness(
        case=case,
        max_difference=greatest,
        mean_difference=total / reference.logits_czyx.size,
        largest_logit=largest,
        same_winner=alike / voxels,
        structures=tuple(_structure(*pair) for pair in zip(reference.drawn, tested.drawn, strict=True)),
        reference_seconds=reference.seconds,
        tested_seconds=tested.seconds,
    )


class _Keeping:
    """An engine that keeps a copy of every plane it hands on."""

    def __init__(self, network: NetworkEngine) -> None:
        self._network = network
        self.kept_cyx: list[NDArray[np.float32]] = []

    @property
    def manifest(self) -> Manifest:
        return self._network.manifest

    @property
    def origin(self) -> Path:
        return self._network.origin

    @property
    def engine(self) -> str:
        return self._network.engine

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        for plane in self._network.planes(region, progress):
            self.kept_cyx.append(plane.copy())
            yield plane


def _by_plane(found: Answer) -> Iterator[NDArray[np.float32]]:
    yield from np.moveaxis(found.logits_czyx, 1, 0)


def _structure(ours: Drawn, theirs: Drawn) -> StructureLikeness:
    size = int(np.count_nonzero(ours.mask_zyx)), int(np.count_nonzero(theirs.mask_zyx))
    both = _shared(ours, theirs)
    dice = 2 * both / sum(size) if any(size) else 1.0
    return StructureLikeness(ours.name, dice, size[0], sum(size) - 2 * both)


def _shared(ours: Drawn, theirs: Drawn) -> int:
    """Voxels inside both masks."""
    start = np.maximum(ours.offset_zyx, theirs.offset_zyx)
    stop = np.minimum(np.add(ours.offset_zyx, ours.mask_zyx.shape), np.add(theirs.offset_zyx, theirs.mask_zyx.shape))
    if np.any(stop <= start):
        return 0
    return int(np.count_nonzero(_part(ours, start, stop) & _part(theirs, start, stop)))


def _part(drawn: Drawn, start: NDArray[np.intp], stop: NDArray[np.intp]) -> Mask:
    box = tuple(slice(int(a - o), int(b - o)) for a, b, o in zip(start, stop, drawn.offset_zyx, strict=True))
    part: Mask = drawn.mask_zyx[box]
    return part
