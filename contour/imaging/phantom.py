"""An anthropomorphic thorax with known truth: what `contour demo` contours, and what tests measure against.

Everything is analytic: surfaces are functions of position (`contour.imaging.thorax_shapes`), so that any grid, oblique
ones too, samples the same patient, and the truth does not depend on a segmentation. Tissues carry realistic HU, the
lungs carry branching vessels, and noise has the texture of a reconstruction, because networks that were trained on
patients have to draw it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.imaging import phantom_courses as courses
from contour.imaging.phantom_vessels import vessel_tree
from contour.imaging.solids import Canvas, Distance, FloatArray, Points, Solid, Tube, ellipsoid, smooth_union
from contour.imaging.thorax_shapes import BOTTOM_MM, TOP_MM, VERTEBRAE, Thorax, adult_thorax

AIR = -1000.0
FAT = -102.0
WIDE = 260.0
COUCH_TOP_Y = 59.0

# Label in the canvas, TG-263 name, colour.
TRUTH = (
    (1, "Lung_L", (80, 200, 120)),
    (2, "Lung_R", (60, 140, 220)),
    (3, "Heart", (220, 40, 60)),
    (4, "Esophagus", (230, 170, 60)),
    (5, "Trachea", (90, 210, 230)),
    (6, "SpinalCord", (250, 230, 60)),
    (7, "A_Aorta", (240, 110, 90)),
    (8, "Liver", (150, 90, 60)),
    (9, "Spleen", (150, 90, 200)),
    (10, "Stomach", (230, 130, 190)),
    (11, "Kidney_L", (200, 160, 90)),
    (12, "Kidney_R", (170, 200, 80)),
)


@dataclass(frozen=True)
class PhantomOptions:
    """How the phantom is scanned: `enhancement_hu` is the contrast agent in the aorta, `noise_hu` is one sigma."""

    seed: int = 1
    enhancement_hu: float = 110.0
    noise_hu: float = 14.0
    vessels: int = 650
    couch: bool = True


@dataclass(frozen=True)
class Phantom:
    """A CT and its true structures, sampled at the voxel centres."""

    volume: Volume
    structures: StructureSet


def thorax_geometry(
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 500.0 / 512, 500.0 / 512),
    field_mm: float = 500.0,
    frame_of_reference_uid: str = "2.25.1",
) -> Geometry:
    """A supine axial grid about the phantom, from the upper abdomen to the neck."""
    nz = int((150.0 + 262.0) / spacing_zyx_mm[0])
    ny, nx = (round(field_mm / s) for s in spacing_zyx_mm[1:])
    origin = (-(nx - 1) / 2 * spacing_zyx_mm[2], -60.0 - (ny - 1) / 2 * spacing_zyx_mm[1], -262.0)
    return Geometry.axial((nz, ny, nx), spacing_zyx_mm, origin, frame_of_reference_uid)


def thorax_phantom(geometry: Geometry, options: PhantomOptions = PhantomOptions()) -> Phantom:
    """The thorax on `geometry`, whose patient coordinates are the phantom's own: the carina is at z = 0 mm.

    Deterministic: the same grid and options give the same voxels.
    """
    thorax = adult_thorax()
    canvas = Canvas(geometry, (0.0, 0.0, 0.0), AIR)
    if options.couch:
        _paint_couch(canvas)
    body = _paint_outside(canvas, thorax)
    _paint_inside(canvas, thorax)
    _paint_abdomen(canvas, thorax, options.enhancement_hu)
    _paint_lungs(canvas, thorax, options)
    _paint_spine(canvas, thorax)
    _paint_cage(canvas, thorax)
    _paint_heart_and_vessels(canvas, thorax, options.enhancement_hu)
    _paint_airway_and_oesophagus(canvas)
    _add_texture_and_noise(canvas, options)
    voxels = np.clip(np.rint(canvas.hu_zyx), -1024, 3071).astype(np.int16)
    return Phantom(Volume(voxels, geometry, Modality.CT), _truth(canvas, body))


def _truth(canvas: Canvas, body_zyx: NDArray[np.bool_]) -> StructureSet:
    structures = [_structure("Body", (200, 200, 200), body_zyx)]
    structures += [_structure(name, color, canvas.labels_zyx == value) for value, name, color in TRUTH]
    drawn = tuple(s for s in structures if not s.empty)
    return StructureSet("PHANTOM_TRUTH", canvas.geometry, drawn)


def _structure(name: str, color_rgb: tuple[int, int, int], mask_zyx: NDArray[np.bool_]) -> Structure:
    kind = InterpretedType.EXTERNAL if name == "Body" else InterpretedType.ORGAN
    mask, offset = cropped_to_content(mask_zyx)
    return Structure(name, color_rgb, kind, mask, offset)


def _everywhere(distance: Distance) -> Solid:
    return Solid(distance, (-WIDE, -WIDE, BOTTOM_MM), (WIDE, WIDE, TOP_MM))


# -- couch, skin, fat and muscle -------------------------------------------------------------------------------------


def _paint_couch(canvas: Canvas) -> None:
    """A flat carbon-fibre couch top over foam, as in radiotherapy."""

    def slab(p: Points, inset: float) -> FloatArray:
        y = np.abs(p.y - (COUCH_TOP_Y + 25.0)) - (25.0 - inset)
        x = np.abs(p.x) - (262.0 - inset)
        return np.asarray(np.maximum(x, y), dtype=np.float32)

    low, high = (-270.0, COUCH_TOP_Y - 2, -2000.0), (270.0, COUCH_TOP_Y + 52, 2000.0)
    canvas.paint(Solid(lambda p: slab(p, 0.0), low, high), -150.0)
    canvas.paint(Solid(lambda p: slab(p, 2.0), low, high), -945.0)


def _paint_outside(canvas: Canvas, thorax: Thorax) -> NDArray[np.bool_]:
    """Skin, subcutaneous fat and the muscles of trunk, shoulders and neck; returns the body's mask."""
    body = np.zeros(canvas.geometry.shape_zyx, dtype=bool)
    for box in canvas.chunks(_everywhere(thorax.body)):
        p = canvas.points(box)
        skin = thorax.body(p)
        wall = thorax.cavity.distance(p)
        part = canvas.hu_zyx[box.slices]
        for distance, hu in (
            (skin, 5.0),
            (skin + 2.2, FAT),
            (_muscle(thorax, p, skin, wall), 58.0),
            (np.maximum(_between(wall, -0.5, 10.0), -_above_cavity(p)), 48.0),
        ):
            part += np.clip(0.5 - distance / np.float32(1.4), 0, 1) * (np.float32(hu) - part)
        body[box.slices] = np.broadcast_to(skin < 0, box.shape_zyx)
    return body


