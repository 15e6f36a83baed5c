from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from case_folders import NAMES, save_boxes
from tiny_training import tiny_config

from contour.cases.store import CaseStructure, Status
from contour.config import load_config
from contour.core.errors import ConfigError
from contour.training import propose as module
from contour.training.config import MemoryLayout, TrainingConfig
from contour.training.propose import ProposalOptions, StepCost, measure_step, propose

CASES = tuple(f"case{i}" for i in range(4))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Four cases; the left box is drawn in three of them, the bar in two."""
    nothing = {name: CaseStructure(name, Status.NOT_DRAWN) for name in ("Lung_L", "SpinalCord")}
    save_boxes(tmp_path / "cases", 4, {0: nothing, 1: {"SpinalCord": nothing["SpinalCord"]}})
    return tmp_path / "cases"


def _costs(seconds_per_voxel: float, faster: MemoryLayout) -> Callable[..., StepCost]:
    def measure(config: TrainingConfig, device: str = "cpu", repeats: int = 2) -> StepCost:
        del device, repeats
        voxels = float(np.prod(config.patch_shape_zyx))
        factor = 1.0 if config.memory_layout is faster else 2.0
        return StepCost(factor * seconds_per_voxel * voxels, int(1000 * voxels))

    return measure


def test_the_faster_layout_and_the_largest_patch_in_time_are_taken(
    cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "measure_step", _costs(1e-6, MemoryLayout.CHANNELS_LAST))
    quick = propose(cases, CASES, ProposalOptions("boxes", hours=1.0, fewest_cases=2))
    assert quick.config.memory_layout is MemoryLayout.CHANNELS_LAST
    # 24 x 24 x 32 voxels of 3 mm are all there is: patches are no larger than the images, in steps of 16.
    assert quick.config.patch_shape_zyx == (32, 32, 32)
    assert quick.config.schedule.steps == pytest.approx(3600 / (32**3 * 1e-6), abs=100)
    slow = propose(cases, CASES, ProposalOptions("boxes", hours=0.01, fewest_cases=2))
    assert slow.config.schedule.steps == pytest.approx(36 / (32**3 * 1e-6), abs=100)
    assert any("memory_layout" in reason for reason in slow.reasons)


def test_rare_structures_are_left_out_or_sampled_more_often(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_step", _costs(1e-6, MemoryLayout.CONTIGUOUS))
    proposal = propose(cases, CASES, ProposalOptions("boxes", fewest_cases=3))
    assert {label.name for label in proposal.config.labels} == {"Lung_L", "Lung_R"}
    assert any(reason.startswith("SpinalCord is left out: drawn in 2 cases") for reason in proposal.reasons)
    patches = {label.name: label.patches for label in proposal.config.labels}
    assert patches == {"Lung_R": 1.0, "Lung_L": pytest.approx((4 / 3) ** 0.5, abs=0.01)}
    with pytest.raises(ConfigError, match="at least 5"):
        propose(cases, CASES, ProposalOptions("boxes", fewest_cases=5))


def test_grid_and_values_come_from_the_cases(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_step", _costs(1e-6, MemoryLayout.CONTIGUOUS))
    config = propose(cases, CASES, ProposalOptions("boxes", fewest_cases=2)).config
    assert config.preprocessing.spacing_zyx_mm == (3.0, 3.0, 3.0)
    assert [label.name for label in config.labels][-1] == "SpinalCord"  # the smallest counts where masks overlap
    low, high = config.preprocessing.clip
    assert low == -1000
    assert 250 < high < 500  # the bar has 200 HU with a noise of 60
    assert -100 < config.preprocessing.mean < 150


def test_a_measured_step_has_its_time_and_memory() -> None:
    small = measure_step(tiny_config(1), repeats=1)
    assert small.seconds > 0
    # At the least, both ends of the finest level are kept: 2 arrays of 8 channels in float32.
    assert small.memory_bytes > 2 * 8 * 16 * 16 * 24 * 4


def test_a_proposal_is_a_configuration_that_loads(
    cases: Path, contour: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "measure_step", _costs(1e-6, MemoryLayout.CONTIGUOUS))
    output = tmp_path / "plan.yaml"
    assert contour("data", "plan", cases, "-o", output, "--name", "boxes", "--fewest", 2, "--hours", 0.5) == 0
    config = load_config(output, TrainingConfig)
    assert config.name == "boxes"
    assert set(NAMES) == {label.name for label in config.labels}
    assert output.read_text().startswith("# Proposed by")
    assert contour("data", "plan", cases, "-o", output) == 2  # what a person may have edited is not overwritten
