"""Who may ask the review page what: log-in, sessions, tokens, hosts; and that decisions stand in the trail."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from reviewed_runs import LOGIN, NAME, PASSWORD, Reviewed, reviewed_run

from contour.core.errors import ConfigError
from contour.languages import Language
from contour.services.audit_trail import verify
from contour.services.review import users as users_module
from contour.services.review.app import PAGE_FILES, ServerOptions, build_app
from contour.services.review.decisions import Decisions
from contour.services.review.guard import COOKIE
from contour.services.review.office import Office
from contour.services.review.series_index import SeriesIndex, SeriesShelf
from contour.services.review.serve import KEY_FILE, TRAIL_FILE, Listening, Review, serve, trail_key
from contour.services.review.sessions import (
    FAILURES_COUNT_S,
    IDLE_S,
    LONGEST_S,
    MAX_FAILURES,
    LoginGuard,
    Sessions,
)
from contour.services.review.users import USERS_FILE, add_user, load_users, matching_user
from contour.services.review.words import page_words

ADDRESS = "http://127.0.0.1:8440"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no third of a second."""
    for name, value in (("SCRYPT_N", 1 << 4), ("SCRYPT_P", 1)):
        monkeypatch.setattr(users_module, name, value)
    monkeypatch.setattr(users_module.User.__init__, "__defaults__", (1 << 4, 8, 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    return reviewed_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def reviewed(made: Reviewed, tmp_path: Path) -> Reviewed:
    shutil.copytree(made.run, tmp_path / "runs" / "case-1")
    return Reviewed(tmp_path / "runs" / "case-1", made.images, made.geometry)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    add_user(tmp_path / "home" / USERS_FILE, LOGIN, NAME, PASSWORD)
    return tmp_path / "home"


def office_of(reviewed: Reviewed, home: Path) -> Office:
    decisions = Decisions(home / TRAIL_FILE, trail_key(home / KEY_FILE))
    shelf = SeriesShelf(SeriesIndex((reviewed.images,)))
    return Office((reviewed.run.parent,), shelf, decisions, Language.ENGLISH)


@pytest.fixture
def client(reviewed: Reviewed, home: Path) -> Iterator[TestClient]:
    options = ServerOptions(Language.RUSSIAN, ("127.0.0.1", "localhost"), tls=False)
    app = build_app(office_of(reviewed, home), home / USERS_FILE, b"// viewer", options)
    with TestClient(app, base_url=ADDRESS) as made_client:
        yield made_client


def log_in(client: TestClient) -> dict[str, str]:
    """Headers that a change needs."""
    assert client.post("/api/login", json={"login": LOGIN, "password": PASSWORD}).status_code == 200
    return {"X-CSRF-Token": client.get("/api/session").json()["csrf"]}


def first_case(client: TestClient) -> dict[str, object]:
    (line,) = client.get("/api/worklist").json()
    case: dict[str, object] = client.get(f"/api/cases/{line['key']}").json()["case"]
    return case


def decision_on(case: dict[str, object], decision: str = "accept", comment: str = "") -> dict[str, object]:
    return {
        "roi_number": 1,
        "decision": decision,
        "comment": comment,
        "rtstruct_sha256": case["rtstruct_sha256"],
        "seconds_open": 12.5,
    }


def test_nothing_of_a_patient_without_log_in(client: TestClient) -> None:
    key = "0" * 24
    for path in (
        "worklist",
        f"cases/{key}",
        f"cases/{key}/voxels/x",
        f"cases/{key}/polygons/x",
        f"cases/{key}/preview",
    ):
        assert client.get(f"/api/{path}").status_code == 401
    assert client.post(f"/api/cases/{key}/decisions", json={}).status_code == 401
    assert client.get("/", follow_redirects=False).headers["location"] == "/login"
    for name in ("login.html", *PAGE_FILES):
        assert "Phantom" not in client.get("/login" if name == "login.html" else f"/static/{name}").text
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/openapi.json").status_code == 404


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(client: TestClient) -> None:
    answer = client.post("/api/login", json={"login": LOGIN, "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(COOKIE)
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie


def test_over_tls_the_cookie_goes_nowhere_else(reviewed: Reviewed, home: Path) -> None:
    options = ServerOptions(Language.ENGLISH, ("plans.clinic",), tls=True)
    app = build_app(office_of(reviewed, home), home / USERS_FILE, b"", options)
    with TestClient(app, base_url="https://plans.clinic") as client:
        answer = client.post("/api/login", json={"login": LOGIN, "password": PASSWORD})
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "max-age" in answer.headers["strict-transport-security"]


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in ("/login", "/static/review.js", "/api/worklist", "/nothing", "/static/niivue.umd.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert client.get("/api/worklist").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_other_host_names_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/login", headers={"Host": host}).status_code == 400


def test_changes_need_the_token_and_the_pages_own_origin(client: TestClient) -> None:
    token = log_in(client)
    case = first_case(client)
    path = f"/api/cases/{case['key']}/decisions"
    assert client.post(path, json=decision_on(case)).status_code == 403
    assert client.post(path, json=decision_on(case), headers={"X-CSRF-Token": "x"}).status_code == 403
    foreign = {**token, "Origin": "http://evil.example"}
    assert client.post(path, json=decision_on(case), headers=foreign).status_code == 403
    assert client.post("/api/logout", headers=foreign).status_code == 403
    assert client.post(path, json=decision_on(case), headers={**token, "Origin": ADDRESS}).status_code == 200


def test_logging_out_ends_the_session_on_the_server(client: TestClient) -> None:
    token = log_in(client)
    kept = client.cookies[COOKIE]
    assert client.post("/api/logout", headers=token).status_code == 200
    client.cookies.set(COOKIE, kept)
    assert client.get("/api/worklist").status_code == 401


def test_wrong_passwords_are_counted_and_then_not_looked_at(client: TestClient, home: Path) -> None:
    for _ in range(MAX_FAILURES):
        assert client.post("/api/login", json={"login": LOGIN, "password": "wrong"}).status_code == 401
    answer = client.post("/api/login", json={"login": LOGIN, "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 60
    trail = (home / TRAIL_FILE).read_text(encoding="utf-8")
    assert trail.count("log-in-refused") == MAX_FAILURES


def test_failures_are_forgotten_after_a_time_and_after_a_success() -> None:
    now = [0.0]
    guard = LoginGuard(clock=lambda: now[0])
    for _ in range(MAX_FAILURES):
        guard.failed("name a", "address 1")
    assert guard.wait_s("name b", "address 1") == FAILURES_COUNT_S
    assert guard.wait_s("name b", "address 2") == 0
    guard.succeeded("name a")
    assert guard.wait_s("name a") == 0
    now[0] = FAILURES_COUNT_S + 1
    assert guard.wait_s("address 1") == 0


def test_sessions_end_when_idle_and_at_the_latest_after_a_working_day() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    user = users_module.User(LOGIN, NAME, "", "")
    token = sessions.open(user)
    while now[0] + IDLE_S / 2 < LONGEST_S:
        now[0] += IDLE_S / 2
        assert sessions.use(token) is not None
    now[0] += IDLE_S
    assert sessions.use(token) is None
    token = sessions.open(user)
    now[0] += IDLE_S + 1
    assert sessions.use(token) is None
    assert sessions.use("guessed") is None


def test_a_decision_is_recorded_with_name_time_and_checksum(client: TestClient, home: Path, reviewed: Reviewed) -> None:
    token = log_in(client)
    case = first_case(client)
    form = decision_on(case, "needs-editing", "  основание срезано  ")
    answer = client.post(f"/api/cases/{case['key']}/decisions", json=form, headers=token).json()
    assert (answer["name"], answer["decision"], answer["comment"]) == (NAME, "needs-editing", "основание срезано")
    assert verify(home / TRAIL_FILE, trail_key(home / KEY_FILE)) == ()
    lines = [json.loads(line) for line in (home / TRAIL_FILE).read_text(encoding="utf-8").splitlines()]
    assert [line["what"] for line in lines] == ["logged-in", "opened", "reviewed"]
    assert lines[-1]["who"] == LOGIN
    assert lines[-1]["subject"] == case["rtstruct_uid"]
    assert lines[-1]["details"]["rtstruct_sha256"] == case["rtstruct_sha256"]
    assert lines[-1]["details"]["seconds_open"] == "12.5"
    trail = (home / TRAIL_FILE).read_text(encoding="utf-8")
    assert "Phantom" not in trail
    assert "P-1" not in trail
    # The latest decision counts, for a server that starts anew as well.
    client.post(f"/api/cases/{case['key']}/decisions", json=decision_on(case), headers=token)
    (standing,) = office_of(reviewed, home).standings()
    assert (standing.state, standing.decided[0].decision, standing.structures) == ("begun", "accept", 2)


def test_a_decision_on_another_file_than_was_shown_is_refused(client: TestClient, reviewed: Reviewed) -> None:
    token = log_in(client)
    case = first_case(client)
    path = f"/api/cases/{case['key']}"
    with (reviewed.run / "rtstruct.dcm").open("ab") as file:
        file.write(b"\0\0")
    answer = client.post(f"{path}/decisions", json=decision_on(case), headers=token)
    assert answer.status_code == 409
    assert client.get(f"{path}/polygons/{case['rtstruct_sha256']}").status_code == 409


def test_decisions_that_cannot_be_are_refused(client: TestClient) -> None:
    token = log_in(client)
    case = first_case(client)
    path = f"/api/cases/{case['key']}/decisions"
    forms = (
        decision_on(case, "reject"),
        decision_on(case, "perhaps"),
        decision_on(case, "accept", "x" * 2001),
        {**decision_on(case), "roi_number": "one"},
    )
    assert [client.post(path, json=form, headers=token).status_code for form in forms] == [422] * 4
    unknown = {**decision_on(case), "roi_number": 77}
    assert client.post(path, json=unknown, headers=token).status_code == 404
    assert client.post("/api/cases/nothing/decisions", json=decision_on(case), headers=token).status_code == 404


def test_voxels_and_polygons_come_whole(client: TestClient) -> None:
    log_in(client)
    case = first_case(client)
    path, sha256 = f"/api/cases/{case['key']}", case["rtstruct_sha256"]
    voxels = np.frombuffer(client.get(f"{path}/voxels/{sha256}").content, dtype="<i2").reshape(24, 64, 72)
    assert voxels[8, 30, 45] == 300
    assert np.count_nonzero(voxels == 300) == 8 * 24 * 16 + 18 * 6 * 6
    polygons = client.get(f"{path}/polygons/{sha256}").content
    rows = int.from_bytes(polygons[:4], "little")
    table = np.frombuffer(polygons, dtype="<i4", count=rows * 4, offset=4).reshape(-1, 4)
    assert rows == 26
    assert len(polygons) == 4 + rows * 16 + int(table[:, 3].sum()) * 8


def test_images_that_lie_nowhere_are_said_to_be_missing(reviewed: Reviewed, home: Path, tmp_path: Path) -> None:
    lost = Reviewed(reviewed.run, tmp_path / "home", reviewed.geometry)
    app = build_app(
        office_of(lost, home), home / USERS_FILE, b"", ServerOptions(Language.ENGLISH, ("127.0.0.1",), False)
    )
    with TestClient(app, base_url=ADDRESS) as client:
        log_in(client)
        (line,) = client.get("/api/worklist").json()
        answer = client.get(f"/api/cases/{line['key']}")
    assert answer.status_code == 409
    assert "unknown-series" in answer.json()["detail"]


def test_an_altered_trail_stops_the_server(home: Path, reviewed: Reviewed) -> None:
    office_of(reviewed, home).decisions.note("opened", LOGIN, "2.25.1")
    trail = home / TRAIL_FILE
    trail.write_text(trail.read_text(encoding="utf-8").replace(LOGIN, "somebody"), encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        office_of(reviewed, home)


def test_passwords_are_kept_as_hashes_and_the_file_to_its_owner(home: Path) -> None:
    text = (home / USERS_FILE).read_text(encoding="utf-8")
    assert PASSWORD not in text
    assert (home / USERS_FILE).stat().st_mode & 0o077 == 0
    assert (trail_key(home / KEY_FILE), (home / KEY_FILE).stat().st_mode & 0o077)[1] == 0
    users = load_users(home / USERS_FILE)
    assert matching_user(users, LOGIN, PASSWORD) is not None
    assert matching_user(users, LOGIN, PASSWORD + " ") is None
    assert matching_user(users, "nobody", PASSWORD) is None
    assert matching_user(users, LOGIN, "x" * 10_000) is None
    add_user(home / USERS_FILE, LOGIN, NAME, "another password")
    assert matching_user(load_users(home / USERS_FILE), LOGIN, PASSWORD) is None


@pytest.mark.parametrize(
    ("login", "name", "password"),
    [("A b", NAME, PASSWORD), ("../x", NAME, PASSWORD), (LOGIN, NAME, "short"), (LOGIN, "a\x1b[2J", PASSWORD)],
)
def test_users_that_cannot_be_are_refused(tmp_path: Path, login: str, name: str, password: str) -> None:
    with pytest.raises(ConfigError) as refused:
        add_user(tmp_path / USERS_FILE, login, name, password)
    assert password not in str(refused.value)
    assert not (tmp_path / USERS_FILE).exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "plans.clinic", "::"])
def test_addresses_that_others_reach_need_tls(reviewed: Reviewed, home: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        serve(Review((reviewed.run,), (), home), Listening(host, 0), pytest.fail)
    half = Listening(host, 0, certificate=home / USERS_FILE)
    with pytest.raises(ConfigError, match="both"):
        serve(Review((reviewed.run,), (), home), half, pytest.fail)


def test_nobody_to_log_in_is_said_before_anything_starts(reviewed: Reviewed, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add-user"):
        serve(Review((reviewed.run,), (), tmp_path / "empty"), Listening(port=0), pytest.fail)


def test_each_language_says_everything_that_english_does() -> None:
    english = page_words(Language.ENGLISH)
    for language in (Language.RUSSIAN, Language.KAZAKH):
        words = page_words(language)
        assert words.page.keys() == english.page.keys()
        assert words.findings.keys() == english.findings.keys()
        assert words.language == language.value
        assert all(text.strip() for text in words.page.values())


def test_the_page_asks_for_no_word_that_there_is_not() -> None:
    import re  # noqa: PLC0415

    from contour.services.review import app  # noqa: PLC0415

    page = Path(app.__file__).parent / "page"
    known = page_words(Language.ENGLISH).page.keys()
    html = "".join((page / name).read_text(encoding="utf-8") for name in ("review.html", "login.html"))
    script = (page / "review.js").read_text(encoding="utf-8")
    asked = set(re.findall(r'data-word(?:-placeholder)?="(\w+)"', html)) | set(re.findall(r"words\.(\w+)", script))
    assert asked
    assert asked - {"page"} <= known
    assert "<script>" not in html
    assert "style=" not in html
    assert not re.search(r"https?://", html + script)
