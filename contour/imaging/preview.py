"""A picture of what was drawn: slices of the image with the contours over them, for a first look."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.imaging.contours import trace
from contour.imaging.preprocess import canonical_axes, canonical_geometry, to_canonical

CT_WINDOW_HU = (-260.0, 340.0)  # wide enough that lung vessels and bone both show some detail
AXIAL_SLICES = 6
MARGIN_MM = 12.0
BACKGROUND = "#101317"
TEXT = "#e8eaed"
FAINT = "#9aa0a6"

Rows = tuple[int, int]


@dataclass(frozen=True)
class PreviewOptions:
    """`title` stands above the picture: never a patient's name. `dots_per_inch` scales a page of 16 x 9 inches."""

    title: str = ""
    dots_per_inch: int = 110


@dataclass(frozen=True)
class _Placed:
    """A structure on the canonically oriented grid: its mask starts at `offset_zyx`."""

    structure: Structure
    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]

    def plane(self, axis: int, index: int) -> tuple[Mask, tuple[int, int]] | None:
        """The mask (rows, columns) across `axis` at `index` and its offset, or None where there is nothing."""
        local = index - self.offset_zyx[axis]
        if not 0 <= local < self.mask_zyx.shape[axis]:
            return None
        plane = np.take(self.mask_zyx, local, axis=axis)
        row, column = (o for a, o in enumerate(self.offset_zyx) if a != axis)
        return (plane, (row, column)) if plane.any() else None

    def areas(self, axis: int, count: int) -> NDArray[np.float64]:
        """Voxels inside on each of the `count` planes across `axis`, relative to the largest."""
        others = tuple(a for a in range(3) if a != axis)
        areas = np.zeros(count)
        start = self.offset_zyx[axis]
        areas[start : start + self.mask_zyx.shape[axis]] = np.count_nonzero(self.mask_zyx, axis=others)
        areas /= max(1.0, float(areas.max()))
        return areas


def write_preview(
    volume: Volume, structures: StructureSet, path: Path, options: PreviewOptions = PreviewOptions()
) -> None:
    """A PNG at `path`: axial slices through the structures, a coronal and a sagittal one, and a legend with volumes.

    Slices are shown as radiologists see them (the patient's right on the left side), for any storage order. Contours
    are the very polygons that the RTSTRUCT holds on axial images.
    """
    scene = _Scene(volume, structures)
    figure = Figure(figsize=(16, 9), dpi=options.dots_per_inch, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        6, 4, width_ratios=(1, 1, 1.05, 0.4), left=0.012, right=0.99, top=0.93, bottom=0.02, wspace=0.03, hspace=0.06
    )
    for i, index in enumerate(scene.axial_slices()):
        row = 2 * (i // 2)
        scene.show(figure.add_subplot(grid[row : row + 2, i % 2]), 0, index)
    scene.show(figure.add_subplot(grid[:3, 2]), 1, scene.best_plane(1))
    scene.show(figure.add_subplot(grid[3:, 2]), 2, scene.best_plane(2))
    _legend(figure.add_subplot(grid[:, 3]), structures)
    figure.text(0.014, 0.965, options.title, color=TEXT, fontsize=15, va="center", parse_math=False)
    figure.savefig(path, facecolor=BACKGROUND)


class _Scene:
    """Image and structures in canonical orientation, and the part of them worth showing."""

    def __init__(self, volume: Volume, structures: StructureSet) -> None:
        self.geometry = canonical_geometry(volume.geometry)
        self.voxels_zyx = to_canonical(volume.voxels_zyx, volume.geometry)
        self.window = CT_WINDOW_HU if volume.modality is Modality.CT else _mr_window(self.voxels_zyx)
        self.placed = [_placed(s, volume.geometry) for s in structures.structures if not s.empty]
        self.box = self._shown_box()

    def axial_slices(self) -> list[int]:
        """Slices spread over what was drawn, denser where many structures are."""
        count = self.geometry.shape_zyx[0]
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
        """One plane with its contours; rows run down to posterior, or to inferior in coronal and sagittal planes."""
        rows, columns = (a for a in range(3) if a != axis)
        plane = np.take(self.voxels_zyx, index, axis=axis)
        spacing = self.geometry.spacing_zyx_mm
        height, width = plane.shape[0] * spacing[rows], plane.shape[1] * spacing[columns]
        low, high = self.window
        axes.imshow(
            plane, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0), interpolation="bilinear", aspect=1
        )
        for placed in self.placed:
            _draw(axes, placed, (axis, index), (spacing[rows], spacing[columns]))
        self._frame(axes, axis, (rows, columns))
        _annotate(axes, axis, self._position(axis, index))

    def _frame(self, axes: Axes, axis: int, plane_axes: tuple[int, int]) -> None:
        spacing = self.geometry.spacing_zyx_mm
        (top, bottom), (left, right) = (self.box[a] for a in plane_axes)
        axes.set_xlim(left * spacing[plane_axes[1]], right * spacing[plane_axes[1]])
        first, last = bottom * spacing[plane_axes[0]], top * spacing[plane_axes[0]]
        # z grows to superior, so coronal and sagittal planes are turned over; y grows to posterior, downwards.
        axes.set_ylim(*((first, last) if axis == 0 else (last, first)))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _position(self, axis: int, index: int) -> str:
        where = [0.0, 0.0, 0.0]
        where[axis] = float(index)
        mm = float(self.geometry.index_to_lps_mm(where)[2 - axis])
        return f"{'zyx'[axis]} {mm:+.0f} mm"

    def _weights(self, axis: int) -> NDArray[np.float64]:
        count = self.geometry.shape_zyx[axis]
        weights = np.full(count, 1e-6)
        for placed in self.placed:
            if placed.structure.interpreted_type is not InterpretedType.EXTERNAL:
                weights += placed.areas(axis, count) ** 0.5
        return weights

    def _shown_box(self) -> tuple[Rows, Rows, Rows]:
        """Index ranges (start, stop) along z, y, x around everything that was drawn."""
        shape = self.geometry.shape_zyx
        if not self.placed:
            return (0, shape[0]), (0, shape[1]), (0, shape[2])
        ranges = []
        for axis in range(3):
            margin = int(MARGIN_MM / self.geometry.spacing_zyx_mm[axis])
            start = min(p.offset_zyx[axis] for p in self.placed) - margin
            stop = max(p.offset_zyx[axis] + p.mask_zyx.shape[axis] for p in self.placed) + margin
            ranges.append((max(0, start), min(shape[axis], stop)))
        return ranges[0], ranges[1], ranges[2]


