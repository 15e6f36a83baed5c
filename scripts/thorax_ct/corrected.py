"""Label maps of the CTs whose structures were drawn by hand, and how wrong the automatic labels were before.

    python -m scripts.thorax_ct.corrected --data DATA --automatic CASES [--out FOLDER] [CASE ...]

For each case of `scripts/thorax_ct/drawn`: the drawn structures and the lungs by their HU replace what propagation and
self-training had labelled; where only the automatic labels speak (liver, spleen, stomach), the voxel becomes unknown.
Writes `labels.nii.gz` on the image's own grid, `labels.json`, and `agreement.csv` with the Dice between both.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.cases.store import Case, Status
from contour.core.geometry import Geometry
from contour.core.structures import Mask
from contour.imaging.nifti import write_nifti
from contour.imaging.preprocess import canonical_geometry, from_canonical
from contour.training.prepared import UNKNOWN, resample_labels
from scripts.thorax_ct.cases import drawn_case

DRAWN = Path(__file__).parent / "drawn"
AUTOMATIC_MM = (3.0, 3.0, 3.0)
AUTOMATIC_NAMES = (
    "Lung_L",
    "Lung_R",
    "Heart",
    "Esophagus",
    "Trachea",
    "A_Aorta",
    "SpinalCord",
    "Liver",
    "Spleen",
    "Stomach",
)
DOUBT_MM = 6.0  # so far around an automatic label that nobody has looked at, nothing is known
# Where masks overlap, the later counts: the pericardium holds the roots of the great vessels, the canal holds the cord.
PRIORITY = (
    "Lung_L",
    "Lung_R",
    "Liver",
    "Stomach",
    "Spleen",
    "Kidney_L",
    "Kidney_R",
    "Heart",
    "SpinalCanal",
    "SpinalCord",
    "A_Pulmonary",
    "V_Venacava_S",
    "V_Venacava_I",
    "A_Aorta",
    "Esophagus",
    "Trachea",
    "Bronchus",
)


@dataclass(frozen=True)
class Agreement:
    """How the automatic label of a structure agrees with the corrected one; a Dice of 0 where there was none."""

    name: str
    dice: float
    automatic_ml: float
    corrected_ml: float


def main() -> None:
    arguments = _parse()
    for name in arguments.cases or sorted(path.stem for path in DRAWN.glob("*.yaml")):
        case = drawn_case(arguments.data, DRAWN / f"{name}.yaml")
        automatic = automatic_masks(arguments.automatic / f"{name}.npz", case.volume.geometry)
        labels = corrected_labels(case, automatic)
        agreements = compared(case, automatic)
        _write(labels, case, agreements, arguments.out / name)
        print(f"{name}: {np.mean(labels == UNKNOWN):.1%} of the voxels unknown")
        for a in agreements:
            print(f"  {a.name:13s} {a.dice:.2f}  {a.automatic_ml:7.1f} -> {a.corrected_ml:7.1f} ml")


def automatic_masks(path: Path, geometry: Geometry) -> dict[str, Mask]:
    """The automatic labels of the prepared case at `path` (z, y, x) on the image's grid, by name."""
    with np.load(path, allow_pickle=False) as archive:  # cases of an earlier layout hold the labels under this name too
        stored = archive["labels_zyx"]
    canonical = canonical_geometry(geometry)
    values = resample_labels(stored, canonical.respaced(AUTOMATIC_MM), canonical)
    on_image = np.asarray(from_canonical(values, geometry))
    return {name: on_image == value for value, name in enumerate(AUTOMATIC_NAMES, start=1)}


def corrected_labels(case: Case, automatic: dict[str, Mask]) -> NDArray[np.uint8]:
    """The label map (z, y, x): i for the i-th of `PRIORITY`, 0 for background, 255 where nobody can tell.

    What an automatic label claims and no drawing covers becomes background if the structure was drawn completely, and
    unknown, with 6 mm around it, if it was not drawn, or drawn between two slices only and lies beyond them.
    """
    labels = np.zeros(case.volume.geometry.shape_zyx, dtype=np.uint8)
    for name, mask in automatic.items():
        unseen = _unseen_slices(case, name)
        labels[_grown(mask & unseen, DOUBT_MM, case.volume.geometry) & unseen] = UNKNOWN
    drawn = {structure.name: structure for structure in case.structures.structures}
    unknown_names = set(drawn) - set(PRIORITY)
    if unknown_names:
        raise ValueError(f"{case.record.name}: no rank for {sorted(unknown_names)}; ranked are {PRIORITY}")
    for value, name in enumerate(PRIORITY, start=1):
        if name in drawn:
            labels[drawn[name].full_mask(labels.shape)] = value
    return labels


def compared(case: Case, automatic: dict[str, Mask]) -> tuple[Agreement, ...]:
    """The agreement of each drawn structure, the lungs included, with its automatic label, if there is one."""
    shape, voxel_ml = case.volume.geometry.shape_zyx, case.volume.geometry.voxel_ml
    found = []
    for structure in case.structures.structures:
        if structure.name in automatic:
            before = automatic[structure.name] & ~_unseen_slices(case, structure.name)
            after = structure.full_mask(shape)
            volumes = float(before.sum()), float(after.sum())
            dice = 2 * float((before & after).sum()) / max(sum(volumes), 1.0)
            found.append(Agreement(structure.name, dice, volumes[0] * voxel_ml, volumes[1] * voxel_ml))
    return tuple(found)


def _unseen_slices(case: Case, name: str) -> NDArray[np.bool_]:
    """(z, 1, 1): the slices in which nobody looked for the structure."""
    entry = case.record.structure(name)
    unseen = np.full((case.volume.geometry.shape_zyx[0], 1, 1), entry.status is not Status.DRAWN)
    if entry.drawn_slices is not None:
        first, last = entry.drawn_slices
        unseen[first : last + 1] = False
    return unseen


def _grown(mask: Mask, margin_mm: float, geometry: Geometry) -> Mask:
    if not mask.any():
        return mask
    grown: Mask = ndimage.distance_transform_edt(~mask, sampling=geometry.spacing_zyx_mm) <= margin_mm
    return grown


def _write(labels: NDArray[np.uint8], case: Case, agreements: tuple[Agreement, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "labels.part.nii.gz"
    write_nifti(labels, case.volume.geometry, part)
    part.replace(folder / "labels.nii.gz")
    names = set(case.record.drawn_names)
    values = {name: value for value, name in enumerate(PRIORITY, start=1) if name in names}
    (folder / "labels.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    with (folder / "agreement.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("structure", "dice", "automatic_ml", "corrected_ml"))
        writer.writerows(
            (a.name, f"{a.dice:.3f}", f"{a.automatic_ml:.1f}", f"{a.corrected_ml:.1f}") for a in agreements
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of public images and labels")
    parser.add_argument("--automatic", type=Path, required=True, help="the cases with automatic labels, NAME.npz")
    parser.add_argument("--out", type=Path, default=Path("runs/thorax_ct/drawn"), help="a folder for each case")
    parser.add_argument("cases", nargs="*", help="names of cases; all that were drawn if not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()
