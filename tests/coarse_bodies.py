"""Bodies of boxes on coarse voxels, each organ with a value of its own, and networks that know organs by that value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.inference.engine import Progress, Region
from contour.inference.package import Label, Manifest, Training

MM = 8.0
FRAME = "2.25.808"
BODY_HU, AIR_HU = 0, -1000
SHARP = 60.0  # a logit that leaves no doubt

# Heights against the tips of the lungs, and half width, middle to the left and middle to the back, in mm.
ORGANS: Mapping[str, tuple[tuple[float, float], tuple[float, float, float]]] = {
    "Brain": ((136, 296), (64, 0, 0)),
    "Mandible": ((84, 132), (40, 0, -40)),
    "Larynx": ((24, 64), (16, 0, -30)),
    "Lung_L": ((-232, 0), (48, 80, 0)),
    "Lung_R": ((-232, 0), (48, -80, 0)),
    "Heart": ((-160, -72), (24, 0, -20)),
    "Liver": ((-320, -240), (40, -70, -10)),
    "Spleen": ((-280, -240), (32, 90, 20)),
    "Kidney_L": ((-368, -288), (16, 60, 50)),
    "Kidney_R": ((-368, -328), (16, -60, 50)),
    "Spine_T": ((-262, 15), (16, 0, 70)),
    "Spine_L": ((-425, -262), (16, 0, 70)),
}
CODES = {name: 10 + 10 * i for i, name in enumerate(ORGANS)}


def body(low_mm: float, high_mm: float, without: tuple[str, ...] = ()) -> Volume:
    """A scan of a supine adult between two heights (against the tips of the lungs); x to the left, z to the head."""
    shape = (round((high_mm - low_mm) / MM), 40, 52)
    grid = Geometry.axial(shape, (MM, MM, MM), (-25.5 * MM, -19.5 * MM, 0.0), FRAME)
    voxels = np.full(shape, AIR_HU, dtype=np.int16)
    voxels[:, 4:-4, 4:-4] = BODY_HU
    for name, ((low, high), (half, left, back)) in ORGANS.items():
        start, stop = (round((mm - low_mm) / MM) for mm in (low, high))
        y, x = (
            slice(round((mm - half) / MM) + n // 2, round((mm + half) / MM) + n // 2)
            for mm, n in ((back, 40), (left, 52))
        )
        if name not in without:
            voxels[max(0, start) : max(0, stop), y, x] = CODES[name]
    return Volume(voxels, grid, Modality.CT)


@dataclass
class ValueNetwork:
    """Knows an organ by its value on voxels of 8 mm; `codes` may lie to it. Keeps the shapes of what it was asked."""

    codes: Mapping[str, int] = field(default_factory=lambda: CODES)
    name: str = "locate_ct"
    modality: Modality = Modality.CT
    asked: list[tuple[int, ...]] = field(default_factory=list)
    origin: Path = Path("made")
    engine: str = "value"

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            name=self.name,
            version="1.0.0",
            title="Organs by value",
            modality=self.modality,
            onnx_sha256="0" * 64,
            licence="Apache-2.0",
            patch_shape_zyx=(4, 4, 4),
            preprocessing=Preprocessing((MM, MM, MM), (-1024.0, 3000.0), 0.0, 1.0),
            labels=tuple(Label(i, name) for i, name in enumerate(self.codes, start=1)),
            training=Training((), (), ""),
        )

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        self.asked.append(region.values_zyx.shape)
        for plane in region.values_zyx:
            logits = np.zeros((len(self.codes) + 1, *plane.shape), dtype=np.float32)
            logits[0] = SHARP / 2
            for channel, code in enumerate(self.codes.values(), start=1):
                logits[channel, np.rint(plane) == code] = SHARP
            yield logits
        progress(1.0)


class UprightNetwork(ValueNetwork):
    """As a trained network: it sees the organs of a body that lies on its back, the spine behind, and no others."""

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        spine = np.argwhere(np.rint(region.values_zyx) == CODES["Spine_T"])
        upright = spine.size > 0 and spine[:, 1].mean() > region.values_zyx.shape[1] / 2
        for logits in super().planes(region, progress):
            if not upright:
                logits[1:] = 0.0
            yield logits
