"""What the network that locates learns from, as reference cases with its own names: CTs and label maps of all sites.

Where nobody drew a brain or a lung, their HU find them: on voxels of 8 mm that is enough. A structure with no voxel
states that the image does not show it; one that is not listed is unknown.
"""

import json
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import Case, Status
from contour.config import load_config, shipped_folder
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.imaging.body import body_mask
from contour.imaging.hardships import without_contrast
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.preprocess import at_spacing, canonical_geometry, from_canonical, to_canonical
from contour.training.appearance import SynthesisConfig, draw_appearance
from contour.training.config import TrainingConfig
from contour.training.prepared import resample_labels
from contour.training.tissue_maps import tissue_codes
from scripts.head_ct.heads import Making, whole_head
from scripts.head_ct.openkbp import Listed, cleaned_case
from scripts.thorax_ct.cases import BONES, drawn_case
from scripts.thorax_ct.cases import SOURCES as TRUNK_TISSUES

FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
SYNTHESIS_MM = 3.0
CUBE_MM = (SYNTHESIS_MM, SYNTHESIS_MM, SYNTHESIS_MM)
SEED = 1000
ROOM_VOXELS = 10  # beside a label map, for fat and table

BRAIN = ("Brain", "Brainstem", "Hippocampus", "Amygdala", "Cerebellum", "Thalamus", "Ventricles", "CSF", "OpticChiasm")
LEGS_UP = ("Sacrum", "Bone_Pelvic", "Spine_L")
BELLY = ("Liver", "Spleen", "Stomach", "Kidney_L", "Kidney_R")
HEAD = ("Brain", "Eye_L", "Eye_R")

# Structures of the network, and how the labels of TotalSegmentator that make them up begin.
OF_TOTALSEGMENTATOR = {
    "Trachea": ("trachea",),
    "Lung_L": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "Lung_R": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "Heart": ("heart", "atrial_appendage"),
    "A_Aorta": ("aorta",),
    "Liver": ("liver",),
    "Spleen": ("spleen",),
    "Stomach": ("stomach",),
    "Kidney_L": ("kidney_left", "kidney_cyst_left"),
    "Kidney_R": ("kidney_right", "kidney_cyst_right"),
    "SpinalCord": ("spinal_cord",),
    "Spine_C": ("vertebrae_C",),
    "Spine_T": ("vertebrae_T",),
    "Spine_L": ("vertebrae_L",),
    "Sacrum": ("sacrum", "vertebrae_S"),
    "Bone_Pelvic": ("hip_",),
}

AIR_HU = -500.0
AIRWAY_RADIUS_MM = 12.0
LOWEST_SLICES = 3
BRAIN_SPREAD_HU = 45.0  # about the brainstem's median
CREVICE_MM = 7.0  # the foramina of the skull and the fissures of the brain are narrower


def trunk_case(data: Path, name: str, contrast_share: float = 1.0) -> Case:
    """A CT of the trunk with TotalSegmentator's labels, with part of its contrast medium taken away."""
    image = read_nifti(data / "thorax" / name / "image.nii.gz", Modality.CT, FRAME)
    labels, values, _ = _read_labels(data / "thorax" / name)
    z, y, x = (max(SYNTHESIS_MM, mm) for mm in canonical_geometry(image.geometry).spacing_zyx_mm)
    coarse = at_spacing(image, (z, y, x))
    hu = coarse.voxels_zyx.astype(np.float32)
    if contrast_share < 1:
        bone = np.isin(labels, [v for n, v in values.items() if n.startswith(BONES)]).astype(np.uint8)
        hu = without_contrast(hu, resample_labels(bone, image.geometry, coarse.geometry) > 0, contrast_share)
    joined = resample_labels(_joined(labels, values), image.geometry, coarse.geometry)
    return _case(name, Volume(hu, coarse.geometry, Modality.CT), _split(joined), HEAD)


