"""What a shipped package is rebuilt from; `scripts.starter.build` does it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contour.training.config import TrainingConfig
from contour.training.fit import FitInput


@dataclass(frozen=True)
class ValidationSet:
    """Reference cases of one kind that no training sees: `name` is a folder's, `title` says on the card what they are.

    `cases` are folders as `contour.cases.store.save_case` writes them.
    """

    name: str
    title: str
    cases: tuple[Path, ...]


@dataclass(frozen=True)
class Recipe:
    """How one package is made, and what it is measured on.

    `name` is that of the package, of `configs/training/<name>.yaml`, and of the folder `scripts/<name>`, whose
    `about.yaml` holds what only people know for the card. `data` and `licences` go onto the card and into the manifest.

    Args:
        prepare: data folder, work folder, configuration -> prepared cases and their weights. What is in the work
            folder already stays as it is, so that it can be stopped at any moment.
        validation: data folder, folder for cases -> sets of reference cases; resumable like `prepare`.
        protocol: the rules under which the package is measured: one that ships, by name, or a YAML file.
        tolerance_mm: of the surface Dice.
        measure: package folder, data folder -> what else was measured, in Markdown.
        undrawn: labels that the network was taught and does not draw well enough to be offered.

    """

    name: str
    prepare: Callable[[Path, Path, TrainingConfig], FitInput]
    validation: Callable[[Path, Path], tuple[ValidationSet, ...]]
    protocol: str
    data: tuple[str, ...]
    licences: tuple[str, ...]
    tolerance_mm: float = 3.0
    measure: Callable[[Path, Path], str] | None = None
    undrawn: tuple[str, ...] = ()
