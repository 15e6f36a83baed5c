import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_networks import linear_network, make_package

from contour.core.errors import ConfigError, PackageError
from contour.inference.package import Label
from contour.inference.package_file import pack
from contour.inference.signatures import check_signature, make_keys, sign

Contour = Callable[..., int]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    return pack(make_package(folder, linear_network([0, 1], [0, 0]), (Label(1, "A"),)), tmp_path / "carried")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key, and a folder that trusts it."""
    private = tmp_path / "ours" / "signer.pem"
    public = make_keys(private)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    public.rename(trusted / "clinic.pem")
    return private, trusted


def test_a_signature_tells_who_signed(packed: Path, keys: tuple[Path, Path]) -> None:
    private, trusted = keys
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    sign(packed, private)
    assert check_signature(packed, trusted) == "clinic.pem"


def test_what_is_not_signed_or_was_changed_is_refused(packed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, trusted = keys
    with pytest.raises(PackageError, match="is not signed"):
        check_signature(packed, trusted)
    signature = sign(packed, private)
    packed.write_bytes(packed.read_bytes() + b" ")
    with pytest.raises(PackageError, match="somebody else, or was changed"):
        check_signature(packed, trusted)
    signature.write_text("not base64!", encoding="ascii")
    with pytest.raises(PackageError, match="is no signature"):
        check_signature(packed, trusted)
    make_keys(tmp_path / "other.pem")
    sign(packed, tmp_path / "other.pem")
    with pytest.raises(PackageError, match=r"allowed: a signature by one of clinic\.pem"):
        check_signature(packed, trusted)


def test_keys_are_never_written_over_and_must_be_keys(tmp_path: Path, packed: Path, keys: tuple[Path, Path]) -> None:
    private, trusted = keys
    with pytest.raises(ConfigError, match="exists already"):
        make_keys(private)
    with pytest.raises(ConfigError, match="is no key"):
        sign(packed, trusted / "clinic.pem")
    (trusted / "damaged.pem").write_text("x", encoding="ascii")
    with pytest.raises(ConfigError, match="is no public key"):
        check_signature(packed, trusted)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no"):
        check_signature(packed, tmp_path / "empty")


def test_only_signed_packages_are_installed_where_that_is_asked_for(
    packed: Path, keys: tuple[Path, Path], tmp_path: Path, contour: Contour, capsys: pytest.CaptureFixture[str]
) -> None:
    private, trusted = keys
    into = tmp_path / "installed"
    asked = ["models", "install", packed, "--into", into, "--trusted", trusted]
    assert contour(*asked) == 2
    assert not into.exists()
    assert contour("models", "sign", packed, "--key", private) == 0
    assert contour(*asked) == 0
    assert "signed by clinic.pem" in " ".join(capsys.readouterr().out.split())
    assert contour("models", "verify", packed, "--trusted", trusted) == 0
    assert contour("models", "install", next(into.iterdir()), "--into", tmp_path / "b", "--trusted", trusted) == 2
