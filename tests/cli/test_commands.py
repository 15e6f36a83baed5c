import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from contour import pipeline
from contour.config import shipped_folder
from contour.core.errors import NotReleased
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.imaging.phantom import Phantom

Contour = Callable[..., int]


@pytest.fixture(scope="module")
def drawn(
    thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The output of one run, made in a process of its own, as users do."""
    folder = tmp_path_factory.mktemp("run") / "out"
    command = "from contour.cli.main import run; run()"
    arguments = [
        "run",
        thorax_series,
        "-p",
        tiny_protocol_file,
        "--models",
        tiny_models,
        "-o",
        folder,
        "--threads",
        "1",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Released" in ended.stdout
    assert "Lungs" in ended.stdout
    assert "Serik" not in ended.stdout + ended.stderr
    assert "Серік" not in ended.stdout + ended.stderr
    return folder


def test_run_writes_the_three_files(drawn: Path) -> None:
    assert sorted(p.name for p in drawn.iterdir()) == ["preview.png", "report.json", "rtstruct.dcm"]


def test_run_prints_the_report_as_json(
    contour: Contour,
    thorax_series: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("-p", tiny_protocol_file, "--models", tiny_models, "-o", tmp_path / "o", "--json", "--engine", "cpu")
    assert contour("run", thorax_series, *arguments) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))
    assert printed.err == ""


def test_a_refused_series_is_exit_code_2_with_place_and_next_step(
    contour: Contour,
    thorax_series: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "ct"
    shutil.copytree(thorax_series, broken)
    sorted(broken.iterdir())[20].unlink()
    arguments = ("-p", tiny_protocol_file, "--models", tiny_models, "-o", tmp_path / "o")
    assert contour("run", broken, *arguments) == 2
    told = capsys.readouterr().err
    assert "Refused (missing-slice)" in told
    assert "Next:" in told
    assert not (tmp_path / "o").exists()


def test_not_released_is_exit_code_3(
    contour: Contour,
    thorax_series: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise NotReleased(("Lungs: mirrored",))

    monkeypatch.setattr(pipeline, "write_rtstruct", refuse)
    arguments = ("-p", tiny_protocol_file, "--models", tiny_models, "-o", tmp_path / "o")
    assert contour("run", thorax_series, *arguments) == 3
    printed = capsys.readouterr()
    assert "Not released" in printed.err
    assert "Lungs: mirrored" in printed.out
    assert not (tmp_path / "o" / "rtstruct.dcm").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nowhere"), "nowhere"),
        (("run", ".", "-p", "nonsense"), "thorax_oar"),
        (("models", "show", "nonsense"), "not installed"),
        (("run",), "series_folder"),
        (("nonsense",), "nonsense"),
    ],
)
def test_mistakes_are_exit_code_2_and_say_what_is_allowed(
    contour: Contour,
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert contour(*arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bound_on_memory_changes_nothing_that_is_drawn(
    contour: Contour, thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, drawn: Path, tmp_path: Path
) -> None:
    options = ["-p", tiny_protocol_file, "--models", tiny_models, "--threads", "1"]
    assert contour("run", thorax_series, *options, "--memory", "1.5GB", "-o", tmp_path / "out") == 0
    series = read_series(thorax_series)
    ours, theirs = (read_rtstruct(folder / "rtstruct.dcm", series) for folder in (tmp_path / "out", drawn))
    for one, other in zip(ours.structures, theirs.structures, strict=True):
        assert one.name == other.name
        assert one.offset_zyx == other.offset_zyx
        np.testing.assert_array_equal(one.mask_zyx, other.mask_zyx)


@pytest.mark.parametrize(("bound", "said"), [("200MB", "at least 1.5 GB"), ("plenty", "such as 2GB")])
def test_a_bound_that_cannot_be_kept_is_refused(
    contour: Contour, thorax_series: Path, bound: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contour("run", thorax_series, "--memory", bound) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_damaged_package_is_never_opened(
    contour: Contour,
    thorax_series: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(tiny_models, tmp_path / "models")
    network = tmp_path / "models" / "tiny" / "model.onnx"
    network.write_bytes(network.read_bytes() + b"x")
    arguments = ("-p", tiny_protocol_file, "--models", tmp_path / "models", "-o", tmp_path / "o")
    assert contour("run", thorax_series, *arguments) == 2
    assert "sha256" in capsys.readouterr().err
    assert contour("models", "verify", "tiny", "--models", tmp_path / "models") == 2
    assert contour("models", "verify", "tiny", "--models", tiny_models) == 0


def test_check_finds_nothing_on_what_run_wrote(
    contour: Contour, drawn: Path, thorax_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contour("check", drawn / "rtstruct.dcm", "--series", thorax_series, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_compare_with_itself_is_perfect(
    contour: Contour, drawn: Path, thorax_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rtstruct = drawn / "rtstruct.dcm"
    assert contour("compare", rtstruct, rtstruct, "--series", thorax_series, "--json", "-t", "2") == 0
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == {"Body", "Lungs", "Bone"}
    for row in rows.values():
        assert (row["dice"], row["surface_dice"], row["hd95_mm"], row["added_path_length_mm"]) == (1.0, 1.0, 0.0, 0.0)
        assert row["tolerance_mm"] == 2.0


def test_compare_pairs_names(
    contour: Contour, drawn: Path, thorax_series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rtstruct = drawn / "rtstruct.dcm"
    pair = ("compare", rtstruct, rtstruct, "--series", thorax_series, "--json")
    assert contour(*pair, "--pair", "Lungs=Bone") == 0
    assert json.loads(capsys.readouterr().out)["Lungs"]["dice"] == 0.0
    assert contour(*pair, "--pair", "Lungs=Nothing") == 2


def test_masks_come_back_from_nifti_unchanged(
    contour: Contour, drawn: Path, thorax_series: Path, thorax: Phantom, tmp_path: Path
) -> None:
    masks, again = tmp_path / "masks", tmp_path / "again.dcm"
    assert (
        contour("convert", "to-nifti", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", masks, "--image") == 0
    )
    assert sorted(p.name for p in masks.iterdir()) == ["Body.nii.gz", "Bone.nii.gz", "Lungs.nii.gz", "image.nii.gz"]
    assert contour("convert", "to-nifti", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", masks) == 2
    assert contour("convert", "to-rtstruct", masks, "--series", thorax_series, "-o", again) == 0
    series = read_series(thorax_series)
    first = {s.name: s for s in read_rtstruct(drawn / "rtstruct.dcm", series).structures}
    for structure in read_rtstruct(again, series).structures:
        assert np.array_equal(structure.mask_zyx, first[structure.name].mask_zyx)
        assert structure.interpreted_type == first[structure.name].interpreted_type


def test_an_rtstruct_becomes_a_segmentation(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seg.dcm"
    assert contour("convert", "to-seg", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", out) == 0
    assert "segments in" in capsys.readouterr().out
    assert {item.SegmentAlgorithmType for item in pydicom.dcmread(out).SegmentSequence} == {"AUTOMATIC"}
    assert contour("convert", "to-seg", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", out) == 2


def test_slices_that_nobody_drew_are_filled(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_set = pydicom.dcmread(drawn / "rtstruct.dcm")
    lungs = [roi.ROIName for roi in data_set.StructureSetROISequence].index("Lungs")
    contours = data_set.ROIContourSequence[lungs].ContourSequence
    heights = sorted({float(one.ContourData[2]) for one in contours})
    kept = {*heights[::2], heights[-1]}
    data_set.ROIContourSequence[lungs].ContourSequence = [c for c in contours if float(c.ContourData[2]) in kept]
    data_set.save_as(tmp_path / "sparse.dcm")
    out = tmp_path / "whole.dcm"
    assert contour("interpolate", tmp_path / "sparse.dcm", "--series", thorax_series, "-o", out) == 0
    assert "Lungs: " in capsys.readouterr().out
    series = read_series(thorax_series)
    (found,) = read_rtstruct(out, series).structures  # the others have no gap
    (whole,) = read_rtstruct(drawn / "rtstruct.dcm", series, names=("Lungs",)).structures
    masks = [structure.full_mask(series.volume.geometry.shape_zyx) for structure in (found, whole)]
    # The network is tiny, and its lungs are ragged: half of each slice's ragged edge is the neighbours'.
    assert 2 * np.count_nonzero(masks[0] & masks[1]) >= 0.93 * sum(map(np.count_nonzero, masks))
    assert {roi.ROIGenerationAlgorithm for roi in pydicom.dcmread(out).StructureSetROISequence} == {"SEMIAUTOMATIC"}
    assert contour("interpolate", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", tmp_path / "no.dcm") == 2
    assert "no gap between drawn slices" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "no.dcm").exists()


def test_a_mask_under_a_name_that_cannot_be_written_leaves_nothing(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, target = tmp_path / "masks", tmp_path / "new" / "rtstruct.dcm"
    assert contour("convert", "to-nifti", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", masks) == 0
    for name in ("A_name_of_seventeen", "two words", "BODY", "Сердце"):
        mask = shutil.copy(masks / "Body.nii.gz", masks / f"{name}.nii.gz")
        assert contour("convert", "to-rtstruct", masks, "--series", thorax_series, "-o", target) == 2
        assert "invalid-attribute" in capsys.readouterr().err
        assert not target.parent.exists()
        Path(mask).unlink()


def test_a_mask_on_another_grid_is_refused(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    assert contour("convert", "to-nifti", drawn / "rtstruct.dcm", "--series", thorax_series, "-o", masks) == 0
    fewer = tmp_path / "fewer"
    shutil.copytree(thorax_series, fewer)
    sorted(fewer.iterdir())[-1].unlink()
    assert contour("convert", "to-rtstruct", masks, "--series", fewer, "-o", tmp_path / "x.dcm") == 2
    assert "wrong-series" in capsys.readouterr().err
    assert not (tmp_path / "x.dcm").exists()


def _renamed(rtstruct: Path, target: Path, *names: str) -> Path:
    data_set = pydicom.dcmread(rtstruct)
    for roi, name in zip(data_set.StructureSetROISequence, names, strict=False):
        roi.add(pydicom.DataElement(0x30060026, "LO", name, validation_mode=pydicom.config.IGNORE))
    data_set.save_as(target)
    return target


def test_names_in_foreign_files_become_files_of_their_own_here(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path
) -> None:
    for number, (names, files) in enumerate(
        [
            (("Heart", "Heart", "HEART"), ["HEART_3.nii.gz", "Heart.nii.gz", "Heart_2.nii.gz"]),
            (("../../up", "", 300 * "A"), [f"{64 * 'A'}.nii.gz", "_.._up.nii.gz", "structure.nii.gz"]),
        ]
    ):
        foreign = _renamed(drawn / "rtstruct.dcm", tmp_path / "foreign.dcm", *names)
        masks = tmp_path / f"masks{number}"
        assert contour("convert", "to-nifti", foreign, "--series", thorax_series, "-o", masks) == 0
        assert sorted(p.name for p in masks.iterdir()) == files


def test_a_name_that_two_structures_have_is_not_compared(
    contour: Contour, drawn: Path, thorax_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rtstruct = drawn / "rtstruct.dcm"
    twice = _renamed(rtstruct, tmp_path / "twice.dcm", "Body", "Body")
    assert contour("compare", rtstruct, twice, "--series", thorax_series) == 2
    assert "2 ROIs are called 'Body'" in capsys.readouterr().err
    assert contour("compare", rtstruct, twice, "--series", thorax_series, "--pair", "Bone=Bone") == 0
    alike = _renamed(rtstruct, tmp_path / "alike.dcm", "BODY", "body", "bone")
    capsys.readouterr()
    assert contour("compare", rtstruct, alike, "--series", thorax_series, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["Bone"]


@pytest.mark.parametrize("tolerance", ["nan", "inf", "1e9", "-1"])
def test_a_tolerance_is_a_length_in_the_patient(
    contour: Contour, drawn: Path, thorax_series: Path, tolerance: str
) -> None:
    rtstruct = drawn / "rtstruct.dcm"
    assert contour("compare", rtstruct, rtstruct, "--series", thorax_series, "--tolerance", tolerance) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are a matter of Linux")
def test_names_that_are_not_unicode_end_no_run(
    contour: Contour, thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, tmp_path: Path
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xcf\xf0\xe8 \x1b[2J"))
    shutil.copytree(thorax_series, folder)
    (folder / os.fsdecode(b"\xcf\xf0\xe8.txt")).write_text("notes")
    command = "from contour.cli.main import run; run()"
    arguments = ["-p", tiny_protocol_file, "--models", tiny_models, "-o", folder / "out", "--threads", "1"]
    ended = subprocess.run(
        [sys.executable, "-c", command, "run", str(folder), *map(str, arguments)], capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert any("udccf" in text for text in report["set_aside"])


def test_demo_measures_against_the_truth(
    contour: Contour,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("contour.cli.demo.SPACING_ZYX_MM", (8.0, 4.0, 4.0))
    folder = tmp_path / "demo"
    arguments = ("demo", "-p", tiny_protocol_file, "--models", tiny_models, "-o", folder, "--json")
    assert contour(*arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["report"]["released"]
    assert content["agreement"]["Body"]["dice"] > 0.98
    assert contour("check", folder / "truth.dcm", "--series", folder / "ct") == 0
    assert contour(*arguments) == 2
    assert contour(*arguments, "--overwrite") == 0
    assert {p.name for p in folder.iterdir()} == {"ct", "truth.dcm", "rtstruct.dcm", "report.json", "preview.png"}


@pytest.mark.parametrize("command", [("protocols", "list"), ("protocols", "show", "thorax_oar")])
def test_listing_protocols(contour: Contour, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert contour(*command) == 0
    assert "Esophagus" in capsys.readouterr().out
    assert contour(*command, "--json") == 0
    json.loads(capsys.readouterr().out)


def test_planning_systems_are_listed_with_their_sources(contour: Contour, capsys: pytest.CaptureFixture[str]) -> None:
    assert contour("tps", "list", "--json") == 0
    names = [system["name"] for system in json.loads(capsys.readouterr().out)]
    assert {"generic", "eclipse", "raystation", "monaco", "pinnacle", "mim", "brainlab"} <= set(names)
    assert contour("tps", "show", "mim") == 0
    shown = capsys.readouterr().out
    assert "keyhole" in shown
    assert "TG-263" in shown


def test_a_protocol_that_a_planning_system_cannot_name_draws_nothing(
    contour: Contour,
    thorax_series: Path,
    tiny_models: Path,
    tiny_protocol_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    system = tmp_path / "short.yaml"
    system.write_text("name: short\ntitle: Short names\nname_length: 4\n", encoding="utf-8")
    out = tmp_path / "out"
    arguments = ("-p", tiny_protocol_file, "--models", tiny_models, "-o", out, "--tps", system)
    assert contour("run", thorax_series, *arguments) == 2
    assert "4 characters for Short names" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_protocol_shows_what_is_derived_and_why_it_matters(
    contour: Contour, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contour("protocols", "show", "thorax_sbrt") == 0
    shown = capsys.readouterr().out
    for words in ("SpinalCord grown by 5 mm", "helper, not written", "AAPM TG-101 table III", "GTV, PTV"):
        assert words in shown


def test_checking_a_protocol(contour: Contour, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = shipped_folder("configs") / "protocols" / "thorax_sbrt.yaml"
    assert contour("protocols", "check", shipped) == 0
    assert "Usable" in capsys.readouterr().out
    own = tmp_path / "own.yaml"
    own.write_text(
        shipped.read_text(encoding="utf-8").replace("mm: 5}", "mm: five}").replace("CT", "XR"), encoding="utf-8"
    )
    assert contour("protocols", "check", own, "--json") == 2
    found = json.loads(capsys.readouterr().out)["mistakes"]
    assert {mistake["where"].rpartition(": ")[2] for mistake in found} >= {"modality", "derived[2].mm"}


def test_a_target_needs_the_structure_set_that_holds_it(
    contour: Contour, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contour("run", tmp_path, "--target", "PTV=a") != 0
    assert "--with" in capsys.readouterr().err
    assert contour("run", tmp_path, "--with", tmp_path / "t.dcm", "--target", "PTV") != 0
    assert "NAME=ROI" in capsys.readouterr().err


def test_listing_models(contour: Contour, tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("models", "list"), ("models", "show", "tiny")):
        assert contour(*command, "--models", tiny_models) == 0
        assert "Lungs, Bone" in capsys.readouterr().out
        assert contour(*command, "--models", tiny_models, "--json") == 0
        json.loads(capsys.readouterr().out)


def test_doctor_sees_this_machine(contour: Contour, tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contour("doctor", "--models", tiny_models, "--json")
    lines = {line["part"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines["Package tiny"]["verdict"] == "good"
    assert all(lines[f"DICOM {name}"]["verdict"] == "good" for name in ("RLE", "JPEG-LS", "JPEG 2000"))
    assert "CPUExecutionProvider" in lines["ONNX Runtime"]["found"]


def test_a_protocol_without_its_package_is_no_fault_of_the_machine(
    contour: Contour,
    tiny_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting = tmp_path / "waiting.yaml"
    waiting.write_text(
        "name: waiting\ntitle: Waits\nmodality: CT\npackages: [yet_to_come]\nstructures: [{name: Heart}]\n",
        encoding="utf-8",
    )
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\n", encoding="utf-8")
    monkeypatch.setattr("contour.cli.doctor.protocol_files", lambda: (waiting, broken))
    contour("doctor", "--models", tiny_models, "--json")
    lines = {line["part"]: line for line in json.loads(capsys.readouterr().out)}
    assert lines["Protocol waiting"]["verdict"] == "note"
    assert "yet_to_come" in lines["Protocol waiting"]["found"]
    assert lines["Protocol broken"]["verdict"] == "bad"


@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process at once there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_stopped_run_leaves_nothing(
    thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    # The run stops in the middle of writing: a preview that never ends stands in for a slow disk.
    program = (
        "import sys, time; from contour import pipeline; from contour.cli.main import run\n"
        "def slow(*_):\n    print('writing', flush=True); time.sleep(60)\n"
        "pipeline.write_preview = slow; run()"
    )
    arguments = [
        "run",
        thorax_series,
        "-p",
        tiny_protocol_file,
        "--models",
        tiny_models,
        "-o",
        tmp_path / "o",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"writing"
    assert list((tmp_path / "o").iterdir())
    started = time.monotonic()
    process.send_signal(number)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + number
    assert time.monotonic() - started < 60
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("contour dat", "data"), ("contour run --mem", "--memory"), ("contour run -p thorax_s", "thorax_sbrt")],
)
def test_the_shell_completes_commands_options_and_protocols(typed: str, offered: str) -> None:
    words = typed.split()
    asked = {"_CONTOUR_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-c", "from contour.cli.main import run; run()"]
    told = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert offered in told.stdout.split()
