"""The coarse network in the pipeline: where fine ones look, what is absent, what is refused, which side is which."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coarse_bodies import CODES, MM, ORGANS, UprightNetwork, ValueNetwork, body

from contour.core.errors import InputRefused, Reason
from contour.core.protocol import Protocol, ProtocolStructure
from contour.core.report import Severity
from contour.core.volume import Modality
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.pipeline import Drawing, RunOptions, contour_series, draw_structures

THORAX = Protocol(
    name="chest",
    title="Chest",
    modality=Modality.CT,
    packages=("fine",),
    structures=(
        ProtocolStructure("Lung_L"),
        ProtocolStructure("Lung_R"),
        ProtocolStructure("Heart"),
        ProtocolStructure("Liver"),
        ProtocolStructure("Kidney_L", required=False),
        ProtocolStructure("Spine_T", runs_on=True),
    ),
)
TRUNK, CHEST, NECK = (-440.0, 312.0), (-176.0, 24.0), (-40.0, 200.0)


def fine(codes: dict[str, int] | None = None) -> ValueNetwork:
    return ValueNetwork(codes or dict(CODES), name="fine")


def codes_of(drawing: Drawing, name: str) -> list[str]:
    return [f.code for f in drawing.findings if f.structure == name]


def masks(drawing: Drawing) -> dict[str, np.ndarray]:
    shape = drawing.structures.geometry.shape_zyx
    return {s.name: s.full_mask(shape) for s in drawing.structures.structures}


def test_fine_networks_look_where_the_organs_are_and_draw_the_same() -> None:
    volume, looking = body(*TRUNK), fine()
    alone = draw_structures(volume, THORAX, (looking,))
    both = draw_structures(volume, THORAX, (looking,), locator=ValueNetwork())
    everywhere, within = (np.prod(shape) for shape in looking.asked)
    assert within < 0.7 * everywhere
    for name, mask in masks(alone).items():
        assert np.array_equal(masks(both)[name], mask), name
    assert [used.name for used in both.packages] == ["locate_ct", "fine"]
    assert [used.name for used in alone.packages] == ["fine"]
    assert [f.code for f in alone.findings] == ["thick-slices", "not-located"]
    assert [f.code for f in both.findings] == ["thick-slices", "in-view"]


def test_one_organ_of_many_is_looked_for_in_its_own_box() -> None:
    looking = fine()
    draw_structures(
        body(*TRUNK), replace(THORAX, structures=(ProtocolStructure("Heart"),)), (looking,), locator=ValueNetwork()
    )
    ((z, y, x),) = looking.asked
    assert z * MM < 128 + 2 * 56
    assert y * MM < 48 + 2 * 48
    assert x * MM < 48 + 2 * 48


def test_an_organ_that_is_larger_than_it_looked_is_searched_for_everywhere() -> None:
    """The fine network draws a lung where the coarse one saw a heart: it goes on beyond the box of that."""
    looking = fine({"Heart": CODES["Lung_L"]})
    volume, protocol = body(*TRUNK), replace(THORAX, structures=(ProtocolStructure("Heart"),))
    drawing = draw_structures(volume, protocol, (looking,), locator=ValueNetwork())
    assert len(looking.asked) == 2
    assert np.prod(looking.asked[0]) < np.prod(looking.asked[1])
    assert np.array_equal(masks(drawing)["Heart"], volume.voxels_zyx == CODES["Lung_L"])


def test_an_organ_outside_the_field_of_view_is_a_stated_absence() -> None:
    looking = fine()
    drawing = draw_structures(body(*CHEST), THORAX, (looking,), locator=ValueNetwork())
    found = {s.name: s for s in drawing.structures.structures}
    assert list(found) == ["~Lung_L", "~Lung_R", "Heart", "Liver", "Kidney_L", "Spine_T"]
    for name, severity in (("Liver", Severity.CHECK), ("Kidney_L", Severity.INFO)):
        assert found[name].empty
        (about,) = (f for f in drawing.findings if f.structure == name)
        assert (about.code, about.severity) == ("outside-view", severity)
        assert "below the lowest slice" in about.message
        assert "Spine_T" in about.message


def test_nothing_is_guessed_where_an_organ_lies_outside() -> None:
    """The fine network takes something else for the liver; the coarse one knows that none can be there."""
    guessing = fine({n: c for n, c in CODES.items() if n != "Heart"} | {"Liver": CODES["Heart"]})
    protocol = replace(THORAX, structures=tuple(s for s in THORAX.structures if s.name != "Heart"))
    drawing = draw_structures(body(*CHEST), protocol, (guessing,), locator=ValueNetwork())
    assert masks(drawing)["Liver"].sum() == 0
    assert codes_of(drawing, "Liver") == ["outside-view"]
    without = draw_structures(body(*CHEST), protocol, (guessing,))
    assert masks(without)["Liver"].any()


def test_another_site_is_refused_with_what_the_image_shows() -> None:
    with pytest.raises(InputRefused) as refused:
        draw_structures(body(*NECK), THORAX, (fine(),), locator=ValueNetwork())
    assert refused.value.reason is Reason.WRONG_SITE
    assert "head and neck" in refused.value.found
    assert "Brain" in refused.value.found
    assert "protocol chest" in refused.value.allowed
    assert "Lung_L" in refused.value.allowed


@pytest.mark.parametrize(
    ("reverse", "exchanged"), [((1, 2), "front and back, left and right"), ((0, 2), "head and feet, left and right")]
)
def test_an_image_stored_as_if_the_patient_lay_otherwise_is_refused(reverse: tuple[int, ...], exchanged: str) -> None:
    volume = body(*TRUNK)
    draw_structures(volume, THORAX, (fine(),), locator=UprightNetwork())
    turned = replace(volume, voxels_zyx=np.flip(volume.voxels_zyx, reverse))
    with pytest.raises(InputRefused) as refused:
        draw_structures(turned, THORAX, (fine(),), locator=UprightNetwork())
    assert refused.value.reason is Reason.WRONG_ORIENTATION
    assert exchanged in refused.value.found
    assert "Patient Position" in refused.value.allowed


def test_a_protocol_of_what_is_not_seen_coarsely_is_judged_by_heights() -> None:
    parotids = tuple(ProtocolStructure(name) for name in ("Parotid_L", "Parotid_R"))
    head = replace(THORAX, name="head", structures=parotids)
    salivary = fine({"Parotid_L": 500, "Parotid_R": 510})
    draw_structures(body(*NECK), head, (salivary,), locator=ValueNetwork())
    with pytest.raises(InputRefused) as refused:
        draw_structures(body(*CHEST), head, (salivary,), locator=ValueNetwork())
    assert refused.value.reason is Reason.WRONG_SITE


def test_doubt_and_another_modality_fall_back_to_the_whole_image() -> None:
    lying = ValueNetwork(dict(CODES) | {"Lung_L": CODES["Lung_R"], "Lung_R": CODES["Lung_L"]})
    volume, looking = body(*CHEST), fine()
    alone = draw_structures(volume, THORAX, (looking,))
    doubting = draw_structures(volume, THORAX, (looking,), locator=lying)
    assert looking.asked[0] == looking.asked[1]
    for name, mask in masks(alone).items():
        assert np.array_equal(masks(doubting)[name], mask)
    (about,) = (f for f in doubting.findings if f.code == "location-in-doubt")
    assert about.severity is Severity.CHECK
    assert "Lung_L is seen to the right of Lung_R" in about.message
    assert [used.name for used in doubting.packages] == ["fine"]
    of_mr = draw_structures(volume, THORAX, (looking,), locator=ValueNetwork(modality=Modality.MR))
    assert "not-located" in [f.code for f in of_mr.findings]


def test_a_single_structure_on_the_other_side_stops_the_run() -> None:
    """Without its pair nothing but the body's middle tells."""
    crossed = fine({"Heart": CODES["Heart"], "Kidney_L": CODES["Kidney_R"]})
    protocol = replace(THORAX, structures=(ProtocolStructure("Heart"), ProtocolStructure("Kidney_L")))
    drawing = draw_structures(body(*TRUNK), protocol, (crossed,), locator=ValueNetwork())
    (about,) = (f for f in drawing.findings if f.structure == "Kidney_L")
    assert (about.code, about.severity) == ("wrong-side", Severity.STOP)
    assert "64 mm" in about.message
    right = draw_structures(body(*TRUNK), protocol, (fine(),), locator=ValueNetwork())
    assert codes_of(right, "Kidney_L") == []


