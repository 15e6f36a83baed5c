"""What is written: complete, deterministic, true to the masks, and released only when proven."""

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from rtstruct_cases import (
    GRIDS,
    IDENTITY,
    PACKAGE,
    anatomy,
    axial,
    distance_mm,
    oblique,
    rewritten,
    same_masks,
    series_on,
    shell,
    structure,
    with_structures,
)

import contour.dicom.rtstruct_write as writing
from contour.core.errors import InputRefused, NotReleased, Reason
from contour.core.geometry import Geometry
from contour.core.planning_system import HoleStyle, LocalNamePlace, PlanningSystem
from contour.core.report import Severity
from contour.core.structures import Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_check import check_rtstruct
from contour.dicom.rtstruct_encode import SliceReferences
from contour.dicom.rtstruct_read import read_contours, read_rtstruct
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.contours import Contours, TraceOptions

NOW = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture
def written(tmp_path):
    series = series_on(axial())
    result = write_rtstruct(anatomy(axial()), series, tmp_path / "rs.dcm", WriteOptions(now=NOW))
    return result, pydicom.dcmread(result.path), series


@pytest.mark.parametrize("grid", GRIDS)
def test_masks_come_back_voxel_for_voxel_on_any_grid(tmp_path, grid):
    structures, series = anatomy(GRIDS[grid]()), series_on(GRIDS[grid]())
    result = write_rtstruct(structures, series, tmp_path / "rs.dcm")
    assert result.left_out == ()
    assert same_masks(read_rtstruct(result.path, series), structures)
    assert check_rtstruct(result.path, series) == ()
    assert check_rtstruct(result.path, None) == ()


@pytest.mark.parametrize("grid", GRIDS)
def test_points_stand_half_way_between_inside_and_outside_in_the_patient(tmp_path, grid):
    geometry = GRIDS[grid]()
    centre_zyx, radius_mm = (12, 22.3, 24.6), 15.0
    ball = structure("Liver", distance_mm(geometry, centre_zyx) < radius_mm)
    path = write_rtstruct(
        with_structures(anatomy(geometry), ball), series_on(geometry), tmp_path / "rs.dcm", WriteOptions(now=NOW)
    ).path
    points = np.concatenate([item.points_lps_mm for item in read_contours(path).contours])
    centre = np.asarray(geometry.origin_lps_mm) + np.asarray(centre_zyx) @ geometry.steps_lps_mm
    apart = np.linalg.norm(points - centre, axis=1) - radius_mm
    # Points lie between two voxel centres of a row or column, one inside the ball and one outside: on average on it.
    assert np.abs(apart).max() < max(geometry.spacing_zyx_mm[1:]) / 2
    assert abs(apart.mean()) < 0.1 * min(geometry.spacing_zyx_mm)
    # and, from the written text alone, exactly half-way: one index is whole, the other a half.
    indices = geometry.lps_mm_to_index(points)
    assert np.abs(2 * indices - np.rint(2 * indices)).max() * max(geometry.spacing_zyx_mm) < 0.004


def points_by_name(path):
    contents = read_contours(path)
    return {
        roi.name: sorted(map(tuple, contents.contours_of(roi.number).points_lps_mm.tolist())) for roi in contents.rois
    }


@pytest.mark.parametrize("axes", [(2,), (1,), (0,), (1, 2), (0, 1, 2)], ids=str)
def test_the_way_an_image_is_stored_does_not_move_contours_in_the_patient(tmp_path, axes):
    geometry = oblique()
    structures = anatomy(geometry)
    corner = [n - 1 if axis in axes else 0 for axis, n in enumerate(geometry.shape_zyx)]
    flipped_geometry = replace(
        geometry,
        origin_lps_mm=tuple(geometry.index_to_lps_mm(corner).tolist()),
        axes_lps=tuple(tuple(-c for c in axis) if i in axes else axis for i, axis in enumerate(geometry.axes_lps)),
    )
    flipped = [
        structure(s.name, np.flip(s.full_mask(geometry.shape_zyx), axes), provenance=s.provenance)
        for s in structures.structures
    ]
    flipped_set = replace(structures, geometry=flipped_geometry, structures=tuple(flipped))
    before = points_by_name(write_rtstruct(structures, series_on(geometry), tmp_path / "a.dcm").path)
    after = points_by_name(write_rtstruct(flipped_set, series_on(flipped_geometry), tmp_path / "b.dcm").path)
    assert before.keys() == after.keys()
    for name, points in before.items():
        assert np.abs(np.array(points) - np.array(after[name])).max() < 0.0025, name


