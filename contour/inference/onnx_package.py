"""A package from any ONNX network and a YAML file that states what it takes and draws; nothing but the two is read."""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from contour.config import load_config
from contour.core.errors import ConfigError, PackageError
from contour.core.staging import staged
from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import (
    CARD_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    Label,
    Manifest,
    ModelPackage,
    Step,
    Tiles,
    Training,
    load_package,
    write_manifest,
)
from contour.inference.session import Engine, SessionOptions, open_network

MAX_NETWORK_BYTES = 2 << 30  # ONNX files of one piece end there
ROUNDED_TO_ONE = 1e-3  # sums of probabilities in single precision


@dataclass(frozen=True)
class OnnxStatement:
    """The YAML file beside an ONNX network: a package's manifest without what the network itself tells.

    The network takes float32 (N, 1, z, y, x), z, y and x growing to superior, posterior and left, and answers with
    logits (N, channels, z, y, x), channel 0 the background. `data` and `data_licences` are of its training. All else is
    as in `Manifest`.
    """

    name: str
    title: str
    modality: Modality
    licence: str
    patch_shape_zyx: tuple[int, int, int]
    preprocessing: Preprocessing
    labels: tuple[Label, ...]
    version: str = "1.0.0"
    data: tuple[str, ...] = ()
    data_licences: tuple[str, ...] = ()
    source: str = ""
    largest_patch_voxels: int | None = None
    overlap: float | None = None
    tiles: Tiles = Tiles.FITTED
    steps: tuple[Step, ...] = field(default=())


def import_onnx(network: Path, statement: Path, models: Path, *, overwrite: bool = False) -> ModelPackage:
    """The package of the ONNX file `network`, as `statement` describes it, written into `models`, or nothing at all.

    One patch of noise is run: what answers with probabilities instead of logits is refused, for its confidence would be
    wrong, and its thresholds too.

    Raises:
        ConfigError: the statement has a mistake, or the package exists and `overwrite` is not set.
        PackageError: the network cannot be opened, does not fit its statement, or answers otherwise than with logits.
    """
    stated = load_config(statement, OnnxStatement)
    content = _content(network)
    try:
        manifest = _manifest(stated, hashlib.sha256(content).hexdigest())
    except ValueError as error:
        raise ConfigError(
            str(statement), str(error), f"keys {', '.join(f.name for f in fields(OnnxStatement))}"
        ) from error
    target = models / stated.name
    if (target / MANIFEST_FILE).exists() and not overwrite:
        raise ConfigError(str(target), "holds a package", "a folder without one, or overwriting")
    with staged(target) as stage:
        (stage / NETWORK_FILE).write_bytes(content)
        (stage / CARD_FILE).write_text(_card(manifest, stated, network.name), encoding="utf-8")
        write_manifest(manifest, stage)
        _check_answers(load_package(stage), network)
    return load_package(target)


def _content(network: Path) -> bytes:
    try:
        if network.stat().st_size > MAX_NETWORK_BYTES:
            raise PackageError(str(network), f"{network.stat().st_size} bytes", f"at most {MAX_NETWORK_BYTES}")
        return network.read_bytes()
    except OSError as error:
        raise PackageError(str(network), f"cannot be read ({error.strerror})", "a readable ONNX file") from error


def _manifest(stated: OnnxStatement, sha256: str) -> Manifest:
    return Manifest(
        name=stated.name,
        version=stated.version,
        title=stated.title,
        modality=stated.modality,
        onnx_sha256=sha256,
        licence=stated.licence,
        patch_shape_zyx=stated.patch_shape_zyx,
        preprocessing=stated.preprocessing,
        labels=stated.labels,
        training=Training(stated.data, stated.data_licences, stated.source or "not stated"),
        largest_patch_voxels=stated.largest_patch_voxels,
        steps=stated.steps,
        overlap=stated.overlap,
        tiles=stated.tiles,
    )


def _check_answers(package: ModelPackage, network: Path) -> None:
    opened = open_network(package, SessionOptions(engine=Engine.CPU))
    opened.check_runs()
    shape = package.manifest.patch_shape_zyx
    noise = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    answer = opened.run(noise)[0]
    if float(answer.min()) >= 0 and float(answer.max()) <= 1 + ROUNDED_TO_ONE:
        together = np.abs(answer.sum(axis=0) - 1).max()
        what = "softmax" if together < ROUNDED_TO_ONE else "sigmoid"
        found = f"answers noise with numbers from 0 to 1 only, as after a {what}"
        raise PackageError(str(network), found, f"logits: export the network without its last {what}")


def _card(manifest: Manifest, stated: OnnxStatement, file: str) -> str:
    lines = [
        f"# {manifest.title}",
        "",
        f"`{manifest.name}` {manifest.version}. Others trained this network; it was brought into this form, and not "
        "judged here. For automatic drafts of contours; every contour is for a clinician's review before any use. "
        "Commission it on cases of your own (`contour evaluate`) before anybody relies on it.",
        "",
        f"- Network: {file}, sha256 {manifest.onnx_sha256}",
        f"- Source: {stated.source or 'Not stated.'}",
        f"- Licence: {manifest.licence}",
        f"- Training data: {'; '.join(stated.data) or 'Not stated.'}",
        f"- Licences of the data: {'; '.join(stated.data_licences) or 'Not stated.'}",
        f"- Draws: {', '.join(manifest.names)}, on {manifest.modality}",
        "- Input: "
        + " x ".join(f"{mm:g}" for mm in manifest.preprocessing.spacing_zyx_mm)
        + " mm (z, y, x), patches of "
        f"{' x '.join(map(str, manifest.patch_shape_zyx))} voxels",
        "",
    ]
    return "\n".join(lines)
