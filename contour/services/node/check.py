"""Every mistake of a node's settings, and its routes in words: what a person looks at before the node runs."""

from dataclasses import dataclass
from pathlib import Path

from contour.config import config_mistakes, load_config
from contour.core.errors import ConfigError, PackageError
from contour.inference.organs import organ
from contour.inference.package import Manifest
from contour.library import load_planning_system, load_protocol, locator_for, protocol_file, protocol_mistakes
from contour.services.node.settings import NodeSettings, Peer, Route
from contour.services.node.transport import client_tls, server_tls

_CONDITIONS = ("calling", "called", "body_part", "study_description", "series_description", "sites", "shows")


@dataclass(frozen=True)
class NodeCheck:
    """What was found: mistakes that keep the node from running, notes on what may not be meant, the routes in words."""

    mistakes: tuple[ConfigError | PackageError, ...]
    notes: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


def check_node(path: Path) -> NodeCheck:
    """Look over the settings in the file at `path`."""
    mistakes: list[ConfigError | PackageError] = list(config_mistakes(path, NodeSettings))
    if mistakes:
        return NodeCheck(tuple(mistakes))
    settings = load_config(path, NodeSettings)
    notes: list[str] = []
    for route in settings.routes:
        mistakes += _route_mistakes(path, route, settings)
        notes += _protocol_notes(route, settings)
    mistakes += _file_mistakes(path, settings)
    notes += _overlaps(settings.routes) + _peer_notes(settings)
    return NodeCheck(tuple(mistakes), tuple(notes), tuple(_words(route) for route in settings.routes))


def _route_mistakes(path: Path, route: Route, settings: NodeSettings) -> list[ConfigError | PackageError]:
    where = f"{path}: route {route.name}"
    mistakes: list[ConfigError | PackageError] = []
    may = [p.name for p in settings.everyone if p.receives]
    for name in route.destinations:
        if name not in may:
            found = f"destination {name} is no peer that receives"
            mistakes.append(ConfigError(where, found, ", ".join(may) or "a peer with receives: true"))
    called = settings.listen.ae_titles
    mistakes += [
        ConfigError(where, f"called {title} is no AE title of this node", ", ".join(called))
        for title in route.called
        if title not in called
    ]
    senders = _senders(settings)
    mistakes += [
        ConfigError(where, f"calling {title} may not send", ", ".join(senders) or "a peer with sends: true, a folder")
        for title in route.calling
        if title not in senders
    ]
    models, protocols = tuple(map(Path, settings.models)), tuple(map(Path, settings.protocols))
    try:
        load_planning_system(route.tps)
        faults, _ = protocol_mistakes(protocol_file(route.protocol, protocols), models)
        mistakes += faults
        if not faults:
            mistakes += _modality_mistakes(where, route, protocols, models)
    except (ConfigError, PackageError) as error:
        mistakes.append(error)
    return mistakes


def _modality_mistakes(
    where: str, route: Route, protocols: tuple[Path, ...], models: tuple[Path, ...]
) -> list[ConfigError | PackageError]:
    protocol = load_protocol(route.protocol, protocols)
    if route.modality is not None and str(route.modality) != str(protocol.modality):
        found = f"modality {route.modality} with protocol {protocol.name}"
        return [ConfigError(where, found, f"{protocol.modality}, which the protocol is for")]
    if not route.looks:
        return []
    locator = locator_for(protocol, models)
    if locator is None:
        found = f"sites or shows, but no package locates organs on {protocol.modality}"
        return [ConfigError(where, found, "a package that locates, or a route without them")]
    return [
        ConfigError(where, f"shows {name}, of which nothing is known", ", ".join(_known(locator.manifest)))
        for name in route.shows
        if organ(name) is None
    ]


def _known(manifest: Manifest) -> list[str]:
    return [name for name in manifest.names if organ(name) is not None]


def _protocol_notes(route: Route, settings: NodeSettings) -> list[str]:
    try:
        protocol = load_protocol(route.protocol, tuple(map(Path, settings.protocols)))
    except ConfigError:
        return []
    notes = []
    if protocol.targets:
        notes.append(
            f"{route.name}: {protocol.name} derives from targets, which a node is not given: these are left out."
        )
    if route.modality is None:
        notes.append(f"{route.name}: without modality it takes any; {protocol.name} is for {protocol.modality} alone.")
    return notes


