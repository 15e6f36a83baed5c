"""`contour export`: a trained network becomes a package, held to torch on real cases."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.evaluation import load_evaluation
from contour.cases.store import case_folders
from contour.cli.options import EngineName, Json, Overwrite, Threads, session_options
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.cli.train import require_torch
from contour.config import load_config
from contour.inference.likeness import Likeness
from contour.inference.session import Engine

if TYPE_CHECKING:
    from contour.training.variants import Loss, Variant


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training, as `contour train` makes it.")],
    models: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of packages: the package becomes a folder in it, by name.")
    ],
    cases: Annotated[
        Path | None, typer.Option("--cases", help="Cases on which ONNX Runtime is held to torch, held-out ones first.")
    ] = None,
    measured: Annotated[int, typer.Option("--compare", min=1, help="On how many of them.")] = 3,
    variants: Annotated[
        list[str], typer.Option("--variant", help="Also fp16 or int8, as a package of its own; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", help="Results of `contour evaluate` on this network, for the card.")
    ] = None,
    about: Annotated[
        Path | None, typer.Option("--about", help="YAML with what only people know, for the card: see configs/card.")
    ] = None,
    engine: EngineName = Engine.CPU,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a trained network as a model package: ONNX, manifest, model card; a variant only with its measured loss."""
    require_torch("contour export")
    from contour.training.card import CardInput  # noqa: PLC0415 - planning servers have no torch
    from contour.training.engine import load_run  # noqa: PLC0415
    from contour.training.export import ExportOptions, choose_cases, export_run  # noqa: PLC0415
    from contour.training.variants import VariantOptions, export_variant, variant_name  # noqa: PLC0415

    wanted = _variants(variants)
    trained = load_run(run)
    chosen = choose_cases(case_folders(cases) if cases else (), trained.record, measured)
    said = load_config(about, CardInput) if about else CardInput()
    session = session_options(engine, threads)
    judged = load_evaluation(evaluation) if evaluation else None
    options = ExportOptions(chosen.measured, said, judged, session, overwrite)
    losses: dict[Path, Loss] = {}
    with stage_bars(quiet=as_json) as tell:
        exported = export_run(trained, models / trained.config.name, options, tell)
        for variant in wanted:
            folder = models / variant_name(exported.package.manifest, variant)
            setup = VariantOptions(chosen.measured, chosen.calibration, session, said, overwrite)
            losses[folder] = export_variant(exported.package, exported.facts, variant, folder, setup, tell)
    package = exported.package
    if as_json:
        print_json(
            {
                "package": str(package.folder),
                "sha256": package.manifest.onnx_sha256,
                "likeness": [asdict(one) for one in exported.facts.likenesses],
                "variants": {str(folder): asdict(loss) for folder, loss in losses.items()},
            }
        )
        return
    _print_likenesses(exported.facts.likenesses, output())
    for loss in losses.values():
        _print_loss(loss, output())
    for folder in (package.folder, *losses):
        output().print(f"[bold green]Written[/] {escape(str(folder))}", soft_wrap=True)
    messages().print(f"[bold]Next:[/] contour promote {package.folder} --in-use FOLDER", soft_wrap=True)


def _variants(names: list[str]) -> tuple["Variant", ...]:
    from contour.training.variants import Variant  # noqa: PLC0415

    unknown = [name for name in names if name not in tuple(Variant)]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: one of {', '.join(Variant)}", param_hint="--variant")
    return tuple(dict.fromkeys(Variant(name) for name in names))


def _print_likenesses(found: tuple[Likeness, ...], console: Console) -> None:
    if not found:
        messages().print("[yellow]Held to torch on random numbers only[/]: --cases compares them on real images.")
        return
    table = Table(title="ONNX Runtime beside torch", title_justify="left", box=None, pad_edge=False)
    for column in ("Case", "Logits differ by", "of", "Same winner", "Least Dice", "s torch", "s ONNX"):
        table.add_column(column, justify="left" if column == "Case" else "right")
    for one in found:
        numbers = (f"{one.max_difference:.2g}", f"{one.largest_logit:.1f}", f"{100 * one.same_winner:.4f} %")
        seconds = (f"{one.reference_seconds:.1f}", f"{one.tested_seconds:.1f}")
        table.add_row(escape(one.case), *numbers, f"{one.least_dice:.5f}", *seconds)
    console.print(table)


def _print_loss(loss: "Loss", console: Console) -> None:
    size = f"{loss.variant_bytes / 1e6:.1f} of {loss.original_bytes / 1e6:.1f} MB"
    seconds = f"{loss.variant_seconds:.1f} of {loss.original_seconds:.1f} s"
    table = Table(title=f"\nLoss of {loss.variant}: {size}, {seconds}", title_justify="left", box=None, pad_edge=False)
    for column in ("Structure", "Dice to float32", "least", "Dice to people, float32", f"{loss.variant}"):
        table.add_column(column, justify="left" if column == "Structure" else "right")
    for one in loss.structures:
        people = ("-" if value is None else f"{value:.4f}" for value in (one.dice_original, one.dice_variant))
        table.add_row(escape(one.name), f"{one.dice_to_original:.4f}", f"{one.least_dice_to_original:.4f}", *people)
    console.print(table)
