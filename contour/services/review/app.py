"""The page's server: what a browser may ask, and who may ask it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from contour.core.checksum import file_sha256
from contour.core.errors import InputRefused
from contour.core.report import Severity
from contour.languages import Language
from contour.services.review.case import Case, OpenedCase
from contour.services.review.decisions import (
    LOG_IN_REFUSED,
    LOGGED_IN,
    MAX_COMMENT_LENGTH,
    OPENED,
    Decided,
    Decision,
    Decisions,
)
from contour.services.review.guard import COOKIE, SecurityHeaders, changing, logged_in, refuse_other_origins
from contour.services.review.office import Office, Standing
from contour.services.review.sessions import LoginGuard, Session, Sessions
from contour.services.review.users import load_users, matching_user
from contour.services.review.words import PageWords, page_words
from contour.services.review.worklist import ReviewState

_PAGE = Path(__file__).resolve().parent / "page"
PAGE_FILES = ("review.css", "login.js", "review.js", "views.js", "surfaces.js", "server.js", "icon.svg")


@dataclass(frozen=True)
class ServerOptions:
    """How the page is served: its language, the names it answers to, and whether over TLS."""

    language: Language
    host_names: tuple[str, ...]
    tls: bool


@dataclass(frozen=True)
class LoginForm:
    """Who wants in."""

    login: str
    password: str


@dataclass(frozen=True)
class LoggedIn:
    """Whose session this is, the token for its changes, and the page's words."""

    login: str
    name: str
    csrf: str
    words: PageWords


@dataclass(frozen=True)
class WorklistLine:
    """A case in the worklist. The folder's name is the run's, as its maker chose it."""

    key: str
    folder_name: str
    protocol: str
    state: ReviewState
    stops: int
    checks: int
    first_findings: tuple[str, ...]
    structures: int
    decided: int
    drawn_at: str
    problem: str


@dataclass(frozen=True)
class CaseAnswer:
    """A case and what has been decided on it."""

    case: Case
    decided: tuple[Decided, ...]


@dataclass(frozen=True)
class DecisionForm:
    """A decision as the page sends it: on the file that it showed, by its checksum."""

    roi_number: int
    decision: Decision
    comment: str
    rtstruct_sha256: str
    seconds_open: float


def build_app(office: Office, users_file: Path, script: bytes, options: ServerOptions) -> FastAPI:
    """The application; `script` is NiiVue's."""
    app = FastAPI(title="contour review", docs_url=None, redoc_url=None, openapi_url=None)
    # The last that is added acts first: a request under a foreign name goes no further.
    app.add_middleware(SecurityHeaders, tls=options.tls)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(options.host_names), www_redirect=False)
    sessions, guard = Sessions(), LoginGuard()
    _add_page(app, script, sessions)
    _add_login(app, office.decisions, (users_file, sessions, guard), options)
    _add_cases(app, office, sessions)
    return app


def _add_page(app: FastAPI, script: bytes, sessions: Sessions) -> None:
    """The files of the page; none of them holds anything of a patient."""

    @app.get("/")
    def index(token: Annotated[str, Cookie(alias=COOKIE)] = "") -> Response:
        if sessions.use(token) is None:
            return RedirectResponse("/login", status.HTTP_303_SEE_OTHER)
        return FileResponse(_PAGE / "review.html")

    @app.get("/login")
    def login_page() -> Response:
        return FileResponse(_PAGE / "login.html")

    @app.get("/static/niivue.umd.js")
    def viewer() -> Response:
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "private, max-age=86400"})

    @app.get("/static/{name}")
    def page_file(name: str) -> Response:
        if name not in PAGE_FILES:
            raise HTTPException(status.HTTP_404_NOT_FOUND)
        return FileResponse(_PAGE / name)


def _add_login(
    app: FastAPI, decisions: Decisions, doors: tuple[Path, Sessions, LoginGuard], options: ServerOptions
) -> None:
    users_file, sessions, guard = doors
    words = page_words(options.language)

    @app.get("/api/words")
    def texts() -> PageWords:
        return words

    @app.post("/api/login", dependencies=[Depends(refuse_other_origins)])
    def login(form: LoginForm, request: Request, response: Response) -> None:
        address = request.client.host if request.client else ""
        keys = (f"name {form.login[:64]}", f"address {address}")
        wait_s = guard.wait_s(*keys)
        if wait_s > 0:
            headers = {"Retry-After": str(int(wait_s) + 1)}
            raise HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, "too-many-tries", headers)
        guard.failed(*keys)  # before the password is looked at, so that tries at once count as well
        user = matching_user(load_users(users_file), form.login, form.password)
        if user is None:
            decisions.note(LOG_IN_REFUSED, "unknown", "")
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, "wrong-name-or-password")
        guard.succeeded(*keys)
        decisions.note(LOGGED_IN, user.login, "")
        token = sessions.open(user)
        response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=options.tls)

    @app.get("/api/session")
    def session(current: Annotated[Session, Depends(logged_in(sessions))]) -> LoggedIn:
        return LoggedIn(current.user.login, current.user.name, current.csrf, words)

    @app.post("/api/logout", dependencies=[Depends(refuse_other_origins), Depends(changing(sessions))])
    def logout(response: Response, token: Annotated[str, Cookie(alias=COOKIE)] = "") -> None:
        sessions.close(token)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=options.tls)


