"""Pictures for reports: three planes through a point of the image, with outlines over them, as PNG in memory."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from contour.core.geometry import Box
from contour.core.structures import Mask, Structure
from contour.imaging.scene import BACKGROUND, TEXT, Pen, Scene, ShownBox

# Told apart by people who do not see red or green, and over bone as over lung (Okabe and Ito 2008).
REFERENCE_RGB = (86, 180, 233)
TEST_RGB = (255, 159, 28)
CONTEXT_RGB = (150, 156, 164)

_DOTS_PER_INCH = 100
_LEGEND_INCH = 0.3
_GAP_INCH = 0.06
_GREYS = 64
_PEN_COLORS = 64
_GREY_WITHIN = 12  # what differs less between red, green and blue is taken for grey


@dataclass(frozen=True)
class Layer:
    """A structure over the image. The legend names it if it has a `label`; only `focus` widens the part shown."""

    structure: Structure
    pen: Pen
    label: str
    focus: bool = True


@dataclass(frozen=True)
class PictureOptions:
    """`margin_mm` around what is in focus, at least `min_extent_mm` in all; `height_px` of each plane."""

    margin_mm: float = 25.0
    min_extent_mm: float = 120.0
    height_px: int = 340


def three_planes(
    scene: Scene,
    layers: tuple[Layer, ...],
    point_zyx: tuple[int, int, int],
    options: PictureOptions = PictureOptions(),
) -> bytes:
    """A PNG: the axial, coronal and sagittal plane through voxel `point_zyx` of the stored image, and a legend.

    The patient's right is on the left side, as radiologists look; faint lines show where the other planes lie.
    """
    placed = [scene.placed(layer.structure, layer.pen) for layer in layers if not layer.structure.empty]
    focused = [scene.placed(layer.structure) for layer in layers if layer.focus and not layer.structure.empty]
    point = scene.canonical_index(point_zyx)
    box = _widened(scene, _with_point(scene.box_around(focused, options.margin_mm), point), options.min_extent_mm)
    figure = _figure(scene, box, options.height_px / _DOTS_PER_INCH)
    for axis, axes in enumerate(figure.axes):
        scene.show(axes, (axis, point[axis]), placed, box)
        rows, columns = (a for a in range(3) if a != axis)
        spacing = scene.geometry.spacing_zyx_mm
        axes.axhline((point[rows] + 0.5) * spacing[rows], color=TEXT, linewidth=0.5, alpha=0.35)
        axes.axvline((point[columns] + 0.5) * spacing[columns], color=TEXT, linewidth=0.5, alpha=0.35)
    _legend(figure, layers)
    return _png(figure)


def comparison(
    scene: Scene,
    reference: Structure,
    test: Structure,
    options: PictureOptions = PictureOptions(),
    under: tuple[Layer, ...] = (),
) -> bytes:
    """A PNG of `three_planes` where `test` differs most from `reference`; an empty structure is said in the legend.

    The layers `under` lie beneath both.
    """
    layers = (
        *under,
        Layer(reference, Pen(REFERENCE_RGB, 1.5), "reference" + _absent(reference)),
        Layer(test, Pen(TEST_RGB, 1.5), "network" + _absent(test)),
    )
    return three_planes(scene, layers, worst_point(reference, test), options)


def worst_point(reference: Structure, test: Structure) -> tuple[int, int, int]:
    """The voxel in the middle of what differs, on the slice where most does; of equal masks, on their largest slice.

    (0, 0, 0) if both are empty. The point lies inside the differing voxels.
    """
    both = [s for s in (reference, test) if s.mask_zyx.size]
    if not both:
        return 0, 0, 0
    start = tuple(min(s.box.start_zyx[a] for s in both) for a in range(3))
    stop = tuple(max(s.box.stop_zyx[a] for s in both) for a in range(3))
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    differing = _within(reference, box) ^ _within(test, box)
    if not differing.any():
        differing = _within(both[0], box)
    return central_point(differing, box.start_zyx)


def central_point(mask_zyx: Mask, offset_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """The voxel of the mask's fullest slice that is nearest to the middle of its voxels there; offset if it is empty.

    `mask_zyx` (z, y, x) starts at voxel `offset_zyx` of the image, whose index is returned.
    """
    if not mask_zyx.any():
        return offset_zyx
    z = int(np.argmax(np.count_nonzero(mask_zyx, axis=(1, 2))))
    inside = np.argwhere(mask_zyx[z])
    y, x = inside[np.argmin(np.linalg.norm(inside - inside.mean(axis=0), axis=1))]
    return z + offset_zyx[0], int(y) + offset_zyx[1], int(x) + offset_zyx[2]


def figure_png(figure: Figure) -> bytes:
    """Any matplotlib figure as PNG."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor())
    return stream.getvalue()


