"""One case as the page shows it: who, the image's grid, and the structures with the file's own polygons."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contour.core.checksum import file_sha256
from contour.core.errors import InputRefused
from contour.core.geometry import Geometry
from contour.core.nomenclature import Rgb, lookup
from contour.core.report import RunReport, Severity, StructureReport
from contour.core.volume import Modality, Volume
from contour.dicom.rtstruct_contents import RoiDefinition, RtstructContents
from contour.dicom.rtstruct_read import read_contours, read_roi_polygons, require_of_study
from contour.dicom.series import ImageSeries, PatientStudy
from contour.imaging.contours import Contours
from contour.languages import Language, local_name
from contour.services.review.worklist import RunFolder

_UNCOLORED: Rgb = (200, 200, 200)
_INT16 = np.iinfo(np.int16)
MR_WINDOW_PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True)
class View:
    """How one of the three views looks at the grid: the index axis it steps along, and those across and down.

    Axes are 0, 1, 2 for z, y, x; a sign of -1 says that the index falls to the right, or downwards. `right`, `left`,
    `top` and `bottom` are the patient's sides (L, R, A, P, S, I) at the edges.
    """

    name: Literal["axial", "coronal", "sagittal"]
    normal_axis: int
    across_axis: int
    across_sign: int
    down_axis: int
    down_sign: int
    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class Grid:
    """The image's grid for the page: voxels are int16, z, y, x in that order, and value = voxel * slope + intercept.

    `to_ras_mm` is a row-major 3 x 4 matrix from indices (x, y, z) to patient coordinates, right, anterior, superior.
    `window` is (centre, width) to begin with.
    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    to_ras_mm: tuple[float, ...]
    views: tuple[View, ...]
    modality: str
    slope: float
    intercept: float
    window: tuple[float, float]


@dataclass(frozen=True)
class ShownFinding:
    """A finding; `roi_number` is the structure's, None for one on the image or the run or on what was not drawn."""

    code: str
    severity: Severity
    message: str
    structure: str | None
    roi_number: int | None
    slices: tuple[int, ...]


@dataclass(frozen=True)
class ShownStructure:
    """An ROI of the file. `contours` counts its polygons; `problem` says why they cannot be shown, "" if they can.

    `volume_ml`, `confidence` and `doses` are the report's; None and () where it does not know the ROI.
    """

    roi_number: int
    name: str
    local_name: str | None
    color_rgb: Rgb
    contours: int
    problem: str
    volume_ml: float | None
    confidence: float | None
    state: str
    doses: tuple[str, ...]


@dataclass(frozen=True)
class Patient:
    """Who was imaged, for the header of the page."""

    name: str
    patient_id: str
    birth_date: str
    sex: str
    study_date: str
    study_description: str
    series_description: str


@dataclass(frozen=True)
class Polygons:
    """All polygons of the case: (n, 2) float32 x, y indices of the points, and for each polygon ROI, slice and start.

    `table` is (m, 4) int32: ROI Number, z index, first point, points.
    """

    points_xy: NDArray[np.float32]
    table: NDArray[np.int32]


