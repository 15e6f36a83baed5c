"""`contour check`: does an RTSTRUCT mean what it says?"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from contour.cli.failures import ExitCode
from contour.cli.options import Json, SeriesUid, System, planning_system, read
from contour.cli.terminal import findings_table, output, print_json
from contour.core.planning_system import GENERIC
from contour.core.report import Severity
from contour.dicom.rtstruct_check import check_rtstruct


def check(
    rtstruct: Annotated[Path, typer.Argument(help="RTSTRUCT of any system.")],
    series_folder: Annotated[
        Path | None, typer.Option("--series", "-s", help="Folder of the images it was drawn on.")
    ] = None,
    series_uid: SeriesUid = None,
    tps: System = GENERIC.name,
    as_json: Json = False,
) -> None:
    """Look for what makes an RTSTRUCT untrustworthy or unreadable; exit code 2 if a finding says stop."""
    series = read(series_folder, series_uid) if series_folder else None
    findings = check_rtstruct(rtstruct, series, planning_system(tps))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    elif findings:
        output().print(findings_table(findings, ""))
    else:
        scope = (
            "by itself and against its images" if series else "by itself; --series FOLDER checks it against its images"
        )
        output().print(f"[bold green]No findings[/] ({scope}).")
    if any(finding.severity is Severity.STOP for finding in findings):
        raise typer.Exit(ExitCode.REFUSED)
