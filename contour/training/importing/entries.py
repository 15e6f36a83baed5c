"""JSON that others wrote, asked entry by entry: what is not as expected is refused with the file and the key."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from contour.core.errors import PackageError

MAX_JSON_BYTES = 64 << 20  # fingerprints of large data sets stand beside plans


@dataclass(frozen=True)
class Entries:
    """A JSON object and where it stands."""

    where: str
    content: dict[str, Any]

    def has(self, key: str) -> bool:
        """Whether there is such an entry, and it is not null."""
        return self.content.get(key) is not None

    def part(self, key: str) -> "Entries":
        """The object under `key`."""
        return Entries(f"{self.where}: {key}", self._of(key, dict, "an object"))

    def text(self, key: str) -> str:
        """The text under `key`."""
        found: str = self._of(key, str, "text")
        return found

    def number(self, key: str) -> float:
        """The number under `key`."""
        return float(_number(self._get(key), f"{self.where}: {key}"))

    def flag(self, key: str) -> bool:
        """True or false under `key`."""
        found: bool = self._of(key, bool, "true or false")
        return found

    def items(self, key: str) -> list[Any]:
        """The list under `key`."""
        found: list[Any] = self._of(key, list, "a list")
        return found

    def numbers(self, key: str) -> tuple[float, ...]:
        """The numbers in the list under `key`."""
        return tuple(float(_number(item, f"{self.where}: {key}")) for item in self.items(key))

    def whole_numbers(self, key: str, repeated: int | None = None) -> tuple[int, ...]:
        """The whole numbers in the list under `key`; one number alone stands for `repeated` of them."""
        found = self._get(key)
        if repeated is not None and not isinstance(found, list):
            return (_whole(found, f"{self.where}: {key}"),) * repeated
        return tuple(_whole(item, f"{self.where}: {key}") for item in self.items(key))

    def tuples(self, key: str, size: int) -> tuple[tuple[int, ...], ...]:
        """Lists of `size` whole numbers in the list under `key`; one number stands for as many of it."""
        where = f"{self.where}: {key}"
        found = []
        for item in self.items(key):
            values = item if isinstance(item, list) else [item] * size
            if len(values) != size:
                raise PackageError(where, repr(item), f"{size} whole numbers")
            found.append(tuple(_whole(value, where) for value in values))
        return tuple(found)

    def refuse(self, key: str, allowed: str) -> PackageError:
        """The error for an entry that cannot be used here."""
        return PackageError(f"{self.where}: {key}", repr(self.content.get(key)), allowed)

    def _get(self, key: str) -> Any:
        if key not in self.content:
            raise PackageError(self.where, f"has no {key}", f"an entry {key}")
        return self.content[key]

    def _of(self, key: str, kind: type, called: str) -> Any:
        found = self._get(key)
        if not isinstance(found, kind):
            raise PackageError(f"{self.where}: {key}", repr(found)[:100], called)
        return found


def read_json(path: Path) -> Entries:
    """The JSON object in the file at `path`.

    Raises:
        PackageError: it cannot be read, is too large, or holds something else.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise PackageError(str(path), f"{path.stat().st_size} bytes", f"at most {MAX_JSON_BYTES}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(str(path), f"cannot be read ({error.strerror})", "a readable JSON file") from error
    except (ValueError, RecursionError) as error:
        raise PackageError(str(path), f"is not JSON ({error})", "JSON in UTF-8") from error
    if not isinstance(content, dict):
        raise PackageError(str(path), f"holds a {type(content).__name__}", "a JSON object")
    return Entries(str(path), content)


def _number(found: Any, where: str) -> int | float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise PackageError(where, repr(found)[:100], "a number")
    return found


def _whole(found: Any, where: str) -> int:
    number = _number(found, where)
    if number != int(number):
        raise PackageError(where, repr(found), "a whole number")
    return int(number)
