"""Pictures to draw and judge labels by: enlarged tiles of a CT with index ticks and the outlines of masks.

    python -m scripts.thorax_ct.look IMAGE OUT.png --slices 10:90:4 [--view axial] [--labels FILE ...]

IMAGE is a NIfTI file or a folder with one DICOM series. Ticks and `--slices`, `--rows`, `--columns` are voxel indices
of the image's own grid. Labels are NIfTI label maps (with `labels.json` beside them), prepared cases (`.npz`, on the
grid of the training configuration) or drawn labels (`.yaml`); of several files, each has its own line style.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import canonical_geometry
from contour.training.config import TrainingConfig
from scripts.thorax_ct.drawn import drawn_masks, load_drawn

FRAME = "1.2.826.0.1.3680043.8.498.1"
AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}  # across the tiles, down a tile, along it
MEDIASTINUM_MM = (170.0, 150.0)  # down and along a tile of the default region, about the middle of the image
DPI = 100
MOST_TICKS = 12
STYLES = ("solid", "dotted", "dashed", "dashdot")
COLOURS = (
    "#ff5050", "#50ff50", "#6090ff", "#ffff40", "#ff60ff", "#40ffff",
    "#ffa030", "#b0ff90", "#c090ff", "#ffffff", "#ff90b0", "#90c0c0",
)  # fmt: skip


@dataclass(frozen=True)
class LabelMap:
    """Masks by name on a grid of their own; structures may overlap."""

    masks_zyx: dict[str, NDArray[np.bool_]]
    geometry: Geometry

    def at(self, name: str, points_lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each point lies in the structure; outside the grid none does."""
        mask = self.masks_zyx[name]
        nearest = np.rint(self.geometry.lps_mm_to_index(points_lps_mm)).astype(int)
        inside = np.all((nearest >= 0) & (nearest < mask.shape), axis=-1)
        z, y, x = np.moveaxis(np.where(inside[..., None], nearest, 0), -1, 0)
        found: NDArray[np.bool_] = inside & mask[z, y, x]
        return found


@dataclass(frozen=True)
class Tiles:
    """Which slices of a view, which part of each, and how the picture shows them."""

    view: str
    slices: tuple[int, ...]
    down: slice
    along: slice
    window: tuple[float, float]
    scale: float


def main() -> None:
    arguments = _parse()
    volume = _read(arguments.image)
    only = tuple(arguments.only) if arguments.only else None
    labels = [read_labels(path, volume, only) for path in arguments.labels]
    render(volume, labels, _tiles(arguments, volume.geometry), arguments)


