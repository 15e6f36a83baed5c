import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_networks import linear_network, make_package

from contour.core.checksum import file_sha256
from contour.core.errors import ConfigError, PackageError
from contour.inference import package_file
from contour.inference.package import Label, ModelPackage, load_package, write_manifest
from contour.inference.package_file import install, pack, package_sources, remove, verify_file


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "made" / "tiny", linear_network([0, 1], [0, 0]), (Label(1, "Heart"),))


def zipped(path: Path, entries: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def contents(package: ModelPackage) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(package.folder.iterdir())]


def test_a_package_goes_through_a_file_and_comes_out_the_same(package: ModelPackage, tmp_path: Path) -> None:
    path = pack(package, tmp_path / "stick")
    assert path.name == "tiny-1.0.0.contour"
    assert (tmp_path / "stick" / "tiny-1.0.0.contour.sha256").read_text() == f"{file_sha256(path)}  {path.name}\n"
    installed = install(path, tmp_path / "models")
    assert installed.replaced is None
    assert contents(installed.package) == contents(package)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["tiny"]
    # Packed again it is the same file, to the last byte.
    assert pack(installed.package, tmp_path / "again").read_bytes() == path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        pack(package, tmp_path / "stick")


def test_another_version_replaces_only_when_told_to(package: ModelPackage, tmp_path: Path) -> None:
    install(package.folder, tmp_path / "models")
    (tmp_path / "models" / "tiny" / "likeness.yaml").write_text("of: the first\n", encoding="utf-8")
    (tmp_path / "models" / "tiny" / "notes of a person.txt").write_text("mine", encoding="utf-8")
    write_manifest(replace(package.manifest, version="2.0.0"), package.folder)
    with pytest.raises(ConfigError, match=r"holds tiny 1\.0\.0"):
        install(package.folder, tmp_path / "models")
    installed = install(package.folder, tmp_path / "models", overwrite=True)
    assert (installed.package.manifest.version, installed.replaced) == ("2.0.0", "1.0.0")
    assert not (tmp_path / "models" / "tiny" / "likeness.yaml").exists()
    assert remove("tiny", tmp_path / "models") == "2.0.0"
    # What is not ours stays.
    assert [p.name for p in (tmp_path / "models" / "tiny").iterdir()] == ["notes of a person.txt"]
    with pytest.raises(PackageError, match="is no package"):
        remove("tiny", tmp_path / "models")
    with pytest.raises(PackageError, match="is no package"):
        remove("../made/tiny", tmp_path / "models")
    assert (package.folder / "package.yaml").exists()


def test_checksums_are_compared(package: ModelPackage, tmp_path: Path) -> None:
    path = pack(package, tmp_path / "stick")
    assert verify_file(path, file_sha256(path).upper()).manifest.name == "tiny"
    with pytest.raises(PackageError, match="as was stated"):
        install(path, tmp_path / "models", sha256="0" * 64)
    with pytest.raises(PackageError, match="64 hexadecimal"):
        verify_file(path, "abc")
    beside = path.with_name(path.name + ".sha256")
    beside.write_text("0" * 64, encoding="ascii")
    with pytest.raises(PackageError, match="as was stated"):
        install(path, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    # One that is known from elsewhere counts before the one that travelled with the file.
    install(path, tmp_path / "models", sha256=file_sha256(path))


def test_hostile_files_are_refused_and_nothing_is_written(package: ModelPackage, tmp_path: Path) -> None:
    whole = contents(package)
    hostile: dict[str, list[tuple[str, bytes]]] = {
        "out of the folder": [*whole, ("../escaped.yaml", b"x")],
        "anywhere": [*whole, ("/tmp/escaped.yaml", b"x")],
        "a program": [*whole, ("run.py", b"print()")],
        "in a folder": [(f"tiny/{name}", content) for name, content in whole],
        "without a card": [entry for entry in whole if entry[0] != "CARD.md"],
        "another network": [(n, c if n != "model.onnx" else c + b"\0") for n, c in whole],
        "nothing": [],
    }
    for what, entries in hostile.items():
        with pytest.raises(PackageError):
            install(zipped(tmp_path / f"{what}.contour", entries), tmp_path / "models")
    for what, content in (("empty", b""), ("no zip", b"no zip" * 100)):
        (tmp_path / f"{what}.contour").write_bytes(content)
        with pytest.raises(PackageError, match="cannot be unpacked"):
            install(tmp_path / f"{what}.contour", tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert not list(tmp_path.rglob("escaped*"))


def test_a_file_that_swells_is_stopped(package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(package_file.FILE_BYTES, "CARD.md", 1000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents(package):
            archive.writestr(name, content if name != "CARD.md" else b"0" * 100_000)
    (tmp_path / "bomb.contour").write_bytes(buffer.getvalue())
    with pytest.raises(PackageError, match="too large"):
        install(tmp_path / "bomb.contour", tmp_path / "models")


def test_a_folder_of_packages_is_installed_whole(package: ModelPackage, tmp_path: Path) -> None:
    pack(package, tmp_path / "stick")
    assert package_sources(tmp_path / "stick") == (tmp_path / "stick" / "tiny-1.0.0.contour",)
    assert package_sources(tmp_path / "made") == (package.folder,)
    assert package_sources(package.folder) == (package.folder,)
    with pytest.raises(PackageError, match="holds no package"):
        package_sources(tmp_path / "nowhere")


def test_the_commands(contour: Any, package: ModelPackage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, stick, models = package.folder.parent, tmp_path / "stick", tmp_path / "models"
    assert contour("models", "pack", "tiny", "--models", made, "--output", stick) == 0
    assert contour("models", "verify", stick / "tiny-1.0.0.contour") == 0
    assert contour("models", "install", stick, "--into", models) == 0
    assert "installed tiny 1.0.0" in capsys.readouterr().out
    assert contour("models", "install", stick, "--into", models) == 2
    assert contour("models", "install", stick, "--into", models, "--overwrite") == 0
    assert "instead of 1.0.0" in capsys.readouterr().out
    assert contour("models", "install", stick, stick, "--into", models, "--sha256", "0" * 64) == 2
    (stick / "tiny-1.0.0.contour").write_bytes(b"PK")
    assert contour("models", "verify", stick / "tiny-1.0.0.contour") == 2
    assert load_package(models / "tiny").manifest.version == "1.0.0"
    assert contour("models", "remove", "tiny", "--from", models) == 0
    assert not (models / "tiny").exists()