@dataclass(frozen=True)
class Case:
    """What the page shows of a run."""

    key: str
    folder_name: str
    rtstruct_sha256: str
    rtstruct_uid: str
    protocol: str
    completeness: str
    patient: Patient
    grid: Grid
    structures: tuple[ShownStructure, ...]
    findings: tuple[ShownFinding, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class OpenedCase:
    """A case with what goes to the page in bulk."""

    case: Case
    voxels: NDArray[np.int16]
    polygons: Polygons


def open_case(run: RunFolder, report: RunReport, series: ImageSeries, language: Language) -> OpenedCase:
    """The case of a run folder on its images.

    Raises:
        InputRefused: the structure set cannot be read, or is not of these images; of an ROI that cannot be shown on
            them, `ShownStructure.problem` tells instead.
        OSError: the disk.
    """
    before = file_sha256(run.rtstruct)
    contents = read_contours(run.rtstruct)
    require_of_study(contents, series)
    drawn = [_drawn(contents, roi, series) for roi in contents.rois]
    lines = {line.name: line for line in report.structures}
    structures = tuple(
        _shown(contents, roi, polygons, problem, (lines.get(roi.name), language))
        for roi, (polygons, problem) in zip(contents.rois, drawn, strict=True)
    )
    voxels, slope, intercept = _as_int16(series.volume)
    window = _first_window(series.volume)
    case = Case(
        key=run.key,
        folder_name=run.folder.name,
        rtstruct_sha256=before,
        rtstruct_uid=contents.sop_instance_uid,
        protocol=report.protocol,
        completeness=report.completeness,
        patient=_patient(series.identity, series.series_description),
        grid=_grid(series.volume, (slope, intercept), window),
        structures=structures,
        findings=_findings(run, structures),
        missing=tuple(line.name for line in report.structures if line.name not in {s.name for s in structures}),
    )
    if file_sha256(run.rtstruct) != before:
        return open_case(run, report, series, language)  # it was replaced while it was read
    return OpenedCase(case, voxels, _polygons(contents.rois, [polygons for polygons, _ in drawn]))


def views_of(geometry: Geometry) -> tuple[View, View, View]:
    """Axial, coronal and sagittal views as radiologists hold them: the patient's left on the right, head up, nose left.

    On an oblique grid, each looks along the index axis that is nearest to its own.
    """
    axes = np.asarray(geometry.axes_lps)
    # For the patient's L, P and S: the index axis that is nearest, no axis twice, the clearest first.
    chosen: dict[int, int] = {}
    for flat in np.argsort(-np.abs(axes), axis=None):
        index_axis, patient_axis = divmod(int(flat), 3)
        if patient_axis not in chosen and index_axis not in chosen.values():
            chosen[patient_axis] = index_axis
    sign = {patient: 1 if axes[index, patient] > 0 else -1 for patient, index in chosen.items()}
    left, posterior, superior = 0, 1, 2

    def view(name: Literal["axial", "coronal", "sagittal"], normal: int, across: int, down: int) -> View:
        across_sign = sign[across]  # towards the patient's left or back
        down_sign = sign[down] if down == posterior else -sign[down]  # towards the back or the feet
        ends = {left: ("R", "L"), posterior: ("A", "P"), superior: ("I", "S")}
        top, bottom = ends[down] if down == posterior else reversed(ends[down])
        return View(
            name, chosen[normal], chosen[across], across_sign, chosen[down], down_sign, *ends[across], top, bottom
        )

    return (
        view("axial", superior, left, posterior),
        view("coronal", posterior, left, superior),
        view("sagittal", left, posterior, superior),
    )


def _drawn(contents: RtstructContents, roi: RoiDefinition, series: ImageSeries) -> tuple[Contours, str]:
    """(an ROI's polygons, why they cannot be shown)."""
    try:
        return read_roi_polygons(contents, roi, series), ""
    except InputRefused as refused:
        return Contours(np.zeros((0, 2)), np.zeros(1, dtype=np.intp), np.zeros(0, dtype=np.intp)), str(refused)


def _shown(
    contents: RtstructContents,
    roi: RoiDefinition,
    polygons: Contours,
    problem: str,
    told: tuple[StructureReport | None, Language],
) -> ShownStructure:
    line, language = told
    contours, known = contents.contours_of(roi.number), lookup(roi.name)
    color = contours.color_rgb if contours is not None else None
    return ShownStructure(
        roi_number=roi.number,
        name=roi.name,
        local_name=local_name(roi.name, language),
        color_rgb=color or (known.color_rgb if known else _UNCOLORED),
        contours=len(polygons),
        problem=problem,
        volume_ml=line.volume_ml if line else None,
        confidence=line.confidence if line else None,
        state=line.state.value if line else "",
        doses=line.doses if line else (),
    )


def _findings(run: RunFolder, structures: tuple[ShownStructure, ...]) -> tuple[ShownFinding, ...]:
    numbers = {structure.name: structure.roi_number for structure in structures}
    return tuple(
        ShownFinding(f.code, f.severity, f.message, f.structure, numbers.get(f.structure or ""), f.slices)
        for f in run.findings
    )


def _patient(identity: PatientStudy, series_description: str) -> Patient:
    return Patient(
        name=identity.patient_name,
        patient_id=identity.patient_id,
        birth_date=identity.patient_birth_date,
        sex=identity.patient_sex,
        study_date=identity.study_date,
        study_description=identity.study_description,
        series_description=series_description,
    )


def _grid(volume: Volume, scale: tuple[float, float], window: tuple[float, float]) -> Grid:
    geometry = volume.geometry
    steps = geometry.steps_lps_mm[::-1]  # x, y, z
    to_lps = np.column_stack([steps.T, geometry.origin_lps_mm])
    to_ras = np.diag([-1.0, -1.0, 1.0]) @ to_lps
    return Grid(
        shape_zyx=geometry.shape_zyx,
        spacing_zyx_mm=geometry.spacing_zyx_mm,
        to_ras_mm=tuple(float(value) for value in to_ras.ravel()),
        views=views_of(geometry),
        modality=volume.modality.value,
        slope=scale[0],
        intercept=scale[1],
        window=window,
    )


def _as_int16(volume: Volume) -> tuple[NDArray[np.int16], float, float]:
    """(voxels, slope, intercept): the values themselves if they fit, else spread over the range of int16."""
    voxels = volume.voxels_zyx
    if voxels.dtype == np.int16:
        return np.ascontiguousarray(voxels, dtype="<i2"), 1.0, 0.0
    low, high = float(voxels.min()), float(voxels.max())
    slope = (high - low) / (_INT16.max - _INT16.min) or 1.0
    if volume.modality is Modality.CT and _INT16.min <= low and high <= _INT16.max:
        return np.rint(voxels).astype("<i2"), 1.0, 0.0
    intercept = low - _INT16.min * slope
    return np.rint((voxels - intercept) / slope).clip(_INT16.min, _INT16.max).astype("<i2"), slope, intercept


def _first_window(volume: Volume) -> tuple[float, float]:
    """(centre, width): soft tissue on CT; on MR, whose values have no unit, what most voxels have."""
    if volume.modality is Modality.CT:
        return 40.0, 400.0
    low, high = np.percentile(volume.voxels_zyx[::2, ::4, ::4], MR_WINDOW_PERCENTILES)
    return float(low + high) / 2, max(float(high - low), 1e-6)


def _polygons(rois: tuple[RoiDefinition, ...], drawn: list[Contours]) -> Polygons:
    points, rows, start = [np.zeros((0, 2), dtype="<f4")], [np.zeros((0, 4), dtype="<i4")], 0
    for roi, contours in zip(rois, drawn, strict=True):
        points.append(contours.points_yx[:, ::-1].astype("<f4"))
        first = contours.starts[:-1] + start
        number = np.full(len(contours), roi.number)
        rows.append(np.column_stack([number, contours.slice_indices, first, np.diff(contours.starts)]).astype("<i4"))
        start += len(contours.points_yx)
    return Polygons(np.concatenate(points), np.concatenate(rows))
