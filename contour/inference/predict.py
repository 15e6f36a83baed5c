"""From an image to structures on its own grid: prepare, tile, blend, and decide each voxel from the logits around it.

Everything happens plane by plane of the canonically oriented image, from inferior to superior, as soon as the network's
planes around it are final. No array of channels x image exists: the logits live on the network's coarser grid, one
layer of tiles deep.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, PackageError, Reason
from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.imaging.preprocess import canonical_axes, canonical_geometry, from_canonical, preprocess
from contour.inference.confidence import ExpectedDice
from contour.inference.decide import AtLeast, AxisSampling, Painter, Rule, Winner
from contour.inference.package import Label
from contour.inference.region import around_body, axis_positions, box_of
from contour.inference.session import Network
from contour.inference.tiling import Blender, TilePlan, larger_patch, plan_tiles

Progress = Callable[[float], None]


@dataclass(frozen=True)
class PredictOptions:
    """How an image is cut into tiles. `overlap` is the part of a patch shared with the next one along an axis.

    `body_only` leaves out what lies more than 10 mm outside the patient's body. `patch_voxels` allows patches up to so
    many voxels; None means what the package says (`Manifest.largest_patch_voxels`).
    """

    overlap: float = 0.25
    body_only: bool = True
    patch_voxels: int | None = None


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
    inside = around_body(volume, prepared) if options.body_only else np.ones(prepared.values_zyx.shape, dtype=bool)
    patch = manifest.patch_shape_zyx
    box = box_of(inside, patch)
    most_voxels = options.patch_voxels or manifest.largest_patch_voxels
    if most_voxels is not None:
        patch = larger_patch(box.shape_zyx, patch, options.overlap, most_voxels)
        box = box_of(inside, patch)
    image = canonical_geometry(volume.geometry)
    painter = Painter(_rules(labels), [label.channel for label in labels], _sampling(image, prepared.geometry, box))
    expected = ExpectedDice(labels)
    padded = _Padded(prepared.values_zyx[box.slices], patch, manifest.preprocessing.padding)
    plan = plan_tiles(padded.as_padded(inside[box.slices]), patch, options.overlap)
    for logits_cyx in _planes(network, padded, plan, progress or _silent):
        painter.feed(logits_cyx)
        expected.feed(logits_cyx)
    drawn = []
    for label in labels:
        mask, offset = _on_image(*painter.drawn(label.channel), volume.geometry)
        drawn.append(Drawn(label.name, mask, offset, expected.of(label.channel)))
    return tuple(drawn)


class _Padded:
    """A prepared image with padding on both sides of every axis that is shorter than a patch."""

    def __init__(self, values_zyx: NDArray[np.float32], patch_zyx: tuple[int, int, int], padding: float) -> None:
        missing = [max(0, p - n) for p, n in zip(patch_zyx, values_zyx.shape, strict=True)]
        self._width = [(m // 2, m - m // 2) for m in missing]
        self.image = tuple(slice(w[0], w[0] + n) for w, n in zip(self._width, values_zyx.shape, strict=True))
        self.values_zyx = np.pad(values_zyx, self._width, constant_values=padding) if any(missing) else values_zyx

    def as_padded(self, mask_zyx: Mask) -> Mask:
        """A mask of the image with nothing in the padding."""
        return np.pad(mask_zyx, self._width)


def _planes(network: Network, padded: _Padded, plan: TilePlan, progress: Progress) -> Iterator[NDArray[np.float32]]:
    """Logits (channels, y, x) of each plane of the image, without the padding; valid until the next."""
    blender = Blender(plan, network.channels)
    z_image, y_image, x_image = padded.image
    z, done = 0, 0
    for layer in plan.layers:
        for start in layer.tiles_zyx:
            box = tuple(slice(a, a + n) for a, n in zip(start, plan.patch_zyx, strict=True))
            blender.add(start, network.run(padded.values_zyx[box][None])[0])
            done += 1
            progress(done / plan.tiles)
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


def _sampling(image: Geometry, network: Geometry, box: Box) -> tuple[AxisSampling, AxisSampling, AxisSampling]:
    """Where the voxels of `image` lie in the box of the `network` grid; those outside the box are left out."""
    axes = []
    for axis in range(3):
        positions = axis_positions(image, network, axis)
        start, stop = box.start_zyx[axis], box.stop_zyx[axis]
        # At the end of the grid the outer voxels continue to the image's border.
        from_start = positions >= start - 0.5 if start > 0 else np.ones(positions.size, dtype=bool)
        to_stop = positions < stop - 0.5 if stop < network.shape_zyx[axis] else np.ones(positions.size, dtype=bool)
        looked_at = np.flatnonzero(from_start & to_stop)
        axes.append(AxisSampling.of(int(looked_at[0]), positions[looked_at] - start, stop - start))
    return axes[0], axes[1], axes[2]


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
