"""What a site wants drawn: the clinical choice, independent of any model."""

from dataclasses import dataclass
from enum import StrEnum

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
    the range outside which the structure is reported as implausible. `color_rgb` overrides the nomenclature's colour.
    """

    name: str
    required: bool = True
    components: Components = Components.LARGEST
    min_component_ml: float = 0.0
    fill_holes: bool = True
    volume_ml: tuple[float, float] | None = None
    color_rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Protocol:
    """A named list of structures for one modality, and the packages that may draw them, by name."""

    name: str
    title: str
    modality: Modality
    packages: tuple[str, ...]
    structures: tuple[ProtocolStructure, ...]
    source: str = ""
