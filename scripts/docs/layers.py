"""The layers of the package, drawn from the contract that import-linter holds it to."""

import importlib
import inspect
import tomllib
from html import escape
from pathlib import Path

CONTRACT = "Imports point down only"
WIDTH, ROW, GAP = 720, 46, 8


def layers(pyproject: Path) -> tuple[tuple[str, ...], ...]:
    """The modules of each layer, the highest first.

    Raises:
        ValueError: the contract is not in the file.
    """
    contracts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    found = next((contract for contract in contracts if contract["name"] == CONTRACT), None)
    if found is None:
        raise ValueError(f"{pyproject}: no contract {CONTRACT!r}")
    return tuple(tuple(name.strip() for name in layer.split("|")) for layer in found["layers"])


def layers_diagram(pyproject: Path) -> str:
    """The layers as an SVG that takes its colours from the page; imports point down."""
    rows = layers(pyproject)
    height = len(rows) * (ROW + GAP) + GAP
    boxes = []
    for number, modules in enumerate(rows):
        y = GAP + number * (ROW + GAP)
        wide = (WIDTH - GAP * (len(modules) + 1)) / len(modules)
        for place, name in enumerate(modules):
            x = GAP + place * (wide + GAP)
            boxes.append(
                f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{ROW}" rx="6" fill="none" stroke="currentColor"'
                f' stroke-opacity="0.5"/><text x="{x + wide / 2:.1f}" y="{y + ROW / 2 + 5:.0f}" text-anchor="middle"'
                f' fill="currentColor" font-size="15">{escape(name.removeprefix("contour."))}</text>'
            )
    title = "Layers of the package; imports point down"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}" style="width:100%;max-width:{WIDTH}px"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(boxes)}</svg>'
    )


def layers_table(pyproject: Path) -> str:
    """Each module of the layers with the first sentence of its docstring, as Markdown."""
    lines = ["| room | what it is for |", "|---|---|"]
    for modules in layers(pyproject):
        for name in modules:
            said = inspect.getdoc(importlib.import_module(name)) or ""
            lines.append(f"| `{name}` | {' '.join(said.split(chr(10) + chr(10))[0].split())} |")
    return "\n".join(lines)
