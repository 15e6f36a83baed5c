"""One image from folder to RTSTRUCT: read, draw, look over, write, prove, release.

The command line, a queue, a DICOM node and the notebooks all call `contour_series`, or `draw_structures` alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil

from contour import __version__
from contour.core.errors import ConfigError, InputRefused, NotReleased, Reason
from contour.core.geometry import Box, Geometry
from contour.core.nomenclature import UNNAMED_COLOR_RGB, lookup, whole_name
from contour.core.planning_system import GENERIC, PlanningSystem
from contour.core.protocol import Protocol, ProtocolStructure
from contour.core.report import Finding, PackageUse, RunReport, Severity, StructureReport, report_to_json
from contour.core.staging import staged
from contour.core.structures import (
    Expectation,
    InterpretedType,
    Mask,
    Provenance,
    Structure,
    StructureSet,
    cropped_to_content,
)
from contour.core.volume import Volume
from contour.derived import derive_structures
from contour.dicom.read_series import read_same_series, read_series
from contour.dicom.rtstruct_check import unfit_for
from contour.dicom.rtstruct_merge import merge_rtstruct
from contour.dicom.rtstruct_read import read_contours, require_of_study
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries, ReadLimits, SeriesFiles
from contour.exports import PLACES, Export, remove_exports, write_exports
from contour.imaging.body import body_mask
from contour.imaging.contours import TraceOptions
from contour.imaging.postprocess import finish
from contour.imaging.preview import PreviewOptions, write_preview
from contour.inference.engine import NetworkEngine
from contour.inference.locate import Location, locate
from contour.inference.predict import PredictOptions
from contour.inference.steps import predict_with_steps
from contour.languages import Language, local_name
from contour.library import DRAWN_BY_VALUE
from contour.qa.calibration import Calibration
from contour.qa.completeness import Standing, standings, summary
from contour.qa.expected import expectations, withheld
from contour.qa.image import check_image
from contour.qa.structures import check_structures, named_as_parts
from contour.qa.view import check_sides, in_doubt, in_view, outside_view, refuse_other_site, refuse_turned
from contour.second_image import (
    SECOND_FILES,
    Brought,
    Second,
    SecondSource,
    bring,
    protocol_of_first,
    protocol_of_second,
    read_second,
    said_of_second,
    write_brought,
)
from contour.targets import TargetSource, read_targets

RTSTRUCT_FILE = "rtstruct.dcm"
REPORT_FILE = "report.json"
PREVIEW_FILE = "preview.png"
RUN_FILES = (RTSTRUCT_FILE, REPORT_FILE, PREVIEW_FILE, *SECOND_FILES, *PLACES.values())

# Contours leave the staircase of the pixels by at most these parts of a pixel: too little to change any voxel that a
# reader at voxel centres gets back, see `TraceOptions`.
SMOOTHING_PIXELS = 0.3
DECIMATION_PIXELS = 0.1

ABSENT_CODES = ("outside-view", "not-brought", "withheld")  # of what nobody is to look for

NOTHING = (np.zeros((0, 0, 0), dtype=np.bool_), (0, 0, 0))  # a mask and where it starts

Share = tuple[NetworkEngine, tuple[ProtocolStructure, ...]]  # a network, and what it is to draw
Progress = Callable[[str, float], None]  # a stage's name, and the part of it that is done, 0 to 1


@dataclass(frozen=True)
class RunOptions:
    """How a series is contoured. Files of an earlier run stay untouched unless `overwrite` is set.

    `locator` is the coarse network that finds where in the body the image lies: see `draw_structures`. `targets` is the
    structure set with the targets that the protocol derives structures from. With `into`, an RTSTRUCT of the series,
    the result is a new version of that (`merge_rtstruct`). `second` is another image of the patient, for the structures
    that the protocol has drawn there. `calibrations` say what agreement is to be expected at this site. `system` is the
    planning system that is to take the file, `language` the one in which the report and the ROIs name structures beside
    TG-263. `also` names further files. `uid_seed` and `now` are those of `WriteOptions`.
    """

    series_instance_uid: str | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)
    overwrite: bool = False
    locator: NetworkEngine | None = None
    targets: TargetSource | None = None
    into: Path | None = None
    second: SecondSource | None = None
    calibrations: tuple[Calibration, ...] = ()
    system: PlanningSystem = GENERIC
    language: Language = Language.ENGLISH
    also: tuple[Export, ...] = ()
    uid_seed: str | None = None
    now: datetime | None = None


@dataclass(frozen=True)
class Given:
    """What a person gives beside the image: targets on its grid, drawn by hand, another image of the patient, and what
    the networks' sureness was worth on the site's own cases.
    """

    targets: tuple[Structure, ...] = ()
    second: Second | None = None
    calibrations: tuple[Calibration, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """What was drawn on an image, what a person should know about it, and what became of each structure.

    `brought` is what came from another image, and how; None where none was given. `expected` is the agreement to be
    expected of structures, by name, where the site has calibrated it.
    """

    structures: StructureSet
    findings: tuple[Finding, ...]
    packages: tuple[PackageUse, ...]
    standings: tuple[Standing, ...]
    brought: Brought | None = None
    expected: dict[str, Expectation] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A finished run: `report.released` says whether an RTSTRUCT was written; `folder` holds the files."""

    series: ImageSeries
    drawing: Drawing
    report: RunReport
    folder: Path


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def contour_series(
    source: Path | SeriesFiles,
    protocol: Protocol,
    networks: tuple[NetworkEngine, ...],
    output: Path,
    *,
    options: RunOptions = RunOptions(),
    progress: Progress | None = None,
) -> Run:
    """Contour the image series in the folder `source`; `output` gets `rtstruct.dcm`, `report.json` and `preview.png`.

    A series that was read before is given by its files instead, and refused if it is no longer the same.

    The files appear together when everything is done: a run that fails or is stopped leaves nothing behind. Only the
    report and the preview appear, and `report.released` is False, when the written RTSTRUCT does not prove equal to
    what was drawn, when a finding says stop (left and right exchanged), or when nothing was found.

    Raises:
        InputRefused: the series is one that must not be contoured.
        ConfigError: the protocol asks for what no network draws, or `output` is a file or holds files of an
            earlier run.
        OSError: `output` cannot be written to.
        PackageError: a network fails.
    """
    tell = progress or _silent
    _refuse_used_folder(output, options)
    _refuse_unfit_names(protocol, options.system)
    clock = _Clock()
    # Staged from the start: a folder that cannot be written to shows before the work, not after it.
    with staged(output) as stage:
        with clock.stage("read"):
            tell("read", 0.0)
            series = _read(source, options)
            targets, about = read_targets(options.targets, protocol, series) if options.targets else ((), ())
            second = read_second(options.second, protocol, series) if options.second else None
            if options.into is not None:
                require_of_study(
                    read_contours(options.into), series
                )  # what cannot be merged into shows before the work
        with clock.stage("draw"):
            given = Given(targets, second, options.calibrations)
            drawing = draw_structures(
                series.volume, protocol, networks, locator=options.locator, given=given, progress=tell
            )
            drawing = replace(drawing, findings=(*about, *drawing.findings))
        with clock.stage("write"):
            tell("write", 0.0)
            uid, differences = _write(drawing, series, stage / RTSTRUCT_FILE, options)
            if uid is not None and options.into is not None:
                uid, differences, about = _merge(options.into, stage / RTSTRUCT_FILE, series)
                about += unfit_for(stage / RTSTRUCT_FILE, options.system) if uid is not None else ()
                drawing = replace(drawing, findings=(*drawing.findings, *about))
            if uid is not None and options.also:
                about = write_exports(drawing.structures, series, stage, options.also)
                drawing = replace(drawing, findings=(*drawing.findings, *about))
            if drawing.brought is not None:
                write_brought(drawing.brought, series, stage)
        with clock.stage("preview"):
            tell("preview", 0.0)
            title = f"{protocol.title} — drawn automatically, for review"
            write_preview(series.volume, drawing.structures, stage / PREVIEW_FILE, PreviewOptions(title=title))
        report = _report(series, protocol, drawing, clock.seconds, (uid, differences), options.language)
        (stage / REPORT_FILE).write_text(report_to_json(report), encoding="utf-8")
        _refuse_used_folder(output, options)  # another run may have ended here meanwhile
        # No moment shows the RTSTRUCT of an earlier run beside the report of this one.
        for name in (RTSTRUCT_FILE, *SECOND_FILES):
            (output / name).unlink(missing_ok=True)
        remove_exports(output)
    tell("preview", 1.0)
    return Run(series, drawing, report, output)


