"""The bodies of the made archive: the thorax phantom, stretched, turned and scanned differently for each patient."""

from dataclasses import dataclass, replace

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from contour.cases.made_patients import Defect
from contour.core.geometry import Box, Geometry
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.uids import derived_uid
from contour.imaging.phantom import PhantomOptions, thorax_phantom
from contour.imaging.solids import Canvas, Points, ellipsoid
from contour.imaging.thorax_shapes import adult_thorax

COLOR_RGB = (200, 120, 60)
TARGET_MARGIN_MM = 10.0
RING_MM = 15.0
MARGIN_MM = 12.0  # of what is drawn too large
ISLAND_RADIUS_MM = 14.0
ISLAND_OUTWARDS_MM = 25.0
_TUMOUR_HU = 35.0


@dataclass(frozen=True)
class Anatomy:
    """How one patient's scan differs from the phantom.

    A point of the phantom is turned by `roll_degrees` about the long axis, stretched by `scale_xyz` and moved by
    `shift_lps_mm`. The scan reaches over `heights_mm`, in the phantom's own coordinates.
    """

    seed: int
    scale_xyz: tuple[float, float, float]
    shift_lps_mm: tuple[float, float, float]
    roll_degrees: float
    heights_mm: tuple[float, float]
    enhancement_hu: float
    noise_hu: float
    tumour_lps_mm: tuple[float, float, float]
    tumour_radius_mm: float


@dataclass(frozen=True)
class Scan:
    """An image and everything that can be drawn on it, under TG-263 names and those of helpers."""

    volume: Volume
    structures: StructureSet

    def structure(self, name: str) -> Structure:
        """The structure of that name; External and Body are one, and so are the targets' variants."""
        alike = {"External": "Body", "GTVp": "GTV"}.get(name, name)
        return next(s for s in self.structures.structures if s.name == alike)


def anatomy_of(patient: int, visit: int) -> Anatomy:
    """The anatomy of the patient with that number; a later visit finds the same body lying differently."""
    body = np.random.default_rng((2026, patient))
    scale = body.uniform((0.92, 0.92, 0.93), (1.08, 1.10, 1.06))
    low, high = body.uniform((-235.0, 110.0), (-205.0, 140.0))
    side = 1.0 if patient % 2 else -1.0
    tumour = (side * body.uniform(62.0, 85.0), body.uniform(-105.0, -75.0), body.uniform(0.0, 40.0))
    day = np.random.default_rng((2026, patient, visit))
    shift = day.uniform((-18.0, -15.0, -400.0), (18.0, 15.0, 400.0))
    return Anatomy(
        seed=100 * patient + visit,
        scale_xyz=(float(scale[0]), float(scale[1]), float(scale[2])),
        shift_lps_mm=(float(shift[0]), float(shift[1]), round(float(shift[2]))),
        roll_degrees=float(day.uniform(-4.0, 4.0)),
        heights_mm=(float(low), float(high)),
        enhancement_hu=float(day.uniform(10.0, 150.0)),
        noise_hu=float(day.uniform(8.0, 20.0)),
        tumour_lps_mm=tumour,
        tumour_radius_mm=float(body.uniform(12.0, 19.0)) * (1.0 - 0.15 * visit),
    )


def scan_of(anatomy: Anatomy, spacing_zyx_mm: tuple[float, float, float], field_mm: float) -> Scan:
    """The anatomy as an axial CT with what can be drawn on it; deterministic."""
    geometry = _patient_grid(anatomy, spacing_zyx_mm, field_mm)
    painted = _in_phantom(geometry, anatomy)
    options = PhantomOptions(
        seed=anatomy.seed, enhancement_hu=anatomy.enhancement_hu, noise_hu=anatomy.noise_hu, vessels=12
    )
    phantom = thorax_phantom(painted, options)
    points = Canvas(painted, (0.0, 0.0, 0.0), 0.0).points(_whole(painted))
    body = phantom.structures.structures[0].full_mask(geometry.shape_zyx)
    tumour = ellipsoid(anatomy.tumour_lps_mm, (anatomy.tumour_radius_mm,) * 3).distance(points)
    masks = {
        "SpinalCanal": _everywhere(adult_thorax().canal(points) < 0, painted) & body,
        "GTV": _everywhere(tumour < 0, painted),
        "PTV": _everywhere(tumour < TARGET_MARGIN_MM, painted) & body,
        "Ring": _everywhere((tumour > TARGET_MARGIN_MM) & (tumour < TARGET_MARGIN_MM + RING_MM), painted) & body,
        "Couch": _everywhere((points.y > 60.0) & (points.y < 108.0) & (np.abs(points.x) < 190.0), painted) & ~body,
    }
    voxels = phantom.volume.voxels_zyx.copy()
    grain = np.random.default_rng(anatomy.seed).normal(0.0, anatomy.noise_hu, voxels.shape)
    voxels[masks["GTV"]] = (_TUMOUR_HU + grain[masks["GTV"]]).astype(np.int16)
    organs = (_in_one_piece(structure) for structure in phantom.structures.structures)
    drawn = (*organs, *(made_structure(name, mask) for name, mask in masks.items()))
    return Scan(Volume(voxels, geometry, Modality.CT), StructureSet("made", geometry, drawn))


