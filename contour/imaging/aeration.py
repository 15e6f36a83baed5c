"""Lungs as a network draws them, with the air-filled lung beside them that it left out.

A network that has seen few lungs draws healthy ones, and misses what is dense with vessels, scarred, or cut off by a
tumour. What holds air in the chest and is neither airway nor bowel is lung, whatever it looks like (Hu et al., IEEE
TMI 2001, "Automatic lung segmentation for accurate quantitation of volumetric X-ray CT images").
"""

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.places import zeros_beside
from contour.core.structures import CroppedMask, Mask, cropped_to_content
from contour.core.volume import Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import box_from_canonical, canonical_axes, canonical_geometry, to_canonical

LUNG_BELOW_HU = -400.0  # half-way between aerated lung and the chest wall
GAS_BELOW_HU = -940.0  # on average: bowel and airways; emphysema is patchy
LEAST_ML = 1.0
PLANES_AT_A_TIME = 16
VESSELS_MM = 5.0  # what is narrower than twice this between parts of a lung belongs to it

_AROUND = ndimage.generate_binary_structure(3, 1)


def with_aerated(
    volume: Volume, lungs: tuple[CroppedMask, CroppedMask], others: tuple[CroppedMask, ...]
) -> tuple[CroppedMask, CroppedMask]:
    """Two `lungs`, each with the aerated lung that belongs to it and lay outside both.

    Aerated is what lies below -400 HU inside the body, against a drawn lung, neither in `others` (airways, bowel) nor
    beside them, and is not gas on average (-940 HU). It goes to the lung that it is nearer to, with the vessels in it.
    Nothing is taken away. Masks are on the grid of `volume`, a CT; where no lung was drawn, none is made.
    """
    body, thinning = coarse_body(volume)
    grid = _Thinned(volume.geometry, thinning)
    drawn = tuple(grid.of(lung) for lung in lungs)
    if not (drawn[0].any() or drawn[1].any()):
        return lungs
    values = to_canonical(volume.voxels_zyx, volume.geometry)[grid.every].astype(np.float32)
    barred = np.zeros(body.shape, dtype=bool)
    for other in others:
        barred |= grid.of(other)
    barred = ndimage.binary_dilation(barred, _AROUND) | ~body
    added = _added(values, drawn[0] | drawn[1], barred, grid)
    if not added.any():
        return lungs
    apart = [_apart(mask, grid.spacing_zyx_mm) for mask in drawn]
    to_first = added & (apart[0] <= apart[1])
    taken = (*lungs, *others)
    first = grid.joined(volume, lungs[0], to_first, taken)
    return first, grid.joined(volume, lungs[1], added & ~to_first, (first, *taken))


