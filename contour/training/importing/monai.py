"""From a MONAI bundle to a package that draws what the bundle draws.

Read are its configuration (`network_def`, `preprocessing`, `inferer` and `postprocessing`, which MONAI's specification
of bundles names so), its `metadata.json`, which names the network's channels, and its weights. Nothing of it is run:
see `bundle_config`, and `monai_weights`. What becomes of its transforms stands in `bundle_steps`.
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError, PackageError
from contour.core.staging import staged
from contour.core.volume import Modality
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Label,
    Manifest,
    Tiles,
    Training,
    load_package,
    write_manifest,
)
from contour.inference.session import verify_package
from contour.training.card import CardInput
from contour.training.export import MAX_RANDOM_DIFFERENCE, ExportDiffersError, export_onnx, onnx_difference
from contour.training.importing.bundle_config import BundleConfig, BundlePart, read_bundle_config
from contour.training.importing.bundle_steps import (
    After,
    Before,
    Window,
    read_after,
    read_before,
    read_window,
    with_window,
)
from contour.training.importing.canonical import CanonicalAxes, with_background
from contour.training.importing.card import ImportedFacts, imported_card
from contour.training.importing.entries import Entries, read_json
from contour.training.importing.monai_weights import network_with_weights
from contour.training.importing.names import MappedName, NamesFile, map_names
from contour.training.importing.nnunet import Imported
from contour.training.importing.totalsegmentator import load_tasks

CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
METADATA = "metadata.json"
WEIGHTS = ("models/model.safetensors", "models/model.pt")
_STATED = "Not stated: ask its authors before use."
_NOISE_ROUNDED = 1e-3  # of sums of probabilities in single precision


@dataclass(frozen=True)
class MonaiOptions:
    """What a package is made of, and called.

    `config` and `weights` are files of the bundle, relative to it; by default its inference configuration, and what
    that loads. `changes` are entries of the configuration that are otherwise, as `displayable_configs#highres=false`.
    """

    name: str
    title: str = ""
    version: str = "1.0.0"
    config: str | None = None
    weights: str | None = None
    changes: tuple[str, ...] = ()
    modality: Modality | None = None
    names: Path | None = None
    said: CardInput = field(default_factory=CardInput)
    licence: str = _STATED
    overwrite: bool = False


@dataclass(frozen=True)
class _Bundle:
    """What was read of a bundle; `labels` are its channels' names by number."""

    folder: Path
    config: BundleConfig
    metadata: Entries
    before: Before
    window: Window
    after: After
    labels: dict[int, str]
    weights: Path


