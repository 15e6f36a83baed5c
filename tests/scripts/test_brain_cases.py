"""Cases of heads on MR: sides, tissues, what is known where, and what is held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from contour.config import load_config, shipped_folder
from contour.core.geometry import Geometry
from contour.imaging.nifti import write_nifti
from contour.training.config import TrainingConfig
from contour.training.prepared import load_prepared
from scripts.brain_mr.prepare import (
    CORTEX_RANGE_MM,
    CROPS_SHARE,
    FRAME,
    STRUCTURES,
    WHOLE_BRAIN,
    head_labels,
    head_tissues,
    mirror_axis,
    prepare,
    side_of,
    whole_brain,
)
from scripts.brain_mr.validation import UNITS, contrasts, made_head

SHAPE = (40, 44, 42)
BRAIN, STEM, HIPPOCAMPUS_L, HIPPOCAMPUS_R, CSF, BONE, SKIN, SOFT = 1, 2, 3, 4, 13, 19, 21, 26


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    found = load_config(shipped_folder("configs") / "training" / "brain_mr.yaml", TrainingConfig)
    return replace(found, preprocessing=replace(found.preprocessing, spacing_zyx_mm=(2.0, 2.0, 2.0)))


def geometry(shape_zyx: tuple[int, int, int] = SHAPE) -> Geometry:
    return Geometry.axial(shape_zyx, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), FRAME)


def banana(bow_voxels: float) -> np.ndarray:
    """A tube along y whose middle lies `bow_voxels` further to the patient's left (+x) than its ends."""
    z, y, x = np.mgrid[:24, :44, :32]
    along = (y - 22) / 18
    centre = 14 + bow_voxels * (1 - along**2)
    return (np.abs(along) <= 1) & ((z - 12) ** 2 + (x - centre) ** 2 <= 9)


