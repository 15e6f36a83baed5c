"""A protocol's derived structures on a made body: what is made, what is a part, what waits for targets."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from coarse_bodies import CODES, ValueNetwork, body

from contour.core.errors import InputRefused, Reason
from contour.core.protocol import DerivedStructure, DoseLimit, Operation, Protocol, ProtocolStructure
from contour.core.report import Severity
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_contours, read_rtstruct
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries, PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.pipeline import Drawing, Given, RunOptions, contour_series, draw_structures
from contour.targets import TargetSource, read_targets

PROTOCOL = Protocol(
    name="chest",
    title="Chest",
    modality=Modality.CT,
    packages=("fine",),
    structures=(
        ProtocolStructure("Lung_L"),
        ProtocolStructure("Lung_R"),
        ProtocolStructure("Heart"),
        ProtocolStructure("Liver", required=False),
        ProtocolStructure("Spine_T", runs_on=True),
    ),
    targets=("GTV", "PTV"),
    derived=(
        DerivedStructure("Lungs", Operation.UNION, ("Lung_L", "Lung_R")),
        DerivedStructure("Lungs-GTV", Operation.SUBTRACTION, ("Lungs", "GTV")),
        DerivedStructure("Near", Operation.GROWN, ("PTV",), mm=24.0, helper=True),
        DerivedStructure("Heart_Near", Operation.INTERSECTION, ("Heart", "Near"), required=False),
        DerivedStructure("Heart_PRV08", Operation.GROWN, ("Heart",), mm=8.0),
        DerivedStructure("Spine_T_PRV08", Operation.GROWN, ("Spine_T",), mm=8.0),
        DerivedStructure("Liver_PRV08", Operation.GROWN, ("Liver",), mm=8.0, required=False),
    ),
    doses=(DoseLimit("Heart", 5, "no point above 38 Gy", "a table"), DoseLimit("Lungs", 1, "little", "a paper")),
)
TRUNK, CHEST = (-440.0, 312.0), (-176.0, 24.0)


def target(volume: Volume, name: str = "GTV", shift: int = 0) -> Structure:
    """A cube within the left lung and the heart's edge."""
    mask = np.zeros(volume.geometry.shape_zyx, dtype=bool)
    heart = np.argwhere(volume.voxels_zyx == CODES["Heart"])
    z, y, x = heart.max(axis=0) - (2, 2, 0)
    mask[z : z + 2, y : y + 3, x + shift : x + shift + 4] = True
    return Structure(name, (255, 0, 0), InterpretedType(name[:3]), *cropped_to_content(mask))


def drawn(volume: Volume, *targets: Structure, protocol: Protocol = PROTOCOL) -> Drawing:
    fine, given = ValueNetwork(name="fine"), Given(targets)
    return draw_structures(volume, protocol, (fine,), locator=ValueNetwork(), given=given)


def names(drawing: Drawing) -> list[str]:
    return [s.name for s in drawing.structures.structures]


def test_derived_structures_follow_in_order_with_what_made_them() -> None:
    volume = body(*TRUNK)
    drawing = drawn(volume, target(volume), target(volume, "PTV"))
    assert names(drawing)[5:] == ["Lungs", "Lungs-GTV", "Heart_Near", "Heart_PRV08", "Spine_T_PRV08", "Liver_PRV08"]
    found = {s.name: s for s in drawing.structures.structures}
    full = {name: s.full_mask(volume.geometry.shape_zyx) for name, s in found.items()}
    gtv = target(volume).full_mask(volume.geometry.shape_zyx)
    assert np.array_equal(full["Lungs"], full["Lung_L"] | full["Lung_R"])
    assert np.array_equal(full["Lungs-GTV"], full["Lungs"] & ~gtv)
    assert (full["Lungs"] & gtv).any()
    assert 0 < full["Heart_Near"].sum() < full["Heart"].sum()
    assert found["Lungs-GTV"].derivation == "Lungs less GTV"
    assert found["Lungs-GTV"].interpreted_type is InterpretedType.ORGAN
    assert found["Heart_PRV08"].interpreted_type is InterpretedType.AVOIDANCE
    assert found["Heart_PRV08"].provenance == found["Heart"].provenance
    assert found["Heart_PRV08"].confidence == found["Heart"].confidence
    assert not [f for f in drawing.findings if f.severity is not Severity.INFO and f.structure in names(drawing)[5:]]


