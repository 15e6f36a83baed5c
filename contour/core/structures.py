"""Structures: what is drawn, with the name it has and where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.places import contiguous_beside

Mask = NDArray[np.bool_]


class InterpretedType(StrEnum):
    """RT ROI Interpreted Type (3006,00A4): the defined terms used here, DICOM PS3.3 C.8.8.8.1."""

    ORGAN = "ORGAN"
    EXTERNAL = "EXTERNAL"
    AVOIDANCE = "AVOIDANCE"
    GTV = "GTV"
    CTV = "CTV"
    PTV = "PTV"
    SUPPORT = "SUPPORT"
    CONTROL = "CONTROL"
    NONE = ""


@dataclass(frozen=True)
class Provenance:
    """The model package that drew a structure."""

    package: str
    version: str
    sha256: str


class OnGrid:
    """What holds a part of a grid as a mask: `mask_zyx` covers the voxels from `offset_zyx` on."""

    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]

    @property
    def box(self) -> Box:
        """The part of the grid that is held."""
        z, y, x = (a + n for a, n in zip(self.offset_zyx, self.mask_zyx.shape, strict=True))
        return Box(self.offset_zyx, (z, y, x))

    @property
    def empty(self) -> bool:
        """Whether no voxel is inside."""
        return not self.mask_zyx.any()


@dataclass(frozen=True)
class CroppedMask(OnGrid):
    """A mask on a grid, of which only a part is held: `mask_zyx` covers the voxels from `offset_zyx` on.

    Outside of that part nothing is inside. The offset may lie beyond the grid's borders while something is computed.
    """

    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]

    def within(self, box: Box) -> Mask:
        """A copy of the mask on the voxels of `box`, which may hold more, or less."""
        result = np.zeros(box.shape_zyx, dtype=bool)
        start = np.maximum(box.start_zyx, self.offset_zyx)
        stop = np.minimum(box.stop_zyx, self.box.stop_zyx)
        if np.all(start < stop):
            there = tuple(slice(a, b) for a, b in zip(start - box.start_zyx, stop - box.start_zyx, strict=True))
            here = tuple(slice(a, b) for a, b in zip(start - self.offset_zyx, stop - self.offset_zyx, strict=True))
            result[there] = self.mask_zyx[here]
        return result


def united(masks: Sequence[CroppedMask]) -> CroppedMask:
    """What any of `masks`, one or more on one grid, holds."""
    box = masks[0].box
    for mask in masks[1:]:
        box = box.joined(mask.box)
    together = np.zeros(box.shape_zyx, dtype=bool)
    for mask in masks:
        together |= mask.within(box)
    return CroppedMask(together, box.start_zyx)


@dataclass(frozen=True)
class Sureness:
    """What a network's probabilities say of its own drawing, not calibrated: numbers to rank by, no promise.

    `dice` is the Dice that it expects, `surface` the part of its surface that it expects within 2 mm of the true one
    (`contour.inference.confidence`), `slices` the same for each slice of the image, None where nothing was drawn; it is
    empty for images that are not axial.
    """

    dice: float
    surface: float
    slices: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Expectation:
    """The surface Dice at `tolerance_mm` to be expected of a drawing, calibrated on `cases` (`source`).

    `coverage` is the part of such cases that the interval from `low` to `high` is made to hold. With `beyond`, the
    network was less sure than on any of these cases: nothing bounds it from below.
    """

    surface_dice: float
    low: float
    high: float
    tolerance_mm: float
    coverage: float
    cases: int
    source: str
    beyond: bool = False

    @property
    def words(self) -> str:
        """For tables and messages."""
        return f"{self.surface_dice:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Structure(OnGrid):
    """A named mask, cropped to its own box on the grid of its structure set.

    `mask_zyx` covers the voxels from `offset_zyx` on. Structures may overlap and nest. `confidence` is a number from
    0 to 1, or None where nothing measured it, `sureness` what it is taken from; `provenance` is None for what no model
    drew; `derivation` says how it was made from other structures. An empty mask (a shape with a 0) states that the
    structure was looked for and not found.
    """

    name: str
    color_rgb: tuple[int, int, int]
    interpreted_type: InterpretedType
    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]
    confidence: float | None = None
    provenance: Provenance | None = None
    derivation: str = ""
    sureness: Sureness | None = None

    def full_mask(self, shape_zyx: tuple[int, int, int]) -> Mask:
        """The mask on the whole grid of `shape_zyx` voxels."""
        mask = np.zeros(shape_zyx, dtype=bool)
        mask[self.box.slices] = self.mask_zyx
        return mask


@dataclass(frozen=True)
class StructureSet:
    """Structures on one grid. `label` becomes the Structure Set Label: at most 16 characters."""

    label: str
    geometry: Geometry
    structures: tuple[Structure, ...]

    def volume_ml(self, structure: Structure) -> float:
        """The volume of the structure's mask in ml."""
        return float(np.count_nonzero(structure.mask_zyx)) * self.geometry.voxel_ml


def cropped_to_content(
    mask_zyx: Mask, offset_zyx: tuple[int, int, int] = (0, 0, 0)
) -> tuple[Mask, tuple[int, int, int]]:
    """The smallest part of a mask that holds all of it (a copy), and where that starts; (0, 0, 0) voxels if empty."""
    start, stop = [], []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        inside = np.flatnonzero(mask_zyx.any(axis=others))
        if inside.size == 0:
            return np.zeros((0, 0, 0), dtype=bool), offset_zyx
        start.append(int(inside[0]))
        stop.append(int(inside[-1]) + 1)
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    z, y, x = (a + b for a, b in zip(offset_zyx, box.start_zyx, strict=True))
    mask: Mask = contiguous_beside(mask_zyx, mask_zyx[box.slices])
    return mask, (z, y, x)
