"""A training configuration proposed from the cases and the machine: every choice is stated, none is made later.

What nnU-Net (Isensee et al., Nature Methods 18, 2021) calls a fingerprint decides grid and intensities; what fits the
machine is measured on it, by training steps of the very network.
"""

import time
from dataclasses import dataclass, replace
from itertools import chain
from math import pi
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from contour.cases.store import CaseRecord, CaseStructure, Status, load_image, load_record, load_structure
from contour.core.errors import ConfigError
from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing, canonical_geometry
from contour.training.config import (
    AugmentationConfig,
    MemoryLayout,
    NetworkConfig,
    ScheduleConfig,
    TrainedLabel,
    TrainingConfig,
)
from contour.training.losses import marginal_dice_ce
from contour.training.network import SegmentationModule, build_network

FINEST_MM = {"cpu": 2.5, "cuda": 1.0}  # below this a network on that device sees too little of the body at once
FILTERS = {"cpu": (16, 32, 64, 128, 160), "cuda": (32, 64, 128, 256, 320)}
VOXELS_ACROSS = 3.0  # of the thinnest structure
LARGEST_PATCH = {"cpu": 64, "cuda": 128}
SMALLEST_PATCH = 32
BATCH = 2
SAMPLED_CASES = 20
SAMPLED_VOXELS = 20_000
PERCENT = (0.5, 99.5)  # of the values inside the structures: nnU-Net's bounds
FEWEST_STEPS = 3000  # a network of this kind has learnt little before
EPOCH_STEPS = 100
RAREST_SHARE = 3.0  # a rare structure is centred on at most so many times as often as a frequent one
MEMORY_SHARE = 0.6  # of what is free: the cases and the patches in waiting need the rest


@dataclass(frozen=True)
class ProposalOptions:
    """`hours` is the time for the training; a structure in fewer than `fewest_cases` is left out.

    Raises:
        ValueError: no time, or no case.
    """

    name: str
    hours: float = 2.0
    fewest_cases: int = 3
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.hours <= 0:
            raise ValueError(f"hours {self.hours}: above 0")
        if self.fewest_cases < 1:
            raise ValueError(f"fewest_cases {self.fewest_cases}: at least 1")


@dataclass(frozen=True)
class Proposal:
    """A configuration, and a sentence for each choice that a person may want to change."""

    config: TrainingConfig
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class StepCost:
    """What one training step takes: seconds, and bytes of weights and of what is kept for the way back."""

    seconds: float
    memory_bytes: int


