"""Options that several commands take."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import psutil
import typer

from contour.core.errors import ConfigError
from contour.core.memory import MemoryBound, image_bytes_within
from contour.core.planning_system import HoleStyle, PlanningSystem
from contour.core.protocol import Protocol
from contour.dicom.read_series import read_series
from contour.dicom.series import ImageSeries, ReadLimits
from contour.exports import Export
from contour.inference.engine import NetworkEngine
from contour.inference.session import Engine, SessionOptions, open_network
from contour.languages import Language
from contour.library import load_planning_system, locator_for, planning_system_files, protocol_files


def known_protocols(incomplete: str) -> list[str]:
    """For the shell: the protocols that ship and begin so."""
    return [path.stem for path in protocol_files() if path.stem.startswith(incomplete)]


def known_systems(incomplete: str) -> list[str]:
    """For the shell: the planning systems that ship and begin so."""
    return [path.stem for path in planning_system_files() if path.stem.startswith(incomplete)]


SeriesFolder = Annotated[Path, typer.Option("--series", "-s", help="Folder of the image series.")]
SeriesUid = Annotated[
    str | None, typer.Option("--series-uid", help="Series Instance UID, if the folder holds several.")
]
ModelFolders = Annotated[
    list[Path],
    typer.Option("--models", envvar="CONTOUR_MODELS", help="Folder with packages of your own; they count first."),
]
ProtocolFolders = Annotated[
    list[Path],
    typer.Option(
        "--protocols", envvar="CONTOUR_PROTOCOLS", help="Folder with protocols of your own; they count first."
    ),
]
EngineName = Annotated[Engine, typer.Option("--engine", envvar="CONTOUR_ENGINE", help="What runs the networks.")]
MemoryText = Annotated[
    str | None,
    typer.Option(
        "--memory",
        envvar="CONTOUR_MEMORY",
        help="What a run may hold of the memory, such as 2GB; large images then lie in files. By default what is free.",
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processors to use; by default those there are.")]
Holes = Annotated[
    HoleStyle | None,
    typer.Option("--holes", help="Holes as contours within contours, or cut in along a channel; by default as --tps."),
]
System = Annotated[
    str,
    typer.Option(
        "--tps",
        envvar="CONTOUR_TPS",
        autocompletion=known_systems,
        help="Planning system that takes the file: a name or a YAML file.",
    ),
]
Locate = Annotated[
    bool,
    typer.Option(
        "--locate/--no-locate", help="Find the organs coarsely first, where a package does, or search everywhere."
    ),
]
LocalNames = Annotated[
    Language, typer.Option("--language", envvar="CONTOUR_LANGUAGE", help="Of the structures' names beside TG-263.")
]
Also = Annotated[list[Export], typer.Option("--also", help="Write the structures in a further form; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier run.")]
QueuePlace = Annotated[
    str,
    typer.Option(
        "--queue", "-q", envvar="CONTOUR_QUEUE", help="Folder of a batch's results or of a queue; or postgresql://..."
    ),
]
Tolerance = Annotated[float, typer.Option("--tolerance", "-t", min=0.0, max=100.0, help="Surface tolerance in mm.")]


def read(folder: Path, series_uid: str | None = None) -> ImageSeries:
    """The series in `folder`."""
    return read_series(folder, series_instance_uid=series_uid)


def planning_system(name_or_path: str, holes: HoleStyle | None = None) -> PlanningSystem:
    """The planning system that `--tps` names, with `--holes` if that is given."""
    system = load_planning_system(name_or_path)
    return system if holes is None else replace(system, holes=holes)


def memory_bound(text: str | None) -> MemoryBound | None:
    """The bound that `--memory` states."""
    if text is None:
        return None
    try:
        return MemoryBound.of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from error


def session_options(engine: Engine, threads: int | None, memory: MemoryBound | None = None) -> SessionOptions:
    """What the options of a command ask for."""
    if memory is None:
        return SessionOptions(engine=engine, threads=threads)
    return SessionOptions(engine, threads, spare_memory=memory.is_narrow, patch_voxels=memory.patch_voxels)


def read_limits(memory: MemoryBound | None) -> ReadLimits:
    """Up to which size images are held in memory: as large as `memory` allows, or what is free now."""
    bytes_ = memory.image_bytes if memory else image_bytes_within(psutil.virtual_memory().available)
    return ReadLimits(in_file_above_bytes=bytes_)


def open_locator(protocol: Protocol, models: tuple[Path, ...], options: SessionOptions) -> NetworkEngine | None:
    """The network that finds where in the body an image for `protocol` lies; None where none is installed.

    Raises:
        PackageError: it is installed, and damaged.
    """
    package = locator_for(protocol, models)
    return None if package is None else open_network(package, options)


def open_checkpoint(folder: Path) -> NetworkEngine:
    """The network of the training in `folder`, in torch.

    Raises:
        ConfigError: the training install is missing, or `folder` holds no training.
        PackageError: there is no checkpoint yet.
    """
    try:
        from contour.training.engine import load_run, open_run  # noqa: PLC0415 - torch takes seconds to import
    except ModuleNotFoundError as error:
        found = f"{error.name} is not installed"
        raise ConfigError("--checkpoint", found, "the training install: pip install 'contour[train]'") from error
    return open_run(load_run(folder))


def refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    """Nothing is replaced unasked.

    Raises:
        ConfigError: one of `paths` exists, and `overwrite` is not set.
    """
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise ConfigError(str(existing[0]), "exists already", "another place, or --overwrite")
