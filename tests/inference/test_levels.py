"""Levels of chains of vertebrae whose ribs and sacrum are seen, or not."""

import pytest

from contour.imaging.spine_anchors import RibPair
from contour.inference.levels import LEVELS, SeenVertebra, count_levels, members_of

WITH, WITHOUT, UNSEEN = RibPair(True, True), RibPair(False, False), RibPair(None, None)
LEFT_ONLY = RibPair(True, False)


def chain(*groups: tuple[RibPair, int]) -> tuple[SeenVertebra, ...]:
    return tuple(SeenVertebra(ribs) for ribs, count in groups for _ in range(count))


def levels_between(first: str, last: str) -> tuple[str, ...]:
    return LEVELS[LEVELS.index(first) : LEVELS.index(last) + 1]


@pytest.mark.parametrize(
    ("seen", "sacrum", "levels"),
    [
        (chain((WITHOUT, 3), (WITH, 12), (WITHOUT, 5)), True, levels_between("C5", "L5")),
        (chain((WITHOUT, 2), (WITH, 6)), False, levels_between("C6", "T06")),
        (chain((WITH, 4), (WITHOUT, 2)), False, levels_between("T09", "L2")),
        (chain((UNSEEN, 1), (WITHOUT, 3)), True, levels_between("L2", "L5")),
        # The vertebra at the image's end shows no sides of its own.
        (chain((UNSEEN, 1), (WITH, 3), (WITHOUT, 2), (UNSEEN, 1)), False, levels_between("T09", "L3")),
        # Only one side is in view.
        (chain((RibPair(True, None), 3), (WITHOUT, 1)), False, levels_between("T10", "L1")),
    ],
)
def test_levels_are_counted_from_an_anchor_in_view(seen, sacrum, levels):
    count = count_levels(seen, sacrum_below=sacrum)

    assert count.levels == levels
    assert count.withheld == ()


@pytest.mark.parametrize(
    ("seen", "sacrum", "reason"),
    [
        (chain((WITH, 5)), False, "neither the first nor the last pair"),
        (chain((WITHOUT, 3)), False, "neither ribs nor the sacrum"),
        (chain((UNSEEN, 4)), False, "neither ribs nor the sacrum"),
        (chain((WITHOUT, 1), (WITH, 11), (WITHOUT, 1)), False, "disagrees"),
        (chain((WITHOUT, 1), (WITH, 13), (WITHOUT, 1)), False, "disagrees"),
        (chain((WITH, 4), (WITHOUT, 4)), True, "disagrees"),
        (chain((WITH, 4), (WITHOUT, 6)), True, "the last pair of ribs makes the lowest one L6, the sacrum makes"),
        # 13 pairs, of which only the last one tells: the uppermost would be a neck that bears ribs.
        (chain((WITH, 13), (WITHOUT, 1)), False, "C7 would bear ribs"),
        (chain((WITHOUT, 7)), True, "T12 would bear no ribs"),
        # A rib on one side: the first, or a rudiment?
        (chain((WITHOUT, 2), (LEFT_ONLY, 1), (WITH, 3)), False, "neither the first nor the last pair"),
        (chain((WITH, 3), (LEFT_ONLY, 1), (WITHOUT, 2)), False, "neither the first nor the last pair"),
        # The end of the image hides whether the next one bears ribs.
        (chain((UNSEEN, 1), (WITH, 5)), False, "neither the first nor the last pair"),
    ],
)
def test_levels_are_withheld_with_the_reason(seen, sacrum, reason):
    count = count_levels(seen, sacrum_below=sacrum)

    assert set(count.levels) == {None}
    assert reason in count.withheld[0]
    assert count.evidence == ()


def test_beyond_a_gap_only_that_side_s_own_anchor_counts():
    above = [SeenVertebra(WITHOUT), *[SeenVertebra(WITH)] * 3, SeenVertebra(WITH, gap_below=True)]
    seen = (*above, SeenVertebra(WITH), SeenVertebra(WITH))

    count = count_levels(seen, sacrum_below=False)

    assert count.levels == ("C7", "T01", "T02", "T03", "T04", None, None)
    assert count.evidence == ("the first pair of ribs",)
    assert len(count.withheld) == 1


def test_both_sides_of_a_gap_from_their_own_anchors():
    above = [SeenVertebra(WITHOUT), *[SeenVertebra(WITH)] * 3, SeenVertebra(WITH, gap_below=True)]
    below = [SeenVertebra(WITH), SeenVertebra(WITH), SeenVertebra(WITHOUT)]

    count = count_levels((*above, *below), sacrum_below=False)

    assert count.levels == ("C7", "T01", "T02", "T03", "T04", "T11", "T12", "L1")


def test_levels_that_run_backwards_across_a_gap_are_all_withheld():
    above = [*[SeenVertebra(WITH)] * 3, SeenVertebra(WITHOUT, gap_below=True)]
    below = [SeenVertebra(WITHOUT), SeenVertebra(WITH), SeenVertebra(WITH)]

    count = count_levels((*above, *below), sacrum_below=False)

    assert set(count.levels) == {None}
    assert "contradict each other" in count.withheld[-1]


def test_members_of_families_and_of_structures():
    assert members_of("VBs")[0] == "VB_C1"
    assert members_of("Vertebrae")[-1] == "Vert_L5"
    assert members_of("SpinalCanal") == ("SpinalCanal",)