def propose(cases: Path, names: tuple[str, ...], options: ProposalOptions) -> Proposal:
    """A configuration for the cases called `names` in the folder `cases`, on this machine.

    Raises:
        ConfigError: no structure is drawn in enough cases, or they are not CT.
    """
    folders = tuple(cases / name for name in names)
    records = tuple(load_record(folder) for folder in folders)
    if any(record.modality is not Modality.CT for record in records):
        raise ConfigError(str(cases), "holds images that are not CT", "CT, whose values mean the same everywhere")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    labels, left_out = _labels(records, options.fewest_cases)
    if not labels:
        drawn = ", ".join(f"{name} in {count}" for name, count in left_out) or "nothing"
        raise ConfigError(str(cases), f"has {drawn} cases", f"a structure in at least {options.fewest_cases}")
    spacing, why_spacing = _spacing(records, labels, device)
    preprocessing = _preprocessing(folders, records, labels, spacing)
    config = _start(options, labels, preprocessing, device)
    sized, cost, tried = _sized(config, records, options.hours, device)
    steps = max(EPOCH_STEPS, int(options.hours * 3600 / cost.seconds / EPOCH_STEPS) * EPOCH_STEPS)
    final = replace(sized, schedule=replace(sized.schedule, epochs=steps // EPOCH_STEPS))
    reasons = (
        f"{len(records)} cases; labels from large to small, so that where masks overlap the smaller counts.",
        *(f"{name} is left out: drawn in {count} cases, asked for {options.fewest_cases}." for name, count in left_out),
        why_spacing,
        f"clip, mean, std: {PERCENT[0]:g} to {PERCENT[1]:g} % of the values inside the structures.",
        *tried,
        f"{steps} steps of {cost.seconds:.2f} s, measured with nothing else running, fill {options.hours:g} hours.",
    )
    return Proposal(final, reasons)


def measure_step(config: TrainingConfig, device: str = "cpu", repeats: int = 2) -> StepCost:
    """The best of `repeats` training steps of the configured network on random patches, and what one keeps."""
    module = SegmentationModule(build_network(config.network, len(config.labels) + 1), config).to(device)
    optimizer = torch.optim.AdamW(module.parameters())
    generator = torch.Generator().manual_seed(0)
    shape = (config.schedule.batch_size, *config.patch_shape_zyx)
    image = torch.randn(shape[0], 1, *shape[1:], generator=generator).to(device)
    labels = torch.randint(0, len(config.labels) + 1, shape, generator=generator).to(device)
    drawn = torch.ones(1, len(config.labels), 1, 1, 1, dtype=torch.bool, device=device)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    seconds = []
    for _ in range(1 + repeats):  # the first one chooses algorithms and is slower
        start = time.perf_counter()
        mixed = torch.autocast(device, dtype=torch.bfloat16, enabled=config.precision != "32-true")
        with torch.autograd.graph.saved_tensors_hooks(keep, _as_it_is), mixed:
            output = module(image)
            output = output[:, 0] if config.network.deep_supervision else output
        marginal_dice_ce(output, labels, drawn).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    weights = sum(p.nbytes for p in module.parameters())
    # Weights, their gradients, two moments, and the average; the loss works on about four arrays of the output's size.
    loss = 4 * 4 * (len(config.labels) + 1) * int(np.prod(shape))
    return StepCost(min(seconds[1:]), sum(kept.values()) // (1 + repeats) + 5 * weights + loss)


# -- labels and grid -------------------------------------------------------------------------------------------------


def _labels(
    records: tuple[CaseRecord, ...], fewest: int
) -> tuple[tuple[TrainedLabel, ...], tuple[tuple[str, int], ...]]:
    volumes: dict[str, list[float]] = {}
    for entry in _drawn(records):
        volumes.setdefault(entry.name, []).append(entry.volume_ml)
    by_size = sorted(volumes, key=lambda name: -float(np.median(volumes[name])))
    kept = [name for name in by_size if len(volumes[name]) >= fewest]
    most = max((len(volumes[name]) for name in kept), default=0)
    labels = tuple(
        TrainedLabel(name, patches=round(min(RAREST_SHARE, (most / len(volumes[name])) ** 0.5), 2)) for name in kept
    )
    return labels, tuple((name, len(volumes[name])) for name in by_size if name not in kept)


def _drawn(records: tuple[CaseRecord, ...]) -> list[CaseStructure]:
    entries = chain.from_iterable(record.structures for record in records)
    return [entry for entry in entries if entry.status is not Status.NOT_DRAWN and entry.volume_ml > 0]


def _spacing(
    records: tuple[CaseRecord, ...], labels: tuple[TrainedLabel, ...], device: str
) -> tuple[tuple[float, float, float], str]:
    """Voxels as coarse as the images, or as the device asks, unless the thinnest structure needs finer ones."""
    images = np.median([canonical_geometry(record.geometry).spacing_zyx_mm for record in records], axis=0)
    thickness = {label.name: _thickness_mm(records, label.name) for label in labels}
    thinnest = min(thickness, key=lambda name: thickness[name])
    needed = thickness[thinnest] / VOXELS_ACROSS
    spacing = np.maximum(images, np.minimum(FINEST_MM[device], needed))
    z, y, x = (round(float(v), 2) for v in spacing)
    reason = (
        f"spacing: the images have {images[0]:.2f} x {images[1]:.2f} x {images[2]:.2f} mm (median), {thinnest} is "
        f"{thickness[thinnest]:.1f} mm thick, and finer than {FINEST_MM[device]:g} mm is too slow here."
    )
    return (z, y, x), reason


def _thickness_mm(records: tuple[CaseRecord, ...], name: str) -> float:
    """The diameter of a ball of the structure's volume, or of a rod of its length, whichever is less; the median."""
    found = []
    for record in records:
        entry = record.structure(name)
        if entry.status is not Status.NOT_DRAWN and entry.volume_ml > 0:
            volume = 1000 * entry.volume_ml
            length = max(n * mm for n, mm in zip(entry.shape_zyx, record.geometry.spacing_zyx_mm, strict=True))
            found.append(min((6 * volume / pi) ** (1 / 3), 2 * (volume / length / pi) ** 0.5))
    return float(np.median(found))


def _preprocessing(
    folders: tuple[Path, ...],
    records: tuple[CaseRecord, ...],
    labels: tuple[TrainedLabel, ...],
    spacing_zyx_mm: tuple[float, float, float],
) -> Preprocessing:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(folders))[:SAMPLED_CASES]
    values = np.concatenate([_inside(folders[i], records[i], labels, rng) for i in order])
    low, high = (float(v) for v in np.percentile(values, PERCENT))
    # Air outside the body must stay below every tissue, also where no structure holds air.
    low = min(low, -1000.0)
    high = max(high, low + 1)
    clipped = np.clip(values, low, high)
    std = max(1.0, float(clipped.std()))
    return Preprocessing(spacing_zyx_mm, (round(low), round(high)), round(float(clipped.mean())), round(std))


def _inside(
    folder: Path, record: CaseRecord, labels: tuple[TrainedLabel, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Values of the image inside the structures of a case, as many of each."""
    image = load_image(folder, record).voxels_zyx
    parts = [np.zeros(0, dtype=np.float32)]
    for label in labels:
        if label.name in record.drawn_names:
            structure = load_structure(folder, record, label.name)
            inside = image[structure.box.slices][structure.mask_zyx]
            parts.append(rng.choice(inside, min(len(inside), SAMPLED_VOXELS // len(labels))).astype(np.float32))
    return np.concatenate(parts)


# -- network and patch -----------------------------------------------------------------------------------------------


def _start(
    options: ProposalOptions, labels: tuple[TrainedLabel, ...], preprocessing: Preprocessing, device: str
) -> TrainingConfig:
    side = LARGEST_PATCH[device]
    return TrainingConfig(
        name=options.name,
        version="0.1.0",
        title=f"Organs at risk on CT: {', '.join(label.name for label in labels)}"[:200],
        licence="not stated",
        preprocessing=preprocessing,
        patch_shape_zyx=(side, side, side),
        labels=labels,
        network=NetworkConfig(FILTERS[device]),
        schedule=ScheduleConfig(
            epochs=1,
            epoch_steps=EPOCH_STEPS,
            batch_size=BATCH,
            learning_rate=0.002,
            weight_decay=0.01,
            ema_decay=0.998,
            seed=1,
        ),
        augmentation=AugmentationConfig(
            rotate_degrees=12.0,
            scale=0.15,
            elastic_probability=0.2,
            elastic_mm=(100.0, 300.0),
            shift=0.1,
            noise=0.1,
            low_resolution_probability=0.15,
            truncate_probability=0.2,
        ),
    )


def _sized(
    config: TrainingConfig, records: tuple[CaseRecord, ...], hours: float, device: str
) -> tuple[TrainingConfig, StepCost, tuple[str, ...]]:
    """The configuration with the faster memory layout and the largest patch that time and memory allow."""
    divisor = 2 ** (len(config.network.filters) - 1)
    extents = np.median([_extent_voxels(record, config) for record in records], axis=0)
    reasons = []
    small = replace(config, patch_shape_zyx=_patch(SMALLEST_PATCH, extents, divisor))
    costs = {layout: measure_step(replace(small, memory_layout=layout), device) for layout in MemoryLayout}
    layout = min(costs, key=lambda item: costs[item].seconds)
    measured = ", ".join(f"{item} {cost.seconds:.2f} s" for item, cost in costs.items())
    reasons.append(f"memory_layout: a step on small patches takes {measured}.")
    budget = MEMORY_SHARE * _free_bytes(device)
    chosen, cost = replace(small, memory_layout=layout), costs[layout]
    for side in range(LARGEST_PATCH[device], SMALLEST_PATCH, -divisor):
        larger = replace(chosen, patch_shape_zyx=_patch(side, extents, divisor))
        found = measure_step(larger, device, repeats=1)
        steps = hours * 3600 / found.seconds
        fits = found.memory_bytes <= budget and steps >= FEWEST_STEPS
        why = "" if fits else f": too much for {budget / 1e9:.1f} GB and {FEWEST_STEPS} steps in {hours:g} h"
        patch = " x ".join(map(str, larger.patch_shape_zyx))
        reasons.append(f"patch {patch}: {found.seconds:.2f} s a step, {found.memory_bytes / 1e9:.1f} GB{why}.")
        if fits:
            return larger, found, tuple(reasons)
    return chosen, cost, tuple(reasons)


def _extent_voxels(record: CaseRecord, config: TrainingConfig) -> NDArray[np.float64]:
    geometry = canonical_geometry(record.geometry)
    extent_mm = np.asarray(geometry.shape_zyx) * np.asarray(geometry.spacing_zyx_mm)
    voxels: NDArray[np.float64] = extent_mm / np.asarray(config.preprocessing.spacing_zyx_mm)
    return voxels


def _patch(side: int, extents: NDArray[np.float64], divisor: int) -> tuple[int, int, int]:
    """A cube of `side` voxels, less where the images are smaller."""
    z, y, x = (max(divisor, min(side, int(np.ceil(n / divisor)) * divisor)) for n in extents)
    return z, y, x


def _free_bytes(device: str) -> float:
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    return float(psutil.virtual_memory().available)


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
