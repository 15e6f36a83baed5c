"""Packages as single files, to carry on a stick or keep on a server of one's own; and their way in and out of a folder.

A package file is a zip of the package's own files, nothing else, uncompressed as networks do not compress. It is read
without trust: only files of the names that packages have, none in a folder, each once and no larger than it may be.
Its checksum stands in a file beside it, as `sha256sum` writes it, and is compared where that is there or given.
"""

import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from contour.core.checksum import file_sha256
from contour.core.errors import ConfigError, PackageError
from contour.core.staging import staged
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    PACKAGE_NAME,
    ModelPackage,
    load_package,
)
from contour.inference.session import verify_package

SUFFIX = ".contour"
CHECKSUM_SUFFIX = ".sha256"

# What a package consists of, and how large each may be; the first three are in every one.
FILE_BYTES = {
    MANIFEST_FILE: 1 << 20,
    CARD_FILE: 8 << 20,
    NETWORK_FILE: 2 << 30,
    "training.yaml": 1 << 20,
    "likeness.yaml": 8 << 20,
}
NEEDED = (MANIFEST_FILE, CARD_FILE, NETWORK_FILE)
_MADE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows: the same package is the same file, whenever it is packed
_BLOCK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Installed:
    """A package in its place; `replaced` is the version that was there before, None where there was none."""

    package: ModelPackage
    replaced: str | None


def pack(package: ModelPackage, folder: Path, *, overwrite: bool = False) -> Path:
    """The package as one file `NAME-VERSION.contour` in `folder`, with its checksum in a file beside it.

    Raises:
        ConfigError: the file exists and `overwrite` is not set.
        PackageError: the package is damaged.
    """
    verify_package(package)
    target = folder / f"{package.manifest.name}-{package.manifest.version}{SUFFIX}"
    if target.exists() and not overwrite:
        raise ConfigError(str(target), "exists already", "another place, or --overwrite")
    with staged(folder) as stage:
        made = stage / target.name
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
            for name in FILE_BYTES:
                if (package.folder / name).is_file():
                    entry = zipfile.ZipInfo(name, _MADE)
                    with (package.folder / name).open("rb") as stream, archive.open(entry, "w") as out:
                        shutil.copyfileobj(stream, out, _BLOCK)
        line = f"{package_sha256(made)}  {target.name}\n"
        (stage / (target.name + CHECKSUM_SUFFIX)).write_text(line, encoding="ascii")
    return target


def package_sources(place: Path) -> tuple[Path, ...]:
    """What can be installed from `place`: itself, if it is a package file or a package's folder, else those in it.

    Raises:
        PackageError: there is nothing.
    """
    if place.is_file() or (place / MANIFEST_FILE).is_file():
        return (place,)
    found = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else []
    found += sorted(manifest.parent for manifest in place.glob(f"*/{MANIFEST_FILE}")) if place.is_dir() else []
    if not found:
        raise PackageError(
            str(place), "holds no package", f"a file {SUFFIX}, a package's folder, or a folder of either"
        )
    return tuple(found)


def install(source: Path, models: Path, *, sha256: str | None = None, overwrite: bool = False) -> Installed:
    """The package in `source`, a package file or a package's folder, checked to the end and put into `models`.

    `sha256` is the file's, where it is known from elsewhere; it counts before the one in the file beside it.

    Raises:
        ConfigError: `models` has the package already, and `overwrite` is not set.
        PackageError: a checksum differs, the file is not what packages are, or the package does not run here.
    """
    with tempfile.TemporaryDirectory(prefix="contour-") as temporary:
        folder = Path(temporary) / "package"
        folder.mkdir()
        if source.is_dir():
            _copy_folder(source, folder)
        else:
            _check_sha256(source, sha256)
            _unpack(source, folder)
        package = load_package(folder)
        verify_package(package)
        target = models / package.manifest.name
        before = _version(target)
        if before is not None and not overwrite:
            found = f"holds {package.manifest.name} {before}"
            raise ConfigError(str(target), found, f"--overwrite, to have {package.manifest.version} instead")
        with staged(target) as stage:
            for file in folder.iterdir():
                shutil.copyfile(file, stage / file.name)
        for name in FILE_BYTES:
            # What the package before had, and this one has not, says nothing of it.
            if not (folder / name).exists():
                (target / name).unlink(missing_ok=True)
    return Installed(load_package(target), before)


