"""Who made a package file: Ed25519 signatures (RFC 8032), in a file beside it.

A checksum says that a file is whole; a signature also that it comes from whom a site trusts, whatever way it came.
What is signed is the SHA-256 of the package file under a name of its own, so that no other signed thing can pass for a
package.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from contour.core.checksum import file_sha256
from contour.core.errors import ConfigError, PackageError

SIGNATURE_SUFFIX = ".sig"
KEY_SUFFIX = ".pem"
_PURPOSE = b"contour package file 1\n"
_SIGNATURE_BYTES = 64


def make_keys(private: Path) -> Path:
    """A new private key at `private` (PEM, PKCS #8, readable for this user alone) and its public one beside it.

    Raises:
        ConfigError: one of both exists, or the extra `sign` is missing.
        OSError: the disk.
    """
    ed25519, serialization = _library()
    public = private.with_suffix(f".public{KEY_SUFFIX}")
    for path in (private, public):
        if path.exists():
            raise ConfigError(str(path), "exists already", "a new file: a key that is lost cannot be made again")
    key = ed25519.Ed25519PrivateKey.generate()
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    private.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(secret)
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def sign(package: Path, private: Path) -> Path:
    """Write the signature of a package file beside it.

    Raises:
        ConfigError: the key is none, or the extra `sign` is missing.
        OSError: a file cannot be read or written.
    """
    ed25519, serialization = _library()
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            str(private), f"is no key ({error})", "an Ed25519 private key, as `models keys` makes it"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(str(private), f"a {type(key).__name__}", "an Ed25519 private key")
    signature = package.with_name(package.name + SIGNATURE_SUFFIX)
    signature.write_text(base64.b64encode(key.sign(_message(package))).decode("ascii") + "\n", encoding="ascii")
    return signature


def check_signature(package: Path, trusted: Path) -> str:
    """The name of the key in the folder `trusted` (public keys, `*.pem`) that signed a package file.

    Raises:
        ConfigError: `trusted` holds no key, or one that is damaged, or the extra `sign` is missing.
        PackageError: the file is not signed, or by none of these.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, which `_keys` has asked for

    keys = _keys(trusted)
    beside = package.with_name(package.name + SIGNATURE_SUFFIX)
    allowed = f"a signature by one of {', '.join(keys)}"
    if not beside.is_file():
        raise PackageError(str(package), f"is not signed (no {beside.name})", allowed)
    try:
        signature = base64.b64decode(beside.read_bytes()[:1024].strip(), validate=True)
    except binascii.Error as error:
        raise PackageError(str(beside), f"is no signature ({error})", allowed) from error
    if len(signature) != _SIGNATURE_BYTES:
        raise PackageError(str(beside), f"{len(signature)} bytes", f"{_SIGNATURE_BYTES} bytes of a signature")
    message = _message(package)
    for name, key in keys.items():
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return name
    raise PackageError(str(package), "is signed by somebody else, or was changed since", allowed)


def _message(package: Path) -> bytes:
    try:
        return _PURPOSE + bytes.fromhex(file_sha256(package))
    except OSError as error:
        raise PackageError(str(package), f"cannot be read ({error.strerror})", "a readable package file") from error


def _keys(trusted: Path) -> dict[str, Any]:
    ed25519, serialization = _library()
    found = {}
    for path in sorted(trusted.glob(f"*{KEY_SUFFIX}")):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except ValueError as error:
            raise ConfigError(str(path), f"is no public key ({error})", "an Ed25519 public key") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise ConfigError(str(path), f"a {type(key).__name__}", "an Ed25519 public key")
        found[path.name] = key
    if not found:
        raise ConfigError(str(trusted), f"holds no *{KEY_SUFFIX}", "a folder with the public keys that are trusted")
    return found


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ModuleNotFoundError as error:
        found = f"{error.name} is not installed"
        raise ConfigError("signatures", found, "the extra `sign`: pip install 'contour[sign]'") from error
    return ed25519, serialization
