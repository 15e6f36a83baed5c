"""A model package: a folder with `model.onnx`, `package.yaml` and `CARD.md`, checked before it is opened."""

from dataclasses import dataclass
from pathlib import Path

from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing


@dataclass(frozen=True)
class Label:
    """One output channel of a network. `name` is the TG-263 name of the structure; channel 0 is background.

    `threshold` None means argmax over all channels (softmax networks); a number means a sigmoid channel, inside where
    its probability is at least the threshold.
    """

    channel: int
    name: str
    threshold: float | None = None


@dataclass(frozen=True)
class Training:
    """Where a network comes from: shown on the card and in reports."""

    data: tuple[str, ...]
    licences: tuple[str, ...]
    command: str
    data_sha256: str = ""
    steps: int = 0


@dataclass(frozen=True)
class Manifest:
    """The content of `package.yaml`."""

    name: str
    version: str
    title: str
    modality: Modality
    onnx_sha256: str
    licence: str
    patch_shape_zyx: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: tuple[Label, ...]
    training: Training


@dataclass(frozen=True)
class ModelPackage:
    """A package on disk whose manifest was read; `inference.session` opens the network after checking its sha256."""

    folder: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """The network."""
        return self.folder / "model.onnx"