def test_the_same_input_gives_the_same_bytes_but_for_dates_and_times(tmp_path):
    structures, series = anatomy(oblique()), series_on(oblique())
    first = write_rtstruct(structures, series, tmp_path / "1.dcm", WriteOptions(now=NOW))
    again = write_rtstruct(structures, series, tmp_path / "2.dcm", WriteOptions(now=NOW))
    later = write_rtstruct(structures, series, tmp_path / "3.dcm", WriteOptions(now=NOW + timedelta(days=40)))
    assert first.path.read_bytes() == again.path.read_bytes()
    assert later.sop_instance_uid == first.sop_instance_uid
    a, b = first.path.read_bytes(), later.path.read_bytes()
    assert len(a) == len(b)
    differing = {
        element.keyword
        for element in pydicom.dcmread(first.path)
        if element != pydicom.dcmread(later.path)[element.tag]
    }
    assert differing == {"InstanceCreationDate", "SeriesDate", "StructureSetDate"}


def test_another_mask_or_package_gives_another_uid(tmp_path):
    structures, series = anatomy(axial()), series_on(axial())
    lung, *others = structures.structures
    mask = lung.mask_zyx.copy()
    mask[tuple(np.argwhere(mask)[0])] = False
    variants = [
        structures,
        with_structures(structures, replace(lung, mask_zyx=mask), *others),
        with_structures(structures, replace(lung, provenance=replace(PACKAGE, version="1.2.1")), *others),
        replace(structures, label="other"),
    ]
    results = [write_rtstruct(v, series, tmp_path / f"{i}.dcm") for i, v in enumerate(variants)]
    moved = write_rtstruct(structures, replace(series, content_sha256="ef" * 32), tmp_path / "moved.dcm")
    uids = [uid for r in (*results, moved) for uid in (r.sop_instance_uid, r.series_instance_uid)]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in uids)


def test_the_object_says_what_it_is_and_where_it_came_from(written):
    result, data_set, series = written
    assert data_set.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    assert data_set.SOPInstanceUID == data_set.file_meta.MediaStorageSOPInstanceUID == result.sop_instance_uid
    assert data_set.ApprovalStatus == "UNAPPROVED"
    assert data_set.StructureSetLabel == "thorax_oar"
    assert "for review" in data_set.SeriesDescription
    assert "for review" in data_set.StructureSetName
    assert "review before any use" in data_set.StructureSetDescription
    assert PACKAGE.sha256 in data_set.StructureSetDescription
    assert data_set.SoftwareVersions[1] == "thorax_ct 1.2.0"
    roi = data_set.StructureSetROISequence[0]
    assert (roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm) == (1, "Lung_L", "AUTOMATIC")
    assert PACKAGE.sha256 in roi.ROIDescription
    algorithm = roi.ROIDerivationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("thorax_ct", "1.2.0")
    frame = data_set.ReferencedFrameOfReferenceSequence[0]
    listed = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == series.volume.geometry.frame_of_reference_uid
    assert listed.SeriesInstanceUID == series.series_instance_uid
    assert tuple(i.ReferencedSOPInstanceUID for i in listed.ContourImageSequence) == series.sop_instance_uids


def test_structures_carry_type_colour_and_codes(written):
    _, data_set, _ = written
    lung, external = data_set.RTROIObservationsSequence[0], data_set.RTROIObservationsSequence[4]
    assert lung.RTROIInterpretedType == "ORGAN"
    assert lung.RTROIIdentificationCodeSequence[0].CodeValue == "39607008"
    side = lung.RTROIIdentificationCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodingSchemeDesignator) == ("7771000", "SCT")
    assert lung.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert external.RTROIInterpretedType == "EXTERNAL"
    assert data_set.ROIContourSequence[0].ROIDisplayColor == [90, 180, 230]


def test_each_contour_names_its_slice_and_counts_its_points(written):
    _, data_set, series = written
    for roi in data_set.ROIContourSequence:
        for item in roi.ContourSequence:
            points = np.array(item.ContourData, dtype=float).reshape(-1, 3)
            assert item.ContourGeometricType == "CLOSED_PLANAR"
            assert item.NumberOfContourPoints == len(points) >= 3
            z = round(float(series.volume.geometry.lps_mm_to_index(points[0])[0]))
            assert item.ContourImageSequence[0].ReferencedSOPInstanceUID == series.sop_instance_uids[z]


