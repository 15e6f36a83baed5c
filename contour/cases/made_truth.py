"""What is true of a made archive: what each ROI is, what was drawn, and which mistakes lie where.

The truth is one YAML beside the archive, never inside it, and tests and tutorials compare with it.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contour.cases.made_patients import Defect, Spelling
from contour.cases.store import Status
from contour.config import load_config


class SetRole(StrEnum):
    """What becomes of a structure set."""

    IN_USE = "in use"
    SUPERSEDED = "superseded by an approved, newer one"
    ORPHAN = "its images are not in the archive"


class Oddity(StrEnum):
    """Why a file cannot become part of a case by itself."""

    PLAN = "RT plan"
    DOSE = "RT dose"
    LOCALIZER = "localizer"
    SERIES_WITHOUT_SET = "slice of a series without a structure set"
    SAME_BYTES = "the same object, byte by byte, a second time"
    OTHER_BYTES = "the same SOP Instance UID with other bytes"
    TRUNCATED = "truncated"
    NOT_DICOM = "not DICOM"


@dataclass(frozen=True)
class TrueRoi:
    """One ROI of a made structure set.

    `name` is the TG-263 name that it should be mapped to: None where `ignore` says that it is a helper, or where
    nobody can know (a private code). `drawn_slices` (first and last z index, feet first) is given with
    `Status.PARTIAL`. `defect_slices` are the first and last z index that the mistake touches. `volume_ml` is that of
    the mask as drawn.
    """

    roi_name: str
    name: str | None
    ignore: bool
    spelling: Spelling
    status: Status
    drawn_slices: tuple[int, int] | None = None
    defect: Defect | None = None
    defect_slices: tuple[int, int] | None = None
    volume_ml: float = 0.0


@dataclass(frozen=True)
class TrueSet:
    """One made structure set; `not_drawn` are the TG-263 names that the image shows and the set leaves out."""

    file: str
    structure_set_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    role: SetRole
    rois: tuple[TrueRoi, ...]
    not_drawn: tuple[str, ...]


@dataclass(frozen=True)
class TrueSeries:
    """One planning CT of `slices` files, `a_file` among them."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    slices: int
    a_file: str


@dataclass(frozen=True)
class OddFile:
    """A file that is set aside, and why."""

    file: str
    why: Oddity


@dataclass(frozen=True)
class ArchiveTruth:
    """Everything about a made archive; paths are relative to its folder, with forward slashes."""

    series: tuple[TrueSeries, ...]
    structure_sets: tuple[TrueSet, ...]
    odd_files: tuple[OddFile, ...]

    @property
    def sets_in_use(self) -> tuple[TrueSet, ...]:
        """The sets that become cases."""
        return tuple(s for s in self.structure_sets if s.role is SetRole.IN_USE)

    def name_of(self, roi_name: str) -> str | None:
        """The TG-263 name of every ROI called so; the made archive uses no name for two things."""
        return next(roi.name for s in self.structure_sets for roi in s.rois if roi.roi_name == roi_name)


def load_truth(path: Path) -> ArchiveTruth:
    """The truth that `make_archive` wrote.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    return load_config(path, ArchiveTruth)
