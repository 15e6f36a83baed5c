"""Builds reference cases from the AAPM OpenKBP head and neck data (NIfTI images and label maps, MIT licence).

The planners drew most organs whole; the parts of an organ outside the image are simply not there, and one that lies
outside altogether counts as not drawn. Cord and oesophagus
were drawn as far as a plan needed them: below their lowest slice, nobody looked.

    python -m scripts.head_ct.prepare OPENKBP_FOLDER CASES
"""

import argparse
import json
from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.split import Split, save_split
from contour.cases.store import Case, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Modality
from contour.imaging.nifti import read_nifti, read_nifti_array

DRAWN_AS_NEEDED = ("SpinalCord", "Esophagus")  # their lower ends are the plan's, not the body's
TOUCHING_MM = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("openkbp", type=Path)
    parser.add_argument("cases", type=Path)
    given = parser.parse_args()
    listed = json.loads((given.openkbp / "cases.json").read_text(encoding="utf-8"))
    values = json.loads((given.openkbp / "labels.json").read_text(encoding="utf-8"))
    for name, content in listed.items():
        drawn = {structure: values[structure] for structure in content["structures"]}
        record = save_case(openkbp_case(given.openkbp / name, drawn), given.cases)
        print(name, ", ".join(f"{s.name} {s.volume_ml:.0f} ml" for s in record.structures), flush=True)
    held_out = tuple(name for name, content in listed.items() if content["split"] != "train")
    training = sorted(set(listed) - set(held_out))
    folds = tuple(tuple(training[i::5]) for i in range(5))
    save_split(Split(seed=0, held_out=held_out, folds=folds), given.cases / "split.yaml")


def openkbp_case(folder: Path, drawn: dict[str, int]) -> Case:
    """The case of one patient; `drawn` maps the structures that were contoured to their label values."""
    volume = read_nifti(folder / "image.nii.gz", Modality.CT, f"2.25.{folder.name.removeprefix('pt_')}")
    labels, _ = read_nifti_array(folder / "labels.nii.gz", volume.geometry.frame_of_reference_uid)
    masks = {name: labels == value for name, value in drawn.items() if (labels == value).any()}
    identity = ImportedIdentity(folder.name, folder.name, note="AAPM OpenKBP challenge, MIT")
    return import_masks(volume, tuple((_known(n, masks, volume.geometry), m) for n, m in masks.items()), identity)


def _known(name: str, masks: dict[str, Mask], geometry: Geometry) -> Imported:
    if name not in DRAWN_AS_NEEDED:
        return Imported(name)
    # Slices are counted upwards: the geometry of these files says so, and a turned file must not pass unseen.
    assert geometry.axes_lps[0][2] > 0.99
    lowest, highest = _extent(masks[name])
    stem = masks.get("Brainstem")
    above = name == "Esophagus"  # it begins below the cricoid: above it, there is none
    if name == "SpinalCord" and stem is not None:
        # Where cord and brainstem meet, the cord ends for good.
        above = abs(_extent(stem)[0] - highest) * geometry.spacing_zyx_mm[0] <= TOUCHING_MM
    return Imported(name, Status.PARTIAL, (lowest, geometry.shape_zyx[0] - 1 if above else highest))


def _extent(mask: Mask) -> tuple[int, int]:
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(slices[0]), int(slices[-1])


if __name__ == "__main__":
    main()
