"""What the thorax network is measured on: clinical cases that no training sees.

Each subfolder of the archive holds a CT series and its RTSTRUCT. Clinical contours of the cord and the oesophagus stop
where the planner stopped: they are judged within the slices that were drawn.
"""

from pathlib import Path

import numpy as np
import pydicom

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import RECORD_FILE, Case, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import Mask, Structure
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from scripts.starter.recipe import ValidationSet

# Names as the clinics of the archive wrote them. Their cord fills the canal, as RTOG's atlas has it: it judges both.
CLINICAL_NAMES = {
    "Lung L": ("Lung_L",),
    "Lung R": ("Lung_R",),
    "Heart": ("Heart",),
    "Esophagus": ("Esophagus",),
    "Spinal cord": ("SpinalCord", "SpinalCanal"),
}
DRAWN_AS_NEEDED = ("SpinalCord", "SpinalCanal", "Esophagus")


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """The cases of the archive in `folder`; those that are there stay."""
    sources = sorted(path for path in (data / "archive").iterdir() if path.is_dir())
    for source in sources:
        if not (folder / source.name / RECORD_FILE).exists():
            save_case(clinical_case(source), folder)
    title = "Clinical planning CTs (NSCLC-Radiomics, TCIA; validation only)"
    return (ValidationSet("clinical", title, tuple(folder / source.name for source in sources)),)


def clinical_case(source: Path) -> Case:
    """The CT and the structures of a case of the archive."""
    series = read_series(source)
    structures = read_rtstruct(clinical_rtstruct(source), series).structures
    drawn = [s for s in structures if s.name in CLINICAL_NAMES and not s.empty]
    known = [(name, s) for s in drawn for name in CLINICAL_NAMES[s.name]]
    masks = tuple((_imported(name, s), _whole(s, series.volume.geometry)) for name, s in known)
    identity = ImportedIdentity(source.name, source.name, note="NSCLC-Radiomics (TCIA), CC BY-NC 3.0: validation only")
    return import_masks(series.volume, masks, identity)


def clinical_rtstruct(folder: Path) -> Path:
    """The structure set among the files of a case.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in sorted(folder.iterdir()):
        if pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True).get("Modality") == "RTSTRUCT":
            return path
    raise FileNotFoundError(f"{folder}: no RTSTRUCT")


def _imported(name: str, structure: Structure) -> Imported:
    if name not in DRAWN_AS_NEEDED:
        return Imported(name)
    return Imported(name, Status.PARTIAL, (structure.box.start_zyx[0], structure.box.stop_zyx[0] - 1))


def _whole(structure: Structure, geometry: Geometry) -> Mask:
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    mask[structure.box.slices] = structure.mask_zyx
    return mask