def _above_cavity(p: Points) -> FloatArray:
    """Positive below the thoracic inlet: the wall's shell ends there."""
    return np.asarray(96.0 - p.z, dtype=np.float32)


def _between(distance: FloatArray, low: float, high: float) -> FloatArray:
    return np.asarray(np.maximum(distance - high, low - distance), dtype=np.float32)


def _muscle(thorax: Thorax, p: Points, skin: FloatArray, wall: FloatArray) -> FloatArray:
    """The muscles outside the rib cage, under the fat: thick over shoulder, chest and back, thin elsewhere."""
    angle = np.arctan2(np.abs(p.x), p.y + 62.0)  # 0 behind, pi in front
    shoulder = np.interp(p.z, (-60.0, 10.0, 90.0), (0.0, 1.0, 1.0))
    pectoral = 15.0 * np.exp(-(((angle - 2.25) / 0.38) ** 2)) * np.interp(p.z, (-60.0, 0.0, 80.0), (0.1, 1.0, 1.0))
    scapular = 42.0 * np.exp(-(((angle - 0.88) / 0.42) ** 2)) * shoulder
    latissimus = 9.0 * np.exp(-(((angle - 1.25) / 0.5) ** 2))
    thickness = 12.0 + pectoral + scapular + latissimus
    trunk = np.maximum(wall - thickness, -1.0 - wall)
    neck = np.maximum(skin + 9.0, 84.0 - p.z)
    muscle = np.minimum(trunk, neck)
    muscle = np.minimum(muscle, _erector(thorax, p))
    if float(np.max(p.z)) > 0.0:
        for side in (-1, 1):
            muscle = np.minimum(muscle, thorax.arm(side).distance(p) + 13.0)
    fat = np.interp(angle, (0.0, 1.2, 2.2, np.pi), (9.0, 11.0, 13.0, 17.0))
    return np.asarray(np.maximum(muscle, skin + fat), dtype=np.float32)


