from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contour.cases.overrides import load_overrides
from contour.cases.store import Status
from contour.config import load_config, shipped_folder
from contour.core.geometry import Geometry
from contour.imaging.nifti import write_nifti
from contour.training.config import TrainingConfig
from contour.training.prepared import PreparedCase
from scripts.head_ct.heads import Making, rater_head, whole_head
from scripts.head_ct.openkbp import HELD_OUT_WRONG, OVERRIDES, cleaned_case, list_patients
from scripts.head_ct.prepare import HELD_OUT_SCANS, head_case, training_heads, training_scans
from scripts.head_ct.surroundings import on_table
from scripts.head_ct.two_raters import compare_raters, limits_table

COARSE_MM = 6.0


@pytest.fixture(scope="module")
def config() -> TrainingConfig:
    return load_config(shipped_folder("configs") / "training" / "head_ct.yaml", TrainingConfig)


@pytest.fixture
def making(config: TrainingConfig) -> Making:
    assert config.synthesis is not None
    return Making(COARSE_MM, config.synthesis, np.random.default_rng(3))


def test_a_table_leaves_the_body_as_it_is(config: TrainingConfig) -> None:
    hu = np.full((20, 40, 40), -1024.0, dtype=np.float32)
    z, y, x = np.ogrid[:20, :40, :40]
    body = (np.hypot(y - 20, x - 20) < 12) & (z >= 0)
    hu[body] = 40.0
    values = ((np.clip(hu, *config.preprocessing.clip)) / config.preprocessing.std).astype(np.float16)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[5:10, 18:22, 18:22] = 2
    case = PreparedCase("one", values, labels, np.zeros_like(labels), np.ones((1, 10), dtype=bool))
    found = on_table(case, config.preprocessing, np.random.default_rng(0))
    room = (found.image_zyx.shape[2] - 40) // 2
    inner = found.image_zyx[:, :40, room:-room]
    np.testing.assert_array_equal(inner[body], values[body])
    np.testing.assert_array_equal(found.labels_zyx[:, :40, room:-room], labels)
    assert np.count_nonzero(found.labels_zyx) == np.count_nonzero(labels)
    behind = found.image_zyx[:, 33:].astype(np.float32) * config.preprocessing.std
    assert behind.max() > -500  # a shell of the table
    assert behind.max() < 150


def test_raters_are_compared_where_both_drew(tmp_path: Path) -> None:
    grid = Geometry.axial((12, 30, 30), (2.5, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1")
    for rater, shift in (("oncologist", 0), ("radiographer", 2)):
        labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
        labels[2:8, 5:15, 5 + shift : 15 + shift] = 1
        labels[2:8, 20:28, 5:15] = 2 if rater == "oncologist" else 0
        folder = tmp_path / f"scan_{rater}"
        folder.mkdir()
        write_nifti(labels, grid, folder / "labels.nii.gz")
    every = (
        "Brain", "Brainstem", "Spinal_Canal", "Spinal_Cord", "Mandible", "Parotid_L", "Parotid_R", "Submandibular_L",
        "Submandibular_R", "Orbit_L", "Orbit_R", "Lens_L", "Lens_R", "Optic_Nerve_L", "Optic_Nerve_R", "Lacrimal_L",
        "Lacrimal_R", "Cochlea_L", "Cochlea_R", "Lung_L", "Lung_R",
    )  # fmt: skip
    values = {name: 10 + i for i, name in enumerate(every)} | {"Brainstem": 1, "Mandible": 2}
    (tmp_path / "labels.json").write_text(str(values).replace("'", '"'), encoding="utf-8")
    (found,) = compare_raters(tmp_path)
    assert found.name == "Brainstem"
    assert found.agreement.dice == pytest.approx(0.8)
    assert "| Brainstem | 1 | 0.800 (0.80) | 0.89 |" in limits_table((found,))


@pytest.mark.data
def test_overrides_keep_to_their_side_of_the_split(shared_data: Path) -> None:
    training = {p.name: p.training for p in list_patients(shared_data / "headneck" / "openkbp")}
    assert all(training[o.case] for o in load_overrides(OVERRIDES).overrides)
    assert not any(training[o.case] for o in load_overrides(HELD_OUT_WRONG).overrides)


@pytest.mark.data
def test_wrong_references_teach_nothing(shared_data: Path) -> None:
    openkbp = shared_data / "headneck" / "openkbp"
    patients = {p.name: p for p in list_patients(openkbp)}
    larynx = cleaned_case(openkbp, patients["pt_163"]).record.structure("Larynx")
    assert larynx.status is Status.NOT_DRAWN
    stem = cleaned_case(openkbp, patients["pt_40"]).record.structure("Brainstem")
    assert stem.status is Status.PARTIAL
    assert stem.drawn_slices == (36, 47)
    # A held-out case is as it was drawn, wrong or not.
    scrap = cleaned_case(openkbp, patients["pt_206"]).record.structure("Larynx")
    assert scrap.status is Status.DRAWN


@pytest.mark.data
def test_a_whole_head(shared_data: Path, config: TrainingConfig, making: Making) -> None:
    heads = shared_data / "brain" / "synthseg_head_labels"
    head = whole_head(heads, "seg_02", making)
    brain, stem = head.mask("Brain"), head.mask("Brainstem")
    assert 1000 < brain.sum() * COARSE_MM**3 / 1000 < 1800
    assert np.flatnonzero(brain.any(axis=(1, 2)))[0] >= np.flatnonzero(stem.any(axis=(1, 2)))[0] - 1
    left, right = (np.argwhere(head.mask(name)).mean(axis=0) for name in ("Eye_L", "Eye_R"))
    assert left[2] > right[2]  # x grows to the left
    assert left[1] < np.argwhere(stem).mean(axis=0)[1]  # y grows to the back
    case = head_case(head, "seg_02", ("Brain", "Brainstem"), config)
    assert case.tissues_zyx is not None
    assert case.tissues_zyx.shape == case.labels_zyx.shape
    names = [label.name for label in config.labels]
    assert [names[i] for i in np.flatnonzero(case.drawn[0])] == ["Brain", "Brainstem"]
    assert not set(training_heads(shared_data)) & {"seg_17", "seg_18", "seg_19", "seg_20"}


@pytest.mark.data
@pytest.mark.slow
def test_a_rater_s_head_is_wrapped_in_another_one(shared_data: Path, making: Making) -> None:
    lender = shared_data / "brain" / "synthseg_head_labels" / "seg_02"
    scan = training_scans(shared_data)[0]
    assert scan not in HELD_OUT_SCANS
    box = (("Eye_L", "Eye_R", "Brainstem"), 30.0)
    head = rater_head(
        shared_data / "headneck" / "tcia_two_raters", f"{scan}_oncologist", lender, replace(making, around=box)
    )
    bone = np.isin(head.codes_zyx, [making.code("bone_shell"), making.code("bone_spongy")])
    inside = head.mask("Brain")
    assert bone[inside].mean() < 0.02
    assert bone.mean() > 0.05  # the skull that the rater's label map does not have
    assert (head.codes_zyx[head.mask("Eye_L")] == making.code("eye")).all()
