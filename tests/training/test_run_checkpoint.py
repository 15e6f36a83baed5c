"""A network is looked at while it is trained: a series contoured by its last checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trained_runs import STEPS

from contour.core.nomenclature import whole_name
from contour.training.engine import TrainedRun
from contour.training.export import Exported


def test_a_series_is_drawn_by_a_checkpoint(
    contour: Callable[..., int],
    thorax_series: Path,
    exported_run: tuple[TrainedRun, Exported],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = exported_run
    code = contour("run", thorax_series, "--checkpoint", run.folder, "--output", tmp_path / "out", "--json")
    assert code in (0, 3)  # random weights may exchange the sides, which forbids the release
    report = json.loads(capsys.readouterr().out)
    (used,) = report["packages"]
    assert used["engine"] == "torch cpu"
    assert used["version"].endswith(f"+step{STEPS}")
    assert [whole_name(line["name"]) for line in report["structures"]] == ["Lung_L", "Lung_R"]  # random ones are cut
    assert (tmp_path / "out" / "preview.png").is_file()


def test_a_folder_without_a_training_is_refused(
    contour: Callable[..., int], thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contour("run", thorax_series, "--checkpoint", tmp_path) == 2
    assert "config.yaml" in capsys.readouterr().err
