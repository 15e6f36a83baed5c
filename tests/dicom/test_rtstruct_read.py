"""Reading: every encoding, any system's files, and nothing but a refusal for what is broken."""

import copy
import random
import subprocess
import zlib
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian
from rtstruct_cases import IDENTITY, anatomy, axial, oblique, rewritten, same_masks, series_on

from contour.core.errors import InputRefused, Reason
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import place_contours, read_contours, read_roi, read_rtstruct
from contour.dicom.rtstruct_write import write_rtstruct
from contour.dicom.write_series import SeriesOptions, write_series


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    series = series_on(oblique())
    path = tmp_path_factory.mktemp("rtstruct") / "rs.dcm"
    write_rtstruct(anatomy(oblique()), series, path)
    return path, series


def saved(path, target, transfer_syntax_uid, *, undefined_length=False):
    data_set = pydicom.dcmread(path)
    data_set.walk(lambda parent, element: parent)  # reads every sequence before the encoding changes
    if undefined_length:
        data_set.walk(_with_delimiters)
    data_set.file_meta.TransferSyntaxUID = transfer_syntax_uid
    implicit = transfer_syntax_uid == pydicom.uid.ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    pydicom.dcmwrite(target, data_set, implicit_vr=implicit, little_endian=little)
    return target


def _with_delimiters(parent, element):
    if element.VR == "SQ":
        element.is_undefined_length = True
        for item in element.value:
            item.is_undefined_length_sequence_item = True


def same_contents(a, b):
    assert replace(a, path=b.path, transfer_syntax_uid="", contours=()) == replace(
        b, transfer_syntax_uid="", contours=()
    )
    for p, q in zip(a.contours, b.contours, strict=True):
        assert (p.roi_number, p.color_rgb, p.geometric_types) == (q.roi_number, q.color_rgb, q.geometric_types)
        assert p.image_uids == q.image_uids
        for field in ("points_lps_mm", "starts", "stated_points", "value_counts"):
            assert np.array_equal(getattr(p, field), getattr(q, field)), field


@pytest.mark.parametrize("undefined_length", [False, True], ids=["lengths", "delimiters"])
@pytest.mark.parametrize(
    "syntax",
    [
        pydicom.uid.ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
    ],
    ids=["implicit", "explicit", "deflated", "big endian"],
)
def test_every_encoding_reads_alike(tmp_path, case, syntax, undefined_length):
    path, series = case
    other = saved(path, tmp_path / "other.dcm", syntax, undefined_length=undefined_length)
    contents = read_contours(other)
    assert contents.transfer_syntax_uid == syntax
    same_contents(read_contours(path), contents)
    assert same_masks(read_rtstruct(other, series), anatomy(oblique()))


def test_a_file_cut_anywhere_is_refused(tmp_path, case):
    data = case[0].read_bytes()
    cut = tmp_path / "cut.dcm"
    for length in [0, 100, 131, 132, 140, 300, *np.linspace(400, len(data) - 1, 60).astype(int)]:
        cut.write_bytes(data[:length])
        with pytest.raises(InputRefused) as caught:
            read_contours(cut)
        assert caught.value.reason in (
            Reason.TRUNCATED_FILE,
            Reason.UNREADABLE_FILE,
            Reason.UNSUPPORTED_TRANSFER_SYNTAX,
        )


def test_damaged_bytes_are_read_or_refused_and_nothing_else(tmp_path, case):
    data = case[0].read_bytes()[:20_000]
    dice = random.Random(7)
    damaged = tmp_path / "damaged.dcm"
    outcomes = set()
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(dice.choice((1, 3, 20))):
            changed[dice.randrange(132, len(changed))] = dice.randrange(256)
        damaged.write_bytes(bytes(changed))
        try:
            read_contours(damaged)
            outcomes.add("read")
        except InputRefused:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_sequences_nested_without_end_are_refused(tmp_path, case):
    data = case[0].read_bytes()
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x06\x30\x39\x00\xff\xff\xff\xff"
    start = data.index(b"\x06\x30\x39\x00")
    nested = tmp_path / "nested.dcm"
    nested.write_bytes(data[:start] + b"\x06\x30\x39\x00\xff\xff\xff\xff" + item * 100_000)
    with pytest.raises(InputRefused, match="nest deeper"):
        read_contours(nested)