def _add_cases(app: FastAPI, office: Office, sessions: Sessions) -> None:
    needed, change = logged_in(sessions), changing(sessions)

    @app.get("/api/worklist", dependencies=[Depends(needed)])
    def worklist() -> tuple[WorklistLine, ...]:
        return tuple(_line(standing) for standing in office.standings())

    @app.get("/api/cases/{key}")
    def case(key: str, current: Annotated[Session, Depends(needed)]) -> CaseAnswer:
        opened = _opened(office, key)
        office.decisions.note(OPENED, current.user.login, opened.case.rtstruct_uid)
        return CaseAnswer(opened.case, office.decisions.of(opened.case.rtstruct_sha256))

    @app.get("/api/cases/{key}/voxels/{sha256}", dependencies=[Depends(needed)])
    def voxels(key: str, sha256: str) -> Response:
        # The array itself is sent, without a copy of a hundred megabytes.
        return Response(_same(office, key, sha256).voxels.data.cast("B"), media_type="application/octet-stream")

    @app.get("/api/cases/{key}/polygons/{sha256}", dependencies=[Depends(needed)])
    def polygons(key: str, sha256: str) -> Response:
        found = _same(office, key, sha256).polygons
        rows = len(found.table).to_bytes(4, "little")
        content = rows + found.table.tobytes() + found.points_xy.tobytes()
        return Response(content, media_type="application/octet-stream")

    @app.get("/api/cases/{key}/preview", dependencies=[Depends(needed)])
    def preview(key: str) -> Response:
        run = office.run(key)
        if run is None or not run.preview.is_file():
            raise HTTPException(status.HTTP_404_NOT_FOUND)
        return FileResponse(run.preview)

    @app.post("/api/cases/{key}/decisions", dependencies=[Depends(refuse_other_origins)])
    def decide(key: str, form: DecisionForm, current: Annotated[Session, Depends(change)]) -> Decided:
        opened = _same(office, key, form.rtstruct_sha256)
        return _record(office, opened, form, current)


def _record(office: Office, opened: OpenedCase, form: DecisionForm, current: Session) -> Decided:
    structure = next((s for s in opened.case.structures if s.roi_number == form.roi_number), None)
    comment = form.comment.strip()
    if structure is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no-such-structure")
    if len(comment) > MAX_COMMENT_LENGTH:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "comment-too-long")
    if form.decision is Decision.REJECT and not comment:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "comment-needed")
    decided = Decided(
        rtstruct_sha256=form.rtstruct_sha256,
        roi_number=structure.roi_number,
        roi_name=structure.name,
        decision=form.decision,
        comment=comment,
        login=current.user.login,
        name=current.user.name,
        when=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    return office.decisions.record(decided, opened.case.rtstruct_uid, max(0.0, form.seconds_open))


def _opened(office: Office, key: str) -> OpenedCase:
    try:
        opened = office.open(key)
    except InputRefused as refused:
        raise HTTPException(status.HTTP_409_CONFLICT, str(refused)) from refused
    except FileNotFoundError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "case-gone") from error
    if opened is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no-such-case")
    return opened


def _same(office: Office, key: str, sha256: str) -> OpenedCase:
    """The case, if its structure set is still the one that the page shows."""
    opened = _opened(office, key)
    run = office.run(key)
    if run is None or sha256 != opened.case.rtstruct_sha256 or file_sha256(run.rtstruct) != sha256:
        raise HTTPException(status.HTTP_409_CONFLICT, "structure-set-changed")
    return opened


def _line(standing: Standing) -> WorklistLine:
    run, report = standing.run, standing.run.report
    drawn_at = datetime.fromtimestamp(run.modified_s, UTC).isoformat(timespec="seconds") if run.modified_s else ""
    return WorklistLine(
        key=run.key,
        folder_name=run.folder.name,
        protocol=report.protocol if report else "",
        state=standing.state,
        stops=run.count(Severity.STOP),
        checks=run.count(Severity.CHECK),
        first_findings=tuple(dict.fromkeys(f.code for f in run.findings if f.severity is not Severity.INFO))[:3],
        structures=standing.structures,
        decided=len(standing.decided),
        drawn_at=drawn_at,
        problem=run.problem,
    )
