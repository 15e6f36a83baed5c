"""Networks of MONAI's bundles: which of its classes, with which arguments, and their weights, without running anything.

A bundle names a class, which MONAI looks up anywhere in Python. Here a table says what a name may stand for, and an
argument may be numbers, texts, truth values and lists of them.
"""

import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from monai.networks import nets

from contour.core.errors import PackageError
from contour.training.importing.bundle_config import BundlePart
from contour.training.importing.checkpoint import MAX_CHECKPOINT_BYTES, load_weights, read_checkpoint

NETWORKS: dict[str, Callable[..., torch.nn.Module]] = {
    "UNet": nets.UNet,
    "Unet": nets.UNet,
    "BasicUNet": nets.BasicUNet,
    "BasicUnet": nets.BasicUNet,
    "AttentionUnet": nets.AttentionUnet,
    "DynUNet": nets.DynUNet,
    "DynUnet": nets.DynUNet,
    "SegResNet": nets.SegResNet,
    "UNETR": nets.UNETR,
    "SwinUNETR": nets.SwinUNETR,
    "VNet": nets.VNet,
}
STATE_KEYS = (
    "model",
    "state_dict",
    "network",
    "net",
)  # what a network's state stands under, where others are there too
_SCRIPT_SUFFIXES = (".ts", ".torchscript")
_SCRIPT = "holds TorchScript, which is code: reading it would run it"
_SCRIPT_ALLOWED = "weights as safetensors (.safetensors) or a state dict (.pt)"


def build_network(part: BundlePart) -> torch.nn.Module:
    """The network that `part` describes, without its weights.

    Raises:
        PackageError: it is none of the table, it takes several images or no volumes, or an argument is not plain.
    """
    package, _, kind = part.target.rpartition(".")
    if kind not in NETWORKS or (package and not package.startswith("monai.networks.nets")):
        allowed = f"one of MONAI's {', '.join(sorted(set(NETWORKS)))}: other code is not run"
        raise PackageError(part.where, part.target, allowed)
    known = inspect.signature(NETWORKS[kind]).parameters
    part.only(*known)
    arguments = {key: _plain(part, key, part.value(key)) for key in part.given if not key.startswith("_")}
    if arguments.get("in_channels", 1) != 1:
        raise part.refuse("in_channels", "1: several registered images are not contoured here")
    if "spatial_dims" in known and arguments.get("spatial_dims", 3) != 3:
        raise part.refuse("spatial_dims", "3")
    try:
        network = NETWORKS[kind](**arguments)
    # MONAI checks its arguments itself, each class in its own way.
    except (ValueError, TypeError, KeyError, IndexError, AssertionError, NotImplementedError) as error:
        raise PackageError(
            part.where, f"{kind} cannot be built of its arguments ({error})", "those of MONAI's"
        ) from error
    return network.eval()


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a bundle's file, safetensors or a state dict.

    Raises:
        PackageError: it holds code, cannot be read without running it, or holds no network's state.
    """
    where = str(path)
    if not path.is_file():
        raise PackageError(where, "is no file", "the bundle's weights, or --weights")
    if path.stat().st_size > MAX_CHECKPOINT_BYTES:
        raise PackageError(where, f"{path.stat().st_size} bytes", f"at most {MAX_CHECKPOINT_BYTES}")
    if path.suffix == ".safetensors":
        try:
            found: dict[str, Any] = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise PackageError(where, f"is damaged ({error})", "a safetensors file") from error
    elif path.suffix in _SCRIPT_SUFFIXES or _is_script(path):
        raise PackageError(where, _SCRIPT, _SCRIPT_ALLOWED)
    else:
        found = _state(read_checkpoint(path), where)
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def network_with_weights(part: BundlePart, path: Path) -> torch.nn.Module:
    """The network that `part` describes with the weights at `path`, every one of them.

    Raises:
        PackageError: as `build_network` and `read_weights`, or they do not belong together.
    """
    network = build_network(part)
    load_weights(network, read_weights(path), str(path))
    return network


def _is_script(path: Path) -> bool:
    """Whether torch.jit wrote the file: an archive with code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist())


def _state(content: dict[str, Any], where: str) -> dict[str, Any]:
    for key in STATE_KEYS:
        if isinstance(content.get(key), dict) and _tensors(content[key]):
            found: dict[str, Any] = content[key]
            return found
    if not _tensors(content):
        allowed = f"a network's state, by itself or under {', '.join(STATE_KEYS)}"
        raise PackageError(where, f"holds {', '.join(map(str, list(content)[:4]))}", allowed)
    return content


def _tensors(content: dict[str, Any]) -> bool:
    return bool(content) and all(isinstance(value, torch.Tensor) for value in content.values())


def _plain(part: BundlePart, key: str, value: Any) -> Any:
    """`value` if it is numbers, texts and lists; a mapping only of such, as MONAI's layers have for their arguments."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_plain(part, key, item) for item in value]
        case dict() if not any(str(name).startswith("_") for name in value):
            return {name: _plain(part, key, item) for name, item in value.items()}
    raise part.refuse(key, "numbers, texts, truth values and lists of them")
