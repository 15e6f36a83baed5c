"""What a site wants drawn: the clinical choice, independent of any model."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from contour.core.volume import Modality


class Components(StrEnum):
    """Which connected components (26 neighbours) of a structure are kept."""

    LARGEST = "largest"
    ALL = "all"


@dataclass(frozen=True)
class ProtocolStructure:
    """One structure of a protocol and the rules it is finished by.

    `name` is a TG-263 name. `components` and `min_component_ml` say which connected components stay; `fill_holes`
    closes cavities (per slice for tubes that run along z is not attempted: holes are 3-D cavities). `volume_ml` is
    the range outside which the structure is reported as implausible, `mean_hu` the same for its mean value on CT, and
    `min_confidence` the confidence below which a person is asked to look. `runs_on` says that the structure usually
    continues beyond the image, so that reaching its first or last slice is no surprise. `color_rgb` overrides the
    nomenclature's colour.

    Raises:
        ValueError: a range that is not finite or whose first value is above the second, a negative component, a
            confidence outside 0 to 1, or a colour outside 0 to 255.
    """

    name: str
    required: bool = True
    components: Components = Components.LARGEST
    min_component_ml: float = 0.0
    fill_holes: bool = True
    volume_ml: tuple[float, float] | None = None
    mean_hu: tuple[float, float] | None = None
    min_confidence: float = 0.7
    runs_on: bool = False
    color_rgb: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        for name, limits in (("volume_ml", self.volume_ml), ("mean_hu", self.mean_hu)):
            if limits is not None and not all(map(isfinite, limits)):
                raise ValueError(f"{name} {limits} of {self.name}: must be finite")
            if limits is not None and limits[0] > limits[1]:
                raise ValueError(f"{name} {limits} of {self.name}: the first value must not be above the second")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence {self.min_confidence} of {self.name}: from 0 to 1")
        if not (isfinite(self.min_component_ml) and self.min_component_ml >= 0):
            raise ValueError(f"min_component_ml {self.min_component_ml} of {self.name}: finite and at least 0")
        if self.color_rgb is not None and not all(0 <= c <= 255 for c in self.color_rgb):
            raise ValueError(f"color_rgb {self.color_rgb} of {self.name}: three numbers from 0 to 255")


@dataclass(frozen=True)
class Protocol:
    """A named list of structures for one modality, and the packages that may draw them, by name.

    Raises:
        ValueError: a name that is empty or cannot stand in a Structure Set Label.
    """

    name: str
    title: str
    modality: Modality
    packages: tuple[str, ...]
    structures: tuple[ProtocolStructure, ...]
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or "\\" in self.name:
            raise ValueError(f"name {self.name!r}: one or more printable characters without a backslash")
