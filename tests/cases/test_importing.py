from pathlib import Path

import numpy as np
import pytest

from contour.cases.importing import (
    Imported,
    ImportedIdentity,
    LabelValues,
    MaskFile,
    import_label_map,
    import_mask_files,
    import_masks,
)
from contour.cases.store import Status, load_case, save_case
from contour.core.errors import InputRefused
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import write_nifti

GEOMETRY = Geometry.axial((12, 20, 24), (3.0, 1.5, 1.25), (-12.5, 20.25, -300.0), "2.25.5")
IDENTITY = ImportedIdentity("case1", "patient1", note="made, CC0")


@pytest.fixture
def labels_zyx() -> np.ndarray:
    """Two lobes (1, 2), a cord (3) on some slices."""
    labels = np.zeros(GEOMETRY.shape_zyx, dtype=np.uint8)
    labels[2:6, 4:9, 3:8] = 1
    labels[6:10, 4:9, 3:8] = 2
    labels[3:9, 14:17, 11:14] = 3
    return labels


@pytest.fixture
def folder(tmp_path: Path, labels_zyx: np.ndarray) -> Path:
    voxels = np.random.default_rng(0).integers(-1000, 1500, GEOMETRY.shape_zyx).astype(np.int16)
    write_nifti(voxels, GEOMETRY, tmp_path / "image.nii.gz")
    write_nifti(labels_zyx, GEOMETRY, tmp_path / "labels.nii.gz")
    write_nifti(labels_zyx == 3, GEOMETRY, tmp_path / "cord.nii.gz")
    return tmp_path


def test_a_label_map_becomes_a_case(folder: Path, labels_zyx: np.ndarray) -> None:
    wanted = (
        LabelValues((1, 2), Imported("Lung_L")),
        LabelValues((3,), Imported("SpinalCord", None)),
        LabelValues((9,), Imported("Kidney_L")),
        LabelValues((8,), Imported("Heart", Status.NOT_DRAWN)),
    )
    case = import_label_map(folder / "image.nii.gz", folder / "labels.nii.gz", wanted, IDENTITY)
    save_case(case, folder / "cases")
    loaded = load_case(folder / "cases" / "case1")
    masks = {s.name: s.full_mask(GEOMETRY.shape_zyx) for s in loaded.structures.structures}
    assert np.array_equal(masks["Lung_L"], np.isin(labels_zyx, (1, 2)))
    assert np.array_equal(masks["SpinalCord"], labels_zyx == 3)
    assert not masks["Kidney_L"].any()  # somebody looked: the patient has none
    record = loaded.record
    assert record.structure("Lung_L").status is Status.DRAWN
    assert record.structure("SpinalCord").drawn_slices == (3, 8)  # found by the rules
    assert record.structure("Kidney_L").status is Status.DRAWN
    assert record.structure("Heart").status is Status.NOT_DRAWN
    assert (record.patient, record.source.note) == ("patient1", "made, CC0")
    assert np.allclose(record.geometry.origin_lps_mm, GEOMETRY.origin_lps_mm)
    assert loaded.volume.voxels_zyx.dtype == np.int16


def test_files_of_masks_become_a_case(folder: Path, labels_zyx: np.ndarray) -> None:
    masks = (MaskFile(folder / "cord.nii.gz", Imported("SpinalCord", Status.PARTIAL, (3, 8))),)
    case = import_mask_files(folder / "image.nii.gz", masks, IDENTITY)
    assert np.array_equal(case.structures.structures[0].full_mask(GEOMETRY.shape_zyx), labels_zyx == 3)
    assert case.record.structure("SpinalCord").drawn_slices == (3, 8)


def test_a_label_map_on_another_grid_is_refused(folder: Path, labels_zyx: np.ndarray) -> None:
    shifted = Geometry.axial(GEOMETRY.shape_zyx, GEOMETRY.spacing_zyx_mm, (-12.0, 20.25, -300.0), "2.25.5")
    write_nifti(labels_zyx, shifted, folder / "labels.nii.gz")
    wanted = (LabelValues((1,), Imported("Lung_L")),)
    with pytest.raises(InputRefused, match="wrong-series"):
        import_label_map(folder / "image.nii.gz", folder / "labels.nii.gz", wanted, IDENTITY)


def test_values_between_labels_are_refused(folder: Path, labels_zyx: np.ndarray) -> None:
    write_nifti((labels_zyx * 0.5).astype(np.float32), GEOMETRY, folder / "labels.nii.gz")
    with pytest.raises(InputRefused, match="between whole numbers"):
        import_label_map(folder / "image.nii.gz", folder / "labels.nii.gz", (), IDENTITY)


def test_names_must_differ() -> None:
    volume = Volume(np.zeros(GEOMETRY.shape_zyx, dtype=np.int16), GEOMETRY, Modality.CT)
    mask = np.ones(GEOMETRY.shape_zyx, dtype=bool)
    with pytest.raises(ValueError, match="equal without regard to case"):
        import_masks(volume, ((Imported("Heart"), mask), (Imported("heart"), mask)), IDENTITY)
