"""The wheel carries its configs and models, and works away from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this checkout, unpacked where nothing else is."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def contour(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import contour;"
        f"assert contour.__file__.startswith({str(installed)!r}); from contour.cli.main import run; run()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=installed, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_wheel_has_what_the_checkout_has(installed: Path) -> None:
    shipped = installed / "contour" / "_shipped"
    for kind in ("configs", "models"):
        here = {p.relative_to(ROOT / kind) for p in (ROOT / kind).rglob("*") if p.is_file()}
        there = {p.relative_to(shipped / kind) for p in (shipped / kind).rglob("*") if p.is_file()}
        assert there == here
    assert (installed / "contour" / "py.typed").is_file()
    review = Path("contour") / "services" / "review"
    for kind in ("page", "words", "vendor"):  # the last is there if the npm registry could be reached
        here = {p.name for p in (ROOT / review / kind).glob("*")}
        assert {p.name for p in (installed / review / kind).glob("*")} == here
    metadata = next(installed.glob("*.dist-info")) / "METADATA"
    requirements = [
        line for line in metadata.read_text(encoding="utf-8").splitlines() if line.startswith("Requires-Dist")
    ]
    plain = [line for line in requirements if "extra ==" not in line]
    assert plain
    assert not [line for line in plain if "torch" in line or "monai" in line or "lightning" in line]


@pytest.mark.slow
def test_the_wheel_knows_its_protocols_and_models(installed: Path) -> None:
    protocols = contour(installed, "protocols", "list")
    assert protocols.returncode == 0, protocols.stderr
    assert "thorax_oar" in protocols.stdout
    shown = contour(installed, "models", "show", "thorax_ct", "--json")
    assert shown.returncode == 0, shown.stderr
    assert contour(installed, "models", "verify").returncode == 0
