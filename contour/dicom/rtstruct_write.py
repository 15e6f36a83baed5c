"""Structures -> RTSTRUCT: written, read back, proven equal, and only then released under its name.

The object is the RT Structure Set IOD, PS3.3 A.19.3, in Implicit VR Little Endian, since the 16-bit lengths of explicit
VR cannot hold a long contour.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.charset import python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import ImplicitVRLittleEndian

import contour
from contour.core.errors import InputRefused, Reason
from contour.core.nomenclature import Code, lookup, validate_names
from contour.core.planning_system import GENERIC, MAX_LABEL_LENGTH, HoleStyle, LocalNamePlace, PlanningSystem
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.dicom.release import part_of, release, write_durably
from contour.dicom.rtstruct_contents import RT_STRUCTURE_SET_STORAGE
from contour.dicom.rtstruct_encode import RoiToWrite, SliceReferences, encode_contour_sequence
from contour.dicom.rtstruct_prove import prove_rtstruct
from contour.dicom.series import ImageSeries
from contour.dicom.uids import derived_uid
from contour.imaging.contours import EXACT, Contours, TraceOptions, trace
from contour.imaging.keyholes import keyholed

UNICODE = "ISO_IR 192"
FIRST_DECIMATION_MM, MOST_DECIMATION_MM = 0.05, 0.8  # of contours with more points than a planning system takes
REVIEW = "For a clinician's review before any use."
# Identifies this implementation in File Meta Information (PS3.7 D.3.3.2): a UUID of our own under 2.25.
IMPLEMENTATION_CLASS_UID = "2.25.286040261427830870405479729174766624375"

_STUDY_COMPONENT_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # what PS3.3 C.8.8.5 has RT Referenced Study name
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
_EXTERNAL_BODY_MODEL = Code("130047", "DCM", "External Body Model")
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_ROI_CONTOUR_SEQUENCE = 0x30060039


class GenerationAlgorithm(StrEnum):
    """ROI Generation Algorithm (3006,0036): PS3.3 C.8.8.5."""

    AUTOMATIC = "AUTOMATIC"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    MANUAL = "MANUAL"
    UNKNOWN = ""


@dataclass(frozen=True)
class WriteOptions:
    """How a structure set is written.

    `label` (16 characters at most) and `series_description` (64) default to the structure set's label. `now` gives the
    dates and times, the only bytes that differ between two runs on the same input; by default it is the time of
    writing. UIDs follow from `uid_seed` where that is given, and from the content otherwise: work that is taken up
    again, perhaps on another engine, must end in the same instance. `trace` says how contours are drawn from masks.
    `note` goes into the Structure Set Description (3006,0006). `system` is the planning system whose limits the file
    keeps. `local_names`, by structure, stand where it says.
    """

    label: str | None = None
    series_description: str | None = None
    operators_name: str = ""
    series_number: int = 1
    generation: GenerationAlgorithm = GenerationAlgorithm.AUTOMATIC
    trace: TraceOptions = EXACT
    now: datetime | None = None
    uid_seed: str | None = None
    note: str = ""
    system: PlanningSystem = GENERIC
    local_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenRtstruct:
    """A released file. `left_out` names the structures without a voxel: an ROI without contours helps nobody."""

    path: Path
    sop_instance_uid: str
    series_instance_uid: str
    written: tuple[str, ...]
    left_out: tuple[str, ...]
    contour_count: int


def write_rtstruct(
    structures: StructureSet, series: ImageSeries, output: Path, options: WriteOptions | None = None
) -> WrittenRtstruct:
    """Write `structures`, drawn on the grid of `series`, to `output`, if the file proves equal to them.

    The file is first written beside `output`, under a name of its own that ends in `.part`, read back, and compared
    with the masks in the patient; only an equal one takes its name, in one step. UIDs follow from the content, so the
    same input gives the same file but for dates and times (see `WriteOptions` for other ways).

    Raises:
        InputRefused: no structure has a voxel, the grids differ, or a name, label, colour or mask cannot be written.
        NotReleased: the file differs from the structures; nothing stands at `output` that was not there before.
        OSError: the disk.
    """
    options = options or WriteOptions()
    label = options.label or structures.label
    _require_writable(structures, series, label, options.system)
    drawn = tuple(structure for structure in structures.structures if not structure.empty)
    traced = [_contours(structure, series, options) for structure in drawn]
    rois = [
        RoiToWrite(number, structure.color_rgb, contours)
        for number, (structure, (contours, _)) in enumerate(zip(drawn, traced, strict=True), start=1)
    ]
    references = SliceReferences.to(series.sop_class_uid, series.sop_instance_uids)
    data_set = _data_set(drawn, series, label, options)
    elements = _encoded_elements(data_set, data_set.SpecificCharacterSet)
    elements[_ROI_CONTOUR_SEQUENCE] = encode_contour_sequence(rois, series.volume.geometry, references)
    content = options.uid_seed or _content_digest(elements, series)
    sop_instance_uid, series_instance_uid = derived_uid("rtstruct", content), derived_uid("rtstruct series", content)
    instance = _instance(sop_instance_uid, series_instance_uid, options.now or datetime.now().astimezone())
    elements |= _encoded_elements(instance, data_set.SpecificCharacterSet)
    part = part_of(output)
    try:
        write_durably(part, _file_pieces(sop_instance_uid, elements))
        release(part, output, prove_rtstruct(part, drawn, series, tuple(trace for _, trace in traced)))
    finally:
        part.unlink(missing_ok=True)
    return WrittenRtstruct(
        path=output,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=series_instance_uid,
        written=tuple(structure.name for structure in drawn),
        left_out=tuple(structure.name for structure in structures.structures if structure.empty),
        contour_count=sum(len(roi.contours) for roi in rois),
    )


def _require_writable(structures: StructureSet, series: ImageSeries, label: str, system: PlanningSystem) -> None:
    where = f"structure set {label!r}"
    if not structures.geometry.same_grid(series.volume.geometry):
        found = "a grid other than that of the images"
        raise InputRefused(Reason.WRONG_SERIES, where, found, "structures on the voxels of the series")
    if all(structure.empty for structure in structures.structures):
        raise InputRefused(Reason.NO_STRUCTURES, where, "no structure with a voxel", "one or more")
    if not 1 <= len(label) <= MAX_LABEL_LENGTH or "\\" in label or not label.isprintable():
        raise InputRefused(Reason.INVALID_ATTRIBUTE, where, "its label", "1 to 16 printable characters without \\")
    problems = validate_names(structure.name for structure in structures.structures)
    if problems:
        raise InputRefused(Reason.INVALID_ATTRIBUTE, where, problems[0], "TG-263 names")
    _require_fitting(structures, label, system)
    for structure in structures.structures:
        stop, shape = structure.box.stop_zyx, structures.geometry.shape_zyx
        if min(structure.offset_zyx) < 0 or any(a > n for a, n in zip(stop, shape, strict=True)):
            raise InputRefused(Reason.INVALID_ATTRIBUTE, structure.name, f"voxels to {stop}", f"a grid of {shape}")
        if not all(0 <= c <= 255 for c in structure.color_rgb):
            raise InputRefused(Reason.INVALID_ATTRIBUTE, structure.name, f"colour {structure.color_rgb}", "0 to 255")


def _require_fitting(structures: StructureSet, label: str, system: PlanningSystem) -> None:
    """Does the planning system take so many ROIs of such names?"""
    where, drawn = f"structure set {label!r}", [s for s in structures.structures if not s.empty]
    texts = [("label", label, system.label_length), *(("name", s.name, system.name_length) for s in drawn)]
    for what, text, most in texts:
        if len(text) > most:
            found = f"{what} {text!r} of {len(text)} characters"
            raise InputRefused(Reason.INVALID_ATTRIBUTE, where, found, f"{most} for {system.title}")
        if system.forbidden_in(text):
            allowed = f"none of {system.forbidden_characters} for {system.title}"
            raise InputRefused(Reason.INVALID_ATTRIBUTE, where, f"{what} {text!r}", allowed)
    if system.rois is not None and len(drawn) > system.rois:
        raise InputRefused(Reason.TOO_LARGE, where, f"{len(drawn)} ROIs", f"{system.rois} for {system.title}")


def _data_set(drawn: Sequence[Structure], series: ImageSeries, label: str, options: WriteOptions) -> Dataset:
    """Everything but contours, UIDs of the instance and its series, and times."""
    identity, frame = series.identity, series.volume.geometry.frame_of_reference_uid
    data_set = Dataset()
    data_set.SOPClassUID = RT_STRUCTURE_SET_STORAGE
    data_set.Modality = "RTSTRUCT"
    # What the images say of the patient and the study is copied as it is, whether or not it keeps today's rules.
    _copy(data_set, "PatientName", identity.patient_name)
    _copy(data_set, "PatientID", identity.patient_id)
    _copy(data_set, "PatientBirthDate", identity.patient_birth_date)
    _copy(data_set, "PatientSex", identity.patient_sex)
    _copy(data_set, "StudyInstanceUID", identity.study_instance_uid)
    _copy(data_set, "StudyID", identity.study_id)
    _copy(data_set, "StudyDate", identity.study_date)
    _copy(data_set, "StudyTime", identity.study_time)
    _copy(data_set, "StudyDescription", identity.study_description)
    _copy(data_set, "AccessionNumber", identity.accession_number)
    _copy(data_set, "ReferringPhysicianName", identity.referring_physician_name)
    data_set.SeriesNumber = options.series_number
    data_set.SeriesDescription = options.series_description or f"{label} (for review)"
    data_set.OperatorsName = options.operators_name
    data_set.Manufacturer = "contour"
    data_set.ManufacturerModelName = "contour auto-contouring"
    data_set.SoftwareVersions = [f"contour {contour.__version__}", *_packages(drawn)]
    data_set.FrameOfReferenceUID = frame
    data_set.PositionReferenceIndicator = series.position_reference_indicator
    data_set.StructureSetLabel = label
    data_set.StructureSetName = f"{label} (for review)"
    data_set.StructureSetDescription = _description(drawn, options)
    data_set.InstanceNumber = 1
    data_set.ReferencedFrameOfReferenceSequence = [_referenced_frame(series)]
    ml = series.volume.geometry.voxel_ml
    data_set.StructureSetROISequence = [
        _roi(number, structure, frame, ml, options) for number, structure in enumerate(drawn, start=1)
    ]
    data_set.RTROIObservationsSequence = [
        _observation(number, structure, options) for number, structure in enumerate(drawn, start=1)
    ]
    data_set.ApprovalStatus = "UNAPPROVED"
    data_set.SpecificCharacterSet = _character_set(series, data_set)
    return data_set


def _copy(data_set: Dataset, keyword: str, value: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None  # keywords are literals above
    data_set.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))


def _character_set(series: ImageSeries, data_set: Dataset) -> str:
    """The images' own character set where it holds every text, else Unicode: nothing may become a question mark."""
    texts = [str(element.value) for element in data_set.iterall() if element.VR in ("LO", "LT", "PN", "SH", "ST")]
    declared = series.specific_character_set
    if len(declared) == 1 and declared[0] in python_encoding:
        try:
            "".join(texts).encode(python_encoding[declared[0]])
        except UnicodeEncodeError:
            return UNICODE
        return declared[0]
    return UNICODE


