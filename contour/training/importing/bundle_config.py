"""What a MONAI bundle's configuration says, read without running what stands in it.

In a bundle's configuration (MONAI 1.6, "MONAI Bundle Configuration") a text that begins with `@` refers to another
entry, and one that begins with `$` is a Python expression, which MONAI evaluates. Here only what is asked for is looked
at, and of expressions only those that say plain values: numbers, texts, lists, references, a choice between two by an
entry, texts one after the other, and `.to(...)`, which says where a network runs and not what it is. All others are
refused, as is what stands in files of the bundle's own (`%`).
"""

import ast
import json
import re
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from contour.core.errors import PackageError
from contour.training.importing.entries import read_json

MAX_CONFIG_BYTES = 4 << 20
MAX_DEPTH = 40
TARGET, DISABLED = "_target_", "_disabled_"
_NO_MEANING = ("_desc_", "_mode_")  # of parts that are only read

_REFERENCE = re.compile(r"@((?:\w+)(?:(?:#|::)\w+)*)")
_NAME = re.compile(r"_entry(\d+)_")
_ALLOWED = "plain values, references, a choice between two by an entry: expressions are read here, never run"


@dataclass(frozen=True)
class BundleConfig:
    """A configuration and where it stands."""

    where: str
    content: dict[str, Any]

    def has(self, entry: str) -> bool:
        """Whether there is such an entry."""
        return entry in self.content

    def value(self, entry: str) -> Any:
        """The plain value of the entry `a#b#0`, references and expressions resolved.

        Raises:
            PackageError: there is none, or it would have to be run.
        """
        return self._resolved(self._raw(entry), entry, MAX_DEPTH)

    def part(self, entry: str) -> "BundlePart":
        """The entry that describes one object, such as a network.

        Raises:
            PackageError: there is none, or it is no such description.
        """
        raw = self._raw(entry)
        for _ in range(MAX_DEPTH):
            if not isinstance(raw, str):
                break
            # A name for another entry, or the network put on a device.
            found = re.fullmatch(r"\$?\s*@([\w#:]+?)(\.to\([^()]*\))?\s*", raw)
            if found is None:
                raise PackageError(f"{self.where}: {entry}", raw[:100], _ALLOWED)
            entry, raw = found[1], self._raw(found[1])
        return self._part(raw, entry)

    def parts(self, entry: str) -> tuple["BundlePart", ...]:
        """The descriptions in the list at `entry`, without those that are disabled."""
        raw = self._raw(entry)
        if not isinstance(raw, list):
            raise PackageError(f"{self.where}: {entry}", repr(raw)[:100], "a list of objects")
        found = tuple(self._part(item, f"{entry}#{number}") for number, item in enumerate(raw))
        return tuple(part for part in found if not part.flag(DISABLED, default=False))

    def _part(self, raw: Any, entry: str) -> "BundlePart":
        if not isinstance(raw, dict) or not isinstance(raw.get(TARGET), str):
            raise PackageError(f"{self.where}: {entry}", repr(raw)[:100], f"an object with {TARGET}")
        return BundlePart(self, entry, raw[TARGET], {key: value for key, value in raw.items() if key != TARGET})

    def _raw(self, entry: str) -> Any:
        found: Any = self.content
        for step in entry.replace("::", "#").split("#"):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise PackageError(self.where, f"has no {entry}", f"an entry {entry}, as MONAI's bundles have")
        return found

    def _resolved(self, raw: Any, entry: str, depth: int) -> Any:
        if depth == 0:
            raise PackageError(f"{self.where}: {entry}", "refers to itself", _ALLOWED)
        if isinstance(raw, dict):
            return {key: self._resolved(value, f"{entry}#{key}", depth - 1) for key, value in raw.items()}
        if isinstance(raw, list):
            return [self._resolved(value, f"{entry}#{n}", depth - 1) for n, value in enumerate(raw)]
        if not isinstance(raw, str):
            return raw
        if raw.startswith("%"):
            raise PackageError(f"{self.where}: {entry}", repr(raw)[:100], "no text of other files (%)")
        whole = _REFERENCE.fullmatch(raw)
        if whole is not None:
            return self._resolved(self._raw(whole[1]), whole[1], depth - 1)
        if not raw.startswith("$"):
            return raw
        entries: list[str] = []

        def named(found: re.Match[str]) -> str:
            entries.append(found[1])
            return f"_entry{len(entries) - 1}_"

        text = _REFERENCE.sub(named, raw[1:]).strip()
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise PackageError(f"{self.where}: {entry}", raw[:100], _ALLOWED) from error
        return _Expression(self, entry, raw, tuple(entries), depth).read(tree)


