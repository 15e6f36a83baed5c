from dataclasses import replace
from pathlib import Path

import pytest
from tiny_networks import linear_network, make_package

from contour.core.errors import PackageError
from contour.inference.package import Label, ModelPackage, available_packages, load_package, write_manifest

LABELS = (Label(1, "Lung_L"), Label(2, "Heart"))


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return make_package(tmp_path / "tiny", linear_network([0, 1, 2], [0, 0, 0]), LABELS)


def test_manifest_is_read_as_it_was_written(package: ModelPackage, tmp_path: Path) -> None:
    manifest = replace(
        package.manifest,
        name="another",
        title="Кеуде қуысы: thorax",
        labels=(Label(1, "Lung_L", threshold=0.5), Label(4, "SpinalCord", threshold=0.3)),
    )
    write_manifest(manifest, package.folder)
    assert load_package(package.folder).manifest == manifest
    assert not list(package.folder.glob("*.part"))


@pytest.mark.parametrize("file", ["package.yaml", "model.onnx", "CARD.md"])
def test_a_missing_file_is_named(package: ModelPackage, file: str) -> None:
    (package.folder / file).unlink()
    with pytest.raises(PackageError, match=f"no {file}"):
        load_package(package.folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: tiny", "name: ../tiny", "lower-case letters"),
        ("channel: 2", "channel: 1", "channel 1 more than once"),
        ("channel: 2", "channel: 0", "channel 0 is the background"),
        ("name: Heart", "name: lung_l", "name lung_l more than once"),
        ("threshold: null", "threshold: 1.5", "between 0 and 1"),
        ("onnx_sha256: ", "onnx_sha256: 00", "64 lower-case hexadecimal digits"),
        ("- 16\n", "- 0\n", "at least one voxel"),
        ("- 16\n", "- 66000\n", "too much memory"),
        ("channel: 2", "channel: 255", "1 to 254"),
        ("- 3.0\n", "- 0.0\n", "at least 0.1 mm"),
        ("std: 1.0", "std: .nan", "finite"),
        ("mean: 0.0", "mean: .inf", "finite"),
        ("modality: CT", "modality: PT", "CT, MR"),
        ("licence: ", "license: ", "licence"),
        ("std: 1.0", "std: 0.0", "above 0"),
        ("version: 1.0.0", "version: 1", "is not a str"),
        ("largest_patch_voxels: null", "largest_patch_voxels: 100", "at least the voxels of a patch"),
    ],
)
def test_a_mistake_in_the_manifest_is_named(package: ModelPackage, old: str, new: str, message: str) -> None:
    path = package.folder / "package.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PackageError, match=message) as caught:
        load_package(package.folder)
    assert "package.yaml" in caught.value.where


def test_softmax_and_sigmoid_labels_do_not_mix(package: ModelPackage) -> None:
    with pytest.raises(ValueError, match="either all have a threshold"):
        replace(package.manifest, labels=(Label(1, "A"), Label(2, "B", threshold=0.5)))


def test_the_first_folder_counts_and_missing_folders_do_not_matter(package: ModelPackage, tmp_path: Path) -> None:
    own = make_package(tmp_path / "own" / "tiny", linear_network([0, 1, 2], [0, 0, 0]), LABELS)
    other = replace(own.manifest, name="b_side")
    (tmp_path / "own" / "b").mkdir()
    for file in ("model.onnx", "CARD.md"):
        (tmp_path / "own" / "b" / file).write_bytes((own.folder / file).read_bytes())
    write_manifest(other, tmp_path / "own" / "b")
    found = available_packages((tmp_path / "own", tmp_path, tmp_path / "nowhere"))
    assert [p.manifest.name for p in found] == ["b_side", "tiny"]
    assert found[1].folder == own.folder


def test_a_label_may_include_others_by_name(package):
    labels = (Label(1, "Brain", also=("Hippocampus_L",)), Label(2, "Hippocampus_L"))
    manifest = replace(package.manifest, labels=labels)
    assert manifest.channels(labels[0]) == (1, 2)
    assert manifest.channels(labels[1]) == (2,)
    with pytest.raises(ValueError, match="names of other labels"):
        replace(package.manifest, labels=(Label(1, "Brain", also=("Heart",)),))