def synthetic_trunk(data: Path, name: str, number: int) -> Case:
    """A CT made from a label map of the trunk."""
    labels, values, geometry = _read_labels(data / "thorax" / name)
    small, grid = _thinned(labels, geometry)
    synthesis = _synthesis("thorax_ct")
    codes = tissue_codes(small, values, TRUNK_TISSUES, synthesis, (SYNTHESIS_MM, np.random.default_rng(SEED + number)))
    return _case(f"{name}_{number}", _image(codes, synthesis, grid, number), _split(_joined(small, values)), HEAD)


def synthetic_head(data: Path, name: str, number: int) -> Case:
    """A CT made from a label map of a head."""
    synthesis = _synthesis("head_ct")
    making = Making(SYNTHESIS_MM, synthesis, np.random.default_rng(SEED + number))
    head = whole_head(data / "brain" / "synthseg_head_labels", name, making)
    masks = {name: head.mask(name) for name in ("Eye_L", "Eye_R", "SpinalCord")}
    masks["Brain"] = head.mask(*BRAIN)
    volume = _image(head.codes_zyx, synthesis, head.geometry, number)
    return _case(f"{name}_{number}", volume, masks, (*BELLY, *LEGS_UP, "Lung_L", "Lung_R", "Heart", "A_Aorta"))


def chest_case(data: Path, drawn: Path) -> Case:
    """A CT of the chest with outlines drawn by hand, and the lungs by their HU."""
    case = drawn_case(data, drawn)
    masks = {s.name: s.full_mask(case.volume.geometry.shape_zyx) for s in case.structures.structures}
    return _case(case.record.name, case.volume, masks, (*HEAD, "Sacrum", "Bone_Pelvic"), case)


def neck_case(data: Path, patient: Listed) -> Case:
    """A planning CT of the head and neck: what its planner drew, and brain and lungs as their HU show them."""
    case = cleaned_case(data / "headneck" / "openkbp", patient)
    drawn = {s.name: s.full_mask(case.volume.geometry.shape_zyx) for s in case.structures.structures}
    masks = {name: mask for name, mask in drawn.items() if name in ("Mandible", "Larynx", "SpinalCord")}
    masks |= lungs_of(case.volume)
    brain = brain_of(case.volume, drawn["Brainstem"]) if "Brainstem" in drawn else None
    if brain is not None:
        masks["Brain"] = brain
    return _case(patient.name, case.volume, masks, (*BELLY, *LEGS_UP), case)