def _file_mistakes(path: Path, settings: NodeSettings) -> list[ConfigError | PackageError]:
    mistakes: list[ConfigError | PackageError] = []
    tls = settings.listen.tls
    if tls is not None:
        try:
            server_tls(tls.certificate, tls.key, tls.ca)
            client_tls(tls.certificate, tls.key, tls.ca)
        except OSError as error:
            allowed = "certificate, key and ca: PEM files that belong together"
            mistakes.append(ConfigError(f"{path}: listen.tls", f"cannot be used ({error})", allowed))
    for peer in settings.peers:
        if peer.tls and tls is None:
            mistakes.append(ConfigError(f"{path}: peer {peer.name}", "tls: true, but no listen.tls", "listen.tls"))
    for web in settings.web_peers:
        for file in (web.ca, web.certificate, web.key, web.token_file):
            if file is not None and not Path(file).is_file():
                mistakes.append(ConfigError(f"{path}: web peer {web.name}", f"{file} is not there", "a file"))
    for folder in settings.folders:
        if not Path(folder.path).is_dir():
            mistakes.append(ConfigError(f"{path}: folder {folder.name}", f"{folder.path} is no folder", "a folder"))
    return mistakes


def _overlaps(routes: tuple[Route, ...]) -> list[str]:
    """Of two routes that may match the same images, the first wins: said, so that it is meant."""
    notes = []
    for number, route in enumerate(routes):
        for later in routes[number + 1 :]:
            if _covers(route, later):
                notes.append(f"{later.name} never matches: {route.name} stands before it and matches all that it does.")
            elif _may_both(route, later):
                notes.append(
                    f"{route.name} and {later.name} may match the same images: then {route.name}, the first, wins."
                )
    return notes


def _covers(first: Route, later: Route) -> bool:
    """Whether every condition of the first is none, or as wide as the later one's."""
    if first.modality is not None and first.modality != later.modality:
        return False
    for name in _CONDITIONS:
        wide, narrow = set(getattr(first, name)), set(getattr(later, name))
        if name == "shows":
            if not wide <= narrow:
                return False
        elif wide and not (narrow and narrow <= wide):
            return False
    return True


def _may_both(first: Route, later: Route) -> bool:
    """Whether no condition keeps the two apart; patterns and what images show may or may not."""
    if first.modality is not None and later.modality is not None and first.modality != later.modality:
        return False
    for name in ("calling", "called"):
        one, other = set(getattr(first, name)), set(getattr(later, name))
        if one and other and not one & other:
            return False
    return True


def _peer_notes(settings: NodeSettings) -> list[str]:
    notes = []
    if not settings.routes:
        notes.append("There are no routes: whatever comes is kept for a while, and nothing is drawn.")
    if not _senders(settings) and not any(p.answers for p in settings.everyone):
        notes.append("No peer may send or be asked, and no folder is watched: nothing will come.")
    return notes


def _senders(settings: NodeSettings) -> list[str]:
    asked = [p.ae_title if isinstance(p, Peer) else p.name for p in settings.everyone if p.answers]
    return [*(p.ae_title for p in settings.peers if p.sends), *(f.name for f in settings.folders), *asked]


def _words(route: Route) -> str:
    """A route as a sentence."""
    conditions = [
        f"from {' or '.join(route.calling)}" if route.calling else "",
        f"to {' or '.join(route.called)}" if route.called else "",
        f"body part {' or '.join(route.body_part)}" if route.body_part else "",
        f"study description {' or '.join(route.study_description)}" if route.study_description else "",
        f"series description {' or '.join(route.series_description)}" if route.series_description else "",
        f"showing the {' or '.join(route.sites)}" if route.sites else "",
        f"showing {' and '.join(route.shows)}" if route.shows else "",
    ]
    what = f"{route.modality or 'any image'} {', '.join(c for c in conditions if c)}".strip()
    urgent = ", before what is routine" if route.urgent else ""
    return f"{route.name}: {what} -> {route.protocol} -> {', '.join(route.destinations)}{urgent}"
