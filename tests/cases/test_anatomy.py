import json
from dataclasses import replace
from pathlib import Path

import pytest

from contour.cases.anatomy import Measured, contradictions, expectation, judge, judge_together, measure_named
from contour.cases.landmarks import Landmarks
from contour.core.nomenclature import known_names
from contour.core.report import Severity
from contour.core.structures import InterpretedType, Structure, cropped_to_content
from contour.core.volume import Modality
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.imaging.phantom import Phantom

EXCHANGED = (
    *(("Lung_L", "Lung_R"), ("Kidney_L", "Kidney_R"), ("Heart", "Liver"), ("Esophagus", "Trachea")),
    *(("SpinalCord", "Esophagus"), ("Heart", "Lung_L"), ("Liver", "Spleen")),
    *(("Liver", "Stomach"), ("Trachea", "SpinalCord"), ("Lung_R", "Liver")),
)


@pytest.fixture(scope="module")
def landmarks(thorax: Phantom) -> Landmarks:
    return Landmarks.of(thorax.volume)


def _named(thorax: Phantom, structure: str, name: str) -> Structure:
    found = next(s for s in thorax.structures.structures if s.name == structure)
    return replace(found, name=name)


def _all(thorax: Phantom, landmarks: Landmarks, renamed: dict[str, str]) -> tuple[Measured, ...]:
    named = (_named(thorax, s.name, renamed.get(s.name, s.name)) for s in thorax.structures.structures)
    measured = (measure_named(s, thorax.volume, landmarks) for s in named)
    return tuple(m for m in measured if m is not None)


def test_right_names_are_not_contradicted(thorax: Phantom, landmarks: Landmarks) -> None:
    for structure in thorax.structures.structures:
        assert contradictions(structure, thorax.volume, landmarks) == ()
    assert judge_together(_all(thorax, landmarks, {})) == ()


@pytest.mark.parametrize(("one", "other"), EXCHANGED)
def test_wrong_names_are(thorax: Phantom, landmarks: Landmarks, one: str, other: str) -> None:
    for drawn, name in ((one, other), (other, one)):
        findings = contradictions(_named(thorax, drawn, name), thorax.volume, landmarks)
        assert findings, f"{drawn} called {name}"
        assert all(f.structure == name and name in f.message for f in findings)
        sides = {one, other} in ({"Lung_L", "Lung_R"}, {"Kidney_L", "Kidney_R"})
        assert any(f.code == "anatomy-side" and f.severity is Severity.STOP for f in findings) == sides


def test_neighbours_find_an_exchange_and_no_one_else(thorax: Phantom, landmarks: Landmarks) -> None:
    findings = judge_together(_all(thorax, landmarks, {"Heart": "Liver", "Liver": "Heart"}))
    assert {f.structure for f in findings} == {"Heart", "Liver"}
    sides = judge_together(_all(thorax, landmarks, {"Lung_L": "Lung_R", "Lung_R": "Lung_L"}))
    assert {f.structure for f in sides} == {"Lung_L", "Lung_R"}
    assert {f.severity for f in sides} == {Severity.STOP}


def test_messages_say_where_it_lies_and_where_it_should(thorax: Phantom, landmarks: Landmarks) -> None:
    (finding,) = contradictions(_named(thorax, "Lung_R", "Lung_L"), thorax.volume, landmarks)
    assert "right of the midline" in finding.message
    assert "expected: 25 mm left to 140 mm left" in finding.message


def test_expectations_are_for_known_names_and_mirrored() -> None:
    left, right = expectation("Lung_L"), expectation("Lung_R")
    assert left is not None
    assert right is not None
    assert left.offset_mm is not None
    assert right.offset_mm == (-left.offset_mm[1], -left.offset_mm[0])
    assert right.volume_ml == left.volume_ml
    assert expectation("CouchSurface") is None
    expected = [name for name in known_names() if expectation(name) is not None]
    assert len(expected) > 0.85 * len(known_names())