def draw_structures(
    volume: Volume,
    protocol: Protocol,
    networks: tuple[NetworkEngine, ...],
    *,
    locator: NetworkEngine | None = None,
    given: Given = Given(),
    progress: Progress | None = None,
) -> Drawing:
    """Draw what `protocol` asks for on `volume`, and look it over.

    Structures are in the protocol's order, on the volume's grid; one that the image cuts bears TG-263's name for a
    part (`~Liver`). A structure that a network looked for and did not find is there with an empty mask, and so is one
    that the image does not show.

    `locator` sees the whole image coarsely first: networks then look only where their structures are, organs outside
    the field of view are stated as such, and an image of another site is refused. Without it, or where it is in doubt,
    the whole image is searched for everything, with a finding.

    The protocol's derived structures follow, some of them from the targets that are `given`, which are not part of what
    is returned. With another image `given`, the structures of `Protocol.second_image` are drawn there and brought over.

    Raises:
        InputRefused: the modality is not the protocol's, the image is implausible, or it shows another site.
        ConfigError: a required structure is drawn by none of `networks`.
        PackageError: a network fails.
    """
    if volume.modality is not protocol.modality:
        allowed = f"{protocol.modality} for protocol {protocol.name}"
        raise InputRefused(Reason.WRONG_MODALITY, "image", str(volume.modality), allowed)
    second = given.second
    tell = progress or _silent
    there = _draw_there(protocol, second, _half(tell, 0)) if second else None
    rules = protocol_of_first(protocol, second)
    here = _draw_here(volume, rules, networks, locator, _half(tell, 1) if second else tell)
    drawn, findings, brought = dict(here.drawn), list(here.findings), None
    if second and there:
        ours = StructureSet(protocol.name, volume.geometry, tuple(drawn.values()))
        brought = bring(second, there.structures, ours, volume)
        drawn |= brought.structures
        findings += (*brought.findings, *said_of_second(there.findings, second))
    members = _with_members(protocol, here.members)
    finishing = replace(protocol, structures=members, second_image=None, derived=(), doses=())
    ordered = tuple(drawn[rule.name] for rule in finishing.structures if rule.name in drawn)
    expected, about_expected = expectations(ordered, given.calibrations)
    ordered, about_withheld = _without_doubtful(ordered, finishing, expected)
    findings += (*about_expected, *about_withheld)
    structures = StructureSet(protocol.name.upper()[:16], volume.geometry, ordered)
    known_absent = frozenset(f.structure for f in findings if f.structure and f.code in ABSENT_CODES)
    findings += check_structures(structures, volume, finishing, known_absent)
    findings += check_sides(structures, here.location) if here.location else ()
    families = {family: tuple(rule.name for rule in rules) for family, rules in here.members.items()}
    derived = derive_structures(protocol, structures, given.targets, tuple(findings), families)
    findings += derived.findings
    structures = replace(structures, structures=(*structures.structures, *derived.structures))
    finishing = replace(finishing, structures=(*finishing.structures, *derived.rules))
    structures, about = named_as_parts(structures, tuple(findings), finishing)
    uses = here.packages + (there.packages if there else ())
    return Drawing(structures, about, uses, standings(structures, about, finishing), brought, expected)


