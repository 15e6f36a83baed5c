import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from contour.config import shipped_folder
from contour.core.errors import ConfigError, PackageError
from contour.core.nomenclature import lookup
from contour.core.protocol import Protocol
from contour.core.volume import Modality
from contour.library import (
    find_package,
    load_protocol,
    locator_for,
    packages_for,
    protocol_files,
    protocol_mistakes,
)


@pytest.mark.parametrize("path", protocol_files(), ids=lambda p: p.stem)
def test_shipped_protocols_load_under_their_names_with_known_structures(path: Path) -> None:
    protocol = load_protocol(path.stem)
    assert protocol.name == path.stem
    assert [s.name for s in protocol.structures if lookup(s.name) is None] == []


def test_the_thorax_protocol_draws_the_organs_at_risk() -> None:
    names = {s.name for s in load_protocol("thorax_oar").structures if s.required}
    assert names >= {"Lung_L", "Lung_R", "Heart", "Esophagus", "Trachea", "SpinalCord", "A_Aorta", "Liver"}


def test_an_unknown_protocol_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="thorax_oar"):
        load_protocol("nonsense")


def test_a_sites_own_folder_counts_first(tmp_path: Path, tiny_protocol_file: Path) -> None:
    own = tmp_path / "thorax_oar.yaml"
    own.write_text(tiny_protocol_file.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_protocol("thorax_oar", (tmp_path,)).title == "What HU alone can tell"


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ("[]", "is empty"),
        ("[{name: A_name_of_seventeen}]", "16"),
        ("[{name: Heart}, {name: HEART}]", "without regard to case"),
        ("[{name: Heart, volume: [1, 2]}]", "unknown key volume"),
        ("[{name: Heart, components: biggest}]", "largest"),
        ("[{name: Heart, volume_ml: [3, 2]}]", "must not be above"),
        ("[{name: Heart, volume_ml: [.nan, .nan]}]", "finite"),
        ("[{name: Heart, mean_hu: [0, .inf]}]", "finite"),
        ("[{name: Heart, min_component_ml: .nan}]", "min_component_ml"),
        ("[{name: Heart, min_component_ml: -1}]", "min_component_ml"),
        ("[{name: Heart, color_rgb: [0, 0, 256]}]", "0 to 255"),
    ],
)
def test_mistakes_in_a_protocol_name_file_and_place(tmp_path: Path, structures: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: w\ntitle: W\nmodality: CT\npackages: []\nstructures: {structures}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        load_protocol(str(path))
    assert "wrong.yaml" in str(error.value)


@pytest.mark.parametrize("name", ["''", "' '", r"'a\b'", r'"a\nb"'])
def test_a_protocols_name_can_stand_in_an_rtstruct(tmp_path: Path, name: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"name: {name}\ntitle: W\nmodality: CT\npackages: []\nstructures: [{{name: Heart}}]\n")
    with pytest.raises(ConfigError, match="printable"):
        load_protocol(str(path))


def test_a_package_is_found_by_its_name_and_no_path(tiny_models: Path, tmp_path: Path) -> None:
    assert find_package("tiny", (tiny_models,)).manifest.name == "tiny"
    for path in (str(tiny_models / "tiny"), f"../{tiny_models.name}/tiny", "./tiny"):
        with pytest.raises(PackageError, match="not installed"):
            find_package(path, (tiny_models,))
    shutil.copytree(tiny_models / "tiny", tmp_path / "other")
    with pytest.raises(PackageError, match="calls itself tiny"):
        find_package("other", (tmp_path,))


def test_packages_come_in_the_protocols_order_or_are_missed_by_name(
    tiny_models: Path, tiny_protocol_file: Path
) -> None:
    protocol = load_protocol(str(tiny_protocol_file))
    assert [p.manifest.name for p in packages_for(protocol, (tiny_models,))] == ["tiny"]
    with pytest.raises(PackageError, match="package tiny"):
        packages_for(protocol)
    with pytest.raises(PackageError, match="absent"):
        find_package("absent", (tiny_models,))


def test_an_installation_has_its_configs() -> None:
    assert (shipped_folder("configs") / "protocols" / "thorax_oar.yaml").is_file()


def test_the_package_that_locates_is_found_by_the_modality_or_there_is_none(
    tiny_models: Path, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    on_mr = replace(tiny_protocol, modality=Modality.MR)
    assert locator_for(on_mr, (tiny_models,)) is None
    made = tmp_path / "locate_mr"
    shutil.copytree(tiny_models / "tiny", made)
    manifest = (made / "package.yaml").read_text(encoding="utf-8")
    (made / "package.yaml").write_text(manifest.replace("name: tiny", "name: locate_mr", 1), encoding="utf-8")
    found = locator_for(on_mr, (tmp_path,))
    assert found is not None
    assert found.folder == made
    (made / "model.onnx").unlink()
    with pytest.raises(PackageError, match=r"no model\.onnx"):
        locator_for(on_mr, (tmp_path,))


GOOD = """\
name: own
title: Our own
modality: CT
packages: [tiny]
structures: [{name: Lungs}, {name: Bone, required: false}, {name: Body}]
derived: [{name: Lungs_PRV05, operation: grown, of: [Lungs], mm: 5}]
doses: [{structure: Lungs, fractions: 1, limit: none, source: none}]
"""


def test_a_good_protocol_has_no_mistakes_and_names_that_are_its_own_are_noted(
    tmp_path: Path, tiny_models: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert protocol_mistakes(path, (tiny_models,)) == ((), ())
    text = GOOD.replace("Lungs_PRV05", "Lung_Wide") + "targets: [GTV]\n"
    path.write_text(text.replace("name: Bone,", "name: Sternum,"), encoding="utf-8")
    mistakes, notes = protocol_mistakes(path, (tiny_models,))
    assert mistakes == ()
    assert notes == (
        "Sternum is optional, and no package draws it.",
        "Lung_Wide is no name of TG-263 (it is written in white, without a code); near: Lung_R, Lung_L.",
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: Lungs}", "name: Lungs, volume: 3}", ["unknown key volume"]),
        ("modality: CT\n", "modality: XR\n", ["modality"]),
        ("of: [Lungs]", "of: [Heart]", ["Heart must stand before it"]),
        ("mm: 5", "mm: -5", ["mm -5.0: above 0"]),
        ("name: Body", "name: lungs", ["equal without regard to case", "no package draws lungs"]),
        (
            "name: Body",
            "name: Heart",
            ["no package draws Heart, which is required; allowed: Body, Bone, External, Lungs"],
        ),
        ("[tiny]", "[tiny, grand]", ["package grand: is not installed"]),
        ("structure: Lungs", "structure: Heart", ["doses of Heart: neither drawn nor derived"]),
        ("Lungs_PRV05", "Lungs with 5 mm more", ["20 characters", "allowed are letters"]),
    ],
)
def test_every_mistake_of_a_protocol_is_named(
    tmp_path: Path, tiny_models: Path, old: str, new: str, said: list[str]
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    mistakes, _ = protocol_mistakes(path, (tiny_models,))
    assert len(mistakes) == len(said)
    for mistake, words in zip(mistakes, said, strict=True):
        assert words in str(mistake)
