"""The case whose structures are scored by name; levels, and images without an anchor, by `scripts.spine_ct.measure`."""

from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import RECORD_FILE, Case, save_case
from contour.core.structures import Mask
from contour.imaging.vertebrae import BODY, Part
from contour.inference.levels import LEVELS
from scripts.spine_ct.prepare import read_image, read_label_map
from scripts.starter.recipe import ValidationSet

LUMBAR = "totalseg_example_3mm"
LEAST_BODY_ML = 1.0  # less of a body at the image's end judges nobody


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """The case, in `folder`; it stays if it is there."""
    if not (folder / LUMBAR / RECORD_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_case(labelled_case(data, LUMBAR), folder)
    title = "A real CT of the loin at 3 mm, vertebrae by TotalSegmentator (automatic)"
    return (ValidationSet("lumbar", title, (folder / LUMBAR,)),)


def labelled_case(data: Path, name: str) -> Case:
    """A CT with the vertebrae of its label map, their bodies, the canal and the sacrum, under the package's names."""
    volume, known = read_image(data, name), read_label_map(data, name)
    parts = known.parts()
    masks: list[tuple[Imported, Mask]] = [
        (Imported("SpinalCanal", None), parts == Part.CANAL),
        (Imported("Sacrum", None), parts == Part.SACRUM),
    ]
    for level, value in known.vertebrae:
        whole = known.labels_zyx == value
        body = whole & np.isin(parts, BODY)
        if body.sum() * known.geometry.voxel_ml >= LEAST_BODY_ML:
            masks.append((Imported(f"VB_{tg263_level(level)}", None), body))
            masks.append((Imported(f"Vert_{tg263_level(level)}", None), whole))
    identity = ImportedIdentity(name, name, note="labels by TotalSegmentator; validation only")
    return import_masks(volume, tuple(masks), identity)


def tg263_level(level: str) -> str:
    """T5 as T05; C5 and L5 as they are."""
    padded = f"T{int(level[1:]):02d}" if level.startswith("T") else level
    if padded not in LEVELS:
        raise ValueError(f"level {level}: one of {', '.join(LEVELS)}")
    return padded
