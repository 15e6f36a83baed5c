"""What makes clinical images hard, done to a real one: positions, couch, arms, noise, contrast, narrow fields.

Robustness is measured with these: a case is changed, drawn again, and compared with its own reference, which
`Hard.carried` brings along. Images come and go as volumes in HU (or an MR's units); what comes back is canonically
oriented (indices grow to superior, posterior, left), of the same kind of numbers, and a function of the arguments
alone. Nothing here deforms the patient: a belly pressed flat by the couch and a heart that sank are not simulated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask, Structure, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.imaging.body import CT_BODY_ABOVE_HU, body_mask
from contour.imaging.preprocess import canonical_geometry, to_canonical
from contour.imaging.resample import resample_linear

AIR_HU = -1000
NOISE_GRAIN_PIXELS = 0.6  # sigma of the grain of a soft kernel's noise
BLOOD_HU = 40.0
ENHANCED_HU = 60.0  # and above: blood or an organ with contrast medium
COUCH_WIDTH_MM = 480.0
COUCH_GAP_MM = 3.0  # clothes and a mattress' cover
# A carbon top: skin, foam, skin; depth below the couch's surface and HU.
COUCH_LAYERS_MM = ((0.0, 3.0, -150), (3.0, 47.0, -900), (47.0, 50.0, -150))
ARM_RADIUS_MM = 45.0
# From the bone outwards: the radius that a layer ends at, and HU.
ARM_LAYERS_MM = ((6.0, 50), (12.0, 900), (36.0, 55), (43.0, -100), (ARM_RADIUS_MM, 0))

_T = TypeVar("_T")


class Side(Enum):
    """Where the couch is: under the back, or under the belly."""

    POSTERIOR = "posterior"
    ANTERIOR = "anterior"


@dataclass(frozen=True)
class Motion:
    """How the patient lies otherwise than before: turned about `about_lps_mm` by the matrix `rotation_lps` (3, 3)."""

    rotation_lps: tuple[tuple[float, float, float], ...]
    about_lps_mm: tuple[float, float, float]

    def before_lps_mm(self, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (..., 3) were before the motion."""
        about = np.asarray(self.about_lps_mm)
        # Row vectors times the rotation are columns times its transpose, which is its inverse.
        before: NDArray[np.float64] = (points_lps_mm - about) @ np.asarray(self.rotation_lps) + about
        return before


