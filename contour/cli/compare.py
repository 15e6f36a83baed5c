"""`contour compare`: how two RTSTRUCTs on one image series agree."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.failures import ExitCode
from contour.cli.options import Json, SeriesFolder, SeriesUid, Tolerance, read
from contour.cli.terminal import messages, number, output, print_json
from contour.core.errors import InputRefused, Reason
from contour.core.nomenclature import whole_name
from contour.core.structures import StructureSet
from contour.dicom.rtstruct_read import read_rtstruct
from contour.imaging.metrics import Agreement
from contour.imaging.metrics import compare as agreement


def compare(
    reference: Annotated[Path, typer.Argument(help="RTSTRUCT to compare with.")],
    test: Annotated[Path, typer.Argument(help="RTSTRUCT to be judged.")],
    series_folder: SeriesFolder,
    series_uid: SeriesUid = None,
    tolerance_mm: Tolerance = 3.0,
    pair: Annotated[
        list[str], typer.Option("--pair", help="Compare differently named structures: REFERENCE=TEST; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """Dice, surface Dice, HD95, mean surface distance and added path length of each structure that both have.

    Names are matched without regard to case, a part of an organ (~Liver) with the organ; --pair matches others.
    """
    series = read(series_folder, series_uid)
    ours, theirs = read_rtstruct(reference, series), read_rtstruct(test, series)
    pairs = _pairs(ours, theirs, pair)
    _refuse_ambiguous(reference, ours, {left for left, _ in pairs})
    _refuse_ambiguous(test, theirs, {right for _, right in pairs})
    rows = compare_sets(ours, theirs, pairs, tolerance_mm)
    if as_json:
        print_json({name: asdict(row) for name, row in rows})
        return
    if not rows:
        messages().print(
            "No structure has the same name in both: " + escape(_names(ours) + " against " + _names(theirs))
        )
        messages().print("[bold]Next:[/] name pairs: --pair REFERENCE=TEST")
        raise typer.Exit(ExitCode.REFUSED)
    output().print(agreement_table(rows, tolerance_mm))


def compare_sets(
    reference: StructureSet, test: StructureSet, pairs: list[tuple[str, str]], tolerance_mm: float
) -> list[tuple[str, Agreement]]:
    """The agreement of each (reference name, test name) pair, under the reference's name."""
    ours = {s.name: s for s in reference.structures}
    theirs = {s.name: s for s in test.structures}
    return [(a, agreement(ours[a], theirs[b], reference.geometry, tolerance_mm)) for a, b in pairs]


def same_names(reference: StructureSet, test: StructureSet) -> list[tuple[str, str]]:
    """Pairs of names that are equal; else without regard to case or to TG-263's tilde, where one name only fits."""
    exact = {s.name for s in test.structures}
    folded = Counter(_folded(name) for name in exact)
    alike = {_folded(name): name for name in exact if folded[_folded(name)] == 1}
    pairs = ((s.name, s.name if s.name in exact else alike.get(_folded(s.name))) for s in reference.structures)
    return list(dict.fromkeys((left, right) for left, right in pairs if right is not None))


def _folded(name: str) -> str:
    return whole_name(name).casefold()


def agreement_table(rows: list[tuple[str, Agreement]], tolerance_mm: float) -> Table:
    """One line for each structure."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = (
        "Dice",
        f"Surface Dice {tolerance_mm:g} mm",
        "HD95 mm",
        "Mean mm",
        "Added path cm",
        "Reference ml",
        "Test ml",
    )
    table.add_column("Structure")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows:
        table.add_row(
            escape(name),
            number(row.dice, 3),
            number(row.surface_dice, 3),
            number(row.hd95_mm, 1),
            number(row.mean_surface_distance_mm, 2),
            number(row.added_path_length_mm / 10, 1),
            number(row.reference_ml, 1),
            number(row.test_ml, 1),
        )
    return table


def _refuse_ambiguous(path: Path, structures: StructureSet, compared: set[str]) -> None:
    counts = Counter(s.name for s in structures.structures)
    for name in sorted(compared):
        if counts[name] > 1:
            found = f"{counts[name]} ROIs are called {name!r}"
            raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), found, "a name of its own for each")


def _pairs(reference: StructureSet, test: StructureSet, asked: list[str]) -> list[tuple[str, str]]:
    if not asked:
        return same_names(reference, test)
    ours, theirs = {s.name for s in reference.structures}, {s.name for s in test.structures}
    pairs = []
    for text in asked:
        left, equals, right = text.partition("=")
        if not equals or left not in ours or right not in theirs:
            raise typer.BadParameter(f"{text}: REFERENCE=TEST with names of {_names(reference)} and {_names(test)}")
        pairs.append((left, right))
    return pairs


def _names(structures: StructureSet) -> str:
    return ", ".join(s.name for s in structures.structures) or "no structures"
