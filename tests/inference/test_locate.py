from dataclasses import replace

import numpy as np
import pytest
from coarse_bodies import CODES, MM, ORGANS, ValueNetwork, body

from contour.core.volume import Volume
from contour.inference.locate import End, Location, locate
from contour.inference.organs import Site, organ

TRUNK = (-440.0, 312.0)
CHEST = (-176.0, 24.0)
NECK = (-40.0, 200.0)


def located(low_mm: float, high_mm: float, without: tuple[str, ...] = ()) -> Location:
    return locate(ValueNetwork(), body(low_mm, high_mm, without))


def test_organs_are_seen_with_their_volumes_boxes_and_middles() -> None:
    found = located(*TRUNK)
    assert {s.name for s in found.sightings} == set(ORGANS)
    assert found.doubt == ""
    for seen in found.sightings:
        (low, high), (half, left, back) = ORGANS[seen.name]
        assert seen.cut == ()
        assert seen.volume_ml == pytest.approx((high - low) * (2 * half) ** 2 / 1000, rel=0.15)
        assert np.allclose(seen.centre_lps_mm[:2], (left, back), atol=MM / 2)
        assert seen.box.start_zyx[0] * MM == pytest.approx(low - TRUNK[0], abs=MM)
        assert seen.box.stop_zyx[0] * MM == pytest.approx(high - TRUNK[0], abs=MM)
    assert found.lungs_tip_mm == pytest.approx(-TRUNK[0], abs=25)
    assert found.middle_lps_x_mm == pytest.approx(0, abs=MM / 2)
    assert found.sites == (Site.HEAD, Site.NECK, Site.CHEST, Site.ABDOMEN)


@pytest.mark.parametrize("reverse", [(0,), (0, 1), (1, 2)])
def test_the_order_of_storage_changes_nothing(reverse: tuple[int, ...]) -> None:
    volume = body(*CHEST)
    corner = [n - 1 if axis in reverse else 0 for axis, n in enumerate(volume.geometry.shape_zyx)]
    axes = tuple(
        tuple(-c if axis in reverse else c for c in direction)
        for axis, direction in enumerate(volume.geometry.axes_lps)
    )
    x, y, z = (float(mm) for mm in volume.geometry.index_to_lps_mm(corner))
    grid = replace(volume.geometry, origin_lps_mm=(x, y, z), axes_lps=axes)
    turned = locate(ValueNetwork(), Volume(np.flip(volume.voxels_zyx, reverse), grid, volume.modality))
    assert turned == locate(ValueNetwork(), volume)


def test_a_chest_states_what_lies_beyond_its_ends() -> None:
    found = located(*CHEST)
    assert found.sites == (Site.CHEST,)
    for name in ("Liver", "Spleen", "Kidney_L", "Spine_L", "Bladder", "Rectum"):
        assert found.outside(name) is End.BELOW, name
    for name in ("Brain", "Mandible", "Brainstem", "Parotid_L", "Eye_L"):
        assert found.outside(name) is End.ABOVE, name
    for name in ("Lung_L", "Heart", "Esophagus", "Bronchus", "Nonsense"):
        assert found.outside(name) is None, name


def test_an_organ_that_should_be_in_view_and_is_not_seen_is_not_called_outside() -> None:
    found = located(-440, 40, without=("Liver", "Spleen"))
    assert found.sighting("Liver") is None
    assert found.outside("Liver") is None
    assert found.outside("Spleen") is None
    assert found.outside("Brain") is End.ABOVE


def test_a_slab_through_the_chest_alone_still_tells_above_from_below() -> None:
    """Lungs, heart and spine go through both ends: only bounds are left."""
    found = located(-180, -90)
    assert all(len(s.cut) == 2 for s in found.sightings if s.name != "Heart")
    assert found.outside("Kidney_L") is End.BELOW
    assert found.outside("Brain") is End.ABOVE


