"""The review page as a running server: where it may listen, where its records lie."""

import ipaddress
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from contour.core.errors import ConfigError
from contour.languages import Language
from contour.services.review.app import ServerOptions, build_app
from contour.services.review.decisions import Decisions
from contour.services.review.office import Office
from contour.services.review.series_index import SeriesIndex, SeriesShelf
from contour.services.review.users import USERS_FILE, load_users
from contour.services.review.viewer import viewer_script

TRAIL_FILE = "audit.jsonl"
KEY_FILE = "audit.key"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Listening:
    """Where the server listens, under which name it is reached besides, and with which certificate."""

    host: str = "127.0.0.1"
    port: int = 8440
    name: str = ""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Review:
    """What is reviewed: run folders, folders of images, where users and records are, and the viewer's archive."""

    runs: tuple[Path, ...]
    images: tuple[Path, ...]
    home: Path
    language: Language = Language.ENGLISH
    viewer: Path | None = None


def serve(review: Review, listening: Listening, ready: Callable[[str], None]) -> None:
    """Serve the page until the process is told to end; `ready` is told its address once it answers.

    Raises:
        ConfigError: an address that others can reach without TLS, no user, a folder that is not there, an altered
            audit trail, or no viewer.
        OSError: the port is taken, or the disk.
    """
    _require_safe(listening)
    users_file = review.home / USERS_FILE
    if not load_users(users_file):
        raise ConfigError(str(users_file), "nobody may log in", "a user: `contour review add-user NAME`")
    for folder in (*review.runs, *review.images):
        if not folder.is_dir():
            raise ConfigError(str(folder), "is no folder", "folders that are there")
    script = viewer_script(review.viewer)
    decisions = Decisions(review.home / TRAIL_FILE, trail_key(review.home / KEY_FILE))
    shelf = SeriesShelf(SeriesIndex((*review.images, *review.runs)))
    office = Office(review.runs, shelf, decisions, review.language)
    names = ("127.0.0.1", "localhost") if listening.loopback else (listening.name or listening.host,)
    tls = listening.certificate is not None
    app = build_app(office, users_file, script, ServerOptions(review.language, names, tls))
    listener = socket.create_server((listening.host, listening.port))
    config = uvicorn.Config(
        app,
        access_log=False,  # addresses of cases and of people are the audit trail's alone
        log_level="warning",
        server_header=False,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )
    address = f"{'https' if tls else 'http'}://{names[0]}:{listener.getsockname()[1]}/"
    with listener:
        ready(address)
        uvicorn.Server(config).run(sockets=[listener])


def trail_key(path: Path) -> bytes:
    """The key that the audit trail's hashes are made with; made where there is none yet, readable by its owner alone.

    Raises:
        ConfigError: the file does not hold a key.
        OSError: the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(_KEY_BYTES) + "\n", encoding="ascii")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise ConfigError(
            str(path), "holds no key", f"{_KEY_BYTES} bytes in hexadecimal, as `contour review` wrote them"
        )
    return key


def _require_safe(listening: Listening) -> None:
    """What others can reach must be over TLS."""
    pair = (listening.certificate, listening.key)
    if (pair[0] is None) != (pair[1] is None):
        raise ConfigError("--tls-certificate, --tls-key", "one of the two", "both, or neither")
    for path in pair:
        if path is not None and not path.is_file():
            raise ConfigError(str(path), "is no file", "a PEM file")
    if not listening.loopback and listening.certificate is None:
        allowed = "a loopback address such as 127.0.0.1, or --tls-certificate and --tls-key"
        raise ConfigError(
            f"--host {listening.host}", "others can reach it, and patients' data would go unencrypted", allowed
        )
