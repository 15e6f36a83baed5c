"""The cases that the thorax network learns from: CTs, label maps that are given an appearance, and planning CTs.

Four kinds. One chest CT and two small CTs of the abdomen have automatic labels for all that is in view. Six chest CTs
have the mediastinum drawn by hand (`scripts/thorax_ct/drawn`), lungs by their HU, and nothing else: the rest is unknown
there. Two label maps have no image: each patch is drawn anew. Planning CTs of the neck know the upper oesophagus and
the cord.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import Case, Status
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.hardships import without_contrast
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import canonical_geometry, from_canonical, to_canonical
from contour.training.config import TrainedLabel, TrainingConfig
from contour.training.prepared import (
    prepare_case,
    prepare_label_map,
    prepare_tissue_map,
    resample_labels,
    save_prepared,
)
from contour.training.tissue_maps import TissueSource, tissue_codes
from scripts.head_ct.openkbp import openkbp_case
from scripts.spine_ct.parts import canal_of
from scripts.thorax_ct.drawn import Drawn, Extent, drawn_masks, load_drawn
from scripts.thorax_ct.lungs import lungs_by_hu

DRAWN = Path(__file__).parent / "drawn"
CORRECTIONS = Path(__file__).parent / "corrections"  # of automatic labels, by hand
FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
CHEST = "lidc_0001_auto"
ABDOMENS = ("totalseg_example_3mm", "totalseg_slab20")
LABEL_MAPS = ("totalseg_s0327_labels_only", "totalseg_s0328_labels_only")
BONES = ("vertebrae", "rib", "sternum", "scapula", "clavicula", "humerus", "costal", "hip", "femur", "sacrum", "skull")
CONTRAST_SHARES = (1.0, 0.5, 0.2, 0.0)
TISSUE_MAPS_EACH = 4  # of one label map: other fat, gas and table
# Automatic hearts are the chambers without the fat between them and the pericardium: what planners draw is the sac.
NO_SAC = "Heart"
CORD_ENDS_AT = "vertebrae_L2"  # below it, what automatic labels call cord is the sac of the roots
HOLD_THE_TRACHEA = ("pt_55", "pt_59", "pt_67")  # planning CTs whose oesophagi are drawn around it
AROUND_VOXELS = 12  # room for the fat and the table around what is labelled

SOURCES = (
    TissueSource("lung", ("lung",)),
    TissueSource("airway", ("trachea",)),
    TissueSource("bone", (*BONES[:4], "clavicula", "humerus", "hip", "femur", "sacrum", "skull"), bone=True),
    TissueSource("cartilage", ("costal_cartilages",)),
    TissueSource("blood", ("heart", "aorta", "pulmonary", "atrial", "superior_vena", "brachiocephalic", "subclavian")),
    TissueSource("blood", ("common_carotid", "iliac_artery")),
    TissueSource("vein", ("inferior_vena", "portal", "iliac_vena")),
    TissueSource("parenchyma", ("liver", "spleen")),
    TissueSource("gland", ("kidney", "adrenal", "pancreas", "thyroid")),
    TissueSource("bowel", ("stomach", "small_bowel", "duodenum", "colon"), hollow=True),
    TissueSource("oesophagus", ("esophagus",), hollow=True),
    TissueSource("cord", ("spinal_cord",)),
    TissueSource("muscle", ("autochthon", "gluteus", "iliopsoas")),
    TissueSource("fluid", ("gallbladder", "urinary_bladder", "prostate")),
)


def prepare_labelled(data: Path, folder: Path, config: TrainingConfig) -> None:
    """The CTs with automatic labels; the chest with four amounts of its contrast medium."""
    for name in (CHEST, *ABDOMENS):
        volume = read_nifti(data / "thorax" / name / "image.nii.gz", Modality.CT, FRAME)
        labels, values, _ = _read_labels(data, name)
        bone = np.isin(labels, _values(values, BONES))
        target = _corrected(name, joined(labels, values, volume.geometry, config), volume, config)
        for share in CONTRAST_SHARES if name == CHEST else CONTRAST_SHARES[:1]:
            hu = without_contrast(volume.voxels_zyx.astype(np.float32), bone, share)
            image = Volume(hu, volume.geometry, Modality.CT)
            stem = f"{name}_contrast{int(100 * share):03d}"
            path = folder / f"{stem}.npz"
            if not path.exists():
                drawn = _drawn(values, config)
                save_prepared(prepare_label_map(stem, image, target, drawn, config.preprocessing), path)


def prepare_tissue_maps(data: Path, folder: Path, config: TrainingConfig) -> None:
    """The label maps without an image, as tissue maps."""
    assert config.synthesis is not None
    spacing_mm = config.preprocessing.spacing_zyx_mm[0]
    for name in LABEL_MAPS:
        paths = [folder / f"{name}_tissues{i}.npz" for i in range(TISSUE_MAPS_EACH)]
        if all(path.exists() for path in paths):
            continue
        labels, values, geometry = _read_labels(data, name)
        target = joined(labels, values, geometry, config)
        target[target == _value(NO_SAC, config)] = 0
        drawn = _drawn(values, config) & np.array([label.name != NO_SAC for label in config.labels])
        grid = canonical_geometry(geometry).respaced((spacing_mm, spacing_mm, spacing_mm))
        around = ((0, 0), (AROUND_VOXELS, AROUND_VOXELS), (AROUND_VOXELS, AROUND_VOXELS))
        small = np.pad(resample_labels(labels, geometry, grid), around)
        target = np.pad(resample_labels(target, geometry, grid), around)
        padded = Geometry.axial(small.shape, grid.spacing_zyx_mm, (0.0, 0.0, 0.0), FRAME)
        for i, path in enumerate(paths):
            codes = tissue_codes(small, values, SOURCES, config.synthesis, (spacing_mm, np.random.default_rng(i)))
            tissues = Volume(codes.astype(np.int16), padded, Modality.CT)
            case = prepare_tissue_map(path.stem, tissues, target, drawn, config.preprocessing)
            save_prepared(case, path)


def prepare_drawn(data: Path, folder: Path, config: TrainingConfig) -> None:
    """The chest CTs with structures drawn by hand; what was not drawn there is unknown."""
    for file in sorted(DRAWN.glob("*.yaml")):
        path = folder / f"{file.stem}.npz"
        if not path.exists():
            save_prepared(prepare_case(drawn_case(data, file), _own_names(config), config.preprocessing), path)


def drawn_case(data: Path, file: Path) -> Case:
    """The reference case of an image and the outlines in `file`: these, and the lungs by their HU."""
    drawn = load_drawn(file)
    volume = read_nifti(data / "thorax" / drawn.case / "image.nii.gz", Modality.CT, FRAME)
    masks = drawn_masks(drawn, volume)
    airways = [masks[name] for name in ("Trachea", "Bronchus") if name in masks]
    left, right = lungs_by_hu(volume, np.logical_or.reduce(airways))
    structures = [(Imported("Lung_L"), left), (Imported("Lung_R"), right)]
    structures += [(_imported(drawn, name), mask) for name, mask in masks.items()]
    identity = ImportedIdentity(drawn.case, drawn.case, note="drawn by the developers, lungs by HU")
    return import_masks(volume, tuple(structures), identity)


def _imported(drawn: Drawn, name: str) -> Imported:
    if drawn.extent(name) is Extent.COMPLETE:
        return Imported(name)
    return Imported(name, Status.PARTIAL, drawn.drawn_slices(name))


def prepare_necks(data: Path, folder: Path, config: TrainingConfig) -> None:
    """The planning CTs whose oesophagus was drawn, with it and the cord."""
    openkbp = data / "headneck" / "openkbp"
    listed = json.loads((openkbp / "cases.json").read_text(encoding="utf-8"))
    values = json.loads((openkbp / "labels.json").read_text(encoding="utf-8"))
    for name, content in listed.items():
        if content["split"] == "train" and "Esophagus" in content["structures"] and name not in HOLD_THE_TRACHEA:
            drawn = {s: values[s] for s in ("Esophagus", "SpinalCord") if s in content["structures"]}
            path = folder / f"openkbp_{name}.npz"
            if not path.exists():
                case = openkbp_case(openkbp / name, drawn)
                save_prepared(prepare_case(case, _own_names(config), config.preprocessing), path)


def joined(
    labels_zyx: NDArray[np.uint8], values: dict[str, int], geometry: Geometry, config: TrainingConfig
) -> NDArray[np.uint8]:
    """A source's label map in the values of the configuration: i for its i-th label; the canal by cord and bone."""
    table = np.zeros(256, dtype=np.uint8)
    for i, label in enumerate(config.labels, start=1):
        for source in label.source_names:
            if source in values:
                table[values[source]] = i
    joint = table[labels_zyx]
    canal = _value("SpinalCanal", config)
    if CORD_ENDS_AT in values:
        height = geometry.index_to_lps_mm(np.argwhere(labels_zyx == values[CORD_ENDS_AT]))[:, 2].mean()
        places = np.argwhere(joint == _value("SpinalCord", config))
        low = places[geometry.index_to_lps_mm(places)[:, 2] < height]
        joint[tuple(low.T)] = canal
    around = canonical_geometry(geometry)
    cord = to_canonical(labels_zyx == values["spinal_cord"], geometry)
    vertebrae = to_canonical(np.isin(labels_zyx, _values(values, ("vertebrae", "sacrum"))), geometry)
    inside = canal_of(np.ascontiguousarray(cord), np.ascontiguousarray(vertebrae), around.spacing_zyx_mm)
    joint[from_canonical(inside, geometry) & (joint == 0)] = canal
    return joint


