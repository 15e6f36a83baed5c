"""`contour demo`: the whole way on a phantom whose true contours are known."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.compare import agreement_table, compare_sets, same_names
from contour.cli.failures import ExitCode
from contour.cli.options import (
    EngineName,
    Json,
    ModelFolders,
    Overwrite,
    Threads,
    Tolerance,
    open_locator,
    session_options,
)
from contour.cli.run import DEFAULT_PROTOCOL, print_run
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.core.errors import ConfigError
from contour.core.staging import staged
from contour.core.structures import StructureSet
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import thorax_geometry, thorax_phantom
from contour.inference.session import Engine, open_network
from contour.library import load_protocol, packages_for
from contour.pipeline import RTSTRUCT_FILE, RunOptions, contour_series

CT_FOLDER = "ct"
TRUTH_FILE = "truth.dcm"
SPACING_ZYX_MM = (3.0, 1.25, 1.25)
STUDY_UID = "2.25.174460873160420411327216316427406317163"


def demo(
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything.")] = Path(
        "contour-demo"
    ),
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="Name or YAML file.")] = DEFAULT_PROTOCOL,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    tolerance_mm: Tolerance = 3.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Build a phantom CT, contour it, and say how far each contour lies from the truth."""
    chosen = load_protocol(protocol)
    packages = packages_for(chosen, tuple(models))
    networks = tuple(open_network(package, session_options(engine, threads)) for package in packages)
    if output_folder.exists() and any(output_folder.iterdir()) and not overwrite:
        raise ConfigError(str(output_folder), "is not empty", "a new folder, or --overwrite")
    messages().print("Building the phantom ...") if not as_json else None
    truth = _build(output_folder)
    with stage_bars(quiet=as_json) as tell:
        locator = open_locator(chosen, tuple(models), session_options(engine, threads))
        options = RunOptions(overwrite=overwrite, locator=locator)
        run = contour_series(output_folder / CT_FOLDER, chosen, networks, output_folder, options=options, progress=tell)
    drawn = run.drawing.structures
    rows = compare_sets(truth, drawn, same_names(truth, drawn), tolerance_mm)
    if as_json:
        agreement = {name: asdict(row) for name, row in rows}
        print_json({"report": asdict(run.report), "agreement": agreement})
    else:
        console = output()
        print_run(run, console)
        console.print("\n[bold]Against the truth[/]")
        console.print(agreement_table(rows, tolerance_mm))
        place = escape(str(output_folder))
        console.print(
            f"\n[dim]The same again: contour compare {place}/{TRUTH_FILE} {place}/{RTSTRUCT_FILE}"
            f" --series {place}/{CT_FOLDER}[/]",
            soft_wrap=True,
        )
    if not run.report.released:
        raise typer.Exit(ExitCode.NOT_RELEASED)


def _build(folder: Path) -> StructureSet:
    """The phantom as a DICOM series in `folder`/ct, with its truth beside it; the truth on the phantom's grid."""
    phantom = thorax_phantom(thorax_geometry(SPACING_ZYX_MM))
    ct = folder / CT_FOLDER
    with staged(ct) as stage:
        write_series(phantom.volume, _identity(), stage, SeriesOptions(seed="contour demo"))
        for stale in ct.glob("*.dcm"):
            stale.unlink()
    series = read_series(ct)
    truth = replace(phantom.structures, geometry=series.volume.geometry)
    options = WriteOptions(generation=GenerationAlgorithm.UNKNOWN)
    write_rtstruct(truth, series, folder / TRUTH_FILE, options)
    return truth


def _identity() -> PatientStudy:
    return PatientStudy(
        patient_name="Phantom^Thorax",
        patient_id="CONTOUR-DEMO",
        patient_birth_date="",
        patient_sex="O",
        study_instance_uid=STUDY_UID,
        study_id="1",
        study_date="20260101",
        study_time="120000",
        study_description="contour demo",
        accession_number="",
        referring_physician_name="",
    )
