"""What a site wants drawn: the clinical choice, independent of any model."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from contour.core.volume import Modality

MOST_MM = 200.0
SIDES = ("left", "right", "anterior", "posterior", "superior", "inferior")


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
    nomenclature's colour. With `abstain_below` the structure is withheld where no better surface Dice than that is
    expected of it by the site's calibration, or, without one, where the network's confidence is lower.

    Raises:
        ValueError: a range that is not finite or whose first value is above the second, a negative component, a
            confidence or an expectation outside 0 to 1, or a colour outside 0 to 255.
    """

    name: str
    required: bool = True
    components: Components = Components.LARGEST
    min_component_ml: float = 0.0
    fill_holes: bool = True
    volume_ml: tuple[float, float] | None = None
    mean_hu: tuple[float, float] | None = None
    min_confidence: float = 0.7
    abstain_below: float | None = None
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
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ValueError(f"abstain_below {self.abstain_below} of {self.name}: from 0 to 1")
        if not (isfinite(self.min_component_ml) and self.min_component_ml >= 0):
            raise ValueError(f"min_component_ml {self.min_component_ml} of {self.name}: finite and at least 0")
        if self.color_rgb is not None and not all(0 <= c <= 255 for c in self.color_rgb):
            raise ValueError(f"color_rgb {self.color_rgb} of {self.name}: three numbers from 0 to 255")


@dataclass(frozen=True)
class SidesMm:
    """Millimetres towards each side of the patient: a margin.

    Raises:
        ValueError: one that is negative or not finite.
    """

    left: float = 0.0
    right: float = 0.0
    anterior: float = 0.0
    posterior: float = 0.0
    superior: float = 0.0
    inferior: float = 0.0

    def __post_init__(self) -> None:
        for side, mm in zip(SIDES, self.six, strict=True):
            if not (isfinite(mm) and mm >= 0):
                raise ValueError(f"{side} {mm}: finite and at least 0 mm")

    @staticmethod
    def all_around(mm: float) -> "SidesMm":
        """The same to every side."""
        return SidesMm(mm, mm, mm, mm, mm, mm)

    @property
    def six(self) -> tuple[float, float, float, float, float, float]:
        """Left, right, anterior, posterior, superior, inferior."""
        return self.left, self.right, self.anterior, self.posterior, self.superior, self.inferior


class Operation(StrEnum):
    """How a structure is derived from others. All but the first three are of one structure."""

    UNION = "union"
    INTERSECTION = "intersection"
    SUBTRACTION = "subtraction"  # the first less the others
    GROWN = "grown"
    SHRUNK = "shrunk"
    RING = "ring"  # within a margin, and not within the inner one
    HULL = "hull"  # of each axial slice the convex hull
    BETWEEN = "between"  # the slices between two heights


class BodyEnd(StrEnum):
    """An end of a structure along the body."""

    SUPERIOR = "superior"
    INFERIOR = "inferior"


@dataclass(frozen=True)
class Height:
    """A height along the body: `mm` above an end of a structure, below it if negative.

    Raises:
        ValueError: a number that is not finite.
    """

    structure: str
    end: BodyEnd
    mm: float = 0.0

    def __post_init__(self) -> None:
        if not isfinite(self.mm):
            raise ValueError(f"mm {self.mm} of {self.structure}: must be finite")

    @property
    def words(self) -> str:
        """For the file and the report."""
        apart = f"{abs(self.mm):g} mm {'above' if self.mm > 0 else 'below'} " if self.mm else ""
        return f"{apart}the {self.end} end of {self.structure}"


