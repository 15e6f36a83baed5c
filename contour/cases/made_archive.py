"""A small hospital archive, made: CT, RTSTRUCT, RTPLAN and RTDOSE mixed, with the mess of a real one and its truth.

Tests and the tutorial retrain on it where no patient's data may be. Ten patients have ten habits of naming
(`contour.cases.made_patients`); their bodies are the thorax phantom, each stretched, turned and scanned differently.
Among the files are a re-planned set, a set whose images are elsewhere, duplicates of equal and of other bytes, a
localizer, a series that nobody drew on, a truncated file, and files that are not DICOM.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from contour.cases.made_anatomy import Scan, anatomy_of, made_structure, scan_of, with_defect
from contour.cases.made_objects import RoiToMake, write_dose, write_plan, write_structure_set
from contour.cases.made_patients import ISOCENTRE, PATIENTS, Defect, Layout, PatientPlan, RoiPlan, SetPlan
from contour.cases.made_truth import ArchiveTruth, OddFile, Oddity, SetRole, TrueRoi, TrueSeries, TrueSet
from contour.cases.store import Status
from contour.config import save_config
from contour.core.errors import ConfigError
from contour.core.geometry import Box, Geometry
from contour.core.structures import InterpretedType, Structure
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.series import ImageSeries, PatientStudy
from contour.dicom.uids import derived_uid
from contour.dicom.write_series import SeriesOptions, write_series

ARCHIVE_FOLDER = "archive"
TRUTH_FILE = "truth.yaml"
TRUTH_HEADER = "What is true of the made archive beside this file. Made by `contour data make`."
NATIVE_SLICES = 12
STAGE = "Make patients"
HELPER_SOURCES = ("Couch", "Ring", ISOCENTRE)
_TARGETS = ("GTV", "PTV")
_BODIES = ("Body", "External")


@dataclass(frozen=True)
class MadeOptions:
    """How large the archive is: beyond ten patients the habits repeat, the anatomies do not.

    `spacing_zyx_mm` and `field_mm` (the width of the image) decide its size on disk: the default is about 2 MB a CT.
    """

    patients: int = 10
    spacing_zyx_mm: tuple[float, float, float] = (6.0, 4.0, 4.0)
    field_mm: float = 420.0


Progress = Callable[[str, float], None]


def make_archive(output: Path, options: MadeOptions = MadeOptions(), progress: Progress | None = None) -> ArchiveTruth:
    """Make `output`/archive and `output`/truth.yaml; the same options give the same files.

    `progress` is told what is being made and the part that is done, from 0 to 1.

    Raises:
        ConfigError: `output`/archive exists and is not empty, or no patient is asked for.
        OSError: the disk.
    """
    archive = output / ARCHIVE_FOLDER
    if archive.exists() and any(archive.iterdir()):
        raise ConfigError(str(archive), "is not empty", "a new folder")
    if options.patients < 1:
        raise ConfigError("patients", str(options.patients), "1 or more")
    output.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".archive-", suffix=".part", dir=output))
    try:
        truth = _make(stage, options, progress or _silent)
        save_config(truth, output / TRUTH_FILE, TRUTH_HEADER)
        stage.chmod(0o755)
        stage.rename(archive)  # in place of an empty folder, if there is one
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return truth


def _make(archive: Path, options: MadeOptions, progress: Progress) -> ArchiveTruth:
    parts = []
    for number in range(options.patients):
        progress(STAGE, number / options.patients)
        parts.append(_make_patient(archive, number, options))
    parts.append(_make_mess(archive, parts[0]))
    progress(STAGE, 1.0)
    return ArchiveTruth(
        series=tuple(item for part in parts for item in part.series),
        structure_sets=tuple(item for part in parts for item in part.structure_sets),
        odd_files=tuple(item for part in parts for item in part.odd_files),
    )


def _silent(_: str, __: float) -> None:
    """No one watches."""


# -- one patient -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Visit:
    """One CT of a patient, in the archive and in memory."""

    series: ImageSeries
    scan: Scan
    identity: PatientStudy
    folder: Path
    flat: bool

    def file(self, kind: str, uid: str) -> Path:
        """Where an object of that kind goes."""
        return self.folder / (f"{kind}.{uid}.dcm" if self.flat else f"{kind}_{uid[-8:]}.dcm")


def _make_patient(archive: Path, number: int, options: MadeOptions) -> ArchiveTruth:
    plan = PATIENTS[number % len(PATIENTS)]
    series: list[TrueSeries] = []
    sets: list[TrueSet] = []
    odd: list[OddFile] = []
    for number_of_visit in range(2 if plan.second_ct else 1):
        visit = _scan(archive, plan, (number, number_of_visit), options)
        identity, series_uid = visit.identity, visit.series.series_instance_uid
        files = tuple(_relative(path, archive) for path in visit.series.files)
        series.append(TrueSeries(identity.patient_id, identity.study_instance_uid, series_uid, len(files), files[2]))
        # What went wrong on the first day is drawn right on the second.
        drawn = plan.sets if number_of_visit == 0 else (_without_defects(plan.sets[-1]),)
        for i, set_plan in enumerate(drawn):
            role = SetRole.IN_USE if i == len(drawn) - 1 else SetRole.SUPERSEDED
            sets.append(_draw(archive, visit, plan, set_plan, role))
        odd += _plan_and_dose(archive, visit, sets[-1].structure_set_uid)
    habit = number % len(PATIENTS)
    if habit == 1:
        odd.append(_same_again(archive, archive / sets[-1].file))
    if habit == 3:
        odd.append(_localizer(archive, visit))
    if habit in (4, 6):
        slices = _series_without_set(visit)
        odd += [OddFile(_relative(path, archive), Oddity.SERIES_WITHOUT_SET) for path in slices]
        if habit == 4:
            odd.append(OddFile(_relative(_sent_again(slices[0]), archive), Oddity.OTHER_BYTES))
    if habit == 5:
        sets.append(_orphan(archive, visit, plan))
    return ArchiveTruth(tuple(series), tuple(sets), tuple(odd))


def _scan(archive: Path, plan: PatientPlan, place: tuple[int, int], options: MadeOptions) -> _Visit:
    """Scan the patient and store the CT; `place` is the number of the patient and of the visit."""
    number, visit = place
    scan = scan_of(anatomy_of(number, visit), options.spacing_zyx_mm, options.field_mm)
    date = plan.sets[-1].date
    identity = PatientStudy(
        patient_name=plan.patient_name,
        patient_id=f"MADE-{number + 1:04d}",
        patient_birth_date=f"19{40 + number % 50}0{1 + number % 9}15",
        patient_sex=plan.sex,
        study_instance_uid=derived_uid("made study", str(number), str(visit)),
        study_id=str(visit + 1),
        study_date=date,
        study_time="090000",
        study_description="CT",
        accession_number="",
        referring_physician_name="",
    )
    flat = plan.layout is Layout.FLAT
    folder = archive / "export" if flat else archive / f"{plan.patient_name.replace('^', ' ')} {number + 1}" / date
    compressed = number % 3 == 1
    series_options = SeriesOptions(
        seed="made planning CT",
        series_description="Planning CT",
        transfer_syntax_uid=str(JPEGLSLossless if compressed else ExplicitVRLittleEndian),
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        specific_character_set=plan.character_set,
        patient_position="HFS",
        body_part="CHEST",
    )
    staging = archive / f".ct-{number}-{visit}"
    series = _stored(scan.volume, identity, series_options, staging)
    ct = folder if flat else folder / "CT"
    moved = _move(series, ct, flat=flat)
    shutil.rmtree(staging)
    return _Visit(replace(series, files=moved), scan, identity, folder, flat)


def _stored(volume: Volume, identity: PatientStudy, options: SeriesOptions, folder: Path) -> ImageSeries:
    write_series(volume, identity, folder, options)
    return read_series(folder)


def _move(series: ImageSeries, folder: Path, *, flat: bool) -> tuple[Path, ...]:
    """Move the files of `series` where the archive keeps them: by number, or by UID among those of others."""
    folder.mkdir(parents=True, exist_ok=True)
    uids = series.sop_instance_uids
    names = [f"CT.{uid}.dcm" if flat else f"IM{z + 1:05d}" for z, uid in enumerate(uids)]
    return tuple(path.replace(folder / name) for path, name in zip(series.files, names, strict=True))


def _draw(archive: Path, visit: _Visit, plan: PatientPlan, set_plan: SetPlan, role: SetRole) -> TrueSet:
    """Draw the ROIs of `set_plan` on the scan and write them as a structure set."""
    drawn = [_roi(roi, visit.scan) for roi in set_plan.rois]
    uid = derived_uid("made set name", visit.series.series_instance_uid, set_plan.label)
    path = visit.file("RS", uid)
    written = write_structure_set(tuple(d[0] for d in drawn), visit.series, set_plan, path, plan.character_set)
    named = {roi.name for roi in set_plan.rois if roi.defect is not Defect.NO_CONTOURS}
    shown = [s.name for s in visit.scan.structures.structures if s.name not in (*HELPER_SOURCES, *_TARGETS, *_BODIES)]
    return TrueSet(
        file=_relative(path, archive),
        structure_set_uid=written,
        patient_id=visit.identity.patient_id,
        study_instance_uid=visit.identity.study_instance_uid,
        series_instance_uid=visit.series.series_instance_uid,
        role=role,
        rois=tuple(d[1] for d in drawn),
        not_drawn=tuple(name for name in shown if name not in named),
    )


def _roi(plan: RoiPlan, scan: Scan) -> tuple[RoiToMake, TrueRoi]:
    """What is written for one ROI, and what is true of it."""
    truth = TrueRoi(plan.roi_name, plan.name, plan.ignore, plan.spelling, Status.DRAWN, defect=plan.defect)
    source = plan.source or plan.name or ""
    if source == ISOCENTRE:
        middle = _middle_lps_mm(scan.structure("GTV"), scan.volume.geometry)
        point = RoiToMake(plan.roi_name, InterpretedType.NONE, None, point_lps_mm=middle)
        return point, replace(truth, status=Status.NOT_DRAWN)
    structure = scan.structure(source)
    if plan.part is not None:
        structure, slices = _in_part(structure, plan.part)
        truth = replace(truth, status=Status.PARTIAL, drawn_slices=slices)
    if plan.defect is not None:
        structure, touched = with_defect(structure, plan.defect, scan)
        truth = replace(truth, defect_slices=touched)
    kind = structure.interpreted_type
    if structure.empty:
        return RoiToMake(plan.roi_name, kind, None), replace(truth, status=Status.NOT_DRAWN, defect_slices=None)
    volume_ml = round(scan.structures.volume_ml(structure), 3)
    return RoiToMake(plan.roi_name, kind, structure, plan.defect), replace(truth, volume_ml=volume_ml)


def _in_part(structure: Structure, part: tuple[float, float]) -> tuple[Structure, tuple[int, int]]:
    """The structure between two fractions of its slices, and the first and last slice that are left."""
    count = structure.box.shape_zyx[0]
    first, last = round(part[0] * count), round(part[1] * count) - 1
    z, y, x = structure.offset_zyx
    cut = made_structure(structure.name, structure.mask_zyx[first : last + 1], (z + first, y, x))
    return replace(cut, interpreted_type=structure.interpreted_type), (z + first, z + last)


def _middle_lps_mm(structure: Structure, geometry: Geometry) -> tuple[float, float, float]:
    middle = np.argwhere(structure.mask_zyx).mean(axis=0) + structure.offset_zyx
    x, y, z = geometry.index_to_lps_mm(middle).tolist()
    return x, y, z


def _without_defects(plan: SetPlan) -> SetPlan:
    right = tuple(replace(roi, source="", defect=None) if roi.defect else roi for roi in plan.rois)
    return replace(plan, rois=right)


# -- what lies between -----------------------------------------------------------------------------------------------


def _plan_and_dose(archive: Path, visit: _Visit, structure_set_uid: str) -> tuple[OddFile, ...]:
    uid = visit.series.series_instance_uid
    plan, dose = visit.file("RP", uid), visit.file("RD", uid)
    write_plan(visit.series, structure_set_uid, plan)
    write_dose(visit.series, dose)
    return OddFile(_relative(plan, archive), Oddity.PLAN), OddFile(_relative(dose, archive), Oddity.DOSE)


def _same_again(archive: Path, path: Path) -> OddFile:
    """A copy that somebody once put aside."""
    copy = archive / "копия" / path.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, copy)
    return OddFile(_relative(copy, archive), Oddity.SAME_BYTES)


def _localizer(archive: Path, visit: _Visit) -> OddFile:
    """A scout view in the planning study."""
    planned = visit.scan.volume.geometry
    coronal = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
    geometry = replace(planned, shape_zyx=(1, 64, 64), axes_lps=coronal)
    volume = Volume(np.zeros(geometry.shape_zyx, dtype=np.int16), geometry, Modality.CT)
    options = SeriesOptions(seed="made localizer", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), body_part="CHEST")
    folder = archive / f".scout-{visit.identity.patient_id}"
    (file,) = write_series(volume, visit.identity, folder, options)
    path = visit.file("SC", visit.series.series_instance_uid)
    file.replace(path)
    folder.rmdir()
    return OddFile(_relative(path, archive), Oddity.LOCALIZER)


def _series_without_set(visit: _Visit) -> tuple[Path, ...]:
    """A second, short series of the study that nobody drew on; its files."""
    options = SeriesOptions(seed="made native CT", series_description="Native", series_number=2, body_part="CHEST")
    whole = visit.scan.volume
    part = whole.cropped(Box((0, 0, 0), (NATIVE_SLICES, *whole.geometry.shape_zyx[1:])))
    return write_series(part, visit.identity, visit.folder / f"Native {visit.identity.patient_id}", options)


def _sent_again(path: Path) -> Path:
    """A slice under its old UID with other bytes."""
    other = path.with_name("IM_again.dcm")
    data_set = dcmread(path)
    data_set.SeriesDescription = "Native, sent again"
    data_set.save_as(other, enforce_file_format=True)
    return other


def _orphan(archive: Path, visit: _Visit, plan: PatientPlan) -> TrueSet:
    """A set drawn on a CT that the archive does not hold, in a study and frame of reference of its own."""
    identity = replace(visit.identity, study_instance_uid=derived_uid("made elsewhere", visit.identity.patient_id))
    frame = derived_uid("made frame elsewhere", visit.identity.patient_id)
    volume = visit.scan.volume
    volume = replace(volume, geometry=replace(volume.geometry, frame_of_reference_uid=frame))
    folder = archive / ".elsewhere"
    series = _stored(volume, identity, SeriesOptions(seed="made elsewhere"), folder)
    scan = replace(visit.scan, volume=volume)
    elsewhere = replace(visit, series=series, scan=scan, identity=identity)
    drawn = _draw(archive, elsewhere, plan, plan.sets[-1], SetRole.ORPHAN)
    shutil.rmtree(folder)
    return drawn


def _make_mess(archive: Path, first: ArchiveTruth) -> ArchiveTruth:
    """Files beside any patient: a slice a second time, a truncated one, and what is not DICOM."""
    whole = archive / first.series[0].a_file
    folder = archive / "копия"
    folder.mkdir(exist_ok=True)
    again, cut, note, thumbs = (folder / n for n in ("IM00003 (2)", "IM_recovered", "readme.txt", "Thumbs.db"))
    shutil.copyfile(whole, again)
    cut.write_bytes(whole.with_name("IM00004").read_bytes()[:700])
    note.write_text("Скопировано", encoding="utf-8")
    thumbs.write_bytes(bytes(range(256)) * 8)
    odd = (
        OddFile(_relative(again, archive), Oddity.SAME_BYTES),
        OddFile(_relative(cut, archive), Oddity.TRUNCATED),
        OddFile(_relative(note, archive), Oddity.NOT_DICOM),
        OddFile(_relative(thumbs, archive), Oddity.NOT_DICOM),
    )
    return ArchiveTruth((), (), odd)


def _relative(path: Path, archive: Path) -> str:
    return path.relative_to(archive).as_posix()
