"""What prediction asks of a network, whatever runs it: the logits of a part of a prepared image, plane by plane."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import Mask
from contour.inference.package import Manifest, Tiles

Progress = Callable[[float], None]  # the part of the work that is done, 0 to 1


@dataclass(frozen=True)
class Region:
    """The part of a prepared image that a network is asked about, and how it is cut into patches.

    `values_zyx` and `inside_zyx` have one shape. Outside of `inside_zyx` there is nothing to be found: a patch without
    any voxel of it may be left out, and is background then. Patches have `patch_zyx` voxels and share at least the part
    `overlap` with the next one along an axis; an axis shorter than a patch is padded with `padding` on both sides.
    """

    values_zyx: NDArray[np.float32]
    inside_zyx: Mask
    patch_zyx: tuple[int, int, int]
    overlap: float
    padding: float
    tiles: Tiles = Tiles.FITTED


class NetworkEngine(Protocol):
    """An opened network. ONNX Runtime on a package is one (`inference.session`), torch on a checkpoint another."""

    @property
    def manifest(self) -> Manifest:
        """What the network draws and how its input is prepared."""

    @property
    def origin(self) -> Path:
        """The package's folder, or the checkpoint: for messages."""

    @property
    def engine(self) -> str:
        """What runs the network, for reports: "cpu", "cuda", "torch cpu" ..."""

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        """Logits (channels, y, x) of each plane of `region`, from the first to the last.

        An array is valid until the next one is asked for. `progress` is told the part of the patches that is done.

        Raises:
            PackageError: the network fails, or answers with what is no number.
        """