def test_a_neck_shows_the_tips_of_the_lungs_and_no_heart() -> None:
    found = located(*NECK)
    assert found.sites == (Site.HEAD, Site.NECK)
    assert found.outside("Heart") is End.BELOW
    assert found.visible_part("Lung_L") < 0.25
    assert found.visible_part("Larynx") == 1.0
    assert found.visible_part("Parotid_L") == 1.0  # by its height
    assert found.visible_part("Prostate") == 0.0


def test_where_to_look_for_organs_that_are_seen_and_for_those_among_them() -> None:
    found = located(*TRUNK)
    around = found.around(("Liver",))
    assert around is not None
    low, high = (around.index_to_lps_mm(corner)[2] for corner in ((0, 0, 0), (around.shape_zyx[0] - 1, 0, 0)))
    assert -320 - 60 < low + TRUNK[0] < -320 - 24
    assert -240 + 24 < high + TRUNK[0] < -240 + 60
    assert around.shape_zyx[2] * MM < 80 + 2 * 48
    gullet = found.around(("Esophagus",))
    assert gullet is not None
    reach = gullet.shape_zyx[0] * MM
    known = organ("Esophagus")
    assert known is not None
    assert reach > known.high_mm - known.low_mm + 80
    both = found.around(("Liver", "Heart"))
    assert both is not None
    assert both.shape_zyx[0] >= around.shape_zyx[0]


def test_where_nothing_tells_everything_is_searched() -> None:
    assert located(*TRUNK).around(("Liver", "Nonsense")) is None
    assert located(*TRUNK, without=("Liver",)).around(("Liver",)) is None
    assert located(*TRUNK).around(()) is None


def test_sides_that_contradict_each_other_leave_doubt() -> None:
    lying = dict(CODES) | {"Lung_L": CODES["Lung_R"], "Lung_R": CODES["Lung_L"]}
    found = locate(ValueNetwork(lying), body(*CHEST))
    assert found.doubt == "Lung_L is seen to the right of Lung_R"
    assert found.outside("Liver") is None
    assert found.around(("Heart",)) is None


def test_organs_in_no_order_leave_doubt() -> None:
    exchanged = {"Brain": "Liver", "Mandible": "Spleen", "Larynx": "Spine_L"}
    exchanged |= {other: name for name, other in exchanged.items()}
    lying = {name: CODES[other] for name, other in exchanged.items()}
    found = locate(ValueNetwork(lying), body(*TRUNK))
    assert "no order that a body has" in found.doubt


def test_what_no_body_has_there_is_set_aside() -> None:
    """A scrap of lumbar spine beside the mandible."""
    volume = body(*NECK)
    volume.voxels_zyx[14:18, 8:12, 20:24] = CODES["Spine_L"]
    found = locate(ValueNetwork(), volume)
    assert found.sighting("Spine_L") is None
    assert found.outside("Spine_L") is End.BELOW
    assert replace(found, sightings=located(*NECK).sightings) == located(*NECK)


def test_an_organ_that_is_not_seen_is_looked_for_where_it_runs() -> None:
    found = located(*TRUNK)
    cord = found.around(("SpinalCord",))  # these bodies have none to be seen: it is where the spine is
    assert "SpinalCord" not in found.able
    assert cord is not None
    assert cord.shape_zyx[0] > 0.6 * found.geometry.shape_zyx[0]
    assert cord.shape_zyx[2] * MM < 32 + 2 * 48


def test_an_image_of_nothing_known_is_in_doubt() -> None:
    found = located(-420, -400, without=("Spine_L",))
    assert found.doubt == "nothing that it knows is seen"
    assert found.sites == ()
    assert found.lungs_tip_mm is None
    assert found.middle_lps_x_mm is None


def test_a_family_is_looked_for_around_what_its_members_lie_in_and_makes_no_site() -> None:
    found = located(*TRUNK)
    part = found.around(("VBs",))
    assert part is not None
    depth, height, width = part.shape_zyx
    assert depth * MM > 425 + 15  # the lumbar and thoracic spine are seen, the cervical spine lies above
    assert height < found.geometry.shape_zyx[1]
    assert width < found.geometry.shape_zyx[2]
    assert organ("VBs") is None
    assert not found.tells_of("VBs")
