"""The audit as a page: what to look at first, a picture for each finding, the cohort at a glance."""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

import contour
from contour.cases.audit import Audit, AuditOptions, Progress
from contour.cases.audit_checks import CaseFinding
from contour.cases.audit_facts import CaseFacts, StructureFacts
from contour.cases.html import (
    Block,
    Cell,
    Column,
    Gallery,
    Page,
    Picture,
    Row,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Tone,
    write_page,
)
from contour.cases.parallel import in_order
from contour.cases.pictures import CONTEXT_RGB, REFERENCE_RGB, TEST_RGB, Layer, figure_png, three_planes
from contour.cases.store import Status, load_case
from contour.core.report import Severity
from contour.core.structures import Structure
from contour.core.volume import Modality
from contour.imaging.scene import BACKGROUND, FAINT, TEXT, Pen, Scene

LUNG_WINDOW_HU = (-1050.0, 350.0)
_AIR_BELOW_HU = -300.0  # on average: what is seen in a lung window only
_TONES = {Severity.STOP: Tone.STOP, Severity.CHECK: Tone.CHECK, Severity.INFO: Tone.INFO}
_SIZES = ("volume-unusual", "section-unusual", "anatomy-volume", "anatomy-section")
_OTHERS = "others"
_MEANINGS = (
    ("wrong-side", "Left and right are exchanged, or one of a pair lies on the other's side. Exchange the names."),
    ("outside-body", "Drawn in the air: on another image, moved, or with a slip of the hand. Do not train on it."),
    ("blank-image", "The image has nothing there (beyond its field of view, or masked). Keep the slices that show it."),
    ("image-misfit", "Most structures miss what the image shows: drawn on another series. Leave the case out."),
    ("same-mask", "One drawing has two names: one of them is a copy that was never edited, or a wrong name."),
    ("same-image", "The same image in two cases. Under two patients it would stand on both sides of a split."),
    ("gaps", "Slices without a contour between two with one: drawn on every second slice, or some were deleted."),
    ("cut-inside", "The organ ends with a full section inside the image: the drawing ended, not the organ."),
    ("islands", "Small parts away from the rest, from a click beside the organ or a brush. Erase them."),
    ("several-pieces", "An organ in one piece by nature lies in several large ones."),
    ("volume-unusual", "Far from the volumes of the other cases: a part is missing, or another organ has this name."),
    ("section-unusual", "As volume, for what is scanned or drawn in part: the mean area on a slice."),
    (
        "hu-unusual",
        "The image inside is unlike that of the other cases: another organ, another series, metal, contrast.",
    ),
    ("place-unusual", "Far from where the other cases have it, beside the other structures and the body."),
    ("anatomy...", "Against what anatomy lets expect of the name in any adult: place, size, values, neighbours."),
    ("empty-mask", "Said to be drawn, and no voxel is inside."),
    ("unreadable-case", "A file of the case is missing or damaged. Build it again."),
    (_OTHERS, "Found when the case was built from the archive; the sentence says what."),
)
METHOD = (
    "Each case is measured by itself: sides, place in the body, connected parts, slices without contours, ends, pairs"
    " of structures that are one. Then it is compared with the others: volumes and areas as logarithms, mean HU, and"
    " places beside every other structure, each from the median in units of the median absolute deviation. Fewer than"
    " eight cases are no cohort.",
    "Stop: do not train on it as it is. Check: a person should look; it may well be right. Info: small, or known.",
    "overrides.suggested.yaml beside this page says what each finding would mean if it is right. Take out what is not,"
    " and build the cases again with it.",
)


def write_report(found: Audit, path: Path, options: AuditOptions, progress: Progress | None = None) -> None:
    """The audit as an HTML page at `path`; pictures are drawn from the cases' folders.

    Raises:
        OSError: the page cannot be written.
        ChildProcessError: a working process was killed.
    """
    pictures = _pictures(found, options, progress)
    write_page(_page(found, pictures), path)


