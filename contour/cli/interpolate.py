"""`contour interpolate`: the slices between those that a person drew."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.options import Overwrite, SeriesFolder, SeriesUid, System, planning_system, read, refuse_existing
from contour.cli.terminal import output
from contour.core.errors import InputRefused, Reason
from contour.core.planning_system import GENERIC
from contour.core.staging import staged
from contour.core.structures import Structure, StructureSet
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct
from contour.imaging.between import Filled, filled_between


def interpolate(
    rtstruct: Annotated[Path, typer.Argument(help="RTSTRUCT of any system.")],
    series_folder: SeriesFolder,
    output_file: Annotated[Path, typer.Option("--output", "-o", help="The RTSTRUCT to write.")],
    rois: Annotated[
        list[str], typer.Option("--roi", help="Only this ROI; repeatable. By default all that have gaps.")
    ] = [],  # noqa: B006 - typer copies it
    most_mm: Annotated[
        float, typer.Option("--gap", min=0.1, max=100.0, help="Drawn slices further apart are not joined, in mm.")
    ] = 15.0,
    series_uid: SeriesUid = None,
    tps: System = GENERIC.name,
    overwrite: Overwrite = False,
) -> None:
    """An RTSTRUCT with the ROIs that were drawn on some slices only, complete; drawn slices stay as they are."""
    refuse_existing([output_file], overwrite=overwrite)
    series = read(series_folder, series_uid)
    structures = read_rtstruct(rtstruct, series, names=tuple(rois) or None)
    spacing = series.volume.geometry.spacing_zyx_mm
    done = [(one, filled_between(one.mask_zyx, spacing, most_mm)) for one in structures.structures if not one.empty]
    complete = tuple(_complete(one, filled) for one, filled in done if filled.filled)
    if not complete:
        found = "no gap between drawn slices" if not any(f.left for _, f in done) else f"only gaps over {most_mm:g} mm"
        raise InputRefused(Reason.NO_STRUCTURES, str(rtstruct), found, "an ROI with slices to fill; see --gap")
    options = WriteOptions(generation=GenerationAlgorithm.SEMIAUTOMATIC, system=planning_system(tps))
    with staged(output_file.parent) as stage:
        drawn = StructureSet(structures.label, structures.geometry, complete)
        write_rtstruct(drawn, series, stage / output_file.name, options)
    for one, filled in done:
        if filled.filled or filled.left:
            output().print(escape(_said(one, filled)), soft_wrap=True)
    output().print(f"[bold green]Released[/] {escape(str(output_file))}", soft_wrap=True)


def _complete(structure: Structure, filled: Filled) -> Structure:
    derivation = f"{len(filled.filled)} slices between those drawn"
    return replace(structure, mask_zyx=filled.mask_zyx, derivation=derivation)


def _said(structure: Structure, filled: Filled) -> str:
    first = structure.offset_zyx[0]
    gaps = ", ".join(f"{first + a} to {first + b}" for a, b in filled.left)
    return f"{structure.name}: {len(filled.filled)} slices filled" + (
        f"; left empty between slices {gaps}" if gaps else ""
    )
