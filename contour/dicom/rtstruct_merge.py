"""New structures into an existing structure set, as a new version of it: what people drew stays to the last digit.

The new file has the old one's elements, its ROIs with every number as it was written, and ours behind them. It names
the old one as its predecessor (DICOM PS3.3 C.8.8.5), bears UIDs of its own, and is not approved. It is read back and
held against both before it is released.
"""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

import contour
from contour.core.errors import InputRefused, Reason
from contour.dicom.release import part_of, release, write_durably
from contour.dicom.rtstruct_contents import RT_STRUCTURE_SET_STORAGE, RoiDefinition, RtstructContents
from contour.dicom.rtstruct_read import read_contours, require_of_study
from contour.dicom.series import ImageSeries
from contour.dicom.uids import derived_uid

AUTOMATIC, APPROVED = "AUTOMATIC", "APPROVED"
UNICODE = "ISO_IR 192"
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
LONGEST_DESCRIPTION = 1024  # ST


@dataclass(frozen=True)
class Merged:
    """The new version: ROI Names that came, that took the place of automatic ones, and that a person's own kept out."""

    path: Path
    sop_instance_uid: str
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    kept_out: tuple[str, ...]


def merge_rtstruct(
    existing: Path, ours: Path, series: ImageSeries, output: Path, *, now: datetime | None = None
) -> Merged:
    """Writes to `output` the structure set `existing` with the ROIs of `ours` in it; both are of `series`.

    An ROI of the same name (case does not matter) is replaced only if its Generation Algorithm is AUTOMATIC and the
    structure set is not approved; otherwise it stays, and ours is left out.

    Raises:
        InputRefused: as `require_of_study`, of either file; `unsupported-transfer-syntax` if `existing` is neither
            implicit nor explicit little endian; `no-structures` if nothing of `ours` may come in.
        NotReleased: the file does not hold what it should.
        OSError: the disk.
    """
    old, new = read_contours(existing), read_contours(ours)
    for contents in (old, new):
        require_of_study(contents, series)  # each ROI states its own frame of reference, and keeps it
    if old.transfer_syntax_uid not in SYNTAXES:
        allowed = ", ".join(SYNTAXES)
        raise InputRefused(Reason.UNSUPPORTED_TRANSFER_SYNTAX, str(existing), old.transfer_syntax_uid, allowed)
    plan = _Plan.of(old, new)
    if not plan.coming:
        names = ", ".join(roi.name for roi in new.rois)
        raise InputRefused(Reason.NO_STRUCTURES, str(existing), f"it has {names} already, drawn by people", "new names")
    sop_instance_uid = derived_uid("merged rtstruct", old.sop_instance_uid, new.sop_instance_uid)
    data_set = _merged(pydicom.dcmread(existing), pydicom.dcmread(ours), plan)
    _name_version(data_set, plan, sop_instance_uid, now or datetime.now().astimezone())
    encoded = BytesIO()
    # Implicit: contours of more than 65,534 bytes have no place in an explicit DS (PS3.5 section 7.1.2).
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data_set.save_as(encoded, implicit_vr=True, little_endian=True, enforce_file_format=True)
    part = part_of(output)
    try:
        write_durably(part, [encoded.getvalue()])
        release(part, output, _differences(part, plan))
    finally:
        part.unlink(missing_ok=True)
    return Merged(output, sop_instance_uid, plan.added, plan.replaced, plan.kept_out)


@dataclass(frozen=True)
class _Plan:
    """Which ROIs stay of the old structure set and which come from the new one, in their order."""

    old: RtstructContents
    new: RtstructContents
    staying: tuple[RoiDefinition, ...]
    coming: tuple[RoiDefinition, ...]
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    kept_out: tuple[str, ...]

    @staticmethod
    def of(old: RtstructContents, new: RtstructContents) -> "_Plan":
        ours = {roi.name.casefold() for roi in new.rois}
        approved = old.approval_status == APPROVED
        gone = {
            roi.number
            for roi in old.rois
            if roi.name.casefold() in ours and roi.generation_algorithm == AUTOMATIC and not approved
        }
        staying = tuple(roi for roi in old.rois if roi.number not in gone)
        taken = {roi.name.casefold() for roi in staying}
        coming = tuple(roi for roi in new.rois if roi.name.casefold() not in taken)
        were = {roi.name.casefold() for roi in old.rois}
        return _Plan(
            old,
            new,
            staying,
            coming,
            added=tuple(roi.name for roi in coming if roi.name.casefold() not in were),
            replaced=tuple(roi.name for roi in coming if roi.name.casefold() in were),
            kept_out=tuple(roi.name for roi in new.rois if roi.name.casefold() in taken),
        )

    @property
    def numbers(self) -> dict[int, int]:
        """The ROI Number that each coming one gets: above all that stand there."""
        first = 1 + max((roi.number for roi in self.old.rois), default=0)
        return {roi.number: first + i for i, roi in enumerate(self.coming)}

    @property
    def words(self) -> str:
        """What the new version has that the old one had not."""
        parts = (("added", self.added), ("replaced", self.replaced), ("left as drawn", self.kept_out))
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)


