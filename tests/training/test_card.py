from dataclasses import fields, replace
from datetime import date

import pytest

from contour.cases.evaluation import CaseResult, Evaluation
from contour.cases.score import CaseScore, Outcome
from contour.cases.statistics import BootstrapOptions
from contour.cases.store import Status
from contour.cases.summary import summarize
from contour.config import load_config, shipped_folder
from contour.core.report import PackageUse
from contour.imaging.metrics import Agreement
from contour.training.card import NOT_STATED, CardFacts, CardInput, card_text
from contour.training.engine import TrainedRun
from contour.training.export import Exported

TODAY = date(2026, 11, 23)
SECTIONS = (
    "## 0. Card metadata",
    "## 1. Model basic information",
    "## 2. Technical specifications",
    "## 3. Training data, methodology, and information",
    "## 4. Evaluation data, methodology, and results",
    "## 5. Other considerations",
)


@pytest.fixture(scope="module")
def facts(exported_run: tuple[TrainedRun, Exported]) -> CardFacts:
    return exported_run[1].facts


def evaluated(facts: CardFacts) -> CardFacts:
    """With a Dice of .7 to .92 on twelve patients, one of whom has no lung found."""
    scores = []
    for i in range(12):
        dice, outcome = (0.7 + 0.02 * i, Outcome.FOUND) if i else (0.0, Outcome.NOT_FOUND)
        agreement = Agreement(dice, dice, 3.0, 4.0, 5.0, 1.0, 1.0, 10.0, 1.0, 1.0)
        scores.append(CaseScore(f"c{i}", f"p{i}", "Lung_L", Status.DRAWN, outcome, agreement))
    cases = tuple(CaseResult(s.case, s.patient, "", None, (s,), (), (), 0.0, 0.0) for s in scores)
    used = (PackageUse("thorax_ct", "1", "f" * 64, "cpu"),)
    lines = summarize(scores, BootstrapOptions())
    evaluation = Evaluation("0", "thorax_ct", used, "held-out cases", (3.0,), BootstrapOptions(), lines, (), cases)
    return replace(facts, evaluation=evaluation)


def test_the_card_has_the_sections_of_the_form_in_order(facts: CardFacts) -> None:
    text = card_text(CardInput(), facts, TODAY)
    places = [text.index(section) for section in SECTIONS]
    assert places == sorted(places)
    assert "10.1016/j.phro.2026.100940" in text
    assert "Creation date: 2026-11-23" in text


def test_what_nobody_said_is_said_to_be_missing(facts: CardFacts) -> None:
    text = card_text(CardInput(), facts, TODAY)
    for field in ("Approved by", "Observed limitations", "Conflict of interest", "Reference standard", "Monitoring"):
        assert f"- {field}: {NOT_STATED}" in text
    assert "Not approved for medical use" in text
    assert "**Not evaluated yet**" in text


def test_figures_that_were_measured_otherwise_stand_in_the_place_of_an_evaluation(facts: CardFacts) -> None:
    text = card_text(CardInput(), replace(facts, figures="| Lung_L | .9 |"), TODAY)
    assert SECTIONS[4] in text.split("| Lung_L | .9 |")[0]
    assert SECTIONS[5] in text.split("| Lung_L | .9 |")[1]
    assert "Not evaluated yet" not in text


def test_the_percentiles_of_an_mr_are_stated(facts: CardFacts) -> None:
    preprocessing = replace(facts.manifest.preprocessing, percentiles=(0.5, 99.5))
    manifest = replace(facts.manifest, preprocessing=preprocessing)
    assert "percentiles 0.5 and 99.5 mapped to 0 and 1" in card_text(
        CardInput(), replace(facts, manifest=manifest), TODAY
    )
    assert "percentiles" not in card_text(CardInput(), facts, TODAY)


def test_all_that_is_said_stands_on_the_card(facts: CardFacts) -> None:
    said = {f.name: f"said of {f.name}" for f in fields(CardInput) if f.name not in ("data", "licences")}
    text = card_text(CardInput(**said, data=("source one", "source two"), licences=("CC BY 4.0",)), facts, TODAY)
    missing = [words for words in (*said.values(), "source one", "source two", "CC BY 4.0") if words not in text]
    assert missing == []
    assert NOT_STATED not in text


def test_the_card_states_the_facts(facts: CardFacts) -> None:
    text = card_text(CardInput(), facts, TODAY)
    manifest = facts.manifest
    assert f"`{manifest.onnx_sha256}`" in text
    assert f"`{manifest.training.data_sha256}`" in text
    assert "Lung_L, Lung_R" in text
    assert "Number of patients: 2" in text
    assert "2 cases trained, 0 validated" in text
    assert f"Trainable parameters: {facts.parameters:,}" in text
    assert "| case0 |" in text  # held to torch on this one


def test_figures_are_medians_with_intervals_and_failures(facts: CardFacts) -> None:
    text = card_text(CardInput(), evaluated(facts), TODAY)
    (line,) = (line for line in text.splitlines() if line.startswith("| Lung_L"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "12 of 12"
    assert cells[2] == "1"
    assert cells[3].startswith("0.810 [")
    assert "surface Dice 3 mm" in text
    assert "held-out cases; 12 cases of 12 patients" in text
    assert "Not evaluated" not in text


def test_a_variants_card_does_not_claim_the_originals_figures(facts: CardFacts) -> None:
    text = card_text(CardInput(), replace(evaluated(facts), variant="Half precision."), TODAY)
    assert "**Half precision.**" in text
    assert "Before its numbers were made smaller" in text
    assert "figures of the network before its numbers were made smaller" in text


def test_the_shipped_form_can_be_filled_in() -> None:
    said = load_config(shipped_folder("configs") / "card" / "about.yaml", CardInput)
    assert {f.name for f in fields(CardInput)} == set(said.__dataclass_fields__)
    assert said.clearance.startswith("Not approved")
