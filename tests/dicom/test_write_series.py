import shutil
import subprocess
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk  # the name its documentation uses

from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.uids import derived_uid
from contour.dicom.write_series import SeriesOptions, write_series


@pytest.mark.parametrize("modality", Modality)
def test_what_is_written_reads_back(tmp_path: Path, modality: Modality) -> None:
    volume = phantoms.sampled_volume(phantoms.oblique_geometry(), modality)
    identity = phantoms.named("Қасымов^Әлихан")
    write_series(volume, identity, tmp_path, SeriesOptions("s", series_description="Кеуде"))
    series = read_series(tmp_path)
    np.testing.assert_array_equal(series.volume.voxels_zyx, volume.voxels_zyx)
    assert series.volume.geometry.same_grid(volume.geometry, tolerance_mm=1e-6)
    assert series.volume.modality is modality
    assert series.identity == identity
    assert series.series_description == "Кеуде"


def test_an_independent_reader_sees_the_same_patient(tmp_path: Path) -> None:
    geometry = phantoms.oblique_geometry()
    files = phantoms.ct_series(tmp_path, geometry)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), phantoms.sampled_volume(geometry).voxels_zyx)
    theirs = image.TransformIndexToPhysicalPoint((23, 19, 5))
    np.testing.assert_allclose(geometry.index_to_lps_mm((5, 19, 23)), theirs, atol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize("modality", Modality)
def test_the_objects_are_valid(tmp_path: Path, modality: Modality) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    volume = phantoms.sampled_volume(phantoms.axial_geometry(), modality)
    options = SeriesOptions("s", patient_position="HFS", body_part="CHEST", signed=False, intercept=-2000)
    files = write_series(volume, phantoms.IDENTITY, tmp_path, options)
    said = subprocess.run(["dciodvfy", files[0]], capture_output=True, text=True, check=False).stderr
    assert "Error" not in said, said
    entities = subprocess.run(["dcentvfy", *files], capture_output=True, text=True, check=False)
    assert entities.stderr == ""


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = [f.read_bytes() for f in phantoms.ct_series(tmp_path / "a")]
    assert [f.read_bytes() for f in phantoms.ct_series(tmp_path / "b")] == first
    assert [f.read_bytes() for f in phantoms.ct_series(tmp_path / "c", options=SeriesOptions("other"))] != first


def test_uids_follow_from_their_parts() -> None:
    assert derived_uid("a", "b") == derived_uid("a", "b")
    assert len({derived_uid("a", "b"), derived_uid("ab"), derived_uid("ab", ""), derived_uid("", "ab")}) == 4
    assert pydicom.uid.UID(derived_uid("a")).is_valid


def test_float_voxels_are_rounded_to_the_stated_slope(tmp_path: Path) -> None:
    geometry = phantoms.axial_geometry((2, 3, 4))
    values = np.linspace(-1000, 3000, 24, dtype=np.float32).reshape(2, 3, 4)
    write_series(Volume(values, geometry, Modality.CT), phantoms.IDENTITY, tmp_path, SeriesOptions("s", slope=0.125))
    np.testing.assert_allclose(read_series(tmp_path).volume.voxels_zyx, values, atol=0.0625)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (SeriesOptions("s", signed=False), "must lie between 0 and 65535"),
        (SeriesOptions("s", transfer_syntax_uid="1.2.840.10008.1.2.4.50"), "must be one of"),
    ],
)
def test_what_cannot_be_stored(tmp_path: Path, options: SeriesOptions, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        phantoms.ct_series(tmp_path, options=options)


def test_a_volume_needs_a_frame_of_reference(tmp_path: Path) -> None:
    geometry = phantoms.Geometry.axial((2, 3, 4), (1, 1, 1), (0, 0, 0), "")
    volume = Volume(np.zeros((2, 3, 4), np.int16), geometry, Modality.CT)
    with pytest.raises(ValueError, match="frame_of_reference_uid"):
        write_series(volume, phantoms.IDENTITY, tmp_path, SeriesOptions("s"))
