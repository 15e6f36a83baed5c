"""What a release says of itself is true."""

import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.checksums import SUMS, checksums

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_checksums_of_the_shipped_packages_are_theirs() -> None:
    stated = (ROOT / "models" / SUMS).read_text(encoding="utf-8")
    assert stated == checksums(ROOT / "models"), "python -m scripts.checksums writes them anew"
    assert stated.count("model.onnx") >= 4


def test_the_citation_is_of_this_version(project: dict[str, str]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_changelog_has_this_version(project: dict[str, str]) -> None:
    assert f"\n## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