def _packages(drawn: Iterable[Structure]) -> list[str]:
    uses = {structure.provenance for structure in drawn if structure.provenance is not None}
    return sorted(f"{use.package} {use.version}"[:64] for use in uses)


def _contours(structure: Structure, series: ImageSeries, options: WriteOptions) -> tuple[Contours, TraceOptions]:
    """Contours that the planning system can hold, and how they were traced: coarser only where they have to be.

    Exact contours stay exact for the sake of Explicit VR, which an archive may write or not.

    Raises:
        InputRefused: one has too many points even so.
    """
    system, tracing = options.system, options.trace
    exact = tracing.smoothing_mm == tracing.decimation_mm == 0
    most = system.contour_points if exact else system.most_points
    while True:
        contours = trace(structure.mask_zyx, structure.offset_zyx, tracing)
        if system.holes is HoleStyle.KEYHOLE:
            contours = keyholed(contours)
        points = int(np.diff(contours.starts).max(initial=0))
        if most is None or points <= most:
            return contours, tracing
        coarser_mm = max(2 * tracing.decimation_mm, FIRST_DECIMATION_MM)
        if coarser_mm > MOST_DECIMATION_MM:
            found = f"a contour of {points} points, decimated to {tracing.decimation_mm:g} mm"
            raise InputRefused(Reason.TOO_LARGE, structure.name, found, f"{most} for {system.title}")
        spacing = series.volume.geometry.spacing_zyx_mm
        tracing = replace(tracing, spacing_yx_mm=(spacing[1], spacing[2]), decimation_mm=coarser_mm)


