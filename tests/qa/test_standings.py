"""What became of what a protocol asks for, in the table, the sentence, the report and the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from coarse_bodies import ValueNetwork, body

from contour.core.geometry import Geometry
from contour.core.protocol import DerivedStructure, Operation, Protocol, ProtocolStructure
from contour.core.report import Finding, Severity, State
from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.core.volume import Modality
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.pipeline import RunOptions, contour_series, draw_structures
from contour.qa.completeness import standings, summary

PROTOCOL = Protocol(
    name="chest",
    title="Chest",
    modality=Modality.CT,
    packages=("fine",),
    structures=(
        ProtocolStructure("Lung_L"),
        ProtocolStructure("Heart"),
        ProtocolStructure("Liver"),
        ProtocolStructure("Kidney_L", required=False),
        ProtocolStructure("Spine_T", runs_on=True),
    ),
    derived=(DerivedStructure("Liver_PRV05", Operation.GROWN, ("Liver",), mm=5.0),),
)
CHEST = (-176.0, 24.0)


def test_each_structure_has_its_state_and_the_sentence_counts_them() -> None:
    drawing = draw_structures(body(*CHEST), PROTOCOL, (ValueNetwork(name="fine"),), locator=ValueNetwork())
    found = {s.name: (s.state, s.ends, s.required) for s in drawing.standings}
    assert found == {
        "~Lung_L": (State.PART, ("below",), True),
        "Heart": (State.WHOLE, (), True),
        "Liver": (State.OUTSIDE, (), True),
        "Kidney_L": (State.OUTSIDE, (), False),
        "Spine_T": (State.RUNS_ON, ("below",), True),
        "Liver_PRV05": (State.NOT_MADE, (), True),
    }
    assert summary(drawing.standings) == (
        "2 of 5 required structures are there in whole; in part: ~Lung_L (below); outside the image: Liver; "
        "not made: Liver_PRV05."
    )
    alone = draw_structures(body(*CHEST, without=("Heart",)), PROTOCOL, (ValueNetwork(name="fine"),))
    assert {s.name for s in alone.standings if s.state is State.NOT_FOUND} == {"Heart", "Liver", "Kidney_L"}
    assert "not found: Heart, Liver" in summary(alone.standings)


def test_ends_are_the_patients_however_slices_are_stored() -> None:
    for direction, expected in (
        ((0.0, 0.0, 1.0), ("below", "above")),
        ((0.0, 0.0, -1.0), ("above", "below")),
        ((0.0, 1.0, 0.0), ("front", "back")),
        ((-1.0, 0.0, 0.0), ("left", "right")),
    ):
        others = [axis for axis in np.eye(3).tolist() if abs(np.dot(axis, direction)) < 0.5]
        grid = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (direction, *map(tuple, others)), "1.2")  # type: ignore[arg-type]
        liver = Structure("~Liver", (1, 2, 3), InterpretedType.ORGAN, np.ones((4, 2, 2), dtype=bool), (0, 1, 1))
        cut = Finding("cut-by-scan", Severity.CHECK, "", "~Liver", (0, 3))
        edge = Finding("cut-by-field", Severity.CHECK, "", "~Liver", (0, 3))
        (found,) = standings(StructureSet("L", grid, (liver,)), (cut, edge), PROTOCOL)
        assert found.ends == (*expected, "edge of the field")
        assert found.words == f"part ({expected[0]}, {expected[1]}, edge of the field)"


def test_the_report_and_the_file_say_it(tmp_path: Path) -> None:
    identity = PatientStudy("A^B", "P", "19700102", "F", "2.25.5", "S", "20260102", "101112", "", "", "")
    write_series(body(*CHEST), identity, tmp_path / "ct", SeriesOptions(seed="complete"))
    options = RunOptions(locator=ValueNetwork())
    run = contour_series(tmp_path / "ct", PROTOCOL, (ValueNetwork(name="fine"),), tmp_path / "out", options=options)
    sentence = summary(run.drawing.standings)
    assert run.report.completeness == sentence
    lines = {line.name: line for line in run.report.structures}
    assert (lines["~Lung_L"].state, lines["~Lung_L"].ends) == (State.PART, ("below",))
    assert not lines["Kidney_L"].required
    written = pydicom.dcmread(tmp_path / "out" / "rtstruct.dcm")
    assert sentence in written.StructureSetDescription
    assert len(written.StructureSetDescription) <= 1024
    short = replace(PROTOCOL, structures=(ProtocolStructure("Heart"),), derived=())
    whole = draw_structures(body(*CHEST), short, (ValueNetwork(name="fine"),))
    assert summary(whole.standings) == "1 of 1 required structures are there in whole."
