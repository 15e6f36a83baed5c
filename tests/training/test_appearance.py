from dataclasses import replace

import numpy as np
import pytest
from tiny_training import tiny_cases, tiny_config

from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.training.appearance import SynthesisConfig, TissueLook, draw_appearance
from contour.training.patches import PatchDataset
from contour.training.prepared import load_prepared, prepare_tissue_map, save_prepared

AIR = TissueLook("air", (-1000.0, -1000.0))
BLOOD = TissueLook("blood", (40.0, 40.0), enhancement=1.0)
BONE = TissueLook("bone", (300.0, 700.0), grain=(20.0, 20.0))
CUBES = (2.0, 2.0, 2.0)


def halves() -> np.ndarray:
    codes = np.zeros((24, 24, 24), dtype=np.uint8)
    codes[:, :, 8:16] = 1
    codes[:, :, 16:] = 2
    return codes


def plain(*tissues: TissueLook) -> SynthesisConfig:
    return SynthesisConfig(tissues, blur_voxels=(0.0, 0.0))


def test_each_tissue_has_a_value_of_its_range_and_its_own_grain():
    image = draw_appearance(halves(), plain(AIR, BLOOD, BONE), CUBES, np.random.RandomState(3))
    assert np.all(image[..., :8] == -1000.0)
    assert np.all(image[..., 8:16] == 40.0)
    assert 300 < image[..., 16:].mean() < 700
    assert image[..., 16:].std() == pytest.approx(20, rel=0.05)


def test_contrast_medium_is_shared_by_what_takes_it_up_and_absent_in_a_third():
    liver = replace(BLOOD, name="liver", enhancement=0.5)
    config = replace(plain(AIR, BLOOD, liver), contrast_hu=(100.0, 200.0))
    rises = []
    for seed in range(200):
        image = draw_appearance(halves(), config, CUBES, np.random.RandomState(seed))
        blood, organ = image[0, 0, 12] - 40, image[0, 0, 20] - 40
        assert organ == pytest.approx(blood / 2)
        rises.append(blood)
    present = np.array(rises) > 0
    assert present.mean() == pytest.approx(2 / 3, abs=0.1)
    assert np.array(rises)[present].min() >= 100
    assert max(rises) <= 200


def test_usual_means_come_as_often_as_asked():
    white = TissueLook("white matter", (0.0, 1.0), usual=(0.7, 0.7))
    config = replace(plain(TissueLook("air", (0.0, 0.0)), white), usual=0.5)
    codes = np.ones((4, 4, 4), dtype=np.uint8)
    values = [draw_appearance(codes, config, CUBES, np.random.RandomState(seed))[0, 0, 0] for seed in range(200)]
    assert np.mean(np.isclose(values, 0.7)) == pytest.approx(0.5, abs=0.1)


def test_thick_slices_blur_along_one_axis_and_keep_the_place():
    codes = np.zeros((40, 40, 40), dtype=np.uint8)
    codes[10:30, 10:30, 10:30] = 1
    config = replace(plain(TissueLook("air", (0.0, 0.0)), TissueLook("cube", (1.0, 1.0))), thickest_slice_mm=8.0)
    changed = 0
    for seed in range(20):
        image = draw_appearance(codes, config, CUBES, np.random.RandomState(seed))
        soft = [np.count_nonzero((image > 0.02) & (image < 0.98)) > 0]
        centre = [float((image.sum(axis=tuple(b for b in range(3) if b != a)) * np.arange(40)).sum()) for a in range(3)]
        assert np.array(centre) / image.sum() == pytest.approx(19.5, abs=0.5)
        changed += any(soft)
    assert 4 <= changed <= 16


def test_bias_changes_the_gain_smoothly_and_gamma_keeps_the_order():
    config = replace(plain(TissueLook("air", (0.0, 0.0)), TissueLook("a", (0.4, 0.4)), TissueLook("b", (0.8, 0.8))))
    flat = draw_appearance(halves(), replace(config, gamma=0.5), CUBES, np.random.RandomState(1))
    assert flat[0, 0, 0] < flat[0, 0, 12] < flat[0, 0, 20]
    uneven = draw_appearance(halves(), replace(config, bias=0.5), CUBES, np.random.RandomState(2))
    inside = uneven[:, :, 17:]
    assert inside.std() > 0.01
    assert np.abs(np.diff(inside, axis=0)).max() < 0.25 * inside.mean()


def test_the_same_number_gives_the_same_patch_of_a_case_without_an_image(tmp_path):
    data = tiny_cases(tmp_path)
    config = replace(tiny_config(4), synthesis=plain(AIR, BLOOD, BONE))
    path = tmp_path / "tissues.npz"
    geometry = Geometry((24, 24, 32), (3.0, 3.0, 3.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)), "1.2.3")
    labels = np.asarray(load_prepared(data.cases[0]).labels_zyx)
    drawn = np.ones(2, dtype=bool)
    case = prepare_tissue_map(
        "tissues", Volume(labels.astype(np.int16), geometry, Modality.CT), labels, drawn, config.preprocessing
    )
    assert case.tissues_zyx is not None
    assert np.array_equal(case.tissues_zyx, labels)
    save_prepared(case, path)
    dataset = PatchDataset((path,), (1.0,), config)
    one, again, other = dataset[5], dataset[5], dataset[6]
    assert one["image"].equal(again["image"])
    assert not one["image"].equal(other["image"])
    assert one["image"].shape == (1, *config.patch_shape_zyx)
    bone = one["image"][one["label"] == 2]
    air = one["image"][one["label"] == 0]
    assert bone.median() > air.median() + 2  # in spreads of 300 HU


def test_a_case_without_an_image_needs_to_be_told_how_tissues_look(tmp_path):
    data = tiny_cases(tmp_path)
    case = load_prepared(data.cases[0])
    save_prepared(replace(case, tissues_zyx=case.labels_zyx), data.cases[0])
    with pytest.raises(ConfigError, match="tissues and no image"):
        PatchDataset(data.cases, data.weights, tiny_config(4))


@pytest.mark.parametrize(
    ("tissues", "message"),
    [((AIR, replace(BLOOD, name="air")), "each name once"), ((), "at least one")],
)
def test_tissues_need_names_of_their_own(tissues, message):
    with pytest.raises(ValueError, match=message):
        SynthesisConfig(tissues)


def test_ranges_ascend():
    with pytest.raises(ValueError, match="mean"):
        TissueLook("fat", (-80.0, -120.0))
