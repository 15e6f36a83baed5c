"""Outlines drawn by hand on axial slices, as small YAML files, and the masks between them.

A file holds the outlines of one image in voxel indices of the image's own grid, in the order z, y, x in which
`contour.imaging.nifti.read_nifti` gives the voxels; the centre of a voxel has integer indices. Entries of one name are
parts of one structure (the ascending and the descending aorta) and are united. Between two drawn slices the outline is
interpolated by signed distance (Raya and Udupa, IEEE TMI 1990), for tubes after both were moved onto the line between
their centres, so that a thin one that runs obliquely keeps its width.

`SpinalCord` is the cord with its sheath, some 12 x 14 mm, as public label maps draw it, not the cord alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.config import load_config
from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Volume

ELLIPSE_POINTS = 64
AIR_HU = -400.0
TUBE_SHARE = 0.15  # of its width, above which the way from slice to slice makes an outline a tube's
MARGIN_VOXELS = 2  # around an outline, so that the interpolated one stays in view


class Extent(StrEnum):
    """How much of a structure was drawn.

    `complete`: all that the image holds of it; `between`: between its first and its last drawn slice, unknown beyond.
    """

    COMPLETE = "complete"
    BETWEEN = "between"


@dataclass(frozen=True)
class Section:
    """The outline in one axial slice `z`: a polygon, or an ellipse.

    `polygon_yx` are the corners (at least three) in voxel indices. An ellipse has its centre `centre_yx` in voxel
    indices, and `radii_mm`: along y and along x before it is turned by `angle_degrees` from y towards x.
    """

    z: int
    centre_yx: tuple[float, float] | None = None
    radii_mm: tuple[float, float] | None = None
    angle_degrees: float = 0.0
    polygon_yx: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Part:
    """Outlines that are interpolated with each other; those of one slice are united."""

    name: str
    extent: Extent
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Vertebra:
    """The centre of a vertebral body in voxel indices; `level` is null where no rib, carina or sacrum tells it."""

    level: str | None
    centre_zyx: tuple[float, float, float]


@dataclass(frozen=True)
class Drawn:
    """What was drawn by hand on the image of `case`."""

    case: str
    structures: tuple[Part, ...] = ()
    vertebrae: tuple[Vertebra, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The structures, each once, in the order of the file."""
        return tuple(dict.fromkeys(part.name for part in self.structures))

    def extent(self, name: str) -> Extent:
        """`complete` if every part of the structure is."""
        parts = [part.extent for part in self.structures if part.name == name]
        return Extent.COMPLETE if all(e is Extent.COMPLETE for e in parts) else Extent.BETWEEN

    def drawn_slices(self, name: str) -> tuple[int, int]:
        """The first and the last slice in which the structure has an outline."""
        z = [section.z for part in self.structures if part.name == name for section in part.sections]
        return min(z), max(z)


@dataclass(frozen=True)
class HuLimits:
    """Which voxels within the outlines belong to a structure, by the HU of the image.

    `fill`: what the voxels within the limits enclose in an axial slice belongs to it too. `own_air`: so does air that
    lies mostly within the outline, or apart from it by a wall too thin to be seen, but not the lung's.
    """

    low: float
    high: float
    fill: bool = False
    own_air: bool = False


# An outline is smooth and the border of an organ is not: fat, lung and bone within it are told apart by their HU.
LIMITS = {
    "Esophagus": HuLimits(-150.0, 400.0, fill=True, own_air=True),
    "Heart": HuLimits(-300.0, 3000.0, fill=True),
    "Liver": HuLimits(-20.0, 400.0, fill=True),
    "Spleen": HuLimits(-20.0, 400.0, fill=True),
    "Kidney_L": HuLimits(-20.0, 500.0),  # without the fat of its sinus
    "Kidney_R": HuLimits(-20.0, 500.0),
    "A_Aorta": HuLimits(-100.0, 3000.0, fill=True),
    "A_Pulmonary": HuLimits(-100.0, 3000.0, fill=True),
    "V_Venacava_S": HuLimits(-100.0, 3000.0, fill=True),
    "V_Venacava_I": HuLimits(-100.0, 3000.0, fill=True),
    "SpinalCanal": HuLimits(-300.0, 250.0),
    "SpinalCord": HuLimits(-300.0, 250.0),
    "Trachea": HuLimits(-1100.0, -500.0),
    "Bronchus": HuLimits(-1100.0, -500.0),
}


def load_drawn(path: Path) -> Drawn:
    """The drawing at `path`.

    Raises:
        ConfigError: the file is not as `Drawn` says, or an entry has no outline or two, fewer than three corners, a
            radius that is not above 0, a number that is not finite, or fewer than two slices.
    """
    drawn = load_config(path, Drawn)
    for i, part in enumerate(drawn.structures):
        where = f"{path}: structures[{i}] {part.name}"
        for j, section in enumerate(part.sections):
            _check_section(section, f"{where} sections[{j}] z {section.z}")
        if len({section.z for section in part.sections}) < 2:
            raise ConfigError(where, f"{len(part.sections)} sections", "outlines in at least two slices")
    return drawn


