"""How much memory a run may take, and what follows for reading and for the networks.

What counts is memory that the process holds by itself. Large arrays that lie in files (`contour.core.places`) do not:
the system takes them out of memory when it needs the room.
"""

import re
from dataclasses import dataclass

LEAST_GB = 1.5  # the program with its libraries, a network of ours, and the working room of a long scan
# Measured with `scripts/bench/long_scan.py`: all that a run holds is about a network's share and so many bytes for
# each byte of the image, if nothing lies in files.
NETWORK_GB = 0.9
FOR_IMAGE_BYTE = 3.6
# A patch takes 0.5 to 0.7 kB a voxel of the networks that ship.
FOR_PATCH_VOXEL = 700.0
BESIDE_PATCH_GB = 0.9

NARROW_GB = 2.5

_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?B?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class MemoryBound:
    """The memory that a run may take, in bytes.

    Raises:
        ValueError: less than what any run takes.
    """

    total_bytes: int

    def __post_init__(self) -> None:
        if self.total_bytes < LEAST_GB * 1e9:
            raise ValueError(f"{self.total_bytes / 1e9:.2f} GB: at least {LEAST_GB:g} GB")

    @classmethod
    def of(cls, text: str) -> "MemoryBound":
        """A bound as a person writes it: 2GB, 1500 MB, 2.5GiB.

        Raises:
            ValueError: that is not a size, or less than what any run takes.
        """
        found = _SIZE.fullmatch(text)
        unit = _UNITS.get(found[2].upper()) if found else None
        if not found or unit is None:
            raise ValueError(f"{text!r}: a number with B, MB, GB, MiB or GiB, such as 2GB")
        return cls(int(float(found[1]) * unit))

    @property
    def image_bytes(self) -> int:
        """The largest image whose voxels, and all that is made of them, may lie in memory."""
        return image_bytes_within(self.total_bytes)

    @property
    def is_narrow(self) -> bool:
        """Whether a network must give back its room after each patch."""
        return self.total_bytes < NARROW_GB * 1e9

    @property
    def patch_voxels(self) -> int:
        """The largest patch that a network may be given."""
        return int((self.total_bytes - BESIDE_PATCH_GB * 1e9) / FOR_PATCH_VOXEL)


def image_bytes_within(total_bytes: int) -> int:
    """The largest image whose voxels, and all that is made of them, fit into so much memory."""
    return max(0, int((total_bytes - NETWORK_GB * 1e9) / FOR_IMAGE_BYTE))
