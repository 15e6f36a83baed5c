"""DICOM Segmentations: written by highdicom, read back by others."""

import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from rtstruct_cases import GRIDS, IDENTITY, anatomy, axial, series_on, shell, with_structures

import contour.dicom.seg_write as writing
from contour.core.errors import InputRefused, NotReleased, Reason
from contour.core.geometry import Geometry
from contour.core.structures import StructureSet
from contour.dicom.read_series import read_series
from contour.dicom.seg_write import write_seg
from contour.dicom.series import ImageSeries
from contour.dicom.write_series import SeriesOptions, write_series


def _case(folder: Path, geometry: Geometry) -> tuple[ImageSeries, StructureSet]:
    """A series on disk, and structures on it of which some overlap."""
    write_series(series_on(geometry).volume, IDENTITY, folder, SeriesOptions(seed="seg"))
    series = read_series(folder)
    structures = anatomy(series.volume.geometry)
    return series, with_structures(structures, *structures.structures, shell(series.volume.geometry))


@pytest.mark.parametrize("grid", GRIDS)
def test_another_reader_gets_the_same_voxels(tmp_path, grid):
    series, structures = _case(tmp_path / "ct", GRIDS[grid]())
    written = write_seg(structures, series, tmp_path / "seg.dcm")
    read = highdicom.seg.segread(written.path)
    assert [read.get_segment_description(n).segment_label for n in read.segment_numbers] == list(written.written)
    pixels = read.get_pixels_by_source_instance(
        list(series.sop_instance_uids), ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    for number, structure in enumerate(structures.structures):
        whole = structure.full_mask(series.volume.geometry.shape_zyx)
        assert np.array_equal(pixels[..., number] > 0, whole), structure.name


def test_segments_say_what_they_are_and_who_drew_them(tmp_path):
    series, structures = _case(tmp_path / "ct", axial())
    by_hand = frozenset({structures.structures[-1].name})
    read = pydicom.dcmread(write_seg(structures, series, tmp_path / "seg.dcm", by_hand).path)
    assert read.PatientName == IDENTITY.patient_name
    assert read.ContentDescription == "For a clinician's review before any use."
    first, last = read.SegmentSequence[0], read.SegmentSequence[-1]
    assert (first.SegmentLabel, first.SegmentAlgorithmType) == ("Lung_L", "AUTOMATIC")
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "thorax_ct"
    assert last.SegmentAlgorithmType == "MANUAL"


def test_the_same_structures_give_the_same_uids(tmp_path):
    series, structures = _case(tmp_path / "ct", axial())
    first = write_seg(structures, series, tmp_path / "1.dcm")
    again = write_seg(structures, series, tmp_path / "2.dcm")
    fewer = write_seg(with_structures(structures, *structures.structures[1:]), series, tmp_path / "3.dcm")
    assert first.sop_instance_uid == again.sop_instance_uid != fewer.sop_instance_uid


def test_a_file_that_differs_is_not_released(tmp_path, monkeypatch):
    series, structures = _case(tmp_path / "ct", axial())
    stacked = writing._stacked

    def shifted(*arguments):
        return np.roll(stacked(*arguments), 1, axis=1)

    monkeypatch.setattr(writing, "_stacked", shifted)
    with pytest.raises(NotReleased) as caught:
        write_seg(structures, series, tmp_path / "seg.dcm")
    assert all("voxels differ" in difference for difference in caught.value.differences)
    assert {"Lung_L", "Heart"} <= {difference.split(":")[0] for difference in caught.value.differences}
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


def test_what_cannot_be_written_is_refused(tmp_path):
    series, structures = _case(tmp_path / "ct", axial())
    nothing = np.zeros((0, 0, 0), dtype=bool)
    empty = with_structures(structures, replace(structures.structures[0], mask_zyx=nothing, offset_zyx=(0, 0, 0)))
    elsewhere = replace(structures, geometry=replace(structures.geometry, origin_lps_mm=(0.0, 0.0, 0.0)))
    for refused, where, reason in (
        (empty, series, Reason.NO_STRUCTURES),
        (elsewhere, series, Reason.WRONG_SERIES),
        (structures, replace(series, files=()), Reason.WRONG_SERIES),
    ):
        with pytest.raises(InputRefused) as caught:
            write_seg(refused, where, tmp_path / "seg.dcm")
        assert caught.value.reason is reason
    assert [path.name for path in tmp_path.iterdir()] == ["ct"]


@pytest.mark.peer
def test_dciodvfy_finds_no_error(tmp_path):
    series, structures = _case(tmp_path / "ct", axial())
    path = write_seg(structures, series, tmp_path / "seg.dcm").path
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
