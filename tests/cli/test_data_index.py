"""`contour data index` as a person and as a program read it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE
from contour.cases.made_truth import load_truth

Contour = Callable[..., int]


def test_it_says_what_was_found_and_what_was_set_aside(
    contour: Contour, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "index.sqlite"
    assert contour("data", "index", made / ARCHIVE_FOLDER, "--output", index) == 0
    said = capsys.readouterr()
    pairs = len(load_truth(made / TRUTH_FILE).sets_in_use)
    for words in (f"{pairs} pairs", "superseded", "orphan", "truncated-file", "RT Plan Storage"):
        assert words in said.out
    assert "Read headers" in said.err
    assert contour("data", "index", made / ARCHIVE_FOLDER, "--output", index, "--workers", 1) == 0
    assert "(0 read in " in capsys.readouterr().out


def test_json_has_every_pair(contour: Contour, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contour("data", "index", made / ARCHIVE_FOLDER, "-o", tmp_path / "i.sqlite", "--json") == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    truth = load_truth(made / TRUTH_FILE)
    assert not said.err
    assert {pair["series_instance_uid"] for pair in content["pair_list"]} == {
        drawn.series_instance_uid for drawn in truth.sets_in_use
    }
    assert content["pairs"] == content["paired_by"]["series"] == len(content["pair_list"])
    assert sum(aside["count"] for aside in content["set_aside"] if aside["reason"] == "orphan") == 1
    scopes = {aside["scope"] for aside in content["set_aside_list"]}
    assert scopes == {"series", "structure set"}


def test_mistakes_are_refused(contour: Contour, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contour("data", "index", tmp_path / "none", "-o", tmp_path / "index.sqlite") == 2
    assert "is not a folder" in capsys.readouterr().err
    (tmp_path / "text").write_text("x")
    assert contour("data", "index", tmp_path, "-o", tmp_path / "text") == 2
    assert "index" in capsys.readouterr().err
