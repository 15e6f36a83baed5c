"""Where in the body an image lies: a coarse network on the whole image, and what follows from what it sees.

What it sees is never drawn. It tells the fine networks where to look, an organ outside the field of view from one that
was missed, the wrong site from the right one, and left from right.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from statistics import median

import cc3d
import numpy as np

from contour.core.geometry import Box, Geometry
from contour.core.structures import cropped_to_content
from contour.core.volume import Volume
from contour.imaging.preprocess import at_spacing
from contour.inference.engine import NetworkEngine
from contour.inference.organs import Organ, Site, family, organ
from contour.inference.predict import Drawn, predict

LEAST_ML = 1.5  # a crumb is no organ, nor is ...
LEAST_PART = 0.03  # ... less than this of its usual volume
LEAST_CONFIDENCE = 0.5
SITE_PART = 0.25  # of an organ's usual volume: with less of it, an image does not show its site
VISIBLE_PART = 0.3  # of an organ's length: one that is not seen lies outside, where less would be in view
UNSURE_MM = 35.0  # how far adults differ from the heights of `organs` ...
ELSEWHERE_MM = 90.0  # ... and how far none does
MOST_CONTRADICTION = 0.5  # of what fits one body: where more does not, nothing is relied on
TURNED = 1.3  # times as much of a body seen once an image is turned: it is stored wrongly (right ones: 0.83 at most)
LEAST_TO_TURN = 1.5  # whole organs that must be seen to say so
MARGIN_MM = (40.0, 32.0, 32.0)  # z, y, x around what is seen coarsely: breathing, and some voxels

# Single organs in the middle of the body, those of the trunk first.
_IN_THE_MIDDLE = ("Spine_T", "Spine_L", "Sacrum", "Spine_C", "SpinalCord", "Mandible", "Larynx", "Brain")

# How far cord, aorta and windpipe are drawn tells little of where they end.
_WITHOUT_ENDS = frozenset({"SpinalCord", "A_Aorta", "Trachea"})

# The half turns of an image that is stored as lying or going in otherwise than the patient did, and the axes reversed.
TURNS = {
    "front and back, left and right exchanged": (1, 2),
    "head and feet, left and right exchanged": (0, 2),
    "head and feet, front and back exchanged": (0, 1),
}


class End(StrEnum):
    """An end of the image along the body."""

    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True)
class Sighting:
    """An organ as the coarse network sees it: its volume, its box on the location's grid, the middle of its voxels.

    `cut` names the ends of the image that it reaches: it goes on beyond; `sideways` says so of the image's edges.
    """

    name: str
    volume_ml: float
    box: Box
    centre_lps_mm: tuple[float, float, float]
    cut: tuple[End, ...]
    sideways: bool = False


@dataclass(frozen=True)
class Location:
    """What an image shows.

    `geometry` is the coarse grid, canonically oriented (z towards the head); `able` names what the network knows.
    `doubt` says why nothing should be concluded; empty if something may. `turned` names what has to be exchanged for
    the image to show a body; empty if it does as it is.
    """

    geometry: Geometry
    able: tuple[str, ...]
    sightings: tuple[Sighting, ...]
    doubt: str = ""
    turned: str = ""

    @property
    def lungs_tip_mm(self) -> float | None:
        """Where the tips of the lungs lie, in view or not, above the lower end of the image; None if nothing tells."""
        return _lungs_tip_mm(self.sightings, self.geometry)

    @property
    def length_mm(self) -> float:
        """The image's length along the body."""
        return self.geometry.shape_zyx[0] * self.geometry.spacing_zyx_mm[0]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The parts of the body of which an organ is well in view, from the head down."""
        ended = (s.name for s in self.sightings if s.name not in _WITHOUT_ENDS)
        seen = {o.site for name in ended if (o := organ(name)) and self.visible_part(name) >= SITE_PART}
        return tuple(site for site in Site if site in seen)

    def sighting(self, name: str) -> Sighting | None:
        """How an organ is seen; None where it is not."""
        return next((s for s in self.sightings if s.name == name), None)

    @property
    def middle_lps_x_mm(self) -> float | None:
        """Where the body's middle lies, between the sides of pairs or by the spine; None where nothing tells."""
        centres = {s.name: s.centre_lps_mm[0] for s in self.sightings if not s.sideways}
        pairs = [(x, centres.get(f"{name[:-2]}_R")) for name, x in centres.items() if name.endswith("_L")]
        between = [(left + right) / 2 for left, right in pairs if right is not None]
        return median(between) if between else next((centres[n] for n in _IN_THE_MIDDLE if n in centres), None)

    def tells_of(self, name: str) -> bool:
        """Whether something is known of an organ: it would be seen, or what is seen tells its height."""
        return name in self.able or (organ(name) is not None and self.lungs_tip_mm is not None)

    def visible_part(self, name: str) -> float:
        """The part of an organ that is in view, from 0 to 1.

        Of one that the network knows: what it sees against the usual volume. Of another: what its height lets expect;
        0 where nothing tells.
        """
        known, seen = organ(name), self.sighting(name)
        if known is None:
            return 0.0
        if name in self.able:
            return min(1.0, seen.volume_ml / known.usual_ml) if seen else 0.0
        return self._expected_part(known)

    def outside(self, name: str) -> End | None:
        """The end of the image beyond which an organ lies that is not seen and, by all that is, cannot be in view."""
        known = organ(name)
        if known is None or self.doubt or self.lungs_tip_mm is None or self.sighting(name) is not None:
            return None
        limit = VISIBLE_PART if name in self.able else 0.0
        if max(self._expected_part(known, shift) for shift in (-UNSURE_MM, 0.0, UNSURE_MM)) > limit:
            return None
        middle = self.lungs_tip_mm + (known.low_mm + known.high_mm) / 2
        return End.BELOW if middle < self.length_mm / 2 else End.ABOVE

    def around(self, names: tuple[str, ...]) -> Geometry | None:
        """The part of the coarse grid in which all of these organs lie; None where that cannot be told."""
        boxes = [self._box(name) for name in names]
        known = [box for box in boxes if box is not None]
        if self.doubt or not known or len(known) < len(boxes):
            return None
        start = [min(box.start_zyx[axis] for box in known) for axis in range(3)]
        stop = [max(box.stop_zyx[axis] for box in known) for axis in range(3)]
        margin = [ceil(mm / spacing) for mm, spacing in zip(MARGIN_MM, self.geometry.spacing_zyx_mm, strict=True)]
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return self.geometry.cropped(box.grown((margin[0], margin[1], margin[2]), self.geometry.shape_zyx))

    def _box(self, name: str) -> Box | None:
        """The box of an organ, and of those that it lies among as far as its height allows."""
        known, own = organ(name) or family(name), self.sighting(name)
        around = [s.box for other in (known.within if known else ()) if (s := self.sighting(other))]
        seen = around if own is None else [own.box, *around]
        if known is None or not seen:
            return None
        start = [min(box.start_zyx[axis] for box in seen) for axis in range(3)]
        stop = [max(box.stop_zyx[axis] for box in seen) for axis in range(3)]
        if around and self.lungs_tip_mm is not None:
            mm = self.geometry.spacing_zyx_mm[0]
            start[0] = min(start[0], int((self.lungs_tip_mm + known.low_mm - UNSURE_MM) // mm))
            stop[0] = max(stop[0], ceil((self.lungs_tip_mm + known.high_mm + UNSURE_MM) / mm))
        depth = self.geometry.shape_zyx[0]
        return Box((max(0, start[0]), start[1], start[2]), (min(depth, stop[0]), stop[1], stop[2]))

    def _expected_part(self, known: Organ, shift_mm: float = 0.0) -> float:
        """The part of an organ's length that is in view, if it lies `shift_mm` higher than in others."""
        if self.lungs_tip_mm is None:
            return 0.0
        low, high = (self.lungs_tip_mm + mm + shift_mm for mm in (known.low_mm, known.high_mm))
        return max(0.0, min(high, self.length_mm) - max(low, 0.0)) / (high - low)


def locate(network: NetworkEngine, volume: Volume) -> Location:
    """What `volume` shows, as the coarse `network` sees it.

    Raises:
        PackageError: the network fails.
        InputRefused: the volume's modality is not the network's.
    """
    manifest = network.manifest
    coarse = at_spacing(volume, manifest.preprocessing.spacing_zyx_mm)
    seen = _seen(network, coarse)
    kept = _in_one_body(seen, coarse.geometry)
    turned = _better_turned(network, coarse, _weight(kept))
    return Location(coarse.geometry, manifest.names, kept, _doubt(seen, kept), turned)


def _seen(network: NetworkEngine, coarse: Volume) -> tuple[Sighting, ...]:
    drawn = predict(network, coarse, network.manifest.names)
    return tuple(s for d in drawn if (s := _sighting(d, coarse.geometry)))


def _better_turned(network: NetworkEngine, coarse: Volume, weight: float) -> str:
    """The half turn after which clearly more of a body is seen than the `weight` of the image as it is; "" for none."""
    weights = {}
    for exchanged, axes in TURNS.items():
        turned = Volume(np.flip(coarse.voxels_zyx, axes).copy(), coarse.geometry, coarse.modality)
        weights[exchanged] = _weight(_in_one_body(_seen(network, turned), coarse.geometry))
    best = max(weights, key=lambda exchanged: weights[exchanged])
    return best if weights[best] >= max(LEAST_TO_TURN, TURNED * weight) else ""


def _sighting(drawn: Drawn, geometry: Geometry) -> Sighting | None:
    known = organ(drawn.name)
    if known is None or drawn.confidence < LEAST_CONFIDENCE or not drawn.mask_zyx.any():
        return None
    largest = cc3d.largest_k(drawn.mask_zyx, k=1, connectivity=26).astype(bool)
    volume_ml = float(np.count_nonzero(largest)) * geometry.voxel_ml
    if volume_ml < max(LEAST_ML, LEAST_PART * known.usual_ml):
        return None
    mask, offset = cropped_to_content(largest, drawn.offset_zyx)
    z, y, x = (first + n for first, n in zip(offset, mask.shape, strict=True))
    centre_x, centre_y, centre_z = geometry.index_to_lps_mm(np.argwhere(mask).mean(axis=0) + offset).tolist()
    reached = ((End.BELOW, offset[0] == 0), (End.ABOVE, z == geometry.shape_zyx[0]))
    cut = tuple(end for end, reaches in reached if reaches)
    _, height, width = geometry.shape_zyx
    sideways = min(offset[1:]) == 0 or y == height or x == width
    return Sighting(drawn.name, volume_ml, Box(offset, (z, y, x)), (centre_x, centre_y, centre_z), cut, sideways)


def _in_one_body(seen: tuple[Sighting, ...], geometry: Geometry) -> tuple[Sighting, ...]:
    """The sightings that one body can have where they are: of all its places, the one that most speaks for."""
    mm, candidates = geometry.spacing_zyx_mm[0], _tips_mm(seen, geometry)
    tip_mm = _lungs_tip_mm(seen, geometry)
    candidates += [tip_mm] if tip_mm is not None else []
    possible = [tuple(s for s in seen if _fits(s, tip, mm)) for tip in candidates]
    return max(possible, key=_weight, default=seen)


def _fits(seen: Sighting, tip_mm: float, slice_mm: float) -> bool:
    """Whether an organ may lie there in a body whose lungs have their tips at `tip_mm`."""
    known = organ(seen.name)
    low, high = seen.box.start_zyx[0] * slice_mm - tip_mm, seen.box.stop_zyx[0] * slice_mm - tip_mm
    return known is not None and low >= known.low_mm - ELSEWHERE_MM and high <= known.high_mm + ELSEWHERE_MM


def _weight(seen: tuple[Sighting, ...]) -> float:
    """How much sightings say: an organ that is seen in whole more than a scrap."""
    return sum(min(1.0, s.volume_ml / o.usual_ml) for s in seen if (o := organ(s.name)))


def _doubt(seen: tuple[Sighting, ...], kept: tuple[Sighting, ...]) -> str:
    """Why the sightings cannot be relied on; empty if they can."""
    if not seen:
        return "nothing that it knows is seen"
    found = {s.name: s for s in kept}
    for name, left in found.items():
        right = found.get(f"{name[:-2]}_R") if name.endswith("_L") else None
        if right is not None and left.centre_lps_mm[0] <= right.centre_lps_mm[0]:
            return f"{left.name} is seen to the right of {right.name}"
    if _weight(seen) > (1 + MOST_CONTRADICTION) * _weight(kept):
        return "the organs lie in no order that a body has"
    return ""


def _lungs_tip_mm(sightings: tuple[Sighting, ...], geometry: Geometry) -> float | None:
    """By the ends of organs in view; without any, between the bounds that the organs which are cut set."""
    tips = _tips_mm(sightings, geometry)
    if tips:
        return median(tips)
    length_mm = geometry.shape_zyx[0] * geometry.spacing_zyx_mm[0]
    known = [o for s in sightings if (o := organ(s.name))]
    if not known:
        return None
    # Seen from end to end of the image: they begin below it and end above.
    return (max(length_mm - o.high_mm for o in known) + min(-o.low_mm for o in known)) / 2


def _tips_mm(sightings: tuple[Sighting, ...], geometry: Geometry) -> list[float]:
    """Where the tips of the lungs would be by each end of an organ that lies in view."""
    mm = geometry.spacing_zyx_mm[0]
    tips = []
    for seen in sightings:
        known = organ(seen.name)
        if known is None or seen.name in _WITHOUT_ENDS:
            continue
        if End.BELOW not in seen.cut:
            tips.append(seen.box.start_zyx[0] * mm - known.low_mm)
        if End.ABOVE not in seen.cut:
            tips.append(seen.box.stop_zyx[0] * mm - known.high_mm)
    return tips