def _without_doubtful(
    structures: tuple[Structure, ...], protocol: Protocol, expected: dict[str, Expectation]
) -> tuple[tuple[Structure, ...], tuple[Finding, ...]]:
    """Without what the protocol would rather not have, and a finding on each of these."""
    rules = {rule.name: rule for rule in protocol.structures}
    judged = [withheld(one, rules[one.name], expected.get(one.name)) for one in structures]
    return tuple(one for one, _ in judged), tuple(finding for _, findings in judged for finding in findings)


def _read(source: Path | SeriesFiles, options: RunOptions) -> ImageSeries:
    if isinstance(source, SeriesFiles):
        return read_same_series(source, limits=options.limits)
    return read_series(source, series_instance_uid=options.series_instance_uid, limits=options.limits)


# -- drawing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Here:
    """What was drawn on the image itself, by name, with the members of families, and where in the body it lies."""

    drawn: dict[str, Structure]
    findings: tuple[Finding, ...]
    members: dict[str, tuple[ProtocolStructure, ...]]
    location: Location | None
    packages: tuple[PackageUse, ...]


def _draw_here(
    volume: Volume,
    protocol: Protocol,
    networks: tuple[NetworkEngine, ...],
    locator: NetworkEngine | None,
    progress: Progress,
) -> _Here:
    shares = _shares(protocol, networks)
    findings = list(check_image(volume)) + _undrawn(protocol, shares)
    location, where = _located(volume, protocol, locator)
    findings.append(where)
    shares, absent = _in_view(shares, location)
    drawn = {rule.name: _structure(rule, NOTHING) for rule, _ in absent}
    members: dict[str, tuple[ProtocolStructure, ...]] = {}
    for part, (network, rules) in enumerate(shares):
        found = _draw_share(volume, network, rules, location, _part_of(progress, part, len(shares)))
        drawn |= found.structures
        members |= found.members
        findings += found.findings
    for rule in protocol.structures:
        if rule.name in DRAWN_BY_VALUE and rule.name not in drawn:
            drawn[rule.name] = _structure(rule, finish(body_mask(volume), (0, 0, 0), rule, volume.geometry))
    findings += (finding for _, finding in absent)
    used = (*((locator,) if locator and location else ()), *(network for network, _ in shares))
    return _Here(drawn, tuple(findings), members, location, tuple(_use(network) for network in used))


