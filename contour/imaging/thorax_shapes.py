"""The shapes of the thorax phantom: outer contours, cavity, diaphragm, spine, lungs, as functions of position.

Frame: millimetres, x to the left, y to posterior, z to superior; (0, 0, 0) lies in the midline at the level of the
carina, in the middle of the spinal canal's depth there. Proportions follow an adult man with his arms raised.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contour.imaging.solids import FloatArray, Points, Profile, Tube, ellipsoid, smooth_union

TOP_MM = 175.0
BOTTOM_MM = -300.0
VERTEBRAE = range(-1, 18)  # T1 is 1, T12 is 12, L1 is 13; C7 is 0


@dataclass(frozen=True)
class Section:
    """A body section that changes along z: a superellipse with its own front and back half."""

    half_width: Profile
    front: Profile
    back: Profile
    middle: Profile
    power: float

    def distance(self, p: Points) -> FloatArray:
        """Signed distance in mm, measured along the ray from the section's middle and corrected for its slant."""
        width, middle = self.half_width(p.z), self.middle(p.z)
        y = p.y - middle
        depth = np.where(y < 0, middle - self.front(p.z), self.back(p.z) - middle)
        u, v = np.abs(p.x) / width, np.abs(y) / depth
        level = (u**self.power + v**self.power + 1e-6) ** (1.0 / self.power)
        # First-order distance: (level - 1) over the gradient's length.
        scale = level ** (1.0 - self.power)
        gx, gy = u ** (self.power - 1) * scale / width, v ** (self.power - 1) * scale / depth
        return np.asarray((level - 1.0) / np.maximum(np.sqrt(gx * gx + gy * gy), 1e-3), dtype=np.float32)

    def rim(self, angle: NDArray[np.float64], z: NDArray[np.float64], outside_mm: float) -> NDArray[np.float64]:
        """Points (n, 3), `outside_mm` beyond the section, at `angle` from posterior (left is positive), height z."""
        sine, cosine = np.sin(angle), np.cos(angle)
        middle = self.middle(z)
        depth = np.where(cosine < 0, middle - self.front(z), self.back(z) - middle)
        u, v = np.abs(sine) / self.half_width(z), np.abs(cosine) / depth
        radius = (u**self.power + v**self.power) ** (-1.0 / self.power) + outside_mm
        return np.stack([radius * sine, middle + radius * cosine, z], axis=-1)