def _description(drawn: Iterable[Structure], options: WriteOptions) -> str:
    """Structure Set Description, ST: 1024 characters at most."""
    origin = "Drawn automatically. " if options.generation is GenerationAlgorithm.AUTOMATIC else ""
    uses = {structure.provenance for structure in drawn if structure.provenance is not None}
    lines = sorted(f"{use.package} {use.version}, sha256 {use.sha256}" for use in uses)
    note = [options.note] if options.note else []
    return "\r\n".join([origin + REVIEW, *note, f"contour {contour.__version__}", *lines])[:1024]


def _referenced_frame(series: ImageSeries) -> Dataset:
    images = []
    for uid in series.sop_instance_uids:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = series.sop_class_uid, uid
        images.append(image)
    referenced_series, study, frame = Dataset(), Dataset(), Dataset()
    referenced_series.SeriesInstanceUID = series.series_instance_uid
    referenced_series.ContourImageSequence = images
    study.ReferencedSOPClassUID = _STUDY_COMPONENT_MANAGEMENT
    study.ReferencedSOPInstanceUID = series.identity.study_instance_uid
    study.RTReferencedSeriesSequence = [referenced_series]
    frame.FrameOfReferenceUID = series.volume.geometry.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(number: int, structure: Structure, frame: str, voxel_ml: float, options: WriteOptions) -> Dataset:
    roi, use = Dataset(), structure.provenance
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = frame
    roi.ROIName = structure.name
    roi.ROIVolume = f"{np.count_nonzero(structure.mask_zyx) * voxel_ml:.3f}"
    roi.ROIGenerationAlgorithm = options.generation.value
    description = _roi_description(structure, _described_name(structure, options))
    if description:
        roi.ROIDescription = description[:1024]
    if use is not None:
        roi.ROIGenerationDescription = f"{use.package} {use.version} sha256:{use.sha256[:12]}"[:64]
        roi.ROIDerivationAlgorithmIdentificationSequence = [_algorithm(structure)]
    elif structure.derivation:
        roi.ROIGenerationDescription = structure.derivation[:64]
    return roi


