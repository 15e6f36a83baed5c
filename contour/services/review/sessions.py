"""Who is logged in, until when; and who has guessed too often. Held in memory: a restart logs everybody out."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from contour.services.review.users import User

IDLE_S = 30 * 60
LONGEST_S = 10 * 60 * 60
MAX_FAILURES = 5
FAILURES_COUNT_S = 15 * 60
MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class Session:
    """A log-in: whose, the token that each change must carry, when it began and when it was last used."""

    user: User
    csrf: str
    began_s: float
    used_s: float


class Sessions:
    """The open sessions, by the hash of their token: the token itself is in the browser's cookie alone."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, user: User) -> str:
        """A new session; returns its token."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions = {key: s for key, s in self._sessions.items() if not _expired(s, now)}
            self._sessions[_key(token)] = Session(user, secrets.token_urlsafe(32), now, now)
        return token

    def use(self, token: str) -> Session | None:
        """The session of a token, which counts as used now; None if there is none or it has expired."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_key(token))
            if session is None or _expired(session, now):
                self._sessions.pop(_key(token), None)
                return None
            self._sessions[_key(token)] = session = replace(session, used_s=now)
            return session

    def close(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_key(token), None)


class LoginGuard:
    """Counts failed log-ins by name and by address: after five of either, no try is looked at for a quarter hour."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[float, ...]] = {}

    def wait_s(self, *keys: str) -> float:
        """Seconds until a try counts again; 0 if one may be made now."""
        now = self._clock()
        with self._lock:
            waits = [self._recent(key, now) for key in keys]
        return max(
            (times[-MAX_FAILURES] + FAILURES_COUNT_S - now for times in waits if len(times) >= MAX_FAILURES),
            default=0.0,
        )

    def failed(self, *keys: str) -> None:
        """A try failed."""
        now = self._clock()
        with self._lock:
            if len(self._failures) > MAX_REMEMBERED:
                self._failures = {key: times for key in self._failures if (times := self._recent(key, now))}
            for key in keys:
                self._failures[key] = (*self._recent(key, now), now)[-MAX_FAILURES:]

    def succeeded(self, *keys: str) -> None:
        """A try succeeded: what failed before is forgotten."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def _recent(self, key: str, now: float) -> tuple[float, ...]:
        return tuple(t for t in self._failures.get(key, ()) if now - t < FAILURES_COUNT_S)


def same_token(given: str, expected: str) -> bool:
    """Whether two tokens are the same, without telling by the time taken how much of them is."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _expired(session: Session, now: float) -> bool:
    return now - session.used_s > IDLE_S or now - session.began_s > LONGEST_S


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