def made_structure(name: str, mask_zyx: Mask, offset_zyx: tuple[int, int, int] = (0, 0, 0)) -> Structure:
    """A structure of that mask, cropped."""
    kinds = {"GTV": InterpretedType.GTV, "PTV": InterpretedType.PTV, "Couch": InterpretedType.SUPPORT}
    mask, offset = cropped_to_content(mask_zyx, offset_zyx)
    return Structure(name, COLOR_RGB, kinds.get(name, InterpretedType.ORGAN), mask, offset)


def with_defect(structure: Structure, defect: Defect, scan: Scan) -> tuple[Structure, tuple[int, int]]:
    """The structure with a mistake that its mask can carry, and the first and last slice that it touches."""
    geometry = scan.volume.geometry
    mask = structure.full_mask(geometry.shape_zyx)
    first, last = structure.box.start_zyx[0], structure.box.stop_zyx[0] - 1
    if defect is Defect.GAP:
        first, last = (first + last) // 2, (first + last) // 2 + 1
        mask[first : last + 1] = False
    elif defect is Defect.ISLAND:
        island = _island(structure, scan)
        mask |= island
        touched = np.flatnonzero(island.any(axis=(1, 2)))
        first, last = int(touched[0]), int(touched[-1])
    elif defect is Defect.TOO_LARGE:
        apart: NDArray[np.float32] = edt.edt(~mask, anisotropy=geometry.spacing_zyx_mm)
        mask = apart <= MARGIN_MM
        touched = np.flatnonzero(mask.any(axis=(1, 2)))
        first, last = int(touched[0]), int(touched[-1])
    elif defect is Defect.NO_CONTOURS:
        mask[:] = False
    return replace(made_structure(structure.name, mask), interpreted_type=structure.interpreted_type), (first, last)


# -- grids -----------------------------------------------------------------------------------------------------------


def _patient_grid(anatomy: Anatomy, spacing_zyx_mm: tuple[float, float, float], field_mm: float) -> Geometry:
    """The scanner's grid about the patient."""
    dz, dy, dx = spacing_zyx_mm
    low, high = (h * anatomy.scale_xyz[2] for h in anatomy.heights_mm)
    shape = (int((high - low) / dz), round(field_mm / dy), round(field_mm / dx))
    # The field stays where the scanner has it, so that a shifted patient lies off its middle.
    rounded = (
        round(-(shape[2] - 1) / 2 * dx, 2),
        round(-60.0 - (shape[1] - 1) / 2 * dy, 2),
        round(anatomy.shift_lps_mm[2] + low, 1),
    )
    frame = derived_uid("made frame", str(anatomy.seed))
    return Geometry.axial(shape, spacing_zyx_mm, rounded, frame)


def _in_phantom(geometry: Geometry, anatomy: Anatomy) -> Geometry:
    """The patient's grid where the phantom has it: p = turn^-1 (q - shift) / scale, q in the patient."""
    angle = np.radians(anatomy.roll_degrees)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    scale = np.asarray(anatomy.scale_xyz)
    origin = (np.asarray(geometry.origin_lps_mm) - anatomy.shift_lps_mm) / scale @ turn
    axes = np.asarray(geometry.axes_lps) @ turn
    dz, dy, dx = (float(s) for s in np.asarray(geometry.spacing_zyx_mm) / scale[::-1])
    z, y, x = ((float(a[0]), float(a[1]), float(a[2])) for a in axes)
    place = (float(origin[0]), float(origin[1]), float(origin[2]))
    return replace(geometry, spacing_zyx_mm=(dz, dy, dx), origin_lps_mm=place, axes_lps=(z, y, x))


def _island(structure: Structure, scan: Scan) -> Mask:
    """A ball inside the body, across the midline from the middle of the structure and further out."""
    geometry = scan.volume.geometry
    body = scan.structure("Body").full_mask(geometry.shape_zyx)
    z, y, x = np.argwhere(structure.full_mask(geometry.shape_zyx)).mean(axis=0)
    middle = np.argwhere(body[int(z)])[:, 1].mean()
    places = Points.of(geometry.index_to_lps_mm(np.moveaxis(np.indices(geometry.shape_zyx), 0, -1)))
    outwards = ISLAND_OUTWARDS_MM * np.sign(middle - x)
    a, b, c = geometry.index_to_lps_mm((z, y, 2 * middle - x)).tolist()
    island: Mask = (ellipsoid((a + outwards, b, c), (ISLAND_RADIUS_MM,) * 3).distance(places) < 0) & body
    return island


def _in_one_piece(structure: Structure) -> Structure:
    """Without the crumbs that coarse voxels cut off: nobody draws them."""
    largest: Mask = cc3d.largest_k(structure.mask_zyx, k=1) > 0
    mask, offset = cropped_to_content(largest, structure.offset_zyx)
    return replace(structure, mask_zyx=mask, offset_zyx=offset)


def _whole(geometry: Geometry) -> Box:
    return Box((0, 0, 0), geometry.shape_zyx)


def _everywhere(mask: NDArray[np.bool_], geometry: Geometry) -> Mask:
    return np.broadcast_to(mask, geometry.shape_zyx).copy()
