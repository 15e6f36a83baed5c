"""Who may take whose place: decisions on made scores, whose true differences are known."""

from dataclasses import replace

import numpy as np
import pytest

from contour.cases.evaluation import CaseResult, Evaluation
from contour.cases.promote import Decision, Judged, PromotionRules, Verdict, decide, verdict_sentence
from contour.cases.score import CaseScore, Measure, Outcome
from contour.cases.statistics import BootstrapOptions
from contour.cases.store import Status
from contour.core.errors import ConfigError
from contour.core.report import PackageUse
from contour.core.volume import Modality
from contour.imaging.metrics import Agreement
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Label, Manifest, Training

NEW, OLD = "a" * 64, "b" * 64
SEEN = Training((), (), "", patients=("trained",), cases_sha256=("c" * 64,))


def manifest(sha256: str, names: tuple[str, ...] = ("Heart", "Liver")) -> Manifest:
    return Manifest(
        name="tiny",
        version="2.0.0" if sha256 == NEW else "1.0.0",
        title="Made",
        modality=Modality.CT,
        onnx_sha256=sha256,
        licence="none",
        patch_shape_zyx=(16, 16, 16),
        preprocessing=Preprocessing((3.0, 3.0, 3.0), (-1000.0, 1000.0), 0.0, 500.0),
        labels=tuple(Label(i, name) for i, name in enumerate(names, start=1)),
        training=SEEN,
    )


def score(case: str, structure: str, dice: float | None, outcome: Outcome = Outcome.FOUND) -> CaseScore:
    agreement = None if dice is None else Agreement(dice, dice, 3.0, 1.0, 1.0, 1.0, 1.0, 10.0, 1.0, 1.0)
    return CaseScore(case, case, structure, Status.DRAWN, outcome, agreement)


def evaluation(sha256: str, scores: dict[str, list[CaseScore]]) -> Evaluation:
    cases = tuple(CaseResult(case, case, case, None, tuple(found), (), (), 0.0, 0.0) for case, found in scores.items())
    used = (PackageUse("tiny", "1", sha256, "cpu"),)
    return Evaluation("0", "tiny", used, "held-out cases", (3.0,), BootstrapOptions(), (), (), cases)


def judged(sha256: str, dices: dict[str, np.ndarray], names: tuple[str, ...] = ("Heart", "Liver")) -> Judged:
    """A patient for each value."""
    count = max(len(values) for values in dices.values())
    scores = {
        f"p{i:02d}": [score(f"p{i:02d}", name, float(values[i])) for name, values in dices.items() if i < len(values)]
        for i in range(count)
    }
    return Judged(manifest(sha256, names), evaluation(sha256, scores))


def verdicts(decision: Decision) -> dict[tuple[str, Measure], Verdict]:
    return {(c.structure, c.measure): c.verdict for c in decision.comparisons}


BASE = np.linspace(0.7, 0.95, 12)


def test_the_same_scores_are_not_inferior_even_without_a_margin_below_zero() -> None:
    dices = {"Heart": BASE, "Liver": BASE[::-1]}
    decision = decide(judged(NEW, dices), judged(OLD, dices))
    assert decision.passes
    assert set(verdicts(decision).values()) == {Verdict.NOT_INFERIOR}
    assert {c.bound for c in decision.comparisons} == {0.0}
    assert (decision.new.sha256, decision.replaced.sha256, decision.patients) == (NEW, OLD, 12)
    assert "Not inferior in any of 2" in verdict_sentence(decision)


def test_one_structure_that_is_worse_stops_all() -> None:
    old = judged(OLD, {"Heart": BASE, "Liver": BASE})
    decision = decide(judged(NEW, {"Heart": BASE + 0.04, "Liver": BASE - 0.05}), old)
    assert not decision.passes
    assert verdicts(decision)["Heart", Measure.DICE] is Verdict.NOT_INFERIOR
    assert verdicts(decision)["Liver", Measure.DICE] is Verdict.NOT_SHOWN
    assert "Liver (may be inferior)" in verdict_sentence(decision)
    (liver,) = (c for c in decision.comparisons if c.structure == "Liver" and c.measure is Measure.DICE)
    assert liver.difference == pytest.approx(-0.05)
    assert liver.mean_in_use == pytest.approx(BASE.mean())


def test_a_mean_within_the_margin_is_not_enough_if_it_may_be_chance() -> None:
    noise = np.array([0.1, -0.1] * 6)
    decision = decide(judged(NEW, {"Heart": BASE + noise, "Liver": BASE}), judged(OLD, {"Heart": BASE, "Liver": BASE}))
    heart = next(c for c in decision.comparisons if c.structure == "Heart")
    assert heart.difference == pytest.approx(0.0)
    assert heart.bound is not None
    assert heart.bound < -0.02
    assert heart.verdict is Verdict.NOT_SHOWN


