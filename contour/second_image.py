"""Structures drawn on another image of the patient, an MR, and brought to the planning CT by a rigid motion.

The motion is the one that a DICOM Spatial Registration states, if there is one, or that both images share a frame of
reference; else it is sought. In either case it is measured: what is sought must be found from both sides, and what was
drawn on both images must lie in one place. Structures are withheld where it does not.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import whole_name
from contour.core.protocol import Protocol
from contour.core.report import Finding, RegistrationUse, Severity
from contour.core.rigid import RigidTransform, fitted
from contour.core.structures import CroppedMask, InterpretedType, Structure, StructureSet, united
from contour.core.volume import Volume
from contour.dicom.read_series import read_series
from contour.dicom.series import ImageSeries, ReadLimits
from contour.dicom.spatial_registration import (
    FoundRegistration,
    find_registrations,
    read_registration,
    same_motion,
    write_registration,
)
from contour.imaging.carry import carried
from contour.imaging.fusion import write_fusion
from contour.imaging.metrics import compare
from contour.imaging.register import Registration, Seen, register_rigid
from contour.inference.engine import NetworkEngine
from contour.qa.structures import CUT_CODES

REGISTRATION_FILE = "registration.dcm"
FUSION_FILE = "registration.png"
SECOND_FILES = (REGISTRATION_FILE, FUSION_FILE)

SHARED_FRAME = "shared frame of reference"
SOUGHT = "sought"


@dataclass(frozen=True)
class Bounds:
    """From how many millimetres or degrees on a person is asked to look, and from how many nothing is brought over."""

    look: float
    withhold: float


# The search from the other side: on made heads with known motions it ends within 1.5 mm, and on one in four 7 mm apart
# where the motion that counts was right. What was drawn on both decides then.
DISAGREEMENT_MM = Bounds(2.0, 10.0)
# A motion that DICOM states against the one that is found: a person's fusion is good to 1 or 2 mm.
APART_MM = Bounds(3.0, 10.0)
# The surfaces of what was drawn on both: networks of two modalities draw a brain 1 to 2 mm apart.
SURFACE_MM = Bounds(2.5, 4.0)
# Axes are the patient's: a head nods and turns some 30 degrees between couches. A search can stop, from either side
# alike, where the head stands on its crown.
TURNED_DEGREES = Bounds(30.0, 60.0)


@dataclass(frozen=True)
class SecondSource:
    """A folder with another image of the patient, and the networks that draw on it.

    `registration` is a DICOM Spatial Registration that brings it to the image that is contoured; without, one that lies
    in either image's folder counts.
    """

    folder: Path
    networks: tuple[NetworkEngine, ...]
    series_instance_uid: str | None = None
    registration: Path | None = None


@dataclass(frozen=True)
class Second:
    """Another image that was read, what is wanted from it, the networks, and the motion that is stated, by whom."""

    series: ImageSeries
    wanted: tuple[str, ...]
    networks: tuple[NetworkEngine, ...]
    stated: RigidTransform | None
    stated_by: str


@dataclass(frozen=True)
class Brought:
    """What came over, on the grid of the image that is contoured; empty structures where it was withheld.

    `transform` is the motion, be anything brought over by it or not, and None where nothing told one.
    """

    second: Second
    structures: dict[str, Structure]
    findings: tuple[Finding, ...]
    use: RegistrationUse | None = None
    transform: RigidTransform | None = None


def read_second(source: SecondSource, protocol: Protocol, series: ImageSeries) -> Second:
    """The other image, of the same patient as `series`; a registration may lie beside the files of either.

    Raises:
        InputRefused: as `read_series` and `read_registration`; `wrong-series` if it is another patient's, the protocol
            draws nothing on a second image, or a registration does not relate the two, or several do so differently.
    """
    where = str(source.folder)
    if protocol.second_image is None:
        found = f"a second image, on which protocol {protocol.name} draws nothing"
        raise InputRefused(Reason.WRONG_SERIES, where, found, "a protocol with second_image")
    other = read_series(source.folder, series_instance_uid=source.series_instance_uid, limits=ReadLimits())
    for name in ("patient_id", "patient_birth_date"):
        if getattr(other.identity, name) != getattr(series.identity, name):  # whose it is stays out of messages
            words = name.replace("_", " ")
            raise InputRefused(
                Reason.WRONG_SERIES, where, f"another {words}", f"the {words} of the image that is contoured"
            )
    wanted = protocol.second_image.structures
    frames = (other.volume.geometry.frame_of_reference_uid, series.volume.geometry.frame_of_reference_uid)
    if source.registration is not None:
        stated = read_registration(source.registration, *frames)
        if stated is None:
            found = f"does not bring {frames[0]} to {frames[1]}"
            raise InputRefused(Reason.WRONG_SERIES, str(source.registration), found, "a registration of the two images")
        return Second(
            other, wanted, source.networks, stated.transform, f"{stated.path.name} ({stated.sop_instance_uid})"
        )
    if frames[0] == frames[1]:
        return Second(
            other, wanted, source.networks, RigidTransform.between(frames, np.eye(3), np.zeros(3)), SHARED_FRAME
        )
    stated = _only(find_registrations((source.folder, *sorted({file.parent for file in series.files})), *frames))
    by = f"{stated.path.name} ({stated.sop_instance_uid})" if stated else ""
    return Second(other, wanted, source.networks, stated.transform if stated else None, by)


def protocol_of_second(protocol: Protocol, second: Second) -> Protocol:
    """What is drawn on the second image: its structures, and what of the others can show where the two images lie."""
    wanted = protocol.second_image
    assert wanted is not None  # `read_second` refuses a protocol without
    offered = {name for network in second.networks for name in network.manifest.offered}
    rules = [rule for rule in protocol.structures if rule.name in wanted.structures]
    rules += [
        replace(rule, required=False)
        for rule in protocol.structures
        if rule.name not in wanted.structures and rule.name in offered
    ]
    return replace(
        protocol,
        modality=wanted.modality,
        packages=wanted.packages,
        structures=tuple(rules),
        second_image=None,
        targets=(),
        derived=(),
        doses=(),
    )


def protocol_of_first(protocol: Protocol, second: Second | None) -> Protocol:
    """What is drawn on the image that is contoured."""
    wanted = protocol.second_image
    if second is None or wanted is None:
        return protocol
    rules = tuple(rule for rule in protocol.structures if rule.name not in wanted.structures)
    return replace(protocol, structures=rules, second_image=None, derived=(), doses=())


def bring(second: Second, theirs: StructureSet, ours: StructureSet, volume: Volume) -> Brought:
    """What the protocol wants of the structures that were drawn on the second image, on the grid of `volume`.

    `ours` were drawn on `volume`: what is in both says where to begin, and how well the two images lie on each other.
    """
    theirs = replace(theirs, structures=tuple(replace(s, name=whole_name(s.name)) for s in theirs.structures))
    wanted = tuple(s for s in theirs.structures if s.name in second.wanted)
    pair = _drawn_on_both(theirs, ours)
    found = _found(second, pair, (theirs, ours), volume) if pair else None
    transform = second.stated or (found.transform if found else None)
    if transform is None:
        message = "Nothing was drawn on both images that would tell how they lie: nothing was brought over."
        findings = (Finding("not-registered", Severity.CHECK, message), *map(_not_brought, wanted))
        return Brought(second, {s.name: _emptied(s) for s in wanted}, findings)
    use = _measured(second, found, transform, (theirs, ours), pair)
    judgement = judged(use)
    if judgement.code == "not-registered":
        emptied = {s.name: _emptied(s) for s in wanted}
        return Brought(second, emptied, (judgement, *map(_not_brought, wanted)), use, transform)
    moved = transform.geometry(theirs.geometry)
    brought = {s.name: _carried(s, moved, ours.geometry, second) for s in wanted}
    return Brought(second, brought, (judgement,), use, transform)


def said_of_second(findings: tuple[Finding, ...], second: Second) -> tuple[Finding, ...]:
    """What is to be said of the drawing on the second image: what concerns all of it, and what that image cuts."""
    modality, said = second.series.volume.modality, []
    for finding in (*second.series.findings, *findings):
        name = whole_name(finding.structure) if finding.structure else None
        if name is None and finding.severity is not Severity.INFO:
            said.append(replace(finding, message=f"On the {modality}: {finding.message}", slices=()))
        if name in second.wanted and finding.code in CUT_CODES:
            message = f"{name} is cut by the {modality} on which it was drawn: it is a part."
            said.append(Finding("of-a-part", Severity.CHECK, message, name))
    return tuple(said)


def write_brought(brought: Brought, series: ImageSeries, folder: Path) -> None:
    """Writes a picture of both images, one on the other, and a motion that was sought as DICOM Spatial Registration.

    Raises:
        NotReleased: the object that was written states another motion.
        OSError: the disk.
    """
    if brought.transform is None or brought.use is None:
        return
    other = brought.second.series.volume
    moved = Volume(other.voxels_zyx, brought.transform.geometry(other.geometry), other.modality)
    write_fusion(series.volume, moved, folder / FUSION_FILE, brought.findings[0].message)
    if brought.second.stated is None and brought.findings[0].code != "not-registered":
        comment = brought.findings[0].message
        write_registration(brought.transform, series, brought.second.series, folder / REGISTRATION_FILE, comment)


def _carried(structure: Structure, moved: Geometry, here: Geometry, second: Second) -> Structure:
    mask = carried(CroppedMask(structure.mask_zyx, structure.offset_zyx), moved, here)
    derivation = f"drawn on {second.series.volume.modality}, brought by rigid registration"
    sureness = (
        replace(structure.sureness, slices=()) if structure.sureness else None
    )  # its slices are the other image's
    return replace(
        structure, mask_zyx=mask.mask_zyx, offset_zyx=mask.offset_zyx, derivation=derivation, sureness=sureness
    )


def _only(found: tuple[FoundRegistration, ...]) -> FoundRegistration | None:
    if found and not same_motion(found):
        files = ", ".join(str(one.path) for one in found)
        message = f"{len(found)} registrations of the two images that differ"
        raise InputRefused(Reason.WRONG_SERIES, files, message, "one, or one that is named")
    return found[0] if found else None


def _drawn_on_both(theirs: StructureSet, ours: StructureSet) -> tuple[str, ...]:
    """What is there whole on both images: a part that an image cuts has its middle elsewhere."""
    whole = [{s.name for s in one.structures if not s.empty and not _reaches_border(s, one)} for one in (theirs, ours)]
    return tuple(s.name for s in ours.structures if s.name in whole[0] & whole[1])


def _reaches_border(structure: Structure, of: StructureSet) -> bool:
    box = structure.box
    ends = zip(box.start_zyx, box.stop_zyx, of.geometry.shape_zyx, strict=True)
    return any(start == 0 or stop == n for start, stop, n in ends)


def _found(
    second: Second, pair: tuple[str, ...], drawn: tuple[StructureSet, StructureSet], volume: Volume
) -> Registration:
    theirs, ours = drawn
    frames = (theirs.geometry.frame_of_reference_uid, ours.geometry.frame_of_reference_uid)
    start = second.stated or fitted(frames, _middles(theirs, pair), _middles(ours, pair))
    fixed = Seen(volume, _together(ours, pair))
    return register_rigid(fixed, Seen(second.series.volume, _together(theirs, pair)), start)


def _middles(of: StructureSet, names: tuple[str, ...]) -> NDArray[np.float64]:
    """(n, 3) the structures' centroids, LPS in mm."""
    named = {s.name: s for s in of.structures}
    places = [np.argwhere(named[name].mask_zyx).mean(axis=0) + named[name].offset_zyx for name in names]
    return of.geometry.index_to_lps_mm(places)


