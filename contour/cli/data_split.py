"""`contour data split`: which cases train, validate, and are held out."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cases.split import (
    Split,
    SplitOptions,
    StructureCount,
    count_structures,
    load_split,
    save_split,
    split_cases,
)
from contour.cases.store import CaseRecord, case_folders, load_record
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json


def data_split(
    cases: Annotated[Path, typer.Argument(help="Folder of the cases.")],
    output_file: Annotated[
        Path, typer.Option("--output", "-o", help="The split; cases of an earlier one keep their places.")
    ],
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=0.9, help="Fraction of the patients to judge on in the end.")
    ] = 0.2,
    folds: Annotated[int, typer.Option("--folds", min=1, help="Parts of the others, for cross-validation.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another split.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Forget the earlier split: cases may change sides.")] = False,
    as_json: Json = False,
) -> None:
    """Split cases by patient into held-out ones and folds, each structure on both sides as far as patients allow.

    Run again with more cases, it adds them: whoever was held out stays so. A network that has been trained on a case
    must not be judged on it: after --anew, train again.
    """
    records = tuple(load_record(folder) for folder in case_folders(cases))
    previous = load_split(output_file) if output_file.exists() and not anew else None
    split = split_cases(records, SplitOptions(held_out, folds, seed), previous)
    save_split(split, output_file)
    counts = count_structures(split, records)
    if as_json:
        print_json({**asdict(split), "structures": [asdict(count) for count in counts]})
        return
    _print(split, counts, records)
    kept = sum(len(part) for part in previous.parts) if previous else 0
    earlier = f" ({kept} cases were placed before)" if previous else ""
    output().print(f"\nSplit: {escape(str(output_file))}{earlier}", soft_wrap=True)
    following = f"contour data plan {cases} --split {output_file} --output train.yaml"
    messages().print(f"[bold]Next:[/] {escape(following)}", soft_wrap=True)


def _print(split: Split, counts: tuple[StructureCount, ...], records: tuple[CaseRecord, ...]) -> None:
    patients = {record.name: record.patient for record in records}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Patients with", "Held out", *(f"Fold {i}" for i in range(len(split.folds)))):
        table.add_column(column, justify="left" if column == "Patients with" else "right")
    everybody = [len({patients[name] for name in part}) for part in split.parts]
    table.add_row("[bold]any structure[/]", *map(str, everybody))
    for count in counts:
        table.add_row(escape(count.name), *map(str, (count.held_out, *count.folds)))
    output().print(table)
    unjudged = [count.name for count in counts if count.held_out == 0]
    if split.held_out and unjudged:
        messages().print(f"[yellow]Not to be judged[/], in no held-out case: {', '.join(unjudged)}", soft_wrap=True)
    untrained = [count.name for count in counts if sum(count.folds) == 0]
    if untrained:
        messages().print(f"[yellow]Not to be learnt[/], in held-out cases only: {', '.join(untrained)}", soft_wrap=True)
