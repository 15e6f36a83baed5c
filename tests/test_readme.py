"""What the README and the pages show is executed, in its order, where `contour demo` stopped."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shown import PAGES, README, ROOT, blocks, commands, executed

from contour import pipeline
from contour.core.protocol import Protocol
from contour.core.volume import Volume

# Pages whose blocks go on where something else stopped; each has a test of its own.
ELSEWHERE = {"retraining": "tests/test_retrain.py", "batches": "test_the_batch_and_its_queue_work"}
SHOWN = [README, *sorted(page for page in PAGES.glob("*.md") if page.stem not in ELSEWHERE and executed(page))]

Contour = Callable[..., int]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo runs."""
    return tmp_path_factory.mktemp("shown") / "contour-demo"


@pytest.fixture(scope="module")
def drawn() -> dict[object, object]:
    """What was drawn by the networks, which is the same each time: the pages share it, all else they do themselves."""
    return {}


@pytest.fixture
def draw_once(drawn: dict[object, object], monkeypatch: pytest.MonkeyPatch) -> None:
    draw = pipeline._draw_here

    def remembered(volume: Volume, protocol: Protocol, networks: Any, locator: Any, progress: Any) -> object:
        key = (hashlib.sha256(volume.voxels_zyx.tobytes()).digest(), volume.geometry, protocol, locator is None)
        if key not in drawn:
            drawn[key] = draw(volume, protocol, networks, locator, progress)
        return drawn[key]

    monkeypatch.setattr(pipeline, "_draw_here", remembered)


def test_set_up_is_one_line_each_and_ci_runs_both() -> None:
    main, tests = (commands(block) for block in blocks(README, "sh")[:2])
    assert [len(main), len(tests)] == [1, 1]
    assert main[0][-2:] == [".venv/bin/contour", "demo"]
    assert tests[0][-1] == "scripts/check.py"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in ci
    assert "for block in 1 2" in ci


@pytest.mark.slow
@pytest.mark.usefixtures("draw_once")
def test_the_demo_that_the_pages_go_on_from(contour: Contour, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.parent)
    assert contour("demo") == 0
    assert (demo / "rtstruct.dcm").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("draw_once")
@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_every_example_works(
    page: Path,
    contour: Contour,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not (demo / "ct").is_dir():
        pytest.skip("the demo has not run: the tests of this file go together")
    for name, target in (("contour-demo", demo), ("configs", ROOT / "configs")):
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "shown"}  # blocks of a page go on with each other's names
    for language, block in executed(page)[2:] if page == README else executed(page):
        capsys.readouterr()
        if language == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        for command in commands(block):
            assert command[0] == "contour", f"{page.name}: only contour can be executed: {command}"
            assert contour(*command[1:]) == 0, (page.name, command, capsys.readouterr())
    if page == README:
        for file in ("plan/rtstruct.dcm", "plan-from-python/report.json"):
            assert (tmp_path / file).is_file()
        assert "Lung_L" in capsys.readouterr().out


@pytest.mark.slow
def test_the_batch_and_its_queue_work(
    contour: Contour,
    thorax_series: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTOUR_SLOTS", str(tmp_path / "slots"))
    shutil.copytree(thorax_series, tmp_path / "contour-demo" / "ct")
    (block,) = blocks(PAGES / "batches.md", "sh")
    shown = commands(block)
    assert [tuple(c[1:3]) for c in shown] == [
        ("batch", "contour-demo"),
        ("jobs", "list"),
        ("jobs", "list"),
        ("worker", "--queue"),
    ]
    for command in shown:
        capsys.readouterr()
        assert contour(*command[1:]) == 0, (command, capsys.readouterr())
    (job,) = (tmp_path / "drawn").glob("*/rtstruct.dcm")
    for action, code in (("show", 0), ("retry", 2), ("cancel", 2)):  # it is done
        assert contour("jobs", action, job.parent.name[:8], "--queue", "drawn") == code, capsys.readouterr()
