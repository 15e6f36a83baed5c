"""The site is built without a warning, opens without a network, and leaves out no command."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shown import PAGES, README, ROOT

from contour.cli.main import COMMANDS, GROUPS
from contour.services.node.settings import NodeSettings

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
FETCHED = re.compile(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", folder / "trees", PAGES, folder / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert {page.stem for page in PAGES.glob("*.md")} <= {page.stem for page in pages}
    for page in pages:
        assert not FETCHED.findall(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name
    assert (site / "searchindex.js").stat().st_size > 10_000


@pytest.mark.slow
def test_references_are_the_codes_own(site: Path) -> None:
    commands = (site / "commands.html").read_text(encoding="utf-8")
    named = [*COMMANDS, *(f"{group} {name}" for group, (_, members) in GROUPS.items() for name in members)]
    assert not [name for name in named if f"contour {name}<" not in commands]
    assert "--overwrite" in commands
    settings = (site / "configuration.html").read_text(encoding="utf-8")
    assert not [key for key in NodeSettings.__dataclass_fields__ if f">{key}<" not in settings]
    architecture = (site / "architecture.html").read_text(encoding="utf-8")
    assert "<svg" in architecture
    assert ">pipeline</text>" in architecture


def test_links_between_pages_lead_somewhere() -> None:
    for page in (README, *PAGES.glob("*.md")):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
