"""A head of ellipsoids, imaged by CT and by MR that lie askew to each other, and networks that know tissue by value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.protocol import Protocol, ProtocolStructure, SecondImage
from contour.core.rigid import RigidTransform
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.inference.engine import Progress, Region
from contour.inference.package import Label, Manifest, Training

CT_FRAME, MR_FRAME = "2.25.901", "2.25.902"

# Centre and half axes, LPS in mm, and the value on CT and on MR; the later lies in the earlier.
PARTS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float]]] = {
    "skin": ((0, 0, 0), (80, 98, 92), (-80, 700)),
    "skull": ((0, 4, 6), (74, 90, 82), (900, 20)),
    "brain": ((0, 5, 8), (67, 82, 74), (40, 400)),
    "fluid": ((12, 0, 20), (9, 30, 12), (5, 150)),
    "hippocampus": ((26, 14, -8), (7, 16, 7), (60, 550)),
    "eye_l": ((32, -78, -30), (12, 12, 12), (10, 200)),
    "eye_r": ((-32, -78, -30), (12, 12, 12), (10, 200)),
}


def motion(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> RigidTransform:
    """From the frame of the MR to that of the CT."""
    a, b, c = np.radians(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return RigidTransform.between((MR_FRAME, CT_FRAME), z @ y @ x, shift_mm)


def inside(part: str, points_lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points, of the CT's frame, lie in a part of the head."""
    centre, half, _ = PARTS[part]
    result: NDArray[np.bool_] = (((points_lps_mm - np.array(centre)) / half) ** 2).sum(axis=-1) <= 1
    return result


def points_of(geometry: Geometry) -> NDArray[np.float64]:
    """(z, y, x, 3) the voxels' centres."""
    return geometry.index_to_lps_mm(np.moveaxis(np.indices(geometry.shape_zyx), 0, -1))


def ct_head(spacing_zyx_mm: tuple[float, float, float] = (3.0, 2.5, 2.5)) -> Volume:
    """The head on CT, lying straight."""
    grid = Geometry.axial(_shape((210, 220, 190), spacing_zyx_mm), spacing_zyx_mm, (-94, -109, -104), CT_FRAME)
    return _image(points_of(grid), grid, Modality.CT)


def mr_head(to_ct: RigidTransform, spacing_zyx_mm: tuple[float, float, float] = (2.5, 2.5, 2.5)) -> Volume:
    """The head on MR, straight in a frame of its own."""
    grid = Geometry.axial(_shape((230, 240, 210), spacing_zyx_mm), spacing_zyx_mm, (0, 0, 0), MR_FRAME)
    middle = to_ct.inverse.points((0, 0, 0)) - grid.index_to_lps_mm((np.asarray(grid.shape_zyx) - 1) / 2)
    grid = Geometry.axial(grid.shape_zyx, spacing_zyx_mm, (middle[0], middle[1], middle[2]), MR_FRAME)
    return _image(to_ct.points(points_of(grid)), grid, Modality.MR)


def _shape(size_mm: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    z, y, x = (round(n / mm) for n, mm in zip(size_mm, spacing_zyx_mm, strict=True))
    return z, y, x


def _image(points_lps_mm: NDArray[np.float64], grid: Geometry, modality: Modality) -> Volume:
    is_mr = modality is Modality.MR
    values = np.full(grid.shape_zyx, 0.0 if is_mr else -1000.0)
    for name, (_, _, on) in PARTS.items():
        values[inside(name, points_lps_mm)] = on[is_mr]
    noise = np.random.default_rng(7).normal(0, 4 if is_mr else 2, grid.shape_zyx)
    return Volume(np.rint(values + noise).astype(np.int16), grid, modality)


@dataclass
class TissueNetwork:
    """Knows what it draws by its range of values."""

    ranges: Mapping[str, tuple[float, float]]
    modality: Modality
    origin: Path = Path("made")
    engine: str = "value"

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            name=f"head_{self.modality.lower()}",
            version="1.0.0",
            title="Tissue by value",
            modality=self.modality,
            onnx_sha256="0" * 64,
            licence="Apache-2.0",
            patch_shape_zyx=(8, 8, 8),
            preprocessing=Preprocessing((2.5, 2.5, 2.5), (-1024.0, 3000.0), 0.0, 1.0),
            labels=tuple(Label(i, name) for i, name in enumerate(self.ranges, start=1)),
            training=Training((), (), ""),
        )

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        for plane in region.values_zyx:
            logits = np.zeros((len(self.ranges) + 1, *plane.shape), dtype=np.float32)
            logits[0] = 4.0
            for channel, (low, high) in enumerate(self.ranges.values(), start=1):
                logits[channel, (plane >= low) & (plane <= high)] = 8.0
            yield logits
        progress(1.0)


ON_CT = TissueNetwork({"Brain": (25, 50)}, Modality.CT)
ON_MR = TissueNetwork({"Brain": (330, 470), "Hippocampus_L": (500, 600)}, Modality.MR)

PROTOCOL = Protocol(
    name="two_images",
    title="Brain on CT, a hippocampus on MR",
    modality=Modality.CT,
    packages=("head_ct",),
    structures=(
        ProtocolStructure("Brain", volume_ml=(800, 2000)),
        ProtocolStructure("Hippocampus_L", volume_ml=(1, 8)),
    ),
    second_image=SecondImage(Modality.MR, ("head_mr",), ("Hippocampus_L",)),
)
