"""Plots of an evaluation: a box and every single case for each structure, in the colours of the pictures."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from contour.cases.evaluation import Evaluation
from contour.cases.pictures import figure_png
from contour.cases.score import CaseScore, Measure, Outcome
from contour.cases.summary import StructureSummary
from contour.imaging.scene import BACKGROUND, FAINT, TEXT

FOUND = "#56b4e9"
MISSED = "#ff9f1c"
GRID = "#2b323b"
_DOTS_PER_INCH = 110
_WIDTH_INCH = 11.2
_ROW_INCH = 0.36
_JITTER = 0.16  # of a row to both sides
_MM_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_WIDEST_PERCENT = 100.0


@dataclass(frozen=True)
class _Panel:
    """One measure: its title, and the values at which the axis ends; None where the values decide."""

    measure: Measure
    title: str
    low: float | None = None
    high: float | None = None
    logarithmic: bool = False


def agreement_plot(evaluation: Evaluation) -> bytes:
    """A PNG: Dice and surface Dice of every case, a row for each structure."""
    tolerance = f"{evaluation.tolerances_mm[0]:g} mm"
    panels = (
        _Panel(Measure.DICE, "Dice", 0.0, 1.0),
        _Panel(Measure.SURFACE_DICE, f"Surface Dice at {tolerance}", 0.0, 1.0),
    )
    return _plot(evaluation, panels)


def distance_plot(evaluation: Evaluation) -> bytes:
    """A PNG: HD95 on a logarithmic axis and the difference in volume of every case, a row for each structure."""
    panels = (
        _Panel(Measure.HD95_MM, "95th percentile of surface distances, mm", logarithmic=True),
        _Panel(Measure.VOLUME_DIFFERENCE_PERCENT, "Volume, drawn against reference, %"),
    )
    return _plot(evaluation, panels)


def _plot(evaluation: Evaluation, panels: tuple[_Panel, _Panel]) -> bytes:
    lines = evaluation.structures
    height = 0.95 + _ROW_INCH * len(lines)
    figure = Figure(figsize=(_WIDTH_INCH, height), dpi=_DOTS_PER_INCH, facecolor=BACKGROUND)
    left = 0.35 + 0.085 * max(len(line.structure) for line in lines)
    both = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(
        left=left / _WIDTH_INCH, right=1 - 0.25 / _WIDTH_INCH, top=1 - 0.4 / height, bottom=0.5 / height, wspace=0.06
    )
    scores: dict[str, list[CaseScore]] = {line.structure: [] for line in lines}
    for one in evaluation.scores:
        if one.counts:
            scores[one.structure].append(one)
    for axes, panel in zip(both, panels, strict=True):
        _draw_panel(axes, panel, lines, scores)
    both[0].set_yticks(range(len(lines)), [line.structure for line in lines], color=TEXT, fontsize=10)
    both[0].set_ylim(len(lines) - 0.5, -0.5)
    note = "box: middle half, median; whiskers: 10th to 90th percentile; dots: cases; crosses: only on one side"
    figure.text(0.995, 0.012, note, color=FAINT, fontsize=8, ha="right", va="bottom")
    return figure_png(figure)


def _draw_panel(
    axes: Axes, panel: _Panel, lines: tuple[StructureSummary, ...], scores: dict[str, list[CaseScore]]
) -> None:
    values = [np.array([one.value(panel.measure) for one in scores[line.structure]]) for line in lines]
    low, high = _limits(panel, np.concatenate(values))
    axes.set_facecolor(BACKGROUND)
    axes.set_title(panel.title, color=TEXT, fontsize=11)
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([t for t in _MM_TICKS if low <= t <= high]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # Room for the marks of what lies beyond, and of the best there is, at the ends.
    room = (high / low) ** 0.03 if panel.logarithmic else 0.03 * (high - low)
    axes.set_xlim(*((low / room, high * room) if panel.logarithmic else (low - room, high + room)))
    for row, (line, found) in enumerate(zip(lines, values, strict=True)):
        _draw_row(axes, row, np.clip(found, low, high), scores[line.structure])
    if low < 0:
        axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_row(axes: Axes, row: int, values: np.ndarray, scores: list[CaseScore]) -> None:
    """One structure; a box needs five cases to say more than the cases themselves."""
    if values.size >= 5:
        axes.bxp(
            [_box(values)],
            positions=[row],
            orientation="horizontal",
            widths=0.56,
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": FOUND + "30", "edgecolor": FOUND, "linewidth": 0.9},
            medianprops={"color": TEXT, "linewidth": 1.6},
            whiskerprops={"color": FOUND, "linewidth": 0.9},
            capprops={"color": FOUND, "linewidth": 0.9},
        )
    # Spread evenly in the order of the values, up and down in turn: the same for the same values.
    spread = np.empty(values.size)
    spread[np.argsort(values, kind="stable")] = _JITTER * ((np.arange(values.size) * 0.618) % 1 * 2 - 1)
    found = np.array([one.outcome is Outcome.FOUND for one in scores], dtype=bool)
    axes.scatter(values[found], row + spread[found], s=17, color=FOUND, alpha=0.85, linewidths=0, zorder=3)
    axes.scatter(values[~found], row + spread[~found], s=34, color=MISSED, marker="x", linewidths=1.5, zorder=4)


def _box(values: np.ndarray) -> dict[str, float]:
    low, first, middle, third, high = np.percentile(values, (10, 25, 50, 75, 90))
    return {"whislo": low, "q1": first, "med": middle, "q3": third, "whishi": high}


def _limits(panel: _Panel, values: np.ndarray) -> tuple[float, float]:
    """Ends of the axis; what lies beyond them is shown at the end."""
    finite = values[np.isfinite(values)]
    if panel.low is not None and panel.high is not None:
        return panel.low, panel.high
    if panel.logarithmic:
        bottom = float(finite[finite > 0].min(initial=1.0))
        low = max((t for t in _MM_TICKS if t <= bottom), default=_MM_TICKS[0])
        top = max(float(finite.max(initial=1.0)), 2 * low)
        return low, min((t for t in _MM_TICKS if t >= top), default=top)
    widest = float(min(_WIDEST_PERCENT, max(np.abs(finite).max(initial=10.0), 10.0)))
    return -widest, widest
