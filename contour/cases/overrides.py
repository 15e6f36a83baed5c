"""What a person states of single structures of single cases, where no rule can know it: a YAML file.

::

    overrides:
    - {case: 3fa94c01b2de-5d1f02, structure: Heart, status: drawn in part, drawn_slices: [14, 46], reason: base cut off}
    - {case: 3fa94c01b2de-5d1f02, structure: Lung_L, name: Lung_R, reason: sides swapped}
    - {case: 3fa94c01b2de-5d1f02, structure: Lung_R, name: Lung_L, reason: sides swapped}
    - {case: 77b0a1fc2290-81c3aa, structure: Kidney_L, status: not drawn, reason: the outline is the spleen's}
    - {case: "*", structure: Esophagus, status: drawn, reason: drawn whole here by convention}
"""

from dataclasses import dataclass
from pathlib import Path

from contour.cases.store import Status
from contour.config import load_config, save_config
from contour.core.nomenclature import validate_name

EVERY_CASE = "*"


@dataclass(frozen=True)
class Override:
    """One statement on `structure` (its TG-263 name by the map of names) of `case` (`*`: of every case that has it).

    `name` gives the structure another name; `status` replaces what the rules found, with `drawn_slices` (first and last
    z index of the image between which the outline is complete) where, and only where, it is drawn in part.

    Raises:
        ValueError: neither a name nor a status is stated, or the slices do not fit the status.
    """

    case: str
    structure: str
    status: Status | None = None
    drawn_slices: tuple[int, int] | None = None
    name: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.status is None and self.name is None:
            raise ValueError(f"{self.structure}: allowed is a status, a name, or both")
        if self.name is not None and validate_name(self.name):
            raise ValueError("; ".join(validate_name(self.name)))
        if (self.status is Status.PARTIAL) != (self.drawn_slices is not None):
            raise ValueError(f"{self.structure}: drawn_slices go with the status drawn in part, and only with it")
        if self.drawn_slices is not None and not 0 <= self.drawn_slices[0] <= self.drawn_slices[1]:
            raise ValueError(f"{self.structure}: drawn_slices {self.drawn_slices}: first and last, from 0 on")


@dataclass(frozen=True)
class Overrides:
    """All statements. Of a statement on a case and one on every case, the former counts.

    Raises:
        ValueError: two statements on one structure of one case.
    """

    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        places = [(o.case, o.structure) for o in self.overrides]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice[1]} of case {twice[0]} stands twice; allowed: one statement")

    def of(self, case: str, structure: str) -> Override | None:
        """What is stated of a structure of a case, or None."""
        stated = {o.case: o for o in self.overrides if o.structure == structure and o.case in (case, EVERY_CASE)}
        return stated.get(case, stated.get(EVERY_CASE))

    def about(self, case: str) -> tuple[Override, ...]:
        """What concerns a case, for all cases or for it alone."""
        return tuple(o for o in self.overrides if o.case in (case, EVERY_CASE))


def load_overrides(path: Path) -> Overrides:
    """The statements at `path`.

    Raises:
        ConfigError: the file cannot be read, or a statement contradicts itself or another.
    """
    return load_config(path, Overrides)


def save_overrides(overrides: Overrides, path: Path, header: str = "") -> None:
    """Write `overrides` as YAML that `load_overrides` reads; `header` becomes comments.

    Raises:
        OSError: the file cannot be written.
    """
    save_config(overrides, path, header)
