"""The parts of a spine that a network learns, from label maps that know whole vertebrae, the cord, ribs and sacrum.

A vertebra is cut into body and arch at the front wall of its canal; the core of a body is what lies deeper in it than a
part of its own inner radius, so that cores of neighbours stay apart whatever the image's resolution.
"""

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.imaging.vertebrae import Part

CORE_DEPTH = 0.45  # of the body's inner radius; neighbours' cores lie some 9 mm and a disc apart
WALL_MM = 0.5  # between the canal's front wall and the body's back one
PROCESS_MM = 5.0  # what is thinner than twice this in an axial plane is a process, not the body
CANAL_MARGIN_MM = 1.5  # around the labelled cord, where no ring of bone bounds the canal
CANAL_REACH_MM = 6.0  # what a ring of bone may add to it
JOINT_MM = 2.5  # bone of an arch nearer than this to another vertebra is joint: there arches run into each other


@dataclass(frozen=True)
class WholeSpine:
    """Label values of whole vertebrae from top to bottom, and masks of what lies around them, on one canonical grid."""

    labels_zyx: NDArray[np.uint8]
    vertebrae: tuple[int, ...]
    cord_zyx: Mask
    ribs_zyx: Mask
    sacrum_zyx: Mask


def parts_of(spine: WholeSpine, geometry: Geometry) -> NDArray[np.uint8]:
    """(z, y, x) the part of each voxel, 0 where none of them is; `geometry` is canonical, as are the arrays."""
    spacing = geometry.spacing_zyx_mm
    bone = np.isin(spine.labels_zyx, spine.vertebrae) | spine.sacrum_zyx
    canal = canal_of(spine.cord_zyx, bone, spacing)
    parts = np.zeros(spine.labels_zyx.shape, dtype=np.uint8)
    parts[spine.ribs_zyx] = Part.RIB
    parts[spine.sacrum_zyx] = Part.SACRUM
    for value in spine.vertebrae:
        box = _around(spine.labels_zyx == value, spacing, margin_mm=6.0)
        if box is None:
            continue
        vertebra = spine.labels_zyx[box] == value
        body = body_of(vertebra, spine.cord_zyx[box], spacing)
        view = parts[box]
        others = np.isin(spine.labels_zyx[box], [v for v in spine.vertebrae if v != value]) | spine.sacrum_zyx[box]
        near = edt.edt(~others, anisotropy=spacing) <= JOINT_MM if others.any() else others
        view[vertebra] = Part.ARCH
        view[vertebra & near] = Part.JOINT
        view[body] = Part.SHELL
        view[core_of(body, spacing)] = Part.CORE
    parts[canal & ~bone] = Part.CANAL
    return parts


