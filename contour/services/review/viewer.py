"""NiiVue, the viewer of the review page: which version, where it comes from, and that it is that one.

It is not part of this project's code. The build hook (`scripts/build_hook.py`) fetches the pinned version from the npm
registry when a wheel or an editable install is made, so that the page works without a network afterwards. This module
needs the standard library alone, for the hook runs where nothing else is installed.
"""

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from pathlib import Path

from contour.core.errors import ConfigError

VERSION = "0.69.0"
# As npm states it (`npm view @niivue/niivue@0.69.0 dist.integrity`): Subresource Integrity of the whole archive.
INTEGRITY = "sha512-YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
SCRIPT_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
ARCHIVE = f"niivue-{VERSION}.tgz"
PACKED_SCRIPT = Path(__file__).resolve().parent / "vendor" / "niivue.umd.js"

_MEMBER = "package/dist/niivue.umd.js"
_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_S = 60
_MAX_ARCHIVE_BYTES = 64 * 1024**2
_LICENCE = f"""NiiVue {VERSION}, https://github.com/niivue/niivue, unchanged. BSD 2-Clause License

Copyright (c) 2021, Niivue. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF
THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def viewer_script(archive: Path | None = None) -> bytes:
    """NiiVue's script: out of `archive`, npm's file of the pinned version, or as it was packed with this installation.

    Raises:
        ConfigError: `archive` is another file, or nothing was packed, or what was packed has been altered.
        OSError: the disk.
    """
    if archive is not None:
        return script_in(archive.read_bytes(), str(archive))
    if not PACKED_SCRIPT.is_file():
        found = "is not here: the npm registry could not be reached when this installation was made"
        allowed = f"an installation made with it, or --viewer {ARCHIVE} (`npm pack @niivue/niivue@{VERSION}`)"
        raise ConfigError(str(PACKED_SCRIPT), found, allowed)
    script = PACKED_SCRIPT.read_bytes()
    _require_script(script, str(PACKED_SCRIPT))
    return script


def script_in(archive: bytes, where: str) -> bytes:
    """NiiVue's script out of npm's archive of the pinned version.

    Raises:
        ConfigError: the archive is not the pinned one, to the last bit.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != INTEGRITY:
        raise ConfigError(where, found, f"{INTEGRITY}: {ARCHIVE} as npm publishes it")
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        member = members.extractfile(_MEMBER)
        script = member.read() if member is not None else b""
    _require_script(script, f"{where}, {_MEMBER}")
    return script


def fetch_archive() -> bytes:
    """npm's archive of the pinned version, from the registry that `NPM_CONFIG_REGISTRY` names or the public one.

    Raises:
        OSError: the registry cannot be reached, or has no such file.
    """
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or _REGISTRY
    url = f"{registry.rstrip('/')}/@niivue/niivue/-/{ARCHIVE}"
    if not url.startswith(("https://", "http://")):
        raise OSError(f"{url}: not an address of a registry")
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        archive: bytes = answer.read(_MAX_ARCHIVE_BYTES)
    return archive


def pack(folder: Path) -> None:
    """Put the pinned script and its licence into `folder`, unless they are there.

    Raises:
        ConfigError: what the registry gave is not the pinned archive.
        OSError: the registry cannot be reached, or the disk.
    """
    script, licence = folder / PACKED_SCRIPT.name, folder / "LICENSE.niivue"
    if not (script.is_file() and hashlib.sha256(script.read_bytes()).hexdigest() == SCRIPT_SHA256):
        content = script_in(fetch_archive(), ARCHIVE)
        folder.mkdir(parents=True, exist_ok=True)
        part = script.with_name(script.name + ".part")
        part.write_bytes(content)
        part.replace(script)
    licence.write_text(_LICENCE, encoding="utf-8")


def _require_script(script: bytes, where: str) -> None:
    found = hashlib.sha256(script).hexdigest()
    if found != SCRIPT_SHA256:
        raise ConfigError(where, f"sha256 {found}", f"sha256 {SCRIPT_SHA256}, that of NiiVue {VERSION}")
