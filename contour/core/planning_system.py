"""What a planning system takes of a structure set: the limits that a file is written within and checked against."""

from dataclasses import dataclass, field
from enum import StrEnum

from contour.core.nomenclature import MAX_NAME_LENGTH

MAX_LABEL_LENGTH = 16  # Structure Set Label and ROI Observation Label are SH: DICOM PS3.5 table 6.2-1
POINT_BYTES = 30  # three numbers to a thousandth of a mm within 10 m, and what parts them


class HoleStyle(StrEnum):
    """How a hole is written: as a contour within another, or cut in along a channel (DICOM PS3.3 C.8.8.6.3).

    Most planning systems take nested contours for what they are, some programs fill them; keyholes all of them read.
    """

    NESTED = "nested"
    KEYHOLE = "keyhole"


class LocalNamePlace(StrEnum):
    """Where the name of a structure in the reader's language stands, beside its TG-263 name."""

    DESCRIPTION = "description"  # ROI Description (3006,0028)
    OBSERVATION_LABEL = "observation_label"  # ROI Observation Label (3006,0085); the description where it is too long
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class PlanningSystem:
    """The limits of one planning system; by default those that any system is known to keep.

    `name_length` and `label_length` are characters of ROI Name and Structure Set Label; `forbidden_characters` may not
    stand in either. A contour may have `contour_points` points, and its data `contour_bytes` bytes: one of 64 KiB and
    more cannot stand in Explicit VR, where Contour Data has a length of 16 bits (PS3.5 7.1.2), and some archives write
    that. A structure set may hold `rois` ROIs. `sources` says where each limit is stated, `unknown` what nobody has
    published.

    Raises:
        ValueError: a limit that no file could keep.
    """

    name: str = "generic"
    title: str = "Any planning system"
    name_length: int = MAX_NAME_LENGTH
    label_length: int = MAX_LABEL_LENGTH
    forbidden_characters: str = ""
    holes: HoleStyle = HoleStyle.NESTED
    contour_points: int | None = None
    contour_bytes: int | None = 65534
    rois: int | None = None
    local_names: LocalNamePlace = LocalNamePlace.DESCRIPTION
    sources: dict[str, str] = field(default_factory=dict)
    unknown: str = ""

    def __post_init__(self) -> None:
        for limit, least, most in (
            ("name_length", 1, 64),
            ("label_length", 1, MAX_LABEL_LENGTH),
            ("contour_points", 3, None),
            ("contour_bytes", 3 * POINT_BYTES, None),
            ("rois", 1, None),
        ):
            value = getattr(self, limit)
            if value is not None and (value < least or (most is not None and value > most)):
                allowed = f"at least {least}" if most is None else f"{least} to {most}"
                raise ValueError(f"{limit} {value} of {self.name}: {allowed}")
        unknown = sorted(set(self.sources) - set(LIMITS))
        if unknown:
            raise ValueError(f"sources of {', '.join(unknown)}: {', '.join(LIMITS)}")

    @property
    def most_points(self) -> int | None:
        """The points that a contour written here may have; None where there is no limit."""
        limits = [self.contour_points, None if self.contour_bytes is None else self.contour_bytes // POINT_BYTES]
        return min((limit for limit in limits if limit is not None), default=None)

    def forbidden_in(self, text: str) -> str:
        """The characters of a name or label that may not stand there."""
        return "".join(sorted(set(text) & set(self.forbidden_characters)))


LIMITS = (
    "name_length",
    "label_length",
    "forbidden_characters",
    "holes",
    "contour_points",
    "contour_bytes",
    "rois",
    "local_names",
)
GENERIC = PlanningSystem()