@dataclass(frozen=True)
class DerivedStructure:
    """A structure made from others: of what is drawn, given, or derived before it.

    `of` names them; those in `optional` are taken with them where they are there. `mm` is the margin of what grows or
    shrinks, and the outer one of a ring, whose inner margin is `inner_mm`; `sides_mm`, instead of `mm`, gives each
    side of the patient its own. `lowest` and `highest` bound what lies between. A `helper` is used by others and not
    written.

    Raises:
        ValueError: operands, margins or heights that the operation does not have or lacks.
    """

    name: str
    operation: Operation
    of: tuple[str, ...]
    optional: tuple[str, ...] = ()
    mm: float | None = None
    inner_mm: float = 0.0
    sides_mm: SidesMm | None = None
    lowest: Height | None = None
    highest: Height | None = None
    required: bool = True
    helper: bool = False
    color_rgb: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        several = self.operation in (Operation.UNION, Operation.INTERSECTION, Operation.SUBTRACTION)
        least = 2 if several else 1
        if not self.of or len(self.of + self.optional) < least or (not several and len(self.of + self.optional) > 1):
            takes = "two or more names, one of them in `of`" if several else "one name"
            raise ValueError(f"of {list(self.of)}, optional {list(self.optional)}: {self.operation} takes {takes}")
        margins = self.operation in (Operation.GROWN, Operation.SHRUNK, Operation.RING)
        if margins is (self.mm is None and self.sides_mm is None) or (
            self.mm is not None and self.sides_mm is not None
        ):
            raise ValueError(f"mm {self.mm}, sides_mm {self.sides_mm}: {'one of them' if margins else 'none of them'}")
        if self.mm is not None and not (isfinite(self.mm) and 0 < self.mm <= MOST_MM):
            raise ValueError(f"mm {self.mm}: above 0, at most {MOST_MM:g}")
        if self.operation is not Operation.RING and self.inner_mm:
            raise ValueError(f"inner_mm {self.inner_mm}: only of a ring")
        if not (isfinite(self.inner_mm) and self.inner_mm >= 0) or (self.mm is not None and self.inner_mm >= self.mm):
            raise ValueError(f"inner_mm {self.inner_mm}: at least 0, below mm")
        if (self.operation is Operation.BETWEEN) is (self.lowest is None and self.highest is None):
            raise ValueError("lowest, highest: of between one or both, of no other operation")

    @property
    def margin(self) -> SidesMm:
        """The margin to each side; 0 where there is none."""
        return self.sides_mm or SidesMm.all_around(self.mm or 0.0)

    @property
    def words(self) -> str:
        """How it is made, for the file and the report."""
        names = self.of + self.optional
        match self.operation:
            case Operation.UNION:
                return f"{', '.join(names)} together"
            case Operation.INTERSECTION:
                return f"what {', '.join(names)} share"
            case Operation.SUBTRACTION:
                return f"{names[0]} less {', '.join(names[1:])}"
            case Operation.GROWN | Operation.SHRUNK:
                return f"{names[0]} {self.operation} by {self._margin_words}"
            case Operation.RING:
                return f"around {names[0]} from {self.inner_mm:g} to {self._margin_words}"
            case Operation.HULL:
                return f"hull of {names[0]}, slice by slice"
            case Operation.BETWEEN:
                bounds = (("from", self.lowest), ("up to", self.highest))
                return f"{names[0]} {' '.join(f'{word} {height.words}' for word, height in bounds if height)}"

    @property
    def _margin_words(self) -> str:
        if self.sides_mm is None:
            return f"{self.mm:g} mm"
        return ", ".join(f"{mm:g} mm {side}" for side, mm in zip(SIDES, self.sides_mm.six, strict=True) if mm)

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be there."""
        heights = tuple(height.structure for height in (self.lowest, self.highest) if height)
        return self.of + heights

    @property
    def uses(self) -> tuple[str, ...]:
        """All that it is made from where it is there."""
        return self.needs + self.optional


@dataclass(frozen=True)
class DoseLimit:
    """Why a structure matters: a published limit of its dose, in words, for a person. Nothing is computed from it.

    Raises:
        ValueError: no words, no source, or fractions below 1.
    """

    structure: str
    fractions: int
    limit: str
    source: str

    def __post_init__(self) -> None:
        if not self.limit.strip() or not self.source.strip():
            raise ValueError(f"limit {self.limit!r}, source {self.source!r} of {self.structure}: both must be given")
        if self.fractions < 1:
            raise ValueError(f"fractions {self.fractions} of {self.structure}: at least 1")

    @property
    def words(self) -> str:
        """For tables and the report."""
        return f"{self.fractions} fraction{'s' if self.fractions > 1 else ''}: {self.limit} ({self.source})"


@dataclass(frozen=True)
class SecondImage:
    """Another image of the patient on which some structures are drawn, and brought to the one that is contoured.

    `structures` are names of the protocol's structures, `packages` those that may draw them there.

    Raises:
        ValueError: no packages or no structures.
    """

    modality: Modality
    packages: tuple[str, ...]
    structures: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.packages or not self.structures:
            raise ValueError(f"packages {list(self.packages)}, structures {list(self.structures)}: one or more of each")


@dataclass(frozen=True)
class Protocol:
    """A named list of structures for one modality, and the packages that may draw them, by name.

    Those of `second_image` are drawn on another image where a run is given one, which a required one needs. `derived`
    are made from these and from `targets`, which a person drew and a run is given (`Lungs-GTV`); each from what stands
    before it. `doses` say why structures matter, in tables and reports alone.

    Raises:
        ValueError: a name that is empty or cannot stand in a Structure Set Label; a structure derived from one that
            does not stand before it; a dose limit of a structure that is neither drawn nor derived; a structure of the
            second image that is none of the protocol's.
    """

    name: str
    title: str
    modality: Modality
    packages: tuple[str, ...]
    structures: tuple[ProtocolStructure, ...]
    source: str = ""
    second_image: SecondImage | None = None
    targets: tuple[str, ...] = ()
    derived: tuple[DerivedStructure, ...] = ()
    doses: tuple[DoseLimit, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or "\\" in self.name:
            raise ValueError(f"name {self.name!r}: one or more printable characters without a backslash")
        drawn = {rule.name for rule in self.structures}
        strange = sorted(set(self.second_image.structures) - drawn) if self.second_image else []
        if strange:
            raise ValueError(f"second_image: {', '.join(strange)} must be among structures")
        known = {*self.targets, *drawn}
        for rule in self.derived:
            missing = [name for name in rule.uses if name not in known]
            if missing:
                raise ValueError(f"derived {rule.name}: {', '.join(missing)} must stand before it")
            known.add(rule.name)
        unknown = [dose.structure for dose in self.doses if dose.structure not in known]
        if unknown:
            raise ValueError(f"doses of {', '.join(unknown)}: neither drawn nor derived")

    def doses_of(self, name: str) -> tuple[DoseLimit, ...]:
        """The limits of a structure."""
        return tuple(dose for dose in self.doses if dose.structure == name)
