"""Deterministic preprocessing, written once: training and inference both call it, and cannot drift apart."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.volume import Volume
from contour.imaging.points import PointSampling, between, point_grid, widened, widened_grid
from contour.imaging.resample import resample_linear
from contour.imaging.spline import lone_coarse_axis, resample_spline

FINEST_SPACING_MM = 0.1  # no scanner resolves more, and memory grows with the third power
SMALLEST_STD = 1e-8  # of an image whose values are all the same: nnU-Net's


class Resampling(StrEnum):
    """How an image comes to a network's voxels.

    `LINEAR`: averaged where voxels grow, linear elsewhere, at exactly the network's spacing. `SPLINE`: as nnU-Net does
    it, after the values were normalised; see `contour.imaging.spline`. The whole image is covered with the nearest
    number of voxels, whose spacing is then nearly the network's, and logits come back the same way.
    """

    LINEAR = "linear"
    SPLINE = "spline"


class Standardised(StrEnum):
    """Over what an image's own mean and standard deviation are taken: all of it, or what is not 0 (holes included)."""

    IMAGE = "image"
    NONZERO = "nonzero"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input.

    The image is brought to the canonical orientation (indices grow to superior, posterior and left, by the nearest
    axes), resampled linearly to `spacing_zyx_mm`, clipped to `clip`, and mapped to (value - `mean`) / `std`. What lies
    outside the image is `clip[0]`, air for a CT.

    An MR's values have no unit: with `percentiles` (low and high), the values that so many percent of the whole image's
    voxels lie below become 0 and 1 first, and `clip`, `mean` and `std` are on that scale. With `standardised`, values
    are standard deviations from the mean; of what is not 0, what is 0 stays so.

    Networks that were trained elsewhere need more: `resampling`; `padding_value`, the normalised value of what lies
    outside the image; `native_axis`, of z, y, x (0, 1, 2) the one along which the image keeps its own spacing, for
    networks that look at one slice at a time; and `crop_to_nonzero`: what surrounds all voxels that are not 0 is cut
    off first, and is nothing. `points` is how MONAI resamples, and goes before `resampling`: see
    `contour.imaging.points`. With it, `standardised` is of the resampled image.

    Raises:
        ValueError: a number that is not finite, a spacing below 0.1 mm, an empty `clip`, a `std` not above 0,
            percentiles that do not ascend within 0 to 100, both these and `standardised`, no such axis, or `points`
            beside what only images that are resampled otherwise have.
    """

    spacing_zyx_mm: tuple[float, float, float]
    clip: tuple[float, float]
    mean: float
    std: float
    percentiles: tuple[float, float] | None = None
    resampling: Resampling = Resampling.LINEAR
    standardised: Standardised | None = None
    padding_value: float | None = None
    native_axis: int | None = None
    crop_to_nonzero: bool = False
    points: PointSampling | None = None

    def __post_init__(self) -> None:
        if not np.all(np.isfinite((*self.spacing_zyx_mm, *self.clip, self.mean, self.std, self.padding_value or 0))):
            raise ValueError("spacing_zyx_mm, clip, mean, std, padding_value: must be finite")
        if min(self.spacing_zyx_mm) < FINEST_SPACING_MM:
            raise ValueError(f"spacing_zyx_mm {self.spacing_zyx_mm}: must be at least {FINEST_SPACING_MM} mm")
        if not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip {self.clip}: the first value must be below the second")
        if self.std <= 0:
            raise ValueError(f"std {self.std}: must be above 0")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles {self.percentiles}: low and high, ascending, from 0 to 100")
        if self.percentiles is not None and self.standardised is not None:
            raise ValueError("percentiles and standardised: one of them at most")
        if self.native_axis not in (None, 0, 1, 2):
            raise ValueError(f"native_axis {self.native_axis}: 0 for z, 1 for y, 2 for x")
        if self.points is not None and (
            self.resampling is not Resampling.LINEAR or self.percentiles is not None or self.crop_to_nonzero
        ):
            raise ValueError("points: linear resampling, without percentiles and crop_to_nonzero")

    @property
    def padding(self) -> float:
        """The normalised value of what lies outside the image."""
        return (self.clip[0] - self.mean) / self.std if self.padding_value is None else self.padding_value


@dataclass(frozen=True)
class PreparedImage:
    """A network's input: (z, y, x) float32 on `geometry`, canonically oriented and at the network's spacing."""

    values_zyx: NDArray[np.float32]
    geometry: Geometry


def canonical_geometry(geometry: Geometry) -> Geometry:
    """The same voxels indexed so that z, y, x grow most nearly to superior, posterior and left."""
    order, flips = canonical_axes(geometry)
    steps = geometry.steps_lps_mm
    corner = np.array([geometry.shape_zyx[a] - 1 if f else 0 for a, f in zip(order, flips, strict=True)])
    origin = np.asarray(geometry.origin_lps_mm) + corner @ steps[list(order)]
    axes = [np.asarray(geometry.axes_lps[a]) * (-1 if f else 1) for a, f in zip(order, flips, strict=True)]
    return Geometry(
        shape_zyx=tuple(geometry.shape_zyx[a] for a in order),  # type: ignore[arg-type]  # three by construction
        spacing_zyx_mm=tuple(geometry.spacing_zyx_mm[a] for a in order),  # type: ignore[arg-type]
        origin_lps_mm=tuple(float(v) for v in origin),  # type: ignore[arg-type]
        axes_lps=tuple(tuple(float(v) for v in axis) for axis in axes),  # type: ignore[arg-type]
        frame_of_reference_uid=geometry.frame_of_reference_uid,
    )


def canonical_axes(geometry: Geometry) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which index axis of `geometry` becomes z, y and x, and whether it is reversed."""
    towards = np.abs(np.asarray(geometry.axes_lps))  # rows: index axes; columns: x, y, z of the patient
    # The permutation with the greatest total alignment, so that oblique planes never claim one patient axis twice.
    permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    order = max(permutations, key=lambda p: towards[p[0], 2] + towards[p[1], 1] + towards[p[2], 0])
    flips = tuple(bool(geometry.axes_lps[a][patient] < 0) for a, patient in zip(order, (2, 1, 0), strict=True))
    return order, flips  # type: ignore[return-value]  # three by construction


