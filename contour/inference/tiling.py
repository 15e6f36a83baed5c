"""Tiles over a box of the network's grid, and their logits blended slab by slab.

Tiles come in layers of one z start each. Once a layer is done, no later tile touches the planes before the next layer's
start: they are final and leave the accumulator, so that memory holds one layer however long the image is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, gcd, prod

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.inference.engine import Progress, Region
from contour.inference.package import Tiles

# What stands where no tile was run: certainly background. Moderate, so that it can be interpolated.
UNCOVERED_LOGIT = 10.0

_SIGMA = 0.125  # of the patch, as nnU-Net and MONAI have it
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Layer:
    """The tiles of one z start, each by its first voxel, and the plane before which everything is final after them."""

    tiles_zyx: tuple[tuple[int, int, int], ...]
    final_z: int


@dataclass(frozen=True)
class TilePlan:
    """Tiles of `patch_zyx` voxels that cover a grid of `shape_zyx` voxels, no axis of which is shorter than a patch."""

    shape_zyx: tuple[int, int, int]
    patch_zyx: tuple[int, int, int]
    layers: tuple[Layer, ...]

    @property
    def tiles(self) -> int:
        """How many patches the network runs."""
        return sum(len(layer.tiles_zyx) for layer in self.layers)


def plan_tiles(
    inside_zyx: NDArray[np.bool_], patch_zyx: tuple[int, int, int], overlap: float, tiles: Tiles = Tiles.FITTED
) -> TilePlan:
    """Tiles over the grid of `inside_zyx` (no axis shorter than the patch), one stride apart along each axis.

    `overlap` is the least part of a patch that it shares with the next one along an axis. A tile without any voxel of
    `inside_zyx` is left out.

    Raises:
        ValueError: an overlap that is not in [0, 1), or a grid smaller than the patch.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap}: 0 or more, below 1")
    depth, height, width = inside_zyx.shape
    place = _even_starts if tiles is Tiles.EVEN else _starts
    starts_z, starts_y, starts_x = (
        place(n, patch, overlap) for n, patch in zip(inside_zyx.shape, patch_zyx, strict=True)
    )
    layers = []
    for z, final_z in zip(starts_z, [*starts_z[1:], depth], strict=True):
        found = [(z, y, x) for y in starts_y for x in starts_x if _inside(inside_zyx, (z, y, x), patch_zyx)]
        layers.append(Layer(tuple(found), final_z))
    return TilePlan((depth, height, width), patch_zyx, tuple(layers))


def larger_patch(
    shape_zyx: tuple[int, int, int], patch_zyx: tuple[int, int, int], overlap: float, most_voxels: int
) -> tuple[int, int, int]:
    """The patch at least as long as `patch_zyx` that covers a grid with the fewest voxels in all its tiles.

    Sides grow by the largest power of two that divides all sides of `patch_zyx` (at most 32), so that a network that
    halves its grid takes them too. A patch over `most_voxels` is not chosen, unless `patch_zyx` itself is one.
    """
    step = min(32, gcd(*patch_zyx) & -gcd(*patch_zyx))
    sides = [range(p, max(p, n + step - 1) + 1, step) for p, n in zip(patch_zyx, shape_zyx, strict=True)]
    allowed = [p for p in product(*sides) if prod(p) <= max(most_voxels, prod(patch_zyx))]
    z, y, x = min(allowed, key=lambda p: (_voxels_run(shape_zyx, p, overlap), prod(p)))
    return z, y, x


