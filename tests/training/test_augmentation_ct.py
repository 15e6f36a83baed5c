"""What makes CTs hard, on patches: what changes, what stays, and that the seed decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_training import tiny_config

from contour.imaging.preprocess import Preprocessing
from contour.training.augmentation_ct import (
    Armsd,
    Circled,
    ContrastMediumd,
    Streaksd,
    Tabled,
    hard_ct_transforms,
)
from contour.training.config import HardCtConfig
from contour.training.patches import patch_transform

PREPROCESSING = Preprocessing((3.0, 3.0, 3.0), (-1000.0, 500.0), -150.0, 300.0)
SHAPE = (32, 64, 80)
LUNG, BLOOD = 1, 2
BODY = (slice(None), slice(10, 44), slice(18, 62))


def anatomy() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A box of tissue in air (HU), with a lung and a vessel."""
    hu = np.full(SHAPE, -1000, dtype=np.float32)
    label = np.zeros(SHAPE, dtype=np.uint8)
    hu[BODY] = 30
    hu[:, 16:30, 24:36] = -800
    label[:, 16:30, 24:36] = LUNG
    hu[:, 20:26, 44:50] = 120
    label[:, 20:26, 44:50] = BLOOD
    return hu, label


def patch(hu: NDArray[np.float32], label: NDArray[np.uint8]) -> dict[str, torch.Tensor]:
    image = (hu - PREPROCESSING.mean) / PREPROCESSING.std
    return {"image": torch.from_numpy(image[None].copy()), "label": torch.from_numpy(label[None].copy())}


def changed(transform: object, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    transform.set_random_state(seed=seed)  # type: ignore[attr-defined]  # MONAI's, untyped
    found = transform(patch(*anatomy()))  # type: ignore[operator]
    hu = found["image"][0].numpy() * PREPROCESSING.std + PREPROCESSING.mean
    return hu, found["label"][0].numpy()


TRANSFORMS = {
    "circle": Circled(PREPROCESSING, 1.0),
    "streaks": Streaksd(PREPROCESSING, 1.0),
    "table": Tabled(PREPROCESSING, 1.0),
    "arms": Armsd(PREPROCESSING, 1.0),
    "contrast": ContrastMediumd(PREPROCESSING, 1.0, (BLOOD,)),
}


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_the_seed_decides_and_something_changes(name: str) -> None:
    transform = TRANSFORMS[name]
    images = [changed(transform, seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()
    assert all(-1000.1 <= image.min() <= image.max() <= 500.1 for image in images)


@pytest.mark.parametrize("seed", range(4))
def test_outside_the_field_there_is_neither_image_nor_label(seed: int) -> None:
    hu, label = anatomy()
    after, labels = changed(TRANSFORMS["circle"], seed)
    gone = (after == -1000) & (hu > -1000)
    np.testing.assert_array_equal(labels, np.where(gone, 0, label))
    np.testing.assert_allclose(after[~gone], hu[~gone], atol=1e-3)
    assert not gone.all()
    assert (gone == gone[:1]).all()  # every slice alike


@pytest.mark.parametrize("name", ["table", "arms"])
@pytest.mark.parametrize("seed", range(4))
def test_what_lies_around_the_body_is_in_the_air_around_it(name: str, seed: int) -> None:
    hu, label = anatomy()
    after, labels = changed(TRANSFORMS[name], seed)
    new = np.abs(after - hu) > 1
    assert not new[BODY].any()  # nor in the lung, though it is air
    np.testing.assert_array_equal(labels, label)
    rows, columns = (np.flatnonzero(new.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if name == "table":
        assert rows.size
        assert rows[-1] >= 44
        assert np.flatnonzero(new[:, :, BODY[2]].any(axis=(0, 2)))[0] >= 44  # a hollow one rises beside the body
    else:
        assert columns.size
        assert columns[-1] < 18 or columns[0] >= 62


def test_a_lung_cut_open_is_no_room() -> None:
    hu = np.full(SHAPE, -800, dtype=np.float32)
    hu[:, :30] = 30
    label = np.full(SHAPE, LUNG, dtype=np.uint8)
    label[:, :30] = 0
    table = Tabled(PREPROCESSING, 1.0)
    table.set_random_state(seed=0)
    after = table(patch(hu, label))["image"][0].numpy() * PREPROCESSING.std + PREPROCESSING.mean
    np.testing.assert_allclose(after, hu, atol=1e-3)


def test_metal_and_its_streaks_are_in_some_slices() -> None:
    hu, label = anatomy()
    after, labels = changed(TRANSFORMS["streaks"], 3)
    np.testing.assert_array_equal(labels, label)
    slices = np.flatnonzero((np.abs(after - hu) > 1).any(axis=(1, 2)))
    assert 1 <= slices.size < SHAPE[0]
    np.testing.assert_array_equal(np.diff(slices), 1)
    assert (after[slices].max(axis=(1, 2)) > 499).all()  # metal, as far as the clip shows it


@pytest.mark.parametrize("seed", range(4))
def test_contrast_medium_changes_blood_alone_and_never_below_native(seed: int) -> None:
    hu, label = anatomy()
    after, _ = changed(TRANSFORMS["contrast"], seed)
    np.testing.assert_allclose(after[label != BLOOD], hu[label != BLOOD], atol=1e-3)
    values = np.unique(np.round(after[label == BLOOD], 2))
    assert values.size == 1
    assert 40.0 <= values[0] <= 270.0


def test_what_is_not_asked_for_is_not_in_the_chain() -> None:
    config = tiny_config(1)
    assert hard_ct_transforms(config) == []
    hard = HardCtConfig(circle=0.1, streaks=0.2, contrast=0.3, blood=("Lung_R",))
    asked = replace(config, augmentation=replace(config.augmentation, hard_ct=hard))
    chain = hard_ct_transforms(asked)
    assert [type(t) for t in chain] == [ContrastMediumd, Streaksd, Circled]
    assert chain[0].blood == (2,)
    assert len(patch_transform(asked).transforms) == len(patch_transform(config).transforms) + 3


@pytest.mark.parametrize("wrong", [{"arms": 1.5}, {"table": -0.1}, {"contrast": 0.2}])
def test_probabilities_are_such(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"probability|blood"):
        HardCtConfig(**wrong)  # type: ignore[arg-type]
