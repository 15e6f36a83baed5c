import numpy as np
import pytest

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.store import Case, Status
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.training.prepared import UNKNOWN
from scripts.thorax_ct.corrected import PRIORITY, compared, corrected_labels

GEOMETRY = Geometry.axial((10, 30, 30), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), "1.2.3")


def _box(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(GEOMETRY.shape_zyx, dtype=bool)
    mask[z, y, x] = True
    return mask


def _case(*structures: tuple[Imported, np.ndarray]) -> Case:
    volume = Volume(np.zeros(GEOMETRY.shape_zyx, dtype=np.int16), GEOMETRY, Modality.CT)
    return import_masks(volume, structures, ImportedIdentity("made", "made"))


def _value(name: str) -> int:
    return PRIORITY.index(name) + 1


HEART = _box(slice(2, 8), slice(5, 25), slice(5, 25))
ROOT = _box(slice(6, 10), slice(10, 15), slice(10, 15))


def test_drawn_structures_replace_automatic_ones() -> None:
    shifted = np.roll(HEART, 4, axis=2)
    labels = corrected_labels(_case((Imported("A_Aorta"), ROOT), (Imported("Heart"), HEART)), {"Heart": shifted})
    np.testing.assert_array_equal(labels == _value("A_Aorta"), ROOT)  # in front of the heart, which holds its root
    np.testing.assert_array_equal(labels == _value("Heart"), HEART & ~ROOT)
    assert not labels[shifted & ~HEART & ~ROOT].any()  # background: the heart was drawn completely


def test_where_nobody_looked_an_automatic_label_is_unknown_with_a_margin() -> None:
    liver = _box(slice(0, 3), slice(0, 10), slice(0, 4))
    labels = corrected_labels(_case((Imported("Heart"), HEART)), {"Liver": liver})
    assert np.all(labels[liver & ~HEART] == UNKNOWN)
    np.testing.assert_array_equal(labels == _value("Heart"), HEART)
    assert labels[0, 5, 6] == UNKNOWN  # 6 mm away
    assert labels[0, 5, 7] == 0


def test_beyond_the_drawn_slices_an_automatic_label_is_unknown() -> None:
    tube = _box(slice(0, 10), slice(10, 14), slice(10, 14))
    drawn = tube & _box(slice(4, 7), slice(None), slice(None))
    case = _case((Imported("Esophagus", Status.PARTIAL, (4, 6)), drawn))
    labels = corrected_labels(case, {"Esophagus": np.roll(tube, 3, axis=2)})
    assert np.all(labels[drawn] == _value("Esophagus"))
    assert labels[5, 12, 15] == 0  # automatic only, between the drawn slices and far from the rest
    assert np.all(labels[:3][np.roll(tube, 3, axis=2)[:3]] == UNKNOWN)
    (agreement,) = compared(case, {"Esophagus": np.roll(tube, 3, axis=2)})
    assert agreement.dice == pytest.approx(0.25)  # judged between the drawn slices: a quarter of the width in common
    assert agreement.automatic_ml == pytest.approx(agreement.corrected_ml)


def test_a_structure_without_a_rank_is_refused() -> None:
    with pytest.raises(ValueError, match="Bladder"):
        corrected_labels(_case((Imported("Bladder"), HEART)), {})
