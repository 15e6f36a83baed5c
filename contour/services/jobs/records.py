"""Dataclasses as plain JSON and back: what stands in the queue's database and beside it. Nothing is pickled."""

import json
import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cattrs

T = TypeVar("T")


def to_record(value: Any) -> Any:
    """`value` as JSON knows it."""
    return _converter().unstructure(value)


def from_record(record: Any, kind: type[T]) -> T:
    """The `kind` that `to_record` made `record` of; keys of a later version are passed over.

    Raises:
        ValueError: it is no such record.
    """
    try:
        return _converter().structure(record, kind)
    except (cattrs.BaseValidationError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no record of a {kind.__name__}: {error}") from error


def write_record(value: Any, path: Path) -> None:
    """`value` as JSON at `path`, whole or not at all, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(to_record(value), stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_record(path: Path, kind: type[T]) -> T:
    """What `write_record` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such record.
    """
    return from_record(json.loads(path.read_text(encoding="utf-8")), kind)


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda text, _: Path(text))
    converter.register_unstructure_hook(datetime, lambda moment: moment.isoformat())
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    return converter
