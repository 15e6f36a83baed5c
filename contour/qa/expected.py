"""What is to be expected of each drawing here: by the site's calibration; and what is withheld for it."""

from dataclasses import replace

import numpy as np

from contour.core.protocol import ProtocolStructure
from contour.core.report import Finding, Severity
from contour.core.structures import Expectation, Structure
from contour.qa.calibration import Calibration, expectation


def expectations(
    structures: tuple[Structure, ...], calibrations: tuple[Calibration, ...]
) -> tuple[dict[str, Expectation], tuple[Finding, ...]]:
    """The surface Dice to be expected of structures, by name, and a sentence on each.

    Of a network that was not calibrated, or on too few cases, nothing is expected.
    """
    found = {one.name: expected for one in structures if (expected := expectation(one, calibrations)) is not None}
    return found, tuple(_said(name, expected) for name, expected in found.items())


def _said(name: str, expected: Expectation) -> Finding:
    message = (
        f"{name}: surface Dice at {expected.tolerance_mm:g} mm expected {expected.words}, in "
        f"{100 * expected.coverage:g} of 100 cases like the {expected.cases} of {expected.source}."
    )
    if expected.beyond:
        message += " The network is less sure here than on any of these: it may be worse than all of them."
    severity = Severity.CHECK if expected.beyond else Severity.INFO
    return Finding("expected-agreement", severity, message, name)


def withheld(
    structure: Structure, rule: ProtocolStructure, expected: Expectation | None
) -> tuple[Structure, tuple[Finding, ...]]:
    """`structure`, or nothing of it where the protocol would rather have nothing than so doubtful a drawing."""
    doubt = structure.confidence if expected is None else expected.surface_dice
    if rule.abstain_below is None or structure.empty or doubt is None or doubt >= rule.abstain_below:
        return structure, ()
    what = "its confidence is" if expected is None else f"its expected surface Dice at {expected.tolerance_mm:g} mm is"
    message = (
        f"{structure.name} was drawn and withheld: {what} {doubt:.2f}, and the protocol asks for "
        f"{rule.abstain_below:g}. Draw it by hand."
    )
    nothing = replace(structure, mask_zyx=np.zeros((0, 0, 0), dtype=np.bool_), offset_zyx=(0, 0, 0))
    return nothing, (Finding("withheld", Severity.CHECK, message, structure.name),)
