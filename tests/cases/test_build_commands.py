"""`contour data build` and `contour data split`, as the shell calls them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_archives import add_series, add_set

from contour.cases.archive_index import IndexOptions, index_archive
from contour.cases.names import NameEntry, NameMap, save_name_map
from contour.cases.split import load_split
from contour.cases.store import case_folders

Contour = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four patients with a heart, a private code, and an organ that the map does not know."""
    for i in range(1, 5):
        series = add_series(tmp_path / "archive" / str(i) / "ct", f"P-{i}")
        add_set(series, tmp_path / "archive" / str(i) / "rs.dcm", ("Heart", "zz1", "Liver"))
    index_archive(tmp_path / "archive", tmp_path / "index.sqlite", IndexOptions(workers=1))
    entries = (NameEntry("Heart", "Heart"), NameEntry("zz1"))
    save_name_map(NameMap(entries), tmp_path / "names.yaml")
    return tmp_path


def test_cases_are_built_and_split(contour: Contour, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = ["data", "build", folder / "index.sqlite", folder / "names.yaml", "-o", folder / "cases", "--workers", 1]
    assert contour(*build) == 0
    printed = capsys.readouterr().out
    assert "4 cases of 4 patients: 4 built, 0 as before" in printed
    assert "Not in the map: 'Liver'" in printed
    assert contour(*build, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [case["built_now"] for case in report["cases"]] == [False] * 4
    assert {s["name"] for case in report["cases"] for s in case["structures"]} == {"Heart"}

    split = ["data", "split", folder / "cases", "-o", folder / "split.yaml", "--held-out", 0.25, "--folds", 3]
    assert contour(*split) == 0
    assert "any structure" in capsys.readouterr().out
    found = load_split(folder / "split.yaml")
    assert [len(part) for part in found.parts] == [1, 1, 1, 1]
    assert contour(*split, "--seed", 5, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["held_out"] == list(found.held_out)  # whoever was held out stays so
    assert again["structures"] == [{"name": "Heart", "held_out": 1, "folds": [1, 1, 1]}]
    assert contour(*split, "--folds", 2) == 2
    assert "3 as before" in capsys.readouterr().err
    assert contour(*split, "--folds", 2, "--anew") == 0
    assert [len(part) for part in load_split(folder / "split.yaml").folds] == [2, 1]


def test_no_case_in_the_end_is_a_failure(contour: Contour, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_name_map(NameMap((NameEntry("zz1"),)), folder / "names.yaml")
    build = ["data", "build", folder / "index.sqlite", folder / "names.yaml", "-o", folder / "cases", "--workers", 1]
    assert contour(*build) == 2
    printed = capsys.readouterr()
    assert "no-structures" in printed.out
    assert "No case" in printed.err


def test_overrides_are_read(contour: Contour, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = folder / "overrides.yaml"
    overrides.write_text('overrides: [{case: "*", structure: Heart, name: Liver}]\n', encoding="utf-8")
    build = ["data", "build", folder / "index.sqlite", folder / "names.yaml", "-o", folder / "cases", "--workers", 1]
    assert contour(*build, "--overrides", overrides, "--structure", "Liver", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [s["name"] for case in report["cases"] for s in case["structures"]] == ["Liver"] * 4
    assert len(case_folders(folder / "cases")) == 4
    overrides.write_text("overrides: [{case: x, structure: Heart, name: Liver}]\n", encoding="utf-8")
    assert contour(*build, "--overrides", overrides) == 2
    assert "case x" in capsys.readouterr().err
