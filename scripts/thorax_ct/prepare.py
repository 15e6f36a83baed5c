"""Cases for the thorax network: real labels, synthesis from label maps, and labels propagated to unlabelled CTs."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import at_spacing, canonical_geometry
from contour.training.atlas import LUNG_HU, find_lungs, propagate_labels
from contour.training.config import TrainingConfig
from contour.training.prepared import UNKNOWN, prepare_label_map, resample_labels, save_prepared
from contour.training.synthesis import Tissue, synthesize_ct, without_contrast

ATLAS = "lidc_0001_auto"
LABELLED = ("totalseg_example_3mm", "totalseg_slab20")
LABELS_ONLY = ("totalseg_s0327_labels_only", "totalseg_s0328_labels_only")
UNLABELLED = ("lidc_0314", "lidc_1011", "radiogenomics_r01_001", "cmb_crc_01068", "4dlung_hm10395", "acrin_flt_013")
PROPAGATED = "propagated"
CONTRAST_SHARES = (1.0, 0.5, 0.2, 0.0)
SYNTHETIC_EACH = 8
FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
SPACING_MM = 3.0
CUBE_MM = (SPACING_MM, SPACING_MM, SPACING_MM)
BONES = ("vertebrae", "rib", "sternum", "scapula", "clavicula", "humerus", "costal", "hip", "femur", "sacrum", "skull")

TISSUES = (
    Tissue(("lung",), (-880, -780), 60.0),
    Tissue(("trachea",), (-1000, -970), 10.0),
    Tissue(("vertebrae", "sacrum", "hip", "femur", "skull", "humerus"), (150, 350), 110.0),
    Tissue(("rib", "sternum", "scapula", "clavicula"), (250, 550), 150.0),
    Tissue(("costal_cartilages",), (80, 180), 40.0),
    Tissue(("heart", "aorta", "pulmonary", "atrial", "superior_vena"), (35, 50), 10.0, 1.0),
    Tissue(("brachiocephalic", "subclavian", "common_carotid", "iliac_art"), (35, 50), 10.0, 1.0),
    Tissue(("inferior_vena", "portal", "iliac_vena"), (35, 50), 10.0, 0.6),
    Tissue(("liver", "spleen"), (40, 65), 10.0, 0.35),
    Tissue(("kidney", "adrenal", "pancreas", "thyroid"), (30, 50), 12.0, 0.6),
    Tissue(("stomach", "small_bowel", "duodenum", "colon"), (-40, 60), 60.0, 0.1),
    Tissue(("esophagus",), (15, 45), 20.0, 0.1),
    Tissue(("spinal_cord",), (15, 45), 10.0),
    Tissue(("autochthon", "gluteus", "iliopsoas"), (40, 65), 15.0, 0.1),
    Tissue(("gallbladder", "urinary_bladder", "prostate"), (5, 40), 10.0),
)

# What a registration cannot place to a voxel stays unknown in a band of this many voxels about its border; a thin
# structure is unknown altogether until the network itself has an opinion.
BAND_VOXELS = {"Heart": 1, "A_Aorta": 1, "SpinalCord": 1, "Liver": 2, "Trachea": 1}
THIN = ("Esophagus", "Spleen", "Stomach")


def prepare_all(data: Path, folder: Path, config: TrainingConfig) -> None:
    """Writes every case that is not yet in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _prepare_atlas(data, folder, config)
    for name in LABELLED:
        volume, labels, values = _read(data, name)
        _store(folder, name, volume, joined(labels, values, config), config)
    for name in LABELS_ONLY:
        _prepare_synthetic(data, folder, name, config)
    missing = [name for name in UNLABELLED if not (folder / f"{name}.npz").exists()]
    if missing:
        atlas, atlas_labels = _atlas(data, config)
        for name in missing:
            target = at_spacing(read_nifti(data / "thorax" / name / "image.nii.gz", Modality.CT, FRAME), CUBE_MM)
            moved, _ = propagate_labels(atlas, atlas_labels, target)
            (folder / PROPAGATED).mkdir(exist_ok=True)
            _store(folder / PROPAGATED, name, target, moved, config)  # as they came, for `refine`
            _store(folder, name, target, with_doubt(moved, target, config), config)


def joined(labels_zyx: NDArray[np.generic], values: dict[str, int], config: TrainingConfig) -> NDArray[np.uint8]:
    """A source's label map in the values of the configuration: i for its i-th label."""
    table = np.zeros(256, dtype=np.uint8)
    for i, label in enumerate(config.labels, start=1):
        for source in label.source_names:
            if source in values:
                table[values[source]] = i
    return table[labels_zyx.astype(np.uint8)]


