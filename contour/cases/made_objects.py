"""The DICOM objects of the made archive beside its images: structure sets as planners leave them, plans and doses.

A structure set is first written and proven by `contour.dicom.rtstruct_write` under names of its own, then renamed and
spoilt here: what other systems write is not always what ours would.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTPlanStorage

from contour.cases.made_patients import Defect, SetPlan
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.dicom.rtstruct_contents import RT_STRUCTURE_SET_STORAGE
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries
from contour.dicom.uids import derived_uid

OFF_PLANE_PART = 0.4  # of the distance between slices
FIRST_ADDED_NUMBER = 100  # of ROIs without a mask: past those of any made set


@dataclass(frozen=True)
class RoiToMake:
    """An ROI as it will stand in the file: `structure` None is one that is listed without contours.

    `point_lps_mm` makes it a single point instead.
    """

    roi_name: str
    kind: InterpretedType
    structure: Structure | None
    defect: Defect | None = None
    point_lps_mm: tuple[float, float, float] | None = None


def write_structure_set(
    rois: tuple[RoiToMake, ...], series: ImageSeries, plan: SetPlan, path: Path, character_set: str
) -> str:
    """Write the ROIs on `series` to `path`; the set's SOP Instance UID.

    Raises:
        NotReleased: the contours do not mean the masks; nothing stands at `path` then.
    """
    drawn = tuple(_with_place(roi.structure, i) for i, roi in enumerate(rois) if roi.structure is not None)
    now = datetime.strptime(f"{plan.date} 101500", "%Y%m%d %H%M%S")
    options = WriteOptions(label="made", generation=GenerationAlgorithm.MANUAL, now=now)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rtstruct(StructureSet("made", series.volume.geometry, drawn), series, path, options)
    data_set = dcmread(path)
    uid = derived_uid("made set", series.series_instance_uid, plan.label, plan.date)
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = uid
    data_set.SeriesInstanceUID = derived_uid("made set series", uid)
    data_set.SpecificCharacterSet = character_set
    data_set.StructureSetLabel = plan.label
    data_set.StructureSetDescription = ""
    data_set.SeriesDescription = plan.label
    data_set.ApprovalStatus = "APPROVED" if plan.approved else "UNAPPROVED"
    if plan.approved:
        data_set.ReviewDate, data_set.ReviewTime, data_set.ReviewerName = plan.date, "120000", "Reviewer"
    for place, roi in enumerate(rois):
        number = _rename(data_set, place, roi, series)
        for item in data_set.ROIContourSequence:
            if int(item.ReferencedROINumber) == number:
                _spoil(item, roi.defect, series)
    data_set.save_as(path, enforce_file_format=True)
    return uid


def write_plan(series: ImageSeries, structure_set_uid: str, path: Path) -> None:
    """An RT Plan that refers to the structure set; its beams are left out."""
    plan = _object(series, RTPlanStorage, "RTPLAN")
    plan.RTPlanLabel, plan.RTPlanGeometry = "PLAN", "PATIENT"
    plan.RTPlanDate, plan.RTPlanTime = series.identity.study_date, series.identity.study_time
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = RT_STRUCTURE_SET_STORAGE
    referenced.ReferencedSOPInstanceUID = structure_set_uid
    plan.ReferencedStructureSetSequence = [referenced]
    plan.save_as(path, enforce_file_format=True)


def write_dose(series: ImageSeries, path: Path) -> None:
    """An RT Dose on a coarse grid, all zero: it only has to lie in the way."""
    dose = _object(series, RTDoseStorage, "RTDOSE")
    geometry = series.volume.geometry
    dose.FrameOfReferenceUID = geometry.frame_of_reference_uid
    dose.PositionReferenceIndicator = ""
    dose.ImagePositionPatient = [f"{v:.2f}" for v in geometry.origin_lps_mm]
    dose.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dose.PixelSpacing, dose.SliceThickness = [20, 20], None
    plan = Dataset()
    plan.ReferencedSOPClassUID = RTPlanStorage
    plan.ReferencedSOPInstanceUID = derived_uid("made", "RTPLAN", series.series_instance_uid)
    dose.ReferencedRTPlanSequence = [plan]
    dose.SamplesPerPixel, dose.PhotometricInterpretation = 1, "MONOCHROME2"
    dose.NumberOfFrames, dose.Rows, dose.Columns = 4, 16, 16
    dose.FrameIncrementPointer, dose.GridFrameOffsetVector = 0x3004000C, [0, 20, 40, 60]
    dose.BitsAllocated = dose.BitsStored = 16
    dose.HighBit, dose.PixelRepresentation = 15, 0
    dose.DoseUnits, dose.DoseType, dose.DoseSummationType, dose.DoseGridScaling = "GY", "PHYSICAL", "PLAN", "0.001"
    dose.PixelData = np.zeros((4, 16, 16), dtype="<u2").tobytes()
    dose["PixelData"].VR = "OW"
    dose.save_as(path, enforce_file_format=True)


def _with_place(structure: Structure, place: int) -> Structure:
    """Under a name that can be written; the planner's own comes later."""
    return replace(structure, name=f"R{place:02d}")