def test_a_name_of_which_nothing_is_expected_is_not_contradicted(thorax: Phantom, landmarks: Landmarks) -> None:
    assert contradictions(_named(thorax, "Heart", "CouchSurface"), thorax.volume, landmarks) == ()


# -- real patients -----------------------------------------------------------------------------------------------------

TCIA_NAMES = {
    "lung_upper_lobe_left": "Lung_LUL",
    "lung_lower_lobe_right": "Lung_RLL",
    "heart": "Heart",
    "esophagus": "Esophagus",
    "trachea": "Trachea",
    "aorta": "A_Aorta",
    "spinal_cord": "SpinalCord",
    "liver": "Liver",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "kidney_left": "Kidney_L",
    "kidney_right": "Kidney_R",
    "adrenal_gland_left": "Glnd_Adrenal_L",
    "pancreas": "Pancreas",
    "sternum": "Sternum",
    "scapula_left": "Scapula_L",
    "rib_right_6": "Rib06_R",
    "superior_vena_cava": "V_Venacava_S",
}


def _measured(folder: Path, names: dict[str, str], labels: Path) -> dict[str, Measured]:
    volume = read_nifti(folder / "image.nii.gz", Modality.CT, "2.25.1")
    values, _ = read_nifti_array(folder / "labels.nii.gz", "2.25.1")
    landmarks = Landmarks.of(volume)
    found = {}
    for label, value in json.loads(labels.read_text()).items():
        mask, offset = cropped_to_content(values == value)
        if label in names and mask.size:
            structure = Structure(names[label], (1, 1, 1), InterpretedType.ORGAN, mask, offset)
            measured = measure_named(structure, volume, landmarks)
            assert measured is not None
            found[measured.name] = measured
    return found


@pytest.mark.data
def test_names_of_a_chest(shared_data: Path) -> None:
    folder = shared_data / "thorax" / "lidc_0001_auto"
    found = _measured(folder, TCIA_NAMES, folder / "labels.json")
    assert set(found) == set(TCIA_NAMES.values())
    assert {name: judge(m) for name, m in found.items() if judge(m)} == {}
    assert judge_together(tuple(found.values())) == ()
    for one, other in EXCHANGED[:2] + EXCHANGED[2:6]:
        for drawn, name in ((one, other), (other, one)):
            if drawn in found:
                assert judge(replace(found[drawn], name=name)), f"{drawn} called {name}"


HEAD_NAMES = {name: name for name in ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Larynx", "Esophagus")}
MISTAKES = (("pt_215", "SpinalCord"), ("pt_216", "SpinalCord"), ("pt_221", "Brainstem"), ("pt_221", "SpinalCord"))
HEAD_NAMES |= {"Mandible": "Bone_Mandible"}


@pytest.mark.data
def test_names_of_heads_and_necks(shared_data: Path) -> None:
    """None of the right names in 15 patients is contradicted; of the wrong ones nearly all are."""
    cases = shared_data / "headneck" / "openkbp"
    wrong = caught = 0
    mistaken = {case for case, _ in MISTAKES}
    for case in sorted(path for path in cases.glob("pt_*") if path.name not in mistaken)[::10]:
        found = _measured(case, HEAD_NAMES, cases / "labels.json")
        assert {name: judge(m) for name, m in found.items() if judge(m)} == {}
        assert judge_together(tuple(found.values())) == ()
        for drawn, measured in found.items():
            for name in found:
                if name != drawn:
                    wrong += 1
                    caught += bool(judge(replace(measured, name=name)))
    assert wrong > 250
    assert caught / wrong > 0.95


@pytest.mark.data
@pytest.mark.parametrize(
    ("case", "name"), [("pt_215", "SpinalCord"), ("pt_216", "SpinalCord"), ("pt_221", "Brainstem")]
)
def test_mistakes_in_a_public_collection_are_found(shared_data: Path, case: str, name: str) -> None:
    """A region behind the spine called cord, twice; brainstem and cord drawn on the vertebrae."""
    cases = shared_data / "headneck" / "openkbp"
    found = _measured(cases / case, HEAD_NAMES, cases / "labels.json")
    assert judge(found[name])