def _erector(thorax: Thorax, p: Points) -> FloatArray:
    """The long muscles beside the spinous processes."""
    y = p.y - thorax.canal_y(p.z) - 23.0
    return np.asarray((np.sqrt(((np.abs(p.x) - 24.0) / 22.0) ** 2 + (y / 14.0) ** 2) - 1.0) * 14.0, dtype=np.float32)


def _paint_inside(canvas: Canvas, thorax: Thorax) -> None:
    """The cavity's fat and the diaphragm."""
    cavity = _everywhere(lambda p: np.maximum(thorax.cavity.distance(p), p.z - 105.0))
    canvas.paint(cavity, FAT + 8.0)
    canvas.paint(
        _everywhere(
            lambda p: np.maximum(thorax.cavity.distance(p), _between(thorax.above_diaphragm(p) * 0.75, -2.5, 2.0))
        ),
        45.0,
    )
    canvas.paint(_everywhere(lambda p: np.maximum(_erector(thorax, p), thorax.body(p) + 9.0)), 56.0)


# -- bones -----------------------------------------------------------------------------------------------------------


def _paint_spine(canvas: Canvas, thorax: Thorax) -> None:
    """Bodies with cortex, endplates and discs; arches, processes; canal with fluid and cord."""
    low, high = (-50.0, -160.0, BOTTOM_MM), (50.0, 60.0, TOP_MM)
    for number in VERTEBRAE:
        _paint_arch(canvas, thorax, number)
    column = Solid(thorax.vertebral_column, low, high)
    canvas.paint(column, 480.0, label=0)
    canvas.paint(Solid(lambda p: thorax.vertebral_column(p, -2.0), low, high), 160.0)

    def disc(p: Points) -> FloatArray:
        part = np.abs(thorax.within_level(thorax.spine_height(p)))
        return np.asarray(np.maximum(thorax.vertebral_column(p), (0.385 - part) * 22.0), dtype=np.float32)

    def endplate(p: Points) -> FloatArray:
        part = np.abs(thorax.within_level(thorax.spine_height(p)))
        return np.asarray(
            np.maximum(thorax.vertebral_column(p), (np.abs(part - 0.36) - 0.035) * 22.0), dtype=np.float32
        )

    canvas.paint(Solid(endplate, low, high), 420.0)
    canvas.paint(Solid(disc, low, high), 85.0)
    canvas.paint(Solid(thorax.canal, low, high), -25.0, label=0)
    canvas.paint(Solid(lambda p: thorax.canal(p) + 1.6, low, high), 18.0)
    canvas.paint(Solid(thorax.cord, low, high), 42.0, label=6)


def _paint_arch(canvas: Canvas, thorax: Thorax, number: int) -> None:
    z = thorax.vertebra_z(number)
    y = float(thorax.canal_y(z))
    slope = float(thorax.canal_y.slope(z))
    pitch = abs(thorax.vertebra_z(number + 1) - z)

    def lamina(p: Points) -> FloatArray:
        ring = _between(thorax.canal(p), 0.0, 5.0)
        height = np.abs(p.z + slope * (p.y - y) - (z - 1.0)) - 0.36 * pitch
        return np.asarray(np.maximum(ring, height), dtype=np.float32)

    canvas.paint(Solid(lamina, (-20.0, y - 40.0, z - 30.0), (20.0, y + 30.0, z + 30.0)), 430.0, label=0)
    thoracic = number <= 12
    reach, rise = (34.0, 6.0) if thoracic else (42.0, 0.0)
    drop = 20.0 if 3 <= number <= 10 else 8.0
    for side in (-1, 1):
        knots = ((side * 11.0, y + 2.0, z + 2.0, 5.5), (side * reach, y + (14.0 if thoracic else 2.0), z + rise, 3.8))
        _paint_bone(canvas, Tube.through(*knots), 1.3)
    spinous = ((0.0, y + 12.0, z - 1.0, 4.2), (0.0, y + 24.0, z - drop * 0.6, 3.2), (0.0, y + 34.0, z - drop, 4.0))
    _paint_bone(canvas, Tube.through(*spinous), 1.3)


