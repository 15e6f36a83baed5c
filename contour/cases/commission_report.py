"""A commissioning as a page for the screen, and as a PDF for the QA binder; in English or Russian."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from contour.cases.commission import Commissioning, StructureVerdict, Verdict
from contour.cases.evaluate_plots import agreement_plot, distance_plot
from contour.cases.evaluation import Evaluation
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
from contour.cases.pictures import figure_png
from contour.cases.score import Measure
from contour.config import load_config, shipped_folder
from contour.languages import Language, local_name

HTML_FILE, PDF_FILE = "commission.html", "commission.pdf"
_A4_INCH = (8.27, 11.69)
_ROWS_A_PAGE = 26
_TONES = {
    Verdict.MET: Tone.GOOD,
    Verdict.MET_NOT_SHOWN: Tone.INFO,
    Verdict.NOT_MET: Tone.STOP,
    Verdict.TOO_FEW: Tone.CHECK,
    Verdict.NOT_JUDGED: Tone.STOP,
    Verdict.NO_LIMIT: Tone.PLAIN,
}


@dataclass(frozen=True)
class CommissionWords:
    """The words of a report in one language; `verdicts` by `Verdict`, `measures` by `Measure`."""

    title: str
    lead: str
    passed: str
    not_passed: str
    structure: str
    verdict: str
    cases: str
    patients: str
    not_found: str
    reached: str
    asked: str
    limits: str
    machine: str
    networks: str
    protocol: str
    made: str
    evaluation: str
    refused: str
    seen: str
    time: str
    memory: str
    verdicts: dict[str, str]
    measures: dict[str, str]
    all_cases: str
    calibration: str
    calibration_lead: str
    expected: str
    measured: str
    error: str
    held: str
    changes: str
    change: str
    worse: str
    worst: str
    signature: str
    date: str
    review: str
    page: str


def load_words(language: Language) -> CommissionWords:
    """The words of `language`; Kazakh reports are not offered yet, and are in Russian.

    Raises:
        ConfigError: the installation has lost them.
    """
    name = "en" if language is Language.ENGLISH else "ru"
    return load_config(shipped_folder("configs") / "languages" / "commission" / f"{name}.yaml", CommissionWords)


def write_commission(
    made: Commissioning,
    evaluation: Evaluation,
    folder: Path,
    worst: tuple[Picture, ...] = (),
    language: Language = Language.ENGLISH,
) -> tuple[Path, Path]:
    """Write `commission.html` and `commission.pdf` into `folder`; `worst` are pictures of the worst cases.

    Raises:
        OSError: they cannot be written.
    """
    report = _Report(made, evaluation, worst, language)
    page, binder = folder / HTML_FILE, folder / PDF_FILE
    write_page(report.page(), page)
    content = io.BytesIO()
    report.pdf(content)
    part = binder.with_name(binder.name + ".part")
    part.write_bytes(content.getvalue())
    part.replace(binder)
    return page, binder


class _Report:
    def __init__(
        self, made: Commissioning, evaluation: Evaluation, worst: tuple[Picture, ...], language: Language
    ) -> None:
        self.made, self.evaluation, self.worst, self.language = made, evaluation, worst, language
        self.words = load_words(language)

    # -- what both show ------------------------------------------------------------------------------------------------

    def name(self, structure: str) -> str:
        local = local_name(structure, self.language)
        return f"{structure} ({local})" if local else structure

    def measures(self, values: tuple[tuple[Measure, float], ...]) -> str:
        shown = []
        for measure, value in values:
            number = "∞" if isinf(value) else f"{value:.1f} mm" if measure is Measure.HD95_MM else f"{value:.2f}"
            shown.append(f"{self.words.measures[measure.value]} {number}")
        return ", ".join(shown)

    def verdict(self, line: StructureVerdict) -> str:
        said = self.words.verdicts[line.verdict.value]
        failed = ", ".join(self.words.measures.get(name, self.words.not_found) for name in line.failed)
        return f"{said}: {failed}" if failed else said

    def facts(self) -> tuple[tuple[str, str], ...]:
        made, words, machine = self.made, self.words, self.made.machine
        networks = [f"{use.name} {use.version} ({use.sha256[:16]}, {use.engine})" for use in self.evaluation.packages]
        seconds = sorted(case.draw_seconds for case in self.evaluation.cases)
        memory = max((case.peak_memory_mb or 0.0 for case in self.evaluation.cases), default=0.0)
        return (
            (words.networks, "; ".join(networks)),
            (words.protocol, made.protocol),
            (words.cases, f"{made.cases}, {words.patients.lower()}: {made.patients}"),
            (words.refused, str(made.refused)),
            (words.seen, str(made.seen)),
            (words.limits, f"{made.limits.title}. {made.limits.source}"),
            (words.time, f"{np.median(seconds):.1f} s, ≤ {seconds[-1]:.1f} s"),
            (words.memory, f"{memory / 1000:.2f} GB"),
            (
                words.machine,
                f"{machine.system}, {machine.processor}, {machine.processors}; Python {machine.python}, "
                f"ONNX Runtime {machine.onnxruntime}; contour {made.contour_version}",
            ),
            (words.evaluation, f"sha256 {made.evaluation_sha256[:32]} {made.evaluation_sha256[32:]}"),
            (words.made, made.made),
        )

    def outcome(self) -> str:
        return self.words.passed if self.made.passed else self.words.not_passed

    # -- the page ------------------------------------------------------------------------------------------------------

    def page(self) -> Page:
        words = self.words
        plots = (
            Picture(agreement_plot(self.evaluation), words.all_cases),
            Picture(distance_plot(self.evaluation), words.all_cases),
        )
        sections = [Section(words.verdict, (self._verdicts(),))]
        if self.made.changes:
            sections.append(Section(f"{words.changes}: {self.made.against}", (self._changes(),)))
        if self.made.calibrated:
            plot = Picture(calibration_plot(self.made, words), words.calibration)
            sections.append(
                Section(words.calibration, (Text((words.calibration_lead,)), self._worth(), Gallery((plot,))))
            )
        sections.append(Section(words.all_cases, (Gallery(plots),)))
        if self.worst:
            sections.append(Section(words.worst, (Gallery(self.worst),)))
        limited = [line for line in self.made.verdicts if line.verdict is not Verdict.NO_LIMIT]
        met = sum(line.verdict in (Verdict.MET, Verdict.MET_NOT_SHOWN) for line in limited)
        tiles = (
            Tile(words.verdict, f"{met}/{len(limited)}", self.outcome(), Tone.GOOD if self.made.passed else Tone.STOP),
            Tile(words.cases, str(self.made.cases), f"{words.patients}: {self.made.patients}"),
            Tile(words.refused, str(self.made.refused), "", Tone.CHECK if self.made.refused else Tone.GOOD),
            Tile(words.seen, str(self.made.seen), "", Tone.STOP if self.made.seen else Tone.GOOD),
        )
        return Page(
            words.title, f"{words.lead} {self.outcome()}", tuple(sections), self.facts(), Tiles(tiles), words.review
        )

    def _verdicts(self) -> Table:
        words = self.words
        columns = (
            Column(words.structure),
            Column(words.verdict, choices=True),
            Column(words.cases, numeric=True),
            Column(words.patients, numeric=True),
            Column(words.not_found, numeric=True),
            Column(words.reached),
            Column(words.asked),
        )
        rows = [
            Row(
                (
                    Cell(self.name(line.structure)),
                    Cell(self.verdict(line), tone=_TONES[line.verdict]),
                    Cell(str(line.cases), line.cases),
                    Cell(str(line.patients), line.patients),
                    Cell(str(line.not_found), line.not_found),
                    Cell(self.measures(line.reached)),
                    Cell(self.measures(line.asked)),
                )
            )
            for line in self.made.verdicts
        ]
        return Table(columns, tuple(rows))

    def _changes(self) -> Table:
        words = self.words
        columns = (
            Column(words.structure),
            Column(words.cases, numeric=True),
            Column(words.change, numeric=True),
            Column(words.verdict),
        )
        rows = []
        for change in self.made.changes:
            ends = change.interval
            text = f"{change.difference:+.3f}" + (f" [{ends.low:+.3f}, {ends.high:+.3f}]" if ends else "")
            tone = Tone.STOP if change.worse else Tone.PLAIN
            rows.append(
                Row(
                    (
                        Cell(self.name(change.structure)),
                        Cell(str(change.cases), change.cases),
                        Cell(text, change.difference),
                        Cell(words.worse if change.worse else "", tone=tone),
                    )
                )
            )
        return Table(columns, tuple(rows))

    def _worth(self) -> Table:
        words = self.words
        columns = (
            Column(words.structure),
            Column(words.cases, numeric=True),
            Column(words.error, numeric=True),
            Column(words.held, numeric=True),
        )
        rows = [
            Row(
                (
                    Cell(self.name(one.structure)),
                    Cell(str(one.worth.cases), one.worth.cases),
                    Cell(f"{one.worth.absolute_error:.3f} ({one.worth.constant_error:.3f})", one.worth.absolute_error),
                    Cell(f"{100 * one.worth.covered:.0f} %", one.worth.covered),
                )
            )
            for one in self.made.calibrated
        ]
        return Table(columns, tuple(rows))

    # -- the binder ----------------------------------------------------------------------------------------------------

    def pdf(self, file: io.BytesIO) -> None:
        """A4 pages with a header, numbers, and lines to sign."""
        words = self.words
        verdicts = [
            (self.name(v.structure), f"{v.cases}", self.measures(v.reached), self.measures(v.asked), self.verdict(v))
            for v in self.made.verdicts
        ]
        heads = (words.structure, words.cases, words.reached, words.asked, words.verdict)
        pages: list[Figure] = [self._first_page()]
        for start in range(0, len(verdicts), _ROWS_A_PAGE):
            pages.append(self._table_page(words.verdict, heads, verdicts[start : start + _ROWS_A_PAGE]))
        if self.made.changes:
            rows = [
                (self.name(c.structure), f"{c.cases}", f"{c.difference:+.3f}", "", words.worse if c.worse else "")
                for c in self.made.changes
            ]
            pages.append(
                self._table_page(
                    f"{words.changes}: {self.made.against}", (words.structure, words.cases, words.change, "", ""), rows
                )
            )
        pictures = [
            Picture(agreement_plot(self.evaluation), words.all_cases),
            Picture(distance_plot(self.evaluation), words.all_cases),
        ]
        if self.made.calibrated:
            pictures.append(Picture(calibration_plot(self.made, words), words.calibration, words.calibration_lead))
        pages += [self._picture_page(picture) for picture in (*pictures, *self.worst)]
        with PdfPages(file, metadata={"Title": words.title, "CreationDate": None}) as book:
            for number, page in enumerate(pages, start=1):
                page.text(0.08, 0.965, words.title, fontsize=8, color="#555")
                page.text(0.92, 0.03, f"{words.page} {number} / {len(pages)}", fontsize=8, ha="right", color="#555")
                page.text(0.08, 0.03, words.review, fontsize=8, color="#555")
                book.savefig(page)

    def _first_page(self) -> Figure:
        page, words = Figure(figsize=_A4_INCH), self.words
        page.text(0.08, 0.90, "\n".join(wrap(words.title, 46)), fontsize=17, weight="bold")
        page.text(0.08, 0.86, "\n".join(wrap(f"{words.lead} {self.outcome()}", 78)), fontsize=11, va="top")
        y = 0.76
        for name, value in self.facts():
            titles, lines = wrap(name, 25), wrap(value, 66)
            page.text(0.08, y, "\n".join(titles), fontsize=9, weight="bold", va="top")
            page.text(0.33, y, "\n".join(lines), fontsize=9, va="top")
            y -= 0.012 + 0.0155 * max(len(titles), len(lines))
        for place, what in ((0.16, words.signature), (0.09, words.date)):
            page.text(0.08, place, f"{what}: " + "_" * 60, fontsize=10)
        return page

    def _table_page(self, title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Figure:
        page = Figure(figsize=_A4_INCH)
        page.text(0.08, 0.93, title, fontsize=14, weight="bold")
        places = (0.08, 0.29, 0.37, 0.60, 0.77)
        y = 0.90
        for place, head in zip(places, heads, strict=True):
            page.text(place, y, head, fontsize=8, weight="bold", va="top")
        y -= 0.025
        for row in rows:
            cells = ["\n".join(wrap(text, width)) for text, width in zip(row, (26, 8, 30, 22, 20), strict=True)]
            for place, cell in zip(places, cells, strict=True):
                page.text(place, y, cell, fontsize=7.5, va="top")
            y -= 0.012 + 0.0125 * max(cell.count("\n") for cell in cells) + 0.006
        return page

    def _picture_page(self, picture: Picture) -> Figure:
        page = Figure(figsize=_A4_INCH)
        page.text(0.08, 0.93, picture.alt, fontsize=12, weight="bold", wrap=True)
        axes: Axes = page.add_axes((0.06, 0.12, 0.88, 0.76))
        axes.imshow(np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")))
        axes.set_axis_off()
        axes.set_anchor("N")
        if picture.caption:
            page.text(0.08, 0.08, "\n".join(wrap(picture.caption, 110)), fontsize=8, va="top")
        return page


def calibration_plot(made: Commissioning, words: CommissionWords) -> bytes:
    """A PNG: what was expected of each case by a calibration without its patient, and what was measured."""
    columns = 4
    lines = -(-len(made.calibrated) // columns)
    figure = Figure(figsize=(2.7 * columns, 2.75 * lines), dpi=110, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, one in zip(axes, made.calibrated, strict=False):
        expected = np.array([case.estimate for case in one.judged])
        ends = np.array([(case.estimate - case.low, case.high - case.estimate) for case in one.judged]).T
        axis.plot([0, 1], [0, 1], color="#999", linewidth=0.8)
        axis.errorbar(
            [c.surface_dice for c in one.judged],
            expected,
            np.clip(ends, 0, None),
            fmt="o",
            ms=3,
            lw=0.6,
            color="#0072b2",
        )
        axis.set(title=one.structure, xlim=(0, 1), ylim=(0, 1), xlabel=words.measured, ylabel=words.expected)
        axis.tick_params(labelsize=7)
    for axis in axes[len(made.calibrated) :]:
        axis.set_axis_off()
    return figure_png(figure)