def _draw_there(protocol: Protocol, second: Second, progress: Progress) -> Drawing:
    rules = protocol_of_second(protocol, second)
    return draw_structures(second.series.volume, rules, second.networks, progress=progress)


def _with_members(
    protocol: Protocol, members: dict[str, tuple[ProtocolStructure, ...]]
) -> tuple[ProtocolStructure, ...]:
    """The protocol's rules, each family's replaced by one for each member that was drawn."""
    rules = (members.get(rule.name, (rule,)) for rule in protocol.structures)
    return tuple(one for group in rules for one in group)


def _shares(protocol: Protocol, networks: tuple[NetworkEngine, ...]) -> tuple[Share, ...]:
    """Which network draws which structures: the first that can."""
    left = {rule.name: rule for rule in protocol.structures}
    shares = []
    for network in networks:
        able = [name for name in left if name in network.manifest.offered]
        shares.append((network, tuple(left.pop(name) for name in able)))
    missing = [rule.name for rule in left.values() if rule.required and rule.name not in DRAWN_BY_VALUE]
    elsewhere = protocol.second_image
    if elsewhere and set(missing) & set(elsewhere.structures):
        found = f"asks for {', '.join(missing)}, drawn on a second image, and none was given"
        raise ConfigError(f"protocol {protocol.name}", found, f"{elsewhere.modality} of the patient beside the image")
    if missing:
        offered = sorted({name for network in networks for name in network.manifest.offered})
        raise ConfigError(
            f"protocol {protocol.name}", f"asks for {', '.join(missing)}, which no package draws", ", ".join(offered)
        )
    return tuple(share for share in shares if share[1])


def _undrawn(protocol: Protocol, shares: tuple[Share, ...]) -> list[Finding]:
    able = {rule.name for _, rules in shares for rule in rules} | set(DRAWN_BY_VALUE)
    elsewhere = protocol.second_image.structures if protocol.second_image else ()
    found = []
    for rule in (rule for rule in protocol.structures if rule.name not in able):
        why = "it is drawn on a second image, and none was given" if rule.name in elsewhere else "no package draws it"
        found.append(Finding("not-offered", Severity.INFO, f"{rule.name} is optional, and {why}.", rule.name))
    return found


def _located(volume: Volume, protocol: Protocol, locator: NetworkEngine | None) -> tuple[Location | None, Finding]:
    """Where in the body the image lies, or None where nothing can tell; and what to say of it."""
    if locator is None or locator.manifest.modality is not volume.modality:
        message = f"No network locates organs on {volume.modality}: the whole image was searched for everything."
        return None, Finding("not-located", Severity.INFO, message)
    location = locate(locator, volume)
    refuse_turned(location)
    if location.doubt:
        return None, in_doubt(location)
    refuse_other_site(location, protocol)
    return location, in_view(location)


def _in_view(
    shares: tuple[Share, ...], location: Location | None
) -> tuple[tuple[Share, ...], tuple[tuple[ProtocolStructure, Finding], ...]]:
    """What is left to be drawn, and the structures outside the field of view, each with its finding."""
    absent = {}
    for rule in (rule for _, rules in shares for rule in rules):
        end = location.outside(rule.name) if location else None
        if location and end:
            absent[rule.name] = (rule, outside_view(rule, end, location))
    left = ((network, tuple(rule for rule in rules if rule.name not in absent)) for network, rules in shares)
    return tuple(share for share in left if share[1]), tuple(absent.values())