def lungs_of(volume: Volume) -> dict[str, Mask]:
    """The tops of the lungs at the lower end of a scan of the neck: air too wide for an airway, by its side."""
    spacing = volume.geometry.spacing_zyx_mm
    air = body_mask(volume) & np.asarray(volume.voxels_zyx < AIR_HU)
    wide = ndimage.distance_transform_edt(air, sampling=spacing) > AIRWAY_RADIUS_MM
    lungs = air & (ndimage.distance_transform_edt(~wide, sampling=spacing) <= AIRWAY_RADIUS_MM)
    parts = cc3d.connected_components(to_canonical(lungs, volume.geometry), connectivity=6)
    lowest = np.unique(parts[:LOWEST_SLICES])
    kept = np.isin(parts, lowest[lowest > 0])
    columns = np.flatnonzero(to_canonical(volume.voxels_zyx > AIR_HU, volume.geometry)[0].any(axis=0))
    left = np.zeros(kept.shape, dtype=bool)
    if columns.size:
        left[..., int(columns[0] + columns[-1]) // 2 :] = True
    sides = {"Lung_L": kept & left, "Lung_R": kept & ~left}
    return {name: np.asarray(from_canonical(mask, volume.geometry), dtype=bool) for name, mask in sides.items()}


def brain_of(volume: Volume, brainstem_zyx: Mask) -> Mask | None:
    """What is as dense as the brainstem and hangs together with it inside the skull, from its lowest slice up."""
    spacing = volume.geometry.spacing_zyx_mm
    median = float(np.median(volume.voxels_zyx[brainstem_zyx]))
    soft = np.abs(volume.voxels_zyx - median) < BRAIN_SPREAD_HU
    lowest = int(np.flatnonzero(brainstem_zyx.any(axis=(1, 2)))[0])  # slices of these cases are counted upwards
    soft[:lowest] = False
    core = ndimage.distance_transform_edt(soft, sampling=spacing) > CREVICE_MM
    parts = cc3d.connected_components(core, connectivity=6)
    touched = np.bincount(parts[brainstem_zyx], minlength=2)[1:]
    if not touched.any():
        return None
    whole = parts == 1 + int(touched.argmax())
    brain = (ndimage.distance_transform_edt(~whole, sampling=spacing) <= CREVICE_MM + 1.0) | brainstem_zyx
    return np.stack([ndimage.binary_fill_holes(plane) for plane in brain])


def _case(name: str, volume: Volume, masks: dict[str, Mask], absent: tuple[str, ...], of: Case | None = None) -> Case:
    """`masks` as drawn, with the status that they have in the case `of`; of `absent` ones that they are not there."""
    nothing = np.zeros(volume.geometry.shape_zyx, dtype=bool)
    listed = [(_imported(structure, of), mask) for structure, mask in masks.items()]
    listed += [(Imported(structure), nothing) for structure in absent if structure not in masks]
    return import_masks(volume, tuple(listed), ImportedIdentity(name, name))


def _imported(name: str, of: Case | None) -> Imported:
    if of is None or name not in of.record.drawn_names:
        return Imported(name)
    entry = of.record.structure(name)
    return Imported(name, entry.status, entry.drawn_slices if entry.status is Status.PARTIAL else None)


def _synthesis(package: str) -> SynthesisConfig:
    """How the tissues look that another network's configuration has."""
    config = load_config(shipped_folder("configs") / "training" / f"{package}.yaml", TrainingConfig)
    assert config.synthesis is not None
    return config.synthesis


def _image(codes_zyx: NDArray[np.uint8], synthesis: SynthesisConfig, grid: Geometry, number: int) -> Volume:
    hu = draw_appearance(codes_zyx, synthesis, grid.spacing_zyx_mm, np.random.RandomState(SEED + number))
    return Volume(hu, grid, Modality.CT)


def _joined(labels_zyx: NDArray[np.uint8], values: dict[str, int]) -> NDArray[np.uint8]:
    """A label map of TotalSegmentator with the structures of the network, numbered from 1 in their order here."""
    table = np.zeros(256, dtype=np.uint8)
    for i, beginnings in enumerate(OF_TOTALSEGMENTATOR.values(), start=1):
        table[[value for name, value in values.items() if name.startswith(beginnings)]] = i
    joined: NDArray[np.uint8] = table[labels_zyx]
    return joined


def _split(joined_zyx: NDArray[np.uint8]) -> dict[str, Mask]:
    return {name: joined_zyx == i for i, name in enumerate(OF_TOTALSEGMENTATOR, start=1)}


def _read_labels(folder: Path) -> tuple[NDArray[np.uint8], dict[str, int], Geometry]:
    labels, geometry = read_nifti_array(folder / "labels.nii.gz", FRAME)
    values: dict[str, int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return labels.astype(np.uint8), values, geometry


def _thinned(labels_zyx: NDArray[np.generic], geometry: Geometry) -> tuple[NDArray[np.uint8], Geometry]:
    """Every n-th voxel of a label map, so that voxels are about 3 mm, with room for the layers outside it."""
    canonical = to_canonical(labels_zyx, geometry).astype(np.uint8)
    z, y, x = (max(1, round(SYNTHESIS_MM / mm)) for mm in canonical_geometry(geometry).spacing_zyx_mm)
    sides = (ROOM_VOXELS, ROOM_VOXELS)
    small = np.pad(canonical[z // 2 :: z, y // 2 :: y, x // 2 :: x], ((0, 0), sides, sides))
    return small, Geometry.axial(small.shape, CUBE_MM, (0.0, 0.0, 0.0), FRAME)
