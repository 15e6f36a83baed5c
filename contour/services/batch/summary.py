"""What a batch did: as a table for programs (CSV, JSON) and as a page for people."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from contour.cases.html import Cell, Column, Page, Row, Section, Table, Text, Tile, Tiles, Tone, write_page
from contour.core.staging import staged
from contour.services.batch.run import BatchResult, Line
from contour.services.jobs.job import JobState
from contour.services.jobs.records import to_record, write_record

HTML_FILE, CSV_FILE, JSON_FILE = "summary.html", "summary.csv", "summary.json"
FOOTER = "Drawn automatically, for a clinician's review before any use."
BAD = (JobState.FAILED, JobState.SET_ASIDE)
_TONES = {
    JobState.DONE: Tone.GOOD,
    JobState.NOT_RELEASED: Tone.CHECK,
    JobState.REFUSED: Tone.CHECK,
    JobState.FAILED: Tone.STOP,
    JobState.SET_ASIDE: Tone.STOP,
}


def write_summary(result: BatchResult, output: Path) -> None:
    """`summary.html`, `summary.csv` and `summary.json` into `output`. Series stand there by UID, never by a name.

    Raises:
        OSError: the disk.
    """
    with staged(output) as stage:
        with (stage / CSV_FILE).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(field.name for field in fields(Line))
            writer.writerows([str(getattr(line, field.name)) for field in fields(Line)] for line in result.lines)
        write_record(content(result), stage / JSON_FILE)
        (stage / JSON_FILE).chmod(0o644)
        write_page(_page(result), stage / HTML_FILE)


def content(result: BatchResult) -> Any:
    """The result for programs."""
    plan = result.plan
    return {
        "protocol": to_record(plan.protocol),
        "packages": to_record(plan.packages),
        "counts": {str(state): result.count(state) for state in JobState},
        "passed_over": result.passed_over,
        "seconds": round(result.seconds, 1),
        "series": to_record(result.lines),
    }


def reasons(lines: Iterable[Line]) -> tuple[tuple[str, int], ...]:
    """Why series were refused or failed, the most frequent first."""
    return tuple(Counter(line.code for line in lines if line.code).most_common())


def _page(result: BatchResult) -> Page:
    new = sum(line.state is JobState.DONE and not line.before for line in result.lines)
    return Page(
        title=f"Batch: {result.plan.protocol.name}",
        lead=f"{result.count(JobState.DONE)} of {len(result.lines)} series are drawn, {new} of them by this run.",
        facts=(
            ("Ended", f"{datetime.now().astimezone():%Y-%m-%d %H:%M}"),
            ("Packages", ", ".join(pin.name for pin in result.plan.packages) or "none"),
            ("Passed over", f"{result.passed_over} series of other kinds"),
        ),
        tiles=Tiles(tuple(_tile(state, result) for state in JobState if state in _TONES)),
        sections=(
            *((Section("Why not", (_why(result),)),) if reasons(result.lines) else ()),
            Section("Series", (_table(result.lines),)),
        ),
        footer=FOOTER,
    )


def _tile(state: JobState, result: BatchResult) -> Tile:
    count = result.count(state)
    return Tile(str(state).capitalize(), str(count), tone=_TONES[state] if count else Tone.PLAIN)


def _why(result: BatchResult) -> Table | Text:
    rows = tuple(Row((Cell(code), Cell(str(count), count))) for code, count in reasons(result.lines))
    return Table((Column("Reason"), Column("Series", numeric=True)), rows)


def _table(lines: tuple[Line, ...]) -> Table:
    columns = (
        Column("Series", hint="Series Instance UID"),
        Column("State", choices=True),
        Column("Structures", numeric=True),
        Column("To check", hint="Findings that a person should look at; see report.json", numeric=True),
        Column("Seconds", numeric=True),
        Column("Results", hint="Folder"),
        Column("Reason", choices=True),
    )
    return Table(columns, tuple(_row(line) for line in lines), "No series that the protocol could draw.")


def _row(line: Line) -> Row:
    drawn = bool(line.folder)
    return Row(
        cells=(
            Cell(line.series_instance_uid),
            Cell(str(line.state), tone=_TONES.get(line.state, Tone.PLAIN)),
            _number(line.structures, drawn=drawn),
            _number(line.check, drawn=drawn),
            _number(round(line.seconds, 1), drawn=drawn),
            Cell(line.folder),
            Cell(line.code),
        ),
        remarks=(line.message,) if line.message else (),
    )


def _number(value: float, *, drawn: bool) -> Cell:
    return Cell(f"{value:g}", float(value)) if drawn else Cell("")
