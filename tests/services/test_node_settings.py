import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from node_peers import node_settings, tiny_routes

from contour.config import load_config, save_config, shipped_folder
from contour.core.errors import ConfigError
from contour.core.geometry import Box, Geometry
from contour.core.keyed import Keyed, load_secret
from contour.inference.locate import Location, Sighting
from contour.inference.organs import Site
from contour.services.audit_trail import AuditEvent, AuditTrail
from contour.services.node.check import check_node
from contour.services.node.jobs_inbox import retry_seconds
from contour.services.node.routes import Arrival, choose, must_look
from contour.services.node.settings import Listen, NodeSettings, Peer, Route, RouteModality, Sending, Tls

CHEST = Arrival("CT1", "CONTOUR", "CT", "CHEST", "Thorax", "SBRT lung 1 mm")


def seen(*names: str) -> Location:
    """An image on which these organs are seen in whole."""
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry((40, 20, 20), (8.0, 8.0, 8.0), (0.0, 0.0, 0.0), axes, "2.25.1")

    sightings = tuple(Sighting(name, 5000.0, Box((5, 5, 5), (30, 15, 15)), (0.0, 0.0, 0.0), ()) for name in names)
    return Location(geometry, ("Brain", "Heart", "Lung_L", "Liver"), sightings)


# -- routes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"calling": ("CT1", "CT2")}, True),
        ({"calling": ("CT2",)}, False),
        ({"called": ("OTHER",)}, False),
        ({"modality": RouteModality.CT}, True),
        ({"modality": RouteModality.MR}, False),
        ({"body_part": ("chest",)}, True),
        ({"body_part": ("HEAD", "NECK")}, False),
        ({"series_description": ("*sbrt*",)}, True),
        ({"series_description": ("sbrt",)}, False),
        ({"study_description": ("Thor?x",), "series_description": ("*LUNG*",)}, True),
        ({"study_description": ("Thor?x",), "series_description": ("*liver*",)}, False),
    ],
)
def test_conditions_of_a_route(conditions: dict[str, object], fits: bool) -> None:
    route = Route("one", "thorax_oar", ("tps",), **conditions)  # type: ignore[arg-type]
    assert (choose((route,), CHEST).route is route) is fits


def test_of_two_that_match_the_first_wins() -> None:
    first, second = Route("first", "thorax_oar", ("tps",)), Route("second", "thorax_sbrt", ("tps",))
    assert choose((first, second), CHEST).route is first
    assert choose((second, first), CHEST).route is second


def test_what_the_image_shows_decides_where_the_header_does_not() -> None:
    head = Route("head", "head_oar", ("tps",), sites=(Site.HEAD,))
    heart = Route("heart", "thorax_oar", ("tps",), shows=("Heart", "Lung_L"))
    routes = (head, heart)
    assert must_look(routes, CHEST)
    assert choose(routes, CHEST, seen("Heart", "Lung_L")).route is heart
    assert choose(routes, CHEST, seen("Brain")).route is head
    none = choose(routes, CHEST, seen("Liver"))
    assert none.route is None
    assert none.passed_over == (
        "head: of head nothing is well in view",
        "heart: Heart, Lung_L is not in view",
    )
    doubtful = replace(seen("Heart", "Lung_L"), doubt="the organs lie in no order that a body has")
    assert choose(routes, CHEST, doubtful).route is None
    assert (
        choose(routes, CHEST, None)
        .passed_over[0]
        .endswith("no network that locates organs is installed for the modality")
    )


def test_the_image_is_looked_at_only_where_that_decides() -> None:
    plain, looks = Route("plain", "thorax_oar", ("tps",)), Route("looks", "head_oar", ("tps",), sites=(Site.HEAD,))
    assert not must_look((plain, looks), CHEST)
    assert must_look((looks, plain), CHEST)
    assert not must_look((replace(looks, calling=("MR1",)), plain), CHEST)


def test_reasons_do_not_quote_the_series() -> None:
    route = Route("one", "thorax_oar", ("tps",), series_description=("liver",))
    arrival = replace(CHEST, series_description="Серікқызы lung")
    assert "Серік" not in "".join(choose((route,), arrival).passed_over)


# -- the settings' file ------------------------------------------------------------------------------------------------


