"""TotalSegmentator's weights: which data set is which task, what its licence says, and what its labels mean.

All of that is a YAML file (`configs/import/totalsegmentator.yaml`). What its licence does not give to everyone is
refused with the sentence that says so: a package is made to be carried to other machines.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from contour.config import load_config, shipped_folder
from contour.core.errors import PackageError
from contour.training.card import CardInput
from contour.training.importing.entries import read_json
from contour.training.importing.names import NamesFile
from contour.training.importing.nnunet import Imported, NnunetOptions, import_nnunet
from contour.training.importing.nnunet_plans import PLANS_FILE

_DATASET = re.compile(r"Dataset(\d{3})_\w+")
SAYS = "The authors' licence says:"


@dataclass(frozen=True)
class OpenTask:
    """One data set whose weights anyone may use; `looks_at` says what TotalSegmentator crops the image to first."""

    dataset: int
    package: str
    task: str
    part: str = ""
    looks_at: str = ""


@dataclass(frozen=True)
class RestrictedTask:
    """One data set whose weights need a licence."""

    dataset: int
    task: str


@dataclass(frozen=True)
class TotalSegmentatorFile:
    """The content of `configs/import/totalsegmentator.yaml`."""

    version: str
    orientation: str
    licence: str
    licence_says: str
    citation: str
    tasks: tuple[OpenTask, ...]
    restricted_says: str
    restricted: tuple[RestrictedTask, ...]
    names: dict[str, str | None]


@dataclass(frozen=True)
class TotalSegmentatorOptions:
    """What a clinic may choose: names of its own, and whether packages that are there are replaced."""

    names: Path | None = None
    overwrite: bool = False


def load_tasks() -> TotalSegmentatorFile:
    """What is known of TotalSegmentator's weights."""
    return load_config(shipped_folder("configs") / "import" / "totalsegmentator.yaml", TotalSegmentatorFile)


def import_totalsegmentator(
    folder: Path, models: Path, options: TotalSegmentatorOptions = TotalSegmentatorOptions()
) -> Imported:
    """The package of the TotalSegmentator weights in `folder`, a trained-model folder or a data set's that holds one.

    Raises:
        PackageError: its data set is none that is known, its licence is no open one, or the weights cannot be read.
        ConfigError: the package exists, or the file of names has a mistake.
    """
    known = load_tasks()
    trained = trained_folder(folder)
    task = _open_task(trained, known)
    said = CardInput(
        summary=f"{task.task} of TotalSegmentator {task.part}".strip(),
        citation=known.citation,
        developed_by="Research and Analysis, University Hospital Basel",
        data=(f"TotalSegmentator, {_dataset_name(trained)}",),
        licences=(f"{known.licence} (the weights)",),
    )
    notes: tuple[str, ...] = (f'{SAYS} "{known.licence_says}" (TotalSegmentator {known.version}, README).',)
    if task.looks_at:
        notes += (
            f"TotalSegmentator gives this network {task.looks_at} only: elsewhere it may draw what is not there.",
        )
    return import_nnunet(
        trained,
        models,
        NnunetOptions(
            name=task.package,
            title=f"TotalSegmentator {task.task}" + (f": {task.part}" if task.part else ""),
            orientation=known.orientation,
            names=options.names,
            ready=NamesFile(known.names),
            said=said,
            licence=known.licence,
            notes=notes,
            overwrite=options.overwrite,
        ),
    )


def trained_folder(folder: Path) -> Path:
    """The one trained-model folder that `folder` is or holds.

    Raises:
        PackageError: there is none, or several.
    """
    if (folder / PLANS_FILE).is_file():
        return folder
    found = sorted(plans.parent for plans in folder.glob(f"*/{PLANS_FILE}"))
    if len(found) != 1:
        what = f"{len(found)} trained models" if found else f"no {PLANS_FILE}"
        raise PackageError(str(folder), what, "a data set's folder as TotalSegmentator unpacks it")
    return found[0]


def _dataset_name(trained: Path) -> str:
    return read_json(trained / PLANS_FILE).text("dataset_name")


def _open_task(trained: Path, known: TotalSegmentatorFile) -> OpenTask:
    name = _dataset_name(trained)
    found = _DATASET.fullmatch(name)
    number = int(found[1]) if found else -1
    for closed in known.restricted:
        if closed.dataset == number:
            raise PackageError(
                f"{trained}: {closed.task}", f'its licence says "{known.restricted_says}"', known.licence
            )
    for task in known.tasks:
        if task.dataset == number:
            return task
    allowed = ", ".join(str(task.dataset) for task in known.tasks)
    raise PackageError(f"{trained / PLANS_FILE}: dataset_name", name, f"a data set of these: {allowed}")
