"""Injected defects are found, each by its name, and what was left alone stays without a word."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import edt
import numpy as np
import pytest

from contour.cases.audit import AUDIT_FILE, SUGGESTIONS_FILE, Audit, AuditOptions, audit, judged, save_audit
from contour.cases.audit_checks import CaseFinding
from contour.cases.audit_facts import CaseFacts, measure
from contour.cases.audit_report import write_report
from contour.cases.build import FINDINGS_FILE, CaseFindings
from contour.cases.overrides import Override, load_overrides
from contour.cases.store import Case, CaseRecord, CaseStructure, Status, case_folders, save_case
from contour.config import save_config
from contour.core.geometry import Geometry
from contour.core.report import Finding, Severity
from contour.core.structures import Mask, Structure, StructureSet, cropped_to_content
from contour.core.volume import Volume
from contour.imaging.phantom import Phantom
from scripts.head_ct.openkbp import openkbp_case

COHORT = 10
TOUCHED = "case04"
NAMES = ("Body", "Lung_L", "Lung_R", "Heart", "SpinalCord", "Liver", "Spleen", "Stomach", "Kidney_L", "Kidney_R")


def resized(thorax: Phantom, i: int) -> Case:
    """A patient of their own: the phantom a few percent larger or smaller, a few HU brighter or darker."""
    rng = np.random.default_rng(i)
    z, y, x = (
        mm * s for mm, s in zip(thorax.volume.geometry.spacing_zyx_mm, rng.uniform(0.95, 1.05, 3).tolist(), strict=True)
    )
    geometry = replace(thorax.volume.geometry, spacing_zyx_mm=(z, y, x), frame_of_reference_uid=f"2.25.{i + 1}")
    voxels = thorax.volume.voxels_zyx + np.int16(i - COHORT // 2)
    structures = tuple(s for s in thorax.structures.structures if s.name in NAMES)
    return case_of(f"case{i:02d}", Volume(voxels, geometry, thorax.volume.modality), structures)


def case_of(name: str, volume: Volume, structures: tuple[Structure, ...]) -> Case:
    entries = tuple(CaseStructure(s.name, Status.DRAWN) for s in structures)
    record = CaseRecord(name, f"patient-{name}", volume.modality, volume.geometry, entries)
    return Case(record, volume, StructureSet(name, volume.geometry, structures))


@pytest.fixture(scope="module")
def cohort(thorax: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseFacts, ...]:
    nowhere = tmp_path_factory.mktemp("nowhere")
    return tuple(measure(resized(thorax, i), nowhere) for i in range(COHORT))


@pytest.fixture
def with_defect(
    thorax: Phantom, cohort: tuple[CaseFacts, ...], tmp_path: Path
) -> Callable[[Callable[[Case], Case]], Audit]:
    """The audit of the cohort with one case changed; nothing may be said of the others."""

    def run(change: Callable[[Case], Case]) -> Audit:
        facts = measure(change(resized(thorax, 4)), tmp_path)
        found = judged(tuple(facts if case.name == TOUCHED else case for case in cohort))
        assert not [f for f in found.findings if f.case != TOUCHED and f.finding.severity is not Severity.INFO]
        return found

    return run


def structure(case: Case, name: str) -> Structure:
    return next(s for s in case.structures.structures if s.name == name)


def with_mask(case: Case, name: str, mask_zyx: Mask) -> Case:
    """The case with another mask (on the whole grid) under `name`."""
    mask, offset = cropped_to_content(mask_zyx)
    changed = tuple(
        replace(s, mask_zyx=mask, offset_zyx=offset) if s.name == name else s for s in case.structures.structures
    )
    return replace(case, structures=replace(case.structures, structures=changed))


def full(case: Case, name: str) -> Mask:
    return structure(case, name).full_mask(case.volume.geometry.shape_zyx)


def moved(case: Case, name: str, by_mm: tuple[float, float, float]) -> Case:
    """`name` moved by x, y, z mm (LPS)."""
    shift = tuple(round(mm / step) for mm, step in zip(by_mm[::-1], case.volume.geometry.spacing_zyx_mm, strict=True))
    return with_mask(case, name, np.roll(full(case, name), shift, axis=(0, 1, 2)))


def the(found: Audit, code: str, name: str | None) -> CaseFinding:
    """The one finding of that code on that structure."""
    (one,) = [f for f in found.findings if f.finding.code == code and f.finding.structure == name]
    assert one.case == TOUCHED
    return one


def said(found: Audit) -> set[tuple[str, str | None]]:
    return {(f.finding.code, f.finding.structure) for f in found.findings if f.finding.severity is not Severity.INFO}


def test_nothing_is_said_of_what_was_left_alone(cohort: tuple[CaseFacts, ...]) -> None:
    assert said(judged(cohort)) == set()


def test_swapped_sides(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    def swap(case: Case) -> Case:
        left, right = full(case, "Kidney_L"), full(case, "Kidney_R")
        return with_mask(with_mask(case, "Kidney_L", right), "Kidney_R", left)

    found = with_defect(swap)
    assert said(found) == {("wrong-side", "Kidney_L")}
    assert the(found, "wrong-side", "Kidney_L").finding.severity is Severity.STOP
    exchanged = {(o.structure, o.name) for o in found.suggestions.overrides}
    assert exchanged == {("Kidney_L", "Kidney_R"), ("Kidney_R", "Kidney_L")}


def test_one_of_a_pair_on_the_side_of_the_other(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    found = with_defect(lambda case: with_mask(case, "Kidney_R", np.roll(full(case, "Kidney_L"), 4, axis=0)))
    assert the(found, "wrong-side", "Kidney_R").finding.severity is Severity.STOP


def test_a_single_kidney_on_the_wrong_side(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    def relabel(case: Case) -> Case:
        kept = tuple(s for s in case.structures.structures if s.name != "Kidney_L")
        structures = tuple(replace(s, name="Kidney_L") if s.name == "Kidney_R" else s for s in kept)
        return case_of(case.record.name, case.volume, structures)

    found = with_defect(relabel)
    assert said(found) == {("wrong-side", "Kidney_L")}
    assert [(o.structure, o.name) for o in found.suggestions.overrides] == [("Kidney_L", "Kidney_R")]


def test_a_structure_outside_the_body(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    found = with_defect(lambda case: moved(case, "Spleen", (0, -190, 0)))
    assert said(found) == {("outside-body", "Spleen")}
    assert the(found, "outside-body", "Spleen").finding.severity is Severity.STOP
    assert found.suggestions.overrides == (Override(TOUCHED, "Spleen", Status.NOT_DRAWN, reason="outside the body"),)


def test_a_structure_in_another_place_of_the_body(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    found = with_defect(lambda case: moved(case, "Kidney_L", (0, 0, 110)))
    assert ("place-unusual", "Kidney_L") in said(found)
    assert {name for _, name in said(found)} == {"Kidney_L"}
    assert "further superior" in the(found, "place-unusual", "Kidney_L").finding.message


def test_slices_that_are_missing(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    gone: list[int] = []

    def cut(case: Case) -> Case:
        mask = full(case, "Liver")
        middle = int(np.flatnonzero(mask.any(axis=(1, 2))).mean())
        gone.extend((middle, middle + 1))
        mask[gone] = False
        return with_mask(case, "Liver", mask)

    found = with_defect(cut)
    assert said(found) == {("gaps", "Liver")}
    assert the(found, "gaps", "Liver").finding.slices == tuple(gone)
    (suggested,) = found.suggestions.overrides
    assert suggested.structure == "Liver"
    assert suggested.status is not Status.DRAWN


@pytest.mark.parametrize(("size", "apart"), [(2, 40), (7, 5)])
def test_stray_islands(with_defect: Callable[[Callable[[Case], Case]], Audit], size: int, apart: int) -> None:
    def scribble(case: Case) -> Case:
        mask, box = full(case, "Stomach"), structure(case, "Stomach").box
        z = (box.start_zyx[0] + box.stop_zyx[0]) // 2
        edge = int(np.flatnonzero(mask[z].any(axis=1))[0])
        x = int(np.flatnonzero(mask[z, edge])[0])
        row = edge - size - round(apart / case.volume.geometry.spacing_zyx_mm[1])
        mask[z : z + size, row : row + size, x : x + size] = True
        return with_mask(case, "Stomach", mask)

    found = with_defect(scribble)
    assert said(found) == {("islands", "Stomach")}
    island = the(found, "islands", "Stomach")
    assert island.point_zyx is not None


@pytest.mark.parametrize("grown_mm", [14.0, -14.0])
def test_a_volume_far_from_the_cohort(with_defect: Callable[[Callable[[Case], Case]], Audit], grown_mm: float) -> None:
    def resize(case: Case) -> Case:
        mask, spacing = full(case, "Spleen"), case.volume.geometry.spacing_zyx_mm
        signed = edt.edt(~mask, anisotropy=spacing) - edt.edt(mask, anisotropy=spacing)
        return with_mask(case, "Spleen", signed < grown_mm)

    assert ("volume-unusual", "Spleen") in said(with_defect(resize))


def test_one_drawing_under_two_names(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    found = with_defect(lambda case: with_mask(case, "Spleen", full(case, "Stomach")))
    (same,) = [f for f in found.findings if f.finding.code == "same-mask"]
    assert same.finding.severity is Severity.STOP
    assert {same.finding.structure, *same.beside} == {"Spleen", "Stomach"}
    # The spleen is the copy: it is the one that lies where no other case has it.
    assert [(o.structure, o.status) for o in found.suggestions.overrides] == [("Spleen", Status.NOT_DRAWN)]


def test_other_values_inside(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    def darker(case: Case) -> Case:
        voxels = case.volume.voxels_zyx.copy()
        voxels[full(case, "Spleen")] -= 120
        return replace(case, volume=replace(case.volume, voxels_zyx=voxels))

    assert said(with_defect(darker)) == {("hu-unusual", "Spleen")}


def test_an_image_that_is_blank(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    rows: list[int] = []

    def masked(case: Case) -> Case:
        box = structure(case, "Liver").box
        middle = (box.start_zyx[0] + box.stop_zyx[0]) // 2
        rows.append(middle)
        voxels = case.volume.voxels_zyx.copy()
        voxels[:middle] = -1024
        kept = tuple(s for s in case.structures.structures if s.name in ("Liver", "Heart", "Lung_L", "Lung_R"))
        return case_of(case.record.name, replace(case.volume, voxels_zyx=voxels), kept)

    found = with_defect(masked)
    liver = the(found, "blank-image", "Liver")
    (suggested,) = liver.suggestion
    assert suggested.status is Status.PARTIAL
    assert suggested.drawn_slices is not None
    assert suggested.drawn_slices[0] == rows[0]


def test_an_organ_cut_inside_the_image(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    def cut(case: Case) -> Case:
        mask = full(case, "Heart")
        drawn = np.flatnonzero(mask.any(axis=(1, 2)))
        mask[drawn[len(drawn) * 3 // 5] :] = False
        return with_mask(case, "Heart", mask)

    found = with_defect(cut)
    assert the(found, "cut-inside", "Heart").suggestion[0].status is Status.PARTIAL


def test_a_structure_set_of_another_image(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    def shift(case: Case) -> Case:
        for name in NAMES:
            case = moved(case, name, (60, -60, 0))
        return case

    found = with_defect(shift)
    assert the(found, "image-misfit", None).finding.severity is Severity.STOP


def test_a_mask_without_a_voxel(with_defect: Callable[[Callable[[Case], Case]], Audit]) -> None:
    found = with_defect(lambda case: with_mask(case, "Spleen", np.zeros(case.volume.geometry.shape_zyx, bool)))
    assert the(found, "empty-mask", "Spleen").suggestion[0].status is Status.NOT_DRAWN


def test_one_image_under_two_patients(cohort: tuple[CaseFacts, ...]) -> None:
    copy = replace(cohort[0], name="copy", patient="another")
    found = judged((*cohort, copy))
    assert [(f.case, f.finding.code) for f in found.findings if f.finding.severity is Severity.STOP] == [
        ("copy", "same-image")
    ]
    same = judged((*cohort, replace(copy, patient=cohort[0].patient)))
    assert [f.finding.severity for f in same.findings if f.finding.code == "same-image"] == [Severity.INFO]


def test_few_cases_are_no_cohort(cohort: tuple[CaseFacts, ...]) -> None:
    huge = tuple(replace(s, volume_ml=50 * s.volume_ml) for s in cohort[0].structures)
    found = judged((replace(cohort[0], structures=huge), *cohort[1:5]))
    assert "volume-unusual" not in {code for code, _ in said(found)}


def test_files_of_an_audit(thorax: Phantom, tmp_path: Path) -> None:
    cases, output = tmp_path / "cases", tmp_path / "audit"
    for i in range(2):
        case = resized(thorax, i)
        save_case(moved(case, "Spleen", (0, -190, 0)) if i else case, cases)
    built = CaseFindings(
        findings=(Finding("off-slice", Severity.CHECK, "Two contours lie between slices.", "Heart", (3,)),)
    )
    save_config(built, cases / "case00" / FINDINGS_FILE)
    save_case(resized(thorax, 2), cases)
    (cases / "case02" / "image.nii.gz").write_bytes(b"")

    found = audit(case_folders(cases), AuditOptions(workers=2))
    save_audit(found, output)
    write_report(found, output / "report.html", AuditOptions())
    assert {(f.case, f.finding.code) for f in found.findings if f.finding.severity is not Severity.INFO} == {
        ("case00", "off-slice"),
        ("case01", "outside-body"),
        ("case02", "unreadable-case"),
    }
    stored = json.loads((output / AUDIT_FILE).read_text(encoding="utf-8"))
    assert [f["finding"]["code"] for f in stored["findings"]] == [f.finding.code for f in found.findings]
    assert load_overrides(output / SUGGESTIONS_FILE) == found.suggestions
    placed = [f for f in found.findings if f.point_zyx is not None]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert page.count('class="detail"') == len(found.findings) - 1  # of a case that cannot be read there is no more
    assert page.count("data:image/png") == len(placed) + 1  # and the cohort's volumes


def test_the_command(
    thorax: Phantom, tmp_path: Path, contour: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    save_case(moved(resized(thorax, 1), "Spleen", (0, -190, 0)), tmp_path / "cases")
    assert contour("data", "audit", tmp_path / "cases", "--output", tmp_path / "audit", "--json") == 0
    found = [one["finding"] for one in json.loads(capsys.readouterr().out)]
    assert [one["code"] for one in found if one["severity"] != "info"] == ["outside-body"]
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == [AUDIT_FILE, SUGGESTIONS_FILE, "report.html"]
    assert contour("data", "audit", tmp_path, "--output", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()


def test_facts_do_not_depend_on_how_the_image_is_stored(thorax: Phantom, tmp_path: Path) -> None:
    """Sagittal slices from left to right, rows from below: another order and direction of every axis."""
    straight = resized(thorax, 0)
    geometry = straight.volume.geometry
    (nz, _, nx), (z, y, x) = geometry.shape_zyx, geometry.axes_lps
    turned = Geometry(
        shape_zyx=tuple(geometry.shape_zyx[a] for a in (2, 0, 1)),
        spacing_zyx_mm=tuple(geometry.spacing_zyx_mm[a] for a in (2, 0, 1)),
        origin_lps_mm=tuple(geometry.index_to_lps_mm((nz - 1, 0, nx - 1)).tolist()),
        axes_lps=(tuple(-v for v in x), tuple(-v for v in z), y),
        frame_of_reference_uid=geometry.frame_of_reference_uid,
    )

    def turn(array_zyx: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array_zyx.transpose(2, 0, 1)[::-1, ::-1])

    structures = []
    for s in straight.structures.structures:
        mask, offset = cropped_to_content(turn(s.full_mask(geometry.shape_zyx)))
        structures.append(replace(s, mask_zyx=mask, offset_zyx=offset))
    volume = Volume(turn(straight.volume.voxels_zyx), turned, straight.volume.modality)
    found = measure(case_of("case00", volume, tuple(structures)), tmp_path)
    for one, other in zip(found.structures, measure(straight, tmp_path).structures, strict=True):
        assert one.volume_ml == pytest.approx(other.volume_ml)
        assert one.centroid_lps_mm == pytest.approx(other.centroid_lps_mm)
        assert one.from_body_mm == pytest.approx(other.from_body_mm, abs=4.0)
        assert one.mean_hu == pytest.approx(other.mean_hu)
        assert len(one.pieces) == len(other.pieces)
        assert one.outside.fraction == pytest.approx(other.outside.fraction, abs=0.01)
        assert one.at_border == other.at_border


@pytest.mark.data
def test_what_is_wrong_in_real_cases(shared_data: Path, tmp_path: Path) -> None:
    """OpenKBP: a whole structure set two vertebrae too low, a neck under the name of the cord; the others are sound."""
    folder = shared_data / "headneck" / "openkbp"
    listed = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    values = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    wrong = ("pt_215", "pt_221")
    sound = [name for name in sorted(listed) if name not in wrong][:12]
    facts = []
    for name in (*wrong, *sound):
        drawn = {structure: values[structure] for structure in listed[name]["structures"]}
        facts.append(measure(openkbp_case(folder / name, drawn), tmp_path))
    found = judged(tuple(facts))
    stops = {(f.case, f.finding.code) for f in found.findings if f.finding.severity is Severity.STOP}
    assert stops == {("pt_215", "section-unusual"), ("pt_221", "image-misfit")}
