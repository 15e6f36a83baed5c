import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import phantoms
import pytest
from pydicom import Dataset

from contour.cases.aliases import How
from contour.cases.archive_index import index_archive
from contour.cases.names import (
    NameEntry,
    NameMap,
    NameOptions,
    keep_edits,
    load_name_map,
    propose_names,
    save_name_map,
)
from contour.core.errors import ConfigError
from contour.core.structures import StructureSet
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import Phantom

# ROI name -> the structure of the phantom that it is drawn on. The third patient's sides are exchanged; the second
# one's "трахея" is an oesophagus.
PATIENTS = (
    {
        "Heart": "Heart",
        "Лег Л": "Lung_L",
        "Лег П": "Lung_R",
        "cord": "SpinalCord",
        "Kidney": "Kidney_L",
        "Livr x": "Liver",
    },
    {"Heart": "Heart", "Лег Л": "Lung_L", "Лег П": "Lung_R", "трахея": "Esophagus", "Stomch": "Stomach"},
    {
        "жүрек": "Heart",
        "Лег Л": "Lung_R",
        "Лег П": "Lung_L",
        "Spleeen": "Liver",
        "PTV 60": "Heart",
        "Isocenter": "Heart",
    },
)


@pytest.fixture(scope="module")
def index(thorax: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    for number, rois in enumerate(PATIENTS):
        _write_patient(folder / "archive" / str(number), number, thorax, rois)
    index_archive(folder / "archive", folder / "index.sqlite")
    return folder / "index.sqlite"


def _write_patient(folder: Path, number: int, thorax: Phantom, rois: dict[str, str]) -> None:
    identity = PatientStudy("A^B", f"P-{number}", "", "", f"2.25.90{number}", "", "", "", "", "", "")
    write_series(thorax.volume, identity, folder / "ct", SeriesOptions(seed=str(number)))
    series = read_series(folder / "ct")
    drawn = {s.name: s for s in thorax.structures.structures}
    structures = tuple(replace(drawn[structure], name=f"R{i}") for i, structure in enumerate(rois.values()))
    written = StructureSet("x", series.volume.geometry, structures)
    write_rtstruct(written, series, folder / "rs.dcm", WriteOptions(now=datetime(2026, 1, 2, 10, 11, 12)))
    phantoms.edit(folder / "rs.dcm", lambda ds: _rename(ds, tuple(rois)))


def _rename(ds: Dataset, roi_names: tuple[str, ...]) -> None:
    """Names as other systems write them."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    for roi, name in zip(ds.StructureSetROISequence, roi_names, strict=True):
        roi.ROIName = name


@pytest.fixture(scope="module")
def names(index: Path) -> NameMap:
    return propose_names(index, NameOptions(workers=1))


def _decided(names: NameMap, roi_name: str) -> tuple[How, str | None, str | None]:
    entry = names.entry(roi_name)
    assert entry is not None
    return entry.how, entry.name, entry.proposal


def test_names_are_counted_and_exact_ones_used(names: NameMap) -> None:
    assert names.entries[0].patients == 3
    assert names.entries[0].roi_name == "Лег Л"
    heart = names.entry("Heart")
    assert heart == NameEntry("Heart", "Heart", False, How.EXACT, "Heart", 2, 2, ("anatomy: fits in 2 of 2",))
    assert _decided(names, "жүрек") == (How.EXACT, "Heart", "Heart")
    assert _decided(names, "cord") == (How.EXACT, "SpinalCord", "SpinalCord")


def test_one_case_that_contradicts_is_told_and_does_not_take_the_name(names: NameMap) -> None:
    for roi_name, name in (("Лег Л", "Lung_L"), ("Лег П", "Lung_R")):
        assert _decided(names, roi_name) == (How.EXACT, name, name)
        entry = names.entry(roi_name)
        assert entry is not None
        assert "contradicted in 1 of 3" in entry.remarks[0]
        assert f"would fit Lung_{'R' if name == 'Lung_L' else 'L'}" in entry.remarks[0]


def test_a_name_that_the_anatomy_contradicts_is_not_used(names: NameMap) -> None:
    assert _decided(names, "трахея") == (How.CONTRADICTED, None, "Trachea")
    assert _decided(names, "Spleeen") == (How.UNMAPPED, None, None)
    spleen = names.entry("Spleeen")
    assert spleen is not None
    assert spleen.remarks[0] == "not Spleen"


def test_proposals_wait_for_a_person(names: NameMap) -> None:
    assert _decided(names, "Stomch") == (How.FUZZY, None, "Stomach")
    assert _decided(names, "Kidney") == (How.BY_PLACE, None, "Kidney_L")
    assert _decided(names, "Livr x") == (How.UNMAPPED, None, None)


def test_what_is_no_organ_is_ignored(names: NameMap) -> None:
    assert [(e.how, e.ignore) for e in names.entries if e.roi_name in ("PTV 60", "Isocenter")] == [
        (How.IGNORED, True),
        (How.TARGET, True),
    ]


def test_without_samples_only_names_speak(index: Path) -> None:
    unmeasured = propose_names(index, NameOptions(samples=0))
    assert _decided(unmeasured, "трахея") == (How.EXACT, "Trachea", "Trachea")
    assert _decided(unmeasured, "Kidney") == (How.UNMAPPED, None, None)


def test_two_processes_say_the_same(index: Path, names: NameMap) -> None:
    told: list[tuple[str, float]] = []
    again = propose_names(index, NameOptions(workers=2), progress=lambda stage, done: told.append((stage, done)))
    assert again == names
    assert told[0] == ("anatomy", 0.0)
    assert told[-1] == ("anatomy", 1.0)


def test_edits_are_kept_and_the_rest_is_renewed(names: NameMap, tmp_path: Path) -> None:
    edits = {
        "Stomch": {"name": "Stomach"},
        "Heart": {"name": None},
        "PTV 60": {"name": "PTV", "ignore": False},
        "Livr x": {"ignore": True},
    }
    edited = NameMap(tuple(replace(e, **edits.get(e.roi_name, {})) for e in names.entries))
    gone = NameEntry("Старое", "Liver", how=How.UNMAPPED, patients=3, sets=3)
    stale = NameEntry("Прежнее", None, how=How.UNMAPPED, patients=3, sets=3)
    path = tmp_path / "names.yaml"
    save_name_map(NameMap((*edited.entries, gone, stale)), path)
    kept = keep_edits(names, load_name_map(path))
    assert {e.roi_name: (e.name, e.ignore) for e in kept.entries if e.how is How.EDITED} == {
        "Stomch": ("Stomach", False),
        "Heart": (None, False),
        "PTV 60": ("PTV", False),
        "Livr x": (None, True),
        "Старое": ("Liver", False),
    }
    untouched = [e for e in kept.entries if e.how is not How.EDITED]
    assert untouched == [e for e in names.entries if e.roi_name not in edits]
    # An edit stays one, run after run.
    save_name_map(kept, path)
    assert keep_edits(names, load_name_map(path)).entries == kept.entries


def test_a_map_comes_back_as_it_was(names: NameMap, tmp_path: Path) -> None:
    save_name_map(names, tmp_path / "names.yaml")
    assert load_name_map(tmp_path / "names.yaml") == names
    text = (tmp_path / "names.yaml").read_text(encoding="utf-8")
    assert text.startswith("# What each ROI name")
    assert "Лег Л" in text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{roi_name: x, name: Herz}", "Herz"),
        ("{roi_name: x, name: spinalcord}", "SpinalCord, as TG-263 writes it"),
        ("{roi_name: x, name: Left lung}", "letters, digits"),
        ("{roi_name: x, name: Heart, ignore: true}", "one of them"),
        ("{roi_name: x}\n- {roi_name: x}", "twice"),
        ("{roi_name: x, nmae: Heart}", "nmae"),
    ],
)
def test_mistakes_in_a_map_are_named(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "names.yaml"
    path.write_text(f"entries:\n- {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_name_map(path)


def test_the_command(
    contour: Callable[..., int], index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "names.yaml"
    assert contour("data", "names", index, "--output", path, "--samples", "0") == 0
    printed = capsys.readouterr().out
    assert "Used" in printed
    assert "Not understood" in printed
    path.write_text(path.read_text(encoding="utf-8").replace("name: SpinalCord", "name: SpinalCanal"), encoding="utf-8")
    assert contour("data", "names", index, "--output", path, "--samples", "0", "--json") == 0
    entries = {entry["roi_name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert (entries["cord"]["name"], entries["cord"]["how"]) == ("SpinalCanal", "edited")
    assert contour("data", "names", tmp_path / "none.sqlite", "--output", path) == 2


@pytest.mark.data
@pytest.mark.slow
def test_every_roi_of_a_real_archive(shared_data: Path, tmp_path: Path) -> None:
    index_archive(shared_data / "archive", tmp_path / "index.sqlite")
    found = propose_names(tmp_path / "index.sqlite", NameOptions(workers=1))
    used = {entry.roi_name: entry.name for entry in found.entries if entry.name is not None}
    assert used == {
        "Patient": "Body",
        "Spinal cord": "SpinalCord",
        "Lung L": "Lung_L",
        "Lung R": "Lung_R",
        "Esophagus": "Esophagus",
        "Heart": "Heart",
        "GTV-1": "GTV1",
        "CTV-1": "CTV1",
        "PTV-1": "PTV1",
    }
    assert all(entry.ignore for entry in found.entries if entry.name is None)
    assert not any("contradicted" in remark for entry in found.entries for remark in entry.remarks)
