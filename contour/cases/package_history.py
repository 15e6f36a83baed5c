"""The package in use, exchanged in one moment, and every one that was in use before it.

::

    models/thorax_ct/                   in use; promotion.yaml in it says what it replaced, and why it could
    models/.history/thorax_ct/0001/     whole packages that were in use, or were taken back

A package knows the checksum of the one that it replaced: the way back is a chain that no file beside them can break.
"""

import ctypes
import errno
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from contour.cases.promote import PROMOTION_FILE, Decision
from contour.config import load_config, save_config
from contour.core.errors import ConfigError
from contour.inference.package import MANIFEST_FILE, Manifest, load_package
from contour.inference.session import verify_package

HISTORY_FOLDER = ".history"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_OFFERED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@dataclass(frozen=True)
class KeptPackage:
    """A package in the history; `decision` says how it came into use, None for a first one."""

    folder: Path
    manifest: Manifest
    decision: Decision | None


def replace_package(new: Path, in_use: Path, decision: Decision) -> Path:
    """Put a copy of the package `new` in the place of `in_use`, which goes to the history; returns its folder there.

    There is no moment without a package in use, and none in which it is half of one and half of the other (where the
    file system cannot exchange two folders: a moment without any, which the next call mends).

    Raises:
        ConfigError: the decision does not allow it, or is on other packages than these.
        PackageError: the copy is not whole.
        OSError: the place cannot be written to.
    """
    _mend(in_use)
    if not decision.passes:
        raise ConfigError(str(new), "is not shown to be no worse than the package in use", "a decision that passes")
    current = load_package(in_use).manifest.onnx_sha256
    if (load_package(new).manifest.onnx_sha256, current) != (decision.new.sha256, decision.replaced.sha256):
        raise ConfigError(str(new), "the decision is on other packages", "a decision on this one and the one in use")
    kept = _history(in_use)
    kept.mkdir(parents=True, exist_ok=True)
    place = kept / f"{max((int(p.name) for p in kept.iterdir() if p.name.isdigit()), default=0) + 1:04d}"
    stage = place.with_suffix(".part")
    try:
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(new, stage)
        save_config(decision, stage / PROMOTION_FILE)
        verify_package(load_package(stage))
        stage.rename(place)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    exchange_folders(place, in_use)
    return place


def roll_back(in_use: Path) -> Manifest:
    """Put the package back that the one in use replaced; that one goes to the history. Returns the manifest in use.

    Raises:
        ConfigError: the package in use replaced none, or that is no longer in the history.
        PackageError: the earlier package is not whole.
    """
    _mend(in_use)
    path = in_use / PROMOTION_FILE
    if not path.exists():
        raise ConfigError(str(in_use), "replaced no package", "a package that contour promote put in use")
    replaced = load_config(path, Decision).replaced
    earlier = next((kept for kept in history(in_use) if kept.manifest.onnx_sha256 == replaced.sha256), None)
    if earlier is None:
        found = f"{replaced.name} {replaced.version} {replaced.sha256[:12]} is gone"
        raise ConfigError(str(_history(in_use)), found, "the package that was replaced")
    verify_package(load_package(earlier.folder))
    exchange_folders(earlier.folder, in_use)
    return load_package(in_use).manifest


def history(in_use: Path) -> tuple[KeptPackage, ...]:
    """The packages that are kept beside the one in use, the latest first.

    Raises:
        PackageError, ConfigError: one of them is not whole.
    """
    folders = sorted(_history(in_use).glob(f"[0-9]*/{MANIFEST_FILE}"), reverse=True)
    return tuple(_kept(manifest.parent) for manifest in folders if manifest.parent.name.isdigit())


def exchange_folders(one: Path, other: Path) -> None:
    """Exchange two folders on one file system: in one step on Linux, elsewhere by three renames.

    Raises:
        OSError: one is missing, or they lie on different file systems; both are where they were.
    """
    if _exchanged_at_once(one, other):
        return
    aside = _aside(other)
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _exchanged_at_once(one: Path, other: Path) -> bool:
    """Whether the system offers to exchange two paths, and did."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _mend(in_use: Path) -> None:
    """Where three renames were interrupted, the package that was in use comes back."""
    aside = _aside(in_use)
    if aside.exists() and not in_use.exists():
        aside.rename(in_use)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.aside")


def _history(in_use: Path) -> Path:
    return in_use.resolve().parent / HISTORY_FOLDER / in_use.resolve().name


def _kept(folder: Path) -> KeptPackage:
    path = folder / PROMOTION_FILE
    return KeptPackage(folder, load_package(folder).manifest, load_config(path, Decision) if path.exists() else None)
