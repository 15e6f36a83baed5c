"""What prediction asks of whatever runs a network on patches. One class in one module for each that there is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkFile:
    """A network whose checksum was verified: the very bytes, and where they lay, for messages."""

    path: Path
    content: bytes


@dataclass(frozen=True)
class Port:
    """An input or an output of a network. Of a shape, names and None are free dimensions."""

    name: str
    single_precision: bool
    shape: tuple[int | str | None, ...]

    @property
    def words(self) -> str:
        """For messages."""
        kind = "" if self.single_precision else ", not of float32"
        return f"{self.name} is {list(self.shape)}{kind}"


class Runtime(Protocol):
    """An opened network: `contour.inference.onnx_runtime` and `contour.inference.openvino_runtime` have one each."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it answers."""

    def run(self, images_n1zyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it answers to patches.

        Raises:
            PackageError: it fails.
        """


def one_line(error: Exception) -> str:
    """What a runtime says, fit for a message."""
    return " ".join(str(error).split())
