"""What came back, as a page: what has to be changed, whether it becomes more, and whether people still look."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.figure import Figure

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
from contour.services.monitor.charts import (
    BASELINE_CASES,
    TOGETHER,
    Chart,
    Haste,
    VersionChange,
    charts,
    haste,
    path_saved_part,
    version_changes,
    worth_training_on,
)
from contour.services.monitor.edits import Became, StructureEdit
from contour.services.monitor.records import ReturnedSet

PAGE_FILE = "monitor.html"
CHARTS_ALT = "Edited part of each structure over time"


@dataclass(frozen=True)
class Monitoring:
    """All that is said of the returned sets."""

    returned: tuple[ReturnedSet, ...]
    charts: tuple[Chart, ...]
    versions: tuple[VersionChange, ...]
    haste: Haste
    saved_part: float
    for_training: tuple[ReturnedSet, ...]

    @classmethod
    def of(cls, returned: tuple[ReturnedSet, ...], for_training: int) -> "Monitoring":
        """What `returned`, in the order of their approval, say."""
        return cls(
            returned,
            charts(returned),
            version_changes(returned),
            haste(returned),
            path_saved_part(returned),
            worth_training_on(returned, for_training),
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person must look into, in sentences."""
        said = []
        for one in self.charts:
            if one.flagged is not None:
                since = f"since case {one.flagged + 1} more has to be edited than in the first {BASELINE_CASES}"
                said.append(f"{one.structure}: {since}.")
        for change in self.versions:
            if change.worse:
                first, second = (f"{100 * mean:.0f} %" for mean in change.means)
                redrawn = f"{second} are redrawn with {change.later}, {first} with {change.earlier}"
                said.append(f"{change.structure}: of its contours {redrawn}.")
        if self.haste.flagged:
            sets = f"{self.haste.hasty} of {self.haste.sets} sets"
            said.append(f"{sets} came back unchanged, too fast to have been looked through.")
        return tuple(said)

    @property
    def lines(self) -> dict[str, list[StructureEdit]]:
        """What was done to each structure."""
        found: dict[str, list[StructureEdit]] = {}
        for one in self.returned:
            for line in one.structures:
                found.setdefault(line.structure, []).append(line)
        return dict(sorted(found.items()))