def _paint_bone(canvas: Canvas, tube: Tube, cortex_mm: float) -> None:
    canvas.paint_tube(tube, 640.0, label=0)
    canvas.paint_tube(tube.grown(-cortex_mm), 210.0)


def _paint_cage(canvas: Canvas, thorax: Thorax) -> None:
    """Ribs with their cartilages, sternum, clavicles, shoulder blades and upper arms."""
    for side in (-1, 1):
        for number in range(1, 13):
            _paint_rib(canvas, thorax, number, side)
        clavicle = (
            (side * 20.0, -134.0, 90.0, 8.0),
            (side * 48.0, -118.0, 108.0, 6.0),
            (side * 92.0, -78.0, 122.0, 6.5),
            (side * 122.0, -50.0, 128.0, 7.5),
        )
        _paint_bone(canvas, Tube.through(*clavicle), 1.8)
        humerus = (
            (side * 130.0, -36.0, 112.0, 23.0),
            (side * 143.0, -46.0, 132.0, 17.0),
            (side * 154.0, -64.0, 165.0, 11.5),
            (side * 160.0, -85.0, 215.0, 11.0),
        )
        canvas.paint_tube(Tube.through(*humerus), 780.0)
        canvas.paint_tube(Tube.through(*humerus).grown(-3.0), 150.0)
        _paint_scapula(canvas, thorax, side)
    _paint_sternum(canvas, thorax)


def _paint_rib(canvas: Canvas, thorax: Thorax, number: int, side: int) -> None:
    drops = np.array([38, 58, 78, 95, 108, 114, 114, 106, 95, 80, 55, 34], dtype=float)
    ends = np.radians([150, 146, 142, 139, 136, 133, 126, 116, 106, 96, 80, 52])
    top = thorax.vertebra_z(number) + 8.0
    i = number - 1
    angle = np.linspace(np.radians(9), ends[i], 56)
    z = top - drops[i] * ((1 - np.cos(angle)) / (1 - np.cos(max(ends[i], np.radians(130))))) ** 1.1
    points = thorax.cavity.rim(side * angle, z, 5.2)
    # The head of the rib leans on its vertebra.
    head = np.array([[side * 17.0, float(thorax.canal_y(top)) - 6.0, top - 2.0]])
    course = np.concatenate([head, points[4:]])
    _paint_bone(canvas, Tube(course, np.full(len(course), 4.6)), 1.5)
    if number <= 10:
        _paint_cartilage(canvas, thorax, number, (side, float(angle[-1]), float(z[-1])))


def _paint_cartilage(canvas: Canvas, thorax: Thorax, number: int, end: tuple[int, float, float]) -> None:
    side, angle, z = end
    targets = (82, 63, 42, 22, 4, -14, -28, -46, -62, -78)
    stop = np.radians(173.0 if number <= 7 else 158.0 - 8.0 * (number - 8))
    angles = np.linspace(angle, stop, 24)
    part = np.linspace(0.0, 1.0, 24)
    heights = z + (targets[number - 1] - z) * part**1.4
    canvas.paint_tube(Tube(thorax.cavity.rim(side * angles, heights, 5.4), np.full(24, 4.8)), 115.0)


