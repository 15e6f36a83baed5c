"""Cases for the network of heads on MR: label maps that become images, and real T1 crops about a hippocampus.

A label map has no image: it is stored as tissues, and every patch of it is given an appearance of its own. A crop shows
one hippocampus, and of the other structures nobody drew anything there. All of them are of left hippocampi as their
headers orient them (`side_of` asks each); mirrored, they are the right ones that a network needs as much.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import canonical_axes
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import prepare_label_map, prepare_tissue_map, save_prepared

HEADS, CROPS = "synthseg_head_labels", "msd_hippocampus"
HELD_OUT_HEADS = ("seg_17", "seg_18", "seg_19", "seg_20")
FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
CROPS_SHARE = 0.25  # of the patches
ROUGH_LABELS = {  # found by looking: drawn in part, or not at all
    "seg_07": ("Hippocampus_L",),
    "seg_11": ("OpticChiasm",),
}

# Label values of the heads, as their labels.json has them.
WHOLE_BRAIN = (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12)
GREY_AND_WHITE = 1
FLUID_AND_VESSELS = (13, 24, 25)
OTHER_SOFT_TISSUE = 26
STRUCTURES = {
    "Brainstem": 2,
    "Hippocampus_L": 3,
    "Hippocampus_R": 4,
    "OpticChiasm": 5,
    "Eye_L": 14,
    "Eye_R": 15,
    "OpticNrv_L": 16,
    "OpticNrv_R": 17,
}
TISSUES = {
    "white_matter": (1,),
    "brainstem": (2,),
    "hippocampus": (3, 4),
    "optic": (5, 16, 17),
    "amygdala": (6, 7),
    "cerebellum": (8, 9),
    "thalamus": (10, 11),
    "csf": (12, 13),
    "eye": (14, 15),
    "cord": (18,),
    "bone_cortical": (19,),
    "bone_cancellous": (20,),
    "skin": (21,),
    "mucosa": (22,),
    "muscle": (23,),
    "artery": (24,),
    "vein": (25,),
    "soft": (26,),
}
LEAST_BOW_MM = 0.8
SULCUS_MM = 6.0  # clefts of the brain up to twice this wide are drawn with it, as planners do
CORTEX_MM, CORTEX_RANGE_MM = 3.0, (1.5, 4.5)


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases and how often each is shown; cases that are in `work` already stay as they are."""
    folder = work / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    heads = [_head(source, folder, config) for source in training_heads(data)]
    training, validation = crops(data)
    drawn = [_crop(source, folder, config, mirrored=flip) for source in training for flip in (False, True)]
    weights = [(1 - CROPS_SHARE) / len(heads)] * len(heads) + [CROPS_SHARE / len(drawn)] * len(drawn)
    looked_at = tuple(_crop(source, folder, config, mirrored=False) for source in validation)
    return FitInput((*heads, *drawn), tuple(weights), looked_at)


def training_heads(data: Path) -> tuple[Path, ...]:
    """Folders of the label maps to learn from."""
    folders = sorted((data / "brain" / HEADS).glob("seg_*"))
    return tuple(folder for folder in folders if folder.name not in HELD_OUT_HEADS)


