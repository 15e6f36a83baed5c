from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contour.cases.store import (
    Case,
    CaseRecord,
    CaseStructure,
    Status,
    case_folders,
    load_case,
    load_record,
    save_case,
)
from contour.core.errors import InputRefused
from contour.core.structures import StructureSet
from contour.imaging.phantom import Phantom


@pytest.fixture
def case(thorax: Phantom) -> Case:
    """The phantom with a whole heart, a cord drawn in part, a liver inside the body, and no spleen."""
    chosen = [s for s in thorax.structures.structures if s.name in ("Heart", "SpinalCord", "Liver")]
    record = CaseRecord(
        "case1",
        "patient1",
        thorax.volume.modality,
        thorax.volume.geometry,
        (
            CaseStructure("Heart", Status.DRAWN, ("Сердце",)),
            CaseStructure("SpinalCord", Status.PARTIAL, ("cord",), (3, 20)),
            CaseStructure("Liver", Status.DRAWN),
            CaseStructure("Spleen", Status.NOT_DRAWN),
        ),
    )
    return Case(record, thorax.volume, StructureSet("x", thorax.volume.geometry, tuple(chosen)))


def test_a_case_comes_back_as_it_was(case: Case, tmp_path: Path) -> None:
    record = save_case(case, tmp_path)
    found = load_case(tmp_path / "case1")
    assert found.record == record == load_record(tmp_path / "case1")
    assert found.volume.voxels_zyx.dtype == case.volume.voxels_zyx.dtype
    assert np.array_equal(found.volume.voxels_zyx, case.volume.voxels_zyx)
    assert found.volume.geometry == case.volume.geometry
    shape = case.volume.geometry.shape_zyx
    for structure in case.structures.structures:
        same = next(s for s in found.structures.structures if s.name == structure.name)
        assert np.array_equal(same.full_mask(shape), structure.full_mask(shape))
    assert record.structure("Heart").roi_names == ("Сердце",)
    assert record.structure("Spleen").status is Status.NOT_DRAWN
    assert record.structure("Kidney_L").status is Status.NOT_DRAWN
    assert record.drawn_names == ("Heart", "SpinalCord", "Liver")


def test_saving_again_replaces_and_the_checksum_follows_the_content(case: Case, tmp_path: Path) -> None:
    first = save_case(case, tmp_path)
    assert save_case(case, tmp_path).content_sha256 == first.content_sha256
    entries = tuple(replace(s, drawn_slices=(3, 21)) if s.drawn_slices else s for s in case.record.structures)
    changed = replace(case, record=replace(case.record, structures=entries))
    assert save_case(changed, tmp_path).content_sha256 != first.content_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["case1"]


def test_a_mask_on_another_grid_is_refused(case: Case, tmp_path: Path) -> None:
    save_case(case, tmp_path)
    folder = tmp_path / "case1" / "structures"
    (folder / "Heart.nii.gz").write_bytes((folder / "Liver.nii.gz").read_bytes())
    with pytest.raises(InputRefused, match=r"Heart.nii.gz"):
        load_case(tmp_path / "case1")
    assert load_case(tmp_path / "case1", ("Liver",)).structures.structures[0].name == "Liver"


def test_entries_and_masks_must_be_the_same(case: Case, tmp_path: Path) -> None:
    lacking = replace(case, structures=replace(case.structures, structures=()))
    with pytest.raises(ValueError, match="Heart"):
        save_case(lacking, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_holds_no_case(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"case\.yaml"):
        case_folders(tmp_path)


def test_a_part_states_its_slices() -> None:
    with pytest.raises(ValueError, match="drawn in part"):
        CaseStructure("Heart", Status.PARTIAL)
    with pytest.raises(ValueError, match="first and last"):
        CaseStructure("Heart", Status.PARTIAL, drawn_slices=(4, 3))
