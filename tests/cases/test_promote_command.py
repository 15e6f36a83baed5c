"""`contour promote` from cases to the package in use, and back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_networks
from judged_cases import ROOM, save

from contour.cases.split import Split, save_split
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Label, Training, load_package, write_manifest

Contour = Callable[..., int]
PATIENTS = 7


def made(folder: Path, lung_from_hu: float, version: str) -> Path:
    """A package that draws lung (-700 HU) if its network lets it begin below that."""
    borders = (lung_from_hu, -400.0, 250.0)
    network = tiny_networks.linear_network([0.0, 0.02, 0.04, 0.06], [-0.02 * sum(borders[:i]) for i in range(4)])
    prepared = Preprocessing(spacing_zyx_mm=(1.0, 1.0, 1.0), clip=(-1024.0, 3000.0), mean=0.0, std=1.0)
    labels = (Label(1, "Lungs"), Label(3, "Bone"))
    package = tiny_networks.make_package(folder, network, labels, (40, 48, 48), prepared)
    training = Training((), (), "made", patients=("someone",), cases_sha256=("c" * 64,))
    write_manifest(replace(package.manifest, version=version, training=training), folder)
    return folder


def sha256(folder: Path) -> str:
    return load_package(folder).manifest.onnx_sha256


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(cases, split): seven patients with lung and bone, all held out, and one to train on."""
    folder = tmp_path_factory.mktemp("held-out")
    for i in range(PATIENTS + 1):
        lung, bone = ROOM.ball(9 + i / 2, (0, 4, -6)), ROOM.rod(3, 5, 30, (-12, 10))
        save(folder / "cases", f"c{i}", ROOM.image(lung, bone), {"Lungs": lung, "Bone": bone})
    names = tuple(f"c{i}" for i in range(PATIENTS))
    save_split(Split(1, names, ((f"c{PATIENTS}",),)), folder / "split.yaml")
    return folder / "cases", folder / "split.yaml"


@pytest.fixture
def in_use(tmp_path: Path) -> Path:
    return made(tmp_path / "models" / "tiny", -930.0, "1.0.0")


def test_a_package_is_judged_promoted_listed_and_taken_back(
    contour: Contour,
    held_out: tuple[Path, Path],
    in_use: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases, split = held_out
    first = sha256(in_use)
    equal, worse = made(tmp_path / "equal", -900.0, "1.1.0"), made(tmp_path / "worse", -600.0, "1.2.0")
    work = tmp_path / "work"
    judging = ["--cases", cases, "--split", split, "--work", work, "--threads", "1"]

    assert contour("promote", worse, "--in-use", in_use, *judging) == 2
    printed = capsys.readouterr()
    assert "Not promoted" in printed.err
    assert "Lungs (may be inferior)" in printed.err
    assert "7 cases, 7 patients" in printed.out
    assert sha256(in_use) == first

    assert contour("promote", equal, "--in-use", in_use, *judging, "--dry-run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["passes"], shown["promoted"]) == (True, False)
    assert {line["verdict"] for line in shown["comparisons"]} == {"not inferior"}
    assert sha256(in_use) == first

    # The results that were left behind serve as well.
    results = {folder.name.split("-")[0]: folder for folder in work.iterdir()}
    given = ["--evaluation-new", results["1.1.0"], "--evaluation-in-use", results["1.0.0"]]
    assert contour("promote", equal, "--in-use", in_use, *given) == 0
    assert "Promoted" in capsys.readouterr().out
    assert sha256(in_use) == sha256(equal)

    assert contour("promote", "--in-use", in_use, "--history", "--json") == 0
    (kept,) = json.loads(capsys.readouterr().out)["kept"]
    assert kept["sha256"] == first
    assert contour("promote", "--in-use", in_use, "--roll-back") == 0
    assert sha256(in_use) == first
    assert contour("promote", "--in-use", in_use, "--roll-back") == 2


@pytest.mark.parametrize(
    "arguments",
    [[], ["NEW"], ["NEW", "--cases", "cases"], ["NEW", "--roll-back"], ["NEW", "--evaluation-new", "a.json"]],
)
def test_what_is_not_said_is_asked_for(contour: Contour, in_use: Path, arguments: list[str]) -> None:
    named = [in_use if word == "NEW" else word for word in arguments]
    assert contour("promote", "--in-use", in_use, *named) == 2
