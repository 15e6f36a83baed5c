"""The targets that a protocol derives structures from: found in a structure set that a person drew."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from contour.core.errors import InputRefused, Reason
from contour.core.protocol import Protocol
from contour.core.report import Finding, Severity
from contour.core.structures import Structure
from contour.dicom.rtstruct_contents import RoiDefinition, RtstructContents
from contour.dicom.rtstruct_read import read_contours, read_rtstruct
from contour.dicom.series import ImageSeries


@dataclass(frozen=True)
class TargetSource:
    """An RTSTRUCT with targets, and the ROI Names of those that bear another name there than in the protocol."""

    path: Path
    roi_names: Mapping[str, str] = field(default_factory=dict)


def read_targets(
    source: TargetSource, protocol: Protocol, series: ImageSeries
) -> tuple[tuple[Structure, ...], tuple[Finding, ...]]:
    """The protocol's targets as they are in the structure set, under the protocol's names, and what was taken for them.

    A target is the ROI that `source` names for it, or the ROI of the same name (case does not matter), or the only ROI
    whose RT ROI Interpreted Type says so. One that is not there is left out, with a finding.

    Raises:
        InputRefused: as `read_rtstruct`; `no-structures` if an ROI that `source` names is not there;
            `several-targets` if nothing tells which of several ROIs is meant.
    """
    unknown = sorted(set(source.roi_names) - set(protocol.targets))
    if unknown:
        allowed = f"targets of protocol {protocol.name}: {', '.join(protocol.targets) or 'it has none'}"
        raise InputRefused(Reason.NO_STRUCTURES, str(source.path), f"{', '.join(unknown)} asked for", allowed)
    contents = read_contours(source.path)
    found = {target: roi for target in protocol.targets if (roi := _roi_of(target, source, contents))}
    findings = _taken(found, contents) + _missing(protocol, found, contents)
    if not found:
        return (), findings
    structures = {
        s.name: s
        for s in read_rtstruct(source.path, series, names=tuple(roi.name for roi in found.values())).structures
    }
    taken = tuple(replace(structures[roi.name], name=target) for target, roi in found.items())
    return taken, findings


def _taken(found: dict[str, RoiDefinition], contents: RtstructContents) -> tuple[Finding, ...]:
    said = ", ".join(f"{target} is {roi.name!r}" for target, roi in found.items())
    message = f"Targets from structure set {contents.label!r}: {said}."
    return (Finding("targets-given", Severity.INFO, message),) if found else ()


def _missing(protocol: Protocol, found: dict[str, RoiDefinition], contents: RtstructContents) -> tuple[Finding, ...]:
    missing = [target for target in protocol.targets if target not in found]
    if not missing:
        return ()
    present = ", ".join(repr(roi.name) for roi in contents.rois)
    message = f"Structure set {contents.label!r} has no {' or '.join(missing)} by name or type; its ROIs are {present}."
    return (Finding("targets-not-found", Severity.CHECK, message),)


def _roi_of(target: str, source: TargetSource, contents: RtstructContents) -> RoiDefinition | None:
    """The ROI that stands for a target; None where there is none."""
    said = source.roi_names.get(target)
    if said is not None:
        named = [roi for roi in contents.rois if roi.name == said]
        if not named:
            present = ", ".join(repr(roi.name) for roi in contents.rois)
            raise InputRefused(Reason.NO_STRUCTURES, str(source.path), f"no ROI {said!r} for {target}", present)
        return _only(target, named, source)
    named = [roi for roi in contents.rois if roi.name.casefold() == target.casefold()]
    return _only(target, named or [roi for roi in contents.rois if _is_of_type(target, roi, contents)], source)


def _is_of_type(target: str, roi: RoiDefinition, contents: RtstructContents) -> bool:
    """Whether an ROI with contours has the target's name for its type."""
    observation, contours = contents.observation_of(roi.number), contents.contours_of(roi.number)
    drawn = contours is not None and len(contours) > 0
    return drawn and observation is not None and observation.interpreted_type == target


def _only(target: str, rois: list[RoiDefinition], source: TargetSource) -> RoiDefinition | None:
    if len(rois) > 1:
        found = f"{len(rois)} ROIs may be {target}: {', '.join(repr(roi.name) for roi in rois)}"
        raise InputRefused(Reason.SEVERAL_TARGETS, str(source.path), found, f"one named {target}, or said which")
    return rois[0] if rois else None
