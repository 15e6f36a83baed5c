"""Small patients in an archive of their own: six slices, and structure sets that a test may spoil."""

import sqlite3
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import phantoms
import pydicom
from pydicom import Dataset

from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries
from contour.dicom.write_series import SeriesOptions, write_series

SLICES = 6


def add_series(folder: Path, patient: str = "P-1", *, seed: str = "ct", frame: str = "") -> ImageSeries:
    """A CT of the patient in `folder`, which holds nothing else; a study for each patient."""
    geometry = phantoms.axial_geometry()
    if frame:
        geometry = replace(geometry, frame_of_reference_uid=frame)
    study = f"2.25.7{sum(map(ord, patient))}"
    identity = replace(phantoms.IDENTITY, patient_id=patient, study_instance_uid=study)
    write_series(phantoms.sampled_volume(geometry), identity, folder, SeriesOptions(seed))
    return read_series(folder)


def add_set(series: ImageSeries, path: Path, names: tuple[str, ...] = ("Heart",), **changes: object) -> Path:
    """A structure set on `series` with a cube of each name; `changes` are put into its data set as they are."""
    cubes = []
    for i, name in enumerate(names):
        mask = np.zeros(series.volume.geometry.shape_zyx, dtype=bool)
        mask[1:4, 4:12, 4 + i : 12 + i] = True
        cropped, offset = cropped_to_content(mask)
        cubes.append(Structure(name, (255, 0, 0), InterpretedType.ORGAN, cropped, offset))
    drawn = StructureSet("test", series.volume.geometry, tuple(cubes))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rtstruct(drawn, series, path, WriteOptions(now=datetime(2026, 1, 2, 10, 11, 12)))
    if changes:
        phantoms.edit(path, lambda ds: [phantoms.put(ds, keyword, value) for keyword, value in changes.items()])
    return path


def anonymous_references(ds: Dataset, *, images: bool = True) -> None:
    """The references of a structure set as a careless de-identification leaves them: UIDs of nothing."""
    series = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.SeriesInstanceUID = "2.25.404"
    if not images:
        return
    contours = [contour for roi in ds.ROIContourSequence for contour in roi.ContourSequence]
    for item in (series, *contours):
        for image in item.ContourImageSequence:
            image.ReferencedSOPInstanceUID = f"2.25.405.1{image.ReferencedSOPInstanceUID[-6:]}"


def frames_of(ds: Dataset, uid: str) -> None:
    """Put a structure set into another frame of reference."""
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = uid
    for roi in ds.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = uid


def series_of(folder: Path, slices: int, patient: str = "P-1") -> None:
    """Many tiny slices: what takes long to index, not long to make."""
    geometry = Geometry.axial((slices, 2, 2), (1.0, 10.0, 10.0), (0.0, 0.0, 0.0), "2.25.9")
    identity = replace(phantoms.IDENTITY, patient_id=patient)
    write_series(phantoms.sampled_volume(geometry), identity, folder, SeriesOptions("many"))


def tables(index: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of an index, but for what names the file itself."""
    connection = sqlite3.connect(index)
    try:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    finally:
        connection.close()


def sent_elsewhere(source: Path, target: Path) -> None:
    """The same data set as another program stores it: other bytes before it, none of its own."""
    ds = pydicom.dcmread(source)
    ds.file_meta.ImplementationVersionName = "ELSEWHERE"
    ds.save_as(target, enforce_file_format=True)
