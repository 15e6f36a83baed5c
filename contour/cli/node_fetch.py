"""`contour node fetch`: a study by its accession number, to be drawn or into a folder."""

from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from contour.cli.node_settings import NodeFile, load_node, serving
from contour.cli.terminal import output
from contour.core.errors import ConfigError
from contour.core.staging import staged


def fetch_study(
    file: NodeFile,
    accession: Annotated[str, typer.Option("--accession", "-a", help="Accession number of the study.")],
    peer: Annotated[str, typer.Option("--from", "-f", help="Name of the peer that has it (answers: true).")],
    output_folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder for the images, instead of having them drawn.")
    ] = None,
) -> None:
    """Fetch the images of a study by C-GET or DICOMweb: the node that runs does so and goes on by its routes."""
    with serving():
        from contour.services.node.fetch import fetch  # noqa: PLC0415 - an extra
        from contour.services.node.node import request_fetch  # noqa: PLC0415
        from contour.services.node.receive import Incoming, file_head  # noqa: PLC0415
    settings = load_node(file)
    known = settings.peer(peer)
    if known is None or not known.answers:
        names = [p.name for p in settings.everyone if p.answers]
        raise ConfigError(f"--from {peer}", "is no peer that answers", ", ".join(names) or "none: see answers: true")
    if output_folder is None:
        request_fetch(settings, accession, peer)
        output().print("The node was asked; its log and audit trail say what came of it.")
        return
    if output_folder.exists() and any(output_folder.iterdir()):
        raise ConfigError(str(output_folder), "is not empty", "a new folder")
    number = count(1)
    with staged(output_folder) as stage:

        def take(incoming: Incoming) -> None:
            with (stage / f"{next(number):05d}.dcm").open("wb") as stream:
                stream.write(file_head(incoming))
                stream.write(incoming.content)

        got = fetch(accession, peer, settings, take)
    output().print(f"{got.instances} images of {got.series} series in {escape(str(output_folder))}", soft_wrap=True)