def drawn_masks(drawn: Drawn, volume: Volume, *, only: tuple[str, ...] | None = None) -> dict[str, Mask]:
    """Each structure's mask (z, y, x) on the volume's grid, refined by the image; `only`: of these structures.

    Raises:
        ConfigError: an outline lies in a slice that the image does not have.
    """
    wanted = [name for name in drawn.names if only is None or name in only]
    return {name: refined(interpolated(drawn, name, volume.geometry), volume, LIMITS.get(name)) for name in wanted}


def masks(drawn: Drawn, geometry: Geometry) -> dict[str, Mask]:
    """Each structure's mask (z, y, x) by its outlines alone, before the image refines it.

    Raises:
        ConfigError: as `interpolated`.
    """
    return {name: interpolated(drawn, name, geometry) for name in drawn.names}


def interpolated(drawn: Drawn, name: str, geometry: Geometry) -> Mask:
    """The mask of one structure (z, y, x) by its outlines alone.

    Raises:
        ConfigError: an outline lies in a slice that the grid does not have.
    """
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    for part in drawn.structures:
        if part.name == name:
            _require_slices(part, drawn.case, geometry)
            for z, plane in _planes(part, geometry):
                mask[z] |= plane
    return mask


def refined(mask_zyx: Mask, volume: Volume, limits: HuLimits | None) -> Mask:
    """The mask's voxels within the limits, with what these enclose in their slice if `limits.fill`.

    Limits of organs are held against the image smoothed by half a voxel: noise shall not riddle them.
    """
    if limits is None or not mask_zyx.any():
        return mask_zyx
    inside = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    result = np.zeros_like(mask_zyx)
    for z in range(int(inside[0]), int(inside[-1]) + 1):
        hu = volume.voxels_zyx[z].astype(np.float32)
        smooth = ndimage.gaussian_filter(hu, 0.5)
        kept = mask_zyx[z] & (smooth >= limits.low) & (smooth <= limits.high)
        if limits.own_air:
            kept |= _own_air(mask_zyx[z], hu)
        result[z] = ndimage.binary_fill_holes(kept) & mask_zyx[z] if limits.fill else kept
    if limits.fill and result.any():  # crumbs that a fat plane cut off
        result = cc3d.dust(result, threshold=20, connectivity=26).astype(bool)
    return result


def _own_air(plane_yx: Mask, hu_yx: NDArray[np.float32]) -> Mask:
    """Air within the outline that is not a part of a larger body of air outside it.

    A wall thinner than a voxel leaves gaps between the two: necks of one or two voxels are cut.
    """
    own = np.zeros_like(plane_yx)
    for air in (hu_yx < AIR_HU, ndimage.binary_opening(hu_yx < AIR_HU, iterations=1)):
        parts, _ = ndimage.label(air)
        inside = np.bincount(parts[plane_yx], minlength=parts.max() + 1)
        mostly = 2 * inside > np.bincount(parts.ravel())
        mostly[0] = False
        own |= mostly[parts] & plane_yx
    return own


def _check_section(section: Section, where: str) -> None:
    corners, ellipse = section.polygon_yx, (section.centre_yx, section.radii_mm)
    if (corners is None) == (ellipse == (None, None)):
        raise ConfigError(where, "no outline, or two", "polygon_yx, or centre_yx and radii_mm")
    if corners is None and None in ellipse:
        raise ConfigError(where, "half an ellipse", "centre_yx and radii_mm")
    if corners is not None and len(corners) < 3:
        raise ConfigError(where, f"polygon_yx of {len(corners)} corners", "at least 3")
    if section.radii_mm is not None and not min(section.radii_mm) > 0:
        raise ConfigError(where, f"radii_mm {section.radii_mm}", "above 0 mm")
    numbers = (section.angle_degrees, *(section.centre_yx or ()), *(section.radii_mm or ()), *np.ravel(corners or ()))
    if not np.all(np.isfinite(numbers)):
        raise ConfigError(where, "a number that is not finite", "finite numbers")


def _require_slices(part: Part, case: str, geometry: Geometry) -> None:
    for section in part.sections:
        if not 0 <= section.z < geometry.shape_zyx[0]:
            raise ConfigError(
                f"{case}: {part.name} z {section.z}", "no such slice", f"0 to {geometry.shape_zyx[0] - 1}"
            )


