"""A run to be reviewed: boxes of known edges on a small CT, as folders that `contour run` would have written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from phantoms import IDENTITY

from contour.core.geometry import Geometry
from contour.core.report import Finding, RunReport, Severity, StructureReport, report_to_json
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_write import write_rtstruct
from contour.dicom.write_series import SeriesOptions, write_series

LOGIN, PASSWORD, NAME = "a.reviewer", "correct horse battery", "Dr. A. Reviewer"

# (z, y, x) from the first voxel inside to the first beyond, none symmetric to any middle of the grid.
BOXES = {"Heart": ((6, 20, 40), (14, 44, 56)), "SpinalCord": ((2, 48, 28), (20, 54, 34))}
SHAPE_ZYX = (24, 64, 72)
SPACING_ZYX_MM = (3.0, 2.0, 2.0)


@dataclass(frozen=True)
class Reviewed:
    """Folders of a run and of its images, and the geometry of these."""

    run: Path
    images: Path
    geometry: Geometry


def sagittal(
    shape_zyx: tuple[int, int, int],
    spacing_zyx_mm: tuple[float, float, float],
    origin_lps_mm: tuple[float, float, float],
    frame_of_reference_uid: str,
) -> Geometry:
    """A grid of sagittal slices from left to right: rows go to the back, columns to the feet."""
    axes = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    return Geometry(shape_zyx, spacing_zyx_mm, origin_lps_mm, axes, frame_of_reference_uid)


def reviewed_run(folder: Path, name: str = "case-1", orient: Callable[..., Geometry] = Geometry.axial) -> Reviewed:
    """Boxes of 300 HU in air, drawn to their edges; a finding that says check on the heart."""
    geometry = orient(SHAPE_ZYX, SPACING_ZYX_MM, (-70.0, -60.0, -30.0), "2.25.9001")
    voxels = np.full(SHAPE_ZYX, -1000, dtype=np.int16)
    for box in BOXES.values():
        voxels[tuple(slice(a, b) for a, b in zip(*box, strict=True))] = 300
    images, run = folder / "images" / name, folder / "runs" / name
    write_series(Volume(voxels, geometry, Modality.CT), IDENTITY, images, SeriesOptions(seed=name))
    series = read_series(images)
    structures = tuple(
        Structure(
            name=name,
            color_rgb=(255, 0, 0) if name == "Heart" else (255, 255, 0),
            interpreted_type=InterpretedType.ORGAN,
            mask_zyx=np.ones(np.subtract(stop, start), dtype=bool),
            offset_zyx=start,
        )
        for name, (start, stop) in BOXES.items()
    )
    run.mkdir(parents=True)
    written = write_rtstruct(StructureSet("REVIEW", geometry, structures), series, run / "rtstruct.dcm")
    found = Finding("low-confidence", Severity.CHECK, "Heart was drawn with confidence 0.50.", "Heart", (8, 12))
    lines = (
        StructureReport("Heart", True, 12.3, 0.5, (found,), ("5 fractions: no point above 38 Gy",)),
        StructureReport("SpinalCord", True, 4.5, 0.97),
    )
    report = RunReport(
        contour_version="0.1.0",
        protocol="boxes",
        released=True,
        series_instance_uid=series.series_instance_uid,
        rtstruct_sop_instance_uid=written.sop_instance_uid,
        packages=(),
        structures=lines,
        findings=(Finding("other-objects", Severity.INFO, "Set aside: 1 RT Plan Storage."),),
    )
    (run / "report.json").write_text(report_to_json(report), encoding="utf-8")
    return Reviewed(run, images, geometry)