def render(volume: Volume, labels: list[LabelMap], tiles: Tiles, arguments: argparse.Namespace) -> None:
    """Writes the picture to `arguments.out`."""
    mpl.use("Agg")
    across, down, along = AXES[tiles.view]
    mm = volume.geometry.spacing_zyx_mm
    height = (tiles.down.stop - tiles.down.start) * mm[down] * tiles.scale / DPI
    width = (tiles.along.stop - tiles.along.start) * mm[along] * tiles.scale / DPI
    rows = -(-len(tiles.slices) // arguments.per_row)
    columns = min(arguments.per_row, len(tiles.slices))
    names = [name for name in _names(labels) if not arguments.only or name in arguments.only]
    figure, grid = plt.subplots(rows, columns, squeeze=False, dpi=DPI, figsize=(columns * width, rows * height))
    for axes in grid.ravel()[len(tiles.slices) :]:
        axes.axis("off")
    for axes, index in zip(grid.ravel(), tiles.slices, strict=False):
        _draw_image(axes, volume, tiles, index)
        axes.set_title(f"{'zyx'[across]} = {index}", fontsize=9, pad=2, color="blue")
        for label_map, style in zip(labels, STYLES, strict=False):
            _draw_outlines(axes, label_map, names, (volume.geometry, tiles, index, style))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    handles = [mpl.lines.Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=8, fontsize=8, facecolor="#404040", labelcolor="w")
    figure.subplots_adjust(left=0.02, right=0.995, top=0.98, bottom=0.04, wspace=0.07, hspace=0.09)
    figure.savefig(arguments.out)
    plt.close(figure)


def read_labels(path: Path, volume: Volume, only: tuple[str, ...] | None = None) -> LabelMap:
    """The label map at `path`, of `volume`; `only`: of drawn labels, make the masks of these structures.

    Raises:
        ConfigError: neither a NIfTI file, a prepared case nor drawn labels.
    """
    if path.suffix == ".npz":
        return _read_prepared(path, volume.geometry)
    if path.suffix in (".yaml", ".yml"):
        return LabelMap(drawn_masks(load_drawn(path), volume, only=only), volume.geometry)
    if path.name.endswith((".nii", ".nii.gz")):
        values, grid = read_nifti_array(path, volume.geometry.frame_of_reference_uid)
        stored = json.loads((path.parent / "labels.json").read_text())
        return LabelMap({name: values == value for name, value in stored.items() if np.any(values == value)}, grid)
    raise ConfigError(str(path), f"has the suffix {path.suffix!r}", ".npz, .yaml, .nii or .nii.gz")


def _read_prepared(path: Path, geometry: Geometry) -> LabelMap:
    """A prepared case says no geometry: it lies on the image's grid at the spacing of the training configuration."""
    config = load_config(shipped_folder("configs") / "training" / "thorax_ct.yaml", TrainingConfig)
    grid = canonical_geometry(geometry).respaced(config.preprocessing.spacing_zyx_mm)
    with np.load(path, allow_pickle=False) as stored:
        values = stored["labels_zyx"]
    if values.shape != grid.shape_zyx:
        raise ConfigError(str(path), f"has the shape {values.shape}", f"{grid.shape_zyx}, the image's at 3 mm")
    return LabelMap({label.name: values == i for i, label in enumerate(config.labels, start=1)}, grid)


def _names(labels: list[LabelMap]) -> list[str]:
    return list(dict.fromkeys(name for label_map in labels for name in label_map.masks_zyx))


def _draw_image(axes: Axes, volume: Volume, tiles: Tiles, index: int) -> None:
    across, down, along = AXES[tiles.view]
    plane = np.take(volume.voxels_zyx, index, axis=across)[tiles.down, tiles.along]
    mm = volume.geometry.spacing_zyx_mm
    centre, width = tiles.window
    axes.imshow(
        plane,
        cmap="gray",
        vmin=centre - width / 2,
        vmax=centre + width / 2,
        interpolation="bicubic",
        aspect=mm[down] / mm[along],
        extent=(tiles.along.start - 0.5, tiles.along.stop - 0.5, tiles.down.stop - 0.5, tiles.down.start - 0.5),
    )
    if _points_up(volume.geometry, down, tiles.view):
        axes.invert_yaxis()
    for axis, part in ((axes.xaxis, tiles.along), (axes.yaxis, tiles.down)):
        step = 10 * -(-(part.stop - part.start) // MOST_TICKS // 10)
        axis.set_ticks(np.arange(-(-part.start // step) * step, part.stop, step))
        axis.set_ticks(np.arange(-(-part.start // (step // 2)) * (step // 2), part.stop, step // 2), minor=True)
    axes.tick_params(labelsize=7, pad=1)
    axes.grid(visible=True, which="major", color="#00c0ff", alpha=0.35, linewidth=0.4)
    axes.grid(visible=True, which="minor", color="#00c0ff", alpha=0.2, linewidth=0.3)


def _points_up(geometry: Geometry, down: int, view: str) -> bool:
    """Whether the index that counts down a tile grows to anterior (axial) or superior, which belongs on top."""
    if view == "axial":
        return geometry.axes_lps[down][1] < 0
    return geometry.axes_lps[down][2] > 0


def _draw_outlines(axes: Axes, label_map: LabelMap, names: list[str], where: tuple[Geometry, Tiles, int, str]) -> None:
    geometry, tiles, index, style = where
    across, down, along = AXES[tiles.view]
    a, b = np.meshgrid(_fine(tiles.down), _fine(tiles.along), indexing="ij")
    indices = np.empty((*a.shape, 3))
    indices[..., across], indices[..., down], indices[..., along] = index, a, b
    points = geometry.index_to_lps_mm(indices)
    for i, name in enumerate(names):
        if name in label_map.masks_zyx:
            inside = label_map.at(name, points)
            if inside.any():
                colour = COLOURS[i % len(COLOURS)]
                axes.contour(b, a, inside, levels=[0.5], colors=colour, linewidths=0.9, linestyles=style)


def _fine(part: slice) -> NDArray[np.float64]:
    """Two points a voxel, so that an outline follows the voxels' edges."""
    return np.arange(part.start - 0.25, part.stop - 0.5, 0.5)


def _read(path: Path) -> Volume:
    return read_series(path).volume if path.is_dir() else read_nifti(path, Modality.CT, FRAME)


def _tiles(arguments: argparse.Namespace, geometry: Geometry) -> Tiles:
    across, down, along = AXES[arguments.view]
    shape, mm = geometry.shape_zyx, geometry.spacing_zyx_mm
    slices = tuple(i for i in _indices(arguments.slices, shape[across]) if 0 <= i < shape[across])
    rows = arguments.rows or (_about_middle(shape[down], mm[down], MEDIASTINUM_MM[0]) if down else (0, shape[0]))
    columns = arguments.columns or _about_middle(shape[along], mm[along], MEDIASTINUM_MM[1])
    return Tiles(
        arguments.view,
        slices,
        slice(max(0, rows[0]), min(shape[down], rows[1])),
        slice(max(0, columns[0]), min(shape[along], columns[1])),
        arguments.window,
        arguments.scale,
    )


def _about_middle(count: int, mm: float, extent_mm: float) -> tuple[int, int]:
    half = round(extent_mm / mm / 2)
    return count // 2 - half, count // 2 + half


def _indices(text: str, count: int) -> Iterator[int]:
    for part in text.split(","):
        if ":" in part:
            first, last, step = [*map(int, part.split(":")), 1][:3]
            yield from range(first, min(last, count), step)
        else:
            yield int(part)


def _pair(text: str) -> tuple[int, int]:
    first, last = map(int, text.split(":"))
    return first, last


def _window(text: str) -> tuple[float, float]:
    centre, width = map(float, text.split(","))
    return centre, width


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="a NIfTI file or a folder with one DICOM series")
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--view", choices=tuple(AXES), default="axial")
    parser.add_argument("--slices", required=True, help="indices: 10,14 or first:last:step, or both")
    parser.add_argument("--rows", type=_pair, help="first:last index down a tile; the middle if not given")
    parser.add_argument("--columns", type=_pair, help="first:last index along a tile; the middle if not given")
    parser.add_argument("--labels", type=Path, action="append", default=[], help="a file of labels; may be repeated")
    parser.add_argument("--only", nargs="+", help="names of the structures to outline; all if not given")
    parser.add_argument("--window", type=_window, default=(40.0, 400.0), help="centre,width in HU")
    parser.add_argument("--scale", type=float, default=3.0, help="pixels a mm")
    parser.add_argument("--per-row", type=int, default=3, help="tiles side by side")
    return parser.parse_args()


if __name__ == "__main__":
    main()