@dataclass(frozen=True)
class Hard:
    """A changed image. `motion` says how the patient moved, `seen_zyx` which voxels still show it (None: all)."""

    volume: Volume
    motion: Motion | None = None
    seen_zyx: Mask | None = None

    def carried(self, structure: Structure, original: Geometry) -> Structure:
        """`structure`, drawn on the grid `original` of the unchanged image, as it should be drawn on this one.

        Each voxel's centre decides; where the image was blanked there is nothing to draw.
        """
        geometry = self.volume.geometry
        if structure.empty:
            return structure
        steps, offset = self._index_map(geometry, original)
        mask = np.zeros(geometry.shape_zyx, dtype=np.uint8)
        box = _image_of(structure.box, steps, offset, geometry.shape_zyx)
        if not box.empty:
            # A rim of nothing: rounding must not put a border voxel outside the array.
            start = offset + steps @ np.asarray(box.start_zyx) - np.asarray(structure.offset_zyx) + 1
            source = np.pad(structure.mask_zyx.astype(np.uint8), 1)
            mask[box.slices] = ndimage.affine_transform(source, steps, start, output_shape=box.shape_zyx, order=0)
        drawn = mask.view(bool)
        if self.seen_zyx is not None:
            drawn &= self.seen_zyx
        cropped, at = cropped_to_content(drawn)
        return replace(structure, mask_zyx=cropped, offset_zyx=at)

    def _index_map(self, geometry: Geometry, original: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(matrix, offset): index on the unchanged grid = matrix @ index on this one + offset."""
        corners = np.vstack([np.zeros(3), np.eye(3)])
        points = geometry.index_to_lps_mm(corners)
        before = points if self.motion is None else self.motion.before_lps_mm(points)
        indices = original.lps_mm_to_index(before)
        return (indices[1:] - indices[0]).T, indices[0]


def upright(volume: Volume) -> Volume:
    """The same voxels, canonically oriented, as an array of its own."""
    voxels = np.ascontiguousarray(to_canonical(volume.voxels_zyx, volume.geometry))
    return Volume(voxels, canonical_geometry(volume.geometry), volume.modality)


def stored_as(volume: Volume, order: tuple[int, int, int], reverse: tuple[bool, bool, bool]) -> Volume:
    """The same voxels at the same places, indexed otherwise: by the axes `order` of the canonical image, reversed.

    As scanners store other positions on the table: order (0, 1, 2) with reversed (y, x) is head first prone, with
    (z, x) feet first supine, with (z, y) feet first prone; other orders are sagittal and coronal stacks.
    """
    plain = upright(volume)
    steps = tuple(slice(None, None, -1 if r else 1) for r in reverse)
    voxels = plain.voxels_zyx.transpose(order)[steps].copy()
    g = plain.geometry
    first = np.zeros(3)
    for axis, reversed_axis in zip(order, reverse, strict=True):
        first[axis] = g.shape_zyx[axis] - 1 if reversed_axis else 0
    signs = [-1.0 if r else 1.0 for r in reverse]
    axes = [_three([s * v for v in g.axes_lps[a]]) for a, s in zip(order, signs, strict=True)]
    geometry = replace(
        g,
        shape_zyx=_three([g.shape_zyx[a] for a in order]),
        spacing_zyx_mm=_three([g.spacing_zyx_mm[a] for a in order]),
        origin_lps_mm=_three(g.index_to_lps_mm(first).tolist()),
        axes_lps=_three(axes),
    )
    return Volume(voxels, geometry, volume.modality)


# -- how it was scanned -----------------------------------------------------------------------------------------------


def in_slices(volume: Volume, slice_mm: float) -> Hard:
    """Slices of `slice_mm`, each averaged over its thickness, or interpolated where they get thinner."""
    plain = upright(volume)
    geometry = plain.geometry.respaced((slice_mm, *plain.geometry.spacing_zyx_mm[1:]))
    voxels = resample_linear(plain.voxels_zyx, plain.geometry, geometry)
    return Hard(Volume(_as_before(voxels, volume), geometry, volume.modality))


def noisier(volume: Volume, sigma: float, seed: int) -> Hard:
    """Noise of one `sigma` (HU or MR units) with the grain of a reconstruction, in planes."""
    plain = upright(volume)
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(plain.geometry.shape_zyx, dtype=np.float32)
    grain = ndimage.gaussian_filter(white, (0.0, NOISE_GRAIN_PIXELS, NOISE_GRAIN_PIXELS))
    voxels = plain.voxels_zyx + np.float32(sigma / grain.std()) * grain
    return Hard(Volume(_as_before(voxels, volume), plain.geometry, plain.modality))


def cut_along_z(volume: Volume, low: float, high: float) -> Hard:
    """Only the slices between the parts `low` and `high` of the stack, counted from the feet."""
    plain = upright(volume)
    z, y, x = plain.geometry.shape_zyx
    box = Box((round(low * z), 0, 0), (max(round(low * z) + 1, round(high * z)), y, x))
    return Hard(plain.cropped(box))


def in_circle(volume: Volume, radius_mm: float) -> Hard:
    """Nothing beyond `radius_mm` of the body's middle: a reconstruction in a small circle, on the same grid."""
    plain = upright(volume)
    y, x = _body_middle(body_mask(plain))
    _, spacing_y, spacing_x = plain.geometry.spacing_zyx_mm
    rows, columns = np.ogrid[: plain.geometry.shape_zyx[1], : plain.geometry.shape_zyx[2]]
    seen = np.hypot((rows - y) * spacing_y, (columns - x) * spacing_x) <= radius_mm
    blanked = Volume(_blanked(plain, seen), plain.geometry, plain.modality)
    return Hard(blanked, seen_zyx=np.broadcast_to(seen, plain.geometry.shape_zyx))


def in_frame(volume: Volume, width_mm: float) -> Hard:
    """An image only `width_mm` wide and high about the body's middle: the skin lies outside."""
    plain = upright(volume)
    middle = _body_middle(body_mask(plain))
    start, stop = [0], [plain.geometry.shape_zyx[0]]
    for axis in (1, 2):
        half = width_mm / 2 / plain.geometry.spacing_zyx_mm[axis]
        start.append(max(0, round(middle[axis - 1] - half)))
        stop.append(min(plain.geometry.shape_zyx[axis], round(middle[axis - 1] + half)))
    return Hard(plain.cropped(Box(_three(start), _three(stop))))


# -- how the patient lies ---------------------------------------------------------------------------------------------


def turned(volume: Volume, degrees_xyz: tuple[float, float, float]) -> Hard:
    """The patient turned about the image's middle: by degrees about the axes x (nodding), y (leaning) and z (rolling).

    Values between voxels are linear; what comes in from outside the image is air.
    """
    plain = upright(volume)
    g = plain.geometry
    about = g.index_to_lps_mm((np.asarray(g.shape_zyx) - 1) / 2)
    rotation = _rotation(degrees_xyz)
    motion = Motion(_three([_three(row) for row in rotation.tolist()]), _three(about.tolist()))
    steps, offset = Hard(plain, motion)._index_map(g, g)
    values = plain.voxels_zyx.astype(np.float32)
    voxels = ndimage.affine_transform(values, steps, offset, order=1, cval=float(_nothing(volume)))
    inside = np.ones(g.shape_zyx, dtype=np.uint8)
    seen = ndimage.affine_transform(inside, steps, offset, order=0, cval=0).view(bool)
    return Hard(Volume(_as_before(voxels, volume), plain.geometry, plain.modality), motion, seen)


def prone(volume: Volume) -> Hard:
    """A patient on the belly whose position was stated right: the couch is at the front, the patient stays in LPS."""
    return Hard(_with_couch(_without_couch(upright(volume)), Side.ANTERIOR))


def turned_over(volume: Volume) -> Hard:
    """A patient on the belly, stored as if on the back: body and couch come with the spine at the top of the image."""
    plain = _without_couch(upright(volume))
    g = plain.geometry
    about = g.index_to_lps_mm((np.asarray(g.shape_zyx) - 1) / 2)
    # The image's y and x axes turn, whatever their exact directions are.
    z_axis = np.asarray(g.axes_lps[0])
    half_turn = 2 * np.outer(z_axis, z_axis) - np.eye(3)
    motion = Motion(_three([_three(row) for row in half_turn.tolist()]), _three(about.tolist()))
    over = Volume(plain.voxels_zyx[:, ::-1, ::-1].copy(), g, plain.modality)
    return Hard(_with_couch(over, Side.POSTERIOR), motion)


def without_couch(volume: Volume) -> Hard:
    """Air everywhere but in the body and within 5 mm of it."""
    return Hard(_without_couch(upright(volume)))


def with_couch(volume: Volume, side: Side) -> Hard:
    """A flat carbon table top that the body lies on, instead of what was there."""
    return Hard(_with_couch(_without_couch(upright(volume)), side))


def with_arms(volume: Volume) -> Hard:
    """Arms down: one along each flank, of skin, fat, muscle and bone, as far as the image is wide.

    Arms that are in the image already stay.
    """
    plain = upright(volume)
    body = body_mask(plain)
    voxels = plain.voxels_zyx.copy()
    _, spacing_y, spacing_x = plain.geometry.spacing_zyx_mm
    _, height, width = plain.geometry.shape_zyx
    wide = [np.flatnonzero(plane.any(axis=0)) for plane in body if plane.any()]
    if not wide:
        return Hard(plain)
    # The flanks of most slices: shoulders and breasts reach further, and stay.
    flanks = (float(np.median([w[0] for w in wide])), float(np.median([w[-1] for w in wide])))
    middle_y, _ = _body_middle(body)
    rows, across = np.ogrid[:height, :width]
    for edge, outwards in zip(flanks, (-1, 1), strict=True):
        centre_x = edge + outwards * (ARM_RADIUS_MM + COUCH_GAP_MM) / spacing_x
        centre_x = min(max(centre_x, 0.0), width - 1.0)  # half of it at least is in the image
        apart = np.hypot((rows - middle_y) * spacing_y, (across - centre_x) * spacing_x)
        value = np.full(apart.shape, AIR_HU, dtype=voxels.dtype)
        for radius_mm, hu in reversed(ARM_LAYERS_MM):
            value[apart <= radius_mm] = hu
        voxels = np.where((apart <= ARM_RADIUS_MM) & ~body, value, voxels)
    return Hard(Volume(voxels, plain.geometry, plain.modality))


# -- what is in the blood, and in the receiving coil ------------------------------------------------------------------


def enhanced(volume: Volume, blood_zyx: Mask, hu: float) -> Hard:
    """Contrast medium of `hu` in the blood, which `blood_zyx` covers on the volume's grid; bone and air stay."""
    plain = upright(volume)
    blood = to_canonical(blood_zyx, volume.geometry).astype(np.float32)
    values = plain.voxels_zyx.astype(np.float32)
    soft = np.clip((values + 50.0) / 50.0, 0.0, 1.0) * np.clip((250.0 - values) / 100.0, 0.0, 1.0)
    share = ndimage.gaussian_filter(blood, 0.7) * soft
    return Hard(Volume(_as_before(values + np.float32(hu) * share, volume), plain.geometry, plain.modality))


def uneven_gain(volume: Volume, share: float, seed: int) -> Hard:
    """An MR whose values rise and fall by up to `share` across the field, smoothly and at random."""
    plain = upright(volume)
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1.0, 1.0, (3, 3, 3)).astype(np.float32)
    coarse *= np.log1p(share) / np.abs(coarse).max()
    zoom = [n / 3 for n in plain.geometry.shape_zyx]
    field = ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest")
    return Hard(Volume(_as_before(plain.voxels_zyx * np.exp(field), volume), plain.geometry, plain.modality))


