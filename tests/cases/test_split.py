from pathlib import Path

import numpy as np
import pytest

from contour.cases.split import (
    Split,
    SplitOptions,
    check_split,
    count_structures,
    load_split,
    save_split,
    split_cases,
)
from contour.cases.store import CaseRecord, CaseStructure, Status
from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.volume import Modality

GEOMETRY = Geometry.axial((4, 4, 4), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1")


def record(name: str, patient: str, *drawn: str) -> CaseRecord:
    entries = (*(CaseStructure(n, Status.DRAWN) for n in drawn), CaseStructure("Spleen", Status.NOT_DRAWN))
    return CaseRecord(name, patient, Modality.CT, GEOMETRY, entries)


def cohort(patients: int, seed: int = 0) -> list[CaseRecord]:
    """Patients with one to three cases each; structures from common to rare."""
    generator = np.random.default_rng(seed)
    chances = {"Lungs": 0.95, "Heart": 0.5, "Esophagus": 0.3, "A_LAD": 0.1}
    records = []
    for i in range(patients):
        for k in range(int(generator.integers(1, 4))):
            drawn = [name for name, chance in chances.items() if generator.random() < chance]
            records.append(record(f"p{i:03d}-{k}", f"p{i:03d}", *drawn))
    return records


def patients_of(records: list[CaseRecord], names: tuple[str, ...]) -> set[str]:
    return {r.patient for r in records if r.name in names}


def test_every_case_has_one_place_and_a_patient_one_side() -> None:
    records = cohort(60)
    split = split_cases(records, SplitOptions())
    assert sorted(name for part in split.parts for name in part) == sorted(r.name for r in records)
    sides = [patients_of(records, part) for part in split.parts]
    assert [len(side) for side in sides] == [12, 10, 10, 10, 9, 9]
    assert len(set().union(*sides)) == 60
    check_split(split, records)


def test_training_and_validation_of_a_fold() -> None:
    split = Split(0, ("h",), (("a", "b"), ("c",)))
    assert split.training_cases(1) == ("a", "b")
    assert split.validation_cases(1) == ("c",)
    assert split.training_cases(None) == ("a", "b", "c")
    assert split.validation_cases(None) == ()
    with pytest.raises(ConfigError, match="0 to 1"):
        split.training_cases(2)


def test_the_order_of_the_cases_is_of_no_consequence_and_the_seed_is() -> None:
    records = cohort(40)
    assert split_cases(records[::-1], SplitOptions()) == split_cases(records, SplitOptions())
    assert split_cases(records, SplitOptions(seed=1)).held_out != split_cases(records, SplitOptions()).held_out


@pytest.mark.parametrize("seed", range(30))
def test_what_two_patients_have_is_on_both_sides(seed: int) -> None:
    records = cohort(20, seed)
    split = split_cases(records, SplitOptions(seed=seed, folds=3))
    for count in count_structures(split, records):
        if count.held_out + sum(count.folds) >= 2:
            assert count.held_out > 0
            assert sum(count.folds) > 0


def test_what_one_patient_alone_has_is_trained_on() -> None:
    for alone in range(10):
        records = [record(f"c{i}", f"p{i}", "Lungs", *(["A_LAD"] if i == alone else [])) for i in range(10)]
        split = split_cases(records, SplitOptions(folds=2))
        assert f"c{alone}" not in split.held_out
        assert len(split.held_out) == 2


def test_a_common_structure_is_spread_evenly() -> None:
    records = [record(f"c{i:02d}", f"p{i:02d}", *(["Heart"] if i % 2 else [])) for i in range(50)]
    heart = count_structures(split_cases(records, SplitOptions(folds=4)), records)[0]
    assert heart.held_out == 5
    assert heart.folds == (5, 5, 5, 5)


def test_more_cases_leave_those_placed_where_they_were() -> None:
    later = cohort(60)
    known = {f"p{i:03d}" for i in range(0, 60, 2)}
    earlier = [r for r in later if r.patient in known and not r.name.endswith("-1")]
    first = split_cases(earlier, SplitOptions())
    second = split_cases(later, SplitOptions(), first)
    for before, after in zip(first.parts, second.parts, strict=True):
        assert set(before) <= set(after)
    assert [len(patients_of(later, part)) for part in second.parts] == [12, 10, 10, 10, 9, 9]
    check_split(second, later)
    with pytest.raises(ConfigError, match="5 as before"):
        split_cases(later, SplitOptions(folds=4), first)


def test_nothing_held_out() -> None:
    split = split_cases(cohort(5), SplitOptions(held_out=0.0, folds=5))
    assert split.held_out == ()
    assert all(split.folds)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 patients; allowed: at least 6"):
        split_cases(cohort(4), SplitOptions())


def test_a_split_that_leaks_a_patient_is_refused() -> None:
    records = [record("a", "p"), record("b", "p"), record("c", "q")]
    with pytest.raises(ConfigError, match="patient p in two parts"):
        check_split(Split(0, ("a",), (("b", "c"),)), records)
    check_split(Split(0, ("a", "b", "elsewhere"), (("c",),)), records)


def test_a_split_is_written_and_read(tmp_path: Path) -> None:
    split = split_cases(cohort(10), SplitOptions(folds=3))
    path = tmp_path / "split.yaml"
    save_split(split, path)
    assert load_split(path) == split
    path.write_text("seed: 0\nheld_out: [a]\nfolds: [[a, b]]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="a in two places"):
        load_split(path)