def gaussian_weights(patch_zyx: tuple[int, int, int], tiles: Tiles = Tiles.FITTED) -> NDArray[np.float32]:
    """(z, y, x): how much a patch counts at each of its voxels.

    1 in the very middle and at least 0.001; for even tiles as nnU-Net has it: about the voxel after the middle, in half
    precision of a peak of 10, at least what that can hold. There some voxels lie in the corners of all their patches.
    """
    even = tiles is Tiles.EVEN
    axes = []
    for n in patch_zyx:
        distance = (np.arange(n) - (n // 2 if even else (n - 1) / 2)) / (_SIGMA * n)
        axes.append(np.exp(-0.5 * distance**2))
    weights = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    if even:
        halves = (10 * weights).astype(np.float16).astype(np.float32)
        counted: NDArray[np.float32] = np.where(halves > 0, halves, halves[halves > 0].min())
        return counted
    floored: NDArray[np.float32] = np.maximum(weights, _LEAST_WEIGHT).astype(np.float32)
    return floored


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # patches (N, z, y, x) to logits (N, channels, z, y, x)


def blended_planes(run: Run, channels: int, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
    """Logits (channels, y, x) of each plane of `region`, without the padding; valid until the next."""
    padded = _Padded(region.values_zyx, region.patch_zyx, region.padding)
    plan = plan_tiles(padded.as_padded(region.inside_zyx), region.patch_zyx, region.overlap, region.tiles)
    blender = Blender(plan, channels, region.tiles)
    z_image, y_image, x_image = padded.image
    z, done = 0, 0
    for layer in plan.layers:
        for start in layer.tiles_zyx:
            box = tuple(slice(a, a + n) for a, n in zip(start, plan.patch_zyx, strict=True))
            blender.add(start, run(padded.values_zyx[box][None])[0])
            done += 1
            progress(done / plan.tiles)
        finished = blender.finish(layer.final_z)
        for plane in range(finished.shape[1]):
            if z_image.start <= z < z_image.stop:
                yield finished[:, plane, y_image, x_image]
            z += 1


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


class Blender:
    """Weighted means of the logits of overlapping tiles, one layer deep; tiles come in the plan's order."""

    def __init__(self, plan: TilePlan, channels: int, tiles: Tiles = Tiles.FITTED) -> None:
        depth = plan.patch_zyx[0]
        self._patch_weights = gaussian_weights(plan.patch_zyx, tiles)
        self._weights = np.zeros((depth, *plan.shape_zyx[1:]), dtype=np.float32)
        self._sums = np.zeros((channels, *self._weights.shape), dtype=np.float32)
        self._first_z = 0
        self._handed_out = 0

    def add(self, start_zyx: tuple[int, int, int], logits_czyx: NDArray[np.float32]) -> None:
        """Blend in a tile that starts at `start_zyx`; `logits_czyx` is overwritten."""
        self._drop_handed_out()
        _, y, x = start_zyx
        box = (slice(None), slice(y, y + logits_czyx.shape[2]), slice(x, x + logits_czyx.shape[3]))
        logits_czyx *= self._patch_weights
        self._sums[(slice(None), *box)] += logits_czyx
        self._weights[box] += self._patch_weights

    def finish(self, final_z: int) -> NDArray[np.float32]:
        """Mean logits (channels, planes, y, x) of the planes before `final_z` that were not handed out yet.

        Voxels that no tile covers are background. The array is a view, valid until the next call.
        """
        self._drop_handed_out()
        self._handed_out = final_z - self._first_z
        sums, weights = self._sums[:, : self._handed_out], self._weights[: self._handed_out]
        uncovered = weights == 0
        sums /= np.where(uncovered, np.float32(1), weights)
        if uncovered.any():
            sums[:, uncovered] = -UNCOVERED_LOGIT
            sums[0, uncovered] = UNCOVERED_LOGIT
        return sums

    def _drop_handed_out(self) -> None:
        gone = self._handed_out
        if gone == 0:
            return
        for planes in (*self._sums, self._weights):
            planes[:-gone] = planes[gone:].copy() if gone < len(planes) else 0
            planes[-gone:] = 0
        self._first_z += gone
        self._handed_out = 0


def stride(n: int, patch: int, overlap: float) -> int:
    """How far apart patches start along an axis of `n` voxels: as little as the fewest that cover it with `overlap`."""
    longest = max(1, int(patch * (1 - overlap)))
    return ceil((n - patch) / ceil((n - patch) / longest)) if n > patch else patch


def _starts(n: int, patch: int, overlap: float) -> list[int]:
    """One stride apart, and the last one where the axis ends: MONAI's places for that stride."""
    if n < patch:
        raise ValueError(f"a grid of {n} voxels is smaller than the patch of {patch}")
    step = stride(n, patch, overlap)
    return [min(first, n - patch) for first in range(0, n - patch + step, step)]


def _even_starts(n: int, patch: int, overlap: float) -> list[int]:
    """As few as cover the axis with `overlap`, spread from end to end: nnU-Net's places."""
    if n < patch:
        raise ValueError(f"a grid of {n} voxels is smaller than the patch of {patch}")
    steps = ceil((n - patch) / (patch * (1 - overlap)))
    return [round((n - patch) / steps * i) for i in range(steps + 1)] if steps else [0]


def _voxels_run(shape_zyx: tuple[int, int, int], patch_zyx: tuple[int, ...], overlap: float) -> int:
    return prod(p * len(_starts(max(n, p), p, overlap)) for n, p in zip(shape_zyx, patch_zyx, strict=True))


def _inside(inside_zyx: NDArray[np.bool_], start_zyx: tuple[int, int, int], patch_zyx: tuple[int, int, int]) -> bool:
    box = tuple(slice(a, a + n) for a, n in zip(start_zyx, patch_zyx, strict=True))
    return bool(inside_zyx[box].any())
