"""The configuration reference: keys, kinds, defaults and meaning of every YAML file, from its dataclasses."""

import inspect
import re
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple

from contour.core.planning_system import PlanningSystem
from contour.core.protocol import Protocol
from contour.inference.package import Manifest
from contour.services.node.settings import NodeSettings
from contour.training.config import TrainingConfig


class Described(NamedTuple):
    """A kind of YAML file: what it is called, where those that ship lie, and the dataclass that it becomes."""

    title: str
    place: str
    kind: type[Any]


FILES = (
    Described("Protocol", "configs/protocols/*.yaml", Protocol),
    Described("Training", "configs/training/*.yaml", TrainingConfig),
    Described("DICOM node", "configs/node/*.yaml", NodeSettings),
    Described("Planning system", "configs/tps/*.yaml", PlanningSystem),
    Described("Model package", "models/*/package.yaml", Manifest),
)


def configuration_page() -> str:
    """Markdown with a section for each kind of file, its dataclasses beneath it; one that several use stands once."""
    shown: set[type[Any]] = set()
    parts = []
    for described in FILES:
        parts.append(f"## {described.title}\n\n`{described.place}`\n")
        for kind in _reachable(described.kind):
            if kind not in shown:
                shown.add(kind)
                parts.append(_of_choice(kind) if issubclass(kind, Enum) else _of_class(kind))
    return "\n".join(parts)


def _reachable(kind: type[Any]) -> list[type[Any]]:
    """The dataclass, and those and the enumerations that its keys hold, in the order in which they are met."""
    found = [kind]
    for one in found:
        if is_dataclass(one):
            for hint in _hints(one).values():
                found += [part for part in _named_parts(hint) if part not in found]
    return found


def _named_parts(hint: Any) -> list[type[Any]]:
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Enum)):
        return [hint]
    return [part for inner in typing.get_args(hint) for part in _named_parts(inner)]


def _of_class(kind: type[Any]) -> str:
    prose, _, mistakes = inspect.cleandoc(kind.__doc__ or "").partition("Raises:\n")
    rows = ["| key | holds | default |", "|---|---|---|"]
    hints = _hints(kind)
    rows += [f"| `{f.name}` | {_holds(hints[f.name])} | {_default(f)} |" for f in fields(kind) if f.init]
    refused = " ".join(mistakes.replace("ValueError:", "").split())
    said = f"\nRefused: {_prose(refused)}\n" if refused else ""
    return f"({_anchor(kind)})=\n### {kind.__name__}\n\n{_prose(prose)}\n\n" + "\n".join(rows) + "\n" + said


def _of_choice(kind: type[Enum]) -> str:
    prose = inspect.cleandoc(kind.__doc__ or "")
    values = ", ".join(f"`{member.value}`" for member in kind)
    return f"({_anchor(kind)})=\n### {kind.__name__}\n\n{_prose(prose)}\n\nOne of {values}.\n"


def _anchor(kind: type[Any]) -> str:
    return f"config-{kind.__name__.lower()}"


def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _holds(hint: Any) -> str:
    """The kind of a value in words of YAML."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        return " or ".join("null" if part is NoneType else _holds(part) for part in inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of {_holds(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} times {_holds(inner[0])}"
    if origin is dict:
        return f"{_holds(inner[0])}: {_holds(inner[1])}"
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Enum)):
        return f"[{hint.__name__}](#{_anchor(hint)})"
    words = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return words.get(hint, str(hint))


def _default(field: "Field[Any]") -> str:
    if field.default is MISSING and field.default_factory is MISSING:
        return "**required**"
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if is_dataclass(value):
        return "its defaults"
    if isinstance(value, StrEnum):
        return f"`{value.value}`"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "`true`", False: "`false`"}[value]
    if isinstance(value, tuple | dict):
        return f"`{list(value)}`" if value else "none"
    return f"`{value}`" if value != "" else "none"


def _prose(text: str) -> str:
    """A docstring for Markdown: nothing in it is taken for markup but what is code."""
    parts = re.split(r"(`[^`]*`)", text.strip())
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    return text.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[")