@dataclass(frozen=True)
class _Expression:
    """One expression; `read` says its value, or refuses it."""

    config: BundleConfig
    entry: str
    text: str
    entries: tuple[str, ...]
    depth: int

    def read(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.read(item) for item in items]
            case ast.Name(id=name) if _NAME.fullmatch(name):
                entry = self.entries[int(name[6:-1])]
                return self.config._resolved(self.config._raw(entry), entry, self.depth - 1)
            case ast.IfExp(test=test, body=body, orelse=other):
                chosen = self.read(test)
                if isinstance(chosen, bool):
                    return self.read(body if chosen else other)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                first, second = self.read(left), self.read(right)
                if isinstance(first, str) and isinstance(second, str):
                    return first + second
        raise PackageError(f"{self.config.where}: {self.entry}", self.text[:100], _ALLOWED)


@dataclass(frozen=True)
class BundlePart:
    """The description of one object: its class by name, and its arguments, each resolved when it is asked for."""

    config: BundleConfig
    entry: str
    target: str
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.config.where}: {self.entry}"

    @property
    def kind(self) -> str:
        """The last part of the class's name."""
        return self.target.rsplit(".", 1)[-1]

    def value(self, key: str, default: Any = None) -> Any:
        """The plain value of an argument."""
        return (
            self.config._resolved(self.given[key], f"{self.entry}#{key}", MAX_DEPTH) if key in self.given else default
        )

    def number(self, key: str, default: float | None = None) -> float:
        """The number that an argument is."""
        return _number(self, key, self.value(key, default))

    def numbers(self, key: str, size: int) -> tuple[float, ...]:
        """As many numbers; one alone stands for all of them."""
        found = self.value(key)
        values = found if isinstance(found, list) else [found] * size
        if len(values) != size:
            raise self.refuse(key, f"{size} numbers")
        return tuple(_number(self, key, value) for value in values)

    def flag(self, key: str, *, default: bool) -> bool:
        """The truth value that an argument is."""
        found = self.value(key, default)
        if not isinstance(found, bool):
            raise self.refuse(key, "true or false")
        return found

    def only(self, *known: str) -> None:
        """Refuse arguments that are not among `known`."""
        for key in self.given:
            if key not in known and key not in (*_NO_MEANING, DISABLED):
                raise self.refuse(key, f"{', '.join(known) or 'no argument'} of {self.kind}")

    def must(self, key: str, *allowed: Any) -> None:
        """Refuse an argument that is given, and none of `allowed`."""
        if key in self.given and self.value(key) not in allowed:
            raise self.refuse(key, " or ".join(json.dumps(value) for value in allowed))

    def refuse(self, key: str, allowed: str) -> PackageError:
        """The error for an argument that cannot be used here."""
        return PackageError(f"{self.where}: {key} of {self.kind}", repr(self.given.get(key))[:100], allowed)


def read_bundle_config(path: Path, changes: tuple[str, ...] = ()) -> BundleConfig:
    """The configuration in the JSON or YAML file at `path`; `changes` are entries that are otherwise, as `a#b=false`.

    Raises:
        PackageError: it cannot be read, or a change names no entry.
    """
    content = read_json(path).content if path.suffix == ".json" else _read_yaml(path)
    for change in changes:
        entry, _, text = change.partition("=")
        steps = entry.split("#")
        found: Any = content
        for step in steps[:-1]:
            found = found.get(step) if isinstance(found, dict) else None
        if not isinstance(found, dict) or steps[-1] not in found:
            raise PackageError(f"--set {change}", f"{path} has no entry {entry}", "entry#entry=value of one it has")
        try:
            found[steps[-1]] = json.loads(text)
        except ValueError:
            found[steps[-1]] = text
    return BundleConfig(str(path), content)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise PackageError(str(path), f"{path.stat().st_size} bytes", f"at most {MAX_CONFIG_BYTES}")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(str(path), f"cannot be read ({error.strerror})", "a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PackageError(str(path), f"is not YAML ({error})", "a bundle's configuration") from error
    if not isinstance(content, dict):
        raise PackageError(str(path), f"holds a {type(content).__name__}", "a bundle's configuration")
    return content


def _number(part: BundlePart, key: str, found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise part.refuse(key, "a number")
    return float(found)
