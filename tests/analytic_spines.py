"""Spines of known shape: vertebrae as oriented solids on a curve, with canal, ribs and sacrum, as parts on a grid."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from contour.imaging.vertebrae import Part, SpineImage

LEVELS = (*(f"C{i}" for i in range(1, 8)), *(f"T{i:02d}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # heights (n,) mm -> y, x (n, 2) mm beside the middle


def straight(z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.zeros((z_mm.size, 2))


def kyphosis(z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([-22 * np.cos(z_mm / 90), np.zeros(z_mm.size)])


def scoliosis(z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([-15 * np.cos(z_mm / 100), 28 * np.sin(z_mm / 65)])


@dataclass(frozen=True)
class SpinePlan:
    """`levels` from top to bottom; `ribs` says which of them bear ribs (T01 to T12 if None)."""

    levels: tuple[str, ...]
    curve: Curve = straight
    ribs: frozenset[str] | None = None
    sacrum: bool = False
    spacing_zyx_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    half_width_mm: float = 66.0

    def bears_ribs(self, level: str) -> bool:
        return level.startswith("T") if self.ribs is None else level in self.ribs


@dataclass(frozen=True)
class MadeSpine:
    """The image, which vertebra (1 for the first level) each voxel is of, and the bodies' middles (z, y, x) in mm."""

    image: SpineImage
    truth_zyx: NDArray[np.uint8]
    middles_mm: NDArray[np.float64]


def pitch_mm(level: str) -> float:
    """From 16 mm in the neck to 36 mm in the loin."""
    return 16.0 + 20.0 * (LEVELS.index(level) / (len(LEVELS) - 1))


@cache
def made_spine(plan: SpinePlan) -> MadeSpine:
    """The spine of `plan`, not to be written to; it fills the grid from first to last disc, the sacrum below."""
    pitches = [pitch_mm(level) for level in plan.levels]
    below = 45.0 if plan.sacrum else 0.0
    height = sum(pitches) + below
    size = np.array([height, 2 * plan.half_width_mm + 30, 2 * plan.half_width_mm])
    spacing = np.asarray(plan.spacing_zyx_mm)
    shape = tuple(int(n) for n in np.ceil(size / spacing))
    parts, truth = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    tops = height - np.concatenate([[0.0], np.cumsum(pitches)])
    middles = []
    for number, (level, pitch) in enumerate(zip(plan.levels, pitches, strict=True), start=1):
        z = tops[number - 1] - pitch / 2
        frame = _Frame.of(plan, z)
        middles.append(frame.centre)
        _draw_vertebra(parts, truth, (number, pitch, plan.bears_ribs(level)), frame, spacing)
    if plan.sacrum:
        _draw_sacrum(parts, _Frame.of(plan, tops[-1]), spacing)
    parts.flags.writeable = truth.flags.writeable = False
    return MadeSpine(SpineImage(parts, plan.spacing_zyx_mm), truth, np.array(middles))


@dataclass(frozen=True)
class _Frame:
    centre: NDArray[np.float64]
    up: NDArray[np.float64]
    front: NDArray[np.float64]
    left: NDArray[np.float64]

    @classmethod
    def of(cls, plan: SpinePlan, z: float) -> "_Frame":
        middle = np.array([plan.half_width_mm - 5, plan.half_width_mm])
        y0, x0 = plan.curve(np.array([z]))[0] + middle
        y1, x1 = plan.curve(np.array([z + 1.0]))[0] + middle
        up = np.array([1.0, y1 - y0, x1 - x0])
        up /= np.linalg.norm(up)
        front = np.array([0.0, -1.0, 0.0]) + up[1] * up
        front /= np.linalg.norm(front)
        return cls(np.array([z, y0, x0]), up, front, -np.cross(up, front))


def _local(shape, frame: _Frame, reach_mm: float, spacing):
    """The box around a frame, and up, front and left in mm of its voxels."""
    start = np.clip(np.floor((frame.centre - reach_mm) / spacing).astype(int), 0, shape)
    stop = np.clip(np.ceil((frame.centre + reach_mm) / spacing).astype(int) + 1, 0, shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(start, stop, strict=True)), indexing="ij"), axis=-1)
    apart = grid * spacing - frame.centre
    return box, apart @ frame.up, apart @ frame.front, apart @ frame.left


def _draw_vertebra(parts, truth, what, frame: _Frame, spacing) -> None:
    number, pitch, ribs = what
    box, up, front, left = _local(parts.shape, frame, 80.0, spacing)
    half = 0.40 * pitch
    wide, deep = 8 + 0.45 * pitch, 6 + 0.36 * pitch
    oval = (left / wide) ** 2 + (front / deep) ** 2
    body = (np.abs(up) <= half) & (oval <= 1)
    core = (np.abs(up) <= 0.55 * half) & (oval <= 0.45)
    canal_at = -(deep + 9)
    from_canal = np.hypot(left, front - canal_at)
    canal = (from_canal <= 8) & (np.abs(up) <= pitch / 2 + 2)
    ring = (from_canal > 8) & (from_canal <= 13) & (np.abs(up + 1) <= 0.3 * pitch) & (oval > 1)
    spinous = (np.abs(left) <= 3) & (front < canal_at - 10) & (front > canal_at - 38)
    spinous &= np.abs(up + 0.35 * (canal_at - 10 - front)) <= 0.2 * pitch
    across = (np.abs(left) > 10) & (np.abs(left) <= 30) & (np.abs(front - canal_at + 4) <= 4) & (np.abs(up - 2) <= 4)
    view, owner = parts[box], truth[box]
    view[canal & (view == 0)] = Part.CANAL
    for mask, part in ((ring | spinous | across, Part.ARCH), (body, Part.SHELL), (core, Part.CORE)):
        free = mask & ~np.isin(view, (Part.CORE, Part.SHELL)) if part is Part.ARCH else mask
        view[free], owner[free] = part, number
    if ribs:
        rod = (np.abs(left) >= 33) & (np.abs(left) <= 75) & (np.abs(front - canal_at + 6) <= 5)
        rod &= np.abs(up - 0.25 * pitch + 0.4 * (np.abs(left) - 33)) <= 4
        view[rod & (view == 0)] = Part.RIB


def _draw_sacrum(parts, frame: _Frame, spacing) -> None:
    box, up, front, left = _local(parts.shape, frame, 60.0, spacing)
    bone = (up < -4) & (up > -42) & (np.abs(left) < 45 + up * 0.6) & (front < 16 + up * 0.4) & (front > -20 + up * 0.2)
    view = parts[box]
    view[bone & (view == 0)] = Part.SACRUM
