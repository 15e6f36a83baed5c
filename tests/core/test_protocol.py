import pytest

from contour.core.protocol import (
    BodyEnd,
    DerivedStructure,
    Height,
    Operation,
    Protocol,
    ProtocolStructure,
    SidesMm,
)
from contour.core.volume import Modality


def derived(name: str, operation: Operation, *of: str, **given: object) -> DerivedStructure:
    return DerivedStructure(name, operation, of, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operation", "of", "given", "said"),
    [
        (Operation.UNION, ("A",), {}, "two or more names"),
        (Operation.GROWN, ("A", "B"), {"mm": 5.0}, "one name"),
        (Operation.SUBTRACTION, (), {"optional": ("A", "B")}, "one of them in `of`"),
        (Operation.HULL, ("A",), {"optional": ("B",)}, "one name"),
        (Operation.GROWN, ("A",), {}, "one of them"),
        (Operation.GROWN, ("A",), {"mm": 5.0, "sides_mm": SidesMm(left=1)}, "one of them"),
        (Operation.UNION, ("A", "B"), {"mm": 5.0}, "none of them"),
        (Operation.GROWN, ("A",), {"mm": 0.0}, "above 0, at most 200"),
        (Operation.GROWN, ("A",), {"mm": float("nan")}, "above 0"),
        (Operation.GROWN, ("A",), {"mm": 201.0}, "at most 200"),
        (Operation.GROWN, ("A",), {"mm": 5.0, "inner_mm": 1.0}, "only of a ring"),
        (Operation.RING, ("A",), {"mm": 5.0, "inner_mm": 5.0}, "below mm"),
        (Operation.RING, ("A",), {"mm": 5.0, "inner_mm": -1.0}, "at least 0"),
        (Operation.BETWEEN, ("A",), {}, "one or both"),
        (Operation.HULL, ("A",), {"lowest": Height("B", BodyEnd.INFERIOR)}, "of no other operation"),
    ],
)
def test_what_an_operation_lacks_or_does_not_have_is_an_error(
    operation: Operation, of: tuple[str, ...], given: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        derived("D", operation, *of, **given)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (derived("Lungs", Operation.UNION, "Lung_L", "Lung_R"), "Lung_L, Lung_R together"),
        (derived("D", Operation.INTERSECTION, "A", optional=("B",)), "what A, B share"),
        (derived("Lungs-GTV", Operation.SUBTRACTION, "Lungs", "GTV"), "Lungs less GTV"),
        (derived("D", Operation.GROWN, "A", mm=5.0), "A grown by 5 mm"),
        (
            derived("D", Operation.SHRUNK, "A", sides_mm=SidesMm(left=2.5, inferior=4)),
            "A shrunk by 2.5 mm left, 4 mm inferior",
        ),
        (derived("D", Operation.RING, "PTV", mm=20.0, inner_mm=5.0), "around PTV from 5 to 20 mm"),
        (derived("D", Operation.HULL, "A"), "hull of A, slice by slice"),
        (
            derived(
                "D", Operation.BETWEEN, "A",
                lowest=Height("PTV", BodyEnd.INFERIOR, -100), highest=Height("PTV", BodyEnd.SUPERIOR),
            ),
            "A from 100 mm below the inferior end of PTV up to the superior end of PTV",
        ),
    ],
)  # fmt: skip
def test_how_a_structure_is_made_is_said_in_words(rule: DerivedStructure, words: str) -> None:
    assert rule.words == words


def test_a_structure_is_derived_from_what_stands_before_it() -> None:
    lungs = derived("Lungs", Operation.UNION, "Lung_L", "Lung_R")
    less = derived("Lungs-GTV", Operation.SUBTRACTION, "Lungs", "GTV")
    structures = (ProtocolStructure("Lung_L"), ProtocolStructure("Lung_R"))
    Protocol("p", "P", Modality.CT, (), structures, targets=("GTV",), derived=(lungs, less))
    with pytest.raises(ValueError, match="derived Lungs-GTV: Lungs must stand before it"):
        Protocol("p", "P", Modality.CT, (), structures, targets=("GTV",), derived=(less, lungs))
    with pytest.raises(ValueError, match="derived Lungs-GTV: GTV must stand before it"):
        Protocol("p", "P", Modality.CT, (), structures, derived=(lungs, less))
