"""Cases for the network of the head and neck: planning CTs, chest CTs, and label maps that become images.

The planning CTs are cropped to their dose and blank around the body: half of them are shown a second time on a table,
in a fixation mask. They lack eyes, and the brain is found in them by its HU. Label maps bring whole heads (`heads`),
chest CTs what lies below the neck. Every case says which structures were looked for in it; of the others, background
says nothing.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import ConfigError
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import canonical_geometry
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import (
    PreparedCase,
    prepare_case,
    prepare_label_map,
    prepare_tissue_map,
    resample_labels,
    save_prepared,
)
from scripts.head_ct.heads import FRAME, LabelledHead, Making, rater_head, whole_head
from scripts.head_ct.openkbp import Listed, cleaned_case, list_patients
from scripts.head_ct.surroundings import on_table
from scripts.locate_ct.cases import brain_of

HELD_OUT_HEADS = ("seg_17", "seg_18", "seg_19", "seg_20")
HELD_OUT_SCANS = ("0522c0845", "TCGA-CV-7236", "TCGA-CV-7243", "TCGA-CV-A6K0", "TCGA-CV-A6K1")
LENDERS = ("seg_01", "seg_02", "seg_05", "seg_06", "seg_08", "seg_10", "seg_14", "seg_15")  # they go down to the neck
CUBE_MM = 2.5
CHESTS = ("lidc_0001_auto", "totalseg_slab20")
CHEST_NAMES = {"SpinalCord": "spinal_cord", "Esophagus": "esophagus"}
ABSENT_IN_CHESTS = ("Brain", "Brainstem", "Mandible", "Parotid_L", "Parotid_R", "Eye_L", "Eye_R")
ROUGH_HEADS = {"seg_16": ("Eye_L", "Eye_R")}  # found by looking: half an eye each
DRAWN_IN_HEADS = ("Brain", "Brainstem", "SpinalCord", "Eye_L", "Eye_R")
DRAWN_BY_RATERS = (*DRAWN_IN_HEADS, "Mandible", "Parotid_L", "Parotid_R")
SHOWN = ("pt_201", "pt_207", "pt_225", "pt_232")  # validation cases to look at after each epoch


@dataclass(frozen=True)
class Source:
    """A case, how often it is shown relative to the others, and how it is made."""

    name: str
    weight: float
    make: Callable[[], PreparedCase]


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases and how often each is shown; cases that are in `work` already stay as they are.

    Raises:
        ConfigError: the configuration says nothing of how tissues look.
        InputRefused: a file cannot be read.
    """
    if config.synthesis is None:
        raise ConfigError(config.name, "no synthesis", "how the tissues of label maps look")
    training = (*_planned(data, config), *_chests(data, config), *_heads(data, config), *_raters(data, config))
    listed = {patient.name: patient for patient in list_patients(data / "headneck" / "openkbp")}
    shown = [Source(name, 0.0, partial(planning_case, data, listed[name], config)) for name in SHOWN]
    validation = written(tuple(shown), work / "validation")
    return FitInput(written(training, work / "cases"), tuple(source.weight for source in training), validation)


def written(sources: tuple[Source, ...], folder: Path) -> tuple[Path, ...]:
    """The files of the cases in `folder`; what is not there yet is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{source.name}.npz" for source in sources)
    for source, path in zip(sources, paths, strict=True):
        if not path.exists():
            save_prepared(source.make(), path)
    return paths


def rng_of(name: str) -> np.random.Generator:
    """What decides what chance decides in a case: its name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def planning_case(data: Path, patient: Listed, config: TrainingConfig) -> PreparedCase:
    """A planning CT with what its planner drew, and the brain by its HU where the brainstem tells where it is."""
    case = cleaned_case(data / "headneck" / "openkbp", patient)
    prepared = prepare_case(case, config.labels, config.preprocessing)
    names = [label.name for label in config.labels]
    shape = case.volume.geometry.shape_zyx
    stem = next((s.full_mask(shape) for s in case.structures.structures if s.name == "Brainstem"), None)
    brain = None if stem is None else brain_of(case.volume, stem)
    if brain is None or "Brain" not in names:
        return prepared
    grid = canonical_geometry(case.volume.geometry).respaced(config.preprocessing.spacing_zyx_mm)
    inside = resample_labels(brain.astype(np.uint8), case.volume.geometry, grid) > 0
    column = names.index("Brain")
    labels = np.where((prepared.labels_zyx == 0) & inside, column + 1, prepared.labels_zyx).astype(np.uint8)
    drawn = prepared.drawn.copy()
    drawn[:, column] = True
    return replace(prepared, labels_zyx=labels, drawn=drawn)


