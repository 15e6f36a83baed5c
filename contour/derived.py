"""The derived structures of a protocol: made where all that they need is there, and stated where it is not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from contour.core.geometry import Geometry
from contour.core.nomenclature import UNNAMED_COLOR_RGB, lookup
from contour.core.protocol import DerivedStructure, Operation, Protocol, ProtocolStructure
from contour.core.report import Finding, Severity
from contour.core.structures import CroppedMask, InterpretedType, Structure, StructureSet, united
from contour.imaging.derive import derive
from contour.qa.structures import CUT_CODES, cut_by_image


@dataclass(frozen=True)
class Derived:
    """What was derived, in the protocol's order, the rules that these structures have, and what is to be said."""

    structures: tuple[Structure, ...]
    rules: tuple[ProtocolStructure, ...]
    findings: tuple[Finding, ...]


def derive_structures(
    protocol: Protocol,
    drawn: StructureSet,
    targets: tuple[Structure, ...],
    findings: tuple[Finding, ...],
    families: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Derived:
    """The protocol's derived structures, from those in `drawn` and in `targets`, on the grid of `drawn`.

    One that lacks what it is made from is not made: a union with one lung would pass for both. It is there, empty, with
    a finding; those that wait for targets that nobody gave are left out, and named in one finding. What the image
    cuts itself is a part, and so is what is left of a structure that it cuts (`findings` say which). `families` names
    the members that were drawn of each family (`VBs`), which stand together where something is made from it.
    """
    making = _Making(protocol, drawn.geometry)
    making.known = {s.name: s for s in (*drawn.structures, *targets) if not s.empty}
    making.runs_on = {rule.name for rule in protocol.structures if rule.runs_on}
    making.cut = {f.structure for f in findings if f.code in CUT_CODES and f.structure} - making.runs_on
    for family, names in families.items():
        members = [making.known[name] for name in names if name in making.known]
        if members:
            making.known[family] = _family(family, members)
            making.cut |= {family} if making.cut & set(names) else set()
    made = {rule.name: making.make(rule) for rule in protocol.derived}
    written = [rule for rule in protocol.derived if not rule.helper]
    helpers = {rule.name for rule in protocol.derived if rule.helper}
    return Derived(
        tuple(structure for rule in written if (structure := made[rule.name]) is not None),
        tuple(_rule(rule, making.runs_on) for rule in written),
        (*(f for f in making.findings if f.structure not in helpers), *making.still_waiting()),
    )


@dataclass
class _Making:
    """What is known so far, which of it the image cuts, which of it usually runs on, and what waits for targets."""

    protocol: Protocol
    geometry: Geometry
    known: dict[str, Structure] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    runs_on: set[str] = field(default_factory=set)
    waiting: dict[str, set[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def make(self, rule: DerivedStructure) -> Structure | None:
        """The structure; empty where something is missing, None where it waits for a target."""
        missing = [name for name in rule.needs if name not in self.known]
        heights = [height.structure for height in (rule.lowest, rule.highest) if height]
        missing += [name for name in heights if name in self.known and self.known[name].empty]
        targets = {name for name in missing if name in self.protocol.targets}
        targets |= {target for name in missing for target in self.waiting.get(name, ())}
        if targets:
            self.waiting[rule.name] = targets
            return None
        if missing:
            self.findings.append(_not_made(rule, missing))
            return _structure(rule, CroppedMask(np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)), ())
        used = [self.known[name] for name in rule.uses if name in self.known]
        masks = {structure.name: CroppedMask(structure.mask_zyx, structure.offset_zyx) for structure in used}
        structure = _structure(rule, derive(rule, masks, self.geometry), used)
        self.known[rule.name] = structure
        self._look_over(structure, rule)
        return structure

    def _look_over(self, structure: Structure, rule: DerivedStructure) -> None:
        if structure.empty:
            message = f"{rule.name} is empty: {rule.words} holds no voxel."
            self.findings.append(Finding("empty-derived", Severity.INFO, message, rule.name))
            return
        if self.runs_on & set(rule.uses):
            self.runs_on.add(rule.name)
        alone = StructureSet(self.protocol.name[:16], self.geometry, (structure,))
        about = cut_by_image(structure, alone, _rule(rule, self.runs_on))
        # What grows or is joined reaches the image's end itself; what is taken away beyond it is no loss.
        if rule.operation in (Operation.SHRUNK, Operation.SUBTRACTION) and rule.of[0] in self.cut:
            message = f"{rule.name} is made from {rule.of[0]}, which the image cuts: it is a part."
            about.append(Finding("of-a-part", Severity.CHECK, message, rule.name))
        if about and rule.name not in self.runs_on:
            self.cut.add(rule.name)
        self.findings += about

    def still_waiting(self) -> tuple[Finding, ...]:
        """One finding for all that needs targets that were not given."""
        named = [name for name in self.waiting if not self._rule_of(name).helper]
        if not named:
            return ()
        targets = sorted({target for name in named for target in self.waiting[name]})
        required = any(self._rule_of(name).required for name in named)
        message = f"{', '.join(targets)} not given: without, {', '.join(named)} cannot be made."
        return (Finding("targets-not-given", Severity.CHECK if required else Severity.INFO, message),)

    def _rule_of(self, name: str) -> DerivedStructure:
        return next(rule for rule in self.protocol.derived if rule.name == name)


def _family(name: str, members: list[Structure]) -> Structure:
    """The members of a family as one, from which others are made; it is not written."""
    together = united([CroppedMask(member.mask_zyx, member.offset_zyx) for member in members])
    return replace(members[0], name=name, mask_zyx=together.mask_zyx, offset_zyx=together.offset_zyx)


def _rule(rule: DerivedStructure, runs_on: set[str]) -> ProtocolStructure:
    return ProtocolStructure(rule.name, required=rule.required, runs_on=rule.name in runs_on)


def _not_made(rule: DerivedStructure, missing: list[str]) -> Finding:
    severity = Severity.CHECK if rule.required else Severity.INFO
    message = f"{rule.name} ({rule.words}) was not made: {', '.join(missing)} is not there."
    return Finding("not-derived", severity, message, rule.name)


def _structure(rule: DerivedStructure, mask: CroppedMask, used: Iterable[Structure]) -> Structure:
    entry = lookup(rule.name)
    confidences = [structure.confidence for structure in used if structure.confidence is not None]
    drawn_by = {structure.provenance for structure in used if structure.provenance is not None}
    return Structure(
        name=rule.name,
        color_rgb=rule.color_rgb or (entry.color_rgb if entry else UNNAMED_COLOR_RGB),
        interpreted_type=entry.interpreted_type if entry else InterpretedType.AVOIDANCE,
        mask_zyx=mask.mask_zyx,
        offset_zyx=mask.offset_zyx,
        confidence=min(confidences, default=None),
        provenance=drawn_by.pop() if len(drawn_by) == 1 else None,
        derivation=rule.words,
    )
