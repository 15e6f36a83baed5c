"""`contour review`: the page on which a person looks at what was drawn, and decides."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from typer.core import TyperGroup

from contour.cli.terminal import messages
from contour.core.errors import ConfigError
from contour.languages import Language
from contour.services.review.users import USERS_FILE, add_user

HOME_FOLDER = Path.home() / ".contour" / "review"

Home = Annotated[
    Path,
    typer.Option("--home", envvar="CONTOUR_REVIEW_HOME", help="Folder of users and of the audit trail."),
]


class ServeByDefault(TyperGroup):
    """`contour review FOLDER` is `contour review serve FOLDER`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put in the command where none is named."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["serve", *args]
        return super().parse_args(ctx, args)


def review_serve(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `contour run` wrote, or that hold such.")],
    images: Annotated[
        list[Path],
        typer.Option("--series-root", "-s", help="Folder below which the images lie; repeatable. FOLDERs count too."),
    ] = [],  # noqa: B006 - typer copies it
    home: Home = HOME_FOLDER,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than loopback need TLS.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8440,
    name: Annotated[str, typer.Option("--name", help="Name under which browsers reach it, if not --host.")] = "",
    certificate: Annotated[Path | None, typer.Option("--tls-certificate", help="PEM file.")] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file.")] = None,
    language: Annotated[Language, typer.Option("--language", envvar="CONTOUR_LANGUAGE")] = Language.ENGLISH,
    viewer: Annotated[
        Path | None, typer.Option("--viewer", help="npm's archive of NiiVue, where it was not packed at installation.")
    ] = None,
) -> None:
    """Serve the review page on this machine, for those whom `contour review add-user` let in."""
    try:
        from contour.services.review.serve import Listening, Review, serve  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        found = f"{error.name} is not installed"
        raise ConfigError("contour review", found, "the extra of servers: pip install 'contour[serve]'") from error
    review = Review(tuple(runs), tuple(images), home, language, viewer)
    serve(review, Listening(host, port, name, certificate, key), _tell_ready)


def review_add_user(
    login: Annotated[str, typer.Argument(help="Name to log in with.")],
    name: Annotated[str, typer.Option("--name", help="The person's name, as decisions are recorded with it.")] = "",
    home: Home = HOME_FOLDER,
    from_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Take the password from the first line of stdin.")
    ] = False,
) -> None:
    """Let a person log in to the review page, or give them a new password."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    add_user(home / USERS_FILE, login, name or login, password)
    messages().print(f"{escape(login)} may log in.")


def _tell_ready(address: str) -> None:
    messages().print(f"Review page: [bold]{address}[/] (Ctrl-C ends it)", soft_wrap=True)