def _within(structure: Structure, box: Box) -> Mask:
    mask = np.zeros(box.shape_zyx, dtype=bool)
    z, y, x = (a - b for a, b in zip(structure.offset_zyx, box.start_zyx, strict=True))
    shape = structure.mask_zyx.shape
    if structure.mask_zyx.size:
        mask[z : z + shape[0], y : y + shape[1], x : x + shape[2]] = structure.mask_zyx
    return mask


def _with_point(box: ShownBox, point: tuple[int, int, int]) -> ShownBox:
    z, y, x = ((min(a, p), max(b, p + 1)) for (a, b), p in zip(box, point, strict=True))
    return z, y, x


def _widened(scene: Scene, box: ShownBox, min_extent_mm: float) -> ShownBox:
    """`box` at least so long along each axis, where the image reaches as far."""
    ranges = []
    for (start, stop), n, mm in zip(box, scene.geometry.shape_zyx, scene.geometry.spacing_zyx_mm, strict=True):
        lacking = max(0, round(min_extent_mm / mm) - (stop - start))
        ranges.append((max(0, start - lacking // 2), min(n, stop + lacking - lacking // 2)))
    return ranges[0], ranges[1], ranges[2]


def _figure(scene: Scene, box: ShownBox, height_inch: float) -> Figure:
    """Three axes side by side at one scale, as high as the highest plane needs."""
    spacing = scene.geometry.spacing_zyx_mm
    z_mm, y_mm, x_mm = ((stop - start) * mm for (start, stop), mm in zip(box, spacing, strict=True))
    sizes = ((x_mm, y_mm), (x_mm, z_mm), (y_mm, z_mm))
    inch_per_mm = height_inch / max(y_mm, z_mm)
    width = sum(w for w, _ in sizes) * inch_per_mm + 2 * _GAP_INCH
    total = (width, height_inch + _LEGEND_INCH)
    figure = Figure(figsize=total, dpi=_DOTS_PER_INCH, facecolor=BACKGROUND)
    left = 0.0
    for w, h in ((w * inch_per_mm, h * inch_per_mm) for w, h in sizes):
        bottom = _LEGEND_INCH + (height_inch - h) / 2
        figure.add_axes((left / total[0], bottom / total[1], w / total[0], h / total[1]))
        left += w + _GAP_INCH
    return figure


def _legend(figure: Figure, layers: tuple[Layer, ...]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=tuple(c / 255 for c in layer.pen.color_rgb),
            linewidth=2.5,
            linestyle=(0, (2, 1)) if layer.pen.dashed else "solid",
            label=layer.label,
        )
        for layer in layers
        if layer.label
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        ncols=max(1, len(handles)),
        frameon=False,
        labelcolor=TEXT,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.15,
    )


def _png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    stream = io.BytesIO()
    picture = Image.fromarray(pixels).quantize(palette=_palette(pixels), dither=Image.Dither.NONE)
    picture.save(stream, format="png", optimize=True)
    return stream.getvalue()


def _palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """Greys for the image, and the colours of the pens: a third of the bytes of true colour, and no pen turns grey."""
    colored = pixels[np.ptp(pixels.astype(np.int16), axis=2) > _GREY_WITHIN]
    greys = np.repeat(np.linspace(0, 255, _GREYS).round().astype(np.uint8), 3).tolist()
    pens: list[int] = []
    if colored.size:
        pens = Image.fromarray(colored[None]).quantize(_PEN_COLORS, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys, *pens])
    return palette


def _absent(structure: Structure) -> str:
    return " (nothing)" if structure.empty else ""