def _planes(part: Part, geometry: Geometry) -> Iterator[tuple[int, Mask]]:
    """Every slice from the first to the last drawn one, with its mask (y, x)."""
    spacing_yx_mm = np.asarray(geometry.spacing_zyx_mm[1:])
    outlines = {z: _outlines_mm(part, z, spacing_yx_mm) for z in sorted({s.z for s in part.sections})}
    slices = list(outlines)
    for below, above in pairwise(slices):
        for z in range(below, above if above < slices[-1] else above + 1):
            share = (z - below) / (above - below)
            yield z, _plane(outlines[below], outlines[above], share, geometry)


def _plane(
    below: list[NDArray[np.float64]], above: list[NDArray[np.float64]], share: float, geometry: Geometry
) -> Mask:
    """The mask (y, x) at `share` of the way from the outlines `below` to those `above`, in mm."""
    spacing = np.asarray(geometry.spacing_zyx_mm[1:])
    shift = _shift_mm(below, above)
    moved = [o + share * shift for o in below], [o - (1 - share) * shift for o in above]
    corners = np.concatenate([*moved[0], *moved[1]]) / spacing
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - MARGIN_VOXELS, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + MARGIN_VOXELS + 1, geometry.shape_zyx[1:])
    plane = np.zeros(geometry.shape_zyx[1:], dtype=bool)
    if np.all(high > low):
        grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1) * spacing
        inwards_mm = (1 - share) * _inwards_mm(moved[0], grid) + share * _inwards_mm(moved[1], grid)
        plane[low[0] : high[0], low[1] : high[1]] = inwards_mm >= 0
    return plane


def _shift_mm(below: list[NDArray[np.float64]], above: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """How far (y, x) the outlines move from slice to slice as a whole; 0 where most of them overlaps anyway.

    What grows to one side, as the liver does, has not moved: only tubes do, whose way is long for their width.
    """
    way: NDArray[np.float64] = _centre(above) - _centre(below)
    narrowest = min(float(np.ptp(np.concatenate(outlines), axis=0).min()) for outlines in (below, above))
    return way if float(np.linalg.norm(way)) > narrowest * TUBE_SHARE else np.zeros(2)


def _outlines_mm(part: Part, z: int, spacing_yx_mm: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The corners (n, 2) of each outline in slice `z`, as y, x in mm from the centre of voxel (0, 0)."""
    return [_corners_mm(section, spacing_yx_mm) for section in part.sections if section.z == z]


def _corners_mm(section: Section, spacing_yx_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    if section.polygon_yx is not None:
        corners: NDArray[np.float64] = np.asarray(section.polygon_yx, dtype=float) * spacing_yx_mm
        return corners
    turn = np.linspace(0.0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)
    y_mm, x_mm = section.radii_mm or (0.0, 0.0)  # `load_drawn` refuses an ellipse without radii
    y, x = y_mm * np.cos(turn), x_mm * np.sin(turn)
    angle = np.deg2rad(section.angle_degrees)
    turned = np.stack([y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)], axis=-1)
    centre: NDArray[np.float64] = np.asarray(section.centre_yx, dtype=float) * spacing_yx_mm
    points: NDArray[np.float64] = centre + turned
    return points


def _centre(outlines_mm: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The middle of the box around all outlines of a slice: it does not depend on where corners are dense."""
    points = np.concatenate(outlines_mm)
    middle: NDArray[np.float64] = (points.min(axis=0) + points.max(axis=0)) / 2
    return middle


def _inwards_mm(outlines_mm: list[NDArray[np.float64]], grid_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each point of the grid (..., 2) lies inside the union of the outlines; below 0 outside."""
    each = np.stack([_inwards_of_one_mm(outline, grid_mm) for outline in outlines_mm])
    deepest: NDArray[np.float64] = each.max(axis=0)
    return deepest


def _inwards_of_one_mm(corners_mm: NDArray[np.float64], grid_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    start, stop = corners_mm, np.roll(corners_mm, -1, axis=0)
    edge = stop - start
    to_point = grid_mm[..., None, :] - start
    length2 = np.maximum((edge**2).sum(axis=-1), 1e-12)
    along = np.clip((to_point * edge).sum(axis=-1) / length2, 0.0, 1.0)
    distance = np.linalg.norm(to_point - along[..., None] * edge, axis=-1).min(axis=-1)
    # Even-odd rule: edges that a ray towards greater x crosses.
    y, x = grid_mm[..., None, 0], grid_mm[..., None, 1]
    passes = (start[:, 0] <= y) != (stop[:, 0] <= y)
    rise = np.where(edge[:, 0] == 0, 1.0, edge[:, 0])
    crossing = start[:, 1] + (y - start[:, 0]) / rise * edge[:, 1]
    inside = (passes & (crossing > x)).sum(axis=-1) % 2 == 1
    signed: NDArray[np.float64] = np.where(inside, distance, -distance)
    return signed
