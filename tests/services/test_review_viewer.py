"""The viewer is the pinned one or none, wherever it comes from."""

import base64
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from contour.core.errors import ConfigError
from contour.services.review import viewer

SCRIPT = b"var niivue = {};"


def archive_of(script: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/dist/niivue.umd.js")
        member.size = len(script)
        archive.addfile(member, io.BytesIO(script))
    return content.getvalue()


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive that stands for the pinned one."""
    archive = archive_of(SCRIPT)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    monkeypatch.setattr(viewer, "INTEGRITY", integrity)
    monkeypatch.setattr(viewer, "SCRIPT_SHA256", hashlib.sha256(SCRIPT).hexdigest())
    return archive


def test_the_pinned_archive_gives_its_script(pinned: bytes, tmp_path: Path) -> None:
    (tmp_path / viewer.ARCHIVE).write_bytes(pinned)
    assert viewer.viewer_script(tmp_path / viewer.ARCHIVE) == SCRIPT


@pytest.mark.parametrize("content", [b"", b"not an archive", gzip.compress(b"x"), archive_of(b"var stolen = {};")])
def test_any_other_archive_is_refused(pinned: bytes, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.tgz").write_bytes(content)
    with pytest.raises(ConfigError, match="sha512"):
        viewer.viewer_script(tmp_path / "other.tgz")


def test_what_was_packed_is_looked_at_again(pinned: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "niivue.umd.js"
    monkeypatch.setattr(viewer, "PACKED_SCRIPT", packed)
    with pytest.raises(ConfigError, match="npm pack @niivue/niivue"):
        viewer.viewer_script()
    packed.write_bytes(SCRIPT)
    assert viewer.viewer_script() == SCRIPT
    packed.write_bytes(SCRIPT + b"//")
    with pytest.raises(ConfigError, match="sha256"):
        viewer.viewer_script()


def test_packing_asks_the_registry_once_and_writes_nothing_else(
    pinned: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(viewer, "fetch_archive", lambda: asked.append(1) or pinned)
    viewer.pack(tmp_path / "vendor")
    viewer.pack(tmp_path / "vendor")
    assert asked == [1]
    assert sorted(p.name for p in (tmp_path / "vendor").iterdir()) == ["LICENSE.niivue", "niivue.umd.js"]
    assert "Copyright (c) 2021, Niivue" in (tmp_path / "vendor" / "LICENSE.niivue").read_text(encoding="utf-8")
    monkeypatch.setattr(viewer, "fetch_archive", lambda: b"something else")
    with pytest.raises(ConfigError):
        viewer.pack(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_registry_that_does_not_answer_is_an_error_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in ("http://127.0.0.1:9", "file:///etc"):
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry)
        with pytest.raises(OSError, match=r"refused|registry"):
            viewer.fetch_archive()