def canal_of(cord_zyx: Mask, bone_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """The canal: the labelled cord and a margin, and all that a ring of bone closes in around it in an axial plane."""
    far = edt.edt(~cord_zyx, anisotropy=spacing_zyx_mm)
    near = far <= CANAL_MARGIN_MM
    for z in np.flatnonzero(cord_zyx.any(axis=(1, 2))):
        holes = ndimage.binary_fill_holes(bone_zyx[z]) & ~bone_zyx[z]
        parts, _ = ndimage.label(holes)
        inside = np.unique(parts[cord_zyx[z] & holes])
        near[z] |= np.isin(parts, inside[inside > 0]) & (far[z] <= CANAL_REACH_MM)
    canal: Mask = (near | cord_zyx) & ~bone_zyx
    return canal


def body_of(vertebra_zyx: Mask, cord_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """The body of one vertebra: what lies before the front wall of the canal, without processes."""
    if not cord_zyx.any():
        return np.zeros(vertebra_zyx.shape, dtype=bool)
    spacing = np.array(spacing_zyx_mm, dtype=np.float64)
    points = np.asarray(np.argwhere(vertebra_zyx) * spacing, dtype=np.float64)
    cord = np.asarray(np.argwhere(cord_zyx) * spacing, dtype=np.float64)
    centre = cord.mean(axis=0)
    up = _direction(cord)
    front = np.array([0.0, -1.0, 0.0])
    for _ in range(4):  # the body tells which way is front, and the front what is body
        front -= (front @ up) * up
        front /= np.linalg.norm(front)
        wall = _front_wall(cord - centre, up, front)
        before = (points - centre) @ front > wall((points - centre) @ up) + WALL_MM
        if not before.any():
            return np.zeros(vertebra_zyx.shape, dtype=bool)
        front = points[before].mean(axis=0) - centre
    body = np.zeros(vertebra_zyx.shape, dtype=bool)
    body[tuple(np.argwhere(vertebra_zyx)[before].T)] = True
    return _largest(_without_processes(body, spacing_zyx_mm))


def core_of(body_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """The inside of a body, by its own inner radius; where the image ends, the body is taken to go on."""
    depth = edt.edt(body_zyx, anisotropy=spacing_zyx_mm, black_border=False)
    inner = np.zeros(body_zyx.shape, dtype=bool)
    if body_zyx.any():
        inner = depth > CORE_DEPTH * depth[np.isfinite(depth)].max()
    return inner & body_zyx


def _front_wall(cord: NDArray[np.float64], up: NDArray[np.float64], front: NDArray[np.float64]) -> np.poly1d:
    """How far in front of the cord's centre the canal's wall lies, by the height in mm; a parabola."""
    side = np.cross(up, front)
    middle = np.abs(cord @ side) <= 4.0
    height, depth = cord[middle] @ up, cord[middle] @ front
    steps = np.rint(height / 3.0).astype(int)
    walls = [(3.0 * step, np.percentile(depth[steps == step], 97)) for step in np.unique(steps)]
    heights, depths = np.array(walls).T
    return np.poly1d(np.polyfit(heights, depths, min(2, len(walls) - 1)))


def _direction(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upward direction of a piece of the cord: that of the centres of its planes."""
    planes = np.unique(points[:, 0])
    if planes.size < 4:
        return np.array([1.0, 0.0, 0.0])
    centres = np.array([points[points[:, 0] == z].mean(axis=0) for z in planes])
    slope = np.polyfit(centres[:, 0], centres[:, 1:], 1)[0]
    up = np.array([1.0, *slope])
    return np.asarray(up / np.linalg.norm(up))


def _without_processes(body_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """An opening in each axial plane."""
    sampling = (1e4, *spacing_zyx_mm[1:])
    inner = edt.edt(np.pad(body_zyx, ((0, 0), (1, 1), (1, 1))), anisotropy=sampling) > PROCESS_MM
    grown = edt.edt(~inner, anisotropy=sampling)[:, 1:-1, 1:-1] <= PROCESS_MM
    opened = body_zyx & grown
    # Planes in which nothing is that thick are the rim of an end plate: they stay as they are.
    thin = ~opened.any(axis=(1, 2))
    opened[thin] = body_zyx[thin]
    return np.asarray(opened)


def _largest(mask_zyx: Mask) -> Mask:
    if not mask_zyx.any():
        return mask_zyx
    largest: Mask = cc3d.largest_k(mask_zyx, k=1, connectivity=6).astype(bool)
    return largest


def _around(
    mask_zyx: Mask, spacing_zyx_mm: tuple[float, float, float], margin_mm: float
) -> tuple[slice, slice, slice] | None:
    boxes = ndimage.find_objects(mask_zyx.astype(np.uint8))
    if not boxes:
        return None
    z, y, x = (
        slice(max(0, int(s.start - margin_mm / mm)), min(n, int(s.stop + margin_mm / mm) + 1))
        for s, mm, n in zip(boxes[0], spacing_zyx_mm, mask_zyx.shape, strict=True)
    )
    return z, y, x