def _draw_share(
    volume: Volume,
    network: NetworkEngine,
    rules: tuple[ProtocolStructure, ...],
    location: Location | None,
    progress: Callable[[float], None],
) -> "_Finished":
    wanted = {rule.name: rule for rule in rules}
    part = location.around(tuple(wanted)) if location else None
    finished = _drawn_within(part, volume, network, wanted, progress)
    if part is not None and finished.ends_early:  # seen coarsely too small: where its organs are is not known after all
        finished = _drawn_within(None, volume, network, wanted, progress)
    return finished


@dataclass(frozen=True)
class _Finished:
    """What a network drew: structures by name, findings on them, and the members of each family it was asked for.

    `ends_early` says that a structure goes on where the search ended inside the image.
    """

    structures: dict[str, Structure]
    findings: tuple[Finding, ...]
    members: dict[str, tuple[ProtocolStructure, ...]]
    ends_early: bool


def _drawn_within(
    part: Geometry | None,
    volume: Volume,
    network: NetworkEngine,
    wanted: dict[str, ProtocolStructure],
    progress: Callable[[float], None],
) -> _Finished:
    manifest = network.manifest
    provenance = Provenance(manifest.name, manifest.version, manifest.onnx_sha256)
    finished, ends_early = {}, False
    members: dict[str, tuple[ProtocolStructure, ...]] = {}
    options = PredictOptions(within=part)
    prediction = predict_with_steps(network, volume, tuple(wanted), progress, options=options)
    for drawn in prediction.drawn:
        rule = replace(wanted[drawn.family or drawn.name], name=drawn.name)
        if drawn.family:
            members[drawn.family] = (*members.get(drawn.family, ()), rule)
        mask = finish(drawn.mask_zyx, drawn.offset_zyx, rule, volume.geometry)
        structure = replace(_structure(rule, mask, drawn.confidence, provenance), sureness=drawn.sureness)
        finished[drawn.name] = structure
        ends_early |= not structure.empty and _reaches_end(structure.box, drawn.looked_at, volume.geometry)
    return _Finished(finished, prediction.findings, members, ends_early)


def _reaches_end(box: Box, looked_at: Box, image: Geometry) -> bool:
    """Whether a box ends with the part of the image that was looked at, where that is not the image's end."""
    ends = zip(box.start_zyx, box.stop_zyx, looked_at.start_zyx, looked_at.stop_zyx, image.shape_zyx, strict=True)
    return any((a == first > 0) or (b == last < n) for a, b, first, last, n in ends)


def _structure(
    rule: ProtocolStructure,
    mask: tuple[Mask, tuple[int, int, int]],
    confidence: float | None = None,
    provenance: Provenance | None = None,
) -> Structure:
    entry = lookup(rule.name)
    color = rule.color_rgb or (entry.color_rgb if entry else UNNAMED_COLOR_RGB)
    kind = entry.interpreted_type if entry else InterpretedType.ORGAN
    mask_zyx, offset_zyx = cropped_to_content(*mask)
    return Structure(rule.name, color, kind, mask_zyx, offset_zyx, confidence, provenance)


def _use(network: NetworkEngine) -> PackageUse:
    manifest = network.manifest
    return PackageUse(manifest.name, manifest.version, manifest.onnx_sha256, str(network.engine))


def _part_of(progress: Progress, part: int, parts: int) -> Callable[[float], None]:
    return lambda done: progress("draw", (part + done) / parts)


def _half(progress: Progress, which: int) -> Progress:
    return lambda stage, done: progress(stage, (which + done) / 2)


# -- files -----------------------------------------------------------------------------------------------------------


def _write(
    drawing: Drawing, series: ImageSeries, path: Path, options: RunOptions
) -> tuple[str | None, tuple[str, ...]]:
    """(SOP Instance UID, nothing) of the released file, or (None, what forbids to release it)."""
    structures = drawing.structures
    forbidding = tuple(f.message for f in drawing.findings if f.severity is Severity.STOP)
    if all(structure.empty for structure in structures.structures):
        forbidding += ("No structure was found on this image.",)
    if forbidding:
        return None, forbidding
    spacing_yx_mm = structures.geometry.spacing_zyx_mm[1:]
    pixel_mm = min(spacing_yx_mm)
    trace = TraceOptions(spacing_yx_mm, SMOOTHING_PIXELS * pixel_mm, DECIMATION_PIXELS * pixel_mm)
    try:
        names = {s.name: local for s in structures.structures if (local := local_name(s.name, options.language))}
        note = summary(drawing.standings)
        writing = WriteOptions(
            trace=trace,
            note=note,
            system=options.system,
            local_names=names,
            uid_seed=options.uid_seed,
            now=options.now,
        )
        written = write_rtstruct(structures, series, path, writing)
    except NotReleased as error:
        return None, error.differences
    return written.sop_instance_uid, ()