def _corrected(name: str, labels_zyx: NDArray[np.uint8], volume: Volume, config: TrainingConfig) -> NDArray[np.uint8]:
    """The labels with those structures drawn by hand that were corrected in this image; the later label counts."""
    file = CORRECTIONS / f"{name}.yaml"
    if not file.exists():
        return labels_zyx
    result = labels_zyx.copy()
    for structure, mask in drawn_masks(load_drawn(file), volume).items():
        value = _value(structure, config)
        result[result == value] = 0
        result[mask & (result < value)] = value
    return result


def _value(name: str, config: TrainingConfig) -> int:
    return next(i for i, label in enumerate(config.labels, start=1) if label.name == name)


def _own_names(config: TrainingConfig) -> tuple[TrainedLabel, ...]:
    """The labels for cases that name structures as the configuration does, whatever the label maps call them."""
    return tuple(replace(label, sources=()) for label in config.labels)


def _drawn(values: dict[str, int], config: TrainingConfig) -> NDArray[np.bool_]:
    """Which labels a source's values carry; what it does not list is unknown. The canal comes with the cord."""
    listed = [any(source in values for source in label.source_names) for label in config.labels]
    canal = ["SpinalCord" in label.also and "spinal_cord" in values for label in config.labels]
    return np.logical_or(listed, canal)


def _values(values: dict[str, int], beginnings: tuple[str, ...]) -> list[int]:
    return [value for name, value in values.items() if name.startswith(beginnings)]


def _read_labels(data: Path, name: str) -> tuple[NDArray[np.uint8], dict[str, int], Geometry]:
    folder = data / "thorax" / name
    labels, geometry = read_nifti_array(folder / "labels.nii.gz", FRAME)
    return labels.astype(np.uint8), json.loads((folder / "labels.json").read_text()), geometry