def _paint_scapula(canvas: Canvas, thorax: Thorax, side: int) -> None:
    def plate(p: Points) -> FloatArray:
        wall = thorax.cavity.distance(p)
        angle = np.arctan2(side * p.x, p.y + 62.0)
        middle = np.interp(p.z, (-25.0, 110.0), (0.86, 0.95))
        half = np.interp(p.z, (-28.0, 20.0, 85.0, 118.0), (0.02, 0.22, 0.38, 0.22))
        across = (np.abs(angle - middle) - half) * 95.0
        # Thick along its outer border and at the shoulder, paper-thin in the middle.
        thick = 1.8 + 2.6 * np.clip((angle - middle) / np.maximum(half, 0.05), 0.0, 1.0)
        sheet = np.abs(wall - 22.0) - thick
        return np.asarray(np.maximum(np.maximum(sheet, across), np.abs(p.z - 45.0) - 73.0), dtype=np.float32)

    low, high = (min(0, side * 160.0), -90.0, -35.0), (max(0, side * 160.0), 60.0, 120.0)
    canvas.paint(Solid(plate, low, high), 520.0)
    spine = ((side * 62.0, 26.0, 62.0, 4.0), (side * 98.0, 12.0, 88.0, 5.0), (side * 128.0, -22.0, 112.0, 7.0))
    _paint_bone(canvas, Tube.through(*spine), 1.6)


def _paint_sternum(canvas: Canvas, thorax: Thorax) -> None:
    def plate(p: Points) -> FloatArray:
        half = np.interp(p.z, (-62.0, -45.0, 40.0, 55.0, 82.0, 90.0), (5.0, 17.0, 14.0, 16.0, 27.0, 22.0))
        depth = p.y - (thorax.cavity.front(p.z) - 6.5)
        edge = np.maximum(np.abs(p.x) - half, np.abs(depth) - 5.5)
        return np.asarray(np.maximum(edge, np.abs(p.z - 14.0) - 77.0), dtype=np.float32)

    low, high = (-30.0, -185.0, -66.0), (30.0, -95.0, 94.0)
    canvas.paint(Solid(plate, low, high), 420.0)
    canvas.paint(Solid(lambda p: plate(p) + 1.5, low, high), 130.0)


# -- organs ----------------------------------------------------------------------------------------------------------


def _paint_abdomen(canvas: Canvas, thorax: Thorax, enhancement: float) -> None:
    """Liver, spleen, stomach, kidneys, crura and psoas under the diaphragm, bowel in front of them."""

    def clearance(p: Points) -> FloatArray:
        wall = np.maximum(thorax.cavity.distance(p) + 3.5, 2.5 + thorax.above_diaphragm(p) * 0.75)
        return np.asarray(np.maximum(wall, 8.0 - thorax.vertebral_column(p)), dtype=np.float32)

    def liver(p: Points) -> FloatArray:
        right = ellipsoid((-62.0, -92.0, -118.0), (92.0, 92.0, 86.0)).distance(p)
        left = ellipsoid((22.0, -136.0, -112.0), (76.0, 42.0, 30.0)).distance(p)
        hilum = ellipsoid((8.0, -78.0, -158.0), (52.0, 52.0, 50.0)).distance(p)
        blob = np.maximum(smooth_union(right, left, 18.0), -hilum)
        kidney = ellipsoid((-70.0, -34.0, -200.0), (52.0, 62.0, 74.0)).distance(p)
        return np.asarray(np.maximum(np.maximum(blob, -kidney), clearance(p)), dtype=np.float32)

    def spleen(p: Points) -> FloatArray:
        outer = ellipsoid((96.0, -42.0, -118.0), (50.0, 56.0, 50.0)).distance(p)
        inner = ellipsoid((54.0, -78.0, -122.0), (42.0, 46.0, 62.0)).distance(p)
        return np.asarray(np.maximum(np.maximum(outer, -inner), clearance(p)), dtype=np.float32)

    _paint_bowel(canvas)
    for side in (-1, 1):
        psoas = (
            (side * 28.0, -72.0, -150.0, 8.0),
            (side * 38.0, -88.0, -210.0, 15.0),
            (side * 46.0, -104.0, -290.0, 20.0),
        )
        canvas.paint_tube(Tube.through(*psoas), 58.0)
        crus = ((side * 14.0, -86.0, -90.0, 4.0), (side * 13.0, -84.0, -130.0, 6.0), (side * 12.0, -98.0, -185.0, 4.0))
        canvas.paint_tube(Tube.through(*crus), 52.0)
    wide_low, wide_high = (-160.0, -200.0, -230.0), (160.0, 40.0, -20.0)
    canvas.paint(Solid(liver, wide_low, wide_high), 62.0 + 0.45 * enhancement, label=8)
    for vein in courses.liver_veins():
        canvas.paint_tube(vein, 62.0 + 0.62 * enhancement)
    canvas.paint(Solid(spleen, wide_low, wide_high), 52.0 + 0.55 * enhancement, label=9)
    _paint_stomach(canvas)
    for side, value, (x, y, z) in ((1, 11, (70.0, -60.0, -188.0)), (-1, 12, (-68.0, -64.0, -200.0))):
        _paint_kidney(canvas, value, (x, y, z, float(side)), enhancement)


