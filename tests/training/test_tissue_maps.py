import numpy as np
import pytest

from contour.training.appearance import SynthesisConfig, TissueLook
from contour.training.tissue_maps import NEEDED, TissueSource, body_hull, tissue_codes

NAMES = (*NEEDED, "bone", "bowel", "liver")
LOOKS = SynthesisConfig(tuple(TissueLook(name, (0.0, 1.0)) for name in NAMES))
SOURCES = (
    TissueSource("bone", ("vertebrae",), bone=True),
    TissueSource("bowel", ("colon",), hollow=True),
    TissueSource("liver", ("liver",)),
)
VALUES = {"vertebrae_L1": 1, "colon": 2, "liver": 3}
SPACING_MM = 3.0


def label_map() -> np.ndarray:
    """A vertebra behind, a colon in front and a liver at the side, with gaps of less than 50 mm between."""
    labels = np.zeros((20, 70, 70), dtype=np.uint8)
    labels[:, 42:52, 30:40] = 1
    labels[:, 20:30, 28:44] = 2
    labels[:, 24:40, 14:24] = 3
    return labels


def codes_of(seed: int) -> np.ndarray:
    return tissue_codes(label_map(), VALUES, SOURCES, LOOKS, (SPACING_MM, np.random.default_rng(seed)))


def share(codes: np.ndarray, inside: np.ndarray, name: str) -> float:
    return float(np.mean(codes[inside] == NAMES.index(name)))


def test_labels_become_their_tissues_and_bone_has_a_shell():
    codes, labels = codes_of(1), label_map()
    assert share(codes, labels == 3, "liver") == 1.0
    bone = labels == 1
    assert share(codes, bone, "bone") + share(codes, bone, "bone_shell") == 1.0
    assert codes[10, 47, 35] == NAMES.index("bone")
    assert np.all(codes[:, 42, 30:40] == NAMES.index("bone_shell"))


def test_between_labels_lie_fat_and_muscle_and_around_the_body_air():
    codes, labels = codes_of(2), label_map()
    body = body_hull(labels > 0, SPACING_MM, 4.0)
    between = body & (labels == 0)
    assert share(codes, between, "fat") + share(codes, between, "muscle") == 1.0
    assert share(codes, between, "muscle") > 0.05
    assert np.all(codes[:, 0] == NAMES.index("air"))


def test_gas_lies_in_front_and_inside_of_hollow_organs_only():
    with_gas = 0
    for seed in range(8):
        codes, labels = codes_of(seed), label_map()
        gas = codes == NAMES.index("gas")
        assert np.all(labels[gas] == 2)
        if gas.any():
            with_gas += 1
            rows = np.nonzero(gas)[1]
            assert rows.min() == 21  # behind the wall of one voxel
            rest = (labels == 2) & ~gas
            assert rows.mean() < np.nonzero(rest)[1].mean()
    assert 1 <= with_gas <= 7


def test_the_table_stands_behind_the_body_and_never_in_it():
    tables = [codes_of(seed) == NAMES.index("couch") for seed in range(10)]
    assert 3 <= sum(table.any() for table in tables) <= 10
    hull = body_hull(label_map() > 0, SPACING_MM, 4.0)
    assert not any((table & hull).any() for table in tables)
    assert all(np.nonzero(table)[1].min() > 51 for table in tables if table.any())


def test_a_body_is_closed_filled_and_grown_by_the_skin():
    labelled = np.zeros((3, 60, 60), dtype=bool)
    labelled[:, 20:40, 20] = labelled[:, 20:40, 34] = True  # two walls 42 mm apart
    hull = body_hull(labelled, SPACING_MM, 6.0)
    assert hull[:, 30, 20:35].all()
    assert np.flatnonzero(hull[1, 30]).tolist() == list(range(18, 37))


def test_tissues_that_are_not_there_are_named():
    few = SynthesisConfig(LOOKS.tissues[:-1])
    with pytest.raises(ValueError, match="tissues liver: not in"):
        tissue_codes(label_map(), VALUES, SOURCES, few, (SPACING_MM, np.random.default_rng(0)))