@dataclass(frozen=True)
class Thorax:
    """The large shapes that the painter and the vessels share."""

    torso: Section
    cavity: Section
    canal_y: Profile
    level: Profile

    # -- outside -------------------------------------------------------------------------------------------------

    def arm(self, side: int) -> Tube:
        """The raised arm from the shoulder up; `side` is 1 for left, -1 for right."""
        knots = ((95, -15, 40, 42), (128, -28, 85, 52), (150, -48, 125, 50), (158, -70, 170, 44), (160, -85, 215, 42))
        return Tube.through(*[(side * x, float(y), float(z), float(r)) for x, y, z, r in knots], step_mm=35.0)

    def body(self, p: Points) -> FloatArray:
        """The skin: torso and neck, arms blended in."""
        distance = self.torso.distance(p)
        if float(np.max(p.z)) > 0.0:
            for side in (-1, 1):
                distance = smooth_union(distance, self.arm(side).distance(p), 24.0)
        return distance

    # -- spine ---------------------------------------------------------------------------------------------------

    def body_depth(self, z: float | FloatArray) -> FloatArray:
        """How far in front of the canal's middle the middle of a vertebral body lies, mm."""
        return np.asarray(np.interp(z, (-260, -120, 0, 110), (29.0, 26.0, 22.5, 17.5)), dtype=np.float32)

    def spine_height(self, p: Points) -> FloatArray:
        """Height along the curved spine: planes across the spine have one value."""
        slope = self.canal_y.slope(p.z)
        return np.asarray(p.z + slope * (p.y - self.canal_y(p.z)), dtype=np.float32)

    def vertebral_column(self, p: Points, grown_mm: float = 0.0) -> FloatArray:
        """Bodies and discs as one column, waisted at the middle of each body."""
        z = self.spine_height(p)
        part = self.within_level(z)
        size = np.interp(z, (-260.0, -120.0, 0.0, 110.0), (1.30, 1.12, 0.95, 0.85)).astype(np.float32)
        waist = 1.0 - 0.10 * np.clip(1.0 - (part / 0.36) ** 2, 0.0, 1.0)
        y = p.y - (self.canal_y(p.z) - self.body_depth(p.z))
        # A kidney shape: the back is hollowed by the canal, the front is round.
        rx, ry = 18.5 * size * waist, 14.5 * size * waist
        radius = np.sqrt((p.x / rx) ** 2 + (y / ry) ** 2 + 1e-6)
        return np.asarray((radius - 1.0) * np.minimum(rx, ry) * 1.1 - grown_mm, dtype=np.float32)

    def within_level(self, z: FloatArray) -> FloatArray:
        """Place within the vertebra: 0 in the middle of its body, -0.5 and 0.5 in the middle of the discs."""
        level = self.level(z)
        return np.asarray(level - np.round(level), dtype=np.float32)

    def vertebra_z(self, number: float) -> float:
        """The height of the middle of a vertebral body; T1 is 1, L1 is 13."""
        # The level falls with z; np.interp wants rising positions.
        return float(np.interp(number, self.level.values[::-1], self.level.at_mm[::-1]))

    def canal(self, p: Points) -> FloatArray:
        """The spinal canal."""
        y = p.y - self.canal_y(p.z)
        return np.asarray((np.sqrt((p.x / 10.5) ** 2 + (y / 8.8) ** 2 + 1e-6) - 1.0) * 9.2, dtype=np.float32)

    def cord(self, p: Points) -> FloatArray:
        """The spinal cord, a little in front of the canal's middle."""
        y = p.y - self.canal_y(p.z) + 0.8
        return np.asarray((np.sqrt((p.x / 6.6) ** 2 + (y / 5.4) ** 2 + 1e-6) - 1.0) * 5.8, dtype=np.float32)

    # -- inside --------------------------------------------------------------------------------------------------

    def above_diaphragm(self, p: Points) -> FloatArray:
        """Height in mm over the diaphragm: domed, the right side higher, deep behind, shallow in front."""
        inward = np.clip(1.0 + self.cavity.distance(p) / 78.0, 0.0, 1.0)
        right = 1.0 / (1.0 + np.exp(np.clip(p.x / 16.0, -30, 30)))
        middle = 10.0 * np.exp(-((p.x - 18.0) ** 2) / 900.0)
        peak = -70.0 + 24.0 * right - middle
        drop = np.interp(p.y, (-165.0, -100.0, 15.0), (48.0, 84.0, 112.0))
        return np.asarray(p.z - (peak - drop * inward**2.2), dtype=np.float32)

    def mediastinum(self, p: Points) -> FloatArray:
        """What separates the lungs: narrow behind the sternum, wide about the great vessels, and the spine."""
        z = p.z
        widest = np.interp(z, (-100.0, -20.0, 10.0, 40.0, 75.0, 110.0), (16.0, 20.0, 19.0, 18.0, 27.0, 38.0))
        centre_y = np.interp(z, (-100.0, 0.0, 110.0), (-80.0, -86.0, -92.0))
        y = p.y - centre_y
        width = 4.0 + widest * np.exp(-((np.abs(y) / 48.0) ** 4))
        off = p.x - np.interp(z, (-90.0, -40.0, 0.0, 60.0, 110.0), (10.0, 9.0, 5.0, 2.0, 0.0))
        slab = np.abs(off) - width
        arches = np.sqrt((p.x / 24.0) ** 2 + ((p.y - self.canal_y(p.z) - 8.0) / 22.0) ** 2 + 1e-6)
        spine = smooth_union(self.vertebral_column(p, 3.0), ((arches - 1.0) * 22.0).astype(np.float32), 8.0)
        return smooth_union(slab.astype(np.float32), spine, 8.0)

    def heart(self, p: Points) -> FloatArray:
        """The heart with its atria, pericardium without the great vessels."""
        axis = np.array([0.70, -0.52, -0.49])
        across = np.cross(axis, [0.0, 0.0, 1.0])
        frame = np.stack([axis, across, np.cross(axis, across)])
        distance = ellipsoid((36.0, -108.0, -42.0), (63.0, 46.0, 42.0), frame).distance(p)
        right_atrium = ellipsoid((-8.0, -96.0, -38.0), (25.0, 27.0, 30.0)).distance(p)
        left_atrium = ellipsoid((16.0, -68.0, -24.0), (34.0, 17.0, 21.0)).distance(p)
        outflow = ellipsoid((30.0, -122.0, -10.0), (20.0, 19.0, 20.0)).distance(p)
        for part in (right_atrium, left_atrium, outflow):
            distance = smooth_union(distance, part, 9.0)
        return distance

    def lung(self, p: Points, side: int) -> FloatArray:
        """The lung of one side (1 is left): cavity above the diaphragm, less mediastinum, heart and great vessels."""
        others = smooth_union(self.mediastinum(p), self.heart(p) - 3.0, 10.0)
        distance = np.maximum(self.cavity.distance(p) + 1.0, -others)
        apex = p.z - np.float32(103.0) + 0.004 * (np.abs(p.x) - 45.0) ** 2 + 0.003 * (p.y + 55.0) ** 2
        distance = np.maximum(distance, apex * 0.8)
        distance = np.maximum(distance, 2.0 - self.above_diaphragm(p) * 0.75)
        return np.asarray(np.maximum(distance, 1.0 - side * p.x), dtype=np.float32)