def _together(of: StructureSet, names: tuple[str, ...]) -> CroppedMask:
    return united([CroppedMask(s.mask_zyx, s.offset_zyx) for s in of.structures if s.name in names])


def _measured(
    second: Second,
    found: Registration | None,
    transform: RigidTransform,
    drawn: tuple[StructureSet, StructureSet],
    pair: tuple[str, ...],
) -> RegistrationUse:
    theirs, ours = drawn
    surface_mm, apart_mm = None, None
    if pair:
        region = _together(theirs, pair)
        surface_mm = _surface_mm(carried(region, transform.geometry(theirs.geometry), ours.geometry), ours, pair)
    if found is not None and second.stated is not None:
        apart_mm = transform.apart_mm(found.transform, Seen(second.series.volume, region).points_lps_mm)
    return RegistrationUse(
        series_instance_uid=second.series.series_instance_uid,
        modality=str(second.series.volume.modality),
        source=second.stated_by or SOUGHT,
        matrix=transform.matrix,
        degrees=round(transform.degrees, 2),
        compared=pair,
        disagreement_mm=None if found is None else round(found.disagreement_mm, 2),
        surface_mm=None if surface_mm is None else round(surface_mm, 2),
        apart_mm=None if apart_mm is None else round(apart_mm, 2),
    )


