import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contour.cases.evaluation import load_evaluation
from contour.cases.split import Split, save_split
from contour.cases.store import Case, CaseRecord, CaseStructure, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume

Contour = Callable[..., int]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with a ball of lung that somebody drew; the package `tiny` finds it by its HU."""
    folder = tmp_path_factory.mktemp("cases")
    geometry = Geometry.axial((24, 40, 44), (3.0, 3.0, 3.0), (-66.0, -60.0, 0.0), "2.25.601")
    z, y, x = (np.arange(n) - n // 2 for n in geometry.shape_zyx)
    lung = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= 10**2
    voxels = np.full(geometry.shape_zyx, -1000, dtype=np.int16)
    voxels[1:-1, 2:-2, 2:-2] = 20
    voxels[lung] = -700
    volume = Volume(voxels, geometry, Modality.CT)
    lungs = Structure("Lungs", (0, 0, 255), InterpretedType.ORGAN, *cropped_to_content(lung))
    for name in ("one", "three", "two"):
        record = CaseRecord(name, f"p-{name}", Modality.CT, geometry, (CaseStructure("Lungs", Status.DRAWN),))
        save_case(Case(record, volume, StructureSet("x", geometry, (lungs,))), folder)
    return folder


def test_held_out_cases_are_judged_by_a_protocol(
    contour: Contour,
    cases: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_split(Split(3, ("two",), (("one",), ("three",))), tmp_path / "split.yaml")
    out = tmp_path / "out"
    common = ["evaluate", cases, "-p", tiny_protocol_file, "--models", tiny_models, "-o", out, "--threads", "1"]
    assert contour(*common, "--split", tmp_path / "split.yaml", "--held-out", "-t", "4", "-t", "2") == 0
    printed = capsys.readouterr()
    assert "1 cases of 1 patients (held-out cases of split.yaml, seed 3)" in printed.out
    assert "Surface 4 mm" in printed.out
    found = load_evaluation(out)
    assert [case.case for case in found.cases] == ["two"]
    assert found.tolerances_mm == (4.0, 2.0)
    assert found.scores[0].agreement is not None
    assert found.scores[0].agreement.dice > 0.9
    assert (out / "report.html").is_file()
    # Again, as JSON: nothing is drawn a second time.
    before = (out / "cases" / "two.json").stat().st_mtime_ns
    assert contour(*common, "--split", tmp_path / "split.yaml", "--held-out", "-t", "4", "-t", "2", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["structures"][0]["structure"] == "Lungs"
    assert content["structures"][0]["measures"][0]["median_interval"] is None
    assert (out / "cases" / "two.json").stat().st_mtime_ns == before


def test_a_package_is_judged_by_itself_on_a_fold(
    contour: Contour, cases: Path, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_split(Split(3, ("two",), (("one",), ("three",))), tmp_path / "split.yaml")
    arguments = ["--split", tmp_path / "split.yaml", "--fold", "1", "--pictures", "0", "--threads", "1"]
    package = tiny_models / "tiny"
    assert contour("evaluate", cases, "--package", package, "-o", tmp_path / "out", *arguments) == 0
    found = load_evaluation(tmp_path / "out")
    assert ([case.case for case in found.cases], found.protocol) == (["three"], "tiny")
    assert "validation cases of fold 1" in found.selection
    assert "tiny" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--protocol, --package or --checkpoint"),
        (["--package", "tiny", "--checkpoint", "run"], "not both"),
        (["--package", "tiny", "--held-out"], "--split goes with"),
        (["--package", "tiny", "--held-out", "--fold", "1"], "not both"),
        (["--package", "nowhere"], "not installed"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    contour: Contour,
    cases: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert contour("evaluate", cases, "-o", tmp_path / "out", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_of_other_cases_is_refused(
    contour: Contour, cases: Path, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_split(Split(3, ("elsewhere",), (("one",),)), tmp_path / "split.yaml")
    arguments = ["--split", tmp_path / "split.yaml", "--held-out", "--models", tiny_models, "--package", "tiny"]
    assert contour("evaluate", cases, "-o", tmp_path / "out", *arguments) == 2
    assert "elsewhere not among the cases" in capsys.readouterr().err
