"""From an nnU-Net v2 trained-model folder to a package that draws what nnU-Net's own predictor draws.

What nnU-Net does around its network is data in the package (`Preprocessing`, overlap, padding); what it does to the
axes stands in the ONNX graph, so that a package takes images as every other: z, y, x to superior, posterior and left.
Folds are averaged as logits, as nnU-Net averages them, one after the other in one graph: blending and interpolation are
linear, so that this is the mean of their separate drawings, and memory holds one fold's features at a time.
Mirroring, which nnU-Net does by default, is not done: it takes eight times as long, and left is not right.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from contour.core.errors import ConfigError, PackageError
from contour.core.staging import staged
from contour.core.volume import Modality
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Label,
    Manifest,
    ModelPackage,
    Tiles,
    Training,
    load_package,
    write_manifest,
)
from contour.inference.session import verify_package
from contour.training.card import CardInput
from contour.training.export import MAX_RANDOM_DIFFERENCE, ExportDiffersError, export_onnx, onnx_difference
from contour.training.importing.canonical import AS_STORED, CanonicalAxes, with_background
from contour.training.importing.card import ImportedFacts, imported_card
from contour.training.importing.checkpoint import load_weights, network_weights, read_checkpoint
from contour.training.importing.names import MappedName, NamesFile, map_names
from contour.training.importing.nnunet_plans import (
    OVERLAP,
    TrainedModel,
    check_orientation,
    read_model,
)
from contour.training.importing.unet import UNet

# nnU-Net's own trainers that change how a network is trained, and not the network that plans name; and what stands
# behind their names: how long, without mirroring, with another loss, optimiser, schedule, sampling or augmentation.
_KNOWN_TRAINER = re.compile(
    r"nnUNetTrainer(_?(\d+epochs?|NoMirroring|onlyMirror01|NoDeepSupervision|noDummy2DDA|NoDA|DA5|DA5ord0|DAOrd0|DASegOrd0"
    r"|CELoss|DiceLoss|DiceCELoss|DiceTopK10Loss|TopkLoss|TopK10Loss|CosAnneal|warmup|Adam|Adan|VanillaAdam|adam\w*"
    r"|vanillaAdam\w*|probabilisticOversampling\w*|noSmooth|Benchmark\w*|BN))*"
)
_STATED = "Not stated: ask its authors before use."


@dataclass(frozen=True)
class NnunetOptions:
    """What a package is made of, and called.

    `folds` None means every fold that has the checkpoint; `configuration` only decides where a cascade's stages lie.
    `orientation` says where z, y and x of the training images grow to, for readers that take images as stored; None
    means what the reader says, else DICOM's usual order. `any_trainer` takes the plans' network for that of a trainer
    that is not nnU-Net's own. `ready` are names that are known for this data set; those of `names` go before.
    `notes` are for the card and the person at the terminal.
    """

    name: str
    title: str = ""
    version: str = "1.0.0"
    folds: tuple[str, ...] | None = None
    checkpoint: str = "checkpoint_final.pth"
    modality: Modality | None = None
    orientation: str | None = None
    names: Path | None = None
    ready: NamesFile | None = None
    said: CardInput = field(default_factory=CardInput)
    licence: str = _STATED
    any_trainer: bool = False
    notes: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class Imported:
    """A package that was written: what its labels are called, and what a person should know."""

    package: ModelPackage
    names: tuple[MappedName, ...]
    notes: tuple[str, ...]
    random_difference: float


@dataclass(frozen=True)
class _Folds:
    """The networks of a folder, and what their checkpoints say of their training."""

    networks: tuple[UNet, ...]
    names: tuple[str, ...]
    trainer: str
    epochs: int
    sha256: tuple[str, ...]


class CanonicalNetwork(nn.Module):
    """Networks of nnU-Net's as a package wants one: axes as canonical images have them, a background, one answer."""

    def __init__(self, networks: tuple[UNet, ...], model: TrainedModel, orientation: str) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._axes = CanonicalAxes(model.order, orientation)
        self._flat = model.network.dimensions == 2
        self._regions = model.labels[0].is_region

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, channels, z, y, x) of canonical images (N, 1, z, y, x)."""
        there = self._axes.there(image)
        logits = self._answer(self.networks[0], there)
        for network in self.networks[1:]:
            logits = logits + self._answer(network, there)
        if len(self.networks) > 1:
            logits = logits / len(self.networks)
        # Regions are sigmoids, and none is the background.
        return self._axes.back(with_background(logits) if self._regions else logits)

    def _answer(self, network: nn.Module, image: Tensor) -> Tensor:
        if not self._flat:
            answer: Tensor = network(image)
            return answer
        # Slices one by one: (N, 1, slices, rows, columns) as a batch of pictures, and back.
        n, channels, slices, rows, columns = image.shape
        pictures = image.transpose(1, 2).reshape(n * slices, channels, rows, columns)
        drawn: Tensor = network(pictures)
        return drawn.reshape(n, slices, -1, rows, columns).transpose(1, 2)


def import_nnunet(folder: Path, models: Path, options: NnunetOptions) -> Imported:
    """The package of the trained model in `folder`, written into `models`, or nothing at all.

    Raises:
        PackageError: the folder is not whole, would have to be run to be read, or needs what is not done here.
        ConfigError: the package exists and `overwrite` is not set, or the file of names has a mistake.
        ExportDiffersError: onnxruntime answers otherwise than torch.
    """
    target = models / options.name
    if (target / MANIFEST_FILE).exists() and not options.overwrite:
        raise ConfigError(str(target), "holds a package", "a folder without one, or overwriting")
    folds, model = _load(folder, options)
    orientation, notes = _orientation(model, options)
    mapped = map_names((label.name for label in model.labels), options.names, options.ready)
    if all(one.name is None for one in mapped):
        raise PackageError(str(folder), "every label is left out", "at least one that is drawn")
    _modality(model, options)  # before the work
    network = CanonicalNetwork(folds.networks, model, orientation)
    with staged(target) as stage:
        difference = _export(network, model, stage)
        manifest = _manifest(model, mapped, folds, options, stage)
        notes = (*options.notes, *notes, *_notes(model, mapped))
        facts = ImportedFacts(manifest, mapped, _source(model, folds), notes, difference)
        (stage / CARD_FILE).write_text(imported_card(options.said, facts), encoding="utf-8")
        write_manifest(manifest, stage)
        verify_package(load_package(stage))
    return Imported(load_package(target), mapped, notes, difference)


def _load(folder: Path, options: NnunetOptions) -> tuple[_Folds, TrainedModel]:
    paths = _checkpoints(folder, options)
    contents = [read_checkpoint(path) for path in paths]
    configuration, trainer = _said(contents[0], paths[0])
    for path, content in zip(paths, contents, strict=True):
        if _said(content, path) != (configuration, trainer):
            raise PackageError(str(path), "is of another training", f"{configuration} by {trainer}, as {paths[0]}")
    if not _KNOWN_TRAINER.fullmatch(trainer) and not options.any_trainer:
        allowed = "a trainer of nnU-Net's own, or --any-trainer if it trains the network that the plans name"
        raise PackageError(str(paths[0]), f"trained by {trainer}", allowed)
    model = read_model(folder, configuration)
    if model.previous is not None:
        found = f"{configuration} takes what {model.previous} drew"
        raise PackageError(str(folder), found, "a network that stands alone: 3d_fullres, 3d_lowres or 2d")
    networks = []
    for path, content in zip(paths, contents, strict=True):
        network = UNet(model.network)
        load_weights(network, network_weights(path, content, "network_weights"), str(path))
        networks.append(network.eval())
    epochs = contents[0].get("current_epoch")
    checksums = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    names = tuple(path.parent.name for path in paths)
    return _Folds(tuple(networks), names, trainer, epochs if isinstance(epochs, int) else 0, checksums), model


def _checkpoints(folder: Path, options: NnunetOptions) -> tuple[Path, ...]:
    wanted = options.folds or tuple(sorted(p.name.removeprefix("fold_") for p in folder.glob("fold_*") if p.is_dir()))
    paths = tuple(folder / f"fold_{fold}" / options.checkpoint for fold in wanted)
    if options.folds is None:
        paths = tuple(path for path in paths if path.is_file())
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise PackageError(str(missing[0] if missing else folder), "is no checkpoint", f"fold_N/{options.checkpoint}")
    return paths


def _said(content: dict[str, object], path: Path) -> tuple[str, str]:
    """The configuration and the trainer that a checkpoint names."""
    settings, trainer = content.get("init_args"), content.get("trainer_name")
    configuration = settings.get("configuration") if isinstance(settings, dict) else None
    if not isinstance(configuration, str) or not isinstance(trainer, str):
        raise PackageError(str(path), "does not say what trained it", "a checkpoint of nnU-Net v2")
    return configuration, trainer


def _orientation(model: TrainedModel, options: NnunetOptions) -> tuple[str, tuple[str, ...]]:
    if options.orientation is not None:
        return check_orientation(options.orientation), ()
    if model.orientation is not None:
        return model.orientation, ()
    note = (
        f"Its training images are taken to grow to {AS_STORED} along z, y and x, as DICOM's usually do: nnU-Net took "
        "them as they were stored, and does not say how that was. Compare left and right on a case before use."
    )
    return AS_STORED, (note,)


def _modality(model: TrainedModel, options: NnunetOptions) -> Modality:
    modality = options.modality or model.modality
    if modality is None:
        raise PackageError(str(model.folder), "does not say whether its images are CT or MR", "--modality CT or MR")
    return modality


def _export(network: CanonicalNetwork, model: TrainedModel, stage: Path) -> float:
    patch = torch.randn(1, 1, *model.patch_shape_zyx, generator=torch.Generator().manual_seed(0))
    # Even tiles are all of one size: that of the patch.
    export_onnx(network, patch, stage / NETWORK_FILE, any_grid=False)
    difference = onnx_difference(network, patch, stage / NETWORK_FILE)
    if not difference <= MAX_RANDOM_DIFFERENCE:
        found = f"logits differ by {difference:.2g} of the largest"
        raise ExportDiffersError(f"{model.folder}: {found}; allowed: {MAX_RANDOM_DIFFERENCE}")
    return difference


def _manifest(
    model: TrainedModel, mapped: tuple[MappedName, ...], folds: _Folds, options: NnunetOptions, stage: Path
) -> Manifest:
    labels = tuple(
        Label(source.channel, one.name, 0.5 if source.is_region else None)
        for source, one in zip(model.labels, mapped, strict=True)
        if one.name is not None
    )
    training = Training(
        data=options.said.data or (model.dataset,),
        licences=options.said.licences,
        command=f"nnU-Net {folds.trainer}, {model.configuration}, {', '.join(folds.names)}",
        steps=0,
    )
    return Manifest(
        name=options.name,
        version=options.version,
        title=options.title or f"{model.dataset}, {model.configuration} of nnU-Net",
        modality=_modality(model, options),
        onnx_sha256=hashlib.sha256((stage / NETWORK_FILE).read_bytes()).hexdigest(),
        licence=options.licence,
        patch_shape_zyx=model.patch_shape_zyx,
        preprocessing=model.preprocessing,
        labels=labels,
        training=training,
        overlap=OVERLAP,
        tiles=Tiles.EVEN,
    )


def _notes(model: TrainedModel, mapped: tuple[MappedName, ...]) -> tuple[str, ...]:
    notes = []
    unwritable = [one.name for one in mapped if one.name is not None and not one.writable]
    if unwritable:
        notes.append(f"No RTSTRUCT takes these names: {', '.join(unwritable)}. Name them otherwise to draw them.")
    if model.labels[0].is_region:
        notes.append("Its labels are regions: each is drawn whole, and they may overlap.")
    return tuple(notes)


def _source(model: TrainedModel, folds: _Folds) -> tuple[str, ...]:
    return (
        f"nnU-Net v2 data set {model.dataset}, configuration {model.configuration}, trainer {folds.trainer}",
        *(f"{name}: sha256 {checksum}" for name, checksum in zip(folds.names, folds.sha256, strict=True)),
        f"{folds.epochs} epochs",
    )
