"""Files that appear together when all are whole, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX, _SUFFIX = ".contour-", ".part"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, inside `folder`; its files move to `folder` when the block ends.

    If the block raises, whatever it is, nothing of it stays, nor `folder` itself where this made it. Files and folders
    of the same names are replaced. They move in the order of their names, so that of `report.json` and `rtstruct.dcm`
    the latter comes last.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
    try:
        yield stage
        for file in sorted(stage.iterdir()):
            target = folder / file.name
            if target.is_dir():
                shutil.rmtree(target)
            file.replace(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def remove_leftovers(folder: Path) -> None:
    """What killed processes staged in `folder`, and `folder` itself if nothing else is in it.

    Only for a folder into which nobody writes at that moment.
    """
    if not folder.is_dir():
        return
    for stage in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        shutil.rmtree(stage, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()