def chest_case(data: Path, name: str, config: TrainingConfig) -> PreparedCase:
    """A chest CT: cord and oesophagus as they are labelled, and none of the head's organs."""
    folder = data / "thorax" / name
    volume = read_nifti(folder / "image.nii.gz", Modality.CT, FRAME)
    labels, _ = read_nifti_array(folder / "labels.nii.gz", FRAME)
    values: dict[str, int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    joined = np.zeros(labels.shape, dtype=np.uint8)
    for i, label in enumerate(config.labels, start=1):
        theirs = values.get(CHEST_NAMES.get(label.name, ""))  # they list what is in view
        if theirs is not None:
            joined[labels == theirs] = i
    known = _drawn(config, (*CHEST_NAMES, *ABSENT_IN_CHESTS))
    return prepare_label_map(name, volume, joined, known, config.preprocessing)


def head_case(head: LabelledHead, name: str, drawn: tuple[str, ...], config: TrainingConfig) -> PreparedCase:
    """A head as tissues; of `drawn`, what its label map does not have at all was not drawn either."""
    joined = np.zeros(head.labels_zyx.shape, dtype=np.uint8)
    for i, label in enumerate(config.labels, start=1):
        if label.name in drawn:
            joined[head.mask(label.name)] = i
    known = tuple(name for name in drawn if head.mask(name).any())
    tissues = Volume(head.codes_zyx.astype(np.int16), head.geometry, Modality.CT)
    return prepare_tissue_map(name, tissues, joined, _drawn(config, known), config.preprocessing)


def training_scans(data: Path) -> tuple[str, ...]:
    """The scans that two raters drew, without those held out."""
    folders = sorted((data / "headneck" / "tcia_two_raters").glob("*_oncologist"))
    scans = (folder.name.removesuffix("_oncologist") for folder in folders)
    return tuple(scan for scan in scans if scan not in HELD_OUT_SCANS)


def training_heads(data: Path) -> tuple[str, ...]:
    """The whole heads, without those held out."""
    folders = sorted((data / "brain" / "synthseg_head_labels").glob("seg_*"))
    return tuple(folder.name for folder in folders if folder.name not in HELD_OUT_HEADS)


def _planned(data: Path, config: TrainingConfig) -> tuple[Source, ...]:
    sources = []
    for i, patient in enumerate(p for p in list_patients(data / "headneck" / "openkbp") if p.training):
        make = partial(planning_case, data, patient, config)
        sources.append(Source(patient.name, 1.0, make))
        if i % 2 == 0:
            again = partial(_on_table, make, patient.name, config)
            sources.append(Source(f"{patient.name}_on_table", 0.5, again))
    return tuple(sources)


def _on_table(make: Callable[[], PreparedCase], name: str, config: TrainingConfig) -> PreparedCase:
    return on_table(make(), config.preprocessing, rng_of(name))


def _chests(data: Path, config: TrainingConfig) -> tuple[Source, ...]:
    return tuple(Source(name, 2.0, partial(chest_case, data, name, config)) for name in CHESTS)


def _heads(data: Path, config: TrainingConfig) -> tuple[Source, ...]:
    folder = data / "brain" / "synthseg_head_labels"

    def make(name: str) -> PreparedCase:
        drawn = tuple(structure for structure in DRAWN_IN_HEADS if structure not in ROUGH_HEADS.get(name, ()))
        return head_case(whole_head(folder, name, making(name, CUBE_MM, config)), name, drawn, config)

    return tuple(Source(name, 0.8, partial(make, name)) for name in training_heads(data))


def _raters(data: Path, config: TrainingConfig) -> tuple[Source, ...]:
    folder, lenders = data / "headneck" / "tcia_two_raters", data / "brain" / "synthseg_head_labels"

    def make(name: str, lender: str) -> PreparedCase:
        head = rater_head(folder, name, lenders / lender, making(name, CUBE_MM, config))
        return head_case(head, name, DRAWN_BY_RATERS, config)

    sources = []
    for i, scan in enumerate(training_scans(data)):
        name = f"{scan}_{'oncologist' if i % 2 else 'radiographer'}"
        sources.append(Source(name, 1.2, partial(make, name, LENDERS[i % len(LENDERS)])))
    return tuple(sources)


def making(name: str, spacing_mm: float, config: TrainingConfig) -> Making:
    """How a head is made; chance is decided by its name.

    Raises:
        ConfigError: the configuration says nothing of how tissues look.
    """
    if config.synthesis is None:
        raise ConfigError(config.name, "no synthesis", "how the tissues of label maps look")
    return Making(spacing_mm, config.synthesis, rng_of(name))


def _drawn(config: TrainingConfig, names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([label.name in names for label in config.labels])
