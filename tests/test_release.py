"""What a release says of itself is true."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_checksums_of_the_shipped_packages_are_theirs() -> None:
    models = ROOT / "models"
    lines = (models / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = sorted(path for path in models.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    assert sorted(stated) == sorted(path.relative_to(models).as_posix() for path in files)
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == stated[path.relative_to(models).as_posix()], path


def test_the_citation_is_of_this_version(project: dict[str, str]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_changelog_has_this_version(project: dict[str, str]) -> None:
    assert f"\n## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