def remove(name: str, models: Path) -> str:
    """Take the package called `name` out of `models`, and nothing else that lies there; returns its version.

    Raises:
        PackageError: `models` has no such package.
    """
    target = models / name
    if not PACKAGE_NAME.fullmatch(name) or not (target / MANIFEST_FILE).is_file():
        raise PackageError(str(target), "is no package", "the name of a package in that folder")
    version = _version(target) or "unknown"
    for file in (MANIFEST_FILE, *(name for name in FILE_BYTES if name != MANIFEST_FILE)):
        (target / file).unlink(missing_ok=True)  # without its manifest it is no package any more
    if not any(target.iterdir()):
        target.rmdir()
    return version


def verify_file(path: Path, sha256: str | None = None) -> ModelPackage:
    """Check a package file to the end without installing it. What it returns no longer lies where it says.

    Raises:
        PackageError: a checksum differs, the file is not what packages are, or the package does not run here.
    """
    with tempfile.TemporaryDirectory(prefix="contour-") as temporary:
        _check_sha256(path, sha256)
        _unpack(path, Path(temporary))
        package = load_package(Path(temporary))
        verify_package(package)
        return package


def package_sha256(path: Path) -> str:
    """The checksum of a file, read piece by piece.

    Raises:
        PackageError: it cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise PackageError(str(path), f"cannot be read ({error.strerror})", "a readable package file") from error


def _version(target: Path) -> str | None:
    """The version of the package in a folder; "damaged" where there is something that is none."""
    if not (target / MANIFEST_FILE).exists():
        return None
    try:
        return load_package(target).manifest.version
    except PackageError:
        return "damaged"


def _check_sha256(path: Path, given: str | None) -> None:
    found = package_sha256(path)
    beside = path.with_name(path.name + CHECKSUM_SUFFIX)
    wanted = given
    if wanted is None and beside.is_file():
        words = beside.read_text(encoding="ascii", errors="replace").split()
        wanted = words[0] if words else ""
    if wanted is not None and not _SHA256.fullmatch(wanted.casefold()):
        raise PackageError(str(path), f"checksum {wanted!r} to compare with", "64 hexadecimal digits")
    if wanted is not None and found != wanted.casefold():
        raise PackageError(str(path), f"sha256 {found}", f"sha256 {wanted.casefold()}, as was stated")


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries)
            for entry in entries:
                with archive.open(entry) as stream, (folder / entry.filename).open("wb") as out:
                    _copy(stream, out, FILE_BYTES[entry.filename], f"{path}: {entry.filename}")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise PackageError(str(path), f"cannot be unpacked ({error})", f"a package file, whole ({SUFFIX})") from error


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    unknown = sorted(set(names) - FILE_BYTES.keys())
    if unknown or len(set(names)) != len(names):
        found = f"holds {', '.join(unknown[:3])}" if unknown else "holds a file twice"
        raise PackageError(str(path), found, f"{', '.join(FILE_BYTES)}, each once")
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise PackageError(str(path), f"no {missing[0]}", f"a package file with {', '.join(NEEDED)}")


def _copy_folder(source: Path, folder: Path) -> None:
    for name, most in FILE_BYTES.items():
        if (source / name).is_file():
            with (source / name).open("rb") as stream, (folder / name).open("wb") as out:
                _copy(stream, out, most, str(source / name))


def _copy(stream: IO[bytes], out: IO[bytes], most: int, where: str) -> None:
    """Piece by piece, and no more than is allowed, whatever a file says of its length."""
    copied = 0
    while block := stream.read(_BLOCK):
        copied += len(block)
        if copied > most:
            raise PackageError(where, "is too large", f"at most {most} bytes")
        out.write(block)
