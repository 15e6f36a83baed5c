"""How the tissues of a label map look: an image drawn anew for every patch.

The idea is SynthSeg's (Billot et al., Medical Image Analysis 86, 2023): a network that has seen every plausible value
of a tissue learns shape and neighbourhood instead. CT values are physical, so each tissue draws its mean from a range
of HU, and contrast medium is one number that every blood pool of a patch shares; MR values are drawn at random, or
near what a usual sequence shows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SLICE_BLUR = 0.42  # sigma of a slice profile whose full width at half maximum is one slice thickness


@dataclass(frozen=True)
class TissueLook:
    """How a tissue looks: its mean is drawn from `mean`, its grain (one sigma) from `grain`; HU, or 0 to 1 for MR.

    `usual` is the narrower range of the means in a usual image (a T1, say). `enhancement` is the share of the blood's
    contrast medium that the tissue takes up: 1 for a vessel, 0 for bone.

    Raises:
        ValueError: a range that does not ascend, or a grain below 0.
    """

    name: str
    mean: tuple[float, float]
    grain: tuple[float, float] = (0.0, 0.0)
    usual: tuple[float, float] | None = None
    enhancement: float = 0.0

    def __post_init__(self) -> None:
        ranges = (("mean", self.mean), ("grain", self.grain), ("usual", self.usual or self.mean))
        for name, (low, high) in ranges:
            if low > high:
                raise ValueError(f"{name} {(low, high)} of {self.name}: the first value must not be above the second")
        if self.grain[0] < 0:
            raise ValueError(f"grain {self.grain} of {self.name}: at least 0")


@dataclass(frozen=True)
class SynthesisConfig:
    """The tissues, in the order of their codes (the first, code 0, is what no label covers), and the image's faults.

    `usual` is how often all tissues have their usual means. `contrast_hu` is the range of the contrast medium's HU in
    blood, present in two thirds of the patches. `bias` and `gamma` are the spreads (one sigma of the logarithm) of an
    MR's smooth uneven gain, and of the power that its values are raised to. `blur_voxels` is the range of the image's
    blur, `noise` that of its noise, and slices of half the patches are up to `thickest_slice_mm` thick, in any of the
    three planes.

    Raises:
        ValueError: no tissue or two of one name.
    """

    tissues: tuple[TissueLook, ...]
    usual: float = 0.0
    contrast_hu: tuple[float, float] | None = None
    bias: float = 0.0
    gamma: float = 0.0
    blur_voxels: tuple[float, float] = (0.3, 0.8)
    noise: tuple[float, float] = (0.0, 0.0)
    thickest_slice_mm: float = 0.0

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tissues {names}: at least one, each name once")

    @property
    def names(self) -> tuple[str, ...]:
        """The tissues' names; the code of a tissue is its place."""
        return tuple(tissue.name for tissue in self.tissues)


def draw_appearance(
    tissues_zyx: NDArray[np.uint8],
    config: SynthesisConfig,
    spacing_zyx_mm: tuple[float, float, float],
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """An image (z, y, x) of `tissues_zyx` on voxels of `spacing_zyx_mm`, in HU or on an MR's scale of 0 to 1."""
    means, grains = _looks(config, rng)
    image = means[tissues_zyx] + grains[tissues_zyx] * rng.standard_normal(tissues_zyx.shape).astype(np.float32)
    if config.bias > 0:
        image *= np.exp(_smooth_field(tissues_zyx.shape, config.bias, rng))
    if config.gamma > 0:
        image = np.maximum(image, 0.0) ** np.float32(np.exp(rng.normal(0.0, config.gamma)))
    image = ndimage.gaussian_filter(image, rng.uniform(*config.blur_voxels))
    if config.thickest_slice_mm > 0 and rng.random_sample() < 0.5:
        image = _in_slices(image, config.thickest_slice_mm, spacing_zyx_mm, rng)
    noise = rng.standard_normal(image.shape).astype(np.float32)
    return np.asarray(image + np.float32(rng.uniform(*config.noise)) * noise, dtype=np.float32)


def _looks(config: SynthesisConfig, rng: np.random.RandomState) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and grain of each tissue; codes that no tissue has look like code 0."""
    usual = rng.random_sample() < config.usual
    contrast = 0.0
    if config.contrast_hu is not None and rng.random_sample() < 2 / 3:
        contrast = rng.uniform(*config.contrast_hu)
    means, grains = np.zeros(256, dtype=np.float32), np.zeros(256, dtype=np.float32)
    for code, tissue in enumerate(config.tissues):
        low, high = tissue.usual if usual and tissue.usual is not None else tissue.mean
        means[code] = rng.uniform(low, high) + tissue.enhancement * contrast
        grains[code] = rng.uniform(*tissue.grain)
    means[len(config.tissues) :], grains[len(config.tissues) :] = means[0], grains[0]
    return means, grains


def _smooth_field(shape_zyx: tuple[int, ...], sigma: float, rng: np.random.RandomState) -> NDArray[np.float32]:
    coarse = rng.normal(0.0, rng.uniform(0.0, sigma), (4, 4, 4)).astype(np.float32)
    zoom = [n / 4 for n in shape_zyx]
    return np.asarray(ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _in_slices(
    image: NDArray[np.float32],
    thickest_mm: float,
    spacing_zyx_mm: tuple[float, float, float],
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """The image as thick slices along a random axis show it: blurred by their profile, interpolated between them."""
    axis = int(rng.randint(3))
    step = rng.uniform(spacing_zyx_mm[axis], max(thickest_mm, spacing_zyx_mm[axis])) / spacing_zyx_mm[axis]
    blurred: NDArray[np.float32] = ndimage.gaussian_filter1d(image, SLICE_BLUR * (step - 1), axis=axis)
    count = image.shape[axis]
    slices = np.arange(rng.uniform(0.0, 1.0), count - 1, step)
    if slices.size < 2:
        return blurred
    seen = _between(blurred, slices, axis)
    return _between(seen, np.clip((np.arange(count) - slices[0]) / step, 0, slices.size - 1), axis)


def _between(image: NDArray[np.float32], positions: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Linear interpolation at `positions` along one axis."""
    lower = np.minimum(positions.astype(int), image.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = (positions - lower).astype(np.float32).reshape(shape)
    between: NDArray[np.float32] = image.take(lower, axis) * (1 - weight) + image.take(lower + 1, axis) * weight
    return between
