"""From parts of a spine, as a network draws them, to one structure for each vertebra, with its level where it is told.

A package whose manifest has the step `vertebrae` offers two families beside its labels: `VBs`, the bodies (TG-263's
VB_T05 is the body of the fifth thoracic vertebra), and `Vertebrae`, whole vertebrae with their arches and processes
(`Vert_T05`; TG-263 has no name for these). Where levels are withheld the members are numbered from the top instead,
`VB_unknown1`, and a finding says why.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.report import Finding, Severity
from contour.core.structures import CroppedMask, cropped_to_content, united
from contour.imaging.preprocess import canonical_axes, from_canonical, to_canonical
from contour.imaging.spine_anchors import rib_pairs, seen_sacrum
from contour.imaging.vertebrae import Part, SpineImage, take_apart
from contour.inference.levels import Count, SeenVertebra, count_levels
from contour.inference.package import BODIES, FAMILIES
from contour.inference.predict import Drawn, nothing

GRID_MM = 2.0  # vertebrae are told apart on every n-th voxel of the image, at about this distance

# Where labels overlap, the later one says what a voxel is.
PAINTED = (Part.SHELL, Part.CORE, Part.ARCH, Part.JOINT, Part.CANAL, Part.RIB, Part.SACRUM)


@dataclass(frozen=True)
class Vertebrae:
    """The members of families from top to bottom, findings on their levels, and whether a sacrum can be in view."""

    members: tuple[Drawn, ...]
    findings: tuple[Finding, ...]
    sacrum: bool


def draw_vertebrae(parts: tuple[Drawn, ...], geometry: Geometry, families: tuple[str, ...]) -> Vertebrae:
    """The vertebrae that `parts` make up, drawn on `geometry`, in the order of `SPINE_LABELS`."""
    grid = _Grid.of(geometry)
    image = SpineImage(grid.painted(parts), grid.canonical_spacing_mm)
    spine = take_apart(image)
    if spine is None:
        nobody = tuple(replace(nothing(parts[0], family), family=family) for family in families)
        return Vertebrae(nobody, (), sacrum=True)
    ribs = rib_pairs(image, spine)
    seen = tuple(SeenVertebra(pair, v.gap_below) for pair, v in zip(ribs, spine.vertebrae, strict=True))
    sacrum = seen_sacrum(image, spine)
    count = count_levels(seen, sacrum_below=sacrum.follows)
    owner = grid.on_image(spine.owner_zyx)
    members: list[Drawn] = []
    for family in families:
        bone = (Part.SHELL,) if family == BODIES else (Part.SHELL, Part.ARCH)
        members += _members(family, _names(count), tuple(parts[part - 1] for part in bone), (grid, owner))
    return Vertebrae(tuple(members), _findings(count), sacrum.there)


@dataclass(frozen=True)
class _Grid:
    """Every n-th voxel of an image along each of its axes, from the first on."""

    geometry: Geometry
    every_zyx: tuple[int, int, int]

    @classmethod
    def of(cls, geometry: Geometry) -> "_Grid":
        z, y, x = (max(1, round(GRID_MM / mm)) for mm in geometry.spacing_zyx_mm)
        return cls(geometry, (z, y, x))

    @property
    def canonical_spacing_mm(self) -> tuple[float, float, float]:
        order, _ = canonical_axes(self.geometry)
        z, y, x = (self.geometry.spacing_zyx_mm[axis] * self.every_zyx[axis] for axis in order)
        return z, y, x

    def painted(self, parts: tuple[Drawn, ...]) -> NDArray[np.uint8]:
        """What each voxel of the grid is (`Part`), canonically oriented."""
        shape = tuple(-(-n // every) for n, every in zip(self.geometry.shape_zyx, self.every_zyx, strict=True))
        values = np.zeros(shape, dtype=np.uint8)
        for part in PAINTED:
            drawn = parts[part - 1]
            if drawn.mask_zyx.size == 0:
                continue
            first = [-(-start // every) for start, every in zip(drawn.offset_zyx, self.every_zyx, strict=True)]
            thinned = drawn.mask_zyx[
                tuple(
                    slice(at * every - start, None, every)
                    for at, every, start in zip(first, self.every_zyx, drawn.offset_zyx, strict=True)
                )
            ]
            box = tuple(slice(at, at + n) for at, n in zip(first, thinned.shape, strict=True))
            values[box][thinned] = part
        return np.ascontiguousarray(to_canonical(values, self.geometry)).astype(np.uint8)

    def on_image(self, owner_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A canonical array of the grid along the image's own axes."""
        return np.ascontiguousarray(from_canonical(owner_zyx, self.geometry)).astype(np.uint8)

    def nearest(self, drawn: Drawn, owner: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The values of `owner` (on the grid, along the image's axes) at the voxels of the box of `drawn`."""
        indices = []
        for start, size, every, n in zip(
            drawn.offset_zyx, drawn.mask_zyx.shape, self.every_zyx, owner.shape, strict=True
        ):
            indices.append(np.minimum((start + np.arange(size) + every // 2) // every, n - 1))
        return owner[np.ix_(*indices)]


def _members(
    family: str, names: tuple[str, ...], bone: tuple[Drawn, ...], grid_and_owner: tuple[_Grid, NDArray[np.uint8]]
) -> list[Drawn]:
    """One structure for each vertebra, of the voxels of `bone` that it owns."""
    whole = _united(bone)
    grid, owner = grid_and_owner
    numbers = np.where(whole.mask_zyx, grid.nearest(whole, owner), 0)
    members = []
    for number, name in enumerate(names, start=1):
        mask, offset = cropped_to_content(numbers == number, whole.offset_zyx)
        members.append(Drawn(f"{FAMILIES[family]}{name}", mask, offset, whole.confidence, whole.looked_at, family))
    return members


def _united(drawn: tuple[Drawn, ...]) -> Drawn:
    """One mask of several; its confidence is the first's."""
    together = united([CroppedMask(one.mask_zyx, one.offset_zyx) for one in drawn])
    first = drawn[0]
    return Drawn(first.name, together.mask_zyx, together.offset_zyx, first.confidence, first.looked_at)


def _names(count: Count) -> tuple[str, ...]:
    """Levels, and numbers from the top where they are withheld."""
    unknown = iter(range(1, len(count.levels) + 1))
    return tuple(level if level is not None else f"unknown{next(unknown)}" for level in count.levels)


def _findings(count: Count) -> tuple[Finding, ...]:
    findings = []
    if count.evidence:
        told = " and ".join(dict.fromkeys(count.evidence))
        findings.append(Finding("levels-counted", Severity.INFO, f"Levels of vertebrae were counted from {told}."))
    if count.withheld:
        why = "; ".join(dict.fromkeys(count.withheld))
        message = f"Levels of vertebrae are withheld: {why}. The vertebrae are drawn, and numbered from the top."
        findings.append(Finding("levels-withheld", Severity.CHECK, message))
    return tuple(findings)
