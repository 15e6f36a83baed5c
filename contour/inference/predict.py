"""From an image to structures on its own grid: prepare, tile, blend, and decide each voxel from the logits around it.

Everything happens plane by plane of the canonically oriented image, from inferior to superior, as soon as the network's
planes around it are final. No array of channels x image exists: the logits live on the network's coarser grid, one
layer of tiles deep.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, PackageError, Reason
from contour.core.geometry import Box, Geometry
from contour.core.places import contiguous_beside
from contour.core.structures import Mask, OnGrid, Sureness
from contour.core.volume import Volume
from contour.imaging.preprocess import (
    Preprocessing,
    Resampling,
    box_from_canonical,
    canonical_axes,
    canonical_geometry,
    from_canonical,
    network_grid,
    nonzero_box,
    preprocess,
    spacing_for,
)
from contour.imaging.spline import lone_coarse_axis
from contour.inference.confidence import Expected
from contour.inference.decide import AtLeast, AxisSampling, Painter, Rule, Winner
from contour.inference.engine import NetworkEngine, Progress, Region
from contour.inference.package import Label, Tiles
from contour.inference.region import around_body, axis_positions, box_of, voxels_within
from contour.inference.tiling import larger_patch

OVERLAP = 0.25  # where neither the options nor the package say otherwise


@dataclass(frozen=True)
class PredictOptions:
    """How an image is cut into tiles. `overlap` is the part of a patch shared with the next one along an axis; None
    means what the package says (`Manifest.overlap`), or a quarter.

    `body_only` leaves out what lies more than 10 mm outside the patient's body. `patch_voxels` allows patches up to so
    many voxels; None means what the package says (`Manifest.largest_patch_voxels`). `within`, a grid with the image's
    axes, leaves out what lies beyond its borders, but for what the outer tiles see of it.
    """

    overlap: float | None = None
    body_only: bool = True
    patch_voxels: int | None = None
    within: Geometry | None = None


@dataclass(frozen=True)
class Drawn(OnGrid):
    """A structure as the network drew it, before the protocol's rules: a mask cropped to its box on the image's grid.

    `confidence` (0 to 1) is the Dice that the network expects of its own drawing: twice the probability inside it,
    over the probability everywhere plus the voxels inside, on the network's grid, in the part of the image that was
    looked at. It is the true Dice on average if the probabilities are calibrated, and falls with doubt inside and with
    what was almost drawn outside (soft Dice against the prediction, after Li et al., MICCAI 2022, "Estimating model
    performance under domain shifts with class-specific confidence scores"). 0 where nothing was drawn.

    `looked_at` is the part of the image's grid that was searched: what ends with it may go on. `family` is what a
    structure was asked for as, where that is not its name (`contour.inference.spine`). `sureness` is None for what was
    made of several drawings.
    """

    name: str
    mask_zyx: Mask
    offset_zyx: tuple[int, int, int]
    confidence: float
    looked_at: Box
    family: str | None = None
    sureness: Sureness | None = None


def nothing(like: Drawn, name: str) -> Drawn:
    """A structure that was looked for where `like` was, and not found."""
    return Drawn(name, np.zeros((0, 0, 0), dtype=bool), (0, 0, 0), 0.0, like.looked_at)


def predict(
    network: NetworkEngine,
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
        PackageError: the network does not draw a wanted structure, or fails here.
        InputRefused: the volume's modality is not the package's.
    """
    manifest = network.manifest
    labels = _wanted_labels(network, wanted)
    if volume.modality is not manifest.modality:
        raise InputRefused(Reason.WRONG_MODALITY, "image", volume.modality, f"{manifest.modality} for {manifest.name}")
    if not manifest.preprocessing.crop_to_nonzero:
        return _drawn(network, volume, labels, progress or _silent, options)
    part = nonzero_box(volume)
    cut = Volume(volume.voxels_zyx[part.slices], volume.geometry.cropped(part), volume.modality)
    return tuple(_placed(one, part) for one in _drawn(network, cut, labels, progress or _silent, options))


def _placed(drawn: Drawn, part: Box) -> Drawn:
    """What was drawn on the box `part` of an image, on the image."""
    z, y, x = part.start_zyx
    start, stop, offset = drawn.looked_at.start_zyx, drawn.looked_at.stop_zyx, drawn.offset_zyx
    return replace(
        drawn,
        offset_zyx=(offset[0] + z, offset[1] + y, offset[2] + x),
        looked_at=Box((start[0] + z, start[1] + y, start[2] + x), (stop[0] + z, stop[1] + y, stop[2] + x)),
    )


def _drawn(
    network: NetworkEngine, volume: Volume, labels: tuple[Label, ...], progress: Progress, options: PredictOptions
) -> tuple[Drawn, ...]:
    manifest = network.manifest
    overlap = next(part for part in (options.overlap, manifest.overlap, OVERLAP) if part is not None)
    grid = network_grid(volume.geometry, manifest.preprocessing)
    inside = _inside(volume, grid, options)
    if not inside.any():
        nothing = np.zeros((0, 0, 0), dtype=bool)
        return tuple(Drawn(label.name, nothing, (0, 0, 0), 0.0, Box((0, 0, 0), (0, 0, 0))) for label in labels)
    patch = manifest.patch_shape_zyx
    whole = Box((0, 0, 0), grid.shape_zyx)
    box = whole if manifest.tiles is Tiles.EVEN else box_of(inside, patch)
    most_voxels = options.patch_voxels or manifest.largest_patch_voxels
    if most_voxels is not None and manifest.tiles is Tiles.FITTED:
        patch = larger_patch(box.shape_zyx, patch, overlap, most_voxels)
        box = box_of(inside, patch)
    image = canonical_geometry(volume.geometry)
    structures = [manifest.channels(label) for label in labels]
    sampling = _sampling(image, grid, box, _stepwise_axis(volume, manifest.preprocessing))
    painter = Painter(_rules(labels), structures, sampling)
    expected = Expected(manifest, labels, grid.spacing_zyx_mm)
    values = preprocess(volume, manifest.preprocessing, box).values_zyx
    region = Region(values, inside[box.slices], patch, overlap, manifest.preprocessing.padding, manifest.tiles)
    for logits_cyx in network.planes(region, progress):
        painter.feed(logits_cyx)
        expected.feed(logits_cyx)
    looked_at = box_from_canonical(_painted(sampling), volume.geometry)
    drawn = []
    for label, channels in zip(labels, structures, strict=True):
        mask, offset = _on_image(*painter.drawn(channels, volume.voxels_zyx), volume.geometry)
        slices = _by_slice(expected.surface_by_plane(label), sampling[0], volume.geometry)
        sureness = Sureness(expected.dice(label), expected.surface(label), slices)
        drawn.append(Drawn(label.name, mask, offset, sureness.dice, looked_at, sureness=sureness))
    return tuple(drawn)


def _inside(volume: Volume, grid: Geometry, options: PredictOptions) -> Mask:
    """(z, y, x) on the network's grid: where there is something to be found."""
    inside = around_body(volume, grid) if options.body_only else np.ones(grid.shape_zyx, dtype=bool)
    if options.within is None:
        return inside
    part = np.zeros(grid.shape_zyx, dtype=bool)
    part[voxels_within(options.within, grid).slices] = True
    return inside & part


def _painted(sampling_zyx: tuple[AxisSampling, AxisSampling, AxisSampling]) -> Box:
    """The voxels of the canonical image that a sampling covers."""
    z, y, x = sampling_zyx
    first = (z.first, y.first, x.first)
    return Box(first, (z.first + z.lower.size, y.first + y.lower.size, x.first + x.lower.size))


def _wanted_labels(network: NetworkEngine, wanted: tuple[str, ...]) -> tuple[Label, ...]:
    labels = {label.name: label for label in network.manifest.labels}
    unknown = [name for name in wanted if name not in labels]
    if unknown:
        raise PackageError(str(network.origin), f"does not draw {', '.join(unknown)}", ", ".join(labels))
    return tuple(labels[name] for name in wanted)


def _rules(labels: tuple[Label, ...]) -> tuple[Rule, ...]:
    thresholds = [(label.channel, label.threshold) for label in labels if label.threshold is not None]
    if not thresholds:
        return (Winner(),)
    return tuple(AtLeast(channel, float(np.log(t / (1 - t)))) for channel, t in thresholds)


def _stepwise_axis(volume: Volume, preprocessing: Preprocessing) -> int | None:
    """The axis along which logits are not interpolated on their way back."""
    if preprocessing.resampling is Resampling.LINEAR:
        return None
    own = canonical_geometry(volume.geometry).spacing_zyx_mm
    return lone_coarse_axis(spacing_for(volume.geometry, preprocessing), own)


def _sampling(
    image: Geometry, network: Geometry, box: Box, stepwise: int | None
) -> tuple[AxisSampling, AxisSampling, AxisSampling]:
    """Where the voxels of `image` lie in the box of the `network` grid; those outside the box are left out."""
    axes = []
    for axis in range(3):
        positions = axis_positions(image, network, axis)
        start, stop = box.start_zyx[axis], box.stop_zyx[axis]
        # At the end of the grid the outer voxels continue to the image's border.
        from_start = positions >= start - 0.5 if start > 0 else np.ones(positions.size, dtype=bool)
        to_stop = positions < stop - 0.5 if stop < network.shape_zyx[axis] else np.ones(positions.size, dtype=bool)
        looked_at = np.flatnonzero(from_start & to_stop)
        sampling = AxisSampling.of(int(looked_at[0]), positions[looked_at] - start, stop - start)
        axes.append(sampling.nearest(stop - start) if axis == stepwise else sampling)
    return axes[0], axes[1], axes[2]


def _by_slice(by_plane: NDArray[np.float64], z: AxisSampling, geometry: Geometry) -> tuple[float | None, ...]:
    """For each slice of the image the value of the network's plane next to it; nothing for what is not axial."""
    order, reverse = canonical_axes(geometry)
    if order[0] != 0:
        return ()
    values: list[float | None] = [None] * geometry.shape_zyx[0]
    for place, plane in enumerate(z.nearest_voxels(by_plane.size)):
        at = z.first + place
        at = geometry.shape_zyx[0] - 1 - at if reverse[0] else at
        values[at] = None if np.isnan(by_plane[plane]) else round(float(by_plane[plane]), 4)
    return tuple(values)


def _on_image(
    mask_zyx: Mask, offset_zyx: tuple[int, int, int], geometry: Geometry
) -> tuple[Mask, tuple[int, int, int]]:
    """A cropped mask of the canonical grid as one of the grid `geometry`."""
    z, y, x = (start + n for start, n in zip(offset_zyx, mask_zyx.shape, strict=True))
    placed = box_from_canonical(Box(offset_zyx, (z, y, x)), geometry) if mask_zyx.size else Box((0, 0, 0), (0, 0, 0))
    mask: Mask = contiguous_beside(mask_zyx, from_canonical(mask_zyx, geometry))
    return mask, placed.start_zyx


def _silent(_: float) -> None:
    """No one listens."""