def all_drawn(config: TrainingConfig) -> NDArray[np.bool_]:
    """Every label: the automatic label maps cover whatever is in view."""
    return np.ones(len(config.labels), dtype=bool)


def _read(data: Path, name: str) -> tuple[Volume, NDArray[np.generic], dict[str, int]]:
    volume = read_nifti(data / "thorax" / name / "image.nii.gz", Modality.CT, FRAME)
    labels, values, _ = _read_labels(data, name)
    return volume, labels, values


def _read_labels(data: Path, name: str) -> tuple[NDArray[np.generic], dict[str, int], Geometry]:
    folder = data / "thorax" / name
    labels, geometry = read_nifti_array(folder / "labels.nii.gz", FRAME)
    return labels, json.loads((folder / "labels.json").read_text()), geometry


def _store(folder: Path, name: str, volume: Volume, labels: NDArray[np.uint8], config: TrainingConfig) -> None:
    path = folder / f"{name}.npz"
    if not path.exists():
        save_prepared(prepare_label_map(name, volume, labels, all_drawn(config), config.preprocessing), path)


def _prepare_atlas(data: Path, folder: Path, config: TrainingConfig) -> None:
    volume, labels, values = _read(data, ATLAS)
    bone = np.isin(labels, [v for n, v in values.items() if n.startswith(BONES)])
    target = joined(labels, values, config)
    for share in CONTRAST_SHARES:
        hu = without_contrast(volume.voxels_zyx.astype(np.float32), bone, share)
        name = f"{ATLAS}_contrast{int(100 * share):03d}"
        _store(folder, name, Volume(hu, volume.geometry, volume.modality), target, config)


def _prepare_synthetic(data: Path, folder: Path, name: str, config: TrainingConfig) -> None:
    labels, values, geometry = _read_labels(data, name)
    grid = canonical_geometry(geometry).respaced(CUBE_MM)
    small = resample_labels(labels.astype(np.uint8), geometry, grid)
    small = np.pad(small, ((0, 0), (10, 10), (10, 10)))  # room for the layers outside what is labelled
    target = joined(small, values, config)
    grid = Geometry.axial(small.shape, CUBE_MM, (0.0, 0.0, 0.0), FRAME)
    for i in range(SYNTHETIC_EACH):
        rng = np.random.default_rng(1000 + i)
        path = folder / f"{name}_synthetic{i}.npz"
        if not path.exists():
            hu = synthesize_ct(small, values, TISSUES, SPACING_MM, rng)
            _store(folder, path.stem, Volume(hu, grid, Modality.CT), target, config)


def _atlas(data: Path, config: TrainingConfig) -> tuple[Volume, NDArray[np.uint8]]:
    """The labelled chest and its labels on cubic voxels."""
    volume, labels, values = _read(data, ATLAS)
    atlas = at_spacing(volume, CUBE_MM)
    return atlas, resample_labels(joined(labels, values, config), volume.geometry, atlas.geometry)


def with_doubt(moved: NDArray[np.uint8], target: Volume, config: TrainingConfig) -> NDArray[np.uint8]:
    """Propagated labels with lungs and trachea corrected by their HU, and the doubtful rest marked unknown."""
    value = {label.name: i for i, label in enumerate(config.labels, start=1)}
    result = moved.copy()
    for name, i in value.items():
        inside = moved == i
        if name in THIN:
            result[ndimage.binary_dilation(inside, iterations=2)] = UNKNOWN
        elif name in BAND_VOXELS:
            n = BAND_VOXELS[name]
            band = ndimage.binary_dilation(inside, iterations=n) & ~ndimage.binary_erosion(inside, iterations=n)
            result[band] = UNKNOWN
    lungs = find_lungs(target).mask_zyx
    airway = (moved == value["Trachea"]) | ndimage.binary_dilation(moved == value["Trachea"], iterations=2)
    airway &= (target.voxels_zyx < -700) & ~ndimage.binary_erosion(lungs, iterations=2)
    left = ndimage.distance_transform_edt(moved != value["Lung_L"])
    right = ndimage.distance_transform_edt(moved != value["Lung_R"])
    full = ndimage.binary_closing(lungs, iterations=2) | lungs
    missed = ((moved == value["Lung_L"]) | (moved == value["Lung_R"])) & ~full
    result[missed] = np.where(target.voxels_zyx[missed] > LUNG_HU, UNKNOWN, 0)
    edge = ndimage.binary_dilation(full, iterations=1) & ~full  # soft tissue at the lung's border is no lung
    result[full & ~airway] = np.where(left < right, value["Lung_L"], value["Lung_R"])[full & ~airway]
    result[edge & np.isin(result, (value["Lung_L"], value["Lung_R"]))] = 0
    result[airway] = value["Trachea"]
    return result
