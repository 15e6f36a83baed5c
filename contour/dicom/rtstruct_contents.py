"""What an RTSTRUCT file says, as it says it: nothing joined, nothing mended, so that a checker can see every fault."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.nomenclature import Code, Rgb

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"


class GeometricType(StrEnum):
    """Contour Geometric Type (3006,0042): PS3.3 C.8.8.6.1."""

    POINT = "POINT"
    OPEN_PLANAR = "OPEN_PLANAR"
    OPEN_NONPLANAR = "OPEN_NONPLANAR"
    CLOSED_PLANAR = "CLOSED_PLANAR"
    CLOSEDPLANAR_XOR = "CLOSEDPLANAR_XOR"


CLOSED_TYPES = (GeometricType.CLOSED_PLANAR, GeometricType.CLOSEDPLANAR_XOR)


@dataclass(frozen=True)
class RoiDefinition:
    """An item of Structure Set ROI Sequence (3006,0020)."""

    number: int
    name: str
    frame_of_reference_uid: str
    generation_algorithm: str
    generation_description: str
    description: str


@dataclass(frozen=True)
class RoiContours:
    """An item of ROI Contour Sequence (3006,0039) with all its contours.

    Contour `i` has the points `points_lps_mm[starts[i]:starts[i + 1]]` (x, y, z); `value_counts[i]` is how many numbers
    its data holds (a remainder of one or two is in no point), `stated_points[i]` its Number of Contour Points (-1 where
    absent), and `image_uids[i]` the SOP Instances of its Contour Image Sequence. `longest_decimal` is the length of the
    longest number in characters, `data_bytes` (m,) the length of each contour's data.
    """

    roi_number: int
    color_rgb: Rgb | None
    points_lps_mm: NDArray[np.float64]
    starts: NDArray[np.intp]
    geometric_types: tuple[str, ...]
    stated_points: NDArray[np.int64]
    value_counts: NDArray[np.int64]
    image_uids: tuple[tuple[str, ...], ...]
    longest_decimal: int
    data_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of contours."""
        return len(self.geometric_types)

    @property
    def point_counts(self) -> NDArray[np.intp]:
        """(m,) points of each contour."""
        return np.diff(self.starts)

    @property
    def closed(self) -> NDArray[np.bool_]:
        """(m,) which contours are closed and planar by their type."""
        return np.array([kind in CLOSED_TYPES for kind in self.geometric_types], dtype=bool)


@dataclass(frozen=True)
class RoiObservation:
    """An item of RT ROI Observations Sequence (3006,0080); `code` and `laterality` are None where not given."""

    number: int
    roi_number: int
    interpreted_type: str
    code: Code | None
    laterality: Code | None


@dataclass(frozen=True)
class ReferencedSeries:
    """An item of RT Referenced Series Sequence (3006,0014), with the study and frame of reference it stands under."""

    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True)
class RtstructContents:
    """An RTSTRUCT file. Text is decoded; what is absent is an empty string, tuple or None.

    `structure_set_date` (YYYYMMDD) and `structure_set_time` (HHMMSS.FFFFFF) say when its content was last changed.
    `frame_of_reference_uid` is the data set's own; `referenced_frames` those of its Referenced Frame of Reference
    Sequence (3006,0010), and `references` the series named under them.
    """

    path: Path
    transfer_syntax_uid: str
    specific_character_set: tuple[str, ...]
    sop_class_uid: str
    sop_instance_uid: str
    modality: str
    patient_name: str
    patient_id: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    series_instance_uid: str
    manufacturer: str
    software_versions: tuple[str, ...]
    label: str
    name: str
    description: str
    structure_set_date: str
    structure_set_time: str
    approval_status: str
    frame_of_reference_uid: str
    referenced_frames: tuple[str, ...]
    references: tuple[ReferencedSeries, ...]
    rois: tuple[RoiDefinition, ...]
    contours: tuple[RoiContours, ...]
    observations: tuple[RoiObservation, ...]

    def contours_of(self, roi_number: int) -> RoiContours | None:
        """The first item of contours for an ROI Number, or None."""
        return next((item for item in self.contours if item.roi_number == roi_number), None)

    def observation_of(self, roi_number: int) -> RoiObservation | None:
        """The first observation of an ROI Number, or None."""
        return next((item for item in self.observations if item.roi_number == roi_number), None)
