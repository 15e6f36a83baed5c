"""The package in use: exchanged whole, kept, and put back."""

import ctypes
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_networks import linear_network, make_package

from contour.cases import package_history
from contour.cases.package_history import exchange_folders, history, replace_package, roll_back
from contour.cases.promote import PROMOTION_FILE, Comparison, Decision, PackageId, PromotionRules, Verdict
from contour.cases.score import Measure
from contour.core.errors import ConfigError, PackageError
from contour.inference.package import Label, Manifest, available_packages, load_package
from contour.inference.session import verify_package

LABELS = (Label(1, "Body"), Label(2, "Heart"))


def package(folder: Path, slope: float) -> Path:
    make_package(folder, linear_network([0.0, 0.01, slope], [0.0, 5.0, 3.0]), LABELS)
    return folder


def identity(manifest: Manifest) -> PackageId:
    return PackageId(manifest.name, manifest.version, manifest.onnx_sha256)


def decision(new: Path, in_use: Path, verdict: Verdict = Verdict.NOT_INFERIOR) -> Decision:
    ids = (identity(load_package(folder).manifest) for folder in (new, in_use))
    line = Comparison("Heart", Measure.DICE, verdict, 0.02, 12, 12, 0.8, 0.81, 0.01, -0.005)
    return Decision(*ids, PromotionRules(), "held-out cases", 12, 12, (line,))


def sha256(folder: Path) -> str:
    verify_package(load_package(folder))
    return hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()


@pytest.fixture
def in_use(tmp_path: Path) -> Path:
    return package(tmp_path / "models" / "tiny", 0.02)


def test_a_package_goes_in_use_and_all_the_way_back(in_use: Path, tmp_path: Path) -> None:
    first = sha256(in_use)
    second, third = (package(tmp_path / name, slope) for name, slope in (("b", 0.021), ("c", 0.022)))
    kept = replace_package(second, in_use, decision(second, in_use))
    assert sha256(in_use) == sha256(second)
    assert sha256(kept) == first
    assert (in_use / PROMOTION_FILE).is_file()
    replace_package(third, in_use, decision(third, in_use))
    assert sha256(in_use) == sha256(third)
    assert {k.manifest.onnx_sha256 for k in history(in_use)} == {first, sha256(second)}
    assert roll_back(in_use).onnx_sha256 == sha256(second)
    assert roll_back(in_use).onnx_sha256 == first
    with pytest.raises(ConfigError, match="replaced no package"):
        roll_back(in_use)
    assert {k.manifest.onnx_sha256 for k in history(in_use)} == {sha256(second), sha256(third)}
    # What was taken back may be tried again.
    replace_package(third, in_use, decision(third, in_use))
    assert roll_back(in_use).onnx_sha256 == first


def test_what_is_kept_is_not_offered(in_use: Path, tmp_path: Path) -> None:
    second = package(tmp_path / "b", 0.021)
    replace_package(second, in_use, decision(second, in_use))
    (offered,) = available_packages((in_use.parent,))
    assert offered.manifest.onnx_sha256 == sha256(second)


def test_only_a_decision_that_passes_and_is_on_these_packages_counts(in_use: Path, tmp_path: Path) -> None:
    before = sha256(in_use)
    second, third = (package(tmp_path / name, slope) for name, slope in (("b", 0.021), ("c", 0.022)))
    with pytest.raises(ConfigError, match="not shown to be no worse"):
        replace_package(second, in_use, decision(second, in_use, Verdict.NOT_SHOWN))
    with pytest.raises(ConfigError, match="other packages"):
        replace_package(third, in_use, decision(second, in_use))
    assert sha256(in_use) == before
    assert history(in_use) == ()


def test_a_damaged_package_does_not_go_in_use(in_use: Path, tmp_path: Path) -> None:
    before = sha256(in_use)
    second = package(tmp_path / "b", 0.021)
    allowed = decision(second, in_use)
    (second / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(PackageError, match="sha256"):
        replace_package(second, in_use, allowed)
    assert sha256(in_use) == before
    assert list((in_use.parent / ".history" / "tiny").iterdir()) == []


def test_a_stop_before_the_exchange_changes_nothing_and_after_it_all(
    in_use: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sha256(in_use)
    second = package(tmp_path / "b", 0.021)

    def killed(*_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(package_history, "exchange_folders", killed)
        with pytest.raises(KeyboardInterrupt):
            replace_package(second, in_use, decision(second, in_use))
    assert sha256(in_use) == first
    replace_package(second, in_use, decision(second, in_use))
    assert sha256(in_use) == sha256(second)
    assert roll_back(in_use).onnx_sha256 == first


def test_a_replaced_package_that_is_gone_or_damaged_is_named(in_use: Path, tmp_path: Path) -> None:
    second = package(tmp_path / "b", 0.021)
    kept = replace_package(second, in_use, decision(second, in_use))
    (kept / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(PackageError, match="sha256"):
        roll_back(in_use)
    (kept / "package.yaml").unlink()
    with pytest.raises(ConfigError, match=r"tiny 1\.0\.0 .* is gone"):
        roll_back(in_use)
    assert sha256(in_use) == sha256(second)


@pytest.mark.parametrize("at_once", [True, False])
def test_folders_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_once: bool) -> None:
    if not at_once:
        monkeypatch.setattr(package_history, "_exchanged_at_once", lambda *_: False)
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    exchange_folders(one, other)
    assert (one / "name").read_text() == "other"
    assert (other / "name").read_text() == "one"
    with pytest.raises(OSError, match="No such file"):
        exchange_folders(tmp_path / "missing", other)
    assert (other / "name").read_text() == "one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "other"]


def test_three_renames_that_were_interrupted_are_mended(in_use: Path, tmp_path: Path) -> None:
    first = sha256(in_use)
    in_use.rename(in_use.with_name(".tiny.aside"))
    second = package(tmp_path / "b", 0.021)
    ids = identity(load_package(second).manifest)
    allowed = decision(second, second)
    replace_package(second, in_use, replace(allowed, replaced=replace(ids, sha256=first)))
    assert sha256(in_use) == sha256(second)
    assert roll_back(in_use).onnx_sha256 == first


def test_linux_offers_the_exchange() -> None:
    if hasattr(ctypes.CDLL(None), "renameat2"):
        assert package_history._RENAME_EXCHANGE == 2  # linux/fs.h
