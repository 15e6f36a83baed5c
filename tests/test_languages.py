# ruff: noqa: RUF001 - names in two more languages
"""Structures in Russian and Kazakh, and where these names go."""

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from coarse_bodies import ValueNetwork, body

from contour.core.nomenclature import known_names, lookup
from contour.core.protocol import DerivedStructure, Operation, Protocol, ProtocolStructure
from contour.core.volume import Modality
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.languages import Language, local_name
from contour.library import load_protocol, protocol_files
from contour.pipeline import RunOptions, contour_series

OF_ITS_OWN = ("Ring_PTV", "PTV_Brain")  # names that are abbreviations in any language


@pytest.mark.parametrize(
    ("name", "russian", "kazakh"),
    [
        ("Lung_L", "Лёгкое, слева", "Өкпе, сол жақ"),
        ("Lungs", "Лёгкие", "Өкпелер"),
        ("~Liver", "часть: Печень", "бөлігі: Бауыр"),
        ("SpinalCord_PRV05", "Спинной мозг + 5 мм", "Жұлын + 5 мм"),
        ("OpticNrv_PRV03_L", "Зрительный нерв, слева + 3 мм", "Көру нерві, сол жақ + 3 мм"),
        ("Lungs-GTV", "Лёгкие без GTV", "Өкпелер, GTV алынған"),
        ("VB_T05", "Тело позвонка T5", "T5 омыртқа денесі"),
        ("Vert_L1", "Позвонок L1", "L1 омыртқа"),
        ("VB_unknown2", "Тело позвонка неизвестного уровня, 2", "деңгейі белгісіз 2 омыртқа денесі"),
        ("Rib03_R", "Ребро 3, справа", "3-қабырға, оң жақ"),
        ("Nonsense", None, None),
        ("Nonsense_PRV05", None, None),
    ],
)
def test_names_in_two_languages(name: str, russian: str | None, kazakh: str | None) -> None:
    assert local_name(name, Language.RUSSIAN) == russian
    assert local_name(name, Language.KAZAKH) == kazakh
    assert local_name(name, Language.ENGLISH) is None


@pytest.mark.parametrize("language", [Language.RUSSIAN, Language.KAZAKH])
def test_all_that_shipped_protocols_write_has_a_name_and_words_name_known_structures(language: Language) -> None:
    for path in protocol_files():
        protocol = load_protocol(str(path))
        names = [rule.name for rule in protocol.structures] + [r.name for r in protocol.derived if not r.helper]
        known = [name for name in names if lookup(name) is not None and name not in OF_ITS_OWN]
        assert [name for name in known if local_name(name, language) is None] == [], path.name
    table = {*known_names(), "Vertebrae", "Mandible", "AirWay_Prox"}
    from contour.languages import _words  # noqa: PLC0415

    assert [stem for stem in _words(language).structures if stem not in table and f"{stem}_L" not in table] == []


PROTOCOL = Protocol(
    name="chest",
    title="Chest",
    modality=Modality.CT,
    packages=("fine",),
    structures=(ProtocolStructure("Heart"), ProtocolStructure("Lung_L")),
    derived=(DerivedStructure("Heart_PRV05", Operation.GROWN, ("Heart",), mm=5.0),),
)


def test_the_local_name_goes_into_report_and_description_and_the_roi_keeps_its_own(tmp_path: Path) -> None:
    identity = PatientStudy("A^B", "P", "19700102", "F", "2.25.5", "S", "20260102", "101112", "", "", "")
    write_series(body(-440.0, 312.0), identity, tmp_path / "ct", SeriesOptions(seed="languages"))
    options = RunOptions(language=Language.RUSSIAN)
    run = contour_series(tmp_path / "ct", PROTOCOL, (ValueNetwork(name="fine"),), tmp_path / "out", options=options)
    assert run.report.released
    assert [line.local_name for line in run.report.structures] == ["Сердце", "Лёгкое, слева", "Сердце + 5 мм"]
    text = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert text["structures"][1]["local_name"] == "Лёгкое, слева"
    written = pydicom.dcmread(tmp_path / "out" / "rtstruct.dcm")
    rois = {roi.ROIName: roi.ROIDescription for roi in written.StructureSetROISequence}
    assert rois["Lung_L"].startswith("Лёгкое, слева. Drawn automatically.")
    assert rois["Heart_PRV05"].startswith("Сердце + 5 мм. Derived: Heart grown by 5 mm.")
    read = read_rtstruct(tmp_path / "out" / "rtstruct.dcm", read_series(tmp_path / "ct"))
    assert [s.name for s in read.structures] == ["Heart", "Lung_L", "Heart_PRV05"]


def test_the_table_speaks_the_language(
    contour: Callable[..., int], thorax_series: Path, tiny_models: Path, tiny_protocol_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ("run", thorax_series, "-p", tiny_protocol_file, "--models", tiny_models, "-o", tmp_path / "out")
    assert contour(*arguments, "--language", "kk") == 0
    shown = capsys.readouterr().out
    assert "Атауы" in shown
    assert "Өкпелер" in shown
