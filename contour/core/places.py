"""Where large arrays lie: in memory, or in a file of their own, which the system may take out of memory at any time.

The decision is made once, where an image is read; what is derived from an array that lies in a file, and is large, lies
in a file, too (`zeros_beside`). Nobody else has to know. The files have no name: they are gone when their array is, and
whatever way a process ends. They hold images of patients, and lie in the folder for temporary files: TMPDIR where it is
set, else /var/tmp, which is on a disk by the Filesystem Hierarchy Standard 3.0, section 5.15, else the system's own.
"""

import mmap
import os
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SMALLEST_FILE_BYTES = 1 << 22  # what is smaller stays in memory: a file costs more than it spares


def lies_in_file(array: NDArray[Any]) -> bool:
    """Whether the array, or that of which it is a view, lies in a file."""
    base: object = array
    while base is not None:
        if isinstance(base, mmap.mmap):
            return True
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return False


def zeros_in_file(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in a file without a name; in memory if they are few.

    Raises:
        OSError: the disk has no room for them.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST_FILE_BYTES:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile(dir=_folder(), prefix="contour-") as stream:
        if hasattr(os, "posix_fallocate"):
            # Without room set aside, a full disk would show as a bus error in the middle of the work.
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)
        room = mmap.mmap(stream.fileno(), size)
    return np.frombuffer(room, dtype=dtype).reshape(shape)


def zeros_beside(array: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that lie in a file if `array` does, else in memory."""
    return zeros_in_file(shape, dtype) if lies_in_file(array) else np.zeros(shape, dtype=dtype)


def contiguous_beside(array: NDArray[Any], part: NDArray[Any]) -> NDArray[Any]:
    """`part` itself if it is contiguous, else a copy in a file if `array` lies in one, else in memory."""
    if part.flags.c_contiguous or not lies_in_file(array):
        return np.ascontiguousarray(part)
    copy = zeros_in_file(part.shape, part.dtype)
    for to, of in zip(copy, part, strict=True):
        to[...] = of
    return copy


def _folder() -> str | None:
    usual = Path("/var/tmp")
    return None if os.environ.get("TMPDIR") or not os.access(usual, os.W_OK) else str(usual)
