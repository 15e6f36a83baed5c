from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.body import body_mask, coarse_body
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import to_canonical

GEOMETRY = Geometry.axial((12, 128, 128), (5.0, 3.0, 3.0), (0, 0, 0), "1.2")
ROWS, COLUMNS = np.indices((128, 128))


def ellipse(row: float, column: float, radius_y: float, radius_x: float) -> NDArray[np.bool_]:
    return ((ROWS - row) / radius_y) ** 2 + ((COLUMNS - column) / radius_x) ** 2 <= 1


def volume(plane_hu: NDArray[np.int64]) -> Volume:
    return Volume(np.repeat(plane_hu[None].astype(np.int16), 12, axis=0), GEOMETRY, Modality.CT)


def test_body_with_its_lungs_and_without_the_couch() -> None:
    trunk = ellipse(60, 64, 30, 45)
    plane = np.where(trunk, 40, -1000)
    plane[ellipse(58, 45, 15, 10) | ellipse(58, 83, 15, 10)] = -850  # lungs
    plane[91, 20:108] = 100  # a shell 3 mm thick, touching the back
    plane[95:103, 20:108] = -900  # foam
    plane[103, 20:108] = 100
    mask = body_mask(volume(plane))
    np.testing.assert_array_equal(mask.all(axis=0), mask.any(axis=0))
    wrong = mask[5] ^ trunk
    assert not mask[:, 93:].any()
    assert np.count_nonzero(wrong) < 0.01 * np.count_nonzero(trunk)


def test_both_legs_are_body_and_a_wire_is_not() -> None:
    legs = ellipse(64, 40, 18, 16) | ellipse(64, 90, 15, 14)
    plane = np.where(legs, 20, -1000)
    plane[20:24, 20:24] = 3000
    mask = body_mask(volume(plane))
    assert np.count_nonzero(mask[3] ^ legs) < 0.01 * np.count_nonzero(legs)


def test_ears_come_back() -> None:
    head = ellipse(64, 64, 30, 25)
    ear = np.zeros_like(head)
    ear[60:68, 89:91] = True  # 6 mm thick: taken off by the opening
    mask = body_mask(volume(np.where(head | ear, 30, -1000)))
    assert mask[3][ear].all()


def test_air_alone_has_no_body() -> None:
    assert not body_mask(volume(np.full((128, 128), -1000))).any()


def test_a_body_that_fills_the_image_is_all_body() -> None:
    assert body_mask(volume(np.full((128, 128), 40))).all()


def test_storage_order_does_not_matter() -> None:
    plane = np.where(ellipse(60, 64, 30, 45), 40, -1000)
    plane[91, 20:108] = 100
    upright = volume(plane)
    coronal = Geometry(
        (128, 12, 128), (3.0, 5.0, 3.0), (0, 0, 0), ((0, 1, 0), (0, 0, 1), (1, 0, 0)), "1.2"
    )  # the same voxels, stacked from anterior to posterior
    stacked = Volume(np.ascontiguousarray(upright.voxels_zyx.transpose(1, 0, 2)), coronal, Modality.CT)
    np.testing.assert_array_equal(body_mask(stacked).transpose(1, 0, 2), body_mask(upright))


def test_the_coarse_body_is_the_body_thinned() -> None:
    geometry = Geometry.axial((12, 256, 256), (5.0, 1.0, 1.0), (0, 0, 0), "1.2")
    rows, columns = np.indices((256, 256))
    plane = np.where(((rows - 128) / 80) ** 2 + ((columns - 120) / 100) ** 2 <= 1, 40, -1000).astype(np.int16)
    whole = Volume(np.repeat(plane[None], 12, axis=0), geometry, Modality.CT)
    coarse, thinning = coarse_body(whole)
    assert thinning == (1, 3, 3)
    fine = body_mask(whole)[:, ::3, ::3]
    assert np.count_nonzero(coarse ^ fine) < 0.02 * np.count_nonzero(fine)


@pytest.mark.data
def test_a_head_on_mr_holds_its_brain(shared_data: Path) -> None:
    folder = shared_data / "brain" / "freesurfer_t1_sub-01"
    image = read_nifti(folder / "image.nii.gz", Modality.MR, "1.2")
    brain, _ = read_nifti_array(folder / "labels.nii.gz", "1.2")
    mask = body_mask(image)
    assert 2.5 < np.count_nonzero(mask) * image.geometry.voxel_ml / 1000 < 4.5  # litres, without the face
    assert mask[brain > 0].mean() > 0.999


@pytest.mark.data
@pytest.mark.parametrize("case", ["lidc_0314", "4dlung_hm10395"])
def test_a_chest_is_inside_and_the_air_outside(shared_data: Path, case: str) -> None:
    image = read_nifti(shared_data / "thorax" / case / "image.nii.gz", Modality.CT, "1.2")
    mask = to_canonical(body_mask(image), image.geometry)
    voxels = to_canonical(image.voxels_zyx, image.geometry)
    assert 10 < np.count_nonzero(mask) * image.geometry.voxel_ml / 1000 < 30
    plane, inside = voxels[len(voxels) // 2], mask[len(voxels) // 2]
    assert inside[plane.shape[0] // 2, plane.shape[1] // 4 : -plane.shape[1] // 4].all()
    assert plane[inside].mean() > -400
    assert plane[~inside].mean() < -800