class CanonicalBundleNetwork(nn.Module):
    """A bundle's network as a package wants one: axes as canonical images have them, and a background."""

    def __init__(self, network: nn.Module, bundle: _Bundle) -> None:
        super().__init__()
        self.network = network
        self._axes = CanonicalAxes(bundle.before.order, bundle.before.orientation)
        self._sigmoids = bundle.after.threshold is not None

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, channels, z, y, x) of canonical images (N, 1, z, y, x)."""
        answer = self.network(self._axes.there(image))
        logits = answer[0] if isinstance(answer, list | tuple) else answer
        return self._axes.back(with_background(logits) if self._sigmoids else logits)


def import_monai(folder: Path, models: Path, options: MonaiOptions) -> Imported:
    """The package of the bundle in `folder`, written into `models`, or nothing at all.

    Raises:
        PackageError: the bundle is not whole, would have to be run to be read, or needs what is not done here.
        ConfigError: the package exists and `overwrite` is not set, or the file of names has a mistake.
        ExportDiffersError: onnxruntime answers otherwise than torch.
    """
    target = models / options.name
    if (target / MANIFEST_FILE).exists() and not options.overwrite:
        raise ConfigError(str(target), "holds a package", "a folder without one, or overwriting")
    bundle = _read(folder, options)
    modality = _modality(bundle, options)
    mapped = map_names(bundle.labels.values(), options.names, _ready())
    if all(one.name is None for one in mapped):
        raise PackageError(str(folder), "every label is left out", "at least one that is drawn")
    network = CanonicalBundleNetwork(network_with_weights(_network_part(bundle.config), bundle.weights), bundle)
    with staged(target) as stage:
        difference = _export(network, bundle, stage)
        manifest = _manifest(bundle, mapped, modality, options, stage)
        notes = (*bundle.before.notes, *bundle.window.notes, *bundle.after.notes, *_notes(bundle, mapped))
        facts = ImportedFacts(manifest, mapped, _source(bundle), notes, difference)
        (stage / CARD_FILE).write_text(imported_card(_said(bundle, options), facts), encoding="utf-8")
        write_manifest(manifest, stage)
        verify_package(load_package(stage))
    return Imported(load_package(target), mapped, notes, difference)


def _read(folder: Path, options: MonaiOptions) -> _Bundle:
    config = read_bundle_config(_inside(folder, options.config, CONFIGS, "a configuration"), options.changes)
    # Beside the configuration: a bundle with several has one of these for each.
    beside = Path(config.where).parent / METADATA
    metadata = read_json(beside if beside.is_file() else folder / "configs" / METADATA)
    after = read_after(config)
    return _Bundle(
        folder=folder,
        config=config,
        metadata=metadata,
        before=read_before(config),
        window=read_window(config),
        after=after,
        labels=_labels(metadata, after),
        weights=_inside(folder, options.weights or _stated_weights(config), WEIGHTS, "weights"),
    )


def _inside(folder: Path, stated: str | None, usual: tuple[str, ...], what: str) -> Path:
    """The file `stated` of a bundle, or the first of the `usual` ones that is there."""
    paths = [folder / stated] if stated is not None else [folder / name for name in usual if (folder / name).is_file()]
    if not paths or not paths[0].is_file():
        raise PackageError(str(paths[0] if paths else folder), f"is not there, or without {what}", ", ".join(usual))
    if not paths[0].resolve().is_relative_to(folder.resolve()):
        raise PackageError(str(paths[0]), "lies outside the bundle", f"{what} inside it")
    return paths[0]


def _network_part(config: BundleConfig) -> BundlePart:
    return config.part("network_def" if config.has("network_def") else "network")


def _stated_weights(config: BundleConfig) -> str | None:
    """What the configuration loads, as a path in the bundle; None where it does not say so."""
    loaders = [config.part("checkpointloader")] if config.has("checkpointloader") else []
    if not loaders and config.has("handlers"):
        loaders = [part for part in config.parts("handlers") if part.kind == "CheckpointLoader"]
    if not loaders:
        return None
    path = loaders[0].value("load_path")
    if not isinstance(path, str):
        raise loaders[0].refuse("load_path", "a path, or --weights")
    root = config.value("bundle_root") if config.has("bundle_root") else "."
    inside = path.removeprefix(str(root)).lstrip("/") if isinstance(root, str) else path
    return inside or None


def _labels(metadata: Entries, after: After) -> dict[int, str]:
    outputs = metadata.part("network_data_format").part("outputs")
    name = "pred" if outputs.has("pred") else next(iter(outputs.content), "pred")
    channels = outputs.part(name).part("channel_def")
    found = {}
    for key, label in channels.content.items():
        if not str(key).isdigit() or not isinstance(label, str) or not label.strip():
            raise channels.refuse(key, "a name for the number of each channel")
        found[int(key)] = label
    if after.threshold is not None:
        # Sigmoids need no background; the package's gets channel 0.
        return {number + 1: label for number, label in sorted(found.items()) if label.casefold() != "background"}
    background = found.pop(0, None)
    if background is None or "background" not in background.casefold():
        raise channels.refuse("0", '"background", as the network decides by an argmax')
    return dict(sorted(found.items()))


def _modality(bundle: _Bundle, options: MonaiOptions) -> Modality:
    if options.modality is not None:
        return options.modality
    inputs = bundle.metadata.part("network_data_format").part("inputs")
    names = list(inputs.content)
    if len(names) != 1:
        raise PackageError(inputs.where, f"{len(names)} inputs ({', '.join(names[:3])})", "one image")
    stated = str(inputs.part(names[0]).content.get("modality", "")).upper()
    if stated not in tuple(Modality):
        raise PackageError(f"{inputs.where}: modality", repr(stated), "CT or MR, or --modality")
    return Modality(stated)


def _ready() -> NamesFile:
    """Names of the data sets that bundles were trained on."""
    own = load_config(shipped_folder("configs") / "import" / "monai.yaml", NamesFile)
    return NamesFile(load_tasks().names | own.names)


def _export(network: CanonicalBundleNetwork, bundle: _Bundle, stage: Path) -> float:
    _, shape = with_window(bundle.before, bundle.window)
    patch = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        answer = network(patch)
    wanted = (1, 1 + max(bundle.labels), *shape)
    if tuple(answer.shape) != wanted:
        raise PackageError(
            bundle.config.where, f"answers {tuple(answer.shape)}", f"{wanted}, as its channels are named"
        )
    if float(answer.min()) >= 0 and float(answer.max()) <= 1 + _NOISE_ROUNDED:
        raise PackageError(bundle.config.where, "answers noise with numbers from 0 to 1 only", "a network of logits")
    del answer
    export_onnx(network, patch, stage / NETWORK_FILE, any_grid=False)
    difference = onnx_difference(network, patch, stage / NETWORK_FILE)
    if not difference <= MAX_RANDOM_DIFFERENCE:
        found = f"logits differ by {difference:.2g} of the largest"
        raise ExportDiffersError(f"{bundle.folder}: {found}; allowed: {MAX_RANDOM_DIFFERENCE}")
    return difference


def _manifest(
    bundle: _Bundle, mapped: tuple[MappedName, ...], modality: Modality, options: MonaiOptions, stage: Path
) -> Manifest:
    labels = tuple(
        Label(channel, one.name, bundle.after.threshold)
        for channel, one in zip(bundle.labels, mapped, strict=True)
        if one.name is not None
    )
    preprocessing, patch = with_window(bundle.before, bundle.window)
    source = str(bundle.metadata.content.get("data_source", "")) or "not stated"
    return Manifest(
        name=options.name,
        version=options.version,
        title=options.title or str(bundle.metadata.content.get("name") or bundle.metadata.content.get("task") or ""),
        modality=modality,
        onnx_sha256=hashlib.sha256((stage / NETWORK_FILE).read_bytes()).hexdigest(),
        licence=options.licence,
        patch_shape_zyx=patch,
        preprocessing=preprocessing,
        labels=labels,
        training=Training(options.said.data or (source,), options.said.licences, "a MONAI bundle"),
        overlap=bundle.window.overlap,
        tiles=Tiles.EVEN,
    )


def _notes(bundle: _Bundle, mapped: tuple[MappedName, ...]) -> tuple[str, ...]:
    notes = []
    unwritable = [one.name for one in mapped if one.name is not None and not one.writable]
    if unwritable:
        notes.append(f"No RTSTRUCT takes these names: {', '.join(unwritable)}. Name them otherwise to draw them.")
    intended = bundle.metadata.content.get("intended_use")
    if isinstance(intended, str) and intended:
        notes.append(f'Its authors say of its use: "{intended}".')
    return tuple(notes)


def _source(bundle: _Bundle) -> tuple[str, ...]:
    stated = {key: str(bundle.metadata.content.get(key, "not stated")) for key in ("version", "monai_version")}
    weights = hashlib.sha256(bundle.weights.read_bytes()).hexdigest()
    return (
        f"MONAI bundle {bundle.metadata.content.get('name') or bundle.folder.name} {stated['version']}, made with "
        f"MONAI {stated['monai_version']}, {Path(bundle.config.where).relative_to(bundle.folder).as_posix()}",
        f"Network {_network_part(bundle.config).target}",
        f"{bundle.weights.relative_to(bundle.folder).as_posix()}: sha256 {weights}",
    )


def _said(bundle: _Bundle, options: MonaiOptions) -> CardInput:
    """What the bundle says of itself, where no person said otherwise."""
    content = bundle.metadata.content
    references = content.get("references")
    citation = "; ".join(map(str, references)) if isinstance(references, list) else ""
    return replace(
        options.said,
        developed_by=options.said.developed_by or str(content.get("authors", "")),
        citation=options.said.citation or citation,
    )
