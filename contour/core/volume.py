"""An image: voxels on a geometry."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry


class Modality(StrEnum):
    """The modalities that can be contoured, by their DICOM codes (PS3.3 C.7.3.1.1.1)."""

    CT = "CT"
    MR = "MR"


@dataclass(frozen=True)
class Volume:
    """Voxels (z, y, x) on `geometry`: HU for CT (int16 or float32), arbitrary units for MR.

    Raises:
        ValueError: the array's shape is not the geometry's.
    """

    voxels_zyx: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    modality: Modality

    def __post_init__(self) -> None:
        if self.voxels_zyx.shape != self.geometry.shape_zyx:
            raise ValueError(f"voxels {self.voxels_zyx.shape} do not fit the geometry {self.geometry.shape_zyx}")

    def cropped(self, box: Box) -> "Volume":
        """The part inside `box`; the voxels are a view."""
        return Volume(self.voxels_zyx[box.slices], self.geometry.cropped(box), self.modality)