def _paint_stomach(canvas: Canvas) -> None:
    tube = courses.stomach()
    canvas.paint_tube(tube, 62.0, label=10)
    canvas.paint_tube(tube.grown(-3.5), 24.0)

    def gas(p: Points) -> FloatArray:
        # Gas rises in a supine patient: it fills the front of the stomach behind a level.
        return np.asarray(np.maximum(tube.distance(p) + 3.5, p.y + 148.0), dtype=np.float32)

    canvas.paint(Solid(gas, (-30.0, -180.0, -215.0), (100.0, -140.0, -110.0)), -960.0)


def _paint_bowel(canvas: Canvas) -> None:
    """Loops of colon and small bowel at the front of the lower slices."""
    for tube in courses.bowel():
        canvas.paint_tube(tube, 48.0)
        canvas.paint_tube(tube.grown(-2.5), 18.0)
    for x, y, z, r in (
        (-94.0, -124.0, -250.0, 12.0),
        (30.0, -172.0, -222.0, 10.0),
        (74.0, -164.0, -212.0, 11.0),
        (104.0, -98.0, -225.0, 9.0),
    ):
        canvas.paint(ellipsoid((x, y, z), (r, 0.7 * r, 1.5 * r)), -900.0)


def _paint_kidney(canvas: Canvas, value: int, place: tuple[float, float, float, float], enhancement: float) -> None:
    x, y, z, side = place
    axes = ((1.0, 0.25 * side, 0.1 * side), (-0.25 * side, 1.0, 0.2), (-0.25 * side, -0.2, 1.0))
    outer = ellipsoid((x, y, z), (27.0, 23.0, 54.0), axes)
    canvas.paint(outer, 40.0 + 1.0 * enhancement, label=value)
    canvas.paint(ellipsoid((x - 3.0 * side, y - 1.0, z), (17.0, 15.0, 42.0), axes), 40.0 + 0.65 * enhancement)
    canvas.paint(ellipsoid((x - 17.0 * side, y - 8.0, z), (13.0, 8.0, 20.0), axes), FAT + 10.0, label=0)


