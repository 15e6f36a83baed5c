"""Weights out of checkpoints that others made, without running anything that stands in them.

A checkpoint of torch is a pickle, and a pickle is a program. It is read by torch's own reader for weights alone, which
knows tensors, containers and numbers, and calls nothing else. nnU-Net writes numbers of numpy beside its weights (what
its logger keeps): these are read too, by functions of our own under numpy's names, which take numbers and nothing else.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contour.core.errors import PackageError

MAX_CHECKPOINT_BYTES = 8 << 30
_SECOND = re.compile(r"(?P<block>.+)\.all_modules\.\d+\.(?P<rest>[a-z_]+)")
NUMBER_KINDS = "biufc"  # what numpy calls booleans, integers and floating-point numbers

_ALLOWED = "a checkpoint of tensors, containers and numbers; whatever else it holds would have to be run to be read"


class _NumberType:
    """Stands for numpy.dtype while a checkpoint is read: the name of a type of numbers, and nothing that acts."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which for a number that stands in bytes of this machine say nothing new."""

    def numpy_type(self) -> "np.dtype[Any]":
        """The type, if it is one of numbers."""
        found = np.dtype(self.code)
        if found.kind not in NUMBER_KINDS:
            raise pickle.UnpicklingError(f"a numpy value of type {self.code!r}")
        return found


def _number(kind: _NumberType, content: bytes) -> int | float | complex | bool:
    """Stands for numpy's scalar(): a number from its bytes."""
    numpy_type = kind.numpy_type()
    if not isinstance(content, bytes) or len(content) != numpy_type.itemsize:
        raise pickle.UnpicklingError(f"a numpy {kind.code!r} that is not {numpy_type.itemsize} bytes")
    number: int | float | complex | bool = np.frombuffer(content, dtype=numpy_type)[0].item()
    return number


def _stand_ins() -> list[tuple[Callable[..., Any], str]]:
    return [
        (_NumberType, "numpy.dtype"),
        (_number, "numpy.core.multiarray.scalar"),
        (_number, "numpy._core.multiarray.scalar"),
    ]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What the checkpoint at `path` holds, as tensors, containers and numbers.

    Raises:
        PackageError: it cannot be read, is too large, or holds anything that would have to be run to be read.
    """
    where = str(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise PackageError(where, f"cannot be read ({error.strerror})", "a readable checkpoint") from error
    if size > MAX_CHECKPOINT_BYTES:
        raise PackageError(where, f"{size} bytes", f"at most {MAX_CHECKPOINT_BYTES}")
    try:
        with torch.serialization.safe_globals(_stand_ins()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # what follows is an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    # What torch raises on a damaged or hostile file varies: a pickle's own error, a zip's, or of a broken stream.
    except pickle.UnpicklingError as error:
        raise PackageError(where, _reason(error), _ALLOWED) from error
    except (RuntimeError, OSError, zipfile.BadZipFile, EOFError, KeyError, IndexError, ValueError, TypeError) as error:
        raise PackageError(where, f"is damaged, or no checkpoint ({_reason(error)})", _ALLOWED) from error
    if not isinstance(content, dict):
        raise PackageError(where, f"holds a {type(content).__name__}", "a checkpoint with named entries")
    return content


def network_weights(path: Path, content: dict[str, Any], key: str) -> dict[str, torch.Tensor]:
    """The weights under `key`, without the prefixes that wrapped networks bear, and each of them once.

    nnU-Net's blocks name their layers twice (`conv` and `all_modules.0`), and its decoder names the encoder's again.

    Raises:
        PackageError: there are none, or what bears a second name differs from the first.
    """
    found = content.get(key)
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise PackageError(str(path), f"has no tensors under {key!r}", "a checkpoint with a network's state")
    named = {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in found.items()}
    weights = {name: value for name, value in named.items() if not _first_names(name)}
    for name, value in named.items():
        firsts = [weights[first] for first in _first_names(name) if first in weights]
        if _first_names(name) and not any(torch.equal(value, first) for first in firsts):
            raise PackageError(str(path), f"{name} is not what it is called elsewhere", "one value for one weight")
    return weights


def _first_names(name: str) -> tuple[str, ...]:
    """What a weight may be called in the first place, if this is a second name; nothing if it is its own."""
    plain = name.removeprefix("decoder.") if name.startswith("decoder.encoder.") else name
    second = _SECOND.fullmatch(plain)
    if second is not None:
        return tuple(f"{second['block']}.{part}.{second['rest']}" for part in ("conv", "norm"))
    return () if plain == name else (plain,)


def load_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """`weights` into `network`, every one of them, and no other.

    Raises:
        PackageError: names or shapes differ: the network is not the one that was trained.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    missing, further = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    other = [name for name in sorted(wanted.keys() & given.keys()) if wanted[name] != given[name]]
    if missing or further or other:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:2])})"
            for names, what in ((missing, "missing"), (further, "unknown"), (other, "of another shape"))
            if names
        ]
        raise PackageError(where, f"weights that the plans' network does not have: {'; '.join(parts)}", "its weights")
    if not all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point()):
        raise PackageError(where, "holds weights that are nan or infinite", "finite weights")
    network.load_state_dict(weights)


def _reason(error: Exception) -> str:
    """What was found, without torch's advice to load everything after all: that stands around the first error."""
    inner = error.__context__ if isinstance(error.__context__, pickle.UnpicklingError) else error
    return " ".join(str(inner).split()).split(". ")[0][:300]