def test_coordinates_that_no_patient_has_are_refused(tmp_path, case):
    def far_away(data_set):
        item = data_set.ROIContourSequence[0].ContourSequence[0]
        item.ContourData = ["1e300", *list(item.ContourData)[1:]]

    with pytest.raises(InputRefused, match="1e\\+300 mm"):
        read_contours(rewritten(case[0], tmp_path / "far.dcm", far_away))


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path, case):
    deflated = saved(case[0], tmp_path / "deflated.dcm", DeflatedExplicitVRLittleEndian).read_bytes()
    meta = 132 + 12 + int.from_bytes(deflated[140:144], "little")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = tmp_path / "bomb.dcm"
    bomb.write_bytes(deflated[:meta] + squeeze.compress(bytes(40 << 20)) + squeeze.flush())
    assert bomb.stat().st_size < 100_000
    with pytest.raises(InputRefused) as caught:
        read_contours(bomb, max_bytes=1 << 20)
    assert caught.value.reason is Reason.TOO_LARGE


def test_files_that_are_no_rtstruct_are_refused(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no DICOM here" * 100)
    for path, reason in ((text, Reason.UNREADABLE_FILE), (tmp_path / "absent.dcm", Reason.UNREADABLE_FILE)):
        with pytest.raises(InputRefused) as caught:
            read_contours(path)
        assert caught.value.reason is reason


def test_structures_of_another_patient_study_or_frame_are_refused(case):
    path, series = case
    geometry = series.volume.geometry
    others = [
        replace(series, identity=replace(IDENTITY, patient_id="KZ-0002")),
        replace(series, identity=replace(IDENTITY, study_instance_uid="1.2.3")),
        series_on(replace(geometry, frame_of_reference_uid="1.2.3")),
    ]
    for other in others:
        with pytest.raises(InputRefused) as caught:
            read_rtstruct(path, other)
        assert caught.value.reason is Reason.WRONG_SERIES
        assert "KZ-000" not in str(caught.value)


def _same_number(data_set):
    data_set.StructureSetROISequence[1].ROINumber = data_set.StructureSetROISequence[0].ROINumber


def _number_of_none(data_set):
    data_set.StructureSetROISequence[0].ROINumber = 77


def _in_two_items(data_set):
    first = data_set.ROIContourSequence[0]
    second = copy.deepcopy(first)
    half = len(first.ContourSequence) // 2
    first.ContourSequence, second.ContourSequence = first.ContourSequence[:half], first.ContourSequence[half:]
    data_set.ROIContourSequence.append(second)


def _a_number_lost(data_set):
    contour = data_set.ROIContourSequence[0].ContourSequence[2]
    contour.ContourData = list(contour.ContourData)[:-1]


def _points_lost(data_set):
    contour = data_set.ROIContourSequence[0].ContourSequence[2]
    contour.ContourData = list(contour.ContourData)[:-6]


def _unknown_type(data_set):
    data_set.ROIContourSequence[0].ContourSequence[2].ContourGeometricType = "CLOSED PLANAR"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (_same_number, "ROI Number 1 of 2 ROIs"),
        (_number_of_none, "ROI Number 77 of 1 ROIs and 0 items|ROI Number 1 of 0 ROIs"),
        (_in_two_items, "2 items of contours"),
        (_a_number_lost, "contour 3 has"),
        (_points_lost, "contour 3 has"),
        (_unknown_type, "'CLOSED PLANAR'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_mask_is_never_another_organs_or_a_part(tmp_path, case, fault, told):
    path, series = case
    with pytest.raises(InputRefused, match=told) as caught:
        read_rtstruct(rewritten(path, tmp_path / "unclear.dcm", fault), series)
    assert caught.value.reason is Reason.INVALID_ATTRIBUTE


def test_an_object_of_another_kind_has_no_structures(tmp_path, case):
    def plan(data_set):
        data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"

    path, series = case
    with pytest.raises(InputRefused, match=r"481\.5") as caught:
        read_rtstruct(rewritten(path, tmp_path / "plan.dcm", plan), series)
    assert caught.value.reason is Reason.UNSUPPORTED_OBJECT


def test_a_count_beyond_any_integer_is_no_count(tmp_path, case):
    def beyond(data_set):
        item = data_set.ROIContourSequence[0].ContourSequence[0]
        item[0x30060046] = pydicom.DataElement(0x30060046, "LO", 20 * "9")

    contents = read_contours(rewritten(case[0], tmp_path / "count.dcm", beyond))
    assert contents.contours[0].stated_points[0] == -1


def test_contours_between_slices_are_refused_with_their_place(case):
    path, series = case
    geometry = series.volume.geometry
    origin = geometry.index_to_lps_mm((0.4, 0, 0))
    shifted = series_on(replace(geometry, origin_lps_mm=tuple(origin.tolist())))
    with pytest.raises(InputRefused, match="lies on no slice") as caught:
        read_rtstruct(path, shifted)
    assert caught.value.reason is Reason.CONTOUR_OFF_SLICE


def test_only_the_structures_asked_for(case):
    path, series = case
    assert [s.name for s in read_rtstruct(path, series, names=("Heart",)).structures] == ["Heart"]
    with pytest.raises(InputRefused, match="no ROI 'Spleen'"):
        read_rtstruct(path, series, names=("Spleen",))


def test_points_and_open_lines_fill_nothing(tmp_path):
    series = series_on(axial())
    path = write_rtstruct(anatomy(axial()), series, tmp_path / "rs.dcm").path

    def open_first(data_set):
        for item in data_set.ROIContourSequence[0].ContourSequence:
            item.ContourGeometricType = "OPEN_PLANAR"

    structures = read_rtstruct(rewritten(path, tmp_path / "open.dcm", open_first), series).structures
    assert structures[0].empty
    assert not structures[1].empty


def matches_pydicom(path):
    """Every contour as pydicom reads it, which shares no code with the reader."""
    data_set = pydicom.dcmread(path)
    contents = read_contours(path)
    assert [r.ROIName for r in data_set.StructureSetROISequence] == [r.name for r in contents.rois]
    count = 0
    for item, ours in zip(data_set.ROIContourSequence, contents.contours, strict=True):
        contours = item.get("ContourSequence", [])
        theirs = [np.array(c.ContourData, dtype=float).reshape(-1, 3) for c in contours]
        assert [len(p) for p in theirs] == ours.point_counts.tolist()
        assert not theirs or np.array_equal(np.concatenate(theirs), ours.points_lps_mm)
        assert [c.ContourGeometricType for c in contours] == list(ours.geometric_types)
        assert [c.NumberOfContourPoints for c in contours] == ours.stated_points.tolist()
        count += len(contours)
    return contents, count


@pytest.mark.data
def test_a_clinical_file_with_holes_reads_as_pydicom_reads_it(shared_data):
    contents, count = matches_pydicom(shared_data / "dicom/rt_holes/example_data/rtss.dcm")
    assert count == 441
    assert "Tumor Bed" in [roi.name for roi in contents.rois]
    assert contents.label == "CT_1"


@pytest.mark.data
@pytest.mark.parametrize("name", ["rt.dcm", "invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"])
def test_files_with_broken_references_read_as_pydicom_reads_them(shared_data, name):
    matches_pydicom(shared_data / "dicom/rt_mim_nonsquare/mock_data" / name)


def shoelace_ml(contours, spacing_mm):
    """Volume by summed areas of the polygons, holes not subtracted: no rasteriser involved."""
    total = 0.0
    for i in range(len(contours)):
        x, y, _ = contours.points_lps_mm[contours.starts[i] : contours.starts[i + 1]].T
        total += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return total * spacing_mm / 1000


@pytest.mark.data
def test_a_clinical_case_has_the_volumes_of_its_polygons(shared_data):
    folder = shared_data / "archive/LUNG1-002"
    series = read_series(folder)
    contents = read_contours(folder / "1.dcm")
    structures = read_rtstruct(folder / "1.dcm", series, names=("Spinal cord", "Heart", "Esophagus", "Lung R"))
    assert [s.interpreted_type.value for s in structures.structures] == ["ORGAN"] * 4
    for structure in structures.structures:
        number = next(roi.number for roi in contents.rois if roi.name == structure.name)
        expected = shoelace_ml(contents.contours_of(number), series.volume.geometry.spacing_zyx_mm[0])
        assert structures.volume_ml(structure) == pytest.approx(expected, rel=0.02), structure.name


@pytest.mark.data
@pytest.mark.peer
@pytest.mark.slow
def test_plastimatch_fills_a_clinical_case_alike(shared_data, tmp_path):
    folder = shared_data / "archive/LUNG1-002"
    series = read_series(folder)
    structures = read_rtstruct(folder / "1.dcm", series, names=("Heart", "Lung R"))
    # plastimatch gets the CT uncompressed and without the archive's other objects, among which it loses a slice.
    ct, masks = tmp_path / "ct", tmp_path / "masks"
    write_series(series.volume, series.identity, ct, SeriesOptions(seed="plastimatch"))
    command = ["plastimatch", "convert", "--input", str(folder / "1.dcm"), "--referenced-ct", str(ct)]
    command += ["--output-prefix", str(masks), "--prefix-format", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    for structure in structures.structures:
        file = masks / f"{structure.name}.nrrd"
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0
        ours = structure.full_mask(series.volume.geometry.shape_zyx)
        dice = 2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))
        assert dice > 0.985, structure.name


def test_one_roi_is_read_whatever_is_wrong_with_another(case):
    path, series = case
    contents, whole = read_contours(path), read_rtstruct(path, series)
    first, second = contents.rois[:2]
    broken = replace(contents, rois=(first, replace(second, frame_of_reference_uid="1.2.3"), *contents.rois[2:]))
    assert np.array_equal(read_roi(broken, first, series).mask_zyx, whole.structures[0].mask_zyx)
    with pytest.raises(InputRefused, match=r"wrong-series.*1\.2\.3"):
        read_roi(broken, broken.rois[1], series)
    twice = replace(contents, rois=(first, replace(second, number=first.number)))
    with pytest.raises(InputRefused, match="of 2 ROIs"):
        read_roi(twice, first, series)


def with_contours_again(times):
    """Writes each contour of the first ROI `times` more, the last digit of its numbers changed."""

    def edit(data_set):
        items = data_set.ROIContourSequence[0].ContourSequence
        for item in list(items):
            for k in range(times):
                again = copy.deepcopy(item)
                again.ContourData = [f"{float(v) + 0.0004 * (k + 1):.4f}" for v in item.ContourData]
                items.append(again)

    return edit


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_contour_written_again_counts_once(case, tmp_path, times):
    path, series = case
    whole = read_rtstruct(path, series)
    repeated = rewritten(path, tmp_path / "repeated.dcm", with_contours_again(times))
    assert same_masks(read_rtstruct(repeated, series), whole)


def test_a_thin_ring_is_no_repetition(tmp_path):
    """Two nested squares, a tenth of a voxel apart."""
    series = series_on(axial())
    path = tmp_path / "rs.dcm"
    write_rtstruct(anatomy(axial()), series, path)
    contents = read_contours(path)
    item = contents.contours[0]
    inner = np.array([(10.0, y, x) for y, x in ((9.9, 9.9), (9.9, 20.1), (20.1, 20.1), (20.1, 9.9))])
    outer = np.array([(10.0, y, x) for y, x in ((9.8, 9.8), (9.8, 20.2), (20.2, 20.2), (20.2, 9.8))])
    points = series.volume.geometry.index_to_lps_mm(np.concatenate((outer, inner)))
    ring = replace(
        item,
        points_lps_mm=points,
        starts=np.array([0, 4, 8]),
        geometric_types=("CLOSED_PLANAR",) * 2,
        stated_points=np.array([4, 4]),
        value_counts=np.array([12, 12]),
        image_uids=((), ()),
    )
    placed = place_contours(ring, series.volume.geometry)
    assert not placed.repeated.any()
