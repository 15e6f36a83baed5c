import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.training.atlas import find_lungs, propagate_labels

HEART = 3


def _chest(scale: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """Two lungs, a heart between them (label 3) and a body, all ellipsoids; the anatomy is scaled (z, y, x)."""
    geometry = Geometry.axial((60, 70, 80), (5.0, 5.0, 5.0), (-200.0, -175.0, -150.0), "1.2.3")
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape_zyx), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(geometry.index_to_lps_mm(grid) - shift_mm, -1, 0)
    z, y, x = z / scale[0], y / scale[1], x / scale[2]

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)) < 1

    image = np.where(ellipsoid((0, 0, 0), (165, 110, 400)), 40.0, -1000.0).astype(np.float32)
    image[ellipsoid((-75, 0, 0), (52, 75, 110)) | ellipsoid((75, 0, 0), (52, 75, 110))] = -820.0
    heart = ellipsoid((25, -15, -35), (50, 45, 45))
    image[heart] = 45.0
    return Volume(image, geometry, Modality.CT), np.where(heart, HEART, 0).astype(np.uint8)


def test_labels_follow_an_anatomy_of_another_size_and_place() -> None:
    atlas, labels = _chest((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    target, truth = _chest((0.9, 1.1, 0.92), (10.0, -8.0, 12.0))
    moved, image = propagate_labels(atlas, labels, target)
    overlap = 2 * np.sum((moved == HEART) & (truth == HEART)) / (np.sum(moved == HEART) + np.sum(truth == HEART))
    untouched = 2 * np.sum((labels == HEART) & (truth == HEART)) / (np.sum(labels == HEART) + np.sum(truth == HEART))
    assert untouched < 0.85
    assert overlap > 0.9
    assert np.abs(image - target.voxels_zyx).mean() < 0.5 * np.abs(atlas.voxels_zyx - target.voxels_zyx).mean()


def test_lungs_are_found_within_the_body_only() -> None:
    volume, _ = _chest((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    lungs = find_lungs(volume)
    assert np.array_equal(lungs.mask_zyx, volume.voxels_zyx == -820.0)
    assert not lungs.cut
    assert np.allclose(lungs.high_lps_mm[0], 127.0, atol=5.0)
    upper = Volume(volume.voxels_zyx[30:], Geometry.axial((30, 70, 80), (5.0,) * 3, (0.0,) * 3, "1.2.3"), Modality.CT)
    assert find_lungs(upper).cut


def test_an_image_without_lungs_is_refused() -> None:
    geometry = Geometry.axial((20, 20, 20), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), "1.2.3")
    with pytest.raises(ValueError, match="no lungs"):
        find_lungs(Volume(np.full((20, 20, 20), 40, dtype=np.int16), geometry, Modality.CT))
