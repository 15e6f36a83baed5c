from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from case_folders import NAMES, boxes_case, save_boxes
from filelock import FileLock
from tiny_training import tiny_config

from contour.cases.split import Split
from contour.cases.store import CaseStructure, Status, load_case, save_case
from contour.core.errors import ConfigError, PackageError
from contour.inference.package import Training
from contour.training.config import TrainedLabel, TrainingConfig
from contour.training.export import ExportInput, export_package
from contour.training.fit import Hardware, trained_network
from contour.training.prepared import load_prepared, prepare_case
from contour.training.run import PREPARED_FOLDER, RunInput, load_run_record, prepare_run, train
from contour.training.start import starting_weights

QUIET = Hardware(workers=0, progress=False)


def _config(steps: int, epochs: int = 1) -> TrainingConfig:
    return replace(tiny_config(steps, epochs), labels=tuple(TrainedLabel(name) for name in NAMES))


def _split(count: int, held_out: tuple[str, ...] = ()) -> Split:
    return Split(0, held_out, (tuple(f"case{i}" for i in range(count)),))


def _dice(network: torch.nn.Module, config: TrainingConfig, seed: int) -> dict[str, float]:
    """Dice of each structure on a case that was not trained on."""
    case = prepare_case(boxes_case("new", seed, {}), config.labels, config.preprocessing)
    with torch.inference_mode():
        found = network(torch.from_numpy(case.image_zyx.astype(np.float32))[None, None]).argmax(dim=1)[0].numpy()
    result = {}
    for i, label in enumerate(config.labels, start=1):
        ours, truth = found == i, case.labels_zyx == i
        result[label.name] = float(2 * (ours & truth).sum() / (ours.sum() + truth.sum()))
    return result


def test_structures_withheld_in_half_of_the_cases_are_learnt_all_the_same(tmp_path: Path) -> None:
    missing = {"Lung_L": CaseStructure("Lung_L", Status.NOT_DRAWN)}
    in_part = {"SpinalCord": CaseStructure("SpinalCord", Status.PARTIAL, drawn_slices=(16, 23))}
    save_boxes(tmp_path / "cases", 4, {0: missing, 1: missing | in_part, 2: in_part})
    config = _config(120)
    checkpoint = train(config, RunInput(tmp_path / "cases", _split(4)), tmp_path / "run", QUIET)
    dice = _dice(trained_network(config, checkpoint), config, seed=50)
    assert min(dice.values()) > 0.75, dice


def test_what_was_not_drawn_is_known_by_region() -> None:
    lacking = boxes_case("case0", 0, {"Lung_L": CaseStructure("Lung_L", Status.NOT_DRAWN)})
    case = prepare_case(lacking, _config(1).labels, _config(1).preprocessing)
    assert case.drawn.tolist() == [[False, True, True]]
    part = {"SpinalCord": CaseStructure("SpinalCord", Status.PARTIAL, drawn_slices=(16, 23))}
    case = prepare_case(boxes_case("case0", 0, part), _config(1).labels, _config(1).preprocessing)
    rows = case.drawn[case.regions_zyx[:, 0, 0]]
    assert rows[:, 2].tolist() == [False] * 16 + [True] * 8
    assert rows[:, :2].all()
    assert (case.regions_zyx == case.regions_zyx[:, :1, :1]).all()


def test_a_label_joined_of_two_needs_both_and_the_later_label_counts() -> None:
    labels = (TrainedLabel("Lungs", ("Lung_L", "Lung_R")), TrainedLabel("Lung_R"))
    preprocessing = _config(1).preprocessing
    case = prepare_case(boxes_case("a", 0, {}), labels, preprocessing)
    assert set(np.unique(case.labels_zyx)) == {0, 1, 2}
    assert np.argwhere(case.labels_zyx == 1)[:, 2].min() > np.argwhere(case.labels_zyx == 2)[:, 2].max()
    lacking = boxes_case("a", 0, {"Lung_L": CaseStructure("Lung_L", Status.NOT_DRAWN)})
    assert prepare_case(lacking, labels, preprocessing).drawn.tolist() == [[False, True]]


