import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contour.cases.commission import (
    COMMISSION_FILE,
    AcceptanceLimit,
    CommissionLimits,
    Verdict,
    calibrations,
    commission,
    load_limits,
)
from contour.cases.commission_report import write_commission
from contour.cases.evaluation import Evaluation, load_evaluation
from contour.cases.store import Case, CaseRecord, CaseStructure, Status, save_case
from contour.config import save_config, shipped_folder
from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.protocol import ProtocolStructure
from contour.core.structures import InterpretedType, Structure, StructureSet, Sureness, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.inference.package import load_package
from contour.qa.calibration import load_calibration
from contour.qa.expected import expectations, withheld

Contour = Callable[..., int]
PATIENTS = 10


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients with a ball of lung, which people drew the further outside of it the later the patient."""
    folder = tmp_path_factory.mktemp("cases")
    geometry = Geometry.axial((24, 40, 44), (3.0, 3.0, 3.0), (-66.0, -60.0, 0.0), "2.25.601")
    z, y, x = (np.arange(n) - n // 2 for n in geometry.shape_zyx)
    apart = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    for number in range(PATIENTS):
        voxels = np.full(geometry.shape_zyx, -1000, dtype=np.int16)
        voxels[1:-1, 2:-2, 2:-2] = 20
        voxels[apart <= 10**2] = -700
        drawn = cropped_to_content(apart <= (10 + 0.1 * number) ** 2)
        lungs = Structure("Lungs", (0, 0, 255), InterpretedType.ORGAN, *drawn)
        record = CaseRecord(f"c{number}", f"p{number}", Modality.CT, geometry, (CaseStructure("Lungs", Status.DRAWN),))
        volume = Volume(voxels, geometry, Modality.CT)
        save_case(Case(record, volume, StructureSet("x", geometry, (lungs,))), folder)
    return folder


@pytest.fixture(scope="module")
def limits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("limits") / "own.yaml"
    asked = {"Lungs": AcceptanceLimit(least_dice=0.5, largest_hd95_mm=30.0)}
    save_config(CommissionLimits("own", "Our own", 3.0, "made for a test", asked), file)
    return file


@pytest.fixture(scope="module")
def run(
    cases: Path,
    limits_file: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    from contour.cli.main import build_app  # noqa: PLC0415 - of this fixture alone

    folder = tmp_path_factory.mktemp("commissioned") / "out"
    arguments = ["commission", cases, "-p", tiny_protocol_file, "--models", tiny_models, "-o", folder]
    build_app()([*map(str, arguments), "--limits", str(limits_file), "--threads", "1"], standalone_mode=False)
    return folder


def test_the_run_leaves_a_baseline_a_page_and_a_binder(run: Path, cases: Path) -> None:
    made = json.loads((run / COMMISSION_FILE).read_text(encoding="utf-8"))
    assert made["cases"] == made["patients"] == PATIENTS
    assert [line["verdict"] for line in made["verdicts"]] == ["met"]
    assert made["calibrated"][0]["worth"]["cases"] == PATIENTS
    page = (run / "commission.html").read_text(encoding="utf-8")
    assert "Every limit is met" in page
    assert 'src="http' not in page
    told = subprocess.run(
        ["pdftotext", run / "commission.pdf", "-"], capture_output=True, text=True, check=False
    ).stdout
    assert not told or re.search(r"Page\s+1 / \d", told)
    assert (run / "commission.pdf").read_bytes().startswith(b"%PDF")


def test_the_calibration_is_bound_to_the_network_and_tells_what_to_expect(run: Path, tiny_models: Path) -> None:
    calibration = load_calibration(run / "calibration.yaml")
    manifest = load_package(tiny_models / "tiny").manifest
    assert calibration.onnx_sha256 == manifest.onnx_sha256
    (learnt,) = calibration.structures
    evaluation = load_evaluation(run)
    score = evaluation.scores[0]
    assert score.sureness is not None
    from contour.core.structures import Provenance  # noqa: PLC0415 - beside what it is for

    provenance = Provenance(manifest.name, manifest.version, manifest.onnx_sha256)
    mask = np.ones((2, 2, 2), dtype=bool)
    drawn = Structure(
        "Lungs", (0, 0, 0), InterpretedType.ORGAN, mask, (0, 0, 0), 0.9, provenance, sureness=score.sureness
    )
    expected, findings = expectations((drawn,), (calibration,))
    assert min(learnt.surface_dice) <= expected["Lungs"].surface_dice <= max(learnt.surface_dice)
    assert findings[0].code == "expected-agreement"
    assert "expected" in findings[0].message
    doubtful = replace(drawn, sureness=Sureness(0.1, 0.0))
    beyond, said = expectations((doubtful,), (calibration,))
    assert beyond["Lungs"].beyond
    assert said[0].severity == "check"
    other = replace(drawn, provenance=replace(provenance, sha256="0" * 64))
    assert expectations((other,), (calibration,)) == ({}, ())
    kept, _ = withheld(drawn, ProtocolStructure("Lungs", abstain_below=0.0), expected["Lungs"])
    assert kept is drawn
    gone, about = withheld(
        drawn, ProtocolStructure("Lungs", abstain_below=1.0), replace(expected["Lungs"], surface_dice=0.6)
    )
    assert gone.empty
    assert "0.60, and the protocol asks for 1" in about[0].message


def test_a_limit_that_is_not_met_is_exit_code_3(
    run: Path, cases: Path, contour: Contour, tiny_models: Path, tiny_protocol_file: Path, tmp_path: Path
) -> None:
    asked = {"Lungs": AcceptanceLimit(least_dice=1.0)}
    save_config(CommissionLimits("hard", "Hard", 3.0, "made for a test", asked), tmp_path / "hard.yaml")
    before = (run / "cases" / "c0.json").stat().st_mtime_ns
    arguments = ["commission", cases, "-p", tiny_protocol_file, "--models", tiny_models, "-o", run, "--threads", "1"]
    assert contour(*arguments, "--limits", tmp_path / "hard.yaml", "--language", "ru") == 3
    assert (run / "cases" / "c0.json").stat().st_mtime_ns == before  # nothing is drawn twice
    assert "не соблюдён" in (run / "commission.html").read_text(encoding="utf-8")


def test_a_limit_that_no_case_was_held_against_is_not_met(run: Path, limits_file: Path, tmp_path: Path) -> None:
    evaluation, limits = load_evaluation(run), load_limits(str(limits_file))
    more = replace(limits, structures={**limits.structures, "Heart": AcceptanceLimit(least_dice=0.1)})
    (tmp_path / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes())
    made = commission(evaluation, tmp_path, more)
    assert [(line.structure, line.verdict) for line in made.verdicts] == [
        ("Lungs", Verdict.MET),
        ("Heart", Verdict.NOT_JUDGED),
    ]
    assert not made.passed
    page, _ = write_commission(made, evaluation, tmp_path)
    assert "no case has it" in page.read_text(encoding="utf-8")


def test_what_became_worse_than_the_baseline_is_said(run: Path, limits_file: Path, tmp_path: Path) -> None:
    evaluation, limits = load_evaluation(run), load_limits(str(limits_file))
    commission(evaluation, run, limits)
    same = commission(evaluation, run, limits, against=run)
    assert [change.difference for change in same.changes] == [0.0]
    assert same.passed
    worse = _worsened(evaluation)
    (tmp_path / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes())
    judged = commission(worse, tmp_path, limits, against=run)
    assert judged.changes[0].worse
    assert judged.changes[0].difference == pytest.approx(-0.2)
    assert not judged.passed


def test_a_baseline_that_was_changed_is_not_compared_with(run: Path, limits_file: Path, tmp_path: Path) -> None:
    for name in (COMMISSION_FILE, "evaluation.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes() + b" ")
    with pytest.raises(ConfigError, match="as when it was judged"):
        commission(load_evaluation(run), run, load_limits(str(limits_file)), against=tmp_path)


def test_few_patients_are_no_verdict_and_no_calibration(run: Path, limits_file: Path, tiny_models: Path) -> None:
    few = load_evaluation(run)
    few = replace(few, cases=few.cases[:4], structures=tuple(replace(line, patients=4) for line in few.structures))
    judged = commission(few, run, load_limits(str(limits_file)))
    assert judged.verdicts[0].verdict is Verdict.TOO_FEW
    assert not judged.passed
    assert calibrations(few, (load_package(tiny_models / "tiny").manifest,), "here") == ()


def test_shipped_limits_are_read_and_others_named() -> None:
    files = sorted((shipped_folder("configs") / "commission").glob("*.yaml"))
    assert [load_limits(file.stem).name for file in files] == [file.stem for file in files]
    with pytest.raises(ConfigError, match="head, thorax, or a YAML file"):
        load_limits("pelvis")


def _worsened(evaluation: Evaluation) -> Evaluation:
    """The same, with every surface Dice lower by 0.2."""
    cases = []
    for case in evaluation.cases:
        scores = []
        for one in case.scores:
            assert one.agreement is not None
            scores.append(replace(one, agreement=replace(one.agreement, surface_dice=one.agreement.surface_dice - 0.2)))
        cases.append(replace(case, scores=tuple(scores)))
    return replace(evaluation, cases=tuple(cases))
