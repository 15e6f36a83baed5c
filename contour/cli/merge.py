"""`contour merge`: new structures into an existing structure set."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.options import Overwrite, SeriesFolder, SeriesUid, System, planning_system, read, refuse_existing
from contour.cli.terminal import findings_table, output
from contour.core.planning_system import GENERIC
from contour.core.staging import staged
from contour.dicom.rtstruct_check import unfit_for
from contour.dicom.rtstruct_merge import merge_rtstruct


def merge(
    existing: Annotated[Path, typer.Argument(help="RTSTRUCT, of any system.")],
    ours: Annotated[Path, typer.Argument(help="RTSTRUCT whose structures come in.")],
    series_folder: SeriesFolder,
    output_file: Annotated[Path, typer.Option("--output", "-o", help="The new version to write.")],
    series_uid: SeriesUid = None,
    tps: System = GENERIC.name,
    overwrite: Overwrite = False,
) -> None:
    """A new version of a structure set with new structures in it; what people drew stays to the last digit."""
    system = planning_system(tps)
    refuse_existing([output_file], overwrite=overwrite)
    series = read(series_folder, series_uid)
    with staged(output_file.parent) as stage:
        merged = merge_rtstruct(existing, ours, series, stage / output_file.name)
    for what, names in (("Added", merged.added), ("Replaced", merged.replaced), ("Left as drawn", merged.kept_out)):
        if names:
            output().print(f"[bold]{what}[/] {escape(', '.join(names))}", soft_wrap=True)
    unfit = unfit_for(output_file, system)  # people may have named theirs for another system
    if unfit:
        output().print(findings_table(unfit, f"\n[bold]Not for {escape(system.title)}[/]"))
    output().print(f"[bold green]Released[/] {escape(str(output_file))}", soft_wrap=True)
