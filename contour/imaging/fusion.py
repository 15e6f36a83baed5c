"""A picture of how one image lies on another: squares of each in turn, so that every border can be followed across."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.volume import Volume
from contour.imaging.scene import BACKGROUND, TEXT, window_of

SQUARE_MM = 24.0
PIXEL_MM = 0.75
WIDTH_MM = 230.0  # a head
LEFT_RIGHT = (("R", "L"), ("R", "L"), ("A", "P"))


def write_fusion(fixed: Volume, moving: Volume, path: Path, title: str) -> None:
    """A PNG at `path`: an axial, a coronal and a sagittal plane through the middle of `moving`, squares of both.

    Both lie in one frame of reference; `fixed` begins in the upper left corner. The patient's right is on the left.

    Raises:
        ValueError: two frames of reference.
    """
    if fixed.geometry.frame_of_reference_uid != moving.geometry.frame_of_reference_uid:
        raise ValueError("two frames of reference")
    middle = moving.geometry.index_to_lps_mm((np.asarray(moving.geometry.shape_zyx) - 1) / 2)
    figure = Figure(figsize=(15, 5.6), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    for axis in range(3):
        axes = figure.add_axes((axis / 3 + 0.005, 0.02, 1 / 3 - 0.01, 0.88))
        planes = [_plane(volume, middle, axis) for volume in (fixed, moving)]
        side = np.indices(planes[0].shape) // round(SQUARE_MM / PIXEL_MM)
        axes.imshow(np.where(side.sum(axis=0) % 2 == 0, *planes), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
        axes.set_axis_off()
        for place, mark in zip((0.01, 0.97), LEFT_RIGHT[axis], strict=True):
            axes.text(place, 0.5, mark, transform=axes.transAxes, color=TEXT)
    figure.text(0.01, 0.95, title, color=TEXT, fontsize=8, va="center", wrap=True, parse_math=False)
    figure.savefig(path, facecolor=BACKGROUND)


def _plane(volume: Volume, middle_lps_mm: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The plane across `axis` of the patient (0: z) through a point, 0 (black) to 1; nothing is black."""
    count = round(WIDTH_MM / PIXEL_MM)
    along = (np.arange(count) - (count - 1) / 2) * PIXEL_MM
    rows, columns = (a for a in range(3) if a != axis)
    points = np.empty((count, count, 3))
    points[:] = middle_lps_mm
    # Rows run down: to posterior, or to inferior. z, y, x are the LPS coordinates 2, 1, 0.
    points[..., 2 - rows] += (along if rows else -along)[:, None]
    points[..., 2 - columns] += along[None, :]
    index = np.moveaxis(volume.geometry.lps_mm_to_index(points), -1, 0)
    low, high = window_of(volume)
    values = ndimage.map_coordinates(volume.voxels_zyx, index, output=np.float64, order=1, mode="constant", cval=low)
    shown: NDArray[np.float64] = np.clip((values - low) / (high - low), 0, 1)
    return shown