def _rename(data_set: Dataset, place: int, roi: RoiToMake, series: ImageSeries) -> int:
    """Give the ROI of that place its planner's name, and add it first where it has no mask; its ROI Number."""
    items = {item.ROIName: item for item in data_set.StructureSetROISequence}
    item = items.get(f"R{place:02d}") or _added(data_set, FIRST_ADDED_NUMBER + place, roi, series)
    number = int(item.ROINumber)
    item.ROIName = roi.roi_name
    observation = next(o for o in data_set.RTROIObservationsSequence if int(o.ReferencedROINumber) == number)
    observation.ROIObservationLabel = roi.roi_name
    observation.RTROIInterpretedType = str(roi.kind)
    return number


def _added(data_set: Dataset, number: int, roi: RoiToMake, series: ImageSeries) -> Dataset:
    """A further ROI: with its point, or listed without a contour."""
    item, observation = Dataset(), Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = series.volume.geometry.frame_of_reference_uid
    item.ROIGenerationAlgorithm = "MANUAL"
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.ROIInterpreter = ""
    data_set.StructureSetROISequence.append(item)
    data_set.RTROIObservationsSequence.append(observation)
    if roi.point_lps_mm is not None:
        data_set.ROIContourSequence.append(_point(number, roi.point_lps_mm, series))
    return item


def _point(number: int, point_lps_mm: tuple[float, float, float], series: ImageSeries) -> Dataset:
    nearest = round(float(series.volume.geometry.lps_mm_to_index(point_lps_mm)[0]))
    image, contour, item = Dataset(), Dataset(), Dataset()
    image.ReferencedSOPClassUID = series.sop_class_uid
    image.ReferencedSOPInstanceUID = series.sop_instance_uids[nearest]
    contour.ContourImageSequence = [image]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "POINT", 1
    contour.ContourData = [f"{v:.2f}" for v in point_lps_mm]
    item.ROIDisplayColor, item.ContourSequence, item.ReferencedROINumber = [255, 255, 0], [contour], number
    return item


def _spoil(item: Dataset, defect: Defect | None, series: ImageSeries) -> None:
    """Put a mistake that only contours can carry into one ROI's contours."""
    if defect is Defect.DANGLING_REFERENCES:
        for contour in item.ContourSequence:
            image = contour.ContourImageSequence[0]
            image.ReferencedSOPInstanceUID = derived_uid("made dangling", image.ReferencedSOPInstanceUID)
    elif defect is Defect.OFF_PLANE:
        step = OFF_PLANE_PART * series.volume.geometry.spacing_zyx_mm[0]
        for contour in item.ContourSequence:
            values = np.asarray(contour.ContourData, dtype=float)
            values[2::3] += step
            contour.ContourData = [f"{v:.3f}" for v in values]


def _object(series: ImageSeries, sop_class_uid: str, modality: str) -> Dataset:
    identity = series.identity
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.SOPClassUID = sop_class_uid
    data_set.SOPInstanceUID = derived_uid("made", modality, series.series_instance_uid)
    data_set.SeriesInstanceUID = derived_uid("made series", modality, series.series_instance_uid)
    data_set.StudyInstanceUID = identity.study_instance_uid
    data_set.Modality = modality
    data_set.PatientName, data_set.PatientID = identity.patient_name, identity.patient_id
    data_set.PatientBirthDate, data_set.PatientSex = identity.patient_birth_date, identity.patient_sex
    data_set.StudyDate, data_set.StudyTime, data_set.StudyID = (
        identity.study_date,
        identity.study_time,
        identity.study_id,
    )
    data_set.AccessionNumber = data_set.ReferringPhysicianName = data_set.Manufacturer = ""
    data_set.SeriesNumber, data_set.InstanceNumber, data_set.OperatorsName = 1, 1, ""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = sop_class_uid
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set
