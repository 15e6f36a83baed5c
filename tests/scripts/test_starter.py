"""The one way to rebuild what ships: recipes, figures, and a small package from cases to card."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_networks

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import save_case
from contour.config import load_config, shipped_folder
from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Label, Training, load_package
from contour.library import load_protocol
from contour.training.config import TrainingConfig
from contour.training.engine import manifest_of
from contour.training.fit import FitInput, Hardware
from contour.training.prepared import PreparedCase, save_prepared
from scripts.starter.build import build, keep_config
from scripts.starter.card import said_of
from scripts.starter.measure import measure
from scripts.starter.recipe import Recipe, ValidationSet
from scripts.starter.recipes import RECIPES, recipe_of

BONE_HU = 400
PROTOCOL = """\
name: bones
title: Bone by its HU
modality: CT
packages: [bones]
structures: [{name: Bone, components: all}]
"""


def save_bone(folder: Path, name: str, shift: int) -> Path:
    """A case with a block of bone, said to lie `shift` voxels further along x than it does."""
    voxels = np.full((40, 44, 46), -1000, dtype=np.int16)
    voxels[2:-2, 3:-3, 3:-3] = 20
    voxels[10:30, 12:32, 12:32] = BONE_HU
    said = np.zeros(voxels.shape, dtype=bool)
    said[10:30, 12:32, 12 + shift : 32 + shift] = True
    geometry = Geometry.axial((40, 44, 46), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.77")
    identity = ImportedIdentity(name, name)
    save_case(import_masks(Volume(voxels, geometry, Modality.CT), ((Imported("Bone"), said),), identity), folder)
    return folder / name


def bones(prepare: object, protocol: Path) -> Recipe:
    def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
        del data
        cases = tuple(save_bone(folder, f"case{shift}", shift) for shift in (0, 2, 4))
        return (ValidationSet("blocks", "Blocks of bone", cases),)

    return Recipe(
        name="brain_mr",  # of which there is something to say for the card
        prepare=prepare,  # type: ignore[arg-type]
        validation=validation,
        protocol=str(protocol),
        data=("Blocks made for this test",),
        licences=("none",),
        measure=lambda package, _: f"Also looked at: {package.name}.",
    )


def drawn_by(recipe: Recipe) -> tuple[str, ...]:
    """The structures that the recipe's package will offer."""
    config = load_config(shipped_folder("configs") / "training" / f"{recipe.name}.yaml", TrainingConfig)
    return manifest_of(config, config.version, "f" * 64, Training((), (), "")).offered


@pytest.fixture
def protocol(tmp_path: Path) -> Path:
    path = tmp_path / "bones.yaml"
    path.write_text(PROTOCOL, encoding="utf-8")
    return path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_draws_what_its_protocol_requires(recipe: Recipe) -> None:
    config = load_config(shipped_folder("configs") / "training" / f"{recipe.name}.yaml", TrainingConfig)
    protocol = load_protocol(recipe.protocol)
    required = {rule.name for rule in protocol.structures if rule.required} - {"Body"}
    assert config.name == recipe.name
    assert recipe.name in protocol.packages
    assert protocol.modality is config.modality
    offered = {name for other in RECIPES if other.name in protocol.packages for name in drawn_by(other)}
    assert required <= offered
    said = said_of(recipe)
    assert (said.data, said.licences) == (recipe.data, recipe.licences)
    assert said.potential_limitations
    assert recipe_of(recipe.name) is recipe


def test_a_package_without_a_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="no recipe makes toes_ct"):
        recipe_of("toes_ct")


def test_figures_are_those_of_the_cases_and_name_the_worst(tmp_path: Path, protocol: Path) -> None:
    prepared = Preprocessing((1.0, 1.0, 1.0), clip=(-1024.0, 3000.0), mean=0.0, std=1.0)
    network = tiny_networks.linear_network([0.0, 0.02], [0.0, -0.02 * 200])
    package = tiny_networks.make_package(tmp_path / "tiny", network, (Label(1, "Bone"),), (40, 48, 48), prepared)
    text = measure(bones(None, protocol), package.folder, tmp_path, tmp_path / "work")
    # A block of 20 voxels that is said to lie s voxels beside itself shares (20 - s) / 20 with that.
    assert "**Blocks of bone** (3 cases)" in text
    row = next(line for line in text.splitlines() if line.startswith("| Bone |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["Bone", "3", "0", "0.900"]
    assert cells[-1] == "case4 (0.800)"
    assert text.endswith("Also looked at: tiny.")
    assert (tmp_path / "work" / "measured" / "blocks" / "worst" / "Bone.png").stat().st_size > 1000


def test_a_training_goes_on_longer_but_not_as_another(tmp_path: Path) -> None:
    config = load_config(shipped_folder("configs") / "training" / "brain_mr.yaml", TrainingConfig)
    keep_config(config, tmp_path / "train")
    longer = replace(config, schedule=replace(config.schedule, epochs=config.schedule.epochs + 10))
    keep_config(longer, tmp_path / "train")
    with pytest.raises(ConfigError, match=r"not the configuration of brain_mr 9\.0"):
        keep_config(replace(config, version="9.0"), tmp_path / "train")
    assert load_config(tmp_path / "train" / "config.yaml", TrainingConfig) == longer


@pytest.mark.slow
def test_a_small_package_from_cases_to_card(tmp_path: Path, protocol: Path) -> None:
    config = load_config(shipped_folder("configs") / "training" / "thorax_ct.yaml", TrainingConfig)
    config = replace(
        config,
        preprocessing=replace(config.preprocessing, percentiles=None),
        patch_shape_zyx=(16, 16, 24),
        steps=(),
        labels=(replace(config.labels[0], name="Bone", sources=(), also=()),),
        network=replace(config.network, filters=(8, 16, 16), deep_supervision=0),
        schedule=replace(config.schedule, epochs=1, epoch_steps=2, batch_size=1),
        precision="32-true",
        synthesis=None,
    )

    def prepare(data: Path, work: Path, _: TrainingConfig) -> FitInput:
        del data
        labels = np.zeros((24, 24, 32), dtype=np.uint8)
        labels[6:18, 6:18, 10:22] = 1
        regions = np.zeros_like(labels)
        image = np.where(labels > 0, 1.0, -1.0).astype(np.float16)
        work.mkdir(parents=True, exist_ok=True)
        save_prepared(PreparedCase("block", image, labels, regions, np.ones((1, 1), dtype=bool)), work / "block.npz")
        return FitInput((work / "block.npz",), (1.0,))

    recipe = bones(prepare, protocol)
    hardware = Hardware(workers=0, progress=False)
    folder = build(recipe, config, tmp_path, tmp_path / "work", hardware)
    package = load_package(folder)
    assert package.manifest.training.command == "python -m scripts.starter.build brain_mr --data DATA"
    assert package.manifest.training.steps == 2
    assert len(package.manifest.training.data_sha256) == 64
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert "**Blocks of bone** (3 cases)" in card
    assert "Not evaluated yet" not in card
    assert "- Blocks made for this test" in card