def _merged(base: Dataset, ours: Dataset, plan: _Plan) -> Dataset:
    """`base` with the items of those that come behind those of the ROIs that stay."""
    staying, numbers = {roi.number for roi in plan.staying}, plan.numbers
    if not _is_ascii(ours):
        base.decode()
        ours.decode()
        base.SpecificCharacterSet = UNICODE
    definitions = [item for item in base.get("StructureSetROISequence", []) if item.ROINumber in staying]
    contours = [item for item in base.get("ROIContourSequence", []) if item.ReferencedROINumber in staying]
    observations = [item for item in base.get("RTROIObservationsSequence", []) if item.ReferencedROINumber in staying]
    last = max((int(item.ObservationNumber) for item in observations), default=0)
    for item in ours.StructureSetROISequence:
        if item.ROINumber in numbers:
            item.ROINumber = numbers[int(item.ROINumber)]
            definitions.append(item)
    for item in ours.ROIContourSequence:
        if item.ReferencedROINumber in numbers:
            item.ReferencedROINumber = numbers[int(item.ReferencedROINumber)]
            contours.append(item)
    for item in ours.RTROIObservationsSequence:
        if item.ReferencedROINumber in numbers:
            last += 1
            item.ReferencedROINumber, item.ObservationNumber = numbers[int(item.ReferencedROINumber)], last
            observations.append(item)
    base.StructureSetROISequence = Sequence(definitions)
    base.ROIContourSequence = Sequence(contours)
    base.RTROIObservationsSequence = Sequence(observations)
    if not _refers_to_images_of(plan):
        frames = list(base.get("ReferencedFrameOfReferenceSequence", []))
        base.ReferencedFrameOfReferenceSequence = Sequence([*frames, *ours.ReferencedFrameOfReferenceSequence])
    return base


def _refers_to_images_of(plan: _Plan) -> bool:
    """Whether the old structure set names all images that the new one does."""
    listed = {uid for reference in plan.old.references for uid in reference.sop_instance_uids}
    return {uid for reference in plan.new.references for uid in reference.sop_instance_uids} <= listed


def _is_ascii(data_set: Dataset) -> bool:
    texts = (
        str(item.get(word, "")) for item in data_set.StructureSetROISequence for word in ("ROIName", "ROIDescription")
    )
    return all(text.isascii() for text in texts)


def _name_version(data_set: Dataset, plan: _Plan, sop_instance_uid: str, now: datetime) -> None:
    """UIDs, dates and description of the new version, and which one it follows."""
    predecessor = Dataset()
    predecessor.ReferencedSOPClassUID = RT_STRUCTURE_SET_STORAGE
    predecessor.ReferencedSOPInstanceUID = plan.old.sop_instance_uid
    data_set.PredecessorStructureSetSequence = Sequence([predecessor])
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    data_set.SeriesInstanceUID = derived_uid("merged rtstruct series", sop_instance_uid)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data_set.InstanceCreationDate = data_set.StructureSetDate = date
    data_set.InstanceCreationTime = data_set.StructureSetTime = time
    before = str(data_set.get("StructureSetDescription", "") or "")
    said = f"contour {contour.__version__} made a new version for review; {plan.words}."
    data_set.StructureSetDescription = "\r\n".join(filter(None, [said, before]))[:LONGEST_DESCRIPTION]
    data_set.ApprovalStatus = "UNAPPROVED"
    for word in ("ReviewDate", "ReviewTime", "ReviewerName"):
        if word in data_set:
            del data_set[word]


def _differences(path: Path, plan: _Plan) -> tuple[str, ...]:
    """What the written file does not hold as either source has it."""
    written = read_contours(path)
    expected = [roi.name for roi in (*plan.staying, *plan.coming)]
    if [roi.name for roi in written.rois] != expected:
        return (f"the file holds the ROIs {[roi.name for roi in written.rois]}; expected were {expected}",)
    sources = [(plan.old, roi) for roi in plan.staying] + [(plan.new, roi) for roi in plan.coming]
    differences = []
    for found, (source, roi) in zip(written.rois, sources, strict=True):
        if not _same(written, found, source, roi):
            differences.append(f"{roi.name}: its contours, colour or type are not those of {source.path.name}")
    return tuple(differences)


def _same(written: RtstructContents, found: RoiDefinition, source: RtstructContents, roi: RoiDefinition) -> bool:
    a, b = written.contours_of(found.number), source.contours_of(roi.number)
    one, other = written.observation_of(found.number), source.observation_of(roi.number)
    if (one and one.interpreted_type) != (other and other.interpreted_type):
        return False
    if found.frame_of_reference_uid != roi.frame_of_reference_uid:
        return False
    if found.generation_algorithm != roi.generation_algorithm:
        return False
    if a is None or b is None:
        return a is b
    return (
        np.array_equal(a.points_lps_mm, b.points_lps_mm)
        and np.array_equal(a.starts, b.starts)
        and a.geometric_types == b.geometric_types
        and a.image_uids == b.image_uids
        and a.color_rgb == b.color_rgb
    )
