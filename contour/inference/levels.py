"""Levels of vertebrae, counted from what tells them: the first rib, the last rib, the sacrum. Never guessed.

Each anchor that is in view says which level one vertebra has; the others follow by counting along a chain without a
gap. Levels are stated where every anchor of a chain says the same and no rib contradicts; otherwise they are withheld,
with the reason. So eleven or thirteen pairs of ribs, or four or six lumbar vertebrae, are found out where two anchors
are in view, and where only one is the count is as good as that anchor.
"""

from dataclasses import dataclass
from itertools import pairwise

from contour.imaging.spine_anchors import RibPair
from contour.inference.package import FAMILIES

LEVELS = (
    *(f"C{i}" for i in range(1, 8)),
    *(f"T{i:02d}" for i in range(1, 13)),
    *(f"L{i}" for i in range(1, 6)),
)
FIRST_RIB, LAST_RIB, LOWEST = LEVELS.index("T01"), LEVELS.index("T12"), LEVELS.index("L5")
NO_END_OF_RIBS = (
    "neither the first nor the last pair of ribs is seen with a vertebra without ribs beside it, nor the sacrum"
)
NO_ANCHOR = "neither ribs nor the sacrum are seen"


@dataclass(frozen=True)
class SeenVertebra:
    """What counting needs to know of a vertebra; `gap_below` says that the next one is not its neighbour."""

    ribs: RibPair
    gap_below: bool = False

    @property
    def bears_ribs(self) -> bool:
        """On both sides, or on one where the other is out of view."""
        sides = (self.ribs.left, self.ribs.right)
        return True in sides and False not in sides

    @property
    def rib_free(self) -> bool:
        """Both sides are in view, and neither bears a rib."""
        return self.ribs.left is False and self.ribs.right is False


@dataclass(frozen=True)
class Anchor:
    """The vertebra at `index` of the chain has the level at `level` of `LEVELS`, because of `evidence`."""

    index: int
    level: int
    evidence: str


@dataclass(frozen=True)
class Count:
    """The level of each vertebra from top to bottom, None where withheld, and a sentence for what is withheld.

    `evidence` says what the stated levels were counted from.
    """

    levels: tuple[str | None, ...]
    evidence: tuple[str, ...]
    withheld: tuple[str, ...]


def members_of(name: str) -> tuple[str, ...]:
    """The names that the members of a family bear where their levels are known; of a structure, its own."""
    return tuple(f"{FAMILIES[name]}{level}" for level in LEVELS) if name in FAMILIES else (name,)


def count_levels(seen: tuple[SeenVertebra, ...], *, sacrum_below: bool) -> Count:
    """The levels of `seen`, from top to bottom; `sacrum_below` says that the sacrum follows the last one."""
    levels: list[str | None] = []
    evidence: list[str] = []
    withheld: list[str] = []
    for chain, is_last in _chains(seen):
        anchors = _anchors(chain, sacrum_below=sacrum_below and is_last)
        reason = _objection(chain, anchors)
        if reason:
            withheld.append(reason)
            levels += [None] * len(chain)
            continue
        evidence += [anchor.evidence for anchor in anchors]
        top = anchors[0].level - anchors[0].index
        levels += LEVELS[top : top + len(chain)]
    return _in_order(Count(tuple(levels), tuple(evidence), tuple(withheld)))


def _chains(seen: tuple[SeenVertebra, ...]) -> list[tuple[tuple[SeenVertebra, ...], bool]]:
    """Runs of neighbours, and whether each is the lowest."""
    ends = [i + 1 for i, one in enumerate(seen) if one.gap_below and i + 1 < len(seen)]
    starts = [0, *ends]
    return [(seen[a:b], b == len(seen)) for a, b in zip(starts, [*ends, len(seen)], strict=True) if b > a]


def _anchors(chain: tuple[SeenVertebra, ...], *, sacrum_below: bool) -> tuple[Anchor, ...]:
    bearing = [i for i, one in enumerate(chain) if one.bears_ribs]
    any_rib = [i for i, one in enumerate(chain) if True in (one.ribs.left, one.ribs.right)]
    anchors = []
    if bearing and bearing[0] == any_rib[0] > 0 and chain[bearing[0] - 1].rib_free:
        anchors.append(Anchor(bearing[0], FIRST_RIB, "the first pair of ribs"))
    if bearing and bearing[-1] == any_rib[-1] < len(chain) - 1 and chain[bearing[-1] + 1].rib_free:
        anchors.append(Anchor(bearing[-1], LAST_RIB, "the last pair of ribs"))
    if sacrum_below:
        anchors.append(Anchor(len(chain) - 1, LOWEST, "the sacrum"))
    return tuple(anchors)


def _objection(chain: tuple[SeenVertebra, ...], anchors: tuple[Anchor, ...]) -> str:
    """Why the levels of a chain are not stated; empty when they are."""
    if not anchors:
        ribs = any(True in (one.ribs.left, one.ribs.right) for one in chain)
        return f"{NO_END_OF_RIBS if ribs else NO_ANCHOR}: nothing in view tells the levels of {_vertebrae(len(chain))}"
    tops = {anchor.level - anchor.index for anchor in anchors}
    if len(tops) > 1:
        said = ", ".join(
            f"{a.evidence} makes the lowest one {_name(a.level + len(chain) - 1 - a.index)}" for a in anchors
        )
        return f"what tells levels disagrees: {said} (a variant of the spine, or a vertebra or rib drawn wrongly)"
    top = tops.pop()
    if top < 0 or top + len(chain) > len(LEVELS):
        return f"counted from {anchors[0].evidence} there would be more than 7 cervical or 5 lumbar vertebrae"
    for i, one in enumerate(chain):
        level = top + i
        if one.bears_ribs and not FIRST_RIB <= level <= LAST_RIB:
            return f"counted from {anchors[0].evidence}, {LEVELS[level]} would bear ribs"
        if one.rib_free and level in (FIRST_RIB, LAST_RIB):
            return f"counted from {anchors[0].evidence}, {LEVELS[level]} would bear no ribs"
    return ""


def _name(level: int) -> str:
    """The name of a level, also of those that a usual spine has not."""
    if level > LOWEST:
        return f"L{level - LAST_RIB}"
    return LEVELS[level] if level >= 0 else f"one above {LEVELS[0]}"


def _vertebrae(count: int) -> str:
    return "1 vertebra" if count == 1 else f"{count} vertebrae"


def _in_order(count: Count) -> Count:
    """Levels of two chains may not repeat or run backwards: then neither is stated."""
    stated = [LEVELS.index(level) for level in count.levels if level is not None]
    if all(a < b for a, b in pairwise(stated)):
        return count
    reason = "levels counted above and below a gap in the spine contradict each other"
    return Count((None,) * len(count.levels), (), (*count.withheld, reason))