def _observation_label(structure: Structure, options: WriteOptions) -> str:
    """ROI Observation Label, SH: the name in the reader's language where it belongs here and fits."""
    local = options.local_names.get(structure.name, "")
    wanted = options.system.local_names is LocalNamePlace.OBSERVATION_LABEL
    return local if wanted and 0 < len(local) <= MAX_LABEL_LENGTH else structure.name


def _described_name(structure: Structure, options: WriteOptions) -> str | None:
    """The name in the reader's language, if it stands in the description."""
    if options.system.local_names is LocalNamePlace.NOWHERE or _observation_label(structure, options) != structure.name:
        return None
    return options.local_names.get(structure.name)


def _roi_description(structure: Structure, local_name: str | None) -> str:
    """What a person reads of a structure: its name in their language, how it was made, and by what."""
    use = structure.provenance
    parts = [f"{local_name}."] if local_name else []
    if structure.derivation:
        parts.append(f"Derived: {structure.derivation}.")
    if use is not None:
        parts.append(f"Drawn automatically. {REVIEW} {use.package} {use.version}, sha256 {use.sha256}")
    elif structure.derivation:
        parts.append(REVIEW)
    return " ".join(parts)


def _algorithm(structure: Structure) -> Dataset:
    """Algorithm Identification Macro, PS3.3 section 10.16."""
    algorithm, use = Dataset(), structure.provenance
    assert use is not None  # only what a package drew has an algorithm to identify
    algorithm.AlgorithmFamilyCodeSequence = [code_item(_ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = use.package[:64]
    algorithm.AlgorithmVersion = use.version[:64]
    algorithm.AlgorithmParameters = f"sha256={use.sha256}"
    return algorithm


def _observation(number: int, structure: Structure, options: WriteOptions) -> Dataset:
    observation, known = Dataset(), lookup(structure.name)
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.ROIObservationLabel = _observation_label(structure, options)
    if known is not None and known.code is not None:
        anatomical = known.interpreted_type is not InterpretedType.EXTERNAL
        category = ANATOMICAL_STRUCTURE if anatomical else _EXTERNAL_BODY_MODEL
        observation.SegmentedPropertyCategoryCodeSequence = [code_item(category)]
        identification = code_item(known.code)
        if known.laterality is not None:
            identification.SegmentedPropertyTypeModifierCodeSequence = [code_item(known.laterality)]
        observation.RTROIIdentificationCodeSequence = [identification]
    observation.RTROIInterpretedType = structure.interpreted_type.value
    observation.ROIInterpreter = ""
    return observation


def code_item(code: Code) -> Dataset:
    """An item of a code sequence: PS3.3 section 8.8."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def _encoded_elements(data_set: Dataset, character_set: str) -> dict[int, bytes]:
    """Each top-level element's bytes by its tag, in Implicit VR Little Endian."""
    encoded = {}
    for element in data_set:
        alone = Dataset()
        alone.add(element)
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = True, True
        write_dataset(buffer, alone, python_encoding[character_set])
        encoded[int(element.tag)] = bytes(buffer.getvalue())
    return encoded


def _content_digest(elements: dict[int, bytes], series: ImageSeries) -> str:
    digest = hashlib.sha256(series.content_sha256.encode())
    for tag in sorted(elements):
        digest.update(elements[tag])
    return digest.hexdigest()


def _instance(sop_instance_uid: str, series_instance_uid: str, now: datetime) -> Dataset:
    """What tells this file from another run's: its UIDs, and the only bytes that change from run to run."""
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data_set = Dataset()
    data_set.SOPInstanceUID, data_set.SeriesInstanceUID = sop_instance_uid, series_instance_uid
    data_set.InstanceCreationDate = data_set.SeriesDate = data_set.StructureSetDate = date
    data_set.InstanceCreationTime = data_set.SeriesTime = data_set.StructureSetTime = time
    return data_set


def _file_pieces(sop_instance_uid: str, elements: dict[int, bytes]) -> list[bytes]:
    """The file, with every element where its tag belongs."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RT_STRUCTURE_SET_STORAGE
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"CONTOUR_{contour.__version__}"[:16]
    encoded_meta = DicomBytesIO()
    write_file_meta_info(encoded_meta, meta)
    return [bytes(128), b"DICM", encoded_meta.getvalue(), *(elements[tag] for tag in sorted(elements))]
