"""Measures a thorax package on clinical cases it was never trained on, through the path that ships.

    python -m scripts.thorax_ct.evaluate --archive ARCHIVE [--package models/thorax_ct]

Each subfolder of ARCHIVE holds a CT series and its RTSTRUCT. Clinical contours of the cord and the oesophagus stop
where the planner stopped: a second row says how far the structures agree within the slices that were drawn.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom

from contour.config import load_config, shipped_folder
from contour.core.protocol import Protocol
from contour.core.structures import Structure, StructureSet, cropped_to_content
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.imaging.metrics import Agreement, compare
from contour.inference.package import load_package
from contour.inference.session import open_network
from contour.pipeline import draw_structures

TOLERANCE_MM = 3.0
# Names as the clinics of the archive wrote them.
CLINICAL_NAMES = {
    "Lung L": "Lung_L",
    "Lung R": "Lung_R",
    "Heart": "Heart",
    "Esophagus": "Esophagus",
    "Spinal cord": "SpinalCord",
}
COLUMNS = ("case", "structure", "Dice", "surface Dice 3 mm", "HD95 mm", "mean mm", "reference ml", "drawn ml")


def main() -> None:
    arguments = _parse()
    print(measure(arguments.package or shipped_folder("models") / "thorax_ct", arguments.archive))


def measure(package: Path, archive: Path) -> str:
    """A Markdown table of how the package's structures agree with the clinical ones of every case in `archive`."""
    network = open_network(load_package(package))
    protocol = load_config(shipped_folder("configs") / "protocols" / "thorax_oar.yaml", Protocol)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for folder in sorted(path for path in archive.iterdir() if path.is_dir()):
        series = read_series(folder)
        drawing = draw_structures(series.volume, protocol, (network,))
        reference = read_rtstruct(clinical_rtstruct(folder), series)
        lines += agreement_lines(folder.name, reference, drawing.structures)
    return "\n".join(lines)


def agreement_lines(case: str, reference: StructureSet, drawn: StructureSet) -> list[str]:
    """Rows of a Markdown table: whole structures, and cord and oesophagus within the slices that were drawn."""
    tests = {structure.name: structure for structure in drawn.structures}
    lines = []
    for structure in reference.structures:
        name = CLINICAL_NAMES.get(structure.name)
        if name is None or name not in tests:
            continue
        lines.append(_row(case, name, compare(structure, tests[name], drawn.geometry, TOLERANCE_MM)))
        if name in ("SpinalCord", "Esophagus"):
            test = within_slices(tests[name], structure)
            agreement = compare(structure, test, drawn.geometry, TOLERANCE_MM)
            lines.append(_row(case, f"{name}, drawn slices", agreement))
    return lines


def within_slices(test: Structure, reference: Structure) -> Structure:
    """The part of `test` in the slices between the first and the last one of `reference`."""
    first, last = reference.box.start_zyx[0], reference.box.stop_zyx[0]
    mask = test.mask_zyx.copy()
    z = test.offset_zyx[0] + np.arange(mask.shape[0])
    mask[(z < first) | (z >= last)] = False
    cropped, offset = cropped_to_content(mask, test.offset_zyx)
    return replace(test, mask_zyx=cropped, offset_zyx=offset)


def _row(case: str, name: str, found: Agreement) -> str:
    return (
        f"| {case} | {name} | {found.dice:.3f} | {found.surface_dice:.3f} | {found.hd95_mm:.1f} | "
        f"{found.mean_surface_distance_mm:.2f} | {found.reference_ml:.0f} | {found.test_ml:.0f} |"
    )


def clinical_rtstruct(folder: Path) -> Path:
    """The structure set among the files of a case.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in sorted(folder.iterdir()):
        if pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True).get("Modality") == "RTSTRUCT":
            return path
    raise FileNotFoundError(f"{folder}: no RTSTRUCT")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="a folder of cases")
    parser.add_argument("--package", type=Path, help="the package to measure; the shipped one if not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()