def _merge(existing: Path, path: Path, series: ImageSeries) -> tuple[str | None, tuple[str, ...], tuple[Finding, ...]]:
    """Makes the file at `path` a new version of `existing`: as `_write`, and what is to be said of it."""
    try:
        merged = merge_rtstruct(existing, path, series, path)
    except InputRefused as error:  # all that was drawn is in there already, drawn by people
        path.unlink()
        return None, (str(error),), ()
    except NotReleased as error:
        path.unlink()
        return None, error.differences, ()
    parts = (("added", merged.added), ("replaced", merged.replaced), ("left as people drew them", merged.kept_out))
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    severity = Severity.CHECK if merged.kept_out else Severity.INFO
    return merged.sop_instance_uid, (), (Finding("merged", severity, f"Into {existing.name}, {said}."),)


def _refuse_unfit_names(protocol: Protocol, system: PlanningSystem) -> None:
    """Nothing is drawn that the planning system could not hold under its name."""
    written = [rule.name for rule in protocol.structures] + [rule.name for rule in protocol.derived if not rule.helper]
    for name in written:
        if len(name) > system.name_length or system.forbidden_in(name):
            but = f" without {system.forbidden_characters}" if system.forbidden_characters else ""
            allowed = f"{system.name_length} characters{but} for {system.title}"
            raise ConfigError(f"protocol {protocol.name}", f"the name {name!r}", allowed)


def _refuse_used_folder(output: Path, options: RunOptions) -> None:
    if output.exists() and not output.is_dir():
        raise ConfigError(str(output), "is a file", "a folder, which need not exist")
    used = [name for name in RUN_FILES if (output / name).exists()]
    if used and not options.overwrite:
        raise ConfigError(str(output), f"holds {', '.join(used)}", "a folder without them, or overwriting")


def _report(
    series: ImageSeries,
    protocol: Protocol,
    drawing: Drawing,
    seconds: dict[str, float],
    written: tuple[str | None, tuple[str, ...]],
    language: Language,
) -> RunReport:
    uid, differences = written
    findings = [*series.findings, *drawing.findings]
    findings += [Finding("not-released", Severity.STOP, difference) for difference in differences]
    listed = {structure.name for structure in drawing.structures.structures}
    return RunReport(
        contour_version=__version__,
        protocol=protocol.name,
        released=uid is not None,
        series_instance_uid=series.series_instance_uid,
        rtstruct_sop_instance_uid=uid,
        packages=drawing.packages,
        structures=tuple(
            _line(*pair, drawing, protocol, language)
            for pair in zip(drawing.structures.structures, drawing.standings, strict=True)
        ),
        findings=tuple(f for f in findings if f.structure not in listed),
        completeness=summary(drawing.standings),
        set_aside=tuple(f.message for f in series.findings if f.severity is Severity.INFO),
        seconds=dict(seconds),
        peak_memory_mb=peak_memory_mb(),
        registration=drawing.brought.use if drawing.brought else None,
    )


def _line(
    structure: Structure, standing: Standing, drawing: Drawing, protocol: Protocol, language: Language
) -> StructureReport:
    return StructureReport(
        name=structure.name,
        drawn=not structure.empty,
        volume_ml=round(drawing.structures.volume_ml(structure), 3),
        confidence=None if structure.confidence is None else round(structure.confidence, 4),
        findings=tuple(f for f in drawing.findings if f.structure == structure.name),
        doses=tuple(dose.words for dose in protocol.doses_of(whole_name(structure.name))),
        required=standing.required,
        state=standing.state,
        ends=standing.ends,
        local_name=local_name(structure.name, language),
        expected=drawing.expected.get(whole_name(structure.name)),
    )


def peak_memory_mb() -> float | None:
    """The most memory that this process had so far; None where the system does not tell."""
    if sys.platform == "win32":
        return round(float(psutil.Process().memory_info().peak_wset) / 1e6, 1)
    import resource  # noqa: PLC0415 - it does not exist on Windows

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes * (1e-6 if sys.platform == "darwin" else 1e-3) * 1.024, 1)


def _silent(_: str, __: float) -> None:
    """No one listens."""
