"""`contour promote`: a package takes the place of the one in use, if it is shown to be no worse; and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contour.cases.evaluate import EvaluateOptions, evaluate, package_protocol
from contour.cases.evaluation import Evaluation, load_evaluation
from contour.cases.package_history import history, replace_package, roll_back
from contour.cases.promote import Comparison, Decision, Judged, PromotionRules, decide, verdict_sentence
from contour.cases.split import load_split
from contour.cli.failures import ExitCode
from contour.cli.options import EngineName, Json, ProtocolFolders, Threads, session_options
from contour.cli.terminal import messages, output, print_json, stage_bars
from contour.core.errors import ConfigError
from contour.inference.package import ModelPackage, load_package
from contour.inference.session import Engine, SessionOptions, open_network
from contour.library import load_protocol


def promote(
    in_use: Annotated[Path, typer.Option("--in-use", help="Folder of the package in use.")],
    new: Annotated[Path | None, typer.Argument(help="Folder of the new package; not for --roll-back.")] = None,
    evaluation_new: Annotated[
        Path | None, typer.Option(help="Results of `contour evaluate` on the held-out cases, of the new package.")
    ] = None,
    evaluation_in_use: Annotated[
        Path | None, typer.Option(help="The same of the package in use, on the same cases.")
    ] = None,
    cases: Annotated[
        Path | None, typer.Option("--cases", help="Instead of results: judge both now, on these cases.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option("--split", help="With --cases: those that this split holds out.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option("--work", help="With --cases: where the results go, and are found again.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", "-p", help="With --cases: judge under the rules of this protocol.")
    ] = None,
    margin_dice: Annotated[float, typer.Option(min=0.0, max=0.2, help="Mean Dice that may be lost.")] = 0.02,
    margin_surface_dice: Annotated[
        float, typer.Option(min=0.0, max=0.2, help="Mean surface Dice, at the first tolerance, that may be lost.")
    ] = 0.03,
    confidence: Annotated[float, typer.Option(min=0.8, max=0.999, help="That no more than this is lost.")] = 0.95,
    accepted: Annotated[
        list[str], typer.Option("--accept-unjudged", help="Structure without enough cases to judge by; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and show, change nothing.")] = False,
    back: Annotated[
        bool, typer.Option("--roll-back", help="Put the package back that the one in use replaced.")
    ] = False,
    show_history: Annotated[bool, typer.Option("--history", help="Show the packages that were in use.")] = False,
    protocols: ProtocolFolders = [],  # noqa: B006 - typer copies it
    engine: EngineName = Engine.AUTO,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Put a new package in use only if it is not inferior in any structure, on held-out cases; --roll-back undoes it.

    Exit code 2 if that is not shown: then nothing changes.
    """
    if show_history:
        _print_history(in_use, as_json=as_json)
        return
    if back:
        _refuse_package(new)
        manifest = roll_back(in_use)
        output().print(f"[bold green]In use again[/] {escape(manifest.name)} {manifest.version} {manifest.onnx_sha256}")
        return
    if new is None:
        raise typer.BadParameter("the folder of the new package is needed", param_hint="NEW")
    packages = load_package(new), load_package(in_use)
    if cases is not None:
        setup = session_options(engine, threads)
        both = _judge_both(packages, (cases, split, work), (protocol, tuple(protocols)), setup, quiet=as_json)
    elif evaluation_new is None or evaluation_in_use is None:
        raise typer.BadParameter("say --evaluation-new and --evaluation-in-use, or --cases to judge both now")
    else:
        both = load_evaluation(evaluation_new), load_evaluation(evaluation_in_use)
    rules = PromotionRules(margin_dice, margin_surface_dice, confidence, accepted_unjudged=tuple(accepted))
    decision = decide(Judged(packages[0].manifest, both[0]), Judged(packages[1].manifest, both[1]), rules)
    if decision.passes and not dry_run:
        replace_package(new, in_use, decision)
    if as_json:
        print_json({"promoted": decision.passes and not dry_run, "passes": decision.passes, **asdict(decision)})
    else:
        print_decision(decision, output())
        _print_outcome(decision, in_use, dry_run=dry_run)
    if not decision.passes:
        raise typer.Exit(ExitCode.REFUSED)


