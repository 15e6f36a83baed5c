"""`contour convert`: RTSTRUCT to NIfTI masks and back, and to DICOM Segmentation."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from contour.cli.options import (
    Holes,
    Overwrite,
    SeriesFolder,
    SeriesUid,
    System,
    planning_system,
    read,
    refuse_existing,
)
from contour.cli.terminal import output
from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.nomenclature import named_structure
from contour.core.planning_system import GENERIC
from contour.core.staging import staged
from contour.core.structures import Structure, StructureSet
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct
from contour.dicom.seg_write import write_seg
from contour.imaging.nifti import read_nifti_array, read_nifti_geometry, write_nifti

GRID_TOLERANCE_MM = 0.05  # NIfTI headers hold single-precision numbers
SUFFIXES = (".nii.gz", ".nii")
MAX_STEM_LENGTH = 64  # what DICOM allows for a name; file systems take about four times that


def to_nifti(
    rtstruct: Annotated[Path, typer.Argument(help="RTSTRUCT of any system.")],
    series_folder: SeriesFolder,
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")],
    series_uid: SeriesUid = None,
    image: Annotated[bool, typer.Option("--image", help="Write the image too, as image.nii.gz.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """One NIfTI mask (0 and 1, on the grid of the images) for each structure."""
    series = read(series_folder, series_uid)
    structures = read_rtstruct(rtstruct, series)
    names = _file_names(structures)
    files = [*names, *(["image.nii.gz"] if image else [])]
    refuse_existing([output_folder / name for name in files], overwrite=overwrite)
    with staged(output_folder) as stage:
        for structure, name in zip(structures.structures, names, strict=True):
            mask = structure.full_mask(structures.geometry.shape_zyx)
            write_nifti(mask, structures.geometry, stage / name)
        if image:
            write_nifti(series.volume.voxels_zyx, series.volume.geometry, stage / "image.nii.gz")
    output().print(f"{len(files)} files in {escape(str(output_folder))}", soft_wrap=True)


def to_rtstruct(
    masks: Annotated[list[Path], typer.Argument(help="NIfTI masks, each named after its structure; or a folder.")],
    series_folder: SeriesFolder,
    output_file: Annotated[Path, typer.Option("--output", "-o", help="The RTSTRUCT to write.")],
    series_uid: SeriesUid = None,
    label: Annotated[str, typer.Option("--label", help="Structure Set Label, at most 16 characters.")] = "CONVERTED",
    tps: System = GENERIC.name,
    holes: Holes = None,
    overwrite: Overwrite = False,
) -> None:
    """An RTSTRUCT from masks that lie on the grid of the images; written, proven and only then released."""
    refuse_existing([output_file], overwrite=overwrite)
    series = read(series_folder, series_uid)
    structures = tuple(_structure(path, series.volume.geometry) for path in _mask_files(masks))
    # Who or what drew the masks is not known here.
    options = WriteOptions(generation=GenerationAlgorithm.UNKNOWN, system=planning_system(tps, holes))
    drawn = StructureSet(label, series.volume.geometry, structures)
    with staged(output_file.parent) as stage:
        written = write_rtstruct(drawn, series, stage / output_file.name, options)
    left_out = f"; empty and left out: {', '.join(written.left_out)}" if written.left_out else ""
    output().print(f"{len(written.written)} structures in {escape(str(output_file))}{escape(left_out)}", soft_wrap=True)


def to_seg(
    rtstruct: Annotated[Path, typer.Argument(help="RTSTRUCT of any system.")],
    series_folder: SeriesFolder,
    output_file: Annotated[Path, typer.Option("--output", "-o", help="The DICOM Segmentation to write.")],
    series_uid: SeriesUid = None,
    overwrite: Overwrite = False,
) -> None:
    """A DICOM Segmentation with a segment for each structure; written, proven and only then released."""
    refuse_existing([output_file], overwrite=overwrite)
    series = read(series_folder, series_uid)
    with staged(output_file.parent) as stage:
        structures = read_rtstruct(rtstruct, series)
        rois = read_contours(rtstruct).rois
        by_hand = frozenset(roi.name for roi in rois if roi.generation_algorithm != GenerationAlgorithm.AUTOMATIC)
        written = write_seg(structures, series, stage / output_file.name, by_hand)
    left_out = f"; empty and left out: {', '.join(written.left_out)}" if written.left_out else ""
    output().print(f"{len(written.written)} segments in {escape(str(output_file))}{escape(left_out)}", soft_wrap=True)


def _file_names(structures: StructureSet) -> list[str]:
    """A safe file name for each structure: names in foreign files may hold anything, and occur more than once."""
    names = []
    taken = {"image"}
    for structure in structures.structures:
        stem = re.sub(r"[^A-Za-z0-9_+~^.-]", "_", structure.name)[:MAX_STEM_LENGTH].lstrip(".") or "structure"
        unique, count = stem, 2
        while unique.casefold() in taken:
            unique, count = f"{stem}_{count}", count + 1
        taken.add(unique.casefold())
        names.append(f"{unique}.nii.gz")
    return names


def _mask_files(paths: list[Path]) -> list[Path]:
    files = []
    for path in paths:
        files += sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES)) if path.is_dir() else [path]
    files = [file for file in files if file.name != "image.nii.gz"]
    if not files:
        where = ", ".join(map(str, paths))
        raise InputRefused(Reason.NO_STRUCTURES, where, "no NIfTI mask", "files that end in .nii.gz or .nii")
    return files


def _structure(path: Path, geometry: Geometry) -> Structure:
    grid = read_nifti_geometry(path, geometry.frame_of_reference_uid)
    if not grid.same_grid(geometry, GRID_TOLERANCE_MM):
        found = f"{grid.shape_zyx} voxels (z, y, x) of {grid.spacing_zyx_mm} mm"
        raise InputRefused(
            Reason.WRONG_SERIES, str(path), found, f"the grid of the images, {geometry.shape_zyx} voxels"
        )
    array, _ = read_nifti_array(path, geometry.frame_of_reference_uid)
    values = np.unique(array)
    if values.size > 2 or (values.size == 2 and values[0] != 0):
        raise InputRefused(Reason.UNSUPPORTED_PIXELS, str(path), f"{values.size} different values", "a mask of 0 and 1")
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return named_structure(name, array != 0)