# -- parts ------------------------------------------------------------------------------------------------------------


def without_contrast(hu_zyx: NDArray[np.float32], bone_zyx: NDArray[np.bool_], share: float) -> NDArray[np.float32]:
    """A contrast CT with only `share` (0 to 1) of its contrast medium left.

    Soft tissue above 60 HU that is no bone (dilated by a voxel, against partial volume) is enhanced blood or organ;
    its excess is scaled. What is left at 0 is a native scan.
    """
    bone = ndimage.binary_dilation(bone_zyx, iterations=1)
    enhanced = (hu_zyx > ENHANCED_HU) & ~bone
    # A soft edge: at 60 HU nothing changes, far above it only the share of the excess over blood remains.
    target = BLOOD_HU + 15.0 + share * (hu_zyx - BLOOD_HU - 15.0)
    weight = np.clip((hu_zyx - ENHANCED_HU) / 40.0, 0.0, 1.0)
    return np.where(enhanced, hu_zyx + weight * (target - hu_zyx), hu_zyx).astype(np.float32)


def _three(values: Sequence[_T]) -> tuple[_T, _T, _T]:
    a, b, c = values
    return a, b, c


def _nothing(volume: Volume) -> int:
    """The value where nothing is."""
    return AIR_HU if volume.modality is Modality.CT else 0


