import json
from pathlib import Path
from typing import Any

import pytest
from nnunet_folders import Made, make_folder

from contour.core.errors import PackageError
from contour.core.nomenclature import validate_name, validate_names
from contour.training.importing.names import NamesFile, map_names
from contour.training.importing.totalsegmentator import import_totalsegmentator, load_tasks, trained_folder

# Some of what `map_to_binary.py` of TotalSegmentator 2.18.0 calls the parts' labels.
LABELS = {"background": 0, "vertebrae_T5": 1, "hip_left": 2, "rib_left_4": 3, "spinal_cord": 4}


def weights(folder: Path, dataset: str) -> Path:
    """A data set's folder as it is unpacked: one trained-model folder inside."""
    made = Made(labels=LABELS, trainer="nnUNetTrainer_4000epochs_NoMirroring")
    trained = make_folder(folder / "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres", made)
    plans = json.loads((trained / "plans.json").read_text(encoding="utf-8"))
    (trained / "plans.json").write_text(json.dumps(plans | {"dataset_name": dataset}), encoding="utf-8")
    return folder


def test_weights_that_anyone_may_use_become_a_package(
    contour: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = weights(tmp_path / "given", "Dataset294_TotalSegmentator_part4_muscles_1559subj")
    assert contour("models", "import", "totalsegmentator", folder, "--output", tmp_path / "models") == 0
    shown = capsys.readouterr()
    assert "packages: [totalseg_muscles]" in shown.out
    assert "Openly available for any usage (Apache-2.0 license)" in shown.err
    assert contour("models", "show", "totalseg_muscles", "--models", tmp_path / "models", "--json") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert [label["name"] for label in manifest["labels"]] == ["Vert_T05", "Bone_Pelvic_L", "Rib04_L", "SpinalCord"]
    assert manifest["licence"] == "Apache-2.0"
    card = (tmp_path / "models" / "totalseg_muscles" / "CARD.md").read_text(encoding="utf-8")
    assert "10.1148/ryai.230024" in card


@pytest.mark.parametrize(
    ("dataset", "found"),
    [
        ("Dataset301_heart_highres_1139subj", "For a commercial license contact"),
        ("Dataset481_tissue_1559subj", "free licenses available for non-commercial usage"),
        ("Dataset999_Other", "Dataset999_Other"),
        ("Thorax", "Thorax"),
    ],
)
def test_what_its_licence_keeps_back_is_refused_with_its_sentence(tmp_path: Path, dataset: str, found: str) -> None:
    with pytest.raises(PackageError, match=found):
        import_totalsegmentator(weights(tmp_path / "given", dataset), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_folder_without_one_model_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("empty").mkdir()
    with pytest.raises(PackageError, match=r"no plans\.json"):
        trained_folder(tmp_path / "empty")


def test_every_name_can_stand_in_an_rtstruct() -> None:
    known = load_tasks()
    names = [name for name in known.names.values() if name is not None]
    assert not validate_names(names)
    assert len({task.package for task in known.tasks}) == len(known.tasks)
    assert not {task.dataset for task in known.tasks} & {task.dataset for task in known.restricted}
    mapped = map_names(known.names, ready=NamesFile(known.names))
    assert all(one.name is not None and not validate_name(one.name) for one in mapped)
