"""A file appears in whole, proven, and on the disk, or not at all."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contour.core.errors import NotReleased


def part_of(output: Path) -> Path:
    """The name of a file in work beside `output`; another writer has another."""
    return output.with_name(f"{output.name}.{secrets.token_hex(4)}.part")


def write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    """Writes `pieces` to `path` and waits until the disk has them.

    Raises:
        OSError: the disk.
    """
    with path.open("wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def release(part: Path, output: Path, differences: tuple[str, ...]) -> None:
    """Gives the file `part` its name `output` in one step, unless something differs from what should be in it.

    Raises:
        NotReleased: there are `differences`.
        OSError: the disk.
    """
    if differences:
        raise NotReleased(differences)
    part.replace(output)
    sync_folder(output.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder; where none can be opened to be synchronised (Windows), it has.

    Raises:
        OSError: the disk.
    """
    if os.name == "posix":
        handle: Any = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