def _blanked(volume: Volume, seen: Mask) -> NDArray[np.int16] | NDArray[np.float32]:
    """The volume's voxels where `seen` (which broadcasts), and nothing elsewhere."""
    return _as_before(np.where(seen, volume.voxels_zyx, _nothing(volume)), volume)


def _as_before(values: NDArray[np.generic], volume: Volume) -> NDArray[np.int16] | NDArray[np.float32]:
    """`values` as the kind of numbers that `volume` has."""
    if volume.voxels_zyx.dtype == np.int16:
        limits = np.iinfo(np.int16)
        return np.clip(np.rint(values.astype(np.float32)), limits.min, limits.max).astype(np.int16)
    return values.astype(np.float32)


def _image_of(
    box: Box, steps: NDArray[np.float64], offset: NDArray[np.float64], shape_zyx: tuple[int, int, int]
) -> Box:
    """The box on the changed grid that holds all of `box` of the unchanged one, cut to `shape_zyx`."""
    edges = np.stack([np.asarray(box.start_zyx) - 1, np.asarray(box.stop_zyx)])
    corners = np.stack(np.meshgrid(*edges.T, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = (corners - offset) @ np.linalg.inv(steps).T
    start = np.clip(np.floor(moved.min(axis=0)), 0, shape_zyx).astype(int)
    stop = np.clip(np.ceil(moved.max(axis=0)) + 1, 0, shape_zyx).astype(int)
    return Box(_three(start.tolist()), _three(stop.tolist()))


def _rotation(degrees_xyz: tuple[float, float, float]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees_xyz)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        single = np.eye(3)
        single[i, i] = single[j, j] = np.cos(angle)
        single[i, j], single[j, i] = -np.sin(angle), np.sin(angle)
        turn = single @ turn
    return turn


def _body_middle(body_zyx: Mask) -> tuple[float, float]:
    """(y, x) of the middle of the body's box; of the image where there is no body."""
    found = [np.flatnonzero(body_zyx.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    ends = [(f[0], f[-1]) if f.size else (0, n - 1) for f, n in zip(found, body_zyx.shape[1:], strict=True)]
    return float(sum(ends[0])) / 2, float(sum(ends[1])) / 2


def _without_couch(plain: Volume) -> Volume:
    body = body_mask(plain).astype(np.uint8)
    _, y_mm, x_mm = plain.geometry.spacing_zyx_mm
    size = (2 * round(5.0 / x_mm) + 1, 2 * round(5.0 / y_mm) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)
    near = np.stack([cv2.dilate(plane, kernel) for plane in body]).view(bool)
    # Between skin and 5 mm outside it there may be couch: what is solid there and no body goes too.
    keep = near & ((plain.voxels_zyx < CT_BODY_ABOVE_HU) | body.view(bool))
    return Volume(_blanked(plain, keep), plain.geometry, plain.modality)


def _with_couch(plain: Volume, side: Side) -> Volume:
    body = body_mask(plain)
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    if rows.size == 0:
        return plain
    _, middle_x = _body_middle(body)
    _, y_mm, x_mm = plain.geometry.spacing_zyx_mm
    _, height, width = plain.geometry.shape_zyx
    first = int(rows[-1]) if side is Side.POSTERIOR else height - 1 - int(rows[0])
    depth_mm = (np.arange(height) - first) * y_mm - COUCH_GAP_MM
    if side is Side.ANTERIOR:
        depth_mm = depth_mm[::-1]
    across = np.abs(np.arange(width) - middle_x) * x_mm <= COUCH_WIDTH_MM / 2
    voxels = plain.voxels_zyx.copy()
    for top_mm, bottom_mm, hu in COUCH_LAYERS_MM:
        layer = ((depth_mm >= top_mm) & (depth_mm < bottom_mm))[:, None] & across
        voxels = np.where(layer & ~body, np.asarray(hu, dtype=voxels.dtype), voxels)
    return Volume(voxels, plain.geometry, plain.modality)