def print_decision(decision: Decision, console: Console) -> None:
    """A line for each structure and measure."""
    new, old = decision.new, decision.replaced
    title = (
        f"{new.name} {new.version} beside {old.version} in use: {decision.cases} cases, {decision.patients} patients"
    )
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("Structure", no_wrap=True)
    table.add_column("Measure", no_wrap=True)
    for column in ("Cases", "In use", "New", "Difference", "At worst", "May lose"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Verdict")
    for line in decision.comparisons:
        color = "green" if line.verdict.passes else "bold red"
        table.add_row(
            escape(line.structure), line.measure.replace("_", " "), *_cells(line), f"[{color}]{line.verdict}[/]"
        )
    console.print(table)
    percent = f"{100 * decision.rules.confidence:g} %"
    console.print(f"[dim]At worst: the lower {percent} confidence bound of the mean difference, by patient[/]")


def _cells(line: Comparison) -> tuple[str, ...]:
    values = [line.mean_in_use, line.mean_new]
    signed = [line.difference, line.bound]
    texts = ["-" if v is None else f"{v:.3f}" for v in values] + ["-" if v is None else f"{v:+.3f}" for v in signed]
    return (str(line.cases), *texts, f"{line.margin:.3f}")


def _print_outcome(decision: Decision, in_use: Path, *, dry_run: bool) -> None:
    sentence = escape(verdict_sentence(decision))
    if not decision.passes:
        messages().print(f"[bold red]Not promoted[/] {sentence} The package in use stays.", soft_wrap=True)
    elif dry_run:
        output().print(f"[bold green]Would be promoted[/] {sentence}", soft_wrap=True)
    else:
        output().print(f"[bold green]Promoted[/] {sentence} In use: {escape(str(in_use))}", soft_wrap=True)
        messages().print(f"[dim]Undo: contour promote --in-use {escape(str(in_use))} --roll-back[/]", soft_wrap=True)


def _judge_both(
    packages: tuple[ModelPackage, ModelPackage],
    where: tuple[Path, Path | None, Path | None],
    rules: tuple[str | None, tuple[Path, ...]],
    setup: SessionOptions,
    *,
    quiet: bool,
) -> tuple[Evaluation, Evaluation]:
    """Evaluations of the new package and the one in use, on the held-out cases of a split."""
    cases, split_file, work = where
    if split_file is None or work is None:
        raise typer.BadParameter("--cases needs --split, for the cases held out, and --work, for the results")
    split = load_split(split_file)
    if not split.held_out:
        raise ConfigError(str(split_file), "holds no case out", "contour data split --held-out 0.2")
    folders = tuple(cases / name for name in split.held_out)
    options = EvaluateOptions(selection=f"held-out cases of {split_file.name}, seed {split.seed}")
    found = []
    with stage_bars(quiet=quiet) as tell:
        for package, title in zip(packages, ("new", "in use"), strict=True):
            judged_by = load_protocol(rules[0], rules[1]) if rules[0] else package_protocol([package.manifest])
            networks = (open_network(package, setup),)
            place = work / f"{package.manifest.version}-{package.manifest.onnx_sha256[:12]}"
            found.append(
                evaluate(
                    folders,
                    judged_by,
                    networks,
                    place,
                    options=options,
                    progress=lambda _, done, title=title: tell(f"Judge {title}", done),  # type: ignore[misc]
                )
            )
    return found[0], found[1]


def _print_history(in_use: Path, *, as_json: bool) -> None:
    kept = history(in_use)
    current = load_package(in_use).manifest
    if as_json:
        print_json(
            {
                "in_use": {"version": current.version, "sha256": current.onnx_sha256},
                "kept": [
                    {"folder": str(k.folder), "version": k.manifest.version, "sha256": k.manifest.onnx_sha256}
                    for k in kept
                ],
            }
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "Version", "sha256", "Folder"):
        table.add_column(column)
    table.add_row("in use", current.version, current.onnx_sha256[:12], escape(str(in_use)))
    for one in kept:
        table.add_row("kept", one.manifest.version, one.manifest.onnx_sha256[:12], escape(str(one.folder)))
    output().print(table)


def _refuse_package(new: Path | None) -> None:
    if new is not None:
        raise typer.BadParameter("--roll-back takes no new package: it puts back what was replaced", param_hint="NEW")