def test_an_organ_cut_by_the_image_is_named_as_a_part_in_every_file(tmp_path: Path) -> None:
    identity = PatientStudy("A^B", "P", "19700102", "F", "2.25.5", "S", "20260102", "101112", "", "", "")
    write_series(body(-280.0, -40.0), identity, tmp_path / "ct", SeriesOptions(seed="cut"))
    run = contour_series(
        tmp_path / "ct", THORAX, (fine(),), tmp_path / "out", options=RunOptions(locator=ValueNetwork())
    )
    assert run.report.released
    read = read_rtstruct(tmp_path / "out" / "rtstruct.dcm", read_series(tmp_path / "ct"))
    assert [s.name for s in read.structures] == ["~Lung_L", "~Lung_R", "Heart", "~Liver", "Spine_T"]
    lines = {line.name: line for line in run.report.structures}
    assert list(lines) == ["~Lung_L", "~Lung_R", "Heart", "~Liver", "Kidney_L", "Spine_T"]
    (cut,) = lines["~Liver"].findings
    assert (cut.code, cut.slices) == ("cut-by-scan", (0,))
    assert "written as ~Liver" in cut.message
    assert [f.code for f in lines["Spine_T"].findings] == ["cut-by-scan"]
    assert lines["Heart"].findings == ()
    assert [f.code for f in run.report.findings] == ["thick-slices", "in-view"]
    assert read.structures[3].color_rgb == run.drawing.structures.structures[3].color_rgb


def test_a_name_without_room_for_the_sign_stays_and_says_so() -> None:
    lobe = replace(THORAX, structures=(ProtocolStructure("Lobe_Occipital_L"), ProtocolStructure("Heart")))
    drawing = draw_structures(
        body(-280.0, -40.0), lobe, (fine({"Lobe_Occipital_L": CODES["Liver"], "Heart": CODES["Heart"]}),)
    )
    (cut,) = (f for f in drawing.findings if f.structure == "Lobe_Occipital_L")
    assert "no room" in cut.message
    assert drawing.structures.structures[0].name == "Lobe_Occipital_L"


def test_every_organ_of_the_made_body_is_known_by_its_height() -> None:
    drawing = draw_structures(
        body(*TRUNK), replace(THORAX, structures=tuple(map(ProtocolStructure, ORGANS))), (fine(),)
    )
    assert [s.name for s in drawing.structures.structures] == list(ORGANS)
