"""A picture after each epoch: what the network draws on the validation cases, beside what was drawn by hand."""

from pathlib import Path

import lightning.pytorch as pl
import matplotlib as mpl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from contour.training.config import TrainingConfig
from contour.training.network import SegmentationModule
from contour.training.prepared import UNKNOWN, PreparedCase, load_prepared

INCH = 3.2
CLIP_PERCENT = (2.0, 99.5)  # of the image, so that soft tissue shows whatever the normalisation


class ValidationPictures(pl.Callback):
    """Writes `epoch_NNNN.png` into `folder`, and the same picture to TensorBoard."""

    def __init__(self, cases: tuple[Path, ...], folder: Path) -> None:
        self.cases = cases
        self.folder = folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the picture; the process of rank 0 alone."""
        assert isinstance(pl_module, SegmentationModule)
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        pairs = [
            (load_prepared(path), drawing.numpy())
            for path, drawing in zip(self.cases, pl_module.drawings, strict=False)
        ]
        path = self.folder / f"epoch_{trainer.current_epoch + 1:04d}.png"
        pixels = draw_validation(pairs, pl_module.config, path)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("validation", pixels, trainer.global_step, dataformats="HWC")


def draw_validation(
    pairs: list[tuple[PreparedCase, NDArray[np.uint8]]], config: TrainingConfig, path: Path
) -> NDArray[np.uint8]:
    """Each case in three planes: drawn by hand as solid lines, by the network (z, y, x) as broken ones.

    Returns the pixels (height, width, 3) that were written to `path`.
    """
    figure = Figure(figsize=(3 * INCH, len(pairs) * INCH + 0.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(pairs), 3, squeeze=False)
    for row, (case, drawing) in zip(axes, pairs, strict=True):
        centre = _centre(case)
        for axis, panel in enumerate(row):
            _draw_plane(panel, case, drawing, (axis, centre[axis]))
            rows_mm, columns_mm = (mm for i, mm in enumerate(config.preprocessing.spacing_zyx_mm) if i != axis)
            panel.set_aspect(rows_mm / columns_mm)
        row[0].set_title(case.name, fontsize=8, loc="left")
    colors = _colors(len(config.labels))
    lines = [Line2D([], [], color=color, label=label.name) for color, label in zip(colors, config.labels, strict=True)]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 6), fontsize=8, frameon=False)
    figure.savefig(path, dpi=80)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _centre(case: PreparedCase) -> tuple[int, int, int]:
    """The middle of what was drawn, so that every plane shows some of it."""
    inside = np.argwhere((case.labels_zyx > 0) & (case.labels_zyx != UNKNOWN))
    z, y, x = np.median(inside, axis=0).astype(int) if len(inside) else np.asarray(case.labels_zyx.shape) // 2
    return int(z), int(y), int(x)


def _draw_plane(panel: Axes, case: PreparedCase, drawing: NDArray[np.uint8], where: tuple[int, int]) -> None:
    axis, index = where
    image, labels, ours = (np.take(a, index, axis=axis) for a in (case.image_zyx, case.labels_zyx, drawing))
    low, high = np.percentile(case.image_zyx.astype(np.float32), CLIP_PERCENT)
    # Rows grow to posterior in axial planes; in the others z grows upwards.
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, origin="upper" if axis == 0 else "lower")
    colors = _colors(case.drawn.shape[1])
    for i, color in enumerate(colors, start=1):
        for mask, style in ((labels == i, "solid"), (ours == i, "dashed")):
            if mask.any():
                panel.contour(mask, levels=[0.5], colors=[color], linewidths=1.0, linestyles=style)
    panel.set_axis_off()


def _colors(count: int) -> list[tuple[float, float, float]]:
    table = mpl.colormaps["hsv"]
    return [table(i / count)[:3] for i in range(count)]
