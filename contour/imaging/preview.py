"""A picture of what was drawn: slices of the image with the contours over them, for a first look."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from contour.core.structures import InterpretedType, StructureSet
from contour.core.volume import Volume
from contour.imaging.scene import BACKGROUND, TEXT, Scene

AXIAL_SLICES = 6
MARGIN_MM = 12.0
ROOMY_LEGEND, TIGHT_LEGEND = 18, 40  # structures that it holds in two lines each, and in one


@dataclass(frozen=True)
class PreviewOptions:
    """`title` stands above the picture: never a patient's name. `dots_per_inch` scales a page of 16 x 9 inches."""

    title: str = ""
    dots_per_inch: int = 110


def write_preview(
    volume: Volume, structures: StructureSet, path: Path, options: PreviewOptions = PreviewOptions()
) -> None:
    """A PNG at `path`: axial slices through the structures, a coronal and a sagittal one, and a legend with volumes.

    Slices are shown as radiologists see them (the patient's right on the left side), for any storage order. Contours
    are the very polygons that the RTSTRUCT holds on axial images.
    """
    chosen = _Chosen(volume, structures)
    figure = Figure(figsize=(16, 9), dpi=options.dots_per_inch, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        6, 4, width_ratios=(1, 1, 1.05, 0.4), left=0.012, right=0.99, top=0.93, bottom=0.02, wspace=0.03, hspace=0.06
    )
    for i, index in enumerate(chosen.axial_slices()):
        row = 2 * (i // 2)
        chosen.show(figure.add_subplot(grid[row : row + 2, i % 2]), 0, index)
    chosen.show(figure.add_subplot(grid[:3, 2]), 1, chosen.best_plane(1))
    chosen.show(figure.add_subplot(grid[3:, 2]), 2, chosen.best_plane(2))
    _legend(figure.add_subplot(grid[:, 3]), structures)
    figure.text(0.014, 0.965, options.title, color=TEXT, fontsize=15, va="center", parse_math=False)
    figure.savefig(path, facecolor=BACKGROUND)


class _Chosen:
    """The planes worth showing, and the part of them."""

    def __init__(self, volume: Volume, structures: StructureSet) -> None:
        self._scene = Scene(volume)
        self._placed = [self._scene.placed(s) for s in structures.structures if not s.empty]
        self._box = self._scene.box_around(self._placed, MARGIN_MM)

    def axial_slices(self) -> list[int]:
        """Slices spread over what was drawn, denser where many structures are."""
        count = self._scene.geometry.shape_zyx[0]
        weight = self._weights(0)
        reached = np.cumsum(weight) / weight.sum()
        wanted = (np.arange(AXIAL_SLICES) + 0.5) / AXIAL_SLICES
        found = np.searchsorted(reached, wanted)
        # From superior to inferior, as a radiologist pages.
        return sorted({int(min(i, count - 1)) for i in found}, reverse=True)

    def best_plane(self, axis: int) -> int:
        """The plane across `axis` that shows most of the structures at their largest."""
        return int(np.argmax(self._weights(axis)))

    def show(self, axes: Axes, axis: int, index: int) -> None:
        """One plane with its contours."""
        self._scene.show(axes, (axis, index), self._placed, self._box)

    def _weights(self, axis: int) -> NDArray[np.float64]:
        count = self._scene.geometry.shape_zyx[axis]
        weights = np.full(count, 1e-6)
        for placed in self._placed:
            if placed.structure.interpreted_type is not InterpretedType.EXTERNAL:
                weights += placed.areas(axis, count) ** 0.5
        return weights


def _legend(axes: Axes, structures: StructureSet) -> None:
    axes.set_axis_off()
    handles, count = [], len(structures.structures)
    between = "\n" if count <= ROOMY_LEGEND else "  "
    for structure in structures.structures:
        amount = "not found" if structure.empty else _volume_text(structures.volume_ml(structure))
        color = tuple(c / 255 for c in structure.color_rgb)
        handles.append(Line2D([], [], color=color, linewidth=3, label=f"{structure.name}{between}{amount}"))
    axes.legend(
        handles=handles,
        loc="upper left",
        frameon=False,
        labelcolor=TEXT,
        fontsize=10 if count <= ROOMY_LEGEND else 8 * min(1.0, TIGHT_LEGEND / count),
        handlelength=1.2,
        borderaxespad=0,
    )


def _volume_text(volume_ml: float) -> str:
    return f"{volume_ml:.1f} ml" if volume_ml < 100 else f"{volume_ml:,.0f} ml"
