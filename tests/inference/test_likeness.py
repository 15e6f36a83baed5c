from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_networks import linear_network, make_package

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.inference.likeness import Answer, answer, likeness
from contour.inference.package import Label
from contour.inference.predict import predict
from contour.inference.session import Network, SessionOptions, open_network

LABELS = (Label(1, "Body"), Label(2, "Heart"))


def network(folder: Path, slopes: list[float]) -> Network:
    return open_network(
        make_package(folder, linear_network(slopes, [0.0, 5.0, 3.0]), LABELS), SessionOptions(threads=1)
    )


@pytest.fixture(scope="module")
def volume() -> Volume:
    voxels = np.full((20, 30, 30), -1000, dtype=np.int16)
    voxels[5:15, 5:25, 5:25] = 0
    voxels[8:12, 10:20, 10:20] = 400
    geometry = Geometry.axial(voxels.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), "1.2.3")
    return Volume(voxels, geometry, Modality.CT)


def test_a_network_is_like_itself(tmp_path: Path, volume: Volume) -> None:
    found = answer(network(tmp_path, [0.0, 0.01, 0.02]), volume)
    same = likeness("made", found, found)
    assert (same.max_difference, same.same_winner, same.least_dice) == (0.0, 1.0, 1.0)
    assert same.largest_logit == pytest.approx(17.0)  # air: 3 - 0.02 x 1000
    assert [s.name for s in same.structures] == ["Body", "Heart"]
    assert all(s.voxels > 0 and s.voxels_different == 0 for s in same.structures)


def test_the_drawing_is_predicts(tmp_path: Path, volume: Volume) -> None:
    opened = network(tmp_path, [0.0, 0.01, 0.02])
    for kept, drawn in zip(answer(opened, volume).drawn, predict(opened, volume, ("Body", "Heart")), strict=True):
        np.testing.assert_array_equal(kept.mask_zyx, drawn.mask_zyx)


def test_a_difference_is_measured_where_it_is(tmp_path: Path, volume: Volume) -> None:
    ours = answer(network(tmp_path / "a", [0.0, 0.01, 0.02]), volume)
    logits = ours.logits_czyx.copy()
    logits[2, 0, 0, 0] += 40.0  # one voxel's winner changes
    heart = ours.drawn[1]
    moved = replace(heart, offset_zyx=(heart.offset_zyx[0], heart.offset_zyx[1], heart.offset_zyx[2] + 5))
    found = likeness("made", ours, Answer(logits, (ours.drawn[0], moved), 1.0))
    assert found.max_difference == pytest.approx(40.0)
    assert found.mean_difference == pytest.approx(40.0 / logits.size)
    assert found.same_winner == pytest.approx(1 - 1 / logits[0].size)
    assert found.relative_difference == pytest.approx(40.0 / 17.0)
    assert found.structures[0].dice == 1.0
    across = heart.mask_zyx.shape[2]
    assert found.structures[1].dice == pytest.approx((across - 5) / across)
    assert found.structures[1].voxels_different == 10 * heart.mask_zyx[:, :, 0].size


def test_what_was_drawn_nowhere_is_alike_and_apart_is_not(tmp_path: Path, volume: Volume) -> None:
    ours = answer(network(tmp_path, [0.0, 0.01, 0.02]), volume)
    heart = ours.drawn[1]
    nothing = replace(heart, mask_zyx=np.zeros((0, 0, 0), dtype=bool), offset_zyx=(0, 0, 0))
    apart = replace(heart, offset_zyx=(100, 100, 100))
    empty = Answer(ours.logits_czyx, (ours.drawn[0], nothing), 1.0)
    assert likeness("made", empty, empty).structures[1].dice == 1.0
    assert likeness("made", ours, empty).structures[1].dice == 0.0
    assert likeness("made", ours, Answer(ours.logits_czyx, (ours.drawn[0], apart), 1.0)).structures[1].dice == 0.0


def test_answers_of_different_networks_are_refused(tmp_path: Path, volume: Volume) -> None:
    ours = answer(network(tmp_path, [0.0, 0.01, 0.02]), volume)
    with pytest.raises(ValueError, match="not of one network"):
        likeness("made", ours, replace(ours, logits_czyx=ours.logits_czyx[:2]))
