"""An evaluation as a page: a line for each structure, plots of every case, and pictures of the worst ones."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from statistics import median

from contour.cases.evaluate import drawn_structure
from contour.cases.evaluate_plots import agreement_plot, distance_plot
from contour.cases.evaluation import CaseResult, Evaluation
from contour.cases.html import (
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
from contour.cases.pictures import CONTEXT_RGB, Layer, PictureOptions, comparison
from contour.cases.score import CaseScore, Measure, Outcome
from contour.cases.statistics import MIN_PATIENTS, Interval
from contour.cases.store import load_image, load_record, load_structure
from contour.cases.summary import MeasureSummary, StructureSummary
from contour.core.structures import Structure
from contour.imaging.metrics import CompareOptions, within
from contour.imaging.scene import Pen, Scene

REPORT_FILE = "report.html"
FOOTER = "For those who decide on the use of a network. Whatever it draws is for a clinician's review."
_PICTURE = PictureOptions(margin_mm=20.0, height_px=320)


@dataclass(frozen=True)
class ReportOptions:
    """`pictures` of the worst cases of each structure; the case in the middle is shown as well, unless it is 0.

    Raises:
        ValueError: fewer than none.
    """

    pictures: int = 2

    def __post_init__(self) -> None:
        if self.pictures < 0:
            raise ValueError(f"pictures {self.pictures}: 0 or more")


@dataclass(frozen=True)
class ShownCase:
    """A case of a structure that is shown: `rank` 1 is its worst, 0 the one in the middle."""

    score: CaseScore
    rank: int


def write_report(
    evaluation: Evaluation,
    cases: Sequence[Path],
    output: Path,
    options: ReportOptions = ReportOptions(),
    *,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write `report.html` into `output`, where `evaluate` left what it drew on the `cases`; returns its path.

    Cases whose folder is not given are not shown. One case is in memory at a time. `progress` is told the part that is
    done, 0 to 1.

    Raises:
        InputRefused: a file of a case that is to be shown, or of what was drawn on it, is missing or damaged.
        OSError: the page cannot be written.
    """
    folders = {path.name: path for path in cases}
    shown = [one for one in shown_cases(evaluation, options.pictures) if one.score.case in folders]
    pictures: dict[tuple[str, str], Picture] = {}
    for place, result in enumerate(evaluation.cases):
        (progress or _silent)(place / len(evaluation.cases))
        of_case = [one for one in shown if one.score.case == result.case]
        if of_case:
            pictures |= _pictures_of(result, folders[result.case], output, of_case)
    ordered = tuple((one, pictures[one.score.case, one.score.structure]) for one in shown)
    path = output / REPORT_FILE
    write_page(evaluation_page(evaluation, ordered), path)
    (progress or _silent)(1.0)
    return path


