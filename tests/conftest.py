"""Fixtures that every test may ask for."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_networks
from hypothesis import settings
from patients import IDENTITY

from contour.core.protocol import Protocol
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import Phantom, PhantomOptions, thorax_geometry, thorax_phantom
from contour.inference import openvino_runtime
from contour.inference.package import Label
from contour.library import load_protocol

# A busy machine is no failure.
settings.register_profile("contour", deadline=None)
settings.load_profile("contour")

# Air, lung, soft tissue (no label) and bone, told apart by HU at these borders.
BORDERS_HU = (-930.0, -400.0, 250.0)

TINY_PROTOCOL = """\
name: tiny
title: What HU alone can tell
modality: CT
packages: [tiny]
structures:
  - {name: Body, runs_on: true}
  - {name: Lungs, components: all, min_component_ml: 100, volume_ml: [500, 9000], mean_hu: [-950, -400], runs_on: true}
  - {name: Bone, components: all, min_component_ml: 5, runs_on: true}
  - {name: Heart, required: false}
"""


@pytest.fixture(scope="session", autouse=True)
def _one_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests run on ONNX Runtime, whatever else is installed, unless they ask for another engine by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTOUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CONTOUR_ENGINE", "cpu")
        patch.setattr(openvino_runtime, "installed", lambda: False)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and reference contours beside the checkout; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def thorax() -> Phantom:
    """The thorax phantom on coarse voxels (5 x 3 x 3 mm), its lungs with few vessels."""
    return thorax_phantom(
        thorax_geometry((5.0, 3.0, 3.0), frame_of_reference_uid="2.25.77"), PhantomOptions(vessels=40)
    )


@pytest.fixture(scope="session")
def thorax_series(thorax: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom as a DICOM series."""
    folder = tmp_path_factory.mktemp("thorax") / "ct"
    write_series(thorax.volume, IDENTITY, folder, SeriesOptions(seed="thorax"))
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `tiny`, which tells lungs and bone by their HU."""
    folder = tmp_path_factory.mktemp("models")
    slopes = [0.02 * i for i in range(len(BORDERS_HU) + 1)]
    intercepts = [-0.02 * sum(BORDERS_HU[:i]) for i in range(len(BORDERS_HU) + 1)]
    network = tiny_networks.linear_network(slopes, intercepts)
    tiny_networks.make_package(folder / "tiny", network, (Label(1, "Lungs"), Label(3, "Bone")), (32, 64, 64))
    return folder


@pytest.fixture(scope="session")
def tiny_protocol_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protocol for the package `tiny`."""
    path = tmp_path_factory.mktemp("protocols") / "tiny.yaml"
    path.write_text(TINY_PROTOCOL, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_protocol(tiny_protocol_file: Path) -> Protocol:
    return load_protocol(str(tiny_protocol_file))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made archive of ten patients and its truth; tests read it, who changes it copies it first."""
    from contour.cases.made_archive import make_archive  # noqa: PLC0415 - only the tests of archives pay for it

    folder = tmp_path_factory.mktemp("made")
    make_archive(folder)
    return folder


@pytest.fixture
def contour(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Run the command line in this process, as the shell would; returns the exit code."""
    from contour.cli.main import STOPPING_SIGNALS, run  # noqa: PLC0415 - only the tests of commands pay for it

    numbers = [getattr(signal, name) for name in STOPPING_SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["contour", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        code = ended.value.code
        return 0 if code is None else int(code)

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)