def adult_thorax() -> Thorax:
    """The one anatomy that the phantom has."""
    torso = Section(
        half_width=Profile.through(
            (-300, 150), (-200, 152), (-115, 152), (-55, 158), (0, 163), (50, 158), (90, 128), (125, 82), (175, 64)
        ),
        front=Profile.through(
            (-300, -188),
            (-200, -199),
            (-100, -197),
            (-40, -191),
            (20, -184),
            (65, -169),
            (95, -155),
            (130, -144),
            (175, -150),
        ),
        back=Profile.through(
            (-300, 16), (-205, 30), (-135, 44), (-65, 54), (0, 57), (60, 53), (100, 40), (140, 16), (175, 2)
        ),
        middle=Profile.through((-300, -72), (0, -62), (90, -58), (175, -76)),
        power=2.5,
    )
    cavity = Section(
        half_width=Profile.through(
            (-300, 128),
            (-200, 130),
            (-120, 131),
            (-50, 126),
            (0, 119),
            (35, 110),
            (60, 99),
            (82, 82),
            (100, 64),
            (125, 40),
            (175, 30),
        ),
        front=Profile.through(
            (-300, -168),
            (-150, -172),
            (-60, -163),
            (0, -157),
            (40, -149),
            (75, -124),
            (100, -100),
            (125, -95),
            (175, -95),
        ),
        back=Profile.through(
            (-300, -44),
            (-200, -22),
            (-100, 6),
            (-40, 16),
            (10, 18),
            (45, 8),
            (75, -7),
            (100, -25),
            (125, -50),
            (175, -80),
        ),
        middle=Profile.through((-300, -95), (-100, -80), (0, -70), (60, -66), (110, -62), (175, -85)),
        power=2.25,
    )
    canal_y = Profile.through(
        (-300, -72),
        (-205, -52),
        (-170, -40),
        (-135, -23),
        (-100, -8),
        (-65, 2),
        (-30, 7),
        (5, 6),
        (40, -5),
        (75, -28),
        (110, -60),
        (140, -80),
        (175, -90),
    )
    level = Profile.through(
        (-300, 18.2), (-205, 15), (-122, 12), (-54, 9), (12, 6), (49, 4), (85, 2), (103, 1), (135, -1), (175, -3.6)
    )
    return Thorax(torso, cavity, canal_y, level)
