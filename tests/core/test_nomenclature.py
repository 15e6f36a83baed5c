"""TG-263 names, their codes against pydicom's copy of DICOM PS3.16, and the rules a name must keep."""

from dataclasses import replace
from itertools import pairwise

from pydicom.sr._concepts_dict import concepts

from contour.core.nomenclature import (
    BOTH,
    LEFT,
    RIGHT,
    known_names,
    lookup,
    partial_name,
    validate_name,
    validate_names,
    whole_name,
)
from contour.core.structures import InterpretedType


def entry(name):
    found = lookup(name)
    assert found is not None, name
    return found


def test_every_name_of_the_table_may_be_written_and_all_differ_without_regard_to_case():
    assert len(known_names()) > 200
    assert validate_names(known_names()) == ()


def test_codes_agree_with_the_standard_wherever_it_has_the_code():
    meanings: dict[str, set[str]] = {}
    for variants in (*concepts["SCT"].values(), *concepts["DCM"].values()):
        for value, (meaning, _) in variants.items():
            meanings.setdefault(value, set()).add(meaning.casefold().removesuffix(" (body structure)"))
    checked = 0
    for name in known_names():
        code = entry(name).code
        if code is None or code.value not in meanings:
            continue
        ours = set(code.meaning.casefold().replace("bones of ", "").replace("great ", "").split()) - {"of", "both"}
        words = set(" ".join(meanings[code.value]).replace(",", " ").split())
        assert ours & words, f"{name}: {code.value} means {meanings[code.value]}"
        checked += 1
    assert checked > 120


def test_meanings_and_values_fit_their_value_representations():
    for name in known_names():
        code = entry(name).code
        if code is not None:
            assert len(code.value) <= 16
            assert len(code.meaning) <= 64


def test_sides_share_a_code_and_differ_in_modifier_and_colour():
    left, right, both = entry("Lung_L"), entry("Lung_R"), entry("Lungs")
    assert left.code == right.code == both.code
    assert (left.laterality, right.laterality, both.laterality) == (LEFT, RIGHT, BOTH)
    assert left.color_rgb != right.color_rgb
    for name in known_names():
        if name.endswith("_L"):
            assert entry(name).laterality == LEFT
            assert entry(name[:-1] + "R").laterality == RIGHT


def test_neighbouring_vertebrae_differ_in_colour_and_code():
    names = [f"VB_T{level:02d}" for level in range(1, 13)]
    entries = [entry(name) for name in names]
    assert all(a.color_rgb != b.color_rgb for a, b in pairwise(entries))
    assert len({e.code.value for e in entries if e.code}) == 12


def test_types_of_what_is_not_an_organ():
    assert entry("External").interpreted_type is InterpretedType.EXTERNAL
    assert entry("GTVp_1").interpreted_type is InterpretedType.GTV
    assert entry("PTV_5000").interpreted_type is InterpretedType.PTV
    margin = entry("SpinalCord_PRV05")
    assert margin.interpreted_type is InterpretedType.AVOIDANCE
    assert margin.code is None
    assert margin.color_rgb == entry("SpinalCord").color_rgb
    assert entry("OpticNrv_PRV03_L").laterality == LEFT


def test_unknown_names_have_no_entry():
    assert lookup("left_lung") is None
    assert lookup("lung_l") is None
    assert lookup("Nothing_PRV05") is None


def test_a_part_of_a_structure_is_known_as_the_structure():
    for name in (*known_names(), "SpinalCord_PRV5", "PTV_5000"):
        partial = partial_name(name)
        if partial is None:
            assert len(name) == 16  # as long as a name may be: there is no room for the tilde
            continue
        assert whole_name(partial) == name == whole_name(name)
        assert partial_name(partial) == partial
        assert validate_name(partial) == ()
        assert replace(entry(partial), name=name) == entry(name)
    assert partial_name("Lobe_Occipital_L") is None
    assert lookup("~Lebber") is None
    assert lookup("~~Liver") is None


def test_names_that_planning_systems_refuse():
    assert validate_name("SpinalCord_PRV05") == ()
    assert "17 characters" in validate_name("A" * 17)[0]
    assert validate_name("Lung L")
    assert validate_name("Жүрек")
    assert validate_name("")
    assert validate_name("1Lung")
    assert "equal without regard to case" in validate_names(["Heart", "Lung_L", "HEART"])[0]


def test_a_planners_name_looks_like_the_structure_that_it_means():
    said = lookup("Mandible")
    assert said is not None
    assert said == replace(lookup("Bone_Mandible"), name="Mandible")
    assert "Mandible" not in known_names()
