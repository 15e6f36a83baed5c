"""Reference cases from the AAPM OpenKBP head and neck data (NIfTI images and label maps, MIT licence).

The planners drew most organs whole; the parts of an organ outside the image are simply not there, and one that lies
outside altogether counts as not drawn. Cord and oesophagus were drawn as far as a plan needed them: below their lowest
slice, nobody looked. What is wrong in the training cases is stated, case by case and with the reason, in
`openkbp_overrides.yaml`; held-out cases are never edited, what is wrong there stands in `openkbp_held_out_wrong.yaml`.

    python -m scripts.head_ct.openkbp OPENKBP_FOLDER CASES
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.overrides import Overrides, load_overrides
from contour.cases.split import Split, save_split
from contour.cases.store import Case, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.core.volume import Modality
from contour.imaging.nifti import read_nifti, read_nifti_array

OVERRIDES = Path(__file__).parent / "openkbp_overrides.yaml"
HELD_OUT_WRONG = Path(__file__).parent / "openkbp_held_out_wrong.yaml"
DRAWN_AS_NEEDED = ("SpinalCord", "Esophagus")  # their lower ends are the plan's, not the body's
TOUCHING_MM = 10.0
AS_THEY_ARE = Overrides()


@dataclass(frozen=True)
class Listed:
    """A patient of the data set: whether it trains, and the structures that were contoured, with their label values."""

    name: str
    training: bool
    drawn: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("openkbp", type=Path)
    parser.add_argument("cases", type=Path)
    given = parser.parse_args()
    listed = list_patients(given.openkbp)
    for patient in listed:
        record = save_case(cleaned_case(given.openkbp, patient), given.cases)
        print(patient.name, ", ".join(f"{s.name} {s.volume_ml:.0f} ml" for s in record.structures), flush=True)
    held_out = tuple(patient.name for patient in listed if not patient.training)
    training = sorted(patient.name for patient in listed if patient.training)
    folds = tuple(tuple(training[i::5]) for i in range(5))
    save_split(Split(seed=0, held_out=held_out, folds=folds), given.cases / "split.yaml")


def list_patients(openkbp: Path) -> tuple[Listed, ...]:
    """All patients of the data set, in its order."""
    cases = json.loads((openkbp / "cases.json").read_text(encoding="utf-8"))
    values = json.loads((openkbp / "labels.json").read_text(encoding="utf-8"))
    return tuple(
        Listed(name, content["split"] == "train", {s: values[s] for s in content["structures"]})
        for name, content in cases.items()
    )


def cleaned_case(openkbp: Path, patient: Listed) -> Case:
    """The case of a patient: one to train on with what is known to be wrong in it overridden, others as they are."""
    overrides = load_overrides(OVERRIDES) if patient.training else AS_THEY_ARE
    return openkbp_case(openkbp / patient.name, patient.drawn, overrides)


def openkbp_case(folder: Path, drawn: dict[str, int], overrides: Overrides = AS_THEY_ARE) -> Case:
    """The case of one patient; `drawn` maps the structures that were contoured to their label values."""
    volume = read_nifti(folder / "image.nii.gz", Modality.CT, f"2.25.{folder.name.removeprefix('pt_')}")
    labels, _ = read_nifti_array(folder / "labels.nii.gz", volume.geometry.frame_of_reference_uid)
    masks = {name: labels == value for name, value in drawn.items() if (labels == value).any()}
    structures = []
    for name, mask in masks.items():
        known = _known(name, masks, volume.geometry)
        override = overrides.of(folder.name, name)
        if override is not None and override.status is not None:
            known = Imported(name, override.status, override.drawn_slices)
        if known.status is not Status.NOT_DRAWN:
            structures.append((known, mask))
    identity = ImportedIdentity(folder.name, folder.name, note="AAPM OpenKBP challenge, MIT")
    return import_masks(volume, tuple(structures), identity)


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
