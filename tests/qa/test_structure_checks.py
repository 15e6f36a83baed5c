import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.core.protocol import Components, Protocol, ProtocolStructure
from contour.core.report import Finding, Severity
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.qa.structures import check_structures

GRID = Geometry.axial((20, 40, 40), (5.0, 2.0, 2.0), (-39.0, -39.0, 0.0), "2.25.5")


def box(start: tuple[int, int, int], stop: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def structure(name: str, mask: np.ndarray, confidence: float | None = None) -> Structure:
    return Structure(name, (1, 2, 3), InterpretedType.ORGAN, *cropped_to_content(mask), confidence)


def found(rule: ProtocolStructure, *structures: Structure, hu: float = 0.0) -> list[Finding]:
    volume = Volume(np.full(GRID.shape_zyx, hu, dtype=np.float32), GRID, Modality.CT)
    protocol = Protocol("p", "P", Modality.CT, (), (rule,))
    return list(check_structures(StructureSet("X", GRID, structures), volume, protocol))


INNER = box((5, 10, 10), (15, 30, 30))  # 10 x 20 x 20 voxels of 20 mm3: 80 ml


def test_nothing_to_say_about_a_plausible_structure() -> None:
    rule = ProtocolStructure("Heart", volume_ml=(70, 90), mean_hu=(-10, 10))
    assert found(rule, structure("Heart", INNER, 0.9)) == []


@pytest.mark.parametrize(("required", "severity"), [(True, Severity.CHECK), (False, Severity.INFO)])
def test_empty(required: bool, severity: Severity) -> None:
    (finding,) = found(ProtocolStructure("Heart", required=required), structure("Heart", INNER & False))
    assert (finding.code, finding.severity, finding.structure) == ("not-found", severity, "Heart")


@pytest.mark.parametrize(
    ("rows", "slices", "words"),
    [((0, 5), (0,), "first slice"), ((10, 20), (19,), "last slice"), ((0, 20), (0, 19), "first and last slice")],
)
def test_cut_by_the_ends_of_the_scan(rows: tuple[int, int], slices: tuple[int, ...], words: str) -> None:
    mask = box((rows[0], 10, 10), (rows[1], 30, 30))
    (finding,) = found(ProtocolStructure("Liver"), structure("Liver", mask))
    assert (finding.code, finding.severity, finding.slices) == ("cut-by-scan", Severity.CHECK, slices)
    assert words in finding.message
    (usual,) = found(ProtocolStructure("Liver", runs_on=True), structure("Liver", mask))
    assert usual.severity is Severity.INFO


def test_cut_by_the_field_of_view() -> None:
    (finding,) = found(ProtocolStructure("Body"), structure("Body", box((5, 10, 0), (15, 30, 30))))
    assert (finding.code, finding.slices) == ("cut-by-field", (5, 14))


def test_volume_out_of_range_unless_the_scan_cut_it() -> None:
    rule = ProtocolStructure("Liver", volume_ml=(500, 3000))
    assert [f.code for f in found(rule, structure("Liver", INNER))] == ["volume-implausible"]
    cut = structure("Liver", box((0, 10, 10), (5, 30, 30)))
    assert [f.code for f in found(rule, cut)] == ["cut-by-scan"]
    small = ProtocolStructure("Liver", volume_ml=(1, 10))
    assert [f.code for f in found(small, cut)] == ["cut-by-scan", "volume-implausible"]


def test_pieces_are_counted_without_crumbs() -> None:
    two = structure("Lungs", box((5, 10, 5), (15, 30, 18)) | box((5, 10, 22), (15, 30, 35)))
    (finding,) = found(ProtocolStructure("Lungs"), two)
    assert (finding.code, finding.severity) == ("several-pieces", Severity.CHECK)
    (allowed,) = found(ProtocolStructure("Lungs", components=Components.ALL), two)
    assert allowed.severity is Severity.INFO
    assert found(ProtocolStructure("Lungs"), structure("Lungs", INNER | box((17, 2, 2), (18, 4, 4)))) == []


def test_slices_left_out_are_named_and_are_not_pieces() -> None:
    whole = box((2, 10, 10), (18, 30, 30))
    whole[[6, 9, 10]] = False
    rule = ProtocolStructure("Heart")
    (finding,) = found(rule, structure("Heart", whole))
    assert (finding.code, finding.severity, finding.slices) == ("missing-slices", Severity.CHECK, (6, 9, 10))
    assert "3 slices" in finding.message
    elsewhere = whole | box((2, 35, 35), (5, 38, 38))
    assert [f.code for f in found(rule, structure("Heart", elsewhere))] == ["missing-slices", "several-pieces"]
    apart = box((2, 10, 10), (8, 20, 20)) | box((10, 25, 25), (18, 35, 35))
    assert [f.code for f in found(rule, structure("Heart", apart))] == ["several-pieces"]
    crumb = INNER | box((17, 12, 12), (18, 14, 14))
    assert found(rule, structure("Heart", crumb)) == []


def test_mean_hu_out_of_range() -> None:
    rule = ProtocolStructure("Trachea", mean_hu=(-1000, -600))
    (finding,) = found(rule, structure("Trachea", INNER), hu=40.0)
    assert finding.code == "hu-implausible"
    assert "40 HU" in finding.message


def test_low_confidence() -> None:
    rule = ProtocolStructure("Heart", min_confidence=0.8)
    assert [f.code for f in found(rule, structure("Heart", INNER, 0.79))] == ["low-confidence"]
    assert found(rule, structure("Heart", INNER, None)) == []


def test_left_and_right_swapped_stops() -> None:
    left_side, right_side = box((5, 10, 25), (15, 30, 35)), box((5, 10, 5), (15, 30, 15))
    rule = ProtocolStructure("Lung_L")
    assert found(rule, structure("Lung_L", left_side), structure("Lung_R", right_side)) == []
    swapped = found(rule, structure("Lung_L", right_side), structure("Lung_R", left_side))
    assert [(f.code, f.severity, f.structure) for f in swapped] == [
        ("wrong-side", Severity.STOP, "Lung_L"),
        ("wrong-side", Severity.STOP, "Lung_R"),
    ]


def test_sides_follow_the_patient_not_the_columns() -> None:
    """Feet first or prone storage turns the columns around; left is where x grows."""
    turned = Geometry(
        GRID.shape_zyx, GRID.spacing_zyx_mm, (39.0, -39.0, 0.0), ((0, 0, -1), (0, 1, 0), (-1, 0, 0)), "2.25.5"
    )
    low_columns, high_columns = box((5, 10, 5), (15, 30, 15)), box((5, 10, 25), (15, 30, 35))
    structures = StructureSet("X", turned, (structure("Eye_L", low_columns), structure("Eye_R", high_columns)))
    volume = Volume(np.zeros(GRID.shape_zyx, dtype=np.int16), turned, Modality.CT)
    assert check_structures(structures, volume, Protocol("p", "P", Modality.CT, (), ())) == ()
