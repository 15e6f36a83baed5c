"""From an image to structures on its own grid: prepare, tile, blend, and decide each voxel from the logits around it.

Everything happens plane by plane of the canonically oriented image, from inferior to superior, as soon as the network's
planes around it are final. No array of channels x image exists: the logits live on the network's coarser grid, one
layer of tiles deep.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, PackageError, Reason
from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import PreparedImage, canonical_axes, canonical_geometry, from_canonical, preprocess
from contour.inference.confidence import ExpectedDice
from contour.inference.decide import AtLeast, AxisSampling, Painter, Rule, Winner
from contour.inference.package import Label, Manifest
from contour.inference.session import Network
from contour.inference.tiling import Blender, plan_tiles

BODY_MARGIN_MM = 10.0

Progress = Callable[[float], None]


@dataclass(frozen=True)
class PredictOptions:
    """How an image is cut into tiles. `overlap` is the part of a patch shared with the next one along an axis.

    `body_only` leaves out what lies more than 10 mm outside the patient's body.
    """

    overlap: float = 0.25
    body_only: bool = True


@dataclass(frozen=True)
class Drawn:
    """A structure as the network drew it, before the protocol's rules: a mask cropped to its box on the image's grid.

    `confidence` (0 to 1) is the Dice that the network expects of its own drawing: twice the probability inside it,
    over the probability everywhere plus the voxels inside, on the network's grid, in the part of the image that was
    looked at. It is the true Dice on average if the probabilities are calibrated, and falls with doubt inside and with
    what was almost drawn outside (soft Dice against the prediction, after Li et al., MICCAI 2022, "Estimating model
    performance under domain shifts with class-specific confidence scores"). 0 where nothing was drawn.
    """

    name: str
    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]
    confidence: float


def predict(
    network: Network,
    volume: Volume,
    wanted: tuple[str, ...],
    progress: Progress | None = None,
    *,
    options: PredictOptions = PredictOptions(),
) -> tuple[Drawn, ...]:
    """The structures named in `wanted` as `network` sees them in `volume`, in that order, on the volume's grid.

    The result does not depend on how the volume is stored: other slice orders, planes or positions of the same voxels
    give the same structures in the patient. A structure reaches the first or last plane of the image where the
    network saw it there. `progress` is told the part of the tiles that is done, from 0 to 1.

    Raises:
        PackageError: the package does not draw a wanted structure, or its network fails here.
        InputRefused: the volume's modality is not the package's.
    """
    manifest = network.manifest
    labels = _wanted_labels(network, wanted)
    if volume.modality is not manifest.modality:
        raise InputRefused(Reason.WRONG_MODALITY, "image", volume.modality, f"{manifest.modality} for {manifest.name}")
    prepared = preprocess(volume, manifest.preprocessing)
    inside = _inside_body(volume, prepared) if options.body_only else np.ones(prepared.values_zyx.shape, dtype=bool)
    box = _box_to_look_at(inside, manifest.patch_shape_zyx)
    image = canonical_geometry(volume.geometry)
    painter = Painter(_rules(labels), [label.channel for label in labels], _sampling(image, prepared.geometry, box))
    expected = ExpectedDice(labels)
    tiled = _Tiled(prepared.values_zyx[box.slices], inside[box.slices], manifest, options.overlap)
    for logits_cyx in tiled.planes(network, progress or _silent):
        painter.feed(logits_cyx)
        expected.feed(logits_cyx)
    drawn = []
    for label in labels:
        mask, offset = _on_image(*painter.drawn(label.channel), volume.geometry)
        drawn.append(Drawn(label.name, mask, offset, expected.of(label.channel)))
    return tuple(drawn)


class _Tiled:
    """A prepared image, padded to at least one patch, and the tiles over it."""

    def __init__(self, values_zyx: NDArray[np.float32], inside_zyx: Mask, manifest: Manifest, overlap: float) -> None:
        missing = [max(0, p - n) for p, n in zip(manifest.patch_shape_zyx, values_zyx.shape, strict=True)]
        width = [(m // 2, m - m // 2) for m in missing]
        self._image = tuple(slice(w[0], w[0] + n) for w, n in zip(width, values_zyx.shape, strict=True))
        self._values = np.pad(values_zyx, width, constant_values=manifest.preprocessing.padding)
        self._plan = plan_tiles(np.pad(inside_zyx, width), manifest.patch_shape_zyx, overlap)

    def planes(self, network: Network, progress: Progress) -> Iterator[NDArray[np.float32]]:
        """Logits (channels, y, x) of each plane of the image, without the padding; valid until the next."""
        blender = Blender(self._plan, network.channels)
        z_image, y_image, x_image = self._image
        z, done = 0, 0
        for layer in self._plan.layers:
            for start in layer.tiles_zyx:
                box = tuple(slice(a, a + n) for a, n in zip(start, self._plan.patch_zyx, strict=True))
                blender.add(start, network.run(self._values[box][None])[0])
                done += 1
                progress(done / self._plan.tiles)
            finished = blender.finish(layer.final_z)
            for plane in range(finished.shape[1]):
                if z_image.start <= z < z_image.stop:
                    yield finished[:, plane, y_image, x_image]
                z += 1


def _wanted_labels(network: Network, wanted: tuple[str, ...]) -> tuple[Label, ...]:
    labels = {label.name: label for label in network.manifest.labels}
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise PackageError(str(network.package.folder), f"does not draw {', '.join(unknown)}", ", ".join(labels))
    return tuple(labels[name] for name in wanted)


def _rules(labels: tuple[Label, ...]) -> tuple[Rule, ...]:
    thresholds = [(label.channel, label.threshold) for label in labels if label.threshold is not None]
    if not thresholds:
        return (Winner(),)
    return tuple(AtLeast(channel, float(np.log(t / (1 - t)))) for channel, t in thresholds)


def _inside_body(volume: Volume, prepared: PreparedImage) -> Mask:
    """(z, y, x) on the prepared grid: the body and a margin; everywhere if no body can be made out."""
    body, thinning = coarse_body(volume)
    image = canonical_geometry(volume.geometry)
    if not body.any():
        return np.ones(prepared.values_zyx.shape, dtype=bool)
    nearest = []
    for axis in range(3):
        positions = _positions(prepared.geometry, image, axis) / thinning[axis]
        nearest.append(np.clip(np.rint(positions), 0, body.shape[axis] - 1).astype(np.intp))
    return _grown(body[np.ix_(*nearest)], prepared.geometry.spacing_zyx_mm)


def _grown(mask_zyx: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    """`mask_zyx` and all within a box of the margin around it; a plane at a time, and then along z."""
    z, y, x = (ceil(BODY_MARGIN_MM / mm) for mm in spacing_zyx_mm)
    kernel = np.ones((2 * y + 1, 2 * x + 1), dtype=np.uint8)
    planes = np.stack([cv2.dilate(plane, kernel) for plane in mask_zyx.astype(np.uint8)])
    grown = planes.copy()
    for step in range(1, min(z, len(planes) - 1) + 1):
        grown[step:] |= planes[:-step]
        grown[:-step] |= planes[step:]
    return grown.view(bool)


def _box_to_look_at(inside_zyx: Mask, patch_zyx: tuple[int, int, int]) -> Box:
    """The box of what is inside, widened to a patch where the grid has more: real surroundings, not padding."""
    start, stop = [], []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(inside_zyx.any(axis=others))
        first, last = int(found[0]), int(found[-1]) + 1
        n, missing = inside_zyx.shape[axis], max(0, patch_zyx[axis] - (last - first))
        first = max(0, min(first - missing // 2, n - max(patch_zyx[axis], last - first)))
        start.append(first)
        stop.append(min(n, max(last, first + patch_zyx[axis])))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _sampling(image: Geometry, network: Geometry, box: Box) -> tuple[AxisSampling, AxisSampling, AxisSampling]:
    """Where the voxels of `image` lie in the box of the `network` grid; those outside the box are left out."""
    axes = []
    for axis in range(3):
        positions = _positions(image, network, axis)
        start, stop = box.start_zyx[axis], box.stop_zyx[axis]
        # At the end of the grid the outer voxels continue to the image's border.
        from_start = positions >= start - 0.5 if start > 0 else np.ones(positions.size, dtype=bool)
        to_stop = positions < stop - 0.5 if stop < network.shape_zyx[axis] else np.ones(positions.size, dtype=bool)
        looked_at = np.flatnonzero(from_start & to_stop)
        axes.append(AxisSampling.of(int(looked_at[0]), positions[looked_at] - start, stop - start))
    return axes[0], axes[1], axes[2]


def _positions(of: Geometry, on: Geometry, axis: int) -> NDArray[np.float64]:
    """Continuous indices on the grid `on` of the voxels of `of` along `axis`; the grids share their axes."""
    start = on.lps_mm_to_index(of.origin_lps_mm)[axis]
    positions: NDArray[np.float64] = start + np.arange(of.shape_zyx[axis]) * (
        of.spacing_zyx_mm[axis] / on.spacing_zyx_mm[axis]
    )
    return positions


def _on_image(
    mask_zyx: Mask, offset_zyx: tuple[int, int, int], geometry: Geometry
) -> tuple[Mask, tuple[int, int, int]]:
    """A cropped mask of the canonical grid as one of the grid `geometry`."""
    order, flips = canonical_axes(geometry)
    offset = [0, 0, 0]
    for canonical, (axis, flipped) in enumerate(zip(order, flips, strict=True)):
        start, size = offset_zyx[canonical], mask_zyx.shape[canonical]
        offset[axis] = geometry.shape_zyx[axis] - start - size if flipped and size else start
    return np.ascontiguousarray(from_canonical(mask_zyx, geometry)), (offset[0], offset[1], offset[2])


def _silent(_: float) -> None:
    """No one listens."""
