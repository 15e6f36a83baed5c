"""Twenty structures on a 512 x 512 x 200 CT grid: the work that the benchmarks of contours and metrics share."""

import numpy as np

from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content

SHAPE_ZYX = (200, 512, 512)
SPACING_ZYX_MM = (2.0, 0.9765625, 0.9765625)


def twenty_structures(seed: int = 0) -> StructureSet:
    """Body, lungs, tubes, ellipsoids of many sizes, and four hard ones: a ring, two shells, 59 voxels."""
    rng = np.random.default_rng(seed)
    masks = {
        "Body": _ellipsoid((100, 250, 256), (400, 150, 215), wobble=0.02),
        "Lung_L": _ellipsoid((110, 250, 350), (75, 95, 62), wobble=0.04),
        "Lung_R": _ellipsoid((110, 250, 160), (75, 95, 65), wobble=0.04),
        "Heart": _ellipsoid((90, 215, 280), (32, 48, 55)),
        "Liver": _ellipsoid((30, 250, 180), (38, 80, 90), wobble=0.05),
        "Spleen": _ellipsoid((30, 300, 370), (25, 40, 30)),
        "SpinalCord": _tube(5, 195, (365, 256), 7, sway=6),
        "Esophagus": _tube(20, 190, (320, 262), 9, sway=10),
        "Trachea": _tube(130, 195, (290, 256), 10, sway=3),
        "Aorta": _tube(0, 150, (330, 285), 14, sway=8),
    }
    for number in range(6):
        centre = rng.uniform((60, 180, 150), (140, 320, 360))
        radii = rng.uniform((4, 8, 8), (15, 30, 30))
        masks[f"Node_{number}"] = _ellipsoid(tuple(centre), tuple(radii))
    ring = masks["Body"].copy()
    ring &= ~_ellipsoid((100, 250, 256), (390, 142, 207), wobble=0.02)
    masks["Ring"] = ring
    shell = masks["Liver"].copy()
    shell[1:-1, 1:-1, 1:-1] &= ~_eroded(masks["Liver"])
    masks["Shell"] = shell
    tube_wall = masks["Trachea"].copy()
    tube_wall[1:-1, 1:-1, 1:-1] &= ~_eroded(masks["Trachea"])
    masks["TubeWall"] = tube_wall
    small = np.zeros(SHAPE_ZYX, dtype=bool)
    small[100:103, 200:204, 200:205] = True
    small[102, 203, 204] = False
    masks["FiftyNine"] = small
    geometry = Geometry.axial(SHAPE_ZYX, SPACING_ZYX_MM, (-250.0, -250.0, -300.0), "1.2.826.0.1.3680043.8.498.1")
    structures = [
        Structure(name, (255, 0, 0), InterpretedType.ORGAN, *cropped_to_content(m)) for name, m in masks.items()
    ]
    return StructureSet("bench", geometry, tuple(structures))


def _ellipsoid(centre_zyx: tuple[float, ...], radii_zyx: tuple[float, ...], *, wobble: float = 0.0) -> Mask:
    """An ellipsoid in voxels whose radius in the plane wobbles by a fraction, as organs do."""
    z, y, x = (
        (np.arange(n, dtype=np.float32).reshape([-1 if i == a else 1 for i in range(3)]) - c) / r
        for a, (n, c, r) in enumerate(zip(SHAPE_ZYX, centre_zyx, radii_zyx, strict=True))
    )
    radius = 1.0 + wobble * np.sin(7 * np.arctan2(y, x) + 5 * z) if wobble else 1.0
    return np.asarray(z**2 + y**2 + x**2 <= radius)


def _tube(first: int, last: int, centre_yx: tuple[float, float], radius: float, *, sway: float) -> Mask:
    mask = np.zeros(SHAPE_ZYX, dtype=bool)
    y, x = np.ogrid[: SHAPE_ZYX[1], : SHAPE_ZYX[2]]
    for z in range(first, last):
        shift = sway * np.sin(z / 30)
        mask[z] = (y - centre_yx[0] - shift) ** 2 + (x - centre_yx[1] - shift / 2) ** 2 <= radius**2
    return mask


def _eroded(mask_zyx: Mask) -> Mask:
    """The inside of a mask, without its outermost layer of voxels (6 neighbours), for all but the border voxels."""
    inner = mask_zyx[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (0, 2):
            index = [slice(1, -1)] * 3
            index[axis] = slice(shift, mask_zyx.shape[axis] - 2 + shift)
            inner &= mask_zyx[tuple(index)]
    return inner
