from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from contour.config import config_mistakes, load_config, shipped_folder
from contour.core.errors import ConfigError


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Part:
    size_mm: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whole:
    title: str
    parts: tuple[Part, ...]
    color: Color = Color.RED
    count: int = 1
    limit: float | None = None


def load(tmp_path: Path, text: str | bytes) -> Whole:
    path = tmp_path / "whole.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, Whole)


def test_yaml_becomes_nested_dataclasses(tmp_path: Path) -> None:
    found = load(
        tmp_path, "title: Пример\nparts: [{size_mm: 2, names: [a, b]}, {size_mm: 0.5}]\ncolor: green\nlimit: 3\n"
    )
    assert found == Whole("Пример", (Part(2.0, ("a", "b")), Part(0.5)), Color.GREEN, 1, 3.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: t\nparts: []\ncolour: red\n", ("unknown key colour", "color")),
        ("title: t\nparts: [{size: 1}]\n", ("parts[0]", "size")),
        ("parts: []\n", ("title",)),
        ("title: 5\nparts: []\n", ("title", "not a str")),
        ("title: t\nparts: []\ncount: yes\n", ("count", "not a int")),
        ("title: t\nparts: []\ncount: 1.5\n", ("count", "not a int")),
        ("title: t\nparts: [{size_mm: wide}]\n", ("parts[0].size_mm", "not a number")),
        ("title: t\nparts: []\ncolor: blue\n", ("color", "red, green")),
        ("- a list\n", ("list", "title")),
        ("title: [\n", ("not YAML",)),
        ("title: t\nparts: []\ncount: 1\ncount: 2\n", ("count stands twice",)),
        ("title: t\nparts: []\n1: 2\nx: 3\n", ("unknown key 1, x",)),
        ("title: 2026-13-45\nparts: []\n", ("not YAML", "month")),
        ("title: t\nparts: []\ncount: " + 5000 * "9" + "\n", ("not YAML", "digits")),
        ("title: " + 2000 * "[" + 2000 * "]" + "\nparts: []\n", ("not YAML", "recursion")),
        ("title: \ud800".encode("utf-8", "surrogatepass"), ("not YAML",)),
        ("title: " + 1_100_000 * "x", ("larger than",)),
    ],
)
def test_mistakes_name_the_key_and_what_is_allowed(tmp_path: Path, text: str | bytes, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    message = str(error.value)
    assert "whole.yaml" in message
    for word in words:
        assert word in message


def test_a_small_file_cannot_expand_without_end(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{i}: &x{i} [{', '.join(9 * [f'*x{i - 1}'])}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="aliases"):
        load(tmp_path, "parts: []\ntitle:\n  " + "\n  ".join(lines))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml", Whole)


def test_yaml_never_runs_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        load(tmp_path, "title: !!python/object/apply:os.getcwd []\nparts: []\n")


def test_what_ships_is_found_and_what_does_not_is_named() -> None:
    assert (shipped_folder("configs") / "protocols").is_dir()
    with pytest.raises(ConfigError, match="nonsense"):
        shipped_folder("nonsense")


def test_all_mistakes_are_named_and_not_the_first_alone(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text(
        "title: 5\nparts: [{size_mm: 1}, {size: 2}, {size_mm: x}]\ncolor: blue\nkolor: red\n", encoding="utf-8"
    )
    found = {(error.where.removeprefix(f"{path}: "), error.found) for error in config_mistakes(path, Whole)}
    assert {where for where, _ in found} == {
        "title",
        "parts[1].size_mm",
        "parts[1]",
        "parts[2].size_mm",
        "color",
        str(path),
    }
    assert ("parts[1]", "unknown key size") in found
    assert (str(path), "unknown key kolor") in found
    path.write_text("title: t\nparts: []\n", encoding="utf-8")
    assert config_mistakes(path, Whole) == ()
    path.write_text("title: [\n", encoding="utf-8")
    (alone,) = config_mistakes(path, Whole)
    assert "is not YAML" in alone.found
