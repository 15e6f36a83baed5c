"""Tissue codes for a CT label map: what each label is made of, and what lies where nothing is labelled.

A label map knows organs, bones and vessels. Between them lie fat and muscle, around them the skin's fat, and outside of
the body air and the table; bones have a dense shell, hollow organs hold gas in front. All of it becomes codes of
`SynthesisConfig.tissues`, so that every patch can be given an appearance of its own (`training.appearance`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.training.appearance import SynthesisConfig

AIR, FAT, MUSCLE, COUCH, GAS, BONE_SHELL = "air", "fat", "muscle", "couch", "gas", "bone_shell"
NEEDED = (AIR, FAT, MUSCLE, COUCH, GAS, BONE_SHELL)
CLOSED_MM = 25.0  # gaps between labels up to twice this are inside the body
SKIN_FAT_MM = (4.0, 30.0)
MUSCLE_MM = 9.0
SHELL_MM = 2.0
LEAST_GAS_VOXELS = 20


@dataclass(frozen=True)
class TissueSource:
    """Which labels a tissue stands for, by the beginnings of their names; `bone` has a shell, `hollow` may hold gas."""

    tissue: str
    labels: tuple[str, ...]
    bone: bool = False
    hollow: bool = False


def tissue_codes(
    labels_zyx: NDArray[np.uint8],
    label_values: dict[str, int],
    sources: tuple[TissueSource, ...],
    config: SynthesisConfig,
    sampling: tuple[float, np.random.Generator],
) -> NDArray[np.uint8]:
    """Codes (z, y, x) of `config.tissues` on cubic voxels; y grows to posterior.

    `sampling` is the voxels' edge in mm, and what decides all that chance decides: fat and muscle, gas, the table.

    Raises:
        ValueError: `config` lacks one of the tissues in `NEEDED`, or one that a source names.
    """
    spacing_mm, rng = sampling
    code = {name: i for i, name in enumerate(config.names)}
    missing = sorted({*NEEDED, *(source.tissue for source in sources)} - set(code))
    if missing:
        raise ValueError(f"tissues {', '.join(missing)}: not in the synthesis configuration ({', '.join(code)})")
    body = body_hull(labels_zyx > 0, spacing_mm, rng.uniform(*SKIN_FAT_MM))
    codes = np.full(labels_zyx.shape, code[AIR], dtype=np.uint8)
    codes[body] = code[FAT]
    codes[_muscle(labels_zyx, body, spacing_mm, rng)] = code[MUSCLE]
    for source in sources:
        values = [value for name, value in label_values.items() if name.startswith(source.labels)]
        inside = np.isin(labels_zyx, values)
        codes[inside] = code[source.tissue]
        if source.bone:
            depth = ndimage.distance_transform_edt(inside, sampling=spacing_mm)
            codes[inside & (depth <= max(SHELL_MM, spacing_mm))] = code[BONE_SHELL]
        if source.hollow:
            for value in values:
                codes[_gas(labels_zyx == value, rng)] = code[GAS]
    if rng.random() < 0.7:
        _add_couch(codes, body, (code[AIR], code[COUCH]), rng)
    return codes


def body_hull(labelled: NDArray[np.bool_], spacing_mm: float, skin_fat_mm: float) -> NDArray[np.bool_]:
    """Per slice the closed and filled hull of what is labelled, grown by the fat under the skin."""
    reach = max(1, round((CLOSED_MM + skin_fat_mm) / spacing_mm) + 1)
    padded = np.pad(labelled, ((0, 0), (reach, reach), (reach, reach)))
    in_plane = (1e3, spacing_mm, spacing_mm)
    apart = ndimage.distance_transform_edt(~padded, sampling=in_plane)
    closed = ndimage.distance_transform_edt(apart <= CLOSED_MM, sampling=in_plane) > CLOSED_MM
    closed |= padded
    grown = ndimage.distance_transform_edt(~closed, sampling=in_plane) <= skin_fat_mm
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in grown])
    return np.ascontiguousarray(filled[:, reach:-reach, reach:-reach])


def _muscle(
    labels_zyx: NDArray[np.uint8], body: NDArray[np.bool_], spacing_mm: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A layer around what is labelled in the outer part of the body, and strands anywhere."""
    near = ndimage.distance_transform_edt(labels_zyx == 0, sampling=spacing_mm) < MUSCLE_MM
    strands = ndimage.gaussian_filter(rng.normal(size=labels_zyx.shape).astype(np.float32), 6.0 / spacing_mm)
    depth = ndimage.distance_transform_edt(body, sampling=spacing_mm)
    outer = depth < np.percentile(depth[body], 40) if body.any() else body
    muscle: NDArray[np.bool_] = (outer & near) | (strands > rng.uniform(0.9, 2.0) * strands.std())
    muscle &= body & (depth > 4.0)
    return muscle


def _gas(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The foremost part of a hollow organ's inside, in half of the cases; the wall stays."""
    lumen = ndimage.binary_erosion(inside)
    if rng.random() < 0.5 or np.count_nonzero(lumen) < LEAST_GAS_VOXELS:
        return np.zeros_like(inside)
    rows = np.arange(inside.shape[1])[None, :, None]
    level = np.quantile(np.broadcast_to(rows, inside.shape)[lumen], rng.uniform(0.1, 0.7))
    gas: NDArray[np.bool_] = lumen & (rows < level)
    return gas


def _add_couch(
    codes: NDArray[np.uint8], body: NDArray[np.bool_], air_and_couch: tuple[int, int], rng: np.random.Generator
) -> None:
    """The upper shell of a table behind the body, a part of it in width, and its lower one where there is room."""
    air, couch = air_and_couch
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    if rows.size == 0:
        return
    width = codes.shape[2]
    start = int(rng.integers(0, max(1, width // 5)))
    top = int(rows[-1]) + int(rng.integers(1, 4))
    for row in (top, top + int(rng.integers(3, 8))):
        if row < codes.shape[1]:
            plane = codes[:, row, start : width - start]
            plane[plane == air] = couch
