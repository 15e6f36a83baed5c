"""A model package: a folder with `model.onnx`, `package.yaml` and `CARD.md`, checked before it is opened."""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from pathlib import Path

from contour.config import load_config, save_config
from contour.core.errors import ConfigError, PackageError
from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing
from contour.inference.decide import MIXED

MANIFEST_FILE = "package.yaml"
NETWORK_FILE = "model.onnx"
CARD_FILE = "CARD.md"

MAX_CHANNEL = MIXED - 1  # channels are codes of voxels in a byte each
MAX_PATCH_VOXELS = 1 << 25  # what is larger needs more memory than the machines that this runs on have

# What the step `vertebrae` takes: labels in the order of `contour.imaging.vertebrae.Part`; and what it makes of them:
# families of structures, and how the names of their members begin.
SPINE_LABELS = (
    "VertebralCore",
    "VertebralBody",
    "VertebralArch",
    "SpinalCanal",
    "Ribs",
    "Sacrum",
    "VertebralJoint",
)
BODIES, WHOLE_VERTEBRAE = "VBs", "Vertebrae"
LUNGS = ("Lung_L", "Lung_R")  # what the step `aerated_lungs` takes
FAMILIES = {BODIES: "VB_", WHOLE_VERTEBRAE: "Vert_"}

PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Label:
    """One output channel of a network. `name` is the TG-263 name of the structure; channel 0 is background.

    `threshold` None means argmax over all channels (softmax networks); a number means a sigmoid channel, inside where
    its probability is at least the threshold. A softmax network gives each voxel to one label: `also` names those whose
    voxels belong to this structure too (the hippocampi to the brain, the cord to the spinal canal).

    Raises:
        ValueError: a channel below 1 or above 254, an empty name, a threshold that is not between 0 and 1, or one
            beside `also`.
    """

    channel: int
    name: str
    threshold: float | None = None
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.channel <= MAX_CHANNEL:
            raise ValueError(f"channel {self.channel} of {self.name}: 1 to {MAX_CHANNEL}, channel 0 is the background")
        if not self.name.strip():
            raise ValueError(f"channel {self.channel}: needs the name of a structure")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"threshold {self.threshold} of {self.name}: must lie between 0 and 1")
        if self.threshold is not None and self.also:
            raise ValueError(f"also {self.also} of {self.name}: a sigmoid channel draws its structure whole")


class Step(StrEnum):
    """What is made of a network's labels beyond themselves.

    `VERTEBRAE`: each vertebra on its own, with its level where the image tells it: see `contour.inference.spine`.
    `AERATED_LUNGS`: the lungs with the aerated lung beside them that was left out: see `contour.imaging.aeration`.
    """

    VERTEBRAE = "vertebrae"
    AERATED_LUNGS = "aerated_lungs"


class Tiles(StrEnum):
    """Where the patches of an image lie.

    `FITTED`: one stride apart over what is looked at, so that they are few. `EVEN`: evenly spaced over the whole image,
    as nnU-Net places them, and those without anything to look at left out: a network that normalises over its patch
    answers by where that lies, and gives each voxel the same logits there as at home.
    """

    FITTED = "fitted"
    EVEN = "even"


