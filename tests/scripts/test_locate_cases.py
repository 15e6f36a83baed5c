"""Cases of the network that locates: what HU find, and what a case says of what it does not show."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contour.config import load_config, shipped_folder
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.inference.organs import organ
from contour.library import load_protocol
from contour.training.config import TrainingConfig
from contour.training.prepared import prepare_case
from scripts.locate_ct.cases import OF_TOTALSEGMENTATOR, brain_of, lungs_of, synthetic_head, trunk_case
from scripts.locate_ct.prepare import HELD_OUT_ABDOMEN
from scripts.locate_ct.recipe import LOCATE_CT

SHAPE, SPACING = (60, 50, 60), (3.0, 4.0, 4.0)
AIR, FAT, SOFT, BRAIN, BONE = -1000, -100, 50, 35, 800


def grid() -> Geometry:
    return Geometry.axial(SHAPE, SPACING, (0.0, 0.0, 0.0), "2.25.1")


def from_centre(z: float, y: float, x: float) -> NDArray[np.float64]:
    """Distances in mm to a point given in mm."""
    points = np.stack(np.meshgrid(*(np.arange(n) * mm for n, mm in zip(SHAPE, SPACING, strict=True)), indexing="ij"))
    return np.asarray(np.linalg.norm(points - np.array([z, y, x])[:, None, None, None], axis=0))


def from_axis(y: float, x: float) -> NDArray[np.float64]:
    """(1, y, x): distances in mm to a line along z."""
    ys, xs = np.arange(SHAPE[1])[:, None] * SPACING[1], np.arange(SHAPE[2]) * SPACING[2]
    return np.asarray(np.hypot(ys - y, xs - x))[None]


def config() -> TrainingConfig:
    return load_config(shipped_folder("configs") / "training" / "locate_ct.yaml", TrainingConfig)


def test_the_brain_is_what_hangs_together_with_the_brainstem_inside_the_skull() -> None:
    head = from_centre(110, 100, 120)
    voxels = np.full(SHAPE, AIR, dtype=np.int16)
    voxels[head < 80], voxels[head < 70], voxels[head < 60] = SOFT, BONE, BRAIN
    canal = from_axis(100, 120)
    voxels[(canal < 6) & (head >= 60) & (np.arange(60)[:, None, None] * 3 < 110)] = BRAIN  # the cord leaves the skull
    stem: Mask = (canal < 10) & (head < 60) & (np.arange(60)[:, None, None] * 3 < 75)
    found = brain_of(Volume(voxels, grid(), Modality.CT), stem)
    assert found is not None
    true = head < 60
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.9
    assert not found[: int(np.flatnonzero(stem.any(axis=(1, 2)))[0])].any()
    nothing = np.full(SHAPE, BONE, dtype=np.int16)
    thin = stem & (canal < 3)
    nothing[thin] = SOFT
    assert brain_of(Volume(nothing, grid(), Modality.CT), thin) is None


@pytest.mark.parametrize("flipped", [False, True])
def test_tips_of_lungs_are_wide_air_at_the_lower_end_by_side(*, flipped: bool) -> None:
    voxels = np.full(SHAPE, AIR, dtype=np.int16)
    voxels[:, 8:-8, 6:-6] = SOFT
    lungs = {"Lung_L": from_centre(0, 100, 164) < 34, "Lung_R": from_centre(0, 100, 76) < 34}
    for mask in lungs.values():
        voxels[mask] = -850
    voxels[np.broadcast_to(from_axis(100, 120) < 8, SHAPE)] = -950  # the windpipe
    voxels[from_centre(150, 100, 120) < 16] = -1000  # the mouth, wide but not at the lower end
    geometry = grid()
    if flipped:  # stored from the head downwards
        voxels = voxels[::-1].copy()
        lungs = {name: mask[::-1] for name, mask in lungs.items()}
        axes = ((0.0, 0.0, -1.0), *geometry.axes_lps[1:])
        geometry = Geometry(SHAPE, SPACING, (0.0, 0.0, 177.0), axes, "2.25.1")
    found = lungs_of(Volume(voxels, geometry, Modality.CT))
    for name, mask in lungs.items():
        assert 2 * (found[name] & mask).sum() / (found[name].sum() + mask.sum()) > 0.9, name
    assert lungs_of(Volume(np.full(SHAPE, SOFT, dtype=np.int16), geometry, Modality.CT))["Lung_L"].sum() == 0


def test_labels_protocol_and_organs_agree() -> None:
    names = [label.name for label in config().labels]
    assert set(OF_TOTALSEGMENTATOR) <= set(names)
    assert [rule.name for rule in load_protocol(LOCATE_CT.protocol).structures] == names
    for name in names:
        known = organ(name)
        assert known is not None
        assert known.usual_ml > 0
        assert known.low_mm < known.high_mm


@pytest.mark.data
def test_a_made_head_shows_brain_and_eyes_and_says_that_it_has_no_liver(shared_data: Path) -> None:
    case = synthetic_head(shared_data, "seg_17", 0)
    drawn = {s.name: case.structures.volume_ml(s) for s in case.structures.structures}
    assert 900 < drawn["Brain"] < 2200
    assert 3 < drawn["Eye_L"] < 15
    prepared = prepare_case(case, config().labels, config().preprocessing)
    known = dict(zip((label.name for label in config().labels), prepared.drawn.all(axis=0), strict=True))
    assert known["Liver"]
    assert known["Brain"]
    assert not known["Mandible"]
    assert prepared.image_zyx.shape == prepared.labels_zyx.shape
    left, right = (np.argwhere(prepared.labels_zyx == i)[:, 2].mean() for i in (2, 3))
    assert left > right


@pytest.mark.data
def test_an_abdomen_has_its_organs_on_their_sides(shared_data: Path) -> None:
    case = trunk_case(shared_data, HELD_OUT_ABDOMEN)
    prepared = prepare_case(case, config().labels, config().preprocessing)
    at = {label.name: np.argwhere(prepared.labels_zyx == i) for i, label in enumerate(config().labels, start=1)}
    assert at["Kidney_L"][:, 2].mean() > at["Spine_L"][:, 2].mean() > at["Kidney_R"][:, 2].mean()
    assert at["Liver"][:, 2].mean() < at["Spleen"][:, 2].mean()
    assert at["Sacrum"][:, 0].mean() < at["Kidney_R"][:, 0].mean() < at["Liver"][:, 0].mean()
