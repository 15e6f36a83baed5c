import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from case_folders import NAMES, save_boxes
from tiny_training import tiny_config

from contour.cases.split import Split, save_split
from contour.config import load_config, save_config
from contour.training.config import TrainedLabel, TrainingConfig
from contour.training.fit import steps_done, trained_network
from contour.training.run import load_run_record


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Path]:
    """(configuration of four steps in two epochs, three cases, their split with one held out)."""
    config = replace(tiny_config(4, epochs=2), labels=tuple(TrainedLabel(name) for name in NAMES))
    save_config(config, tmp_path / "config.yaml")
    save_boxes(tmp_path / "cases", 3)
    save_split(Split(0, ("case2",), (("case0",), ("case1",))), tmp_path / "split.yaml")
    return tmp_path / "config.yaml", tmp_path / "cases", tmp_path / "split.yaml"


def test_a_fold_trains_and_the_run_says_on_what(
    contour: Callable[..., int], made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    config, cases, split = made
    run = tmp_path / "run"
    assert contour("train", config, cases, "--split", split, "--fold", 1, "-o", run, "--workers", 0, "--quiet") == 0
    assert load_config(run / "config.yaml", TrainingConfig) == load_config(config, TrainingConfig)
    record = load_run_record(run)
    assert [use.name for use in record.training] == ["case0"]
    assert [use.name for use in record.validation] == ["case1"]
    assert record.held_out == ("case2",)
    assert steps_done(run / "last.ckpt") == 4
    assert len(list((run / "log" / "pictures").iterdir())) == 2


def test_a_fold_that_is_not_there_is_refused(
    contour: Callable[..., int], made: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, cases, split = made
    assert contour("train", config, cases, "--split", split, "--fold", 5, "-o", tmp_path / "run") == 2
    assert "0 to 1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_together_on_different_patches(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    config, cases, split = made
    run = tmp_path / "run"
    code = "from contour.cli.main import run; run()"
    # Lightning starts the second process by the first one's command line, so that needs a file of its own.
    program = tmp_path / "contour_program.py"
    program.write_text(f"if __name__ == '__main__':\n    {code}\n")
    command = [sys.executable, str(program), "train", str(config), str(cases), "--split", str(split), "-o", str(run)]
    command += ["--devices", "2", "--workers", "0", "--quiet"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert steps_done(run / "last.ckpt") == 4
    together = trained_network(load_config(config, TrainingConfig), run / "last.ckpt").state_dict()
    assert all(torch.isfinite(value).all() for value in together.values())
