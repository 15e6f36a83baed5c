from pathlib import Path

import numpy as np
import pytest
import torch
from case_folders import boxes_case
from monai.inferers import SlidingWindowInferer
from trained_runs import STEPS, make_run

from contour.cases.evaluate import package_protocol
from contour.core.errors import ConfigError, PackageError
from contour.core.geometry import Geometry
from contour.core.nomenclature import whole_name
from contour.core.volume import Modality, Volume
from contour.inference.engine import Region
from contour.inference.likeness import answer, likeness
from contour.inference.session import Network, SessionOptions, open_network
from contour.pipeline import draw_structures
from contour.training.engine import TorchNetwork, TrainedRun, load_run, open_run, sliding_logits
from contour.training.export import Exported
from contour.training.fit import trained_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engines(exported_run: tuple[TrainedRun, Exported]) -> tuple[TorchNetwork, Network]:
    """One network in torch and in ONNX Runtime."""
    run, exported = exported_run
    return open_run(run, CPU), open_network(exported.package, SessionOptions(threads=1))


def body(shape_zyx: tuple[int, int, int], seed: int = 0) -> Volume:
    """A block of tissue with structure in it, and air around."""
    rng = np.random.default_rng(seed)
    voxels = np.full(shape_zyx, -1000, dtype=np.int16)
    inside = voxels[:, 2:-2, 3:-3]
    inside[:] = rng.normal(0, 200, inside.shape)
    return Volume(voxels, Geometry.axial(shape_zyx, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), "1.2.3"), Modality.CT)


@pytest.mark.parametrize("shape", [(40, 37, 61), (9, 20, 24), (16, 16, 24)], ids=["larger", "shorter", "one patch"])
def test_torch_and_onnx_answer_alike_in_every_voxel(
    engines: tuple[TorchNetwork, Network], shape: tuple[int, int, int]
) -> None:
    ours, theirs = (answer(network, body(shape)) for network in engines)
    found = likeness("made", ours, theirs)
    assert found.largest_logit > 0.5
    assert found.relative_difference < 1e-4
    assert found.same_winner > 0.9999
    assert found.least_dice > 0.999


def test_windows_are_monais_own_where_its_overlap_needs_no_rounding(engines: tuple[TorchNetwork, Network]) -> None:
    rng = np.random.default_rng(1)
    # 16 + 12 = 28 and 24 + 2 * 18 = 60: strides of three quarters of a patch reach the ends.
    values = rng.normal(size=(28, 28, 60)).astype(np.float32)
    region = Region(values, np.ones(values.shape, dtype=bool), (16, 16, 24), 0.25, -1.0)
    network = trained_network_of(engines[0])
    plain = SlidingWindowInferer((16, 16, 24), overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        expected = plain(torch.from_numpy(values)[None, None], network)[0].numpy()
    np.testing.assert_allclose(sliding_logits(network, region, silent, CPU), expected, atol=1e-6)
    planes = [plane.copy() for plane in engines[1].planes(region, silent)]
    np.testing.assert_allclose(np.stack(planes, axis=1), expected, atol=1e-4)


def test_progress_counts_the_windows(engines: tuple[TorchNetwork, Network]) -> None:
    heard: list[float] = []
    values = np.zeros((40, 16, 50), dtype=np.float32)
    region = Region(values, np.ones(values.shape, dtype=bool), (16, 16, 24), 0.25, -1.0)
    planes = list(engines[0].planes(region, heard.append))
    assert len(planes) == 40
    assert planes[0].shape == (3, 16, 50)
    np.testing.assert_allclose(heard, np.arange(1, 10) / 9)  # 3 x 1 x 3


def test_a_checkpoint_draws_through_the_pipeline_and_says_what_it_is(engines: tuple[TorchNetwork, Network]) -> None:
    ours = engines[0]
    volume = boxes_case("case", 0, {}).volume
    drawing = draw_structures(volume, package_protocol([ours.manifest]), (ours,))
    assert [whole_name(s.name) for s in drawing.structures.structures] == ["Lung_L", "Lung_R"]
    (used,) = drawing.packages
    assert used.engine == "torch cpu"
    assert used.version.endswith(f"+step{STEPS}")
    assert used.sha256 != engines[1].manifest.onnx_sha256


def test_a_network_without_numbers_draws_nothing(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run"))
    broken = open_run(run, CPU)
    with torch.no_grad():
        next(trained_network_of(broken).parameters()).fill_(float("nan"))
    with pytest.raises(PackageError, match="nan or infinity"):
        answer(broken, body((16, 16, 24)))


def test_what_is_no_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run(tmp_path)
    folder = make_run(tmp_path / "run")
    (folder / "last.ckpt").unlink()
    with pytest.raises(PackageError, match=r"no last\.ckpt"):
        load_run(folder)


def test_the_network_is_the_checkpoints(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run"))
    stored = trained_network(run.config, run.checkpoint).state_dict()
    for name, value in trained_network_of(open_run(run, CPU)).state_dict().items():
        assert torch.equal(value, stored[name])


def trained_network_of(engine: TorchNetwork) -> torch.nn.Module:
    return engine._network


def silent(_: float) -> None:
    pass
