"""An export takes seconds: the tests of this folder share one."""

from dataclasses import replace

import pytest
from case_folders import save_boxes
from tiny_training import tiny_config
from trained_runs import make_record, make_run

from contour.cases.store import case_folders
from contour.training.engine import TrainedRun, load_run
from contour.training.export import Exported, ExportOptions, choose_cases, export_run


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedRun, Exported]:
    """A run of random weights, and its package, held to torch on the one case that the run held out.

    With deep supervision, whose coarser outputs a package must not have.
    """
    folder = tmp_path_factory.mktemp("exported")
    save_boxes(folder / "cases", 3)
    config = tiny_config(1)
    config = replace(config, network=replace(config.network, deep_supervision=1))
    run = load_run(make_run(folder / "run", config, make_record(("case1", "case2"), ("case0",))))
    chosen = choose_cases(case_folders(folder / "cases"), run.record, 1)
    return run, export_run(run, folder / "models" / run.config.name, ExportOptions(chosen.measured))
