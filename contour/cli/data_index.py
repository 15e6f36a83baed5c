"""`contour data index`: which structure set was drawn on which image series of an archive."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.archive_index import (
    ArchiveIndex,
    IndexedPair,
    IndexOptions,
    IndexSummary,
    Scope,
    index_archive,
    open_index,
)
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json, severity_text, stage_bars

PAIRED_BY = {
    "series": "the structure set names the series",
    "images": "the structure set names the images",
    "frame": "only study and frame of reference tell",
}


def data_index(
    archive: Annotated[Path, typer.Argument(help="Folder of the archive, however its files lie in it.")],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="The index; an earlier one is brought up to date.")
    ],
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes to read with; by default one a processor.")
    ] = None,
    pseudonyms_of: Annotated[
        Path | None,
        typer.Option("--pseudonyms-of", help="An earlier index: its patients keep their pseudonyms in a new one."),
    ] = None,
    moved: Annotated[
        bool, typer.Option("--moved", help="The indexed archive now lies here: keep what is known.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find every image series of an archive and the structure set that was drawn on it; say what was set aside.

    Files that the index knows are not read again, so a run that was stopped goes on where it was. Of several structure
    sets of a series an approved one counts before others, then the newest. The index holds Patient IDs and the key of
    the pseudonyms: keep it where the archive is.
    """
    options = IndexOptions(workers, pseudonyms_of, moved)
    with stage_bars(quiet=as_json) as tell:
        summary = index_archive(archive, output_file, options, tell)
    if as_json:
        with open_index(output_file) as opened:
            print_json(_content(summary, opened))
        return
    print_summary(summary, output())
    output().print(f"\nIndex: {escape(str(output_file))}", soft_wrap=True)
    messages().print(
        f"[bold]Next:[/] contour data names {escape(str(output_file))} --output names.yaml", soft_wrap=True
    )


def print_summary(summary: IndexSummary, console: Console) -> None:
    """What was found, what ties the pairs, what deserves a look, what was set aside."""
    read = f"{summary.files_read} read in {summary.seconds:.1f} s"
    console.print(f"{summary.files} files ({read}, {summary.files - summary.files_read} known before)")
    console.print(
        f"{summary.patients} patients, {summary.series} image series, {summary.structure_sets} structure sets: "
        f"[bold]{summary.pairs} pairs[/]"
    )
    for tie, pairs in summary.paired_by:
        console.print(f"  {pairs} where {PAIRED_BY[tie]}")
    if summary.findings:
        table = _table("Findings on the pairs", ("", "Pairs", "Finding", "For example"))
        for found in summary.findings:
            table.add_row(severity_text(found.severity), str(found.pairs), found.code, escape(found.example))
        console.print(table)
    if summary.set_aside:
        table = _table("Set aside", ("", "Count", "Why", "For example", ""))
        for aside in summary.set_aside:
            why = (str(aside.scope), str(aside.count), aside.reason)
            table.add_row(*why, escape(aside.message), escape(aside.examples[0]))
        console.print(table)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=f"\n[bold]{title}[/]", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in ("Pairs", "Count") else "left")
    return table


def _content(summary: IndexSummary, opened: ArchiveIndex) -> dict[str, Any]:
    """The JSON: the summary, each pair, and each series, structure set and folder that is set aside."""
    return {
        **asdict(summary),
        "archive": str(summary.archive),
        "paired_by": dict(summary.paired_by),
        "pair_list": [_pair_content(pair) for pair in opened.pairs()],
        "set_aside_list": [asdict(aside) for aside in opened.set_aside() if aside.scope is not Scope.FILE],
    }


def _pair_content(pair: IndexedPair) -> dict[str, Any]:
    return {
        "patient": pair.patient,
        "series_instance_uid": pair.series_instance_uid,
        "structure_set_file": str(pair.structure_set_file),
        "modality": pair.modality,
        "slices": len(pair.image_files),
        "approval_status": pair.approval_status,
        "drawn_at": pair.drawn_at,
        "paired_by": pair.paired_by,
        "rois": [roi.name for roi in pair.rois if roi.contours],
        "findings": [asdict(finding) for finding in pair.findings],
    }
