"""The human limit in the head and neck: an oncologist against a radiographer on the same scans, by our own metrics.

    python -m scripts.head_ct.two_raters TWO_RATERS_FOLDER [--csv FILE]

Label maps give each voxel to one structure; where one was drawn inside another (the lens in the eye, the cord in the
canal), the outer one is put together again. PUBLISHED are the medians over the 35 scans that these 21 were taken from
(Nikolov et al., JMIR 2021, arXiv:1809.04430): far from them, the data or our metrics would be wrong.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.structures import InterpretedType, Structure, cropped_to_content
from contour.imaging.metrics import Agreement, compare
from contour.imaging.nifti import read_nifti_array

FRAME = "2.25.1"
TOLERANCE_MM = 2.0
RATERS = ("oncologist", "radiographer")


@dataclass(frozen=True)
class Drawn:
    """A structure: its name, the labels that make it up, and the published median Dice of the two raters."""

    name: str
    labels: tuple[str, ...]
    published: float


STRUCTURES = (
    Drawn("Brain", ("Brain",), 0.99),
    Drawn("Brainstem", ("Brainstem",), 0.89),
    Drawn("SpinalCanal", ("Spinal_Canal", "Spinal_Cord"), 0.94),
    Drawn("SpinalCord", ("Spinal_Cord",), 0.85),
    Drawn("Mandible", ("Mandible",), 0.95),
    *(Drawn(f"Parotid_{s}", (f"Parotid_{s}",), 0.87) for s in "LR"),
    *(Drawn(f"Glnd_Submand_{s}", (f"Submandibular_{s}",), 0.88) for s in "LR"),
    *(Drawn(f"Eye_{s}", (f"Orbit_{s}", f"Lens_{s}"), 0.93) for s in "LR"),
    *(Drawn(f"Lens_{s}", (f"Lens_{s}",), 0.89) for s in "LR"),
    *(Drawn(f"OpticNrv_{s}", (f"Optic_Nerve_{s}",), 0.80) for s in "LR"),
    *(Drawn(f"Glnd_Lacrimal_{s}", (f"Lacrimal_{s}",), 0.68) for s in "LR"),
    *(Drawn(f"Cochlea_{s}", (f"Cochlea_{s}",), 0.73) for s in "LR"),
    *(Drawn(f"Lung_{s}", (f"Lung_{s}",), 0.99) for s in "LR"),
)


@dataclass(frozen=True)
class Compared:
    """One structure of one scan: the radiographer's against the oncologist's."""

    scan: str
    name: str
    agreement: Agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--csv", type=Path, help="write each structure of each scan there")
    given = parser.parse_args()
    compared = tuple(compare_raters(given.folder))
    if given.csv:
        _write_csv(compared, given.csv)
    print(limits_table(compared))


def compare_raters(folder: Path) -> Iterator[Compared]:
    """Every structure that both raters drew, scan by scan; one that a rater left out says nothing.

    Raises:
        FileNotFoundError: a scan has the labels of one rater only.
        InputRefused: a label map cannot be read.
    """
    values: dict[str, int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    for first in sorted(folder.glob(f"*_{RATERS[0]}")):
        scan = first.name.removesuffix(f"_{RATERS[0]}")
        reference, geometry = read_nifti_array(first / "labels.nii.gz", FRAME)
        test, other = read_nifti_array(folder / f"{scan}_{RATERS[1]}" / "labels.nii.gz", FRAME)
        assert geometry.same_grid(other, 0.01), scan
        for drawn in STRUCTURES:
            pair = [_structure(drawn, labels, values) for labels in (reference, test)]
            if not any(structure.empty for structure in pair):
                yield Compared(scan, drawn.name, compare(pair[0], pair[1], geometry, TOLERANCE_MM))


def limits_table(compared: tuple[Compared, ...]) -> str:
    """Markdown: per structure, both sides together, scans, median and 10th percentile of each measure."""
    lines = [
        "| structure | drawn by both | Dice: median (10 %) | published | surface Dice 2 mm: median (10 %) "
        "| HD95 mm: median (90 %) | worst scan (Dice) |",
        "|---|---|---|---|---|---|---|",
    ]
    published = {_pair(drawn.name): drawn.published for drawn in STRUCTURES}
    for name, median in published.items():
        found = [c for c in compared if _pair(c.name) == name]
        if not found:
            continue
        dice = [c.agreement.dice for c in found]
        surface = [c.agreement.surface_dice for c in found]
        hd95 = [c.agreement.hd95_mm for c in found]
        worst = min(found, key=lambda c: c.agreement.dice)
        lines.append(
            f"| {name} | {len(found)} | {np.median(dice):.3f} ({np.percentile(dice, 10):.2f}) | {median:.2f} "
            f"| {np.median(surface):.3f} ({np.percentile(surface, 10):.2f}) "
            f"| {np.median(hd95):.1f} ({np.percentile(hd95, 90):.1f}) | {worst.scan} ({worst.agreement.dice:.2f}) |"
        )
    return "\n".join(lines)


def _structure(drawn: Drawn, labels_zyx: NDArray[np.generic], values: dict[str, int]) -> Structure:
    mask = np.isin(labels_zyx, [values[label] for label in drawn.labels])
    # A canal or an eye of which only the inner part was drawn was not drawn.
    if not (labels_zyx == values[drawn.labels[0]]).any():
        mask[:] = False
    return Structure(drawn.name, (255, 255, 255), InterpretedType.ORGAN, *cropped_to_content(mask))


def _pair(name: str) -> str:
    return name[:-2] + "_L/R" if name.endswith(("_L", "_R")) else name


def _write_csv(compared: tuple[Compared, ...], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("scan", "structure", "dice", "surface_dice_2mm", "hd95_mm", "oncologist_ml", "radiographer_ml")
        )
        for c in compared:
            a = c.agreement
            writer.writerow((c.scan, c.name, a.dice, a.surface_dice, a.hd95_mm, a.reference_ml, a.test_ml))


if __name__ == "__main__":
    main()
