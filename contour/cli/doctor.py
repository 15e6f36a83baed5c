"""`contour doctor`: what this machine has, and what is missing."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import onnxruntime
import psutil
import typer
from rich.markup import escape
from rich.table import Table

import contour
from contour.cli.failures import ExitCode
from contour.cli.options import Json, ModelFolders
from contour.cli.terminal import output, print_json
from contour.core.errors import ContourError
from contour.core.protocol import Protocol
from contour.dicom.pixels import decoders
from contour.inference.session import Engine, available_engines, verify_package
from contour.library import all_packages, load_protocol, packages_for, protocol_files

MIN_MEMORY_GB = 4.0
MIN_FREE_DISK_GB = 2.0


class Verdict(StrEnum):
    """How a part of the machine is."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Diagnosis:
    """One line: what was looked at, what was found, and whether that will do."""

    part: str
    found: str
    verdict: Verdict = Verdict.GOOD


def doctor(models: ModelFolders = [], as_json: Json = False) -> None:  # noqa: B006 - typer copies it
    """What this machine has: processors, memory, engines, decoders, packages, protocols. Exit code 2 if one is bad."""
    lines = [*_machine(), *_engines(), *_decoders(), *_packages(tuple(models)), *_protocols(tuple(models))]
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        output().print(_table(lines))
    if any(line.verdict is Verdict.BAD for line in lines):
        raise typer.Exit(ExitCode.REFUSED)


def _machine() -> Iterator[Diagnosis]:
    yield Diagnosis("contour", contour.__version__)
    yield Diagnosis("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Diagnosis("Processors", f"{usable} usable of {os.cpu_count()}")
    memory = psutil.virtual_memory()
    free, total = memory.available / 1e9, memory.total / 1e9
    verdict = Verdict.GOOD if free >= MIN_MEMORY_GB else Verdict.NOTE
    yield Diagnosis("Memory", f"{free:.1f} GB free of {total:.1f} GB", verdict)
    disk = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Diagnosis("Disk here", f"{disk:.1f} GB free", Verdict.GOOD if disk >= MIN_FREE_DISK_GB else Verdict.NOTE)


def _engines() -> Iterator[Diagnosis]:
    providers = onnxruntime.get_available_providers()
    yield Diagnosis("ONNX Runtime", f"{onnxruntime.__version__}: {', '.join(providers)}")
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(installed) > 1:
        found = (
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: uninstall both, install one"
        )
        yield Diagnosis("Engines", found, Verdict.BAD)
    yield Diagnosis("--engine", f"{Engine.AUTO}, {', '.join(available_engines())}")
    cuda = Engine.CUDA in available_engines()
    yield Diagnosis(
        "CUDA",
        "offered" if cuda else "not offered: networks run on the processor",
        Verdict.GOOD if cuda else Verdict.NOTE,
    )
    for name, use in (("openvino", "faster on processors: pip install 'contour[openvino]'"), ("torch", "to train")):
        yield Diagnosis(name, _version(name) or f"not installed ({use}; not needed to contour)")


def _decoders() -> Iterator[Diagnosis]:
    for name, readable in decoders():
        found = "readable" if readable else "imagecodecs was built without it"
        yield Diagnosis(f"DICOM {name}", found, Verdict.GOOD if readable else Verdict.BAD)


def _packages(folders: tuple[Path, ...]) -> Iterator[Diagnosis]:
    try:
        packages = all_packages(folders)
    except ContourError as error:
        yield Diagnosis("Packages", str(error), Verdict.BAD)
        return
    if not packages:
        yield Diagnosis("Packages", "none is installed: nothing can be drawn", Verdict.BAD)
    for package in packages:
        name = f"Package {package.manifest.name}"
        try:
            verify_package(package)
        except ContourError as error:
            yield Diagnosis(name, str(error), Verdict.BAD)
        else:
            yield Diagnosis(name, f"{package.manifest.version}, verified, {len(package.manifest.labels)} structures")


def _protocols(folders: tuple[Path, ...]) -> Iterator[Diagnosis]:
    for path in protocol_files():
        try:
            protocol = load_protocol(str(path))
        except ContourError as error:
            yield Diagnosis(f"Protocol {path.stem}", str(error), Verdict.BAD)
        else:
            yield _packages_of(protocol, folders)


def _packages_of(protocol: Protocol, folders: tuple[Path, ...]) -> Diagnosis:
    """A protocol that waits for its package is no fault of the machine; a broken package is, and has its own line."""
    name = f"Protocol {protocol.name}"
    try:
        packages_for(protocol, folders)
    except ContourError as error:
        return Diagnosis(name, f"not ready: {error}", Verdict.NOTE)
    return Diagnosis(name, f"{len(protocol.structures)} structures, {protocol.modality}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _table(lines: list[Diagnosis]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {Verdict.GOOD: "[green]good[/]", Verdict.NOTE: "[yellow]note[/]", Verdict.BAD: "[bold red]bad[/]"}
    for line in lines:
        table.add_row(marks[line.verdict], line.part, escape(line.found))
    return table
