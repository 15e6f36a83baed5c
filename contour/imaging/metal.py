"""Metal in a CT: rods along z, and the streaks and dark bands that they cast in their slices.

What a scanner measures behind metal is wrong in two ways: the beam hardens, so that the line integral of two rods one
behind the other comes out too small (a dark band between them), and few photons arrive, so that it is noisy (fine
streaks in all directions). Both errors are computed as a sinogram, which discs have in closed form, reconstructed by
filtered back-projection, and added to the image. The physics and its names are those of De Man et al. (IEEE
Transactions on Nuclear Science 46, 1999); the amounts are set so that streaks reach some hundreds of HU beside a rod.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contour.core.volume import Volume
from contour.imaging.preprocess import canonical_geometry, to_canonical

METAL_HU = 3000.0  # what a 12-bit scanner stores at most, near enough
EXCESS = 20.0  # times as attenuating as water, less one: between titanium and steel at a CT's energies
HARDENING_PER_MM = 0.006  # of water: a path of 170 mm more reads as 85
STARVATION_MM = 4.0  # of water: the noise of a line through STARVED_AT_MM of water more, times e - 1
STARVED_AT_MM = 60.0
ANGLES = 180
COARSE_MM = 2.0  # streaks are computed on voxels of this size: they are wider than that
LOWEST_HU = -1024.0


@dataclass(frozen=True)
class Rod:
    """A cylinder of metal along the patient's z axis, `centre_lps_mm` in its middle.

    Raises:
        ValueError: a radius or length that is not above 0.
    """

    centre_lps_mm: tuple[float, float, float]
    radius_mm: float
    length_mm: float

    def __post_init__(self) -> None:
        if not (self.radius_mm > 0 and self.length_mm > 0):
            raise ValueError(f"radius_mm {self.radius_mm}, length_mm {self.length_mm}: must be above 0")


def with_metal(volume: Volume, rods: tuple[Rod, ...], seed: int) -> Volume:
    """`volume` (HU) with `rods` in it and what they do to their slices, canonically oriented; same seed, same noise.

    The axes of the volume are taken to lie along the patient's: rods in an oblique image stand along its own z.
    """
    geometry = canonical_geometry(volume.geometry)
    hu = to_canonical(volume.voxels_zyx, volume.geometry).astype(np.float32)
    rng = np.random.default_rng(seed)
    centres = [geometry.lps_mm_to_index(rod.centre_lps_mm) for rod in rods]
    spacing_z_mm, *spacing_yx_mm = geometry.spacing_zyx_mm
    for z in range(geometry.shape_zyx[0]):
        met = [
            Disc(centre[1] * spacing_yx_mm[0], centre[2] * spacing_yx_mm[1], rod.radius_mm)
            for rod, centre in zip(rods, centres, strict=True)
            if abs(z - centre[0]) * spacing_z_mm <= rod.length_mm / 2
        ]
        if met:
            _spoil(hu[z], met, (spacing_yx_mm[0], spacing_yx_mm[1]), rng)
    voxels = np.rint(hu).astype(np.int16) if volume.voxels_zyx.dtype == np.int16 else hu
    return replace(volume, voxels_zyx=voxels, geometry=geometry)


@dataclass(frozen=True)
class Disc:
    """A rod in one slice, in mm from the centre of the first pixel."""

    y_mm: float
    x_mm: float
    radius_mm: float

    def share(self, y_mm: NDArray[np.float64], x_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """(y, x): how much of the pixels at `y_mm` and `x_mm` is metal, 0 to 1."""
        apart = np.hypot(y_mm[:, None] - self.y_mm, x_mm[None] - self.x_mm)
        pixel_mm = y_mm[1] - y_mm[0]
        return np.asarray(np.clip((self.radius_mm - apart) / pixel_mm + 0.5, 0.0, 1.0), dtype=np.float32)


def _spoil(
    plane_yx: NDArray[np.float32], discs: list[Disc], spacing_yx_mm: tuple[float, float], rng: np.random.Generator
) -> None:
    """Streaks and metal, in place."""
    y_mm, x_mm = (np.arange(n) * mm for n, mm in zip(plane_yx.shape, spacing_yx_mm, strict=True))
    # The coarse grid reaches over the last pixel, so that every pixel lies between its centres.
    rows, columns = (int(mm[-1] // COARSE_MM) + 2 for mm in (y_mm, x_mm))
    streaks = streaks_hu((rows, columns), COARSE_MM, discs, rng)
    plane_yx += _upsampled(streaks, y_mm / COARSE_MM, x_mm / COARSE_MM)
    for disc in discs:
        plane_yx += disc.share(y_mm, x_mm) * (METAL_HU - plane_yx)
    np.clip(plane_yx, LOWEST_HU, METAL_HU, out=plane_yx)


def streaks_hu(
    shape_yx: tuple[int, int], step_mm: float, discs: list[Disc], rng: np.random.Generator, angles: int = ANGLES
) -> NDArray[np.float32]:
    """What the errors of the sinogram become in an image (y, x) of `shape_yx` square pixels of `step_mm`."""
    turns = np.arange(angles) * np.pi / angles
    y_mm, x_mm = (np.arange(n) * step_mm for n in shape_yx)
    middle_y, middle_x = y_mm[-1] / 2, x_mm[-1] / 2
    reach = np.hypot(middle_y, middle_x) + 2 * step_mm
    cells = 2 * int(np.ceil(reach / step_mm)) + 1
    detector_mm = (np.arange(cells) - cells // 2) * step_mm
    metal_mm = np.zeros((angles, cells))
    for disc in discs:
        at = (disc.x_mm - middle_x) * np.cos(turns) + (disc.y_mm - middle_y) * np.sin(turns)
        inside = np.clip(disc.radius_mm**2 - (detector_mm - at[:, None]) ** 2, 0.0, None)
        metal_mm += 2 * EXCESS * np.sqrt(inside)
    hardened = -HARDENING_PER_MM * metal_mm**2 / (1 + HARDENING_PER_MM * metal_mm)
    starved = STARVATION_MM * np.expm1(metal_mm / STARVED_AT_MM) * rng.standard_normal(metal_mm.shape)
    filtered = _ramp_filtered(hardened + starved, step_mm)
    image = np.zeros((y_mm.size, x_mm.size), dtype=np.float32)
    for turn, line in zip(turns, filtered, strict=True):
        along = (y_mm[:, None] - middle_y) * np.sin(turn) + (x_mm[None] - middle_x) * np.cos(turn)
        place = along / step_mm + cells // 2
        lower = place.astype(np.intp)
        weight = (place - lower).astype(np.float32)
        image += line[lower] * (1 - weight) + line[lower + 1] * weight
    return image * np.float32(1000.0 * np.pi / angles)


def _ramp_filtered(sinogram_mm: NDArray[np.float64], step_mm: float) -> NDArray[np.float32]:
    """Each angle's line by the ramp |f| under a Hann window; water's attenuation is 1 per mm of water here."""
    n = 2 * sinogram_mm.shape[1]
    frequency = np.fft.rfftfreq(n, step_mm)
    window = 0.5 * (1 + np.cos(np.pi * frequency / frequency[-1]))
    lines = np.fft.irfft(np.fft.rfft(sinogram_mm, n, axis=1) * frequency * window, n, axis=1)
    return lines[:, : sinogram_mm.shape[1]].astype(np.float32)


def _upsampled(coarse_yx: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation at the indices `y` by `x`."""
    row, column = y.astype(np.intp), x.astype(np.intp)
    along_y, along_x = (y - row).astype(np.float32)[:, None], (x - column).astype(np.float32)[None]
    rows = coarse_yx[row] * (1 - along_y) + coarse_yx[row + 1] * along_y
    return np.asarray(rows[:, column] * (1 - along_x) + rows[:, column + 1] * along_x, dtype=np.float32)
