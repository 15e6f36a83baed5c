"""Rods, balls and cones whose extent is known."""

from dataclasses import replace

import numpy as np
import pytest

from contour.cases.completeness import DrawnStructure, fill_gaps, judge
from contour.cases.store import Status
from contour.core.geometry import Geometry
from contour.core.report import Severity
from contour.core.structures import InterpretedType, Mask, Structure, cropped_to_content

SLICES = 40
GEOMETRY = Geometry.axial((SLICES, 40, 40), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1")
Y, X = np.mgrid[:40, :40] - 19.5


def drawn(name: str, radii: dict[int, float]) -> DrawnStructure:
    """Discs of the radii (mm) on the slices; a radius of 0 is a contour around no voxel."""
    mask: Mask = np.zeros(GEOMETRY.shape_zyx, dtype=np.bool_)
    for z, radius in radii.items():
        mask[z] = np.hypot(Y, X) < radius
    structure = Structure(name, (0, 0, 0), InterpretedType.ORGAN, *cropped_to_content(mask))
    return DrawnStructure(structure, tuple(sorted(radii)))


def rod(name: str, first: int, last: int) -> DrawnStructure:
    return drawn(name, dict.fromkeys(range(first, last + 1), 5.0))


def ball(name: str, centre: int, radius_slices: int) -> DrawnStructure:
    reach = range(-radius_slices, radius_slices + 1)
    return drawn(name, {centre + k: 15 * float(np.sqrt(max(0.0, 1 - (k / (radius_slices + 0.5)) ** 2))) for k in reach})


def extent(item: DrawnStructure) -> tuple[int, int]:
    return item.contour_slices[0], item.contour_slices[-1]


def known(item: DrawnStructure, others: dict[str, tuple[int, int]] | None = None) -> tuple[Status, object]:
    found = judge(item, others or {}, GEOMETRY)
    return found.status, found.drawn_slices


def test_a_cord_through_the_whole_scan_is_drawn() -> None:
    assert known(rod("SpinalCord", 0, SLICES - 1)) == (Status.DRAWN, None)


@pytest.mark.parametrize(
    ("first", "last", "slices"), [(8, 30, (8, 30)), (0, 30, (0, 30)), (8, SLICES - 1, (8, SLICES - 1))]
)
def test_a_cord_that_stops_inside_is_drawn_in_part(first: int, last: int, slices: tuple[int, int]) -> None:
    found = judge(rod("SpinalCord", first, last), {}, GEOMETRY)
    assert (found.status, found.drawn_slices) == (Status.PARTIAL, slices)
    assert [(f.code, f.severity, f.structure) for f in found.findings] == [("cut-inside", Severity.INFO, "SpinalCord")]
    assert found.findings[0].slices == tuple(z for z in (first, last) if z not in (0, SLICES - 1))


def test_an_organ_named_as_a_part_is_unknown_beyond_its_ends_inside_the_scan() -> None:
    whole = ball("Liver", 20, 8)
    assert known(whole) == (Status.DRAWN, None)
    assert known(replace(whole, in_part=True)) == (Status.PARTIAL, (12, 28))
    cut_by_the_scan = drawn("Liver", {z: 15 - 1.5 * z for z in range(9)})
    assert known(replace(cut_by_the_scan, in_part=True)) == (Status.PARTIAL, (0, 8))
    through = rod("Liver", 0, SLICES - 1)
    assert known(replace(through, in_part=True)) == (Status.DRAWN, None)


def test_a_cord_that_tapers_has_ended() -> None:
    radii = dict.fromkeys(range(12, SLICES), 5.0) | {11: 3.0, 10: 1.5}
    assert known(drawn("SpinalCord", radii)) == (Status.DRAWN, None)


def test_the_brainstem_ends_the_cord_only_where_they_meet() -> None:
    cord = rod("SpinalCord", 0, 25)
    assert known(cord, {"Brainstem": (26, 33)}) == (Status.DRAWN, None)
    assert known(cord, {"Brainstem": (20, 33)}) == (Status.DRAWN, None)
    assert known(cord, {"Brainstem": (30, 36)}) == (Status.PARTIAL, (0, 25))  # 12 mm of cord between them
    assert known(cord, {"Brainstem": (10, 25)}) == (Status.PARTIAL, (0, 25))
    assert known(rod("SpinalCord", 26, SLICES - 1), {"Brainstem": (10, 25)}) == (Status.PARTIAL, (26, SLICES - 1))


def test_up_is_what_the_geometry_says() -> None:
    downwards = replace(GEOMETRY, axes_lps=((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    cord = rod("SpinalCord", 26, SLICES - 1)
    assert judge(cord, {"Brainstem": (10, 25)}, downwards).status is Status.DRAWN
    sagittal = replace(GEOMETRY, axes_lps=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
    assert judge(rod("SpinalCord", 8, 30), {}, sagittal).status is Status.DRAWN


def test_an_oesophagus_ends_at_the_bases_of_the_lungs() -> None:
    item = rod("Esophagus", 15, SLICES - 1)
    assert known(item, {"Lung_L": (5, 35), "Lung_R": (3, 35)}) == (Status.DRAWN, None)  # 30 mm above a base
    assert known(item, {"Lung_L": (0, 35)}) == (Status.PARTIAL, (15, SLICES - 1))  # the scan cuts the lung
    far = {"Lung_L": (1, 35)}
    assert known(rod("Esophagus", 25, SLICES - 1), far) == (Status.PARTIAL, (25, SLICES - 1))
    assert known(item, {"Stomach": (2, 16)}) == (Status.DRAWN, None)


def test_a_whole_lung_is_drawn_and_one_cut_through_its_middle_is_not() -> None:
    assert known(ball("Lung_L", 20, 12)) == (Status.DRAWN, None)
    half = ball("Lung_L", 20, 12)
    lower = DrawnStructure(half.structure, tuple(z for z in half.contour_slices if z <= 20))
    mask = lower.structure.mask_zyx[: 20 - half.contour_slices[0] + 1]
    lower = replace(lower, structure=replace(lower.structure, mask_zyx=mask))
    found = judge(lower, {}, GEOMETRY)
    assert (found.status, found.drawn_slices) == (Status.PARTIAL, (0, 20))
    assert found.findings[0].severity is Severity.CHECK


def test_ends_that_are_set_by_convention_say_nothing() -> None:
    for name in ("Femur_Head_L", "VB_T05", "PTV1", "Cochlea_L"):
        assert known(rod(name, 12, 16)) == (Status.DRAWN, None)


def test_a_trachea_divides_with_a_full_section() -> None:
    assert known(rod("Trachea", 12, SLICES - 1)) == (Status.DRAWN, None)
    assert known(rod("Trachea", 12, 30)) == (Status.PARTIAL, (0, 30))


def test_a_gap_leaves_the_longest_run() -> None:
    whole = ball("Heart", 20, 10)
    item = DrawnStructure(whole.structure, tuple(z for z in whole.contour_slices if z not in (14, 15)))
    found = judge(item, {}, GEOMETRY)
    assert (found.status, found.drawn_slices) == (Status.PARTIAL, (16, SLICES - 1))
    assert (found.findings[0].code, found.findings[0].slices) == ("gaps", (14, 15))


def test_every_other_slice_is_not_drawn() -> None:
    item = drawn("Heart", dict.fromkeys(range(10, 30, 2), 10.0))
    found = judge(item, {}, GEOMETRY)
    assert (found.status, found.drawn_slices) == (Status.NOT_DRAWN, None)
    assert found.findings[0].slices == tuple(range(11, 28, 2))


def test_targets_may_lie_in_pieces() -> None:
    assert known(drawn("GTV", dict.fromkeys((10, 11, 12, 25, 26), 5.0))) == (Status.DRAWN, None)


def test_a_crumb_of_a_contour_is_a_gap() -> None:
    radii = dict.fromkeys(range(5, 36), 12.0) | {15: 1.0}
    found = judge(drawn("Lung_L", radii | {5: 2.0, 35: 2.0}), {}, GEOMETRY)
    assert (found.status, found.drawn_slices) == (Status.PARTIAL, (16, SLICES - 1))
    assert found.findings[0].slices == (15,)


def test_gaps_are_filled_by_the_shape_between() -> None:
    """Of a cone, what was left out comes back: between its neighbours, and within a voxel of what it was."""
    radii = {z: 4.0 + 0.5 * (z - 5) for z in range(5, 25)}
    whole = drawn("Heart", radii)
    left_out = {9, 13, 14}
    mask = whole.structure.mask_zyx.copy()
    mask[[z - 5 for z in left_out]] = False
    item = DrawnStructure(
        replace(whole.structure, mask_zyx=mask), tuple(z for z in whole.contour_slices if z not in left_out)
    )
    short = fill_gaps(item, GEOMETRY.spacing_zyx_mm, 6.0)
    assert short.contour_slices == tuple(z for z in range(5, 25) if z not in (13, 14))
    filled = fill_gaps(item, GEOMETRY.spacing_zyx_mm, 9.0)
    assert filled.contour_slices == whole.contour_slices
    for z in range(5, 25):
        section, true = filled.structure.mask_zyx[z - 5], whole.structure.mask_zyx[z - 5]
        if z not in left_out:
            assert np.array_equal(section, true)
            continue
        assert not np.any(whole.structure.mask_zyx[z - 6] & ~section)
        assert not np.any(section & ~whole.structure.mask_zyx[z - 3])
        assert not np.any(section & (np.hypot(Y, X) > radii[z] + 1)[whole.structure.box.slices[1:]])
        assert np.all(section | (np.hypot(Y, X) > radii[z] - 1)[whole.structure.box.slices[1:]])


def test_nothing_is_filled_where_one_side_holds_no_voxel() -> None:
    item = drawn("Heart", {10: 5.0, 11: 5.0, 13: 0.0})
    assert fill_gaps(item, GEOMETRY.spacing_zyx_mm, 9.0).contour_slices == (10, 11, 13)