def to_canonical(array_zyx: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    """A view of an array on `geometry`, indexed as on `canonical_geometry(geometry)`."""
    order, flips = canonical_axes(geometry)
    step = tuple(slice(None, None, -1 if f else 1) for f in flips)
    return array_zyx.transpose(order)[step]


def from_canonical(array_zyx: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    """The inverse of `to_canonical`: a view indexed as on `geometry`."""
    order, flips = canonical_axes(geometry)
    step = tuple(slice(None, None, -1 if f else 1) for f in flips)
    return array_zyx[step].transpose(tuple(int(i) for i in np.argsort(order)))


def box_from_canonical(box: Box, geometry: Geometry) -> Box:
    """A box of the canonical grid on `canonical_geometry(geometry)` as one on `geometry`."""
    order, flips = canonical_axes(geometry)
    start, stop = [0, 0, 0], [0, 0, 0]
    for canonical, (axis, flipped) in enumerate(zip(order, flips, strict=True)):
        first, last, n = box.start_zyx[canonical], box.stop_zyx[canonical], geometry.shape_zyx[axis]
        start[axis], stop[axis] = (n - last, n - first) if flipped else (first, last)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def at_spacing(volume: Volume, spacing_zyx_mm: tuple[float, float, float]) -> Volume:
    """`volume` in canonical orientation, resampled linearly to voxels of `spacing_zyx_mm`; float32."""
    source = canonical_geometry(volume.geometry)
    target = source.respaced(spacing_zyx_mm)
    voxels = resample_linear(to_canonical(volume.voxels_zyx, volume.geometry), source, target)
    return Volume(voxels, target, volume.modality)


def spacing_for(image: Geometry, preprocessing: Preprocessing) -> tuple[float, float, float]:
    """The spacing (z, y, x, mm) that an image is brought to."""
    own, wanted = canonical_geometry(image).spacing_zyx_mm, preprocessing.spacing_zyx_mm
    z, y, x = (own[axis] if axis == preprocessing.native_axis else wanted[axis] for axis in range(3))
    return z, y, x


def network_grid(image: Geometry, preprocessing: Preprocessing) -> Geometry:
    """The grid that an image is brought to."""
    spacing = spacing_for(image, preprocessing)
    if preprocessing.points is not None:
        return widened_grid(point_grid(canonical_geometry(image), spacing, preprocessing.points), preprocessing.points)
    if preprocessing.resampling is Resampling.SPLINE:
        return canonical_geometry(image).recut(spacing)
    return canonical_geometry(image).respaced(spacing)


def nonzero_box(volume: Volume) -> Box:
    """The box, on the volume's grid, of what is not 0; all of it where everything is."""
    start, stop = [0, 0, 0], list(volume.geometry.shape_zyx)
    inside = volume.voxels_zyx != 0
    if inside.any():
        for axis in range(3):
            found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
            start[axis], stop[axis] = int(found[0]), int(found[-1]) + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def preprocess(volume: Volume, preprocessing: Preprocessing, box: Box | None = None) -> PreparedImage:
    """`volume` as a network's input; see `Preprocessing`. With `box`, that part of the `network_grid` alone.

    `crop_to_nonzero` is the caller's: the volume is the part that counts.
    """
    image, grid = canonical_geometry(volume.geometry), network_grid(volume.geometry, preprocessing)
    target = grid if box is None else grid.cropped(box)
    stored = to_canonical(volume.voxels_zyx, volume.geometry)
    if preprocessing.points is not None:
        whole = _at_points(stored, image, preprocessing, preprocessing.points)
        return PreparedImage(whole if box is None else np.ascontiguousarray(whole[box.slices]), target)
    if preprocessing.resampling is Resampling.SPLINE:
        values = _rescaled(stored.astype(np.float32), volume, preprocessing)
        nearest = lone_coarse_axis(image.spacing_zyx_mm, spacing_for(volume.geometry, preprocessing))
        part = box or Box((0, 0, 0), grid.shape_zyx)
        resampled = resample_spline(normalized(values, preprocessing), grid.shape_zyx, part, nearest)
        return PreparedImage(resampled, target)
    values = _rescaled(resample_linear(stored, image, target), volume, preprocessing)
    return PreparedImage(normalized(values, preprocessing), target)


def _at_points(
    stored: NDArray[np.generic], image: Geometry, preprocessing: Preprocessing, points: PointSampling
) -> NDArray[np.float32]:
    """The whole image as a network of MONAI's sees it: what it is standardised by is of all of it."""
    grid = point_grid(image, spacing_for(image, preprocessing), points)
    values = resample_linear(stored, image, grid, averaged=False)
    if preprocessing.standardised is not None:
        inside = values != 0 if preprocessing.standardised is Standardised.NONZERO else np.ones(values.shape, bool)
        counted = values[inside]
        if counted.size:
            values[inside] = (counted - counted.mean(dtype=np.float64)) / (counted.std(dtype=np.float64) or 1.0)
    if points.ends is not None:
        values = between(values, points.ends)
    return widened(normalized(values, preprocessing), points)


def _rescaled(values: NDArray[np.float32], volume: Volume, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """`values`, in place, on a scale of the image's own, where it has no unit.

    That scale is of the image as it is stored: resampling at the border of the field must not shift it.
    """
    if preprocessing.percentiles is not None:
        low, high = np.percentile(volume.voxels_zyx, preprocessing.percentiles)
        values -= np.float32(low)
        values /= np.float32(max(high - low, np.finfo(np.float32).tiny))
    elif preprocessing.standardised is not None:
        stored = volume.voxels_zyx.astype(np.float32)
        # Of what is not 0, what lies outside is not touched: it is 0 where nothing was resampled.
        inside = (
            values != 0 if preprocessing.standardised is Standardised.NONZERO else np.ones(values.shape, dtype=bool)
        )
        if preprocessing.standardised is Standardised.NONZERO:
            stored, inside = stored[ndimage.binary_fill_holes(stored != 0)], ndimage.binary_fill_holes(inside)
        values[inside] -= stored.mean() if stored.size else np.float32(0)
        values[inside] /= max(float(stored.std()) if stored.size else 1.0, SMALLEST_STD)
    return values


def normalized(values: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """`values` on the scale of `clip` (HU, or the image's own) as a network sees them, in place."""
    np.clip(values, *preprocessing.clip, out=values)
    values -= np.float32(preprocessing.mean)
    values /= np.float32(preprocessing.std)
    return values
