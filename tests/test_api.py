"""The Python interface: its names, what it costs, and arrays that go out and come in where they lay."""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import contour
from contour import api
from contour.imaging.phantom import Phantom

# Scripts of others hold these: one that goes, or changes its meaning, makes a new major version.
NAMES = [
    "Agreement",
    "ConfigError",
    "ContourError",
    "Drawing",
    "Finding",
    "Geometry",
    "Given",
    "ImageSeries",
    "InputRefused",
    "Modality",
    "NotReleased",
    "OpenProtocol",
    "PackageError",
    "Protocol",
    "Run",
    "RunOptions",
    "RunReport",
    "SessionOptions",
    "Structure",
    "StructureSet",
    "Volume",
    "WriteOptions",
    "WrittenRtstruct",
    "compare",
    "from_nibabel",
    "from_sitk",
    "masks_of",
    "open_protocol",
    "read_report",
    "read_rtstruct",
    "read_series",
    "structures_of",
    "to_nibabel",
    "to_sitk",
    "write_rtstruct",
]

# An oblique grid whose axes are not those of the patient, and a third spacing on each.
TURNED = contour.Geometry(
    shape_zyx=(4, 5, 6),
    spacing_zyx_mm=(3.0, 2.0, 1.5),
    origin_lps_mm=(10.0, -20.0, 30.0),
    axes_lps=((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (1.0, 0.0, 0.0)),
    frame_of_reference_uid="2.25.5",
)


def test_its_names_are_these() -> None:
    assert sorted(NAMES) == sorted(contour.__all__) == sorted(api.__all__)
    assert all(getattr(contour, name) is getattr(api, name) for name in NAMES)
    assert all(getattr(contour, name).__doc__ for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'draw'"):
        contour.draw  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    program = "import sys, contour; print([n for n in ('numpy', 'SimpleITK', 'pydicom', 'torch') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_from_a_folder_to_an_rtstruct_and_arrays(
    thorax_series: Path, thorax: Phantom, tiny_models: Path, tiny_protocol_file: Path, tmp_path: Path
) -> None:
    tiny = contour.open_protocol(tiny_protocol_file, models=[str(tiny_models)])
    run = tiny.contour_series(str(thorax_series), str(tmp_path / "plan"))
    assert run.report.released
    assert contour.read_report(tmp_path / "plan") == run.report
    series = contour.read_series(thorax_series)
    masks = contour.masks_of(tiny.draw_structures(series.volume).structures)
    read = contour.read_rtstruct(tmp_path / "plan" / "rtstruct.dcm", series, names=["Lungs"])
    assert np.array_equal(contour.masks_of(read)["Lungs"], masks["Lungs"])
    truth = {s.name: s.full_mask(thorax.volume.geometry.shape_zyx) for s in thorax.structures.structures}
    lungs = contour.structures_of({"Lungs": truth["Lung_L"] | truth["Lung_R"]}, series.volume.geometry)
    assert contour.compare(lungs, read)["Lungs"].dice > 0.9
    written = contour.write_rtstruct(lungs, series, str(tmp_path / "mine.dcm"))
    assert written.written == ("Lungs",)
    with pytest.raises(ValueError, match="its grid"):
        contour.structures_of({"Heart": np.zeros((1, 1, 1), bool)}, series.volume.geometry)


@pytest.mark.parametrize("values", [np.int16, np.float32])
def test_images_of_two_libraries_lie_where_ours_does(values: type[np.generic], tmp_path: Path) -> None:
    array = np.arange(120).reshape(TURNED.shape_zyx).astype(values)
    file = tmp_path / "image.nii.gz"
    contour.to_nibabel(array, TURNED).to_filename(file)
    stored = sitk.ReadImage(str(file))  # a reader of neither of ours
    ours = contour.to_sitk(array, TURNED)
    assert np.allclose(stored.TransformIndexToPhysicalPoint((5, 3, 2)), ours.TransformIndexToPhysicalPoint((5, 3, 2)))
    assert stored.GetPixel((5, 3, 2)) == ours.GetPixel((5, 3, 2)) == array[2, 3, 5]
    for volume in (
        contour.from_sitk(ours, contour.Modality.CT, "2.25.5"),
        contour.from_nibabel(nibabel.load(file), contour.Modality.CT, "2.25.5"),
    ):
        assert volume.geometry.same_grid(TURNED, 1e-4)
        assert np.array_equal(volume.voxels_zyx, array)
        assert volume.voxels_zyx.dtype == values


def test_what_is_no_image_is_refused() -> None:
    sheared = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.array([[1, 1, 0, 0], *np.eye(4)[1:]]))
    several = nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4))
    for image in (sheared, several):
        with pytest.raises(contour.InputRefused):
            contour.from_nibabel(image, contour.Modality.CT, "2.25.5")
    with pytest.raises(contour.InputRefused):
        contour.from_sitk(sitk.Image([2, 2], sitk.sitkInt16), contour.Modality.CT, "2.25.5")
    with pytest.raises(ValueError, match="does not fit"):
        contour.to_nibabel(np.zeros((1, 2, 3), bool), TURNED)