def _surface_mm(theirs_here: CroppedMask, ours: StructureSet, pair: tuple[str, ...]) -> float:
    """The mean distance between the surfaces of what was drawn on both images."""
    reference = _together(ours, pair)
    masks = (reference, theirs_here)
    first, other = (
        Structure("both", (0, 0, 0), InterpretedType.NONE, mask.mask_zyx, mask.offset_zyx) for mask in masks
    )
    return compare(first, other, ours.geometry, 1.0).mean_surface_distance_mm


def judged(use: RegistrationUse) -> Finding:
    """How well the images lie on each other, in words; `not-registered` where nothing may be brought over."""
    measured = [
        (use.disagreement_mm, DISAGREEMENT_MM, "a search from either image ends {:.1f} mm apart"),
        (use.apart_mm, APART_MM, "what is stated lies {:.1f} mm from what the images show"),
        (use.surface_mm, SURFACE_MM, f"{', '.join(use.compared)} lie {{:.1f}} mm apart on average, drawn on both"),
    ]
    known = [(value, bounds, words.format(value)) for value, bounds, words in measured if value is not None]
    how = f"{use.modality} on the image by rigid registration ({use.source}), turned by {use.degrees:g} degrees"
    said = f"{how}: {'; '.join(words for _, _, words in known) or 'nothing to measure it by'}."
    if use.degrees > TURNED_DEGREES.withhold or any(not value <= bounds.withhold for value, bounds, _ in known):
        return Finding("not-registered", Severity.CHECK, f"{said} Too far: nothing was brought over.")
    in_doubt = use.degrees > TURNED_DEGREES.look or any(value > bounds.look for value, bounds, _ in known)
    if not known or in_doubt:
        return Finding("registration-in-doubt", Severity.CHECK, f"{said} Look at {FUSION_FILE} first.")
    return Finding("registered", Severity.INFO, said)


def _not_brought(structure: Structure) -> Finding:
    message = f"{structure.name} was drawn on the second image and not brought over."
    return Finding("not-brought", Severity.CHECK, message, structure.name)


def _emptied(structure: Structure) -> Structure:
    return replace(structure, mask_zyx=np.zeros((0, 0, 0), dtype=bool), offset_zyx=(0, 0, 0))