def _placed(structure: Structure, geometry: Geometry) -> _Placed:
    order, flips = canonical_axes(geometry)
    box = structure.box
    offset = [
        geometry.shape_zyx[axis] - box.stop_zyx[axis] if flipped else box.start_zyx[axis]
        for axis, flipped in zip(order, flips, strict=True)
    ]
    mask = np.asarray(to_canonical(structure.mask_zyx, geometry), dtype=bool)
    return _Placed(structure, mask, (offset[0], offset[1], offset[2]))


def _draw(axes: Axes, placed: _Placed, plane: tuple[int, int], spacing_mm: tuple[float, float]) -> None:
    found = placed.plane(*plane)
    if found is None:
        return
    mask, (row, column) = found
    color = tuple(c / 255 for c in placed.structure.color_rgb)
    contours = trace(np.ascontiguousarray(mask)[None], (0, row, column))
    for i in range(len(contours)):
        points = contours.polygon_yx(i)
        closed = np.concatenate([points, points[:1]]) + 0.5  # the picture's pixels begin at their edges
        axes.plot(closed[:, 1] * spacing_mm[1], closed[:, 0] * spacing_mm[0], color=color, linewidth=1.25)


def _annotate(axes: Axes, axis: int, position: str) -> None:
    left, right = (("R", "L"), ("R", "L"), ("A", "P"))[axis]
    top = ("A", "S", "S")[axis]
    marks = ((0.015, 0.5, left, "left"), (0.985, 0.5, right, "right"), (0.5, 0.98, top, "center"))
    for x, y, text, align in marks:
        vertical = "top" if align == "center" else "center"
        axes.text(x, y, text, transform=axes.transAxes, color=FAINT, fontsize=10, ha=align, va=vertical)
    axes.text(0.015, 0.02, position, transform=axes.transAxes, color=TEXT, fontsize=10, va="bottom")


def _legend(axes: Axes, structures: StructureSet) -> None:
    axes.set_axis_off()
    handles = []
    for structure in structures.structures:
        amount = "not found" if structure.empty else _volume_text(structures.volume_ml(structure))
        color = tuple(c / 255 for c in structure.color_rgb)
        handles.append(Line2D([], [], color=color, linewidth=3, label=f"{structure.name}\n{amount}"))
    axes.legend(
        handles=handles,
        loc="upper left",
        frameon=False,
        labelcolor=TEXT,
        fontsize=10,
        handlelength=1.2,
        borderaxespad=0,
    )


def _volume_text(volume_ml: float) -> str:
    return f"{volume_ml:.1f} ml" if volume_ml < 100 else f"{volume_ml:,.0f} ml"


def _mr_window(voxels_zyx: NDArray[np.generic]) -> tuple[float, float]:
    sample = voxels_zyx[tuple(slice(None, None, max(1, n // 64)) for n in voxels_zyx.shape)].astype(np.float64)
    low, high = np.percentile(sample, (1.0, 99.5))
    return float(low), float(max(high, low + 1.0))
