"""A package's model card in the form proposed for radiotherapy.

The form is AID-RT (Barragan-Montero et al., Physics and Imaging in Radiation Oncology 38, 2026, 100940,
10.1016/j.phro.2026.100940; template 10.5281/zenodo.15336016): its six sections and the fields it requires. What the
training knows is filled in; what only people know comes from a YAML file (`CardInput`), and where they said nothing the
card says so.
"""

from dataclasses import dataclass, fields
from datetime import date
from importlib.resources import files
from math import isinf

from jinja2 import Environment, StrictUndefined

from contour.cases.evaluation import Evaluation
from contour.cases.score import Measure
from contour.cases.statistics import Interval
from contour.cases.summary import StructureSummary
from contour.inference.likeness import Likeness
from contour.inference.package import Manifest
from contour.training.config import TrainingConfig

NOT_STATED = "Not stated."


@dataclass(frozen=True)
class CardInput:
    """What only people know of a package; all of it free text, in Markdown. Empty: "Not stated." stands on the card.

    `data` lists the sources of the training data, `licences` theirs; both go into the manifest too.
    """

    card_version: str = "1.0"
    card_changes: str = ""
    version_changes: str = ""
    doi: str = ""
    summary: str = ""
    anatomical_site: str = ""
    clearance: str = "Not approved for medical use: research only. Every contour is for a clinician's review."
    approved_by: str = ""
    intended_users: str = ""
    observed_limitations: str = ""
    potential_limitations: str = ""
    developed_by: str = ""
    conflict_of_interest: str = ""
    citation: str = ""
    environmental_impact: str = ""
    data: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    acquisition_period: str = ""
    inclusion_exclusion: str = ""
    scanners_and_parameters: str = ""
    patient_positioning: str = ""
    reference_standard: str = ""
    reference_standard_qa: str = ""
    demographics: str = ""
    evaluated_by: str = ""
    evaluation_data: str = ""
    qualitative_evaluation: str = ""
    responsible_use: str = ""
    risk_analysis: str = ""
    monitoring: str = ""


@dataclass(frozen=True)
class CardFacts:
    """What is known without asking: the manifest, the training, and what was measured.

    `parameters` are trainable; `training_cases` and `validation_cases` count cases, None where no record of the run
    exists. `likenesses` compare ONNX Runtime with torch on real cases; `random_difference` is that of logits on random
    numbers, in parts of the largest logit. `variant` says what was changed in the numbers
    of the network, and what that costs; empty for the network as it was trained. `figures` is more that was measured,
    in Markdown.
    """

    manifest: Manifest
    config: TrainingConfig
    parameters: int
    training_cases: int | None
    validation_cases: int | None
    start: str
    evaluation: Evaluation | None
    likenesses: tuple[Likeness, ...]
    random_difference: float
    variant: str = ""
    figures: str = ""


@dataclass(frozen=True)
class _Figure:
    """A line of the card's table, as text."""

    structure: str
    cases: str
    missed: str
    dice: str
    poor: str
    surface_dice: str
    hd95_mm: str


def card_text(said: CardInput, facts: CardFacts, today: date) -> str:
    """The card in Markdown."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = files("contour.training").joinpath("templates/card.md.j2").read_text(encoding="utf-8")
    evaluation = facts.evaluation
    text = environment.from_string(template).render(
        said={field.name: getattr(said, field.name) or NOT_STATED for field in fields(said)},
        facts=facts,
        manifest=facts.manifest,
        config=facts.config,
        figures=[_figure(line) for line in evaluation.structures] if evaluation else [],
        today=today.isoformat(),
    )
    return text.rstrip() + "\n"


def _figure(line: StructureSummary) -> _Figure:
    dice, surface, hd95 = (line.measure(m) for m in (Measure.DICE, Measure.SURFACE_DICE, Measure.HD95_MM))
    return _Figure(
        structure=line.structure,
        cases=f"{line.cases} of {line.patients}",
        missed=str(line.not_found),
        dice=f"{dice.median:.3f}{_ends(dice.median_interval)}",
        poor=f"{dice.poor:.3f}",
        surface_dice=f"{surface.median:.3f}{_ends(surface.median_interval)}",
        hd95_mm="infinite" if isinf(hd95.median) else f"{hd95.median:.1f}",
    )


def _ends(ends: Interval | None) -> str:
    return f" [{ends.low:.3f}, {ends.high:.3f}]" if ends else ""
