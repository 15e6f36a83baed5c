"""What a node is told: where it listens, whom it trusts, what it keeps, and which images are drawn by which protocol.

Read from YAML by `contour.config.load_config`; an unknown key is an error. Every default is the safe one: loopback,
nobody allowed, nothing drawn.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from contour.core.planning_system import GENERIC
from contour.inference.organs import Site
from contour.languages import Language

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# PS3.5 6.2, AE: the default repertoire without backslash and control characters, 16 at most, not spaces alone.
_AE_TITLE = re.compile(r"(?! +\Z)[ -\[\]-~]{1,16}")
MOST_TRIES = 1000
LEAST_PDU_BYTES, MOST_PDU_BYTES = 16_384, 1 << 20


class RouteModality(StrEnum):
    """What is drawn on."""

    CT = "CT"
    MR = "MR"


class Others(StrEnum):
    """What becomes of objects that are not drawn on: a sender of whole studies brings them, too."""

    REFUSE = "refuse"
    DISCARD = "discard"


@dataclass(frozen=True)
class Tls:
    """Certificate and key of this node and the authorities that sign its peers' (PEM files): BCP 195, PS3.15 B.9.

    Peers must show a certificate of one of these authorities, too.
    """

    certificate: str
    key: str
    ca: str


@dataclass(frozen=True)
class Listen:
    """Where the node listens. Beyond this machine (loopback) it must be told so: TLS, or `plaintext: true`.

    `ae_titles` are the called AE titles it answers to; the first is the one by which it calls others. `others`:
    `refuse` takes no presentation contexts but those of images that are drawn on, and some senders end a study there;
    `discard` takes any standard object, keeps nothing of it, and says so with status B006.

    Raises:
        ValueError: an address that is none, a port or AE title that cannot be.
    """

    address: str = "127.0.0.1"
    port: int = 11112
    ae_titles: tuple[str, ...] = ("CONTOUR",)
    tls: Tls | None = None
    plaintext: bool = False
    others: Others = Others.REFUSE

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.address)
        _check_port(self.port, least=0)
        if not self.ae_titles:
            raise ValueError("ae_titles: at least one")
        for title in self.ae_titles:
            _check_ae_title(title)
        if self.tls is None and not self.plaintext and not ipaddress.ip_address(self.address).is_loopback:
            found = f"address {self.address} without tls: images would travel in the clear"
            raise ValueError(f"{found}; give tls, or say plaintext: true, or listen on 127.0.0.1")


@dataclass(frozen=True)
class Peer:
    """A DICOM application that the node knows. What it may do must be said; nothing is allowed by default.

    `sends`: it may store images here, from `addresses` (addresses or networks; by default `host`). `receives`: it may
    be sent structure sets. `answers`: it may be asked for studies (C-FIND, C-GET). `tls` speaks to it under the node's
    certificate.

    Raises:
        ValueError: a name, AE title, port or address that cannot be.
    """

    name: str
    ae_title: str
    host: str = ""
    port: int = 0
    sends: bool = False
    receives: bool = False
    answers: bool = False
    addresses: tuple[str, ...] = ()
    tls: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_ae_title(self.ae_title)
        for address in self.addresses:
            ipaddress.ip_network(address)
        if (self.receives or self.answers) and not (self.host and self.port):
            raise ValueError(f"{self.name}: what receives or answers needs host and port")
        _check_port(self.port, least=0)
        if self.sends and not self.addresses and not self.host:
            raise ValueError(f"{self.name}: what sends needs host or addresses")


@dataclass(frozen=True)
class WebPeer:
    """A DICOMweb server (PS3.18): `receives` by STOW-RS, `answers` by QIDO-RS and WADO-RS.

    `url` is its base, such as `https://archive.example/dicom-web`. `ca`, `certificate` and `key` are PEM files; the
    token in `token_file` is sent as a bearer. `plaintext` allows http beyond this machine.

    Raises:
        ValueError: a name or URL that cannot be.
    """

    name: str
    url: str
    receives: bool = False
    answers: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    token_file: str | None = None
    plaintext: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        local = re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", self.url)
        if not (self.url.startswith("https://") or local or (self.plaintext and self.url.startswith("http://"))):
            raise ValueError(f"url {self.url}: https://, or http:// on this machine or with plaintext: true")


@dataclass(frozen=True)
class WatchedFolder:
    """A folder that images are dropped into. Its `name` stands as calling AE title in routes.

    It is looked through every `poll_seconds`; files stay where they are.

    Raises:
        ValueError: a name or period that cannot be.
    """

    name: str
    path: str
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.name) > 16:
            raise ValueError(f"name {self.name}: at most 16 characters, for it stands as an AE title")
        _check_positive("poll_seconds", self.poll_seconds)


@dataclass(frozen=True)
class Caps:
    """What a sender may ask of this machine.

    `pdu_bytes` is the longest PDU taken (PS3.8 9.3.1); `associations` at once; `instance_bytes` of one image;
    `series_instances` and `series_bytes` of one series; below `free_bytes` of free disk nothing more is taken (status
    A700); a connection that says nothing for `idle_seconds` is ended.

    Raises:
        ValueError: a cap that would admit nothing, or a PDU length outside 16 KiB to 1 MiB.
    """

    pdu_bytes: int = 131_072
    associations: int = 16
    instance_bytes: int = 64 * 1024**2
    series_instances: int = 4_000
    series_bytes: int = 8 * 1024**3
    free_bytes: int = 5 * 1024**3
    idle_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not LEAST_PDU_BYTES <= self.pdu_bytes <= MOST_PDU_BYTES:
            raise ValueError(f"pdu_bytes {self.pdu_bytes}: {LEAST_PDU_BYTES} to {MOST_PDU_BYTES}")
        for name in ("associations", "instance_bytes", "series_instances", "series_bytes", "idle_seconds"):
            _check_positive(name, getattr(self, name))
        if self.free_bytes < 0:
            raise ValueError(f"free_bytes {self.free_bytes}: at least 0")


@dataclass(frozen=True)
class Completion:
    """When a series is taken for whole.

    Its association was released, nothing came for `quiet_seconds`, and its geometry has no gap. What has a gap, or
    whose association broke, is waited for until nothing came for `limit_seconds`; then it is refused with the reason.

    Raises:
        ValueError: times that are not above 0, or a limit shorter than the quiet.
    """

    quiet_seconds: float = 10.0
    limit_seconds: float = 1800.0

    def __post_init__(self) -> None:
        _check_positive("quiet_seconds", self.quiet_seconds)
        if self.limit_seconds < self.quiet_seconds:
            raise ValueError(f"limit_seconds {self.limit_seconds}: at least quiet_seconds ({self.quiet_seconds})")


@dataclass(frozen=True)
class Sending:
    """How a structure set is sent: again after `first_wait_seconds`, twice that, and so on, at most `longest_wait_
    seconds` apart, until it has been tried for `give_up_hours`.

    Raises:
        ValueError: times that are not above 0, or more than a thousand tries.
    """

    first_wait_seconds: float = 10.0
    longest_wait_seconds: float = 900.0
    give_up_hours: float = 72.0

    def __post_init__(self) -> None:
        for name in ("first_wait_seconds", "longest_wait_seconds", "give_up_hours"):
            _check_positive(name, getattr(self, name))
        if 3600 * self.give_up_hours > MOST_TRIES * self.longest_wait_seconds:
            least = 3600 * self.give_up_hours / MOST_TRIES
            raise ValueError(f"longest_wait_seconds {self.longest_wait_seconds}: at least {least:g}, or give up sooner")


@dataclass(frozen=True)
class Retention:
    """After how many days files are deleted: of series that were settled (drawn and sent, refused, or of no route),
    and what is in quarantine. What is still to be drawn or sent is never deleted.

    Raises:
        ValueError: a time that is not above 0.
    """

    settled_days: float = 7.0
    quarantine_days: float = 30.0

    def __post_init__(self) -> None:
        _check_positive("settled_days", self.settled_days)
        _check_positive("quarantine_days", self.quarantine_days)


@dataclass(frozen=True)
class Health:
    """Where metrics (`/metrics`, Prometheus) and the state (`/health`) are shown: on this machine alone.

    Raises:
        ValueError: an address beyond this machine.
    """

    address: str = "127.0.0.1"
    port: int = 11180

    def __post_init__(self) -> None:
        _check_port(self.port, least=0)
        if not ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(f"address {self.address}: a loopback address; a proxy can show it elsewhere")


@dataclass(frozen=True)
class Route:
    """Which images are drawn by which protocol, and who receives the result. What is left out, any may be.

    `calling` and `called` are AE titles (or the name of a watched folder as calling). `body_part`,
    `study_description` and `series_description` are patterns with `*` and `?`, in any letter case; with
    several, one must fit. `sites` are parts of the body of which one must be in view, and `shows` TG-263 names of
    organs that must all be, as the coarse network sees the image. `tps` is the planning system that is to take the
    structure sets, `language` that of names beside TG-263; `urgent` goes before what is routine.

    Raises:
        ValueError: a name that cannot be, no destination, or an AE title that cannot be.
    """

    name: str
    protocol: str
    destinations: tuple[str, ...]
    calling: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    modality: RouteModality | None = None
    body_part: tuple[str, ...] = ()
    study_description: tuple[str, ...] = ()
    series_description: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    shows: tuple[str, ...] = ()
    tps: str = GENERIC.name
    language: Language = Language.ENGLISH
    urgent: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.destinations:
            raise ValueError(f"destinations of {self.name}: at least one peer")
        for title in (*self.calling, *self.called):
            _check_ae_title(title)

    @property
    def looks(self) -> bool:
        """Whether the image itself decides, not its header alone."""
        return bool(self.sites or self.shows)


@dataclass(frozen=True)
class NodeSettings:
    """Everything that a node is told. `storage` is the folder that it keeps everything in.

    `workers` processes draw and send here; with 0 others must (`contour worker --node`), by the same `queue`: a folder,
    by default in the storage, or the URL of a PostgreSQL database. `secret_file` holds the secret of the keyed hashes;
    by default `secret.key` in the storage, made on the first start. `models` and `protocols` are folders of a site's
    own.

    Raises:
        ValueError: two things of one name.
    """

    storage: str
    listen: Listen = field(default_factory=Listen)
    peers: tuple[Peer, ...] = ()
    web_peers: tuple[WebPeer, ...] = ()
    folders: tuple[WatchedFolder, ...] = ()
    routes: tuple[Route, ...] = ()
    caps: Caps = field(default_factory=Caps)
    completion: Completion = field(default_factory=Completion)
    sending: Sending = field(default_factory=Sending)
    retention: Retention = field(default_factory=Retention)
    health: Health = field(default_factory=Health)
    secret_file: str | None = None
    queue: str | None = None
    workers: int = 1
    models: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.workers <= 64:
            raise ValueError(f"workers {self.workers}: 0 to 64")
        for kind, names in (
            ("peers and folders", [*names_of(self.peers), *names_of(self.web_peers), *names_of(self.folders)]),
            ("routes", [route.name for route in self.routes]),
            ("AE titles of peers that send", [p.ae_title for p in self.peers if p.sends]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: {', '.join(twice)} stands twice")

    @property
    def folder(self) -> Path:
        """The storage."""
        return Path(self.storage)

    @property
    def secret_path(self) -> Path:
        """Where the secret is."""
        return Path(self.secret_file) if self.secret_file else self.folder / "secret.key"

    @property
    def queue_place(self) -> str:
        """Where the queue of the jobs is: a folder, or a URL."""
        return self.queue or str(self.folder / "queue")

    @property
    def results(self) -> Path:
        """Where jobs leave what they drew."""
        return self.folder / "results"

    @property
    def audit_path(self) -> Path:
        """The audit trail."""
        return self.folder / "audit.jsonl"

    @property
    def requests(self) -> Path:
        """Where requests to fetch a study wait."""
        return self.folder / "requests"

    @property
    def everyone(self) -> tuple[Peer | WebPeer, ...]:
        """All peers."""
        return (*self.peers, *self.web_peers)

    def sender(self, ae_title: str) -> Peer | None:
        """The peer that may send under this AE title."""
        return next((p for p in self.peers if p.sends and p.ae_title == ae_title), None)

    def peer(self, name: str) -> Peer | WebPeer | None:
        """The peer of this name."""
        return next((peer for peer in self.everyone if peer.name == name), None)


def names_of(things: Iterable[Peer] | Iterable[WebPeer] | Iterable[WatchedFolder]) -> list[str]:
    """The names of peers or folders."""
    return [one.name for one in things]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: 1 to 32 letters, digits, - and _")


def _check_ae_title(title: str) -> None:
    if not _AE_TITLE.fullmatch(title) or title != title.strip():
        raise ValueError(f"AE title {title!r}: 1 to 16 ASCII characters without backslash or spaces around")


def _check_port(port: int, *, least: int) -> None:
    if not least <= port <= 65535:
        raise ValueError(f"port {port}: {least} to 65535")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} {value}: above 0")
