"""Evaluation through the whole path: image, network, decision, rules, metrics, summaries, on cases of known truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from judged_cases import BONE_HU, HALL, ROOM, opened, package, renamed, save

from contour.cases.evaluate import EvaluateOptions, drawn_structure, evaluate, package_protocol
from contour.cases.evaluate_report import evaluation_page
from contour.cases.evaluation import Evaluation, load_evaluation, save_evaluation
from contour.cases.score import Measure, Outcome
from contour.cases.store import load_record
from contour.core.errors import ConfigError
from contour.core.protocol import Protocol, ProtocolStructure
from contour.core.volume import Modality, Volume
from contour.inference.package import ModelPackage
from contour.inference.session import Network


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return package(tmp_path_factory.mktemp("packages") / "tiny")


@pytest.fixture(scope="module")
def network(tiny: ModelPackage) -> Network:
    return opened(tiny)


@pytest.fixture(scope="module")
def plain(tiny: ModelPackage) -> Protocol:
    """As the network draws."""
    return package_protocol([tiny.manifest])


def without_seconds(evaluation: Evaluation) -> Evaluation:
    return replace(
        evaluation, cases=tuple(replace(case, draw_seconds=0.0, judge_seconds=0.0) for case in evaluation.cases)
    )


# -- agreement of known truth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift_mm", [4, 7])
def test_a_shifted_ball_has_the_values_of_geometry(
    shift_mm: int, network: Network, plain: Protocol, tmp_path: Path
) -> None:
    radius = 26.0
    case = save(
        tmp_path / "cases", "a", HALL.image(bone=HALL.ball(radius)), {"Bone": HALL.ball(radius, (0, 0, shift_mm))}
    )
    tolerances = (3.0, 1.0, 2.0, float(shift_mm))
    found = evaluate([case], plain, (network,), tmp_path / "out", options=EvaluateOptions(tolerances))
    (score,) = found.scores
    agreement = score.agreement
    assert agreement is not None
    # The lens that two balls share, and the distance of a point of one ball's surface, seen from its centre under the
    # cosine u to the shift, from the other ball's: u is spread evenly over a ball's surface.
    lens = np.pi * (4 * radius + shift_mm) * (2 * radius - shift_mm) ** 2 / 12
    u = np.linspace(-1, 1, 20001)
    away_mm = np.abs(np.sqrt(radius**2 + shift_mm**2 - 2 * radius * shift_mm * u) - radius)
    assert agreement.dice == pytest.approx(lens / (4 / 3 * np.pi * radius**3), abs=0.01)
    assert agreement.reference_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.01)
    # Distances between voxel corners come out short by up to half a voxel: see `Agreement`.
    assert -0.6 <= agreement.hausdorff_mm - shift_mm <= 0.01
    assert -0.6 <= agreement.hd95_mm - np.percentile(away_mm, 95) <= 0.3
    assert -0.5 <= agreement.mean_surface_distance_mm - away_mm.mean() <= 0.1
    for at, tolerance in zip(score.at_tolerances, tolerances, strict=True):
        assert at.tolerance_mm == tolerance
        # A half voxel more or less decides at the tolerance.
        low, high = (np.mean(away_mm <= tolerance + half) for half in (-0.25, 0.75))
        assert low <= at.surface_dice <= high
    assert score.at_tolerances[-1].surface_dice == 1.0


def test_a_shell_has_the_values_of_geometry_and_the_rules_of_the_protocol_hold(
    network: Network, plain: Protocol, tmp_path: Path
) -> None:
    """The network draws a shell from 14 to 22 mm; people drew one from 14 to 26 mm."""
    shell, thicker = HALL.ball(22) & ~HALL.ball(14), HALL.ball(26) & ~HALL.ball(14)
    case = save(tmp_path / "cases", "a", HALL.image(bone=shell), {"Bone": thicker})
    at_2_mm = EvaluateOptions((2.0,))
    (score,) = evaluate([case], plain, (network,), tmp_path / "plain", options=at_2_mm).scores
    volumes = {r: 4 / 3 * np.pi * r**3 for r in (14, 22, 26)}
    drawn, reference = volumes[22] - volumes[14], volumes[26] - volumes[14]
    assert score.value(Measure.DICE) == pytest.approx(2 * drawn / (drawn + reference), abs=0.01)
    # The inner surfaces are the same, the outer ones 4 mm apart.
    same = 2 * 14**2 / (2 * 14**2 + 22**2 + 26**2)
    assert score.value(Measure.SURFACE_DICE) == pytest.approx(same, abs=0.02)
    assert score.value(Measure.HD95_MM) == pytest.approx(4.0, abs=0.6)
    assert score.value(Measure.VOLUME_DIFFERENCE_PERCENT) == pytest.approx(100 * (drawn / reference - 1), abs=1)
    # Cut by a plane the outer circle has to be drawn anew; the sum over planes is as the area: 26^2 of 26^2 + 14^2.
    assert score.value(Measure.ADDED_PATH_PART) == pytest.approx(26**2 / (26**2 + 14**2), abs=0.02)

    filling = replace(plain, name="filling", structures=(ProtocolStructure("Bone", fill_holes=True),))
    (score,) = evaluate([case], filling, (network,), tmp_path / "filling", options=at_2_mm).scores
    common = 2 * drawn / (volumes[22] + reference)
    assert score.value(Measure.DICE) == pytest.approx(common, abs=0.01)


def test_the_volume_is_found_where_it_is_in_the_patient(network: Network, plain: Protocol, tmp_path: Path) -> None:
    """Slices stored from superior to inferior, columns to the right: the same agreement."""
    volume, reference = HALL.image(bone=HALL.rod(6, 10, 40)), HALL.rod(6, 14, 44)
    turned = replace(
        HALL.geometry,
        origin_lps_mm=(-46.0 + HALL.shape_zyx[2] - 1, -44.0, 100.0 + HALL.shape_zyx[0] - 1),
        axes_lps=((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),
    )
    flipped = Volume(np.ascontiguousarray(volume.voxels_zyx[::-1, :, ::-1]), turned, Modality.CT)
    cases = [
        save(tmp_path / "cases", "a", volume, {"Bone": reference}),
        save(tmp_path / "cases", "b", flipped, {"Bone": reference[::-1, :, ::-1]}),
    ]
    first, second = evaluate(cases, plain, (network,), tmp_path / "out").scores
    assert first.agreement == second.agreement
    assert first.value(Measure.DICE) == pytest.approx(27 / 31)


# -- what is judged ----------------------------------------------------------------------------------------------------


def test_a_structure_drawn_in_part_is_judged_within_its_slices(
    network: Network, plain: Protocol, tmp_path: Path
) -> None:
    """The rod goes through the image; people drew 20 slices of it."""
    volume, part = ROOM.image(bone=ROOM.rod(7, 4, 35)), {"Bone": ROOM.rod(7, 12, 31)}
    cases = [
        save(tmp_path / "cases", "part", volume, part, parts={"Bone": (12, 31)}),
        save(tmp_path / "cases", "whole", volume, part),
        # Looked at further than it was found to go: what the network draws there is wrong.
        save(tmp_path / "cases", "wider", volume, part, parts={"Bone": (7, 31)}),
    ]
    found = {score.case: score for score in evaluate(cases, plain, (network,), tmp_path / "out").scores}
    assert found["part"].slices == (12, 31)
    assert (found["part"].value(Measure.DICE), found["part"].value(Measure.SURFACE_DICE)) == (1.0, 1.0)
    assert found["part"].value(Measure.HD95_MM) == 0.0
    assert found["whole"].value(Measure.DICE) == pytest.approx(2 * 20 / (20 + 32))
    assert found["wider"].value(Measure.DICE) == pytest.approx(2 * 20 / (20 + 25))
    assert found["wider"].value(Measure.ADDED_PATH_LENGTH_MM) == 0.0


def test_what_was_not_drawn_is_not_judged(network: Network, plain: Protocol, tmp_path: Path) -> None:
    bone, lung = ROOM.rod(5, 5, 34, (-10, -9)), ROOM.rod(7, 5, 34, (8, 9))
    volume = ROOM.image(lung, bone)
    cases = [
        save(tmp_path / "cases", "a", volume, {"Bone": bone}),
        save(tmp_path / "cases", "b", volume, {"Lungs": lung, "Heart": lung}),
        save(tmp_path / "cases", "c", volume, {"Heart": lung}),
    ]
    found = evaluate(cases, plain, (network,), tmp_path / "out")
    assert [(s.case, s.structure, s.value(Measure.DICE)) for s in found.scores] == [
        ("a", "Bone", 1.0),
        ("b", "Lungs", 1.0),
    ]
    assert [case.not_judged for case in found.cases] == [(), ("Heart",)]
    assert [one.case for one in found.set_aside] == ["c"]
    assert "Heart" in found.set_aside[0].reason
    # The protocol's order, not that of the cases.
    assert [line.structure for line in found.structures] == ["Lungs", "Bone"]
    assert [line.cases for line in found.structures] == [1, 1]
    assert not (tmp_path / "out" / "drawn" / "c").exists()


def test_one_structure_alone_is_judged_if_asked(network: Network, plain: Protocol, tmp_path: Path) -> None:
    bone, lung = ROOM.rod(5, 5, 34, (-10, -9)), ROOM.rod(7, 5, 34, (8, 9))
    case = save(tmp_path / "cases", "a", ROOM.image(lung, bone), {"Bone": bone, "Lungs": lung})
    found = evaluate([case], plain, (network,), tmp_path / "out", options=EvaluateOptions(structures=("Bone",)))
    assert [score.structure for score in found.scores] == ["Bone"]
    with pytest.raises(ConfigError, match="Spleen"):
        evaluate([case], plain, (network,), tmp_path / "no", options=EvaluateOptions(structures=("Spleen",)))


def test_what_is_missed_counts_as_worst_and_is_said(network: Network, plain: Protocol, tmp_path: Path) -> None:
    bone = ROOM.rod(5, 5, 34, (-10, -9))
    nothing = ROOM.nothing
    cases = [
        save(tmp_path / "cases", "found", ROOM.image(bone=bone), {"Bone": bone}),
        save(tmp_path / "cases", "missed", ROOM.image(), {"Bone": bone}),
        save(tmp_path / "cases", "too_much", ROOM.image(bone=bone), {"Bone": nothing}),
        save(tmp_path / "cases", "neither", ROOM.image(), {"Bone": nothing}),
    ]
    found = evaluate(cases, plain, (network,), tmp_path / "out")
    outcomes = {score.case: score.outcome for score in found.scores}
    assert outcomes == {
        "found": Outcome.FOUND,
        "missed": Outcome.NOT_FOUND,
        "too_much": Outcome.NOT_THERE,
        "neither": Outcome.NEITHER,
    }
    (line,) = found.structures
    assert (line.cases, line.not_found, line.drawn_where_none) == (3, 1, 1)
    dice, hd95 = line.measure(Measure.DICE), line.measure(Measure.HD95_MM)
    assert (dice.mean, dice.median, dice.worst, dice.mean_where_found) == (pytest.approx(1 / 3), 0.0, 0.0, 1.0)
    assert (hd95.median, hd95.worst, hd95.mean_where_found) == (np.inf, np.inf, 0.0)
    assert line.missed_patients.high == pytest.approx(0.9057, abs=1e-4)  # exactly one of three: Clopper-Pearson
    missed = next(score for score in found.scores if score.case == "missed")
    assert missed.value(Measure.VOLUME_DIFFERENCE_PERCENT) == -100.0
    assert missed.value(Measure.ADDED_PATH_PART) == 1.0


def test_a_case_that_is_refused_counts_as_missed_and_is_tried_again(
    network: Network, plain: Protocol, tmp_path: Path
) -> None:
    bone = ROOM.rod(5, 5, 34, (-10, -9))
    broken = ROOM.image(bone=bone)
    broken.voxels_zyx[:] += 20 * BONE_HU  # no soft tissue: no CT in HU
    cases = [
        save(tmp_path / "cases", "a", ROOM.image(bone=bone), {"Bone": bone}),
        save(tmp_path / "cases", "b", broken, {"Bone": bone}),
    ]
    found = evaluate(cases, plain, (network,), tmp_path / "out")
    assert found.cases[0].failure is None
    assert "implausible" in str(found.cases[1].failure)
    assert found.scores[1].outcome is Outcome.NOT_FOUND
    save(tmp_path / "cases", "b", ROOM.image(bone=bone), {"Bone": bone})
    again = evaluate(cases, plain, (network,), tmp_path / "out")
    assert [case.failure for case in again.cases] == [None, None]
    assert [score.value(Measure.DICE) for score in again.scores] == [1.0, 1.0]


# -- going on, and starting anew -------------------------------------------------------------------------------------


def shifted_cases(folder: Path, count: int = 4) -> list[Path]:
    bone = ROOM.ball(14)
    return [
        save(folder, f"case{i}", ROOM.image(bone=bone), {"Bone": ROOM.ball(14, (0, i, 0))}, patient=f"p{i // 2}")
        for i in range(count)
    ]


def test_an_evaluation_that_was_stopped_goes_on_to_the_same_result(
    network: Network, plain: Protocol, tmp_path: Path
) -> None:
    cases = shifted_cases(tmp_path / "cases")
    whole = evaluate(cases, plain, (network,), tmp_path / "whole")

    def stop(case: str, done: float) -> None:
        if case == "case2" and done > 0.5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        evaluate(cases, plain, (network,), out, progress=stop)
    done = {path.name: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    assert sorted(done) == ["case0.json", "case1.json"]
    assert not (out / "evaluation.json").exists()
    resumed = evaluate(cases[::-1], plain, (network,), out)
    assert {name: (out / "cases" / name).stat().st_mtime_ns for name in done} == done
    assert without_seconds(resumed) == without_seconds(whole)
    assert load_evaluation(out) == resumed
    assert [case.case for case in resumed.cases] == ["case0", "case1", "case2", "case3"]
    assert resumed.patients == 2


def test_a_case_that_has_changed_is_judged_again(network: Network, plain: Protocol, tmp_path: Path) -> None:
    cases = shifted_cases(tmp_path / "cases", 2)
    out = tmp_path / "out"
    first = evaluate(cases, plain, (network,), out)
    before = (out / "cases" / "case0.json").stat().st_mtime_ns
    save(tmp_path / "cases", "case1", ROOM.image(bone=ROOM.ball(14)), {"Bone": ROOM.ball(14)}, patient="p0")
    second = evaluate(cases, plain, (network,), out)
    assert second.cases[0] == first.cases[0]
    assert (out / "cases" / "case0.json").stat().st_mtime_ns == before
    assert (first.scores[1].value(Measure.DICE), second.scores[1].value(Measure.DICE)) == (
        pytest.approx(1 - 1.5 / 28, abs=0.01),
        1.0,
    )


def test_results_of_another_network_are_not_mixed_in(
    tiny: ModelPackage, network: Network, plain: Protocol, tmp_path: Path
) -> None:
    cases = shifted_cases(tmp_path / "cases", 1)
    out = tmp_path / "out"
    evaluate(cases, plain, (network,), out)
    other = opened(renamed(tiny, "2.0.0"))
    with pytest.raises(ConfigError, match="other networks"):
        evaluate(cases, plain, (other,), out)
    with pytest.raises(ConfigError, match="other networks"):
        evaluate(cases, plain, (network,), out, options=EvaluateOptions((1.0,)))
    found = evaluate(cases, plain, (other,), out, options=EvaluateOptions(overwrite=True))
    assert [use.version for use in found.packages] == ["2.0.0"]


def test_another_reader_gets_the_same_dice_from_the_files(network: Network, plain: Protocol, tmp_path: Path) -> None:
    """SimpleITK puts the kept mask and the case's into the image by their own headers."""
    case = shifted_cases(tmp_path / "cases", 4)[3]
    found = evaluate([case], plain, (network,), tmp_path / "out")
    image_sitk = sitk.ReadImage(str(case / "image.nii.gz"))
    masks = [
        sitk.Resample(sitk.ReadImage(str(path)), image_sitk, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        for path in (case / "structures" / "Bone.nii.gz", tmp_path / "out" / "drawn" / "case3" / "Bone.nii.gz")
    ]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*masks)
    assert 0.8 < overlap.GetDiceCoefficient() < 0.9
    assert found.scores[0].value(Measure.DICE) == pytest.approx(overlap.GetDiceCoefficient())


