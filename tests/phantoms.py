"""Images whose truth is known, as volumes and as DICOM series, and ways to break a series on purpose."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series

FRAME_OF_REFERENCE = "2.25.101"
STUDY = "2.25.102"

# The transfer syntaxes in which one CT must be one image.
SEVEN_WAYS = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)

IDENTITY = PatientStudy(
    patient_name="Phantom^Test",
    patient_id="P-1",
    patient_birth_date="19600102",
    patient_sex="F",
    study_instance_uid=STUDY,
    study_id="7",
    study_date="20260102",
    study_time="101112",
    study_description="Planning",
    accession_number="A-1",
    referring_physician_name="Referring^R",
)

# Directions (row, column) in LPS of axial slices in each patient position: PS3.3 C.7.3.1.1.2. The gantry stays, the
# patient turns: rows run from the gantry's left to its right as seen from its foot end, columns downwards.
PATIENT_POSITIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "FFP": ((1, 0, 0), (0, -1, 0)),
    "HFDR": ((0, 1, 0), (-1, 0, 0)),
    "HFDL": ((0, -1, 0), (1, 0, 0)),
    "FFDR": ((0, 1, 0), (1, 0, 0)),
    "FFDL": ((0, -1, 0), (-1, 0, 0)),
}


def geometry_along(
    row: tuple[float, float, float], column: tuple[float, float, float], shape_zyx: tuple[int, int, int] = (6, 20, 24)
) -> Geometry:
    """An anisotropic grid, off the origin, with the given directions; z runs along their cross product."""
    normal = np.cross(row, column)
    axes = tuple(tuple(float(c) for c in axis) for axis in (normal, column, row))
    return Geometry(shape_zyx, (2.5, 1.2, 0.9), (-31.5, 12.25, -107.75), axes, FRAME_OF_REFERENCE)  # type: ignore[arg-type]


def axial_geometry(shape_zyx: tuple[int, int, int] = (6, 20, 24)) -> Geometry:
    """The usual grid of a supine CT, anisotropic and off the origin."""
    return geometry_along(*PATIENT_POSITIONS["HFS"], shape_zyx)


def oblique_geometry(shape_zyx: tuple[int, int, int] = (6, 20, 24)) -> Geometry:
    """Planes turned about two patient axes."""
    a, b = np.radians(20), np.radians(-35)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tip = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    directions = tip @ turn
    return geometry_along(tuple(directions[:, 0]), tuple(directions[:, 1]), shape_zyx)


def patient_field(points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A value in HU for every point of the patient, without any symmetry: what a mirror or a turn would change."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    return 200 * np.sin(x / 17 + 0.3) + 250 * np.cos(y / 23 - 0.7) + 3 * z + 0.02 * x * y


def sampled_volume(geometry: Geometry, modality: Modality = Modality.CT) -> Volume:
    """`patient_field` on a grid, as int16."""
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    values = patient_field(geometry.index_to_lps_mm(indices))
    return Volume(np.rint(values).astype(np.int16), geometry, modality)


def ct_series(folder: Path, geometry: Geometry | None = None, options: SeriesOptions | None = None) -> tuple[Path, ...]:
    """A CT series of `patient_field` in `folder`; its files by z index."""
    volume = sampled_volume(geometry or axial_geometry())
    return write_series(volume, IDENTITY, folder, options or SeriesOptions(seed="phantom", patient_position="HFS"))


def edit(file: Path, change: Callable[[Dataset], None]) -> None:
    """Change the data set of a file, as a careless or hostile writer would: nothing is validated."""
    dataset = pydicom.dcmread(file)
    change(dataset)
    dataset.save_as(file)


def put(dataset: Dataset, keyword: str, value: object) -> None:
    """Set an element to a value that pydicom would not let pass."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    vr = pydicom.datadict.dictionary_VR(tag)
    if vr == "DS":  # pydicom would make numbers of it
        vr = "LO"
    elif vr == "US or SS":
        vr = "SS" if isinstance(value, int) and value < 0 else "US"
    dataset[tag] = DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)


def moved(file: Path, by_lps_mm: tuple[float, float, float]) -> None:
    """Shift the position of one slice."""

    def change(dataset: Dataset) -> None:
        position = [float(p) + d for p, d in zip(dataset.ImagePositionPatient, by_lps_mm, strict=True)]
        dataset.ImagePositionPatient = position

    edit(file, change)


def named(name: str) -> PatientStudy:
    """The phantom's identity under another patient name."""
    return replace(IDENTITY, patient_name=name)
