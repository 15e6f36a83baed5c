import numpy as np

from contour.training.synthesis import Tissue, synthesize_ct, without_contrast

VALUES = {"lung_left": 1, "liver": 2, "vertebrae_T8": 3}
TISSUES = (
    Tissue(("lung",), (-850, -800), 20.0),
    Tissue(("liver",), (50, 60), 5.0),
    Tissue(("vertebrae",), (200, 300), 30.0),
)


def _labels() -> np.ndarray:
    labels = np.zeros((24, 60, 60), dtype=np.uint8)
    labels[:, 20:40, 15:30] = 1
    labels[:, 20:40, 32:45] = 2
    labels[:, 42:50, 28:36] = 3
    return labels


def test_tissues_look_as_their_ranges_say_and_the_body_stands_in_air() -> None:
    labels = _labels()
    image = synthesize_ct(labels, VALUES, TISSUES, 3.0, np.random.default_rng(3))
    core = (slice(4, -4), slice(24, 36), slice(19, 26))
    assert -860 < image[core].mean() < -790
    assert 45 < image[4:-4, 24:36, 36:41].mean() < 65
    assert 180 < image[4:-4, 44:48, 30:34].mean() < 320
    assert image[:, 0, 0].mean() < -950
    # A subcutaneous layer surrounds what is labelled.
    assert image[12, 30, 12] > -200


def test_one_seed_gives_one_image() -> None:
    first, second = (synthesize_ct(_labels(), VALUES, TISSUES, 3.0, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_contrast_goes_and_bone_stays() -> None:
    image = np.full((10, 20, 20), 45.0, dtype=np.float32)
    image[:, 5:10, 5:10] = 300.0  # an enhanced vessel
    image[:, 12:18, 12:18] = 400.0  # bone
    bone = np.zeros(image.shape, dtype=bool)
    bone[:, 12:18, 12:18] = True
    native = without_contrast(image, bone, 0.0)
    assert np.allclose(native[:, 5:10, 5:10], 55.0)
    assert np.array_equal(native[:, 12:18, 12:18], image[:, 12:18, 12:18])
    assert np.array_equal(native[:, :4], image[:, :4])
    half = without_contrast(image, bone, 0.5)
    assert np.allclose(half[:, 5:10, 5:10], 55.0 + 0.5 * (300.0 - 55.0))