def test_a_run_states_its_cases_and_goes_on_only_with_the_same(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    save_boxes(cases, 3)
    data = RunInput(cases, _split(2, held_out=("case2",)))
    train(_config(2), data, tmp_path / "run", QUIET)
    record = load_run_record(tmp_path / "run")
    assert [use.name for use in record.training] == ["case0", "case1"]
    assert record.held_out == ("case2",)
    assert record.training[0].content_sha256 == load_case(cases / "case0").record.content_sha256
    prepared = sorted(path.name for path in (cases / PREPARED_FOLDER).rglob("*.npz"))
    assert [name[:5] for name in prepared] == ["case0", "case1"]
    with pytest.raises(ConfigError, match="another configuration"):
        train(_config(4), data, tmp_path / "run", QUIET)
    with pytest.raises(ConfigError, match="other cases"):
        train(_config(2), RunInput(cases, _split(3)), tmp_path / "run", QUIET)


def test_a_case_without_any_of_the_labels_is_left_out_and_none_is_refused(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    nothing = {name: CaseStructure(name, Status.NOT_DRAWN) for name in NAMES}
    save_boxes(cases, 2, {1: nothing})
    data = RunInput(cases, _split(2))
    given = prepare_run(_config(2), data, tmp_path / "run")
    assert [load_prepared(path).name for path in given.cases] == ["case0"]
    other = replace(_config(2), labels=(TrainedLabel("Heart"),))
    with pytest.raises(ConfigError, match="none of 2 cases to train on has any of Heart"):
        prepare_run(other, data, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ConfigError, match="holds no case case7"):
        prepare_run(_config(2), RunInput(cases, Split(0, (), (("case7",),))), tmp_path / "other")


def test_a_patient_on_two_sides_is_refused(tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    save_boxes(cases, 1)
    again = boxes_case("again", 9, {})
    save_case(replace(again, record=replace(again.record, patient="case0")), cases)
    with pytest.raises(ConfigError, match="case0"):
        prepare_run(_config(2), RunInput(cases, Split(0, ("again",), (("case0",),))), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    save_boxes(tmp_path / "cases", 1)
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(ConfigError, match="another process is training there"),
    ):
        train(_config(2), RunInput(tmp_path / "cases", _split(1)), tmp_path / "run", QUIET)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(package, cases) of a training of a hundred steps."""
    folder = tmp_path_factory.mktemp("start")
    save_boxes(folder / "cases", 2)
    config = _config(100)
    checkpoint = train(config, RunInput(folder / "cases", _split(2)), folder / "run", QUIET)
    about = ExportInput(Training(("boxes",), ("none",), "test"), "A card.")
    export_package(config, trained_network(config, checkpoint), about, folder / "package")
    return folder / "package", folder / "cases"


def test_training_starts_from_a_package(package: tuple[Path, Path], tmp_path: Path) -> None:
    folder, cases = package
    config = _config(1)
    network = trained_network(_config(100), folder.parent / "run" / "last.ckpt")
    state = starting_weights(folder, config)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    # One step from there still draws what a hundred taught; one step from nothing draws nothing.
    started = train(config, RunInput(cases, _split(2), start=folder), tmp_path / "started", QUIET)
    fresh = train(config, RunInput(cases, _split(2)), tmp_path / "fresh", QUIET)
    assert min(_dice(trained_network(config, started), config, 50).values()) > 0.6
    assert max(_dice(trained_network(config, fresh), config, 50).values()) < 0.5
    assert load_run_record(tmp_path / "started").start == "package"


def test_labels_are_matched_by_name_and_others_begin_anew(package: tuple[Path, Path]) -> None:
    folder, _ = package
    labels = (TrainedLabel("Heart"), TrainedLabel("Lung_R"), TrainedLabel("Lung_L"))
    config = replace(_config(1), labels=labels)
    before = trained_network(_config(100), folder.parent / "run" / "last.ckpt").state_dict()
    after = starting_weights(folder, config)
    name = "output_block.conv.conv.weight"
    assert torch.equal(after[name][2], before[name][2])
    assert torch.equal(after[name][3], before[name][1])
    assert not any(torch.equal(after[name][1], row) for row in before[name])


def test_a_package_of_another_network_or_altered_is_refused(package: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = package
    config = _config(1)
    wider = replace(config, network=replace(config.network, filters=(8, 16, 24)))
    with pytest.raises(PackageError, match=r"filters \(8, 16, 24\)"):
        starting_weights(folder, wider)
    altered = tmp_path / "altered"
    altered.mkdir()
    for file in folder.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    (altered / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x")
    with pytest.raises(PackageError, match="checksum"):
        starting_weights(altered, config)
