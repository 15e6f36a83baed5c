"""CT images made from label maps, and real CTs whose contrast medium is taken away.

The idea is SynthSeg's (Billot et al., Medical Image Analysis 86, 2023): a network that has seen every plausible
intensity of a tissue learns shape and neighbourhood instead. For CT the intensities are physical, so each tissue draws
its mean from a range of HU, and contrast medium is one number that every blood pool of a case shares.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -1000.0
BLOOD_HU = 40.0
SUBCUTANEOUS_MM = 14.0
MUSCLE_MM = 9.0


@dataclass(frozen=True)
class Tissue:
    """How voxels of some labels look: their mean is drawn from `mean_hu`, their texture has `texture_hu` (one sigma).

    `enhancement` is the share of the blood's contrast medium that the tissue takes up: 1 for a vessel, 0 for bone.
    """

    labels: tuple[str, ...]
    mean_hu: tuple[float, float]
    texture_hu: float
    enhancement: float = 0.0


def synthesize_ct(
    labels_zyx: NDArray[np.uint8],
    label_values: dict[str, int],
    tissues: tuple[Tissue, ...],
    spacing_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A CT in HU (z, y, x) whose anatomy is `labels_zyx`, on cubic voxels.

    Labels are named as in `label_values`; a tissue's name matches a label that begins with it. What no label covers is
    air outside the body and fat or muscle inside it: the body is the labels' hull with a subcutaneous layer.
    """
    contrast_hu = float(rng.choice([0.0, rng.uniform(20, 80), rng.uniform(80, 300)]))
    body = _body(labels_zyx > 0, spacing_mm)
    image = np.full(labels_zyx.shape, AIR_HU, dtype=np.float32)
    image[body] = _filling(labels_zyx, body, spacing_mm, rng)[body]
    texture = _texture(labels_zyx.shape, rng)
    for tissue in tissues:
        for name, value in label_values.items():
            if not name.startswith(tissue.labels):
                continue
            inside = labels_zyx == value
            mean = rng.uniform(*tissue.mean_hu) + tissue.enhancement * contrast_hu
            image[inside] = mean + tissue.texture_hu * texture[inside]
    blur = rng.uniform(0.35, 0.7)
    image = ndimage.gaussian_filter(image, blur)
    _add_couch(image, body, rng)
    noise = rng.normal(0.0, rng.uniform(3, 25), image.shape)
    return np.asarray(image + noise, dtype=np.float32)


def without_contrast(hu_zyx: NDArray[np.float32], bone_zyx: NDArray[np.bool_], share: float) -> NDArray[np.float32]:
    """A contrast CT with only `share` (0 to 1) of its contrast medium left.

    Soft tissue above 60 HU that is no bone (dilated by a voxel, against partial volume) is enhanced blood or organ;
    its excess is scaled. What is left at 0 is a native scan.
    """
    bone = ndimage.binary_dilation(bone_zyx, iterations=1)
    enhanced = (hu_zyx > 60.0) & ~bone
    # A soft edge: at 60 HU nothing changes, far above it only the share of the excess over blood remains.
    target = BLOOD_HU + 15.0 + share * (hu_zyx - BLOOD_HU - 15.0)
    weight = np.clip((hu_zyx - 60.0) / 40.0, 0.0, 1.0)
    return np.where(enhanced, hu_zyx + weight * (target - hu_zyx), hu_zyx).astype(np.float32)


def _body(labelled: NDArray[np.bool_], spacing_mm: float) -> NDArray[np.bool_]:
    """Per slice the closed and filled hull of what is labelled, grown by the subcutaneous layer."""
    reach = max(1, round(25.0 / spacing_mm))
    padded = np.pad(labelled, ((0, 0), (reach, reach), (reach, reach)))
    apart = ndimage.distance_transform_edt(~padded, sampling=(1e3, spacing_mm, spacing_mm))
    closed = ndimage.distance_transform_edt(apart <= 25.0, sampling=(1e3, spacing_mm, spacing_mm)) > 25.0
    closed |= padded
    grown = ndimage.distance_transform_edt(~closed, sampling=(1e3, spacing_mm, spacing_mm)) <= SUBCUTANEOUS_MM
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in grown])
    return np.ascontiguousarray(filled[:, reach:-reach, reach:-reach])


def _filling(
    labels_zyx: NDArray[np.uint8], body: NDArray[np.bool_], spacing_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Fat everywhere, and muscle in a layer around what is labelled and in random strands."""
    near = ndimage.distance_transform_edt(labels_zyx == 0, sampling=spacing_mm)
    strands = ndimage.gaussian_filter(rng.normal(size=labels_zyx.shape).astype(np.float32), 2.0)
    depth = ndimage.distance_transform_edt(body, sampling=spacing_mm)
    outer = depth < np.percentile(depth[body], 40)
    muscle = (outer & (near < MUSCLE_MM)) | (strands > 1.2 * strands.std())
    fat, lean = rng.uniform(-120, -85), rng.uniform(30, 65)
    values = np.where(muscle & (depth > 4.0), lean, fat).astype(np.float32)
    return values + 12.0 * _texture(labels_zyx.shape, rng)


def _texture(shape_zyx: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of unit variance at two scales."""
    fine = ndimage.gaussian_filter(rng.normal(size=shape_zyx).astype(np.float32), 0.7)
    coarse = ndimage.gaussian_filter(rng.normal(size=shape_zyx).astype(np.float32), 3.0)
    return np.asarray(0.7 * fine / fine.std() + 0.7 * coarse / coarse.std(), dtype=np.float32)


def _add_couch(image: NDArray[np.float32], body: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """A thin table top behind the body, in most images."""
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    if rows.size == 0 or rng.random() < 0.3:
        return
    top = int(rows[-1]) + int(rng.integers(1, 4))
    for row, hu in ((top, rng.uniform(-300, 100)), (top + 1, rng.uniform(-950, -700)), (top + 4, rng.uniform(-300, 0))):
        if row < image.shape[1]:
            image[:, row] = np.maximum(image[:, row], hu)