@dataclass(frozen=True)
class Training:
    """Where a network comes from: shown on the card and in reports.

    `patients` (pseudonyms) and `cases_sha256` (checksums of the cases' content) say what it has seen, validation
    included, so that nobody judges it by that. Both are empty where this is not known.
    """

    data: tuple[str, ...]
    licences: tuple[str, ...]
    command: str
    data_sha256: str = ""
    steps: int = 0
    patients: tuple[str, ...] = ()
    cases_sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The content of `package.yaml`.

    A network has one float32 input (N, 1, z, y, x), prepared as `preprocessing` says, and one float32 output
    (N, channels, z, y, x) of logits; it is run on patches of `patch_shape_zyx`. A channel that no label names competes
    with the others and is not drawn. `largest_patch_voxels`, where it is given, allows larger patches of up to so many
    voxels: less is computed twice, but a network that normalises over its patch answers otherwise on a larger one, so
    a package states it only after both were measured, and memory grows with it (0.5 to 0.7 GB a million voxels).
    `steps` names what is made of the labels beyond themselves. `overlap` is the part of a patch that it shares with the
    next one along an axis, where the network needs another than what prediction goes by; `tiles` says where they lie.

    Raises:
        ValueError: no labels, labels that share a name or a channel, softmax and sigmoid labels mixed, or a name,
            checksum, patch shape, size or overlap of the wrong form, or a step that lacks one of its labels.
    """

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
    largest_patch_voxels: int | None = None
    steps: tuple[Step, ...] = ()
    overlap: float | None = None
    tiles: Tiles = Tiles.FITTED

    def __post_init__(self) -> None:
        if not PACKAGE_NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: lower-case letters, digits and underscores, at most 64")
        if not _SHA256.fullmatch(self.onnx_sha256):
            raise ValueError(f"onnx_sha256 {self.onnx_sha256!r}: 64 lower-case hexadecimal digits")
        if min(self.patch_shape_zyx) < 1:
            raise ValueError(f"patch_shape_zyx {self.patch_shape_zyx}: every axis needs at least one voxel")
        if max(prod(self.patch_shape_zyx), self.largest_patch_voxels or 0) > MAX_PATCH_VOXELS:
            raise ValueError(f"patches of more than {MAX_PATCH_VOXELS} voxels need too much memory")
        if self.largest_patch_voxels is not None and self.largest_patch_voxels < prod(self.patch_shape_zyx):
            raise ValueError(f"largest_patch_voxels {self.largest_patch_voxels}: at least the voxels of a patch")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise ValueError(f"overlap {self.overlap}: 0 or more, below 1")
        if not self.labels:
            raise ValueError("labels: a network draws at least one structure")
        _refuse_repeats("channel", [str(label.channel) for label in self.labels])
        _refuse_repeats("name", [label.name.casefold() for label in self.labels])
        if len({label.threshold is None for label in self.labels}) > 1:
            raise ValueError("labels: either all have a threshold (sigmoid) or none has (softmax)")
        for label in self.labels:
            if not set(label.also) <= set(self.names) - {label.name}:
                raise ValueError(f"also {label.also} of {label.name}: names of other labels")
        if Step.VERTEBRAE in self.steps and not set(SPINE_LABELS) <= set(self.names):
            raise ValueError(f"steps {Step.VERTEBRAE}: needs the labels {', '.join(SPINE_LABELS)}")
        if Step.AERATED_LUNGS in self.steps and not (set(LUNGS) <= set(self.names) and self.modality is Modality.CT):
            raise ValueError(f"steps {Step.AERATED_LUNGS}: needs the labels {', '.join(LUNGS)}, on CT")

    @property
    def names(self) -> tuple[str, ...]:
        """The TG-263 names of the structures that the network draws, in the order of the labels."""
        return tuple(label.name for label in self.labels)

    @property
    def offered(self) -> tuple[str, ...]:
        """What a protocol may ask for: the labels, and the families of structures that the steps make of them."""
        return (*self.names, *(FAMILIES if Step.VERTEBRAE in self.steps else ()))

    def channels(self, label: Label) -> tuple[int, ...]:
        """The channels whose voxels make up the structure of `label`, its own first."""
        return (label.channel, *(other.channel for other in self.labels if other.name in label.also))


@dataclass(frozen=True)
class ModelPackage:
    """A package on disk whose manifest was read; `inference.session` opens the network after checking its sha256."""

    folder: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """The network."""
        return self.folder / NETWORK_FILE

    @property
    def card_path(self) -> Path:
        """The model card: what the network was trained on, and how well it draws."""
        return self.folder / CARD_FILE


def load_package(folder: Path) -> ModelPackage:
    """The package in `folder`, its manifest read and its files present; the network is not opened.

    Raises:
        PackageError: the manifest has a mistake, or a file is missing.
    """
    for file in (MANIFEST_FILE, NETWORK_FILE, CARD_FILE):
        if not (folder / file).is_file():
            raise PackageError(str(folder), f"no {file}", f"a folder with {MANIFEST_FILE}, {NETWORK_FILE}, {CARD_FILE}")
    try:
        manifest = load_config(folder / MANIFEST_FILE, Manifest)
    except ConfigError as error:
        raise PackageError(error.where, error.found, error.allowed) from error
    return ModelPackage(folder, manifest)


def available_packages(folders: tuple[Path, ...]) -> tuple[ModelPackage, ...]:
    """The packages in `folders`, sorted by name: every subfolder that holds a manifest.

    Of packages with one name the first folder's counts, so that a site's own may stand before the shipped one. Folders
    that do not exist are passed over.

    Raises:
        PackageError: a package is not whole.
    """
    found: dict[str, ModelPackage] = {}
    for folder in folders:
        for manifest in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
            package = load_package(manifest.parent)
            found.setdefault(package.manifest.name, package)
    return tuple(found[name] for name in sorted(found))


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write `package.yaml` into `folder`, whole or not at all: the one place that knows its form."""
    path = folder / MANIFEST_FILE
    save_config(manifest, path)
    return path


def _refuse_repeats(what: str, values: list[str]) -> None:
    repeated = sorted({v for v in values if values.count(v) > 1})
    if repeated:
        raise ValueError(f"labels: {what} {', '.join(repeated)} more than once")