def test_results_of_another_program_are_not_mixed_in(network: Network, plain: Protocol, tmp_path: Path) -> None:
    cases = shifted_cases(tmp_path / "cases", 1)
    (tmp_path / "out" / "cases").mkdir(parents=True)
    (tmp_path / "out" / "cases" / "case0.json").write_text('{"written": "by another version"}')
    with pytest.raises(ConfigError, match="or program"):
        evaluate(cases, plain, (network,), tmp_path / "out")


def test_cases_that_the_network_was_trained_on_are_told(tiny: ModelPackage, plain: Protocol, tmp_path: Path) -> None:
    cases = shifted_cases(tmp_path / "cases", 4)
    training = replace(tiny.manifest.training, patients=("p1",), cases_sha256=(load_record(cases[0]).content_sha256,))
    other = opened(replace(tiny, manifest=replace(tiny.manifest, training=training)))
    found = evaluate(cases, plain, (other,), tmp_path / "out")
    assert [case.seen for case in found.cases] == [True, False, True, True]
    page = evaluation_page(found, ())
    assert "3 of these cases the networks have seen" in page.lead


def test_drawn_structures_are_kept(network: Network, plain: Protocol, tmp_path: Path) -> None:
    cases = shifted_cases(tmp_path / "cases", 2)
    found = evaluate(cases, plain, (network,), tmp_path / "out")
    kept = drawn_structure(tmp_path / "out", load_record(cases[1]), found.cases[1], "Bone")
    assert np.array_equal(kept.full_mask(ROOM.shape_zyx), ROOM.ball(14))
    assert drawn_structure(tmp_path / "out", load_record(cases[1]), found.cases[1], "Lungs").empty


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_nothing_to_judge_is_an_error(network: Network, plain: Protocol, tmp_path: Path) -> None:
    case = save(tmp_path / "cases", "a", ROOM.image(), {"Heart": ROOM.ball(5)})
    with pytest.raises(ConfigError, match=r"Heart.*Lungs, Bone"):
        evaluate([case], plain, (network,), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_cases_of_one_name_are_refused(network: Network, plain: Protocol, tmp_path: Path) -> None:
    cases = [save(tmp_path / folder, "a", ROOM.image(), {"Bone": ROOM.ball(5)}) for folder in ("one", "two")]
    with pytest.raises(ConfigError, match="second case"):
        evaluate(cases, plain, (network,), tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(network: Network, plain: Protocol, tmp_path: Path) -> None:
    case = save(tmp_path / "cases", "a", ROOM.image(), {"Bone": ROOM.ball(5)})
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        evaluate([case], plain, (network,), tmp_path / "out")


@pytest.mark.parametrize("tolerances", [(), (1.0, 1.0), (-1.0,), (float("nan"),)])
def test_tolerances_that_are_none_are_refused(tolerances: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="tolerances_mm"):
        EvaluateOptions(tolerances)


def test_packages_of_two_modalities_have_no_protocol(tiny: ModelPackage) -> None:
    with pytest.raises(ConfigError, match="CT, MR"):
        package_protocol([tiny.manifest, replace(tiny.manifest, modality=Modality.MR)])


# -- files -------------------------------------------------------------------------------------------------------------


def test_an_evaluation_comes_back_from_json_with_what_is_infinite(
    network: Network, plain: Protocol, tmp_path: Path
) -> None:
    cases = [
        *shifted_cases(tmp_path / "cases", 7),
        save(tmp_path / "cases", "z", ROOM.image(), {"Bone": ROOM.ball(9)}, patient="p9"),
    ]
    found = evaluate(cases, plain, (network,), tmp_path / "out")
    assert found.structures[0].measure(Measure.HD95_MM).mean == np.inf
    loaded = load_evaluation(tmp_path / "out" / "evaluation.json")
    assert loaded == found
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert "Infinity" not in text
    save_evaluation(loaded, tmp_path)
    assert (tmp_path / "evaluation.json").read_text() == text
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found.scores)
    assert rows[-1].startswith("z,p9,Bone,drawn,not found,")
    summary = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    assert {row.split(",")[1] for row in summary[1:]} >= {"dice", "surface_dice_3mm", "hd95_mm"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"protocol": 3}', "[" * 9999])
def test_what_is_no_evaluation_is_refused_with_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ConfigError, match=r"evaluation\.json"):
        load_evaluation(tmp_path)


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_evaluation(tmp_path)
