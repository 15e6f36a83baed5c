"""`contour data deidentify`: images and structure sets for research, without those they are of."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cases.deidentify import Deidentified, Fate, Link, deidentify
from contour.cli.options import Json
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.core.errors import ConfigError
from contour.core.keyed import load_secret


def data_deidentify(
    folder: Annotated[Path, typer.Argument(help="Folder of studies; nothing in it is changed.")],
    output_folder: Annotated[Path, typer.Option("--output", "-o", help="New folder for what may leave.")],
    key: Annotated[
        Path,
        typer.Option("--key", help="Secret that pseudonyms and UIDs follow from; made where there is none. Keep it."),
    ],
    linkage: Annotated[
        Path | None, typer.Option("--linkage", help="CSV of who each pseudonym stands for, for you alone.")
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Keep names of ROIs that are not understood, if they name no person.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy images, structure sets, plans and doses without the patient: PS3.15, basic profile, links kept."""
    if linkage is not None and linkage.exists():
        raise ConfigError(str(linkage), "exists already", "a new file")
    if linkage is not None and output_folder.resolve() in linkage.resolve().parents:
        raise ConfigError(str(linkage), "lies in the export", "a place that stays here")
    secret = load_secret(key)
    with stage_bars(quiet=as_json) as tell:
        done = deidentify(folder, output_folder, secret, keep_names=keep_names, progress=tell)
    if linkage is not None:
        _write_linkage(done.links, linkage)
    if as_json:
        print_json(_content(done))
        return
    _print(done, output_folder)


def _content(done: Deidentified) -> dict[str, object]:
    """Without who anybody is."""
    return {
        "files": [{"written": one.written, "fate": one.fate, "remark": one.remark} for one in done.files],
        "patients": [link.pseudonym for link in done.links],
        "unknown_names": sum(done.unknown_names.values()),
    }


def _print(done: Deidentified, folder: Path) -> None:
    console = output()
    counts = Counter(one.fate for one in done.files)
    console.print(
        f"{counts[Fate.WRITTEN]} files of {len(done.links)} patients in {escape(str(folder))}, each read again and "
        "found clean",
        soft_wrap=True,
    )
    for fate, words in (
        (Fate.OTHER_OBJECT, "other objects left out"),
        (Fate.BURNED_IN, "images with burnt-in text left out"),
        (Fate.DAMAGED, "damaged files left out"),
        (Fate.NOT_DICOM, "files that are not DICOM left out"),
    ):
        if counts[fate]:
            console.print(f"{counts[fate]} {words}", soft_wrap=True)
    if done.unknown_names:
        names = ", ".join(sorted(done.unknown_names)[:12])
        messages().print(
            f"Names of ROIs that became numbers (--keep-names keeps them): {escape(names)}", soft_wrap=True
        )
    messages().print("Look at the pixels: faces can be seen in images of a head, and texts may be burnt in.")


def _write_linkage(links: tuple[Link, ...], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
    ) as file:
        rows = csv.writer(file)
        rows.writerow(("pseudonym", "patient_id", "patient_name", "days"))
        rows.writerows((link.pseudonym, link.patient_id, link.patient_name, link.days) for link in links)
