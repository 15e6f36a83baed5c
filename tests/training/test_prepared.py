from pathlib import Path

import numpy as np

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.training.prepared import UNKNOWN, cases_sha256, load_prepared, prepare_label_map, save_prepared

PREPROCESSING = Preprocessing(spacing_zyx_mm=(4.0, 4.0, 4.0), clip=(-1000.0, 500.0), mean=0.0, std=500.0)


def _ball() -> tuple[Volume, np.ndarray]:
    """A ball of 30 mm radius (label 1) in a grid stored feet first: z grows to inferior."""
    axes = ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry((40, 60, 60), (2.0, 1.5, 1.5), (-44.0, -44.0, 39.0), axes, "1.2.3")
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape_zyx), indexing="ij"), axis=-1)
    points = geometry.index_to_lps_mm(grid)
    ball = np.linalg.norm(points - [0.0, 0.0, 10.0], axis=-1) < 25.0
    image = np.where(ball, 100, -1000).astype(np.int16)
    labels = ball.astype(np.uint8)
    labels[:2] = UNKNOWN
    return Volume(image, geometry, Modality.CT), labels


def test_a_case_keeps_volume_place_and_unknown_voxels() -> None:
    volume, labels = _ball()
    case = prepare_label_map("ball", volume, labels, np.array([True]), PREPROCESSING)
    inside = case.labels_zyx == 1
    true_mm3 = 4 / 3 * np.pi * 25.0**3
    assert abs(inside.sum() * 64.0 - true_mm3) < 0.03 * true_mm3
    # The canonical grid grows to superior: the ball lies 10 mm above the middle of the 80 mm of the image.
    z_mm = (np.argwhere(inside)[:, 0].mean() + 0.5) * 4.0
    assert abs(z_mm - 50.0) < 0.5
    # The first stored slices are the topmost ones.
    assert (case.labels_zyx[-1] == UNKNOWN).all()
    assert abs(float(case.image_zyx[inside].max()) - 0.2) < 1e-3


def test_a_stored_case_comes_back_and_its_checksum_knows_it(tmp_path: Path) -> None:
    volume, labels = _ball()
    case = prepare_label_map("ball", volume, labels, np.array([True]), PREPROCESSING)
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    save_prepared(case, first)
    save_prepared(case, second)
    again = load_prepared(first)
    assert again.name == "ball"
    assert again.drawn.tolist() == [[True]]
    assert not again.regions_zyx.any()
    assert np.array_equal(again.image_zyx, case.image_zyx)
    assert np.array_equal(again.labels_zyx, case.labels_zyx)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    assert cases_sha256((first,), PREPROCESSING) == cases_sha256((second,), PREPROCESSING)
    case.labels_zyx[0, 0, 0] = 1
    save_prepared(case, second)
    assert cases_sha256((first,), PREPROCESSING) != cases_sha256((second,), PREPROCESSING)
