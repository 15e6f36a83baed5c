"""What the spine network is measured on: two CTs whose vertebrae are labelled, and two chests with placed centres."""

from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import RECORD_FILE, Case, save_case
from contour.core.structures import Mask
from contour.imaging.vertebrae import BODY, Part
from contour.inference.levels import LEVELS
from scripts.spine_ct.prepare import read_image, read_label_map
from scripts.starter.recipe import ValidationSet

LUMBAR = ("totalseg_example_3mm", "tptbox_l3_crop")
LEAST_BODY_ML = 1.0  # less of a body at the image's end judges nobody


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """The cases, in `folder`; those that are there stay."""
    paths = []
    for name in LUMBAR:
        if not (folder / name / RECORD_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            save_case(labelled_case(data, name), folder)
        paths.append(folder / name)
    title = "Real CTs of the loin, vertebrae by TotalSegmentator and TPTBox (automatic)"
    return (ValidationSet("lumbar", title, tuple(paths)),)


def labelled_case(data: Path, name: str) -> Case:
    """A CT with the vertebrae, and where its cord is labelled their bodies and the canal, under TG-263 names."""
    volume, known = read_image(data, name), read_label_map(data, name)
    masks: list[tuple[Imported, Mask]] = []
    parts = known.parts() if known.mask("spinal_cord").any() else None
    if parts is not None:
        masks.append((Imported("SpinalCanal", None), parts == Part.CANAL))
        masks.append((Imported("Sacrum", None), parts == Part.SACRUM))
    for level, value in known.vertebrae:
        whole, name_of_level = known.labels_zyx == value, tg263_level(level)
        if parts is None:
            masks.append((Imported(f"Vert_{name_of_level}", None), whole))
            continue
        body = whole & np.isin(parts, BODY)
        if body.sum() * known.geometry.voxel_ml >= LEAST_BODY_ML:
            masks += [(Imported(f"VB_{name_of_level}", None), body), (Imported(f"Vert_{name_of_level}", None), whole)]
    identity = ImportedIdentity(name, name, note="labels by TotalSegmentator or TPTBox; validation only")
    return import_masks(volume, tuple(masks), identity)


def tg263_level(level: str) -> str:
    """T5 as T05; C5 and L5 as they are."""
    padded = f"T{int(level[1:]):02d}" if level.startswith("T") else level
    if padded not in LEVELS:
        raise ValueError(f"level {level}: one of {', '.join(LEVELS)}")
    return padded
