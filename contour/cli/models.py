"""`contour models`: what draws."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from contour.cli.failures import ExitCode
from contour.cli.options import Json, ModelFolders, Overwrite
from contour.cli.terminal import messages, output, print_json
from contour.core.errors import ConfigError, PackageError
from contour.inference.package_file import SUFFIX, install, pack, package_sources, remove, verify_file
from contour.inference.session import verify_package
from contour.inference.signatures import check_signature, make_keys, sign
from contour.library import all_packages, find_package

Trusted = Annotated[
    Path | None,
    typer.Option(
        "--trusted",
        envvar="CONTOUR_TRUSTED_KEYS",
        help="Folder of public keys: package files must be signed by one of them.",
    ),
]


def list_models(models: ModelFolders = [], as_json: Json = False) -> None:  # noqa: B006 - typer copies it
    """The model packages that are installed."""
    packages = [package.manifest for package in all_packages(tuple(models))]
    if as_json:
        print_json([asdict(manifest) for manifest in packages])
        return
    if not packages:
        messages().print("No package is installed.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Package", "Version", "Modality", "Title", "Structures"):
        table.add_column(column)
    for manifest in packages:
        names = ", ".join(manifest.offered)
        table.add_row(manifest.name, manifest.version, str(manifest.modality), escape(manifest.title), names)
    output().print(table)


def show_model(
    package: Annotated[str, typer.Argument(help="Name of a package.")],
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """A package's manifest and card: what it draws, what it was trained on, how well it draws."""
    found = find_package(package, tuple(models))
    manifest = found.manifest
    if as_json:
        print_json(asdict(manifest))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    spacing = " x ".join(f"{s:g}" for s in manifest.preprocessing.spacing_zyx_mm)
    rows = (
        ("name", f"{manifest.name} {manifest.version}"),
        ("title", manifest.title),
        ("modality", str(manifest.modality)),
        ("structures", ", ".join(manifest.offered)),
        ("voxels", f"{spacing} mm (z, y, x), patch {' x '.join(map(str, manifest.patch_shape_zyx))}"),
        ("licence", manifest.licence),
        ("sha256", manifest.onnx_sha256),
        ("trained on", "; ".join(manifest.training.data)),
        ("folder", str(found.folder)),
    )
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", escape(value))
    output().print(table)
    output().print(Markdown(found.card_path.read_text(encoding="utf-8")))


def verify_models(
    package: Annotated[str | None, typer.Argument(help="Name of a package, or a package file; by default all.")] = None,
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="What the checksum of the package file must be.")
    ] = None,
    trusted: Trusted = None,
) -> None:
    """Check a package to the end: files, checksum, network, and one patch through it. Exit code 2 if one fails."""
    folders = tuple(models)
    if package is not None and (package.endswith(SUFFIX) or Path(package).is_file()):
        signed = _signed(Path(package), trusted)
        manifest = verify_file(Path(package), sha256).manifest
        output().print(
            f"[bold green]whole[/] {escape(package)}: {manifest.name} {manifest.version}{signed}", soft_wrap=True
        )
        return
    chosen = (find_package(package, folders),) if package else all_packages(folders)
    failed = False
    for found in chosen:
        name = f"{found.manifest.name} {found.manifest.version}"
        try:
            verify_package(found)
        except PackageError as error:
            failed = True
            messages().print(f"[bold red]failed[/] {escape(name)}: {escape(str(error))}", soft_wrap=True)
        else:
            output().print(f"[bold green]whole[/] {escape(name)} {found.manifest.onnx_sha256}", soft_wrap=True)
    if failed:
        raise typer.Exit(ExitCode.REFUSED)


def pack_model(
    package: Annotated[str, typer.Argument(help="Name of a package.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="Folder for the file and its checksum.")],
    models: ModelFolders = [],  # noqa: B006 - typer copies it
    overwrite: Overwrite = False,
) -> None:
    """Write a package as one file, to carry or to keep, and its sha256 in a file beside it."""
    path = pack(find_package(package, tuple(models)), target, overwrite=overwrite)
    output().print(f"[bold green]Written[/] {escape(str(path))}", soft_wrap=True)


def install_models(
    sources: Annotated[list[Path], typer.Argument(help="Package files, packages' folders, or folders that hold some.")],
    into: Annotated[Path, typer.Option("--into", help="Folder of packages that they are put into.")],
    sha256: Annotated[str | None, typer.Option("--sha256", help="What the checksum of the file must be.")] = None,
    trusted: Trusted = None,
    overwrite: Overwrite = False,
) -> None:
    """Put packages where `--models` finds them, each checked to the end first. Nothing is fetched from a network."""
    found = [source for place in sources for source in package_sources(place)]
    if sha256 is not None and (len(found) != 1 or found[0].is_dir()):
        raise ConfigError("--sha256", f"{len(found)} packages to install", "one package file")
    # All of them before the first is put in place.
    signed = {source: _signed(source, trusted) for source in found}
    for source in found:
        installed = install(source, into, sha256=sha256, overwrite=overwrite)
        manifest = installed.package.manifest
        instead = f", instead of {installed.replaced}" if installed.replaced else ""
        output().print(
            f"[bold green]installed[/] {manifest.name} {escape(manifest.version)}{escape(instead)}{signed[source]}",
            soft_wrap=True,
        )


def remove_model(
    package: Annotated[str, typer.Argument(help="Name of a package.")],
    models: Annotated[Path, typer.Option("--from", help="Folder of packages that it is taken out of.")],
) -> None:
    """Take a package out of a folder of your own."""
    version = remove(package, models)
    output().print(f"[bold]removed[/] {package} {escape(version)} from {escape(str(models))}", soft_wrap=True)


def make_signing_keys(
    private: Annotated[Path, typer.Argument(help="File for the private key; the public one lies beside it.")],
) -> None:
    """Make a pair of keys to sign packages with: the private one stays with you, the public one is given away."""
    public = make_keys(private)
    output().print(f"[bold green]Written[/] {escape(str(private))}, {escape(str(public))}", soft_wrap=True)


def sign_model(
    package: Annotated[Path, typer.Argument(help="Package file, as `models pack` makes it.")],
    key: Annotated[Path, typer.Option("--key", help="Your private key.")],
) -> None:
    """Sign a package file: the signature lies beside it and travels with it."""
    verify_file(package)
    output().print(f"[bold green]Written[/] {escape(str(sign(package, key)))}", soft_wrap=True)


def _signed(source: Path, trusted: Path | None) -> str:
    """Who signed, in words, where signatures are asked for."""
    if trusted is None:
        return ""
    if source.is_dir():
        raise PackageError(str(source), "is a folder, which nobody can sign", f"a signed package file ({SUFFIX})")
    return f", signed by {escape(check_signature(source, trusted))}"