def test_without_targets_what_needs_them_waits_and_is_named_once() -> None:
    drawing = drawn(body(*TRUNK))
    assert names(drawing)[5:] == ["Lungs", "Heart_PRV08", "Spine_T_PRV08", "Liver_PRV08"]
    (waiting,) = (f for f in drawing.findings if f.code == "targets-not-given")
    assert waiting.severity is Severity.CHECK
    assert "GTV, PTV not given: without, Lungs-GTV, Heart_Near cannot be made" in waiting.message
    optional = replace(PROTOCOL, derived=tuple(replace(rule, required=False) for rule in PROTOCOL.derived))
    (waiting,) = (f for f in drawn(body(*TRUNK), protocol=optional).findings if f.code == "targets-not-given")
    assert waiting.severity is Severity.INFO


def test_what_is_made_of_a_part_is_a_part() -> None:
    drawing = drawn(body(*CHEST))
    assert names(drawing) == [
        "~Lung_L", "~Lung_R", "Heart", "Liver", "Spine_T", "~Lungs", "Heart_PRV08", "Spine_T_PRV08", "Liver_PRV08"
    ]  # fmt: skip
    codes = {f.structure: f.code for f in drawing.findings if f.structure in ("~Lungs", "Liver_PRV08", "Spine_T_PRV08")}
    assert codes == {"~Lungs": "cut-by-scan", "Liver_PRV08": "not-derived", "Spine_T_PRV08": "cut-by-scan"}
    narrow = DerivedStructure("Core", Operation.SHRUNK, ("Lungs",), mm=16.0)
    less = DerivedStructure("Lungs-Heart", Operation.SUBTRACTION, ("Heart", "Lungs"))
    shared = DerivedStructure("Both", Operation.INTERSECTION, ("Heart_PRV08", "Lungs"))
    more = drawn(body(*CHEST), protocol=replace(PROTOCOL, derived=(*PROTOCOL.derived, narrow, less, shared)))
    assert names(more)[9:] == ["~Core", "Lungs-Heart", "Both"]
    assert {f.structure: f.code for f in more.findings}["~Core"] == "of-a-part"
    assert {s.name for s in drawing.structures.structures if s.empty} == {"Liver", "Liver_PRV08"}


def test_one_lung_is_not_both() -> None:
    volume = body(*TRUNK, without=("Lung_R",))
    drawing = draw_structures(volume, PROTOCOL, (ValueNetwork(name="fine"),))
    (missing,) = (f for f in drawing.findings if f.structure == "Lungs")
    assert (missing.code, missing.severity) == ("not-derived", Severity.CHECK)
    assert "Lung_R is not there" in missing.message
    assert next(s for s in drawing.structures.structures if s.name == "Lungs").empty


def test_what_holds_nothing_is_said_and_stays_a_fact() -> None:
    volume = body(*TRUNK)
    apart = target(volume, "PTV", shift=12)
    drawing = drawn(volume, target(volume), apart)
    (empty,) = (f for f in drawing.findings if f.structure == "Heart_Near")
    assert (empty.code, empty.severity) == ("empty-derived", Severity.INFO)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSeries, Path]:
    folder = tmp_path_factory.mktemp("derived")
    identity = PatientStudy("A^B", "P", "19700102", "F", "2.25.5", "S", "20260102", "101112", "", "", "")
    write_series(body(*TRUNK), identity, folder, SeriesOptions(seed="derived"))
    return read_series(folder), folder


def targets_file(series: ImageSeries, path: Path, *structures: Structure) -> Path:
    options = WriteOptions(generation=GenerationAlgorithm.MANUAL, now=datetime(2026, 1, 3, tzinfo=UTC))
    write_rtstruct(StructureSet("PLAN", series.volume.geometry, structures), series, path, options)
    return path