def _paint_lungs(canvas: Canvas, thorax: Thorax, options: PhantomOptions) -> None:
    low, high = (-140.0, -185.0, -185.0), (140.0, 25.0, 108.0)
    rng = np.random.default_rng(options.seed)
    for side, value in ((1, 1), (-1, 2)):

        def lung(p: Points, side: int = side) -> FloatArray:
            return thorax.lung(p, side)

        canvas.paint(Solid(lung, low, high), -868.0, label=value, edge_mm=1.6)
        hilum = (side * (40.0 if side > 0 else 30.0), -68.0, -6.0)
        box = (np.array((-140.0, -185.0, -175.0)), np.array((140.0, 25.0, 105.0)))
        for count, start in ((options.vessels, hilum), (options.vessels // 2, (hilum[0], -80.0, -22.0))):
            for branch in vessel_tree(lung, box, start, count, rng):
                canvas.brighten_tube(branch, 45.0 + 0.7 * options.enhancement_hu)


def _paint_heart_and_vessels(canvas: Canvas, thorax: Thorax, enhancement: float) -> None:
    """Heart with chambers and fat, aorta with its arch, pulmonary trunk, caval veins and the branches."""
    blood = 42.0 + enhancement
    vein = 42.0 + 0.8 * enhancement
    low, high = (-60.0, -175.0, -105.0), (115.0, -35.0, 35.0)
    canvas.paint(Solid(lambda p: thorax.heart(p) - 2.5, low, high), FAT + 15.0, label=0)
    canvas.paint(Solid(thorax.heart, low, high), 52.0 + 0.45 * enhancement, label=3)
    for centre, radii, hu in (
        ((52.0, -106.0, -50.0), (30.0, 19.0, 22.0), blood),  # left ventricle
        ((26.0, -128.0, -46.0), (26.0, 15.0, 24.0), vein),  # right ventricle
        ((-9.0, -98.0, -38.0), (20.0, 21.0, 25.0), vein),  # right atrium
        ((16.0, -69.0, -24.0), (29.0, 13.0, 17.0), blood),  # left atrium
        ((31.0, -122.0, -8.0), (14.0, 13.0, 16.0), vein),  # outflow tract
    ):
        canvas.paint(ellipsoid(centre, radii), hu, edge_mm=4.0)
    groove = (
        (-16.0, -122.0, -8.0, 4.0),
        (2.0, -136.0, -30.0, 4.5),
        (8.0, -140.0, -58.0, 4.0),
        (2.0, -118.0, -80.0, 4.0),
    )
    canvas.paint_tube(Tube.through(*groove), FAT + 20.0, edge_mm=2.5)
    for tube in courses.veins_and_pulmonary_arteries():
        canvas.paint_tube(tube, vein, label=0)
    for tube in courses.aortic_branches():
        canvas.paint_tube(tube, blood, label=0)
    canvas.paint_tube(courses.aorta(), blood + 5.0, label=7)


def _paint_airway_and_oesophagus(canvas: Canvas) -> None:
    oesophagus = courses.oesophagus()
    canvas.paint_tube(oesophagus.grown(2.0), FAT + 25.0, edge_mm=2.0)
    canvas.paint_tube(oesophagus, 46.0, label=4)
    for first, last in ((10, 15), (22, 26), (40, 43)):
        part = slice(first, last)
        canvas.paint_tube(Tube(oesophagus.points_xyz_mm[part], np.full(last - first, 2.2)), -820.0, edge_mm=2.0)
    trachea, bronchi = courses.trachea(), courses.bronchi()
    for tube in (trachea, *bronchi):
        canvas.paint_tube(tube.grown(1.5), 25.0)
    canvas.paint_tube(trachea.grown(0.8), 10.0, label=5)
    for tube in bronchi:
        canvas.paint_tube(tube, -985.0)
    canvas.paint_tube(trachea, -990.0)


# -- the scanner -----------------------------------------------------------------------------------------------------


def _add_texture_and_noise(canvas: Canvas, options: PhantomOptions) -> None:
    """Tissue texture, and noise with the grain of a soft kernel, streaky across the shoulders; slice by slice."""
    steps = canvas.geometry.spacing_zyx_mm
    for z in range(canvas.geometry.shape_zyx[0]):
        rng = np.random.default_rng((options.seed, z))
        hu = canvas.hu_zyx[z]
        inside = hu > -1500
        lungs = (hu > -950) & (hu < -500)
        tissue = (hu > -500) & inside
        hu += np.where(lungs, 26.0, np.where(tissue, 7.0, 0.0)) * _grain(rng, hu.shape, 2.6 / steps[1], 2.6 / steps[2])
        hu += options.noise_hu * _grain(rng, hu.shape, 0.75 / steps[1], 0.75 / steps[2])
        if options.noise_hu > 0 and tissue.mean() > 0.22:
            hu += 0.5 * options.noise_hu * _grain(rng, hu.shape, 0.6 / steps[1], 14.0 / steps[2])


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma_y: float, sigma_x: float) -> FloatArray:
    """Gaussian noise with standard deviation 1 and a grain of `sigma` pixels."""
    white = rng.standard_normal(shape, dtype=np.float32)
    if max(sigma_y, sigma_x) < 0.3:
        return white
    soft = cv2.GaussianBlur(white, (0, 0), sigmaX=max(sigma_x, 0.3), sigmaY=max(sigma_y, 0.3))
    return np.asarray(soft / max(float(soft.std()), 1e-6), dtype=np.float32)