def crops(data: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Folders of the crops to learn from, and of those held out: every number that 5 divides."""
    folders = sorted((data / "brain" / CROPS).glob("hippocampus_*"))
    held_out = tuple(folder for folder in folders if int(folder.name.rpartition("_")[2]) % 5 == 0)
    return tuple(folder for folder in folders if folder not in held_out), held_out


def head_labels(labels_zyx: NDArray[np.uint8], config: TrainingConfig) -> NDArray[np.uint8]:
    """The values of the configuration's labels, from those of a head on 1 mm voxels."""
    values = {label.name: i for i, label in enumerate(config.labels, start=1)}
    found = np.zeros(labels_zyx.shape, dtype=np.uint8)
    found[whole_brain(labels_zyx)] = values["Brain"]
    for name, value in STRUCTURES.items():
        found[labels_zyx == value] = values[name]
    return found


def whole_brain(labels_zyx: NDArray[np.uint8], between: tuple[int, ...] = FLUID_AND_VESSELS) -> NDArray[np.bool_]:
    """The brain with its ventricles and sulci, whole, from a head's labels on 1 mm voxels.

    `between` are the labels that sulci hold.
    """
    inside = np.isin(labels_zyx, WHOLE_BRAIN)
    room = int(SULCUS_MM) + 2
    apart = ndimage.distance_transform_edt(~np.pad(inside, room))
    closed = ndimage.distance_transform_edt(apart <= SULCUS_MM) > SULCUS_MM
    clefts = closed[room:-room, room:-room, room:-room] & np.isin(labels_zyx, between)
    return np.asarray(inside | clefts)


def head_tissues(labels_zyx: NDArray[np.uint8], config: TrainingConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Codes of the configuration's tissues, from a head's labels on 1 mm voxels.

    The labels join grey and white matter: what lies near the brain's surface is taken for cortex, of a thickness that
    varies. "Other soft tissue" is fat, muscle and more, in smooth lumps that chance places.

    Raises:
        ValueError: the configuration lacks a tissue.
    """
    if config.synthesis is None or not {*TISSUES, "cortex", "fat"} <= set(config.synthesis.names):
        raise ValueError(f"{config.name}: synthesis needs the tissues {', '.join((*TISSUES, 'cortex', 'fat'))}")
    code = {name: i for i, name in enumerate(config.synthesis.names)}
    codes = np.zeros(labels_zyx.shape, dtype=np.uint8)
    for name, values in TISSUES.items():
        codes[np.isin(labels_zyx, values)] = code[name]
    depth = ndimage.distance_transform_edt(np.isin(labels_zyx, WHOLE_BRAIN))  # its ventricles have no cortex
    thickness = CORTEX_MM + 0.8 * _lumps(labels_zyx.shape, rng)
    codes[(labels_zyx == GREY_AND_WHITE) & (depth <= np.clip(thickness, *CORTEX_RANGE_MM))] = code["cortex"]
    soft, lumps = labels_zyx == OTHER_SOFT_TISSUE, _lumps(labels_zyx.shape, rng)
    codes[soft & (lumps > 0.6)] = code["fat"]
    codes[soft & (lumps < -0.5)] = code["muscle"]
    return codes


def side_of(hippocampus_zyx: NDArray[np.bool_], geometry: Geometry) -> str:
    """The side of a hippocampus ("L" or "R"): from front to back it bows away from the midline.

    Raises:
        ValueError: it is too straight to say.
    """
    points_lps_mm = geometry.index_to_lps_mm(np.argwhere(hippocampus_zyx))
    x, y = points_lps_mm[:, 0], points_lps_mm[:, 1]
    front, back = np.percentile(y, (15, 85))
    inner, outer = np.percentile(y, (35, 65))
    ends = (x[y <= front].mean() + x[y >= back].mean()) / 2
    bow_mm = float(x[(y > inner) & (y < outer)].mean() - ends)
    if abs(bow_mm) < LEAST_BOW_MM:
        raise ValueError(f"a hippocampus with a bow of {bow_mm:.1f} mm: at least {LEAST_BOW_MM} mm tell its side")
    return "L" if bow_mm > 0 else "R"


def _lumps(shape_zyx: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of unit variance."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape_zyx, dtype=np.float32), 4.0)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _head(source: Path, folder: Path, config: TrainingConfig) -> Path:
    path = folder / f"{source.name}.npz"
    if path.exists():
        return path
    values, geometry = read_nifti_array(source / "labels.nii.gz", FRAME)
    labels = values.astype(np.uint8)
    rng = np.random.default_rng(int(source.name.rpartition("_")[2]))
    rough = ROUGH_LABELS.get(source.name, ())
    drawn = np.array([label.name not in rough for label in config.labels])
    found = head_labels(labels, config)
    for i, label in enumerate(config.labels, start=1):
        if label.name in rough:  # the brain it lies in is known, if it lies in the brain
            found[found == i] = 1 if label.name in config.labels[0].also else 0
    tissues = Volume(head_tissues(labels, config, rng).astype(np.int16), geometry, Modality.MR)
    save_prepared(prepare_tissue_map(source.name, tissues, found, drawn, config.preprocessing), path)
    return path


def _crop(source: Path, folder: Path, config: TrainingConfig, *, mirrored: bool) -> Path:
    path = folder / f"{source.name}{'_mirrored' if mirrored else ''}.npz"
    if path.exists():
        return path
    volume, drawn = read_crop(source)
    side = side_of(drawn, volume.geometry)
    if mirrored:
        side = {"L": "R", "R": "L"}[side]
        across = mirror_axis(volume.geometry)
        volume = Volume(np.flip(volume.voxels_zyx, across).copy(), volume.geometry, volume.modality)
        drawn = np.flip(drawn, across)
    names = [label.name for label in config.labels]
    labels = np.where(drawn, names.index(f"Hippocampus_{side}") + 1, 0).astype(np.uint8)
    known = np.array([name.startswith("Hippocampus_") for name in names])  # a crop does not reach the other one
    save_prepared(prepare_label_map(path.stem, volume, labels, known, config.preprocessing), path)
    return path


def read_crop(source: Path) -> tuple[Volume, NDArray[np.bool_]]:
    """A crop's T1, and its hippocampus: anterior and posterior part joined."""
    volume = read_nifti(source / "image.nii.gz", Modality.MR, FRAME)
    labels, _ = read_nifti_array(source / "labels.nii.gz", FRAME)
    return volume, np.asarray(labels.astype(np.uint8) > 0)


def mirror_axis(geometry: Geometry) -> int:
    """The index axis that runs from one side of the patient to the other."""
    order, _ = canonical_axes(geometry)
    return order[2]
