"""What every answer and every change is guarded by, whoever asks."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Cookie, Depends, Header, HTTPException, Request, status
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contour.services.review.sessions import Session, Sessions, same_token

COOKIE = "contour_review"

# NiiVue holds its fonts and its colours' pictures in data: addresses; nothing is loaded from anywhere else.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class SecurityHeaders:
    """Adds to every answer what a browser should forbid, and that nothing of it is kept on the disk."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._headers = {**_HEADERS, **({"Strict-Transport-Security": "max-age=31536000"} if tls else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the headers go out with the answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


def refuse_other_origins(request: Request, origin: Annotated[str, Header()] = "") -> None:
    """A change that another site's page asks for is refused; browsers name the origin with every change.

    Raises:
        HTTPException: 403.
    """
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "other-origin")


def logged_in(sessions: Sessions) -> Callable[[str], Session]:
    """A dependency: the session of the request, or 401."""

    def current(token: Annotated[str, Cookie(alias=COOKIE)] = "") -> Session:
        session = sessions.use(token)
        if session is None:
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, "log-in-needed")
        return session

    return current


def changing(sessions: Sessions) -> Callable[[Session, str], Session]:
    """A dependency: the session of a request that changes something, with the session's token, or 401 or 403."""

    def current(
        session: Annotated[Session, Depends(logged_in(sessions))],
        x_csrf_token: Annotated[str, Header()] = "",
    ) -> Session:
        if not same_token(x_csrf_token, session.csrf):
            raise HTTPException(status.HTTP_403_FORBIDDEN, "token-needed")
        return session

    return current