def test_an_inferior_package_passes_once_in_twenty_times_and_an_equal_one_mostly() -> None:
    rng = np.random.default_rng(5)
    rules = PromotionRules(resamples=300)
    old = judged(OLD, {"Heart": np.full(20, 0.8)}, ("Heart",))

    def passing(mean: float) -> float:
        passed = 0
        for _ in range(150):
            new = judged(NEW, {"Heart": 0.8 + rng.normal(mean, 0.02, 20)}, ("Heart",))
            (dice, _) = decide(new, old, rules).comparisons
            passed += dice.verdict.passes
        return passed / 150

    assert passing(-0.02) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert passing(0.0) > 0.95


def test_few_patients_show_nothing_unless_someone_answers_for_it() -> None:
    dices = {"Heart": BASE, "Liver": BASE[:5]}
    new, old = judged(NEW, dices), judged(OLD, dices)
    decision = decide(new, old)
    assert verdicts(decision)["Liver", Measure.DICE] is Verdict.TOO_FEW
    assert "needs 6 patients" in verdict_sentence(decision)
    assert decide(new, old, PromotionRules(accepted_unjudged=("Liver",))).passes


def test_accepting_unjudged_does_not_excuse_what_was_judged() -> None:
    decision = decide(
        judged(NEW, {"Heart": BASE - 0.1, "Liver": BASE}),
        judged(OLD, {"Heart": BASE, "Liver": BASE}),
        PromotionRules(accepted_unjudged=("Heart",)),
    )
    assert not decision.passes


def test_a_structure_that_nobody_drew_or_that_is_gone_stops_it() -> None:
    decision = decide(judged(NEW, {"Heart": BASE}), judged(OLD, {"Heart": BASE}))
    assert verdicts(decision)["Liver", Measure.DICE] is Verdict.NOT_JUDGED
    gone = decide(judged(NEW, {"Heart": BASE}, ("Heart",)), judged(OLD, {"Heart": BASE, "Liver": BASE}))
    assert verdicts(gone)["Liver", Measure.DICE] is Verdict.NOT_DRAWN
    assert not gone.passes


def test_what_is_not_found_counts_as_nothing_and_rightly_nothing_as_all() -> None:
    found = {f"p{i}": [score(f"p{i}", "Heart", 0.9)] for i in range(8)}
    missed = found | {"p0": [score("p0", "Heart", 0.0, Outcome.NOT_FOUND)]}
    right = found | {"p0": [score("p0", "Heart", None, Outcome.NEITHER)]}
    wrong = found | {"p0": [score("p0", "Heart", 0.0, Outcome.NOT_THERE)]}

    def difference(new: dict[str, list[CaseScore]], old: dict[str, list[CaseScore]]) -> float | None:
        both = (
            Judged(manifest(NEW, ("Heart",)), evaluation(NEW, new)),
            Judged(manifest(OLD, ("Heart",)), evaluation(OLD, old)),
        )
        return decide(*both).comparisons[0].difference

    assert difference(missed, found) == pytest.approx(-0.9 / 8)
    assert difference(wrong, right) == pytest.approx(-1 / 8)
    assert difference(right, wrong) == pytest.approx(1 / 8)


def test_what_cannot_be_compared_is_refused() -> None:
    dices = {"Heart": BASE, "Liver": BASE}
    new, old = judged(NEW, dices), judged(OLD, dices)
    with pytest.raises(ConfigError, match="is the one in use"):
        decide(replace(new, manifest=old.manifest), old)
    with pytest.raises(ConfigError, match="other for CT"):
        decide(replace(new, manifest=replace(new.manifest, name="other")), old)
    with pytest.raises(ConfigError, match="evaluation: judged tiny"):
        decide(replace(new, evaluation=old.evaluation), old)
    with pytest.raises(ConfigError, match="the same protocol"):
        decide(replace(new, evaluation=replace(new.evaluation, protocol="x")), old)
    with pytest.raises(ConfigError, match="version of contour 9 and 0"):
        decide(replace(new, evaluation=replace(new.evaluation, contour_version="9")), old)
    with pytest.raises(ConfigError, match="differ in p11"):
        decide(replace(new, evaluation=replace(new.evaluation, cases=new.evaluation.cases[:-1])), old)
    changed = (replace(new.evaluation.cases[0], content_sha256="other"), *new.evaluation.cases[1:])
    with pytest.raises(ConfigError, match="differ in p00"):
        decide(replace(new, evaluation=replace(new.evaluation, cases=changed)), old)


def test_cases_that_taught_the_new_package_do_not_count() -> None:
    dices = {"Heart": BASE, "Liver": BASE}
    new, old = judged(NEW, dices), judged(OLD, dices)
    for training in (replace(SEEN, patients=("p03",)), replace(SEEN, cases_sha256=("p03",))):
        with pytest.raises(ConfigError, match="p03 taught the new package"):
            decide(replace(new, manifest=replace(new.manifest, training=training)), old)
    with pytest.raises(ConfigError, match="does not say which cases"):
        decide(replace(new, manifest=replace(new.manifest, training=Training((), (), ""))), old)


@pytest.mark.parametrize("wrong", [{"margin_dice": -0.1}, {"margin_surface_dice": 0.5}, {"confidence": 0.4}])
def test_rules_have_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PromotionRules(**wrong)
