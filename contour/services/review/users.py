"""Who may review: a file with names and passwords' hashes, on this machine alone."""

import base64
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from contour.config import load_config, save_config
from contour.core.errors import ConfigError

USERS_FILE = "users.yaml"
MIN_PASSWORD_LENGTH = 10
MAX_PASSWORD_LENGTH = 200
# RFC 7914; OWASP's password storage cheat sheet asks for 2^16, 8, 2 or the like: 64 MB and about 0.3 s a try.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 16, 8, 2
_SALT_BYTES = 16
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


@dataclass(frozen=True)
class User:
    """A person who reviews: the name to log in with, the name as it is recorded, and the password's scrypt hash."""

    login: str
    name: str
    salt: str
    scrypt: str
    n: int = SCRYPT_N
    r: int = SCRYPT_R
    p: int = SCRYPT_P


@dataclass(frozen=True)
class UserFile:
    """What the file of users holds."""

    users: tuple[User, ...]


def load_users(path: Path) -> tuple[User, ...]:
    """The users in the file at `path`; none if there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    return load_config(path, UserFile).users if path.exists() else ()


def add_user(path: Path, login: str, name: str, password: str) -> None:
    """Add a user to the file at `path`, or give one another password.

    Raises:
        ConfigError: the log-in name or the password cannot be one, or the file is damaged.
        OSError: the disk.
    """
    if not _LOGIN.fullmatch(login):
        allowed = "up to 32 small letters, digits, dots, dashes and underscores"
        raise ConfigError("log-in name", repr(login), allowed)
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        allowed = f"{MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters"
        raise ConfigError("password", f"{len(password)} characters", allowed)
    if not name.strip() or not name.isprintable():
        raise ConfigError("name", repr(name), "the person's name, as it is to be recorded")
    salt = secrets.token_bytes(_SALT_BYTES)
    user = User(login, name.strip(), base64.b64encode(salt).decode(), "")
    user = replace(user, scrypt=base64.b64encode(_hashed(user, password)).decode())
    others = tuple(u for u in load_users(path) if u.login != login)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path.with_name(path.name + ".part"), os.O_CREAT | os.O_WRONLY, 0o600))
    save_config(UserFile((*others, user)), path, "Who may log in to the review page: `contour review add-user`.")


def matching_user(users: tuple[User, ...], login: str, password: str) -> User | None:
    """The user whose password this is; None otherwise, after the same time whether there is such a user or not."""
    found = next((user for user in users if user.login == login), None)
    user = found or User(login, login, base64.b64encode(bytes(_SALT_BYTES)).decode(), "")
    if len(password) > MAX_PASSWORD_LENGTH:
        return None
    matches = hmac.compare_digest(_hashed(user, password), base64.b64decode(user.scrypt))
    return found if matches else None


def _hashed(user: User, password: str) -> bytes:
    salt, memory = base64.b64decode(user.salt), 256 * user.n * user.r
    return hashlib.scrypt(password.encode(), salt=salt, n=user.n, r=user.r, p=user.p, maxmem=memory, dklen=32)
