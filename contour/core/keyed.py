"""Names that tell nothing: keyed hashes of UIDs, so that no log and no file name leads to a patient.

A plain hash of a UID can be found by hashing every UID of an archive; of a keyed one (HMAC, RFC 2104) only who has the
secret can say whose it is.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from contour.core.errors import ConfigError

SECRET_BYTES = 32
NAME_CHARACTERS = 32  # 128 bits


class Keyed:
    """Makes names under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def name(self, kind: str, *parts: str) -> str:
        """The name of the thing of that `kind` which `parts` describe: 32 characters of 0-9 and a-f."""
        digest = hmac.new(self._secret, kind.encode(), hashlib.sha256)
        for part in parts:
            text = part.encode()
            digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()[:NAME_CHARACTERS]


def load_secret(path: Path) -> bytes:
    """The secret in the file at `path`, which is made where there is none, readable for this user alone.

    Raises:
        ConfigError: the file is too short for a secret.
        OSError: the disk.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:  # noqa: PTH123 - a mode
            stream.write(secrets.token_hex(SECRET_BYTES).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    secret = path.read_bytes().strip()
    if len(secret) < SECRET_BYTES:
        raise ConfigError(str(path), f"{len(secret)} bytes", f"a secret of at least {SECRET_BYTES} bytes")
    return secret
