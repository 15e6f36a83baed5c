"""What a planning CT shows about a head and an image cropped to its dose does not: table, head rest, fixation mask."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.imaging.body import body_mask
from contour.imaging.preprocess import Preprocessing, normalized
from contour.training.prepared import PreparedCase

FRAME = "2.25.1"  # of grids that live here only
ROOM_MM = 45.0  # behind the body and beside it
BLANK_HU = -990.0
MASK_GAP_MM, MASK_MM = (0.5, 4.0), 3.5  # how far off the skin a fixation mask lies; as thick as voxels can show it
MASK_HU = (-750.0, -150.0)
TABLE_MM = (1.0, 12.0)  # behind the hindmost of the body
SHELL_HU, FOAM_HU = (-450.0, 50.0), (-980.0, -850.0)
THICKNESS_MM = (20.0, 60.0)


def on_table(case: PreparedCase, preprocessing: Preprocessing, rng: np.random.Generator) -> PreparedCase:
    """The case with more room around it, in which lie a table or head rest and, mostly, a fixation mask."""
    spacing = preprocessing.spacing_zyx_mm
    y, x = round(ROOM_MM / spacing[1]), round(ROOM_MM / spacing[2])
    room = ((0, 0), (0, y), (x, x))
    hu = case.image_zyx.astype(np.float32) * preprocessing.std + preprocessing.mean
    hu = np.pad(hu, room, constant_values=preprocessing.clip[0])
    body = body_mask(Volume(hu, Geometry.axial(hu.shape, spacing, (0.0, 0.0, 0.0), FRAME), Modality.CT))
    if body.any():
        empty = (hu < BLANK_HU) & ~body
        if rng.random() < 0.7:
            _add_mask(hu, body, empty, spacing, rng)
        _add_table(hu, body, empty, spacing, rng)
        # Straight edges of a model are softer in an image.
        hu = np.where(empty, ndimage.gaussian_filter(hu, 0.4), hu)
        hu += np.where(empty, rng.normal(0.0, rng.uniform(2.0, 20.0), hu.shape), 0.0)
    return replace(
        case,
        name=f"{case.name}_on_table",
        image_zyx=normalized(hu.astype(np.float32), preprocessing).astype(np.float16),
        labels_zyx=np.pad(case.labels_zyx, room),
        regions_zyx=np.pad(case.regions_zyx, room, mode="edge"),
    )


def _add_mask(
    hu: NDArray[np.float32], body: Mask, empty: Mask, spacing: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """A shell before the face and the neck, down to a random slice."""
    off = ndimage.distance_transform_edt(~body, sampling=spacing)
    gap = rng.uniform(*MASK_GAP_MM)
    shell: Mask = empty & (off > gap) & (off <= gap + MASK_MM)
    shell[: int(rng.integers(0, max(1, hu.shape[0] // 2)))] = False
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    shell[:, int(np.quantile(rows, rng.uniform(0.5, 0.9))) :] = False
    hu[shell] = rng.uniform(*MASK_HU)


def _add_table(
    hu: NDArray[np.float32], body: Mask, empty: Mask, spacing: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Two shells with foam between, flat under the shoulders; under the head a rest that follows it."""
    mm = spacing[1]
    rows = np.arange(hu.shape[1])
    columns_zy = np.asarray(body.any(axis=2))
    lowest = np.where(columns_zy.any(axis=1), hu.shape[1] - 1 - columns_zy[:, ::-1].argmax(axis=1), 0)
    flat = rng.random() < 0.5
    under = np.full(len(lowest), lowest.max()) if flat else ndimage.maximum_filter1d(lowest, 9)
    top = under + rng.uniform(*TABLE_MM) / mm
    thick = rng.uniform(*THICKNESS_MM) / mm
    shell, foam = rng.uniform(*SHELL_HU), rng.uniform(*FOAM_HU)
    width = hu.shape[2]
    edge = int(rng.integers(0, max(1, width // 5)))
    inside = np.zeros(width, dtype=bool)
    inside[edge : width - edge] = True
    for z, start in enumerate(top):
        depth = rows - start
        values = np.where((depth < 1) | (depth > thick - 1), shell, foam)
        column = (depth >= 0) & (depth <= thick)
        place = column[:, None] & inside[None] & empty[z]
        hu[z][place] = np.broadcast_to(values[:, None], place.shape)[place]