def test_targets_come_from_a_structure_set_into_every_file(series: tuple[ImageSeries, Path], tmp_path: Path) -> None:
    image, folder = series
    file = targets_file(
        image, tmp_path / "plan.dcm", target(image.volume), replace(target(image.volume, "PTV"), name="ptv")
    )
    options = RunOptions(targets=TargetSource(file))
    run = contour_series(folder, PROTOCOL, (ValueNetwork(name="fine"),), tmp_path / "out", options=options)
    assert run.report.released
    contents = read_contours(tmp_path / "out" / "rtstruct.dcm")
    assert "GTV" not in {roi.name for roi in contents.rois}
    read = {s.name: s for s in read_rtstruct(tmp_path / "out" / "rtstruct.dcm", image).structures}
    gtv = target(image.volume).full_mask(image.volume.geometry.shape_zyx)
    lungs = read["Lungs"].full_mask(image.volume.geometry.shape_zyx)
    assert np.array_equal(read["Lungs-GTV"].full_mask(image.volume.geometry.shape_zyx), lungs & ~gtv)
    doses = {line.name: line.doses for line in run.report.structures if line.doses}
    assert doses == {
        "Heart": ("5 fractions: no point above 38 Gy (a table)",),
        "Lungs": ("1 fraction: little (a paper)",),
    }
    (given,) = (f for f in run.report.findings if f.code == "targets-given")
    assert "GTV is 'GTV', PTV is 'ptv'" in given.message


def test_a_target_is_named_or_known_by_its_type_and_never_guessed(
    series: tuple[ImageSeries, Path], tmp_path: Path
) -> None:
    image, _ = series
    one = replace(target(image.volume), name="gtv_60Gy")
    two = replace(target(image.volume, shift=3), name="node")
    file = targets_file(image, tmp_path / "one.dcm", one, replace(target(image.volume, "PTV"), name="PTV"))
    taken, _ = read_targets(TargetSource(file), PROTOCOL, image)
    assert [s.name for s in taken] == ["GTV", "PTV"]
    assert np.array_equal(taken[0].mask_zyx, one.mask_zyx)
    both = targets_file(image, tmp_path / "both.dcm", one, two)
    with pytest.raises(InputRefused, match="2 ROIs may be GTV: 'gtv_60Gy', 'node'") as refused:
        read_targets(TargetSource(both), PROTOCOL, image)
    assert refused.value.reason is Reason.SEVERAL_TARGETS
    (taken,), (_, missing) = read_targets(TargetSource(both, {"GTV": "node"}), PROTOCOL, image)
    assert "has no PTV" in missing.message
    assert taken.offset_zyx == two.offset_zyx
    with pytest.raises(InputRefused, match="no ROI 'nod' for GTV; allowed: 'gtv_60Gy', 'node'"):
        read_targets(TargetSource(both, {"GTV": "nod"}), PROTOCOL, image)
    with pytest.raises(InputRefused, match="CTV asked for; allowed: targets of protocol chest: GTV, PTV"):
        read_targets(TargetSource(both, {"CTV": "node"}), PROTOCOL, image)
    neither = targets_file(image, tmp_path / "none.dcm", replace(one, interpreted_type=InterpretedType.ORGAN))
    none, (said,) = read_targets(TargetSource(neither), PROTOCOL, image)
    assert none == ()
    assert (said.code, said.severity) == ("targets-not-found", Severity.CHECK)
    assert "has no GTV or PTV by name or type; its ROIs are 'gtv_60Gy'" in said.message


def test_a_run_into_an_existing_structure_set_adds_to_it(series: tuple[ImageSeries, Path], tmp_path: Path) -> None:
    image, folder = series
    person = replace(target(image.volume), name="Heart", interpreted_type=InterpretedType.ORGAN)
    existing = targets_file(image, tmp_path / "plan.dcm", target(image.volume), person)
    options = RunOptions(into=existing)
    run = contour_series(folder, PROTOCOL, (ValueNetwork(name="fine"),), tmp_path / "out", options=options)
    assert run.report.released
    read = {s.name: s for s in read_rtstruct(tmp_path / "out" / "rtstruct.dcm", image).structures}
    assert list(read)[:3] == ["GTV", "Heart", "Lung_L"]
    assert np.array_equal(read["Heart"].mask_zyx, person.mask_zyx)
    (said,) = (f for f in run.report.findings if f.code == "merged")
    assert said.severity is Severity.CHECK
    assert "left as people drew them: Heart" in said.message
    assert run.report.rtstruct_sop_instance_uid == read_contours(tmp_path / "out" / "rtstruct.dcm").sop_instance_uid
    only = replace(PROTOCOL, structures=(ProtocolStructure("Heart"),), derived=(), doses=(), targets=())
    nothing = contour_series(folder, only, (ValueNetwork(name="fine"),), tmp_path / "none", options=options)
    assert not nothing.report.released
    assert not (tmp_path / "none" / "rtstruct.dcm").exists()
    assert "has Heart already" in next(f.message for f in nothing.report.findings if f.code == "not-released")
