"""What the README shows is executed, in its order."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line) for line in block.splitlines() if line and not line.startswith("#")]


def test_set_up_is_one_line_each_and_ci_runs_both() -> None:
    main, tests = (commands(block) for block in blocks("sh")[:2])
    assert [len(main), len(tests)] == [1, 1]
    assert main[0][-2:] == [".venv/bin/contour", "demo"]
    assert tests[0][-1] == "scripts/check.py"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in ci
    assert "for block in 1 2" in ci


@pytest.mark.slow
def test_every_example_works(
    contour: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert contour("demo") == 0
    shown = commands(blocks("sh")[2])
    assert {c[1] for c in shown} == {"run", "protocols", "models", "check", "compare", "merge", "convert", "doctor"}
    for command in shown:
        assert command[0] == "contour"
        capsys.readouterr()
        assert contour(*command[1:]) == 0, (command, capsys.readouterr())
    (program,) = blocks("python")
    exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
    assert "Lung_L" in capsys.readouterr().out
    for file in ("plan/rtstruct.dcm", "plan-from-python/report.json", "masks/Heart.nii.gz", "again.dcm"):
        assert (tmp_path / file).is_file()


@pytest.mark.slow
def test_the_batch_and_its_queue_work(
    contour: Callable[..., int],
    thorax_series: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTOUR_SLOTS", str(tmp_path / "slots"))
    shutil.copytree(thorax_series, tmp_path / "contour-demo" / "ct")
    shown = commands(blocks("sh")[4])
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