def test_the_example_is_usable_and_explained(contour: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert contour("node", "check", shipped_folder("configs") / "node" / "example.yaml") == 0
    printed = capsys.readouterr().out
    assert "1. lung-sbrt: CT series description *SBRT*lung*" in printed
    assert "then lung-sbrt, the first, wins" in printed


def test_every_mistake_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text(
        """\
storage: s
colour: red
listen: {address: 0.0.0.0, ae_titles: [A_TITLE_THAT_IS_TOO_LONG]}
peers:
  - {name: "../x", ae_title: CT1, host: h, sends: true}
  - {name: tps, ae_title: TPS, receives: true}
caps: {pdu_bytes: 10}
completion: {quiet_seconds: 10, limit_seconds: 5}
routes:
  - {name: r, protocol: thorax_oar, destinations: [], sites: [knee]}
""",
        encoding="utf-8",
    )
    told = "\n".join(map(str, check_node(path).mistakes))
    for words in ("unknown key colour", "AE title", "'../x'", "tps", "pdu_bytes 10", "limit_seconds", "sites"):
        assert words in told


def test_beyond_this_machine_only_with_tls_or_by_saying_so() -> None:
    with pytest.raises(ValueError, match="in the clear"):
        Listen(address="0.0.0.0")
    assert Listen(address="0.0.0.0", plaintext=True).plaintext
    assert Listen(address="0.0.0.0", tls=Tls("c", "k", "a")).tls


def test_what_belongs_together_is_checked(tmp_path: Path) -> None:
    peers = (Peer("tps", "TPS", host="127.0.0.1", port=104), Peer("ct", "CT1", host="127.0.0.1", sends=True))
    routes = (
        Route("one", "thorax_oar", ("tps", "nowhere"), calling=("CT9",), called=("OTHER",)),
        Route("two", "no_such_protocol", ("tps",)),
        Route("three", "brain_mr", ("tps",), modality=RouteModality.CT),
    )
    listen = Listen(tls=Tls("no.crt", "no.key", "no-ca.crt"))
    save_config(node_settings(tmp_path, peers=peers, routes=routes, listen=listen), tmp_path / "node.yaml")
    check = check_node(tmp_path / "node.yaml")
    told = "\n".join(map(str, check.mistakes))
    for words in (
        "destination tps is no peer that receives",
        "destination nowhere is no peer that receives",
        "calling CT9 may not send",
        "called OTHER is no AE title of this node",
        "no_such_protocol",
        "modality CT with protocol brain_mr",
        "listen.tls",
    ):
        assert words in told


def test_a_route_that_never_matches_is_noted(tmp_path: Path, tiny_protocol_file: Path, tiny_models: Path) -> None:
    (wide,) = tiny_routes(tiny_protocol_file, "tps")
    narrow = replace(wide, name="narrow", series_description=("*lung*",))
    peers = (Peer("tps", "TPS", host="127.0.0.1", port=104, receives=True),)
    settings = node_settings(tmp_path, peers=peers, routes=(wide, narrow), models=(str(tiny_models),))
    save_config(settings, tmp_path / "node.yaml")
    check = check_node(tmp_path / "node.yaml")
    assert check.mistakes == ()
    assert any(note.startswith("narrow never matches") for note in check.notes)
    assert load_config(tmp_path / "node.yaml", NodeSettings) == settings


def test_peers_may_nothing_by_default() -> None:
    peer = Peer("tps", "TPS")
    assert (peer.sends, peer.receives, peer.answers) == (False, False, False)
    assert NodeSettings("s").listen.address == "127.0.0.1"


# -- names and times ---------------------------------------------------------------------------------------------------


def test_names_follow_from_the_secret(tmp_path: Path) -> None:
    secret = load_secret(tmp_path / "secret.key")
    assert load_secret(tmp_path / "secret.key") == secret
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
    one, other = Keyed(secret), Keyed(b"x" * 32)
    assert one.name("series", "1.2", "3") == one.name("series", "1.2", "3")
    assert len({one.name("series", "1.2", "3"), one.name("series", "1.23"), other.name("series", "1.2", "3")}) == 3
    assert re.fullmatch("[0-9a-f]{32}", one.name("series", "../.."))
    (tmp_path / "short").write_text("abc", encoding="utf-8")
    with pytest.raises(ConfigError, match="3 bytes"):
        load_secret(tmp_path / "short")


def test_waits_double_up_to_the_longest_until_it_is_given_up() -> None:
    waits = retry_seconds(Sending(first_wait_seconds=10, longest_wait_seconds=60, give_up_hours=0.1))
    assert waits[:4] == (10, 20, 40, 60)
    assert set(waits[3:]) == {60}
    assert 360 <= sum(waits) < 420


def test_the_trail_is_verified_at_the_command_line(
    contour: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(path, load_secret(tmp_path / "secret.key"))
    trail.append(AuditEvent("drawn", "node", "x"))
    trail.append(AuditEvent("sent", "node", "x"))
    assert contour("node", "audit", path) == 0
    head = re.search(r"--head (\d+:[0-9a-f]{64})", capsys.readouterr().out.replace("\n", ""))
    assert head
    path.write_text(path.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    assert contour("node", "audit", path) == 0
    assert contour("node", "audit", path, "--head", head[1]) == 2
    assert "1 lines are missing at the end" in capsys.readouterr().err
