"""`contour monitor`: what became of delivered drawings."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.node_settings import serving
from contour.cli.options import Json, Tolerance
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.core.errors import ConfigError

RECORDS_FILE = "returned.jsonl"
LIST_FILE = "next-training.json"


def monitor(
    returned: Annotated[
        Path, typer.Argument(help="Folder of approved structure sets, as the planning system exports them.")
    ],
    delivered: Annotated[
        Path, typer.Option("--delivered", "-d", help="Folder of runs: rtstruct.dcm beside report.json, at any depth.")
    ],
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the page and of the records; those that are there go on.")
    ],
    tolerance_mm: Tolerance = 3.0,
    any_status: Annotated[
        bool, typer.Option("--any-status", help="Take sets that are not marked as approved, too.")
    ] = False,
    most: Annotated[int, typer.Option("--training", min=0, help="How many cases to name for the next training.")] = 20,
    collect_to: Annotated[
        Path | None, typer.Option("--collect", help="Copy these cases into a new folder, for `contour data index`.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="With --collect: folder that holds their series.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare approved structure sets with what was delivered: what people change, whether it becomes more, and haste.

    Exit code 0 with flags too: they are for a person to look into.
    """
    with serving():
        from contour.services.monitor.records import Records  # noqa: PLC0415 - an extra
        from contour.services.monitor.report import Monitoring, write_monitor  # noqa: PLC0415
        from contour.services.monitor.run import collect, content_of, take_in  # noqa: PLC0415
    if (collect_to is None) != (images is None):
        raise typer.BadParameter("goes with --images, and it with --collect", param_hint="--collect")
    if not returned.is_dir():
        raise ConfigError(str(returned), "is not a folder", "a folder of structure sets")
    records = Records(output_folder / RECORDS_FILE)
    with stage_bars(quiet=as_json) as tell:
        left_out = take_in(returned, delivered, records, tolerance_mm, any_status=any_status, progress=tell)
    found = Monitoring.of(records.returned(), most)
    page = write_monitor(found, output_folder)
    (output_folder / LIST_FILE).write_text(content_of(found.for_training), encoding="utf-8")
    copied = collect(found.for_training, returned, images, collect_to) if collect_to and images else None
    if as_json:
        lines = {
            name: {
                "sets": len(edited),
                "edited_part": sum(one.edited_part for one in edited) / len(edited),
                "surface_dice": sum(one.surface_dice for one in edited) / len(edited),
                "edited_slices": sum(one.edited_slices for one in edited),
                "slices": sum(one.slices for one in edited),
            }
            for name, edited in found.lines.items()
        }
        print_json({"sets": len(found.returned), "flags": found.flags, "structures": lines, "left_out": len(left_out)})
        return
    console = output()
    for file in left_out:
        messages().print(f"[dim]left out[/] {escape(str(file.file))}: {escape(file.why)}", soft_wrap=True)
    for flag in found.flags:
        console.print(f"[bold red]look into[/] {escape(flag)}", soft_wrap=True)
    console.print(
        f"{len(found.returned)} sets; {100 * found.saved_part:.0f} % of their contours did not have to be drawn. "
        f"{escape(str(page))}",
        soft_wrap=True,
    )
    if copied is not None:
        console.print(f"{copied} cases in {escape(str(collect_to))}; next: contour data index", soft_wrap=True)
