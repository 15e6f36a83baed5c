"""YAML file -> frozen dataclass. An unknown key or a wrong value is an error that names the file, key and choices."""

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

import cattrs
import yaml
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from contour.core.errors import ConfigError

T = TypeVar("T")

MAX_CONFIG_BYTES = 1 << 20


def shipped_folder(kind: str) -> Path:
    """The folder `kind` ("configs" or "models") that ships: inside a wheel, or at the top of a checkout.

    Raises:
        ConfigError: the installation has lost it.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / "_shipped" / kind, package.parent / kind)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise ConfigError(str(candidates[0]), "is missing", "an installation with its configs and models")


def load_config(path: Path, kind: type[T], *, max_bytes: int = MAX_CONFIG_BYTES) -> T:
    """The YAML file at `path` as a `kind` (a dataclass, nested ones included), if it has no more than `max_bytes`.

    Aliases and repeated keys are refused: the first can make a small file expand without end, and of two values for
    one key a person may have meant either.

    Raises:
        ConfigError: the file cannot be read or parsed, a key is unknown, repeated or missing, or a value has the wrong
            type.
    """
    try:
        text = _text(path, max_bytes)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", "a readable YAML file") from error
    try:
        content = yaml.load(text, _PlainLoader)
    # ValueError: a date or number that there is not, or text that is not UTF-8; RecursionError: lists within lists.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), f"is not YAML ({' '.join(str(error).split())})", "YAML in UTF-8") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), f"holds a {type(content).__name__}", f"keys {_allowed_keys(kind)}")
    try:
        return _converter().structure(content, kind)
    except (ClassValidationError, IterableValidationError, ForbiddenExtraKeysError) as error:
        key, found, allowed = next(_mistakes(error, "", kind))
        raise ConfigError(f"{path}: {key}" if key else str(path), found, allowed) from error


def config_mistakes(path: Path, kind: type[Any]) -> tuple[ConfigError, ...]:
    """Every mistake of the file at `path` that `load_config` would refuse it for, not the first alone.

    What only shows once a part is right (a range whose ends are exchanged) comes to light when its keys are.
    """
    try:
        load_config(path, kind)
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, ClassValidationError | IterableValidationError | ForbiddenExtraKeysError):
            found = _mistakes(cause, "", kind)
            return tuple(ConfigError(f"{path}: {key}" if key else str(path), what, may) for key, what, may in found)
        return (error,)
    return ()


def save_config(value: Any, path: Path, header: str = "") -> None:
    """Write the dataclass `value` as YAML that `load_config` reads, whole or not at all; `header` becomes comments."""
    text = "".join(f"# {line}\n" for line in header.splitlines())
    text += yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=120)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _plain(value: Any) -> Any:
    """`value` as YAML knows it: mappings, lists, text and numbers."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def _text(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as stream:
        text = stream.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise ConfigError(str(path), f"is larger than {max_bytes} bytes", "a configuration")
    return text


class _PlainLoader(yaml.SafeLoader):
    """Plain data only: no aliases, and every key of a mapping once."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)

    def forbidding(cls: type[Any]) -> Callable[[Any, Any], Any]:
        return make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)

    converter.register_structure_hook_factory(lambda t: isinstance(t, type) and is_dataclass(t), forbidding)
    # cattrs would turn "yes" into True and 1 into "1": a configuration says what it means. Its own hooks for scalars
    # are found by class, before any predicate, so these must be too; enumerations would then be taken for their str.
    for scalar in (str, int, bool):
        converter.register_structure_hook(scalar, _exactly(scalar))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))
    return converter


def _exactly(scalar: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not scalar:
            raise TypeError(f"{value!r} is not a {scalar.__name__}")
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _mistakes(error: BaseException, key: str, kind: Any) -> Iterator[tuple[str, str, str]]:
    """(key path, what was found, what is allowed) of each leaf of cattrs' tree of errors."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        owner = error.cl if isinstance(error, ClassValidationError) else kind
        for inner in error.exceptions:
            note = _note(inner)
            name = getattr(note, "name", None)
            step = "" if note is None else f".{name}" if isinstance(name, str) else f"[{getattr(note, 'index', '?')}]"
            # A missing key has no value whose kind could be meant: its owner's keys are what is allowed.
            inner_kind = owner if note is None or isinstance(inner, KeyError) else note.type
            yield from _mistakes(inner, (key + step).lstrip("."), inner_kind)
    elif isinstance(error, ForbiddenExtraKeysError):
        unknown = ", ".join(sorted(map(str, error.extra_fields)))
        yield key, f"unknown key {unknown}", f"keys {_allowed_keys(error.cl)}"
    elif isinstance(error, KeyError):
        yield key, "is missing", f"keys {_allowed_keys(kind)}"
    else:
        yield key, str(error), _describe(kind)


def _note(error: BaseException) -> Any:
    """cattrs attaches the attribute or index at fault as a note object on the exception."""
    return next((n for n in getattr(error, "__notes__", ()) if hasattr(n, "type")), None)


def _allowed_keys(kind: Any) -> str:
    return ", ".join(f.name for f in fields(kind)) if is_dataclass(kind) else _describe(kind)


def _describe(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    if isinstance(kind, UnionType):
        return " or ".join("null" if part is type(None) else _describe(part) for part in get_args(kind))
    return f"a {getattr(kind, '__name__', kind)}" if not get_args(kind) else f"a {kind}"