def worst_pictures(
    evaluation: Evaluation,
    cases: Sequence[Path],
    output: Path,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[Picture, ...]:
    """The worst case of each structure, from what `evaluate` left in `output`; cases without a folder are left out.

    Raises:
        InputRefused: as `write_report`.
    """
    folders = {path.name: path for path in cases}
    shown = [one for one in shown_cases(evaluation, 1) if one.rank == 1 and one.score.case in folders]
    found: list[Picture] = []
    for place, result in enumerate(evaluation.cases):
        (progress or _silent)(place / len(evaluation.cases))
        of_case = [one for one in shown if one.score.case == result.case]
        if of_case:
            found += _pictures_of(result, folders[result.case], output, of_case).values()
    return tuple(found)


def shown_cases(evaluation: Evaluation, worst: int) -> tuple[ShownCase, ...]:
    """The `worst` cases of each structure, worst first, and its case in the middle; none twice.

    The worst have the lowest surface Dice at the first tolerance, and of these the greatest HD95.
    """
    shown = []
    for line in evaluation.structures:
        ranked = sorted(
            (one for one in evaluation.scores if one.structure == line.structure and one.counts),
            key=lambda one: (one.value(Measure.SURFACE_DICE), -one.value(Measure.HD95_MM), one.case),
        )
        shown += [ShownCase(one, rank) for rank, one in enumerate(ranked[:worst], start=1)]
        middle = (len(ranked) - 1) // 2
        if 0 < worst <= middle:
            shown.append(ShownCase(ranked[middle], 0))
    return tuple(shown)


def evaluation_page(evaluation: Evaluation, shown: tuple[tuple[ShownCase, Picture], ...]) -> Page:
    """The page of `evaluation` with the pictures of the cases that are shown."""
    plots = (
        Picture(agreement_plot(evaluation), "Box plots of Dice and surface Dice for each structure"),
        Picture(distance_plot(evaluation), "Box plots of distances and differences in volume for each structure"),
    )
    first = tuple(picture for one, picture in shown if one.rank == 1)
    further = tuple(picture for one, picture in shown if one.rank != 1)
    sections = [
        Section("Structures", (_structures_table(evaluation),)),
        Section("Every case", (Gallery(plots),)),
    ]
    if first:
        sections.append(Section("The worst case of each structure", (Gallery(first),)))
    if further:
        sections.append(
            Section("Further poor cases, and cases in the middle", (Gallery(further, columns=2),), folded=True)
        )
    sections.append(Section("All scores", (_scores_table(evaluation),), folded=True))
    left_out = _left_out(evaluation)
    if left_out.rows:
        sections.append(Section("Refused and set aside", (left_out,)))
    sections.append(Section("How this was measured", (Text(_definitions(evaluation)),), folded=True))
    names = ", ".join(f"{use.name} {use.version}" for use in evaluation.packages)
    return Page(
        title=f"Evaluation of {names}",
        lead=_lead(evaluation),
        sections=tuple(sections),
        facts=_facts(evaluation),
        tiles=_tiles(evaluation),
        footer=FOOTER,
    )


# -- words and figures -------------------------------------------------------------------------------------------------


def _lead(evaluation: Evaluation) -> str:
    poorest = min(evaluation.structures, key=lambda line: line.measure(Measure.DICE).median)
    count = len(evaluation.structures)
    lead = (
        f"{count} structure{'s' * (count > 1)} on {len(evaluation.cases)} cases of {evaluation.patients} patients "
        f"({evaluation.selection}), drawn through the pipeline that runs in the clinic and compared with what people "
        f"drew. Lowest median Dice: {poorest.structure}, {_number(poorest.measure(Measure.DICE).median, 2)}."
    )
    seen = sum(case.seen for case in evaluation.cases)
    if seen:
        lead += (
            f" {seen} of these cases the networks have seen in training or validation: no proof of what they can do."
        )
    if evaluation.patients < MIN_PATIENTS:
        lead += f" Fewer than {MIN_PATIENTS} patients: no confidence interval can be given."
    return lead


def _facts(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    packages = [f"{use.name} {use.version} ({use.sha256[:12]}, {use.engine})" for use in evaluation.packages]
    return (
        ("Networks", "; ".join(packages)),
        ("Protocol", evaluation.protocol),
        ("Cases", evaluation.selection),
        ("contour", evaluation.contour_version),
    )


def _tiles(evaluation: Evaluation) -> Tiles:
    counted = [one for one in evaluation.scores if one.counts]
    missed = sum(one.outcome is Outcome.NOT_FOUND for one in counted)
    refused = sum(case.failure is not None for case in evaluation.cases)
    seen = sum(case.seen for case in evaluation.cases)
    of_dice = [line.measure(Measure.DICE).median for line in evaluation.structures]
    of_surface = [line.measure(Measure.SURFACE_DICE).median for line in evaluation.structures]
    return Tiles(
        (
            Tile(
                "Cases",
                str(len(evaluation.cases)),
                f"{seen} seen in training" if seen else f"of {evaluation.patients} patients",
                Tone.STOP if seen else Tone.PLAIN,
            ),
            Tile("Structures", str(len(evaluation.structures)), f"{len(counted)} outlines judged"),
            Tile("Dice", _number(median(of_dice), 2), "the middle structure's median"),
            Tile(
                f"Surface Dice {evaluation.tolerances_mm[0]:g} mm",
                _number(median(of_surface), 2),
                "the middle structure's median",
            ),
            Tile("Not found", str(missed), f"of {len(counted)} outlines", Tone.CHECK if missed else Tone.GOOD),
            Tile("Refused cases", str(refused), "count as not found", Tone.STOP if refused else Tone.GOOD),
            Tile("Time", f"{median(case.draw_seconds for case in evaluation.cases):.1f} s", "to draw a case, median"),
        )
    )


def _structures_table(evaluation: Evaluation) -> Table:
    tolerance = f"{evaluation.tolerances_mm[0]:g} mm"
    interval = f"Median, and its {100 * evaluation.bootstrap.confidence:g} % confidence interval by patient"
    columns = (
        Column("Structure"),
        Column("Cases", "Cases in which it was drawn", numeric=True),
        Column("Not found", "Cases in which the networks found nothing: Dice 0, infinite distance", numeric=True),
        Column("Dice", interval, numeric=True),
        Column("Dice 10 %", "10th percentile: one case in ten is worse", numeric=True),
        Column("Surface Dice", f"At {tolerance}. {interval}", numeric=True),
        Column("HD95 mm", interval, numeric=True),
        Column("Mean mm", "Mean surface distance: median", numeric=True),
        Column("To redraw", f"Part of the contours' length beyond {tolerance}: median", numeric=True),
        Column("Volume", "Difference from the reference's volume: median", numeric=True),
    )
    return Table(columns, tuple(_structure_row(evaluation, line) for line in evaluation.structures))


def _structure_row(evaluation: Evaluation, line: StructureSummary) -> Row:
    dice = line.measure(Measure.DICE)
    path = line.measure(Measure.ADDED_PATH_PART)
    volume = line.measure(Measure.VOLUME_DIFFERENCE_PERCENT)
    distance = line.measure(Measure.MEAN_SURFACE_DISTANCE_MM)
    cells = (
        Cell(line.structure),
        Cell(str(line.cases), line.cases),
        Cell(str(line.not_found), line.not_found, Tone.CHECK if line.not_found else Tone.PLAIN),
        _median_cell(dice, 2),
        Cell(_number(dice.poor, 2), dice.poor),
        _median_cell(line.measure(Measure.SURFACE_DICE), 2),
        _median_cell(line.measure(Measure.HD95_MM), 1),
        Cell(_number(distance.median, 1), distance.median),
        Cell(_percent(100 * path.median), path.median),
        Cell(_percent(volume.median, signed=True), volume.median),
    )
    return Row(cells, remarks=_remarks(evaluation, line))


def _remarks(evaluation: Evaluation, line: StructureSummary) -> tuple[str, ...]:
    dice, surface = line.measure(Measure.DICE), line.measure(Measure.SURFACE_DICE)
    hd95 = line.measure(Measure.HD95_MM)
    means = (
        f"Means: Dice {_number(dice.mean, 3)}{_interval(dice.mean_interval, 3)}, "
        f"surface Dice {_number(surface.mean, 3)}{_interval(surface.mean_interval, 3)}."
    )
    by_tolerance = ", ".join(
        f"{_number(at.median, 3)} at {at.tolerance_mm:g} mm"
        for at in sorted(line.at_tolerances, key=lambda at: at.tolerance_mm)
    )
    most = line.missed_patients.high
    remarks = [
        means,
        f"Surface Dice, median: {by_tolerance}.",
        f"HD95, poor end: {_number(hd95.poor, 1)} mm (one case in ten is worse); worst {_number(hd95.worst, 1)} mm.",
        f"Not found in {line.not_found} of {line.cases} cases; in at most {_percent(100 * most)} of patients to come "
        f"(exact bound, {100 * evaluation.bootstrap.confidence:g} %).",
    ]
    if line.not_found and dice.mean_where_found is not None and hd95.mean_where_found is not None:
        remarks.append(
            f"Where it was found: mean Dice {_number(dice.mean_where_found, 3)}, "
            f"mean HD95 {_number(hd95.mean_where_found, 1)} mm."
        )
    if line.drawn_in_part:
        remarks.append(f"Drawn in part in {line.drawn_in_part} cases: judged within the slices that were drawn.")
    if line.drawn_where_none:
        remarks.append(f"Drawn where there is none in {line.drawn_where_none} cases: they count with Dice 0.")
    return tuple(remarks)


def _scores_table(evaluation: Evaluation) -> Table:
    tolerance = f"{evaluation.tolerances_mm[0]:g} mm"
    columns = (
        Column("Case"),
        Column("Structure", choices=True),
        Column("Outcome", choices=True),
        Column("Dice", numeric=True),
        Column(f"Surface Dice {tolerance}", numeric=True),
        Column("HD95 mm", numeric=True),
        Column("Mean mm", numeric=True),
        Column(f"Added path {tolerance}, cm", numeric=True),
        Column("Reference ml", numeric=True),
        Column("Drawn ml", numeric=True),
        Column("Confidence", "The network's own", numeric=True),
    )
    return Table(columns, tuple(_score_row(one) for one in evaluation.scores))


def _score_row(one: CaseScore) -> Row:
    outcome = one.outcome.value + (" (in part)" if one.slices else "")
    cells = [Cell(one.case), Cell(one.structure), Cell(outcome, tone=_TONES[one.outcome])]
    agreement = one.agreement
    if agreement is None:
        cells += [Cell("-", float("nan"))] * 7
    else:
        figures = (
            (agreement.dice, 3),
            (agreement.surface_dice, 3),
            (agreement.hd95_mm, 1),
            (agreement.mean_surface_distance_mm, 2),
            (agreement.added_path_length_mm / 10, 1),
            (agreement.reference_ml, 1),
            (agreement.test_ml, 1),
        )
        cells += [Cell(_number(value, digits), value) for value, digits in figures]
    confidence = float("nan") if one.confidence is None else one.confidence
    cells.append(Cell("-" if one.confidence is None else _number(one.confidence, 2), confidence))
    return Row(tuple(cells))


_TONES = {
    Outcome.FOUND: Tone.PLAIN,
    Outcome.NOT_FOUND: Tone.STOP,
    Outcome.NOT_THERE: Tone.CHECK,
    Outcome.NEITHER: Tone.GOOD,
}


def _left_out(evaluation: Evaluation) -> Table:
    rows = [
        Row((Cell(case.case), Cell("refused", tone=Tone.STOP), Cell(case.failure)))
        for case in evaluation.cases
        if case.failure is not None
    ]
    rows += [
        Row((Cell(one.case), Cell("set aside", tone=Tone.CHECK), Cell(one.reason))) for one in evaluation.set_aside
    ]
    return Table((Column("Case"), Column("What", choices=True), Column("Why")), tuple(rows))


def _definitions(evaluation: Evaluation) -> tuple[str, ...]:
    confidence = f"{100 * evaluation.bootstrap.confidence:g} %"
    undrawn = Counter(name for case in evaluation.cases for name in case.not_judged)
    listed = ", ".join(f"{name} ({count})" for name, count in undrawn.most_common())
    return (
        "Each case was drawn as a patient's image is: same preparation, networks, decision on the image's own grid, "
        "and the rules of the protocol. A structure that was not drawn by a person is not judged: nobody knows whether "
        "it is there. One that was drawn in part is judged within its slices, and the cut planes are no surface.",
        "Dice is twice the common volume over the sum of both. Surface Dice is the part of both surfaces, by area, "
        "that lies within the tolerance of the other one (as DeepMind's surface-distance). HD95 is the greater of both "
        "95th percentiles, by area, of the distances from one surface to the other; the mean distance is over both. "
        "Added path is the length of the reference's contours beyond the tolerance of the drawn ones in the same "
        "slice: what a person would draw anew (after Vaassen et al. 2020).",
        "A structure that was not found counts with Dice 0 and infinite distance; so does one that was drawn where a "
        "person stated that there is none. Cases that the pipeline refused count so for all of their structures.",
        f"Drawn by people and by no network, with the number of cases: {listed or 'nothing'}.",
        f"Confidence intervals ({confidence}) are by bootstrap over patients, {evaluation.bootstrap.resamples} "
        f"resamples, widened for few patients; none are given for fewer than {MIN_PATIENTS}. They speak of patients "
        "like these, and know nothing of kinds of failure that have not happened here.",
    )


# -- pictures ----------------------------------------------------------------------------------------------------------


def _pictures_of(
    result: CaseResult, folder: Path, output: Path, shown: list[ShownCase]
) -> dict[tuple[str, str], Picture]:
    record = load_record(folder)
    scene = Scene(load_image(folder, record))
    pictures = {}
    for one in shown:
        name = one.score.structure
        reference = load_structure(folder, record, name)
        test = drawn_structure(output, record, result, name)
        png = _picture(scene, reference, test, one.score)
        caption = _caption(one)
        pictures[result.case, name] = Picture(png, f"{name} of {result.case} in three planes", caption)
    return pictures


def _picture(scene: Scene, reference: Structure, test: Structure, one: CaseScore) -> bytes:
    """What was judged, where it differs most; under it, dashed, what was not judged."""
    judged = [within(s, CompareOptions((0.0,), one.slices)) for s in (reference, test)]
    beyond: tuple[Layer, ...] = ()
    if one.slices and not test.empty:
        beyond = (Layer(test, Pen(CONTEXT_RGB, 1.0, dashed=True), "not judged", focus=False),)
    return comparison(scene, judged[0], judged[1], _PICTURE, beyond)


def _caption(one: ShownCase) -> str:
    score = one.score
    which = {0: "in the middle", 1: "the worst"}.get(one.rank, f"number {one.rank} from the worst")
    slices = f" Judged from slice {score.slices[0]} to {score.slices[1]}, drawn in part." if score.slices else ""
    return (
        f"{score.structure}, {score.case}: {which}. {score.outcome.value.capitalize()}; "
        f"Dice {_number(score.value(Measure.DICE), 2)}, "
        f"surface Dice {_number(score.value(Measure.SURFACE_DICE), 2)}, "
        f"HD95 {_number(score.value(Measure.HD95_MM), 1)} mm, "
        f"volume {_percent(score.value(Measure.VOLUME_DIFFERENCE_PERCENT), signed=True)}.{slices}"
    )


# -- numbers -----------------------------------------------------------------------------------------------------------


def _median_cell(line: MeasureSummary, digits: int) -> Cell:
    return Cell(_number(line.median, digits) + _interval(line.median_interval, digits), line.median)


def _interval(ends: Interval | None, digits: int) -> str:
    return "" if ends is None else f" [{_number(ends.low, digits)}, {_number(ends.high, digits)}]"


def _number(value: float, digits: int) -> str:
    return "∞" if isinf(value) else f"{value:.{digits}f}"


def _percent(value: float, *, signed: bool = False) -> str:
    if isinf(value):
        return "∞"
    return f"{value:+.0f} %" if signed else f"{value:.0f} %"


def _silent(_: float) -> None:
    """No one listens."""
