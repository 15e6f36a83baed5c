"""A hospital's archive as an index: which structure set was drawn on which image series, and what was set aside.

The index is one SQLite file. What each file of the archive says is read once and kept; everything that follows from it
(series, pairs, what is set aside) is worked out anew at the end of each run, in one transaction.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contour.core.report import Finding
from contour.core.volume import Modality
from contour.dicom.read_series import read_series_files
from contour.dicom.rtstruct_contents import RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.series import ImageSeries, ReadLimits


class PairedBy(StrEnum):
    """What ties a structure set to its image series, from the strongest tie to the weakest."""

    SERIES = "series"  # its Referenced Frame of Reference Sequence names the series
    IMAGES = "images"  # its contours, or its list of images, name SOP Instances of the series
    FRAME = "frame"  # the only series of its study in its frame of reference


@dataclass(frozen=True)
class IndexedRoi:
    """One ROI of a structure set, as far as its contours tell without an image.

    `contours` counts the closed planar contours of three points and more, `other_contours` points, lines and the rest;
    `planes` the planes that the closed ones lie on. `low_lps_mm` and `high_lps_mm` are the corners of the box around
    the closed contours, x, y, z in mm (None without any).
    """

    number: int
    name: str
    interpreted_type: str
    contours: int
    other_contours: int
    planes: int
    low_lps_mm: tuple[float, float, float] | None
    high_lps_mm: tuple[float, float, float] | None


@dataclass(frozen=True)
class IndexedPair:
    """An image series and the structure set that was drawn on it.

    `patient` is a pseudonym. `image_files` are the slices, each once, in no order that means anything. `drawn_at` is
    Structure Set Date and Time as DICOM writes them, joined; `approval_status` may be empty.
    """

    patient: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: Modality
    image_files: tuple[Path, ...]
    structure_set_uid: str
    structure_set_file: Path
    structure_set_label: str
    approval_status: str
    drawn_at: str
    paired_by: PairedBy
    rois: tuple[IndexedRoi, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RoiCount:
    """How often an ROI name occurs among the pairs: structure sets with it, those in which it has closed contours
    (`drawn`), and their patients; `interpreted_types` are all that the sets state for it.
    """

    name: str
    structure_sets: int
    drawn: int
    patients: int
    interpreted_types: tuple[str, ...]


def read_pair(pair: IndexedPair, *, limits: ReadLimits | None = None) -> tuple[ImageSeries, RtstructContents]:
    """The images of a pair, checked and decoded, and what its structure set says, as it says it.

    Raises:
        InputRefused: as `read_series_files` and `read_contours`.
    """
    series = read_series_files(pair.image_files, pair.series_instance_uid, limits=limits)
    return series, read_contours(pair.structure_set_file)