def _page(found: Audit, pictures: dict[int, Picture]) -> Page:
    troubled = {f.case for f in found.findings if f.finding.severity is not Severity.INFO}
    clean = len(found.cases) - len(troubled - set(found.unreadable))
    return Page(
        title=f"Audit of {_count(len(found.cases) + len(found.unreadable), 'case')}",
        lead=_lead(found, clean),
        tiles=_tiles(found, clean),
        sections=(
            Section("Findings", _findings(found, pictures)),
            *((Section("The cohort", (_volumes_picture(found), _cohort_table(found))),) if found.cases else ()),
            Section("Cases", (_cases_table(found),), folded=len(found.cases) > 12),
            Section("What the findings mean", (_meanings(found), Text(METHOD)), folded=True),
        ),
        facts=(("Made", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")), ("contour", contour.__version__)),
        footer="Patients are named by pseudonyms. No finding changes a case by itself: that is for a person to decide.",
    )


def _lead(found: Audit, clean: int) -> str:
    stops, checks = found.count(Severity.STOP), found.count(Severity.CHECK)
    if not stops and not checks:
        return f"Nothing to stop or to check in {_count(len(found.cases), 'case')}."
    said = [f"{_count(stops, 'finding')} {'says' if stops == 1 else 'say'} stop"] if stops else []
    what = _count(checks, "finding") if not stops else str(checks)
    said += [f"{what} {'asks' if checks == 1 else 'ask'} for a look"] if checks else []
    return f"{' and '.join(said)}; {clean} of {_count(len(found.cases), 'case')} need neither."


def _tiles(found: Audit, clean: int) -> Tiles:
    tiles = []
    for severity, label in ((Severity.STOP, "Stop"), (Severity.CHECK, "Check"), (Severity.INFO, "Info")):
        count = found.count(severity)
        cases = len({f.case for f in found.findings if f.finding.severity is severity})
        tone = _TONES[severity] if count else Tone.PLAIN
        tiles.append(Tile(label, str(count), f"in {_count(cases, 'case')}", tone))
    patients = len({case.patient for case in found.cases})
    drawn = sum(len(case.structures) for case in found.cases)
    tiles.append(Tile("Nothing to do", str(clean), f"of {_count(len(found.cases), 'case')}", Tone.GOOD))
    tiles.append(Tile("Patients", str(patients)))
    tiles.append(Tile("Structures", str(drawn), f"{len(_names(found))} names"))
    return Tiles(tuple(tiles))


# -- findings --------------------------------------------------------------------------------------------------------


def _findings(found: Audit, pictures: dict[int, Picture]) -> tuple[Block, ...]:
    columns = (
        Column("Severity", choices=True),
        Column("Case", unbroken=True),
        Column("Structure", choices=True),
        Column("Finding", choices=True),
        Column("What was found"),
    )
    rows = tuple(_finding_row(f, pictures.get(i)) for i, f in enumerate(found.findings))
    table = Table(columns, rows, empty="None: every case passed every check.")
    undrawn = sum(f.point_zyx is not None for f in found.findings) - len(pictures)
    note = f"Pictures are of the {len(pictures)} most severe findings; {undrawn} more have none here."
    return (table, Text((note,))) if undrawn > 0 else (table,)


def _finding_row(found: CaseFinding, picture: Picture | None) -> Row:
    finding = found.finding
    cells = (
        Cell(
            finding.severity,
            [Severity.STOP, Severity.CHECK, Severity.INFO].index(finding.severity),
            _TONES[finding.severity],
        ),
        Cell(found.case),
        Cell(finding.structure or "-"),
        Cell(finding.code),
        Cell(finding.message),
    )
    return Row(cells, _remarks(found), (picture,) if picture else ())


def _remarks(found: CaseFinding) -> tuple[str, ...]:
    remarks = [f"Patient {found.patient}."] if found.patient and found.patient != found.case else []
    stated = []
    for override in found.suggestion:
        what = f"is {override.name}" if override.name else str(override.status)
        if override.drawn_slices is not None:
            what += f", slices {override.drawn_slices[0]} to {override.drawn_slices[1]}"
        stated.append(f"{override.structure} {what}")
    remarks += [f"Suggested, if this is right: {'; '.join(stated)}."] if stated else []
    return tuple(remarks)


# -- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CasePictures:
    """What to draw of one case."""

    folder: Path
    findings: tuple[CaseFinding, ...]


def _pictures(found: Audit, options: AuditOptions, progress: Progress | None) -> dict[int, Picture]:
    """The picture of each finding that has one, by its place in the list."""
    folders = {case.name: case.folder for case in found.cases}
    chosen = [i for i, f in enumerate(found.findings) if f.point_zyx is not None][: options.pictures]
    by_case = sorted(chosen, key=lambda i: found.findings[i].case)
    groups = [list(group) for _, group in groupby(by_case, key=lambda i: found.findings[i].case)]
    jobs = [
        _CasePictures(folders[found.findings[group[0]].case], tuple(found.findings[i] for i in group))
        for group in groups
    ]
    pictures: dict[int, Picture] = {}
    if progress and jobs:
        progress("Draw pictures", 0.0)
    for k, drawn in enumerate(in_order(_draw, jobs, options.workers)):
        for i, png in zip(groups[k], drawn, strict=True):
            finding = found.findings[i].finding
            pictures[i] = Picture(png, f"{finding.code}: {finding.message}", _caption(found.findings[i]))
        if progress:
            progress("Draw pictures", (k + 1) / len(jobs))
    return pictures


def _draw(job: _CasePictures) -> tuple[bytes, ...]:
    case = load_case(job.folder)
    scenes = {"usual": Scene(case.volume)}
    if case.volume.modality is Modality.CT:
        scenes["lung"] = Scene(case.volume, LUNG_WINDOW_HU)
    pictures = []
    for found in job.findings:
        layers = _layers(found, case.structures.structures)
        mean = _mean_value(case.volume.voxels_zyx, layers[-1].structure) if layers else 0.0
        scene = scenes["lung"] if "lung" in scenes and mean < _AIR_BELOW_HU else scenes["usual"]
        pictures.append(three_planes(scene, layers, found.point_zyx or (0, 0, 0)))
    return tuple(pictures)


def _layers(found: CaseFinding, structures: tuple[Structure, ...]) -> tuple[Layer, ...]:
    """The structure in question over those beside it, over all others, faintly."""
    faint, beside, own = [], [], []
    for structure in structures:
        if structure.empty:
            continue
        if structure.name == found.finding.structure:
            pen = Pen(TEST_RGB, 1.8, dashed=found.finding.code == "same-mask")  # the other one shows through
            own.append(Layer(structure, pen, structure.name))
        elif structure.name in found.beside:
            color = REFERENCE_RGB if structure.name == found.beside[0] else structure.color_rgb
            beside.append(Layer(structure, Pen(color, 1.5), structure.name))
        else:
            faint.append(Layer(structure, Pen(CONTEXT_RGB, 0.8, dashed=True), "", focus=False))
    if faint:
        first = faint[0]
        faint[0] = Layer(first.structure, first.pen, "other structures", focus=False)
    return (*faint, *beside, *own)


def _mean_value(voxels_zyx: NDArray[np.generic], structure: Structure) -> float:
    return float(voxels_zyx[structure.box.slices][structure.mask_zyx].mean(dtype=np.float64))


def _caption(found: CaseFinding) -> str:
    slices = found.finding.slices
    if not slices:
        return f"Case {found.case}."
    return (
        f"Case {found.case}, slice {slices[0]}."
        if len(set(slices)) == 1
        else (f"Case {found.case}, slices {min(slices)} to {max(slices)}.")
    )


# -- cohort and cases ------------------------------------------------------------------------------------------------


def _names(found: Audit) -> list[str]:
    return sorted({s.name for case in found.cases for s in case.structures})


def _drawn(found: Audit, name: str) -> list[tuple[CaseFacts, StructureFacts]]:
    return [(case, s) for case in found.cases for s in case.structures if s.name == name]


def _volumes_picture(found: Audit) -> Gallery:
    """Each whole structure as a dot by its volume, a row for each name; those with a finding stand out by name."""
    names = _names(found)
    troubled = {(f.case, f.finding.structure) for f in found.findings if f.finding.severity is not Severity.INFO}
    odd_sizes = {(f.case, f.finding.structure) for f in found.findings if f.finding.code in _SIZES}
    figure = Figure(figsize=(11.0, 0.8 + 0.36 * len(names)), dpi=110, facecolor=BACKGROUND, layout="constrained")
    axes = figure.add_subplot(facecolor=BACKGROUND)
    rng = np.random.default_rng(0)  # a little height apart, so that dots do not hide one another
    for row, name in enumerate(names):
        drawn = _drawn(found, name)
        heights = (row + rng.uniform(-0.22, 0.22, len(drawn))).tolist()
        odd = [(case.name, name) in troubled for case, _ in drawn]
        for group in _groups([s for _, s in drawn], heights, odd):
            axes.plot(
                group.volumes_ml, group.heights, group.marker, color=_unit(group.color_rgb), markersize=group.size
            )
        for (case, structure), height in zip(drawn, heights, strict=True):
            if (case.name, name) in odd_sizes:
                where = (structure.volume_ml, height)
                axes.annotate(case.name, where, (4, -2), textcoords="offset points", color=TEXT, fontsize=6.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ml, _: f"{ml:,.0f}" if ml >= 1 else f"{ml:g}"))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("ml", color=FAINT)
    axes.tick_params(colors=TEXT, labelsize=9)
    axes.grid(axis="x", color="#2b323b", linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    caption = (
        "Volumes: a dot is a whole structure, a stroke one drawn or scanned in part; orange is one to stop or check,"
        " with the name of its case where the size is at fault."
    )
    return Gallery((Picture(figure_png(figure), "Volumes of all structures, a row for each name", caption),))


@dataclass(frozen=True)
class _Dots:
    """Dots of one kind in a row of the picture."""

    volumes_ml: list[float]
    heights: list[float]
    marker: str
    color_rgb: tuple[int, int, int]
    size: float


def _groups(structures: list[StructureFacts], heights: list[float], odd: list[bool]) -> list[_Dots]:
    groups = []
    for is_whole, marker in ((False, "|"), (True, "o")):
        for is_odd, size in ((False, 3.5), (True, 5.0)):
            color = TEST_RGB if is_odd else REFERENCE_RGB if is_whole else CONTEXT_RGB
            kept = [i for i, s in enumerate(structures) if s.whole == is_whole and odd[i] == is_odd]
            volumes = [structures[i].volume_ml for i in kept]
            size_pt = size if is_whole else 2 * size
            groups.append(_Dots(volumes, [heights[i] for i in kept], marker, color, size_pt))
    return groups


def _unit(color_rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = (c / 255 for c in color_rgb)
    return red, green, blue


def _cohort_table(found: Audit) -> Table:
    columns = (
        Column("Structure"),
        Column("Drawn", "cases in which it was drawn whole", numeric=True),
        Column("In part", "cases in which it was drawn in part", numeric=True),
        Column("Not drawn", numeric=True),
        Column("Median ml", "of what is whole, in the image, too", numeric=True),
        Column("5 to 95 %, ml", numeric=True),
        Column("Mean HU", numeric=True),
        Column("Stop", numeric=True),
        Column("Check", numeric=True),
    )
    return Table(columns, tuple(_cohort_row(found, name) for name in _names(found)))


def _cohort_row(found: Audit, name: str) -> Row:
    drawn = [s for _, s in _drawn(found, name)]
    volumes = [s.volume_ml for s in drawn if s.whole]
    values = [s.mean_hu for s in drawn if s.mean_hu is not None]
    in_part = sum(s.status is Status.PARTIAL for s in drawn)
    low, middle, high = np.percentile(volumes, (5, 50, 95)).tolist() if volumes else (np.nan,) * 3
    hu = float(np.median(values)) if values else np.nan
    own = [f.finding.severity for f in found.findings if f.finding.structure == name]
    return Row(
        (
            Cell(name),
            _number(len(drawn) - in_part),
            _number(in_part),
            _number(len(found.cases) - len(drawn)),
            Cell(_ml(middle), middle),
            Cell(f"{_ml(low)} - {_ml(high)}" if volumes else "-", middle),
            Cell(f"{hu:.0f}" if values else "-", hu),
            _number(own.count(Severity.STOP), Tone.STOP),
            _number(own.count(Severity.CHECK), Tone.CHECK),
        )
    )


def _cases_table(found: Audit) -> Table:
    columns = (
        Column("Case", unbroken=True),
        Column("Patient", unbroken=True),
        Column("Modality", choices=True),
        Column("Slices", numeric=True),
        Column("Spacing z, y, x mm", unbroken=True),
        Column("Drawn", numeric=True),
        Column("In part", numeric=True),
        Column("Stop", numeric=True),
        Column("Check", numeric=True),
        Column("Info", numeric=True),
    )
    return Table(columns, tuple(_case_row(found, case) for case in found.cases))


def _case_row(found: Audit, case: CaseFacts) -> Row:
    own = [f.finding.severity for f in found.findings if f.case == case.name]
    in_part = sum(s.status is Status.PARTIAL for s in case.structures)
    return Row(
        (
            Cell(case.name),
            Cell(case.patient),
            Cell(case.modality),
            _number(case.slices),
            Cell(" x ".join(f"{mm:.4g}" for mm in case.spacing_zyx_mm), float(np.prod(case.spacing_zyx_mm))),
            _number(len(case.structures) - in_part),
            _number(in_part),
            _number(own.count(Severity.STOP), Tone.STOP),
            _number(own.count(Severity.CHECK), Tone.CHECK),
            _number(own.count(Severity.INFO)),
        )
    )


def _meanings(found: Audit) -> Table:
    counts = {
        code: sum(f.finding.code == code or f.finding.code.startswith(code.removesuffix("...")) for f in found.findings)
        for code, _ in _MEANINGS
    }
    counts[_OTHERS] = len(found.findings) - sum(counts.values())
    rows = tuple(Row((Cell(code), Cell(words), _number(counts[code]))) for code, words in _MEANINGS)
    return Table((Column("Finding"), Column("What it means"), Column("Here", numeric=True)), rows)


def _number(count: int, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(str(count) if count else "-", float(count), tone if count else Tone.PLAIN)


def _ml(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
