"""What a run writes beside the RTSTRUCT where it is asked to: for research, archives and viewers."""

import shutil
from enum import StrEnum
from pathlib import Path

from contour.core.errors import NotReleased
from contour.core.report import Finding, Severity
from contour.core.structures import StructureSet
from contour.dicom.seg_write import write_seg
from contour.dicom.series import ImageSeries
from contour.imaging.nifti import write_nifti

SEG_FILE = "dicom-seg.dcm"
MASKS_FOLDER = "masks"


class Export(StrEnum):
    """A further form of the structures: one DICOM Segmentation, or a NIfTI mask for each."""

    SEG = "seg"
    NIFTI = "nifti"


PLACES = {Export.SEG: SEG_FILE, Export.NIFTI: MASKS_FOLDER}


def write_exports(
    structures: StructureSet, series: ImageSeries, folder: Path, wanted: tuple[Export, ...]
) -> tuple[Finding, ...]:
    """Writes `structures` into `folder` in each form that is `wanted`; a finding says which could not be proven.

    Masks bear the structures' names, `masks/Heart.nii.gz`, and lie on the grid of the images, 0 and 1.

    Raises:
        InputRefused: as `write_seg`.
        OSError: the disk.
    """
    findings = []
    if Export.NIFTI in wanted:
        (folder / MASKS_FOLDER).mkdir()
        for structure in (one for one in structures.structures if not one.empty):
            mask = structure.full_mask(structures.geometry.shape_zyx)
            write_nifti(mask, structures.geometry, folder / MASKS_FOLDER / f"{structure.name}.nii.gz")
    if Export.SEG in wanted:
        try:
            write_seg(structures, series, folder / SEG_FILE)
        except NotReleased as error:
            message = f"The DICOM Segmentation differs from what was drawn, and was not kept: {error}"
            findings.append(Finding("not-exported", Severity.CHECK, message))
    return tuple(findings)


def remove_exports(folder: Path) -> None:
    """Takes away what an earlier run left: no mask may stand beside another run's report."""
    (folder / SEG_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / MASKS_FOLDER, ignore_errors=True)