def head() -> np.ndarray:
    """Shells: skin, bone, fluid, brain with a cleft of fluid; stem, hippocampi and soft tissue in it."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    radius = np.sqrt((z - 20) ** 2 + (y - 22) ** 2 + (x - 21) ** 2)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for outer, value in ((19.5, SKIN), (18, SOFT), (16.5, BONE), (15, CSF), (13, BRAIN)):
        labels[radius <= outer] = value
    labels[22:34, 20:22, 20:22] = CSF
    labels[8:14, 20:24, 19:24] = STEM
    labels[18:21, 16:26, 26:29] = HIPPOCAMPUS_L
    labels[18:21, 16:26, 13:16] = HIPPOCAMPUS_R
    return labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads to learn from, one of them with a rough hippocampus, and one held out; three crops, one held out."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("seg_01", "seg_07", "seg_18"):
        path = folder / "brain" / "synthseg_head_labels" / name
        path.mkdir(parents=True)
        write_nifti(head(), geometry(), path / "labels.nii.gz")
    for name, bow in (("001", 4.0), ("003", -4.0), ("005", 4.0)):
        path = folder / "brain" / "msd_hippocampus" / f"hippocampus_{name}"
        path.mkdir(parents=True)
        drawn = banana(bow)
        parts = np.where(drawn, 1 + (np.mgrid[:24, :44, :32][1] > 22), 0).astype(np.uint8)
        write_nifti(
            (400 * drawn + 100 + np.mgrid[:24, :44, :32][2]).astype(np.int16),
            geometry(drawn.shape),
            path / "image.nii.gz",
        )
        write_nifti(parts, geometry(drawn.shape), path / "labels.nii.gz")
    return folder


@pytest.mark.parametrize(("bow", "side"), [(4.0, "L"), (-4.0, "R")])
def test_a_hippocampus_bows_away_from_the_midline(bow: float, side: str) -> None:
    grid = geometry((24, 44, 32))
    assert side_of(banana(bow), grid) == side
    # The patient's side, however the voxels are stored: here x runs to the right.
    turned = Geometry((24, 44, 32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, -1, 0), (-1, 0, 0)), FRAME)
    assert side_of(banana(bow), turned) == {"L": "R", "R": "L"}[side]
    assert mirror_axis(turned) == 2


def test_a_straight_hippocampus_has_no_side() -> None:
    with pytest.raises(ValueError, match=r"bow of 0\.0 mm"):
        side_of(banana(0.0), geometry((24, 44, 32)))


def test_the_brain_is_drawn_with_its_sulci_and_without_the_fluid_around() -> None:
    labels = head()
    brain = whole_brain(labels)
    assert brain[28, 21, 21]  # in the cleft
    assert brain[np.isin(labels, (BRAIN, STEM, HIPPOCAMPUS_L, HIPPOCAMPUS_R))].all()
    assert not brain[20, 22, 35]  # fluid on the surface of a ball
    assert not brain[np.isin(labels, (0, BONE, SKIN, SOFT))].any()
    assert not whole_brain(labels, ())[28, 21, 21]


def test_every_voxel_of_a_head_has_its_tissue(config: TrainingConfig) -> None:
    labels = head()
    codes = head_tissues(labels, config, np.random.default_rng(0))
    assert config.synthesis is not None
    names = np.array(config.synthesis.names)[codes]
    assert set(names[labels == 0]) == {"air"}
    assert set(names[labels == SOFT]) == {"soft", "fat", "muscle"}
    assert set(names[np.isin(labels, (HIPPOCAMPUS_L, HIPPOCAMPUS_R))]) == {"hippocampus"}
    depth = ndimage.distance_transform_edt(np.isin(labels, WHOLE_BRAIN))
    assert set(names[(labels == BRAIN) & (depth > CORTEX_RANGE_MM[1])]) == {"white_matter"}
    assert set(names[(labels == BRAIN) & (depth <= CORTEX_RANGE_MM[0])]) == {"cortex"}
    with pytest.raises(ValueError, match="needs the tissues"):
        head_tissues(labels, replace(config, synthesis=None), np.random.default_rng(0))


def test_structures_lie_within_the_brain_label_by_label(config: TrainingConfig) -> None:
    found = head_labels(head(), config)
    names = ["background", *(label.name for label in config.labels)]
    for name in ("Brainstem", "Hippocampus_L", "Hippocampus_R"):
        assert set(found[head() == STRUCTURES[name]]) == {names.index(name)}
    assert found[28, 21, 21] == names.index("Brain")


def test_cases_weights_and_what_is_held_out(data: Path, tmp_path: Path, config: TrainingConfig) -> None:
    found = prepare(data, tmp_path, config)
    names = [path.stem for path in found.cases]
    crops = [f"hippocampus_{n}{end}" for n in ("001", "003") for end in ("", "_mirrored")]
    assert names == ["seg_01", "seg_07", *crops]
    assert [path.stem for path in found.validation] == ["hippocampus_005"]
    assert sum(found.weights) == pytest.approx(1)
    assert sum(found.weights[2:]) == pytest.approx(CROPS_SHARE)
    written = [path.stat().st_mtime_ns for path in found.cases]
    assert [path.stat().st_mtime_ns for path in prepare(data, tmp_path, config).cases] == written

    labels = [label.name for label in config.labels]
    left, right = labels.index("Hippocampus_L") + 1, labels.index("Hippocampus_R") + 1
    plain, mirrored = (load_prepared(tmp_path / "cases" / f"hippocampus_001{end}.npz") for end in ("", "_mirrored"))
    assert set(np.unique(plain.labels_zyx)) == {0, left}
    assert set(np.unique(mirrored.labels_zyx)) == {0, right}
    # Where the structure lies in the mirrored image, its values are: a mirrored picture, not a mirrored mask alone.
    for case, value in ((plain, left), (mirrored, right)):
        assert case.image_zyx[case.labels_zyx == value].mean() > case.image_zyx[case.labels_zyx == 0].mean() + 1
        assert [labels[i] for i in np.flatnonzero(case.drawn[0])] == ["Hippocampus_L", "Hippocampus_R"]
    other = load_prepared(tmp_path / "cases" / "hippocampus_003.npz")
    assert set(np.unique(other.labels_zyx)) == {0, right}


def test_a_rough_label_teaches_nothing_of_itself(data: Path, tmp_path: Path, config: TrainingConfig) -> None:
    prepare(data, tmp_path, config)
    labels = [label.name for label in config.labels]
    rough, whole = (load_prepared(tmp_path / "cases" / f"{name}.npz") for name in ("seg_07", "seg_01"))
    value = labels.index("Hippocampus_L") + 1
    assert whole.drawn.all()
    assert [labels[i] for i in np.flatnonzero(~rough.drawn[0])] == ["Hippocampus_L"]
    assert np.any(whole.labels_zyx == value)
    assert set(rough.labels_zyx[whole.labels_zyx == value]) == {labels.index("Brain") + 1}
    assert rough.tissues_zyx is not None
    assert rough.image_zyx.size == 0


def test_made_heads_have_the_contrast_they_are_called_after(data: Path, config: TrainingConfig) -> None:
    source = data / "brain" / "synthseg_head_labels" / "seg_18"
    labels = head()
    means = {}
    for name, synthesis in contrasts(config).items():
        case = made_head(name, source, synthesis, config)
        assert np.array_equal(case.volume.voxels_zyx, made_head(name, source, synthesis, config).volume.voxels_zyx)
        voxels = case.volume.voxels_zyx / UNITS
        means[name] = {v: voxels[labels == v].mean() for v in (0, STEM, CSF)}
        assert means[name][0] < 0.15
        assert {s.name for s in case.record.structures} == {"Brain", *STRUCTURES}
    assert means["T1"][STEM] > means["T1"][CSF] + 0.2
    assert means["T2"][CSF] > means["T2"][STEM] + 0.2
    assert means["T1_inverted"][CSF] > means["T1_inverted"][STEM] + 0.2