def write_monitor(monitoring: Monitoring, folder: Path) -> Path:
    """Write `monitor.html` into `folder`.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_page(_page(monitoring), folder / PAGE_FILE)
    return folder / PAGE_FILE


def _page(found: Monitoring) -> Page:
    flags = found.flags
    sections = [
        Section("Look into", (Text(flags or ("Nothing stands out.",)),)),
        Section("Structures", (_structures(found),)),
    ]
    shown = [one for one in found.charts if one.average]
    if shown:
        sections.append(Section("Control charts", (Gallery((Picture(_plot(shown), CHARTS_ALT),)),)))
    else:
        sections.append(
            Section("Control charts", (Text((f"They begin after {BASELINE_CASES} cases of a structure.",)),))
        )
    if found.versions:
        sections.append(Section("Versions", (_versions(found),)))
    sections.append(Section("Most to learn from", (_for_training(found),), folded=True))
    lead = (
        f"{len(found.returned)} approved sets came back. Of all contours {100 * found.saved_part:.0f} % did not "
        "have to be drawn: an estimate of the drawing that was saved, not of the time that looking takes."
    )
    tiles = Tiles(
        (
            Tile("Sets", str(len(found.returned))),
            Tile("Not redrawn", f"{100 * found.saved_part:.0f} %", "of the contours' length"),
            Tile(
                "Unchanged",
                str(found.haste.unedited),
                f"{found.haste.hasty} too fast",
                Tone.STOP if found.haste.flagged else Tone.PLAIN,
            ),
            Tile("Flags", str(len(flags)), "", Tone.STOP if flags else Tone.GOOD),
        )
    )
    return Page(
        "What people changed", lead, tuple(sections), tiles=tiles, footer="Every contour is for a clinician's review."
    )


def _structures(found: Monitoring) -> Table:
    columns = (
        Column("Structure"),
        Column("Sets", numeric=True),
        Column("Unedited", "Sets in which no border moved by more than 1.5 mm", numeric=True),
        Column("Edited part", "Median part of the contours' length that was drawn anew", numeric=True),
        Column("90 %", "One set in ten has more", numeric=True),
        Column("Surface Dice", "Median", numeric=True),
        Column("Edited slices", "Of all slices", numeric=True),
        Column("Removed", numeric=True),
        Column("Added", numeric=True),
    )
    rows = []
    for name, lines in found.lines.items():
        parts = [line.edited_part for line in lines]
        slices = sum(line.edited_slices for line in lines) / max(1, sum(line.slices for line in lines))
        kinds = (Became.UNEDITED, Became.REMOVED, Became.ADDED)
        unedited, removed, added = (sum(line.became is kind for line in lines) for kind in kinds)
        tail = float(np.percentile(parts, 90))
        dice = median(line.surface_dice for line in lines)
        rows.append(
            Row(
                (
                    Cell(name),
                    Cell(str(len(lines)), len(lines)),
                    Cell(str(unedited), unedited),
                    Cell(f"{100 * median(parts):.0f} %", median(parts)),
                    Cell(f"{100 * tail:.0f} %", tail),
                    Cell(f"{dice:.2f}", dice),
                    Cell(f"{100 * slices:.0f} %", slices),
                    Cell(str(removed), removed, Tone.CHECK if removed else Tone.PLAIN),
                    Cell(str(added), added),
                )
            )
        )
    return Table(columns, tuple(rows))


def _versions(found: Monitoring) -> Table:
    columns = (
        Column("Structure"),
        Column("From"),
        Column("To"),
        Column("Sets"),
        Column("Change of the edited part", numeric=True),
    )
    rows = []
    for change in found.versions:
        low, high = change.difference
        text = f"{100 * (change.means[1] - change.means[0]):+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]"
        cells = (change.structure, change.earlier, change.later, f"{change.cases[0]}, {change.cases[1]}")
        rows.append(Row((*map(Cell, cells), Cell(text, low, Tone.STOP if change.worse else Tone.PLAIN))))
    return Table(columns, tuple(rows))


def _for_training(found: Monitoring) -> Table:
    rows = []
    for one in found.for_training:
        worst = max(one.structures, key=lambda line: line.edited_part)
        rows.append(
            Row(
                (
                    Cell(one.series_uid),
                    Cell(worst.structure),
                    Cell(f"{100 * worst.edited_part:.0f} %", worst.edited_part),
                )
            )
        )
    return Table((Column("Series"), Column("Most edited"), Column("Edited part", numeric=True)), tuple(rows))


def _plot(shown: list[Chart]) -> bytes:
    columns = 3
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.3 * lines), dpi=110, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, one in zip(axes, shown, strict=False):
        places = np.arange(len(one.edited_parts)) + 1
        together = one.structure == TOGETHER
        scale = 1.0 if together else 100.0
        if not together:
            axis.plot(places, 100 * np.asarray(one.edited_parts), ".", ms=2.5, color="#bbb")
        axis.plot(places[BASELINE_CASES:], scale * np.asarray(one.average), color="#0072b2", lw=1.4)
        if one.limit is not None:
            axis.axhline(scale * one.limit, color="#d55e00", lw=1)
        if one.flagged is not None:
            axis.axvline(one.flagged + 1, color="#d55e00", lw=1, ls=":")
        axis.set_title(one.structure, fontsize=9)
        if not together:
            axis.set_ylim(0, max(5.0, 100 * float(np.percentile(one.edited_parts, 97)), 110 * (one.limit or 0)))
        axis.tick_params(labelsize=7)
        axis.set_ylabel("standard deviations" if together else "edited, %", fontsize=7)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    return figure_png(figure)
