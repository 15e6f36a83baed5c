"""The bench of robustness, on the phantom and a network that tells lungs and bone by their HU."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from contour.core.structures import InterpretedType, Structure
from contour.imaging.nifti import write_nifti
from contour.imaging.phantom import Phantom
from contour.inference.engine import NetworkEngine
from contour.inference.package import load_package
from contour.inference.session import Engine, SessionOptions, open_network
from scripts.bench.robustness import Outcome, RealCase, dice, drawing, read_case, row, run, tables, write_picture


@pytest.fixture(scope="module")
def network(tiny_models: Path) -> NetworkEngine:
    return open_network(load_package(tiny_models / "tiny"), SessionOptions(engine=Engine.CPU, threads=1))


@pytest.fixture(scope="module")
def case(thorax: Phantom) -> RealCase:
    """The phantom, its lungs as the one reference."""
    shape = thorax.volume.geometry.shape_zyx
    left, right = (s for s in thorax.structures.structures if s.name in ("Lung_L", "Lung_R"))
    both = left.full_mask(shape) | right.full_mask(shape)
    return RealCase(thorax.volume, (replace(left, name="Lungs", mask_zyx=both, offset_zyx=(0, 0, 0)),))


@pytest.fixture(scope="module")
def outcomes(case: RealCase, network: NetworkEngine) -> dict[str, Outcome]:
    words = ("stored sagittal", "slices 5", "couch none", "circle", "metal")
    return {outcome.trial: outcome for outcome in run(partial(drawing, network), case, words)}


def test_the_first_row_is_the_case_itself(outcomes: dict[str, Outcome]) -> None:
    first = next(iter(outcomes.values()))
    assert first.trial == "as it is"
    assert first.against_plain("Lungs") == 1
    assert first.against_reference("Lungs") > 0.85


def test_other_storage_is_the_same_to_the_voxel(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["stored sagittal"].against_plain("Lungs") == 1
    assert outcomes["stored sagittal"].against_plain("Bone") == 1


@pytest.mark.parametrize("change", ["slices 5 mm", "couch none", "field a circle of .6", "metal beside the spine"])
def test_what_hu_alone_tells_is_hardly_lost(change: str, outcomes: dict[str, Outcome]) -> None:
    plain = outcomes["as it is"].against_reference("Lungs")
    assert outcomes[change].against_reference("Lungs") > plain - 0.05


def test_tables_and_a_picture(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    text = tables([row(outcome) for outcome in outcomes.values()])
    assert text.count("| stored sagittal |") == 2
    assert "| change | Lungs |" in text
    assert "| change | Lungs | Bone |" in text
    write_picture(outcomes["field a circle of .6"], tmp_path)
    assert (tmp_path / "field_a_circle_of_.6.png").stat().st_size > 10_000


def test_a_case_of_nifti_files(thorax: Phantom, network: NetworkEngine, tmp_path: Path) -> None:
    write_nifti(thorax.volume.voxels_zyx, thorax.volume.geometry, tmp_path / "image.nii.gz")
    bone = (thorax.volume.voxels_zyx > 300).astype(np.uint8)
    write_nifti(3 * bone, thorax.volume.geometry, tmp_path / "labels.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps({"Bone": 3, "Lungs": 4, "other": 5}))
    case = read_case(tmp_path, network)
    assert [s.name for s in case.references] == ["Bone"]
    np.testing.assert_array_equal(case.references[0].full_mask(bone.shape), bone > 0)


def test_dice_of_boxes() -> None:
    def box(start: int, stop: int) -> Structure:
        return Structure(
            "S", (0, 0, 0), InterpretedType.ORGAN, np.ones((2, 2, stop - start), dtype=bool), (0, 0, start)
        )

    assert dice(box(0, 4), box(0, 4)) == 1
    assert dice(box(0, 4), box(2, 6)) == 0.5
    assert dice(box(0, 4), box(6, 8)) == 0
    empty = replace(box(0, 1), mask_zyx=np.zeros((0, 0, 0), dtype=bool))
    assert dice(box(0, 4), empty) == 0
    assert np.isnan(dice(empty, empty))