def test_every_value_fits_its_value_representation(written):
    result, data_set, _ = written
    limits = {"SH": 16, "LO": 64, "DS": 16, "IS": 12, "UI": 64, "CS": 16, "ST": 1024}
    checked = 0
    for element in data_set.iterall():
        if element.VR not in limits or element.is_empty:
            continue
        values = [element.value] if element.VM == 1 else element.value
        for value in values:
            text = value.original_string if hasattr(value, "original_string") else str(value)
            assert len(text) <= limits[element.VR], element
            checked += 1
    assert checked > 2000
    assert result.path.read_bytes().count(b"\\\\") == 0


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        (("ISO_IR 192",), "Қасымов^Әлихан", "ISO_IR 192"),
        (("ISO_IR 144",), "Иванов^Иван", "ISO_IR 144"),
        (("ISO_IR 144",), "Қасымов^Әлихан", "ISO_IR 192"),  # Kazakh letters are not in ISO 8859-5
        (("ISO_IR 100",), "Müller^Jörg", "ISO_IR 100"),
        (("", "ISO 2022 IR 144"), "Иванов^Иван", "ISO_IR 192"),
        ((), "Smith^John", "ISO_IR 192"),
    ],
)
def test_names_survive_in_any_script(tmp_path, declared, name, expected):
    identity = replace(IDENTITY, patient_name=name, study_description="", referring_physician_name=name)
    series = series_on(axial(), identity, declared)
    path = write_rtstruct(anatomy(axial()), series, tmp_path / "rs.dcm").path
    data_set = pydicom.dcmread(path)
    assert data_set.SpecificCharacterSet == expected
    assert str(data_set.PatientName) == name
    assert str(data_set.ReferringPhysicianName) == name
    assert read_contours(path).patient_name == name


def test_what_the_images_say_is_copied_even_where_it_breaks_rules(tmp_path):
    identity = replace(IDENTITY, patient_sex="male", study_date="2024.05.06", study_id="x" * 30)
    path = write_rtstruct(anatomy(axial()), series_on(axial(), identity), tmp_path / "rs.dcm").path
    written = path.read_bytes()
    assert b"\x08\x00\x20\x00\x0a\x00\x00\x002024.05.06" in written  # Study Date, 10 bytes
    assert b"\x10\x00\x40\x00\x04\x00\x00\x00male" in written
    assert b"x" * 30 in written


def test_a_package_named_in_another_script_keeps_its_name(tmp_path):
    series = series_on(
        axial(), replace(IDENTITY, patient_name="A^B", study_description="", referring_physician_name="")
    )
    series = replace(series, specific_character_set=("ISO_IR 100",))
    structures = anatomy(axial())
    lung = replace(structures.structures[0], provenance=replace(PACKAGE, package="өкпе"))
    path = write_rtstruct(with_structures(structures, lung), series, tmp_path / "rs.dcm").path
    assert "өкпе 1.2.0" in read_contours(path).rois[0].generation_description


def test_structures_without_a_voxel_are_left_out_and_named(tmp_path):
    structures = anatomy(axial())
    empty = replace(structures.structures[0], name="Lung_R", mask_zyx=np.zeros((0, 0, 0), dtype=bool))
    result = write_rtstruct(
        with_structures(structures, empty, *structures.structures), series_on(axial()), tmp_path / "rs.dcm"
    )
    assert result.left_out == ("Lung_R",)
    assert "Lung_R" not in [roi.name for roi in read_contours(result.path).rois]


def refused(tmp_path, structures, series, **options):
    with pytest.raises(InputRefused) as caught:
        write_rtstruct(structures, series, tmp_path / "rs.dcm", WriteOptions(**options))
    assert list(tmp_path.iterdir()) == []
    return caught.value.reason


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path):
    structures, series = anatomy(axial()), series_on(axial())
    lung = structures.structures[0]
    wrong = [
        replace(lung, name="Lung_Left_Superior"),
        replace(lung, name="Lung L"),
        replace(lung, color_rgb=(0, 0, 256)),
        replace(lung, offset_zyx=(20, 0, 0)),
    ]
    for bad in wrong:
        assert refused(tmp_path, with_structures(structures, bad), series) is Reason.INVALID_ATTRIBUTE
    twins = with_structures(structures, lung, replace(lung, name="LUNG_L"))
    assert refused(tmp_path, twins, series) is Reason.INVALID_ATTRIBUTE
    assert refused(tmp_path, structures, series, label="seventeen letters") is Reason.INVALID_ATTRIBUTE
    nothing = with_structures(structures, replace(lung, mask_zyx=np.zeros((0, 0, 0), dtype=bool)))
    assert refused(tmp_path, nothing, series) is Reason.NO_STRUCTURES
    assert refused(tmp_path, structures, series_on(oblique())) is Reason.WRONG_SERIES


