"""What a protocol asks for and what became of it: whole, in part, outside the image, not found, or not made."""

from dataclasses import dataclass

import numpy as np

from contour.core.geometry import Geometry
from contour.core.nomenclature import whole_name
from contour.core.protocol import Protocol
from contour.core.report import Finding, State
from contour.core.structures import Structure, StructureSet
from contour.qa.structures import CUT_CODES

# The patient's sides by LPS axis: where coordinates fall, and where they grow.
_SIDES = (("right", "left"), ("front", "back"), ("below", "above"))
_IN_WORDS = {
    State.PART: "in part",
    State.OUTSIDE: "outside the image",
    State.NOT_FOUND: "not found",
    State.NOT_MADE: "not made",
    State.WITHHELD: "withheld",
}


@dataclass(frozen=True)
class Standing:
    """What became of a structure; `ends` names the sides of the image that it goes on beyond."""

    name: str
    required: bool
    state: State
    ends: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The state, and where it ends."""
        return f"{self.state} ({', '.join(self.ends)})" if self.ends else str(self.state)


def standings(structures: StructureSet, findings: tuple[Finding, ...], protocol: Protocol) -> tuple[Standing, ...]:
    """What became of each structure of the set, in its order; `findings` are those on it."""
    rules = {rule.name: rule for rule in protocol.structures}
    found = []
    for structure in structures.structures:
        about = tuple(f for f in findings if f.structure == structure.name)
        rule = rules.get(whole_name(structure.name))
        required, runs_on = (rule.required, rule.runs_on) if rule else (False, False)
        state = _state(structure, {f.code for f in about}, runs_on=runs_on)
        ends = _ends(about, structures.geometry) if state in (State.PART, State.RUNS_ON) else ()
        found.append(Standing(structure.name, required, state, ends))
    return tuple(found)


def summary(found: tuple[Standing, ...]) -> str:
    """One sentence on the required structures: how many are there in whole, and what became of the others."""
    required = [standing for standing in found if standing.required]
    lacking = {state: [s for s in required if s.state is state] for state in _IN_WORDS}
    there = len(required) - sum(map(len, lacking.values()))
    parts = [f"{there} of {len(required)} required structures are there in whole"]
    for state, standings_of in lacking.items():
        if standings_of:
            named = (f"{s.name} ({', '.join(s.ends)})" if s.ends else s.name for s in standings_of)
            parts.append(f"{_IN_WORDS[state]}: {', '.join(named)}")
    return "; ".join(parts) + "."


def _state(structure: Structure, codes: set[str], *, runs_on: bool) -> State:
    if "outside-view" in codes:
        return State.OUTSIDE
    if "withheld" in codes:
        return State.WITHHELD
    if codes & {"not-derived", "not-brought"}:
        return State.NOT_MADE
    if structure.empty:
        # That two structures share nothing is a fact of what was derived, not a failure.
        return State.WHOLE if "empty-derived" in codes else State.NOT_FOUND
    if codes & set(CUT_CODES):
        return State.RUNS_ON if runs_on else State.PART
    return State.WHOLE


def _ends(about: tuple[Finding, ...], geometry: Geometry) -> tuple[str, ...]:
    """The sides that the first and the last slice look to, and the edge of the field of view."""
    ends = []
    for finding in about:
        if finding.code == "cut-by-scan":
            towards = np.asarray(geometry.axes_lps[0])
            axis = int(np.abs(towards).argmax())
            low, high = _SIDES[axis] if towards[axis] > 0 else _SIDES[axis][::-1]
            ends += [low if z == 0 else high for z in finding.slices]
        elif finding.code == "cut-by-field":
            ends.append("edge of the field")
    return tuple(ends)
