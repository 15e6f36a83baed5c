"""An image and structures as radiologists look at them: planes in canonical orientation with contours over them."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from contour.core.structures import Mask, Structure
from contour.core.volume import Modality, Volume
from contour.imaging.contours import trace
from contour.imaging.preprocess import canonical_axes, canonical_geometry, to_canonical

CT_WINDOW_HU = (-260.0, 340.0)  # wide enough that lung vessels and bone both show some detail
BACKGROUND = "#101317"
TEXT = "#e8eaed"
FAINT = "#9aa0a6"

Rows = tuple[int, int]
ShownBox = tuple[Rows, Rows, Rows]


@dataclass(frozen=True)
class Pen:
    """How a structure's contours are drawn: `width_pt` in points (1/72 inch)."""

    color_rgb: tuple[int, int, int]
    width_pt: float = 1.25
    dashed: bool = False


@dataclass(frozen=True)
class Placed:
    """A structure on the canonically oriented grid: its mask (z, y, x) starts at `offset_zyx`."""

    structure: Structure
    pen: Pen
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


class Scene:
    """An image in canonical orientation (z to superior, y to posterior, x to left), its planes ready to be shown.

    `voxels_zyx` is a view of the volume's voxels; `geometry` their grid; `window` the values shown black and white.
    """

    def __init__(self, volume: Volume, window: tuple[float, float] | None = None) -> None:
        self._stored = volume.geometry
        self.geometry = canonical_geometry(volume.geometry)
        self.voxels_zyx = to_canonical(volume.voxels_zyx, volume.geometry)
        self.window = window or window_of(volume)

    def placed(self, structure: Structure, pen: Pen | None = None) -> Placed:
        """`structure` on this grid, drawn in its own colour unless `pen` says otherwise."""
        order, flips = canonical_axes(self._stored)
        box = structure.box
        offset = [
            self._stored.shape_zyx[axis] - box.stop_zyx[axis] if flipped else box.start_zyx[axis]
            for axis, flipped in zip(order, flips, strict=True)
        ]
        mask = np.asarray(to_canonical(structure.mask_zyx, self._stored), dtype=bool)
        return Placed(structure, pen or Pen(structure.color_rgb), mask, (offset[0], offset[1], offset[2]))

    def canonical_index(self, index_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
        """A voxel of the image as it is stored, as an index here."""
        order, flips = canonical_axes(self._stored)
        z, y, x = (
            self._stored.shape_zyx[axis] - 1 - index_zyx[axis] if flipped else index_zyx[axis]
            for axis, flipped in zip(order, flips, strict=True)
        )
        return z, y, x

    def box_around(self, placed: list[Placed], margin_mm: float) -> ShownBox:
        """Index ranges (start, stop) along z, y, x around the structures and `margin_mm`; the whole image for none."""
        shape = self.geometry.shape_zyx
        if not placed:
            return (0, shape[0]), (0, shape[1]), (0, shape[2])
        ranges = []
        for axis in range(3):
            margin = int(margin_mm / self.geometry.spacing_zyx_mm[axis])
            start = min(p.offset_zyx[axis] for p in placed) - margin
            stop = max(p.offset_zyx[axis] + p.mask_zyx.shape[axis] for p in placed) + margin
            ranges.append((max(0, start), min(shape[axis], stop)))
        return ranges[0], ranges[1], ranges[2]

    def show(self, axes: Axes, plane: tuple[int, int], placed: list[Placed], box: ShownBox) -> None:
        """The plane (axis, index) with its contours inside `box`.

        Rows run down to posterior, or to inferior in coronal and sagittal planes; the patient's right is on the left.
        """
        axis, index = plane
        rows, columns = (a for a in range(3) if a != axis)
        pixels = np.take(self.voxels_zyx, index, axis=axis)
        spacing = self.geometry.spacing_zyx_mm
        height, width = pixels.shape[0] * spacing[rows], pixels.shape[1] * spacing[columns]
        low, high = self.window
        axes.imshow(
            pixels, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0), interpolation="bilinear", aspect=1
        )
        for one in placed:
            _draw(axes, one, plane, (spacing[rows], spacing[columns]))
        self._frame(axes, axis, (rows, columns), box)
        _annotate(axes, axis, self._position(axis, index))

    def _frame(self, axes: Axes, axis: int, plane_axes: tuple[int, int], box: ShownBox) -> None:
        spacing = self.geometry.spacing_zyx_mm
        (top, bottom), (left, right) = (box[a] for a in plane_axes)
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


def _draw(axes: Axes, placed: Placed, plane: tuple[int, int], spacing_mm: tuple[float, float]) -> None:
    found = placed.plane(*plane)
    if found is None:
        return
    mask, (row, column) = found
    pen = placed.pen
    color = tuple(c / 255 for c in pen.color_rgb)
    contours = trace(np.ascontiguousarray(mask)[None], (0, row, column))
    for i in range(len(contours)):
        points = contours.polygon_yx(i)
        closed = np.concatenate([points, points[:1]]) + 0.5  # the picture's pixels begin at their edges
        axes.plot(
            closed[:, 1] * spacing_mm[1],
            closed[:, 0] * spacing_mm[0],
            color=color,
            linewidth=pen.width_pt,
            linestyle=(0, (4, 2)) if pen.dashed else "solid",
        )


def _annotate(axes: Axes, axis: int, position: str) -> None:
    left, right = (("R", "L"), ("R", "L"), ("A", "P"))[axis]
    top = ("A", "S", "S")[axis]
    halo: list[AbstractPathEffect] = [withStroke(linewidth=2.0, foreground=BACKGROUND)]  # to show over bright tissue
    marks = ((0.015, 0.5, left, "left"), (0.985, 0.5, right, "right"), (0.5, 0.98, top, "center"))
    for x, y, text, align in marks:
        vertical = "top" if align == "center" else "center"
        found = axes.text(x, y, text, transform=axes.transAxes, color=FAINT, fontsize=10, ha=align, va=vertical)
        found.set_path_effects(halo)
    found = axes.text(0.015, 0.02, position, transform=axes.transAxes, color=TEXT, fontsize=10, va="bottom")
    found.set_path_effects(halo)


def window_of(volume: Volume) -> tuple[float, float]:
    """The values that are shown black and white: of soft tissue on CT, of nearly all voxels on MR."""
    return CT_WINDOW_HU if volume.modality is Modality.CT else _mr_window(volume.voxels_zyx)


def _mr_window(voxels_zyx: NDArray[np.generic]) -> tuple[float, float]:
    sample = voxels_zyx[tuple(slice(None, None, max(1, n // 64)) for n in voxels_zyx.shape)].astype(np.float64)
    low, high = np.percentile(sample, (1.0, 99.5))
    return float(low), float(max(high, low + 1.0))