def moved(contours, shift_yx):
    return replace(contours, points_yx=contours.points_yx + np.asarray(shift_yx))


def mirrored(contours):
    points = contours.points_yx.copy()
    points[:, 0] = points[:, 0].min() + points[:, 0].max() - points[:, 0]
    return replace(contours, points_yx=points)


def without(contours, dropped):
    kept = [i for i in range(len(contours)) if not dropped(i)]
    polygons = [contours.polygon_yx(i) for i in kept]
    starts = np.cumsum([0, *(len(p) for p in polygons)])
    return Contours(np.concatenate(polygons), starts, contours.slice_indices[kept])


def without_holes(contours):
    areas = contours.signed_areas()
    assert (areas < 0).any()
    return without(contours, lambda i: areas[i] < 0)


def without_middle_slice(contours):
    middle = int(np.median(contours.slice_indices))
    return without(contours, lambda i: contours.slice_indices[i] == middle)


CORRUPTIONS = {
    "mirrored": (mirrored, "mirrored along the rows"),
    "half a pixel along columns": (lambda c: moved(c, (0, 0.5)), "points lie off the surface"),
    "half a pixel along rows": (lambda c: moved(c, (0.5, 0)), "points lie off the surface"),
    "half a pixel inwards": (lambda c: replace(c, points_yx=np.rint(c.points_yx)), "volume"),
    "a hundredth of a pixel": (lambda c: moved(c, (0.01, 0)), "points lie off the surface"),
    "a whole pixel": (lambda c: moved(c, (0, 1)), "shifted by (0, 0, 1) voxels"),
    "a slice lost": (without_middle_slice, "slices lost: [12]"),
    "a slice twice as high": (lambda c: replace(c, slice_indices=c.slice_indices + 1), "shifted by (1, 0, 0) voxels"),
    "holes lost": (without_holes, "holes lost on slices"),
    "a point lost": (
        lambda c: replace(c, points_yx=np.delete(c.points_yx, 3, 0), starts=np.maximum(c.starts - 1, 0)),
        "Lung_L",
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_what_differs_from_the_masks_is_not_released(tmp_path, monkeypatch, corruption):
    corrupt, expected = CORRUPTIONS[corruption]

    def corrupting(mask_zyx, offset_zyx, options):
        contours = trace(mask_zyx, offset_zyx, options)
        return corrupt(contours) if mask_zyx.shape == lung.mask_zyx.shape else contours

    trace = writing.trace
    structures = anatomy(oblique())
    lung = structures.structures[0]
    monkeypatch.setattr(writing, "trace", corrupting)
    output = tmp_path / "rs.dcm"
    output.write_bytes(b"an earlier, proven file")
    with pytest.raises(NotReleased, match="Lung_L") as caught:
        write_rtstruct(structures, series_on(oblique()), output)
    assert expected in str(caught.value)
    assert "Heart" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rs.dcm"]
    assert output.read_bytes() == b"an earlier, proven file"


def test_wrong_references_to_slices_are_not_released(tmp_path, monkeypatch):
    def rolled(sop_class_uid, sop_instance_uids):
        return true_references(sop_class_uid, (*sop_instance_uids[1:], sop_instance_uids[0]))

    true_references = SliceReferences.to
    monkeypatch.setattr(SliceReferences, "to", rolled)
    with pytest.raises(NotReleased, match="name another image than the slice they lie on"):
        write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm")
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_short_on_its_way_to_the_disk_is_not_released(tmp_path, monkeypatch):
    def cutting(path, pieces):
        path.write_bytes(b"".join(pieces)[:-4000])

    monkeypatch.setattr(writing, "write_durably", cutting)
    with pytest.raises(NotReleased, match="truncated-file"):
        write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("smoothing_mm", "decimation_mm"), [(0.2, 0.1), (0.0, 0.4), (0.3, 0.3)])
def test_smoothed_and_decimated_contours_are_proven_within_their_bounds(tmp_path, smoothing_mm, decimation_mm):
    geometry = axial()
    structures, series = anatomy(geometry), series_on(geometry)
    options = TraceOptions(geometry.spacing_zyx_mm[1:], smoothing_mm=smoothing_mm, decimation_mm=decimation_mm)
    result = write_rtstruct(structures, series, tmp_path / "rs.dcm", WriteOptions(trace=options))
    for drawn, read in zip(structures.structures, read_rtstruct(result.path, series).structures, strict=True):
        difference = np.count_nonzero(drawn.full_mask(geometry.shape_zyx) != read.full_mask(geometry.shape_zyx))
        if smoothing_mm + decimation_mm < 0.4:
            assert difference == 0, drawn.name
        assert difference <= 0.1 * np.count_nonzero(drawn.mask_zyx), drawn.name


def test_a_structure_that_decimation_wipes_out_is_not_released(tmp_path):
    geometry = axial()
    options = TraceOptions(geometry.spacing_zyx_mm[1:], decimation_mm=1.2)
    with pytest.raises(NotReleased) as caught:
        write_rtstruct(anatomy(geometry), series_on(geometry), tmp_path / "rs.dcm", WriteOptions(trace=options))
    assert caught.value.differences == ("Cochlea_L: no voxel lies inside the contours that were read back",)


@pytest.fixture(scope="module")
def ct_on_disk(tmp_path_factory):
    """An oblique CT with something in it, written and read back as DICOM."""
    geometry = oblique()
    folder = tmp_path_factory.mktemp("ct")
    volume = series_on(geometry).volume
    volume = replace(volume, voxels_zyx=(distance_mm(geometry, (12, 22, 24)) * 10).astype(np.int16))
    write_series(volume, IDENTITY, folder, SeriesOptions(seed="rtstruct"))
    return folder, read_series(folder)


def test_a_geometry_that_the_files_contradict_is_not_released(tmp_path, ct_on_disk):
    _, series = ct_on_disk
    geometry = series.volume.geometry
    x, y, z = geometry.origin_lps_mm
    shifted = replace(geometry, origin_lps_mm=(x, y + 0.5, z))
    wrong = replace(series, volume=replace(series.volume, geometry=shifted))
    write_rtstruct(anatomy(geometry), series, tmp_path / "right.dcm")
    with pytest.raises(NotReleased, match=r"slice 0 lies 0\.500 mm from where its file puts it"):
        write_rtstruct(anatomy(shifted), wrong, tmp_path / "wrong.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["right.dcm"]


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@pytest.mark.peer
def test_dicom_validators_find_nothing(tmp_path, ct_on_disk):
    folder, series = ct_on_disk
    path = write_rtstruct(anatomy(series.volume.geometry), series, tmp_path / "rs.dcm").path
    form = run("dciodvfy", path)
    assert form.returncode == 0
    assert [line for line in form.stderr.splitlines() if line.startswith(("Error", "Warning"))] == []
    entities = run("dcentvfy", *sorted(folder.iterdir()), path)
    assert [line for line in (entities.stdout + entities.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("grid", GRIDS)
def test_keyholes_hold_the_same_voxels_in_fewer_contours(tmp_path, grid):
    geometry = GRIDS[grid]()
    series, structures = series_on(geometry), with_structures(anatomy(geometry), shell(geometry))
    contours = {}
    for style in HoleStyle:
        path = write_rtstruct(
            structures, series, tmp_path / f"{style}.dcm", WriteOptions(system=PlanningSystem(holes=style))
        ).path
        (read,) = read_rtstruct(path, series).structures
        assert np.array_equal(read.full_mask(geometry.shape_zyx), structures.structures[0].mask_zyx)
        assert [f.code for f in check_rtstruct(path, series) if f.severity is Severity.STOP] == []
        contours[style] = len(read_contours(path).contours[0])
    slices = geometry.shape_zyx[0] - 2
    assert contours == {HoleStyle.NESTED: 3 * slices, HoleStyle.KEYHOLE: 2 * slices}


@pytest.mark.parametrize(
    ("system", "found"),
    [
        (PlanningSystem(name_length=5), "name 'Lung_L' of 6 characters"),
        (PlanningSystem(forbidden_characters="L"), "name 'Lung_L'"),
        (PlanningSystem(label_length=2), "label 'thorax_oar' of 10 characters"),
        (PlanningSystem(rois=1), "5 ROIs"),
    ],
)
def test_what_a_planning_system_cannot_hold_is_refused(tmp_path, system, found):
    with pytest.raises(InputRefused) as caught:
        write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm", WriteOptions(system=system))
    assert caught.value.found == found
    assert "for Any planning system" in caught.value.allowed
    assert list(tmp_path.iterdir()) == []


def test_contours_keep_to_the_points_a_planning_system_takes(tmp_path):
    geometry = axial()
    structures, series = anatomy(geometry), series_on(geometry)
    exact = write_rtstruct(structures, series, tmp_path / "exact.dcm").path
    most = max(int(item.point_counts.max()) for item in read_contours(exact).contours)
    system = PlanningSystem(contour_points=most // 2)
    path = write_rtstruct(structures, series, tmp_path / "few.dcm", WriteOptions(system=system)).path
    few = read_contours(path)
    assert max(int(item.point_counts.max()) for item in few.contours) <= most // 2
    assert check_rtstruct(path, series, system) == ()
    codes = [finding.code for finding in check_rtstruct(exact, series, system)]
    assert codes
    assert set(codes) == {"too-many-points"}
    small = min(read_contours(exact).contours, key=lambda item: item.point_counts.max())
    (same,) = (item for item in few.contours if item.roi_number == small.roi_number)
    assert np.array_equal(same.points_lps_mm, small.points_lps_mm)  # only what has to be is coarser


def test_exact_contours_stay_exact_for_explicit_vr(tmp_path):
    geometry = axial()
    structures, series = anatomy(geometry), series_on(geometry)
    exact = write_rtstruct(structures, series, tmp_path / "exact.dcm").path
    short = WriteOptions(system=PlanningSystem(contour_bytes=600))  # 20 points
    assert read_contours(exact).contours[0].point_counts.max() > 20
    same = read_contours(write_rtstruct(structures, series, tmp_path / "same.dcm", short).path)
    for item, first in zip(same.contours, read_contours(exact).contours, strict=True):
        assert np.array_equal(item.points_lps_mm, first.points_lps_mm)
    smooth = replace(short, trace=TraceOptions(geometry.spacing_zyx_mm[1:], decimation_mm=0.05))
    few = read_contours(write_rtstruct(structures, series, tmp_path / "few.dcm", smooth).path)
    assert max(int(item.point_counts.max()) for item in few.contours) <= 20


def test_a_contour_that_would_lose_its_shape_is_refused(tmp_path):
    geometry = axial()
    system = PlanningSystem(contour_points=3)
    with pytest.raises(InputRefused) as caught:
        write_rtstruct(anatomy(geometry), series_on(geometry), tmp_path / "rs.dcm", WriteOptions(system=system))
    assert caught.value.reason is Reason.TOO_LARGE
    assert "decimated to 0.8 mm" in caught.value.found


@pytest.mark.parametrize(
    ("place", "label", "described"),
    [
        (LocalNamePlace.DESCRIPTION, "Lung_L", True),
        (LocalNamePlace.OBSERVATION_LABEL, "Сол өкпе", False),
        (LocalNamePlace.NOWHERE, "Lung_L", False),
    ],
)
def test_local_names_stand_where_the_planning_system_has_room(tmp_path, place, label, described):
    options = WriteOptions(system=PlanningSystem(local_names=place), local_names={"Lung_L": "Сол өкпе"})
    path = write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm", options).path
    data_set = pydicom.dcmread(path)
    assert data_set.RTROIObservationsSequence[0].ROIObservationLabel == label
    assert data_set.StructureSetROISequence[0].ROIDescription.startswith("Сол өкпе.") is described
    assert data_set.StructureSetROISequence[0].ROIName == "Lung_L"


def test_a_local_name_too_long_for_the_label_is_described(tmp_path):
    system = PlanningSystem(local_names=LocalNamePlace.OBSERVATION_LABEL)
    options = WriteOptions(system=system, local_names={"Lung_L": "Сол жақ өкпенің өзі"})
    path = write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm", options).path
    data_set = pydicom.dcmread(path)
    assert data_set.RTROIObservationsSequence[0].ROIObservationLabel == "Lung_L"
    assert data_set.StructureSetROISequence[0].ROIDescription.startswith("Сол жақ")


@pytest.mark.peer
@pytest.mark.parametrize("grid", ["axial"])
def test_plastimatch_reads_the_same_volumes_in_the_same_places(tmp_path, grid):
    geometry = GRIDS[grid]()
    folder = tmp_path / "ct"
    write_series(series_on(geometry).volume, IDENTITY, folder, SeriesOptions(seed="plastimatch"))
    series = read_series(folder)
    structures = anatomy(geometry)
    # plastimatch fills holes that are written as nested contours, but not keyholes, and drops single voxels.
    solids = with_structures(structures, structures.structures[1], structures.structures[2], shell(geometry))
    path = write_rtstruct(
        solids, series, tmp_path / "rs.dcm", WriteOptions(system=PlanningSystem(holes=HoleStyle.KEYHOLE))
    ).path
    out = tmp_path / "masks"
    done = run(
        "plastimatch", "convert", "--input", path, "--referenced-ct", folder,
        "--output-prefix", out, "--prefix-format", "nrrd",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for drawn in solids.structures:
        image = sitk.ReadImage(str(out / f"{drawn.name}.nrrd"))
        theirs = sitk.GetArrayFromImage(image) > 0
        ours = drawn.full_mask(geometry.shape_zyx)
        assert np.allclose(image.GetOrigin(), geometry.origin_lps_mm, atol=0.01)
        dice = 2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))
        assert dice > 0.99, drawn.name
    shutil.rmtree(out)


def test_a_structure_type_is_written_as_it_is(tmp_path):
    structures = anatomy(axial())
    odd = structures.structures[1]
    odd = Structure("GTVp", (255, 0, 0), writing.InterpretedType.GTV, odd.mask_zyx, odd.offset_zyx)
    path = write_rtstruct(with_structures(structures, odd), series_on(axial()), tmp_path / "rs.dcm").path
    observation = pydicom.dcmread(path).RTROIObservationsSequence[0]
    assert observation.RTROIInterpretedType == "GTV"
    assert "RTROIIdentificationCodeSequence" not in observation


def test_slices_whose_positions_are_rounded_are_released_and_checked_alike(tmp_path):
    """Many scanners write 1.25 mm spacing as 1.2, 1.3, ...: contours on either plane, stated or even, are right."""
    geometry = Geometry.axial((9, 20, 24), (1.25, 1.1, 0.9), (-10.0, -12.0, 7.0), "1.2.3")
    volume = Volume(np.zeros(geometry.shape_zyx, dtype=np.int16), geometry, Modality.CT)
    files = write_series(volume, IDENTITY, tmp_path / "ct", SeriesOptions(seed="rounded"))
    stated = {}
    for file in files:
        data_set = pydicom.dcmread(file)
        x, y, z = (float(v) for v in data_set.ImagePositionPatient)
        stated[data_set.SOPInstanceUID] = round(z + 1e-6, 1)
        data_set.ImagePositionPatient = [x, y, stated[data_set.SOPInstanceUID]]
        data_set.save_as(file)
    series = read_series(tmp_path / "ct")
    assert 0.01 < series.off_grid_mm <= 0.06
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    mask[1:8, 4:12, 5:15] = True
    heart = structure("Heart", mask)
    path = write_rtstruct(StructureSet("rounded", series.volume.geometry, (heart,)), series, tmp_path / "a.dcm").path
    assert check_rtstruct(path, series) == ()

    def on_stated_planes(data_set):
        for contour in data_set.ROIContourSequence[0].ContourSequence:
            z = stated[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            contour.ContourData = [f"{v:.3f}" for point in points for v in (*point[:2], z)]

    moved = rewritten(path, tmp_path / "b.dcm", on_stated_planes)
    assert check_rtstruct(moved, series) == ()
    assert np.array_equal(read_rtstruct(moved, series).structures[0].mask_zyx, heart.mask_zyx)


def test_the_unfinished_file_of_another_writer_stays(tmp_path):
    (tmp_path / "rs.dcm.part").write_bytes(b"of another writer")
    write_rtstruct(anatomy(axial()), series_on(axial()), tmp_path / "rs.dcm")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rs.dcm", "rs.dcm.part"]
    assert (tmp_path / "rs.dcm.part").read_bytes() == b"of another writer"
