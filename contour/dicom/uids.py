"""UIDs that follow from what they name: PS3.5 annex B.2, a UUID under the arc 2.25."""

import hashlib
import uuid


def derived_uid(*parts: str) -> str:
    """The UID of the thing that `parts` describe: the same parts give the same UID, others another."""
    digest = hashlib.sha256()
    for part in parts:
        text = part.encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
