"""`contour models import`: networks that others trained become packages."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from contour.cli.options import Json, Overwrite
from contour.cli.terminal import messages, output, print_json
from contour.cli.train import require_torch
from contour.config import load_config
from contour.core.volume import Modality
from contour.inference.onnx_package import import_onnx

if TYPE_CHECKING:
    from contour.training.importing.nnunet import Imported

OutputFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of packages: the package becomes a folder in it, by name.")
]
PackageName = Annotated[str, typer.Option("--name", help="Name of the package: lower-case letters, digits and _.")]
NamesOption = Annotated[
    Path | None, typer.Option("--names", help="YAML: `names:` maps their labels to TG-263 names; null leaves one out.")
]
Licence = Annotated[str, typer.Option("--licence", help="The licence of the weights, as their authors state it.")]
About = Annotated[
    Path | None, typer.Option("--about", help="YAML with what only people know, for the card: see configs/card.")
]
Title = Annotated[str, typer.Option("--title", help="What it draws, in a line.")]
Version = Annotated[str, typer.Option("--package-version", help="Version of the package.")]
ModalityOption = Annotated[
    Modality | None, typer.Option("--modality", help="CT or MR, where the data set does not say.")
]


def import_nnunet_model(
    folder: Annotated[
        Path, typer.Argument(help="A trained-model folder: plans.json, dataset.json and fold_N/checkpoint_final.pth.")
    ],
    models: OutputFolder,
    name: PackageName,
    folds: Annotated[list[str], typer.Option("--fold", help="A fold to take; repeatable. By default all.")] = [],  # noqa: B006 - typer copies it
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="Which file of a fold.")] = "checkpoint_final.pth",
    names: NamesOption = None,
    modality: ModalityOption = None,
    orientation: Annotated[
        str | None,
        typer.Option("--orientation", help="Where z, y and x of the training images grow to, as SPL or SAR (RAS)."),
    ] = None,
    licence: Licence = "Not stated: ask its authors before use.",
    about: About = None,
    title: Title = "",
    version: Version = "1.0.0",
    any_trainer: Annotated[
        bool, typer.Option("--any-trainer", help="Its trainer is not nnU-Net's own, but trains the plans' network.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a package of an nnU-Net v2 model: weights are read, nothing in the folder is run."""
    require_torch("contour models import")
    from contour.training.card import CardInput  # noqa: PLC0415 - planning servers have no torch
    from contour.training.importing.nnunet import NnunetOptions, import_nnunet  # noqa: PLC0415

    options = NnunetOptions(
        name=name,
        title=title,
        version=version,
        folds=tuple(folds) or None,
        checkpoint=checkpoint,
        modality=modality,
        orientation=orientation,
        names=names,
        said=load_config(about, CardInput) if about else CardInput(),
        licence=licence,
        any_trainer=any_trainer,
        overwrite=overwrite,
    )
    _show(import_nnunet(folder, models, options), as_json=as_json)


def import_totalsegmentator_models(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Data sets' folders as TotalSegmentator unpacks them: Dataset291_... and so on."),
    ],
    models: OutputFolder,
    names: NamesOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Make packages of TotalSegmentator's open weights, and say which list of them a protocol names."""
    require_torch("contour models import")
    from contour.training.importing.totalsegmentator import (  # noqa: PLC0415 - planning servers have no torch
        TotalSegmentatorOptions,
        import_totalsegmentator,
    )

    options = TotalSegmentatorOptions(names, overwrite)
    made = []
    for folder in folders:
        imported = import_totalsegmentator(folder, models, options)
        _show(imported, as_json=False)
        made.append(imported.package.manifest.name)
    output().print(f"[bold]In a protocol:[/] packages: \\[{', '.join(made)}]", soft_wrap=True)


def import_monai_model(
    folder: Annotated[
        Path, typer.Argument(help="A MONAI bundle: configs/inference.json, configs/metadata.json, models.")
    ],
    models: OutputFolder,
    name: PackageName,
    config: Annotated[
        str | None, typer.Option("--config", help="Another configuration of the bundle, as configs_3mm/inference.json.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Another file of weights in the bundle.")] = None,
    changes: Annotated[
        list[str], typer.Option("--set", help="An entry that is otherwise: displayable_configs#highres=false.")
    ] = [],  # noqa: B006 - typer copies it
    names: NamesOption = None,
    modality: ModalityOption = None,
    licence: Licence = "Not stated: ask its authors before use.",
    about: About = None,
    title: Title = "",
    version: Version = "1.0.0",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a package of a MONAI bundle: its configuration and weights are read, nothing of it is run."""
    require_torch("contour models import")
    from contour.training.card import CardInput  # noqa: PLC0415 - planning servers have no torch
    from contour.training.importing.monai import MonaiOptions, import_monai  # noqa: PLC0415

    options = MonaiOptions(
        name=name,
        title=title,
        version=version,
        config=config,
        weights=weights,
        changes=tuple(changes),
        modality=modality,
        names=names,
        said=load_config(about, CardInput) if about else CardInput(),
        licence=licence,
        overwrite=overwrite,
    )
    _show(import_monai(folder, models, options), as_json=as_json)


def import_onnx_model(
    network: Annotated[Path, typer.Argument(help="An ONNX file: (N, 1, z, y, x) to logits (N, channels, z, y, x).")],
    statement: Annotated[Path, typer.Argument(help="YAML that says what it takes and draws: see configs/import.")],
    models: OutputFolder,
    overwrite: Overwrite = False,
) -> None:
    """Make a package of any ONNX network that keeps to the packages' form; needs no torch."""
    package = import_onnx(network, statement, models, overwrite=overwrite)
    output().print(f"[bold green]Written[/] {escape(str(package.folder))}", soft_wrap=True)


def _show(imported: "Imported", *, as_json: bool) -> None:
    package = imported.package
    if as_json:
        print_json(
            {
                "package": str(package.folder),
                "sha256": package.manifest.onnx_sha256,
                "names": [asdict(one) for one in imported.names],
                "notes": imported.notes,
                "random_difference": imported.random_difference,
            }
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Label", "Structure", ""):
        table.add_column(column)
    for one in imported.names:
        table.add_row(escape(one.label), escape(one.name or "-"), escape(one.remark))
    output().print(table)
    for note in imported.notes:
        messages().print(f"[yellow]Note[/] {escape(note)}", soft_wrap=True)
    megabytes = package.onnx_path.stat().st_size / 1e6
    output().print(f"[bold green]Written[/] {escape(str(package.folder))} ({megabytes:.1f} MB)", soft_wrap=True)
    messages().print(f"[bold]Next:[/] contour models show {package.manifest.name} --models {package.folder.parent}")
