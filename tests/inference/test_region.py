import numpy as np
import pytest

from contour.core.geometry import Box, Geometry
from contour.core.volume import Modality, Volume
from contour.inference.region import BODY_MARGIN_MM, around_body, axis_positions, box_of


@pytest.mark.parametrize(
    ("inside", "patch", "expected"),
    [
        (slice(40, 60), 10, (40, 60)),
        (slice(40, 60), 30, (35, 65)),
        (slice(2, 12), 30, (0, 30)),
        (slice(90, 98), 30, (70, 100)),
        (slice(10, 90), 120, (0, 100)),
        (slice(0, 100), 40, (0, 100)),
    ],
)
def test_a_box_is_widened_to_a_patch_within_the_grid(inside: slice, patch: int, expected: tuple[int, int]) -> None:
    mask = np.zeros((100, 3, 3), dtype=bool)
    mask[inside] = True
    start, stop = expected
    assert box_of(mask, (patch, 1, 1)) == Box((start, 0, 0), (stop, 3, 3))


def test_positions_on_another_grid() -> None:
    image = Geometry.axial((10, 8, 8), (2.0, 1.0, 1.0), (5.0, 6.0, 7.0), "1.2")
    network = image.respaced((4.0, 1.0, 1.0))
    np.testing.assert_allclose(axis_positions(image, network, 0), (np.arange(10) - 0.5) / 2)
    np.testing.assert_allclose(axis_positions(image, network, 1), np.arange(8))


def test_around_the_body_are_ten_millimetres() -> None:
    geometry = Geometry.axial((40, 100, 100), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "1.2")
    voxels = np.full(geometry.shape_zyx, -1000, dtype=np.int16)
    voxels[12:28, 30:70, 30:70] = 40
    volume = Volume(voxels, geometry, Modality.CT)
    grid = geometry.respaced((3.0, 3.0, 3.0))
    box = box_of(around_body(volume, grid), (1, 1, 1))
    low = grid.index_to_lps_mm(box.start_zyx)
    high = grid.index_to_lps_mm(np.asarray(box.stop_zyx) - 1)
    body = np.array([[60, 60, 36], [138, 138, 81]])
    np.testing.assert_allclose(body[0] - low, BODY_MARGIN_MM, atol=4)
    np.testing.assert_allclose(high - body[1], BODY_MARGIN_MM, atol=4)


def test_without_a_body_everything_is_looked_at() -> None:
    geometry = Geometry.axial((8, 20, 20), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), "1.2")
    volume = Volume(np.full(geometry.shape_zyx, -1000, dtype=np.int16), geometry, Modality.CT)
    assert around_body(volume, geometry.respaced((6.0, 6.0, 6.0))).all()
