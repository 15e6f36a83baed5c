import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from judged_cases import BONE_HU, ROOM, opened, package, save
from PIL import Image

from contour.cases.evaluate import EvaluateOptions, evaluate, package_protocol
from contour.cases.evaluate_plots import MISSED, agreement_plot, distance_plot
from contour.cases.evaluate_report import ReportOptions, shown_cases, write_report
from contour.cases.evaluation import Evaluation
from contour.cases.pictures import REFERENCE_RGB, TEST_RGB
from contour.cases.statistics import BootstrapOptions


@dataclass(frozen=True)
class Judged:
    evaluation: Evaluation
    cases: tuple[Path, ...]
    output: Path


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Seven cases worse and worse, one missed, one refused, one that says nothing; the rod of some drawn in part."""
    folder = tmp_path_factory.mktemp("report")
    bone, lung = ROOM.rod(5, 5, 34, (-10, -9)), ROOM.rod(7, 5, 34, (8, 9))
    cases = []
    for i in range(7):
        drawn = {"Bone": ROOM.rod(5, 5, 34, (-10, -9 + i)), "Lungs": ROOM.rod(7, 12, 31, (8, 9))}
        cases.append(save(folder / "cases", f"case{i}", ROOM.image(lung, bone), drawn, parts={"Lungs": (12, 31)}))
    cases.append(save(folder / "cases", "missed", ROOM.image(lung), {"Bone": bone, "GTV": ROOM.ball(3)}))
    broken = ROOM.image(lung, bone)
    broken.voxels_zyx[:] += 20 * BONE_HU
    cases.append(save(folder / "cases", "refused", broken, {"Bone": bone}))
    cases.append(save(folder / "cases", "silent", ROOM.image(), {"GTV": ROOM.ball(3)}))
    tiny = package(folder / "tiny")
    options = EvaluateOptions((2.0, 1.0), bootstrap=BootstrapOptions(resamples=200))
    network = opened(tiny)
    found = evaluate(cases, package_protocol([tiny.manifest]), (network,), folder / "out", options=options)
    return Judged(found, tuple(cases), folder / "out")


@pytest.fixture(scope="module")
def page(judged: Judged) -> str:
    return write_report(judged.evaluation, judged.cases, judged.output).read_text(encoding="utf-8")


def test_the_worst_cases_come_first_and_the_middle_one_is_there(judged: Judged) -> None:
    shown = [one for one in shown_cases(judged.evaluation, 3) if one.score.structure == "Bone"]
    assert [(one.score.case, one.rank) for one in shown] == [("missed", 1), ("refused", 2), ("case6", 3), ("case4", 0)]
    assert shown_cases(judged.evaluation, 0) == ()


def test_the_page_says_what_was_judged_and_what_was_not(judged: Judged, page: str) -> None:
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    for said in (
        "Evaluation of tiny 1.0.0",
        "2 structures on 9 cases of 9 patients (all cases)",
        "Lowest median Dice: Bone",
        "Not found in 2 of 9 cases",
        "Drawn in part in 7 cases",
        "Bone, missed: the worst. Not found",
        "Judged from slice 12 to 31, drawn in part.",
        "implausible-image",
        "drawn were GTV: none that the networks draw",
        "Drawn by people and by no network, with the number of cases: GTV (1)",
        judged.evaluation.packages[0].sha256[:12],
    ):
        assert said in text, said
    assert "nan" not in re.sub(r"<script>.*</script>|<style>.*</style>", "", text, flags=re.DOTALL)
    assert str(judged.output) not in text
    median = judged.evaluation.structures[1].measures[0]
    assert median.median_interval is not None
    assert f"{median.median:.2f} [{median.median_interval.low:.2f}, {median.median_interval.high:.2f}]" in text


def test_the_page_holds_plots_and_pictures_of_both_outlines(page: str) -> None:
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")
        for found in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    ]
    # Two plots; of both structures the worst two and the middle one.
    assert len(pictures) == 2 + 2 * 3
    for picture in pictures[2:]:
        pixels = np.asarray(picture).reshape(-1, 3).astype(int)
        assert (np.abs(pixels - REFERENCE_RGB).max(axis=1) < 40).any()
    worst_found = np.asarray(pictures[2]).reshape(-1, 3).astype(int)  # of Lungs, which all cases have
    assert (np.abs(worst_found - TEST_RGB).max(axis=1) < 40).any()


def test_the_page_without_pictures_needs_no_case(judged: Judged, tmp_path: Path) -> None:
    path = write_report(judged.evaluation, (), tmp_path, ReportOptions(0))
    assert path.read_text(encoding="utf-8").count("data:image/png") == 2


def test_plots_show_what_was_missed(judged: Judged) -> None:
    color = [int(MISSED[i : i + 2], 16) for i in (1, 3, 5)]
    for plot in (agreement_plot(judged.evaluation), distance_plot(judged.evaluation)):
        pixels = np.asarray(Image.open(io.BytesIO(plot)).convert("RGB")).reshape(-1, 3).astype(int)
        assert (np.abs(pixels - color).max(axis=1) < 25).sum() > 20


def test_a_page_is_the_same_every_time(judged: Judged, page: str) -> None:
    assert write_report(judged.evaluation, judged.cases[::-1], judged.output).read_text(encoding="utf-8") == page


def test_pictures_are_none_or_more() -> None:
    with pytest.raises(ValueError, match="pictures"):
        ReportOptions(-1)