@dataclass(frozen=True)
class _Thinned:
    """Every n-th voxel of the canonically oriented image."""

    image: Geometry
    thinning_zyx: tuple[int, int, int]

    @property
    def every(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, n) for n in self.thinning_zyx)
        return z, y, x

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        mm = canonical_geometry(self.image).spacing_zyx_mm
        z, y, x = (n * each for n, each in zip(self.thinning_zyx, mm, strict=True))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_zyx_mm)) / 1000

    def of(self, region: CroppedMask) -> Mask:
        """The mask on this grid."""
        order, _ = canonical_axes(self.image)
        shape = canonical_geometry(self.image).shape_zyx
        whole = np.zeros([len(range(0, n, step)) for n, step in zip(shape, self.thinning_zyx, strict=True)], dtype=bool)
        here, there = [], []
        for axis, n in enumerate(self.thinning_zyx):
            stored = self._canonical(order[axis])[::n]  # which is its own inverse
            start, stop = region.box.start_zyx[order[axis]], region.box.stop_zyx[order[axis]]
            held = np.flatnonzero((stored >= start) & (stored < stop))
            here.append(held)
            there.append(stored[held] - start)
        whole[np.ix_(*here)] = region.mask_zyx.transpose(order)[np.ix_(*there)]
        return whole

    def on_image(self, mask_zyx: Mask, box: Box) -> Mask:
        """A mask of this grid in a box of the image, each voxel as the one before it along each canonical axis."""
        order, _ = canonical_axes(self.image)
        at = []
        for axis in range(3):
            canonical = self._canonical(axis)[box.start_zyx[axis] : box.stop_zyx[axis]]
            at.append(canonical // self.thinning_zyx[order.index(axis)])
        stored = mask_zyx.transpose(np.argsort(order))
        return np.asarray(stored[np.ix_(*at)])

    def box_of(self, mask_zyx: Mask) -> Box:
        """The box of the image around a mask of this grid."""
        mask, start = cropped_to_content(mask_zyx)
        shape = canonical_geometry(self.image).shape_zyx
        first = [a * n for a, n in zip(start, self.thinning_zyx, strict=True)]
        last = [
            min(whole, a + n * step)
            for a, n, step, whole in zip(first, mask.shape, self.thinning_zyx, shape, strict=True)
        ]
        return box_from_canonical(Box((first[0], first[1], first[2]), (last[0], last[1], last[2])), self.image)

    def _canonical(self, axis: int) -> NDArray[np.intp]:
        """The canonical index of each index along an axis of the image."""
        order, flips = canonical_axes(self.image)
        indices = np.arange(self.image.shape_zyx[axis])
        return indices[::-1] if flips[order.index(axis)] else indices

    def joined(self, volume: Volume, lung: CroppedMask, part: Mask, taken: tuple[CroppedMask, ...]) -> CroppedMask:
        """`lung` with `part` of this grid: inside as it is, and at its border what the image shows to be lung."""
        if not part.any():
            return lung
        grown, core = _grown(part, 1), np.asarray(ndimage.binary_erosion(part, _AROUND))
        near = self.box_of(grown)
        both = lung.box.joined(near) if not lung.empty else near
        whole: Mask = zeros_beside(volume.voxels_zyx, both.shape_zyx, np.bool_)
        for first in range(both.start_zyx[0], both.stop_zyx[0], PLANES_AT_A_TIME):
            last = min(both.stop_zyx[0], first + PLANES_AT_A_TIME)
            box = Box((first, *both.start_zyx[1:]), (last, *both.stop_zyx[1:]))
            new = self.on_image(grown, box) & (volume.voxels_zyx[box.slices] < LUNG_BELOW_HU)
            new |= self.on_image(core, box)
            for one in taken:
                new &= ~one.within(box)
            whole[first - both.start_zyx[0] : last - both.start_zyx[0]] = lung.within(box) | new
        return CroppedMask(*cropped_to_content(whole, both.start_zyx))


def _added(values: NDArray[np.float32], lungs: Mask, barred: Mask, grid: _Thinned) -> Mask:
    """What belongs to the lungs besides `lungs`."""
    air = (values < LUNG_BELOW_HU) & ~lungs & ~barred
    parts = cc3d.connected_components(ndimage.binary_opening(air, _AROUND), connectivity=6)
    sizes = np.bincount(parts.ravel())
    sums = np.bincount(parts.ravel(), weights=values.ravel())
    against = np.bincount(parts[_grown(lungs, 2)], minlength=sizes.size)
    gas = sums <= GAS_BELOW_HU * sizes
    kept = (sizes * grid.voxel_ml >= LEAST_ML) & (against > 0) & ~gas
    gas[0] = kept[0] = False  # what is not air
    found = kept[parts]
    found |= air & _grown(lungs | found, 1) & ~_grown(gas[parts], 2)
    closed = _closed(found | lungs, grid.spacing_zyx_mm) & ~lungs & ~barred
    return closed & _grown(found, 2)


def _grown(mask: Mask, voxels: int) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, _AROUND, iterations=voxels))


def _apart(mask: Mask, spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """The distance to `mask` in mm; everywhere infinite if it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    distances: NDArray[np.float32] = edt.edt(~mask, anisotropy=spacing_zyx_mm)
    return distances


def _closed(mask: Mask, spacing_zyx_mm: tuple[float, float, float]) -> Mask:
    grown = _apart(mask, spacing_zyx_mm) <= VESSELS_MM
    return np.asarray(edt.edt(grown, anisotropy=spacing_zyx_mm, black_border=False) > VESSELS_MM) | mask
