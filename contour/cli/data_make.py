"""`contour data make`: a small hospital archive to try retraining on, with its truth beside it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cases.made_archive import ARCHIVE_FOLDER, TRUTH_FILE, MadeOptions, make_archive
from contour.cli.options import Json
from contour.cli.terminal import output, print_json, stage_bars


def data_make(
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the archive and its truth.")] = Path(
        "made-archive"
    ),
    patients: Annotated[int, typer.Option(min=1, max=10_000, help="How many patients.")] = 10,
    as_json: Json = False,
) -> None:
    """Make a small hospital archive: mixed files, names in four languages, half of the organs drawn, mistakes."""
    with stage_bars(quiet=as_json) as tell:
        truth = make_archive(output_folder, MadeOptions(patients=patients), tell)
    if as_json:
        print_json(asdict(truth))
        return
    console = output()
    place = escape(str(output_folder))
    console.print(
        f"[bold]{place}/{ARCHIVE_FOLDER}[/]: {patients} patients, {len(truth.series)} planning CTs,"
        f" {len(truth.structure_sets)} structure sets, {len(truth.odd_files)} files beside them.",
        soft_wrap=True,
    )
    console.print(f"What is true of it: {place}/{TRUTH_FILE}", soft_wrap=True)
    console.print(
        f"[dim]Next: contour data index {place}/{ARCHIVE_FOLDER} --output {place}/index.sqlite[/]", soft_wrap=True
    )
