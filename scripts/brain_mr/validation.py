"""What the network of heads on MR is measured on: crops, heads with a made appearance, and one real head.

None of these took part in training. The made heads show one anatomy under contrasts that no T1 has, drawn at 1 mm.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import RECORD_FILE, Case, save_case
from contour.config import load_config, shipped_folder
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.training.appearance import SynthesisConfig, TissueLook, draw_appearance
from contour.training.config import TrainingConfig
from scripts.brain_mr.prepare import (
    FRAME,
    HEADS,
    HELD_OUT_HEADS,
    STRUCTURES,
    crops,
    head_tissues,
    read_crop,
    side_of,
    whole_brain,
)
from scripts.starter.recipe import ValidationSet

REAL_HEAD = "freesurfer_t1_sub-01"
T2 = {  # means where a T1 has others: fluid bright, white matter darker than grey
    "cortex": 0.5,
    "white_matter": 0.34,
    "brainstem": 0.36,
    "hippocampus": 0.52,
    "amygdala": 0.5,
    "optic": 0.36,
    "cerebellum": 0.44,
    "thalamus": 0.4,
    "csf": 0.95,
    "eye": 0.95,
    "cord": 0.36,
    "bone_cortical": 0.06,
    "bone_cancellous": 0.4,
    "skin": 0.4,
    "mucosa": 0.8,
    "muscle": 0.2,
    "artery": 0.08,
    "vein": 0.15,
    "soft": 0.4,
    "fat": 0.6,
}
UNLABELLED = (0,)  # FreeSurfer names no fluid between the gyri
UNITS = 1000.0  # of an MR, to the scale of 0 to 1


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """Crops, made heads by contrast, and the real head, as cases in `folder`; those that are there stay."""
    config = load_config(shipped_folder("configs") / "training" / "brain_mr.yaml", TrainingConfig)
    brain = data / "brain"
    _, held_out = crops(data)
    cropped = [_stored(folder, f"crop_{path.name[-3:]}", partial(crop_case, source=path)) for path in held_out]
    sets = [ValidationSet("crops", "Real T1 crops about one hippocampus, drawn by hand (MSD, 1 mm)", tuple(cropped))]
    for contrast, synthesis in contrasts(config).items():
        made = []
        for head in HELD_OUT_HEADS:
            make = partial(made_head, source=brain / HEADS / head, synthesis=synthesis, config=config)
            made.append(_stored(folder, f"{contrast}_{head}", make))
        title = f"Made heads, contrast {contrast.replace('_', ' ')}, 1 mm"
        sets.append(ValidationSet(contrast, title, tuple(made)))
    real = _stored(folder, REAL_HEAD, partial(real_head, source=brain / REAL_HEAD))
    sets.append(ValidationSet("real_head", "A real T1 head, 1 mm, labels by FreeSurfer (automatic)", (real,)))
    return tuple(sets)


def contrasts(config: TrainingConfig) -> dict[str, SynthesisConfig]:
    """A T1, a T2, and a T1 turned upside down, each with its noise and uneven gain.

    Raises:
        ValueError: the configuration has no synthesis.
    """
    synthesis = config.synthesis
    if synthesis is None:
        raise ValueError(f"{config.name}: no synthesis, and no image can be made")
    plain = replace(synthesis, usual=1.0, gamma=0.0, bias=0.2, blur_voxels=(0.5, 0.5), noise=(0.02, 0.02))
    plain = replace(plain, thickest_slice_mm=0.0)
    t2 = tuple(_around(look, T2.get(look.name, 0.03)) for look in plain.tissues)
    inverted = tuple(_around(look, _inverse(look)) for look in plain.tissues)
    return {"T1": plain, "T2": replace(plain, tissues=t2), "T1_inverted": replace(plain, tissues=inverted)}


def crop_case(name: str, source: Path) -> Case:
    """A crop with its hippocampus."""
    volume, drawn = read_crop(source)
    label = f"Hippocampus_{side_of(drawn, volume.geometry)}"
    identity = ImportedIdentity(name, name, Modality.MR, "Medical Segmentation Decathlon, task 4, CC BY-SA 4.0")
    return import_masks(volume, ((Imported(label), drawn),), identity)


def made_head(name: str, source: Path, synthesis: SynthesisConfig, config: TrainingConfig) -> Case:
    """A head of the label maps, given an appearance by `synthesis`; the same name gives the same image."""
    labels, geometry = read_nifti_array(source / "labels.nii.gz", FRAME)
    codes = head_tissues(labels.astype(np.uint8), config, np.random.default_rng(int(source.name[-2:])))
    seed = int.from_bytes(name.encode(), "little") % 2**32
    image = draw_appearance(codes, synthesis, geometry.spacing_zyx_mm, np.random.RandomState(seed))
    volume = Volume(np.clip(image * UNITS, 0, 32000).astype(np.int16), geometry, Modality.MR)
    values = labels.astype(np.uint8)
    masks = [(Imported("Brain"), whole_brain(values))]
    masks += [(Imported(structure), values == value) for structure, value in STRUCTURES.items()]
    identity = ImportedIdentity(name, source.name, Modality.MR, "label map published with SynthSeg, Apache-2.0")
    return import_masks(volume, tuple(masks), identity)


def real_head(name: str, source: Path) -> Case:
    """The real head with what FreeSurfer labelled; its brain with the sulci that lie inside."""
    volume = read_nifti(source / "image.nii.gz", Modality.MR, FRAME)
    labels, _ = read_nifti_array(source / "labels.nii.gz", FRAME)
    values = json.loads((source / "labels.json").read_text(encoding="utf-8"))
    masks = [(Imported("Brain"), whole_brain(labels.astype(np.uint8), UNLABELLED))]
    masks += [(Imported(known), labels == values[known]) for known in STRUCTURES if known in values]
    identity = ImportedIdentity(name, name, Modality.MR, "labels by FreeSurfer; validation only")
    return import_masks(volume, tuple(masks), identity)


def _stored(folder: Path, name: str, make: Callable[[str], Case]) -> Path:
    if not (folder / name / RECORD_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_case(make(name), folder)
    return folder / name


def _around(look: TissueLook, mean: float) -> TissueLook:
    return replace(look, usual=(mean, mean))


def _inverse(look: TissueLook) -> float:
    low, high = look.usual or look.mean
    return 0.03 if look.name == "air" else max(0.03, 1.0 - (low + high) / 2)
