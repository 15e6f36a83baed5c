import shutil
import subprocess
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000Lossless,
)

from contour.core.errors import InputRefused, Reason
from contour.core.places import lies_in_file
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.series import ReadLimits
from contour.dicom.write_series import SeriesOptions, write_series

# Command lines of independent tools, to be followed by input and output.
INDEPENDENT_ENCODERS = {
    "dcmtk implicit": ["dcmconv", "+ti"],
    "dcmtk big endian": ["dcmconv", "+tb"],
    "dcmtk deflated": ["dcmconv", "+td"],
    "dcmtk RLE": ["dcmcrle"],
    "dcmtk JPEG lossless": ["dcmcjpeg", "+el"],
    "dcmtk JPEG lossless first-order": ["dcmcjpeg", "+e1"],
    "dcmtk JPEG-LS": ["dcmcjpls"],
    "dcmtk JPEG-LS in fragments": ["dcmcjpls", "+fs", "1"],
    "gdcm JPEG 2000": ["gdcmconv", "--j2k"],
    "gdcm JPEG lossless": ["gdcmconv", "--jpeg"],
    "gdcm RLE": ["gdcmconv", "--rle"],
}


def wide_volume() -> Volume:
    """Noise over the whole range of HU that 16 bits hold below 20,000, at the corners too."""
    geometry = phantoms.axial_geometry((3, 20, 24))
    voxels = np.random.default_rng(3).integers(-1024, 20_000, geometry.shape_zyx).astype(np.int16)
    voxels[0, 0, 0], voxels[-1, -1, -1] = -1024, 20_000
    return Volume(voxels, geometry, Modality.CT)


def refusal(folder: Path) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_series(folder)
    return caught.value


def set_pixels(file: Path, pixels: NDArray[np.generic], **attributes: object) -> None:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            phantoms.put(ds, keyword, value)
        ds.PixelData = pixels.tobytes()

    phantoms.edit(file, change)


@pytest.mark.parametrize("stored", [SeriesOptions("s"), SeriesOptions("s", signed=False, intercept=-1024)])
def test_seven_encodings_of_one_ct_are_one_image(tmp_path: Path, stored: SeriesOptions) -> None:
    volume = wide_volume()
    contents = set()
    for syntax in phantoms.SEVEN_WAYS:
        options = SeriesOptions("s", signed=stored.signed, intercept=stored.intercept, transfer_syntax_uid=str(syntax))
        folder = tmp_path / syntax.name
        files = write_series(volume, phantoms.IDENTITY, folder, options)
        assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == syntax
        series = read_series(folder)
        np.testing.assert_array_equal(series.volume.voxels_zyx, volume.voxels_zyx)
        assert series.volume.voxels_zyx.dtype == np.int16
        contents.add(series.content_sha256)
    assert len(contents) == 1


@pytest.mark.peer
@pytest.mark.parametrize("encoder", INDEPENDENT_ENCODERS)
@pytest.mark.parametrize("signed", [True, False])
def test_encodings_by_independent_tools(tmp_path: Path, encoder: str, signed: bool) -> None:
    command = INDEPENDENT_ENCODERS[encoder]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    volume = wide_volume()
    options = SeriesOptions("s", signed=signed, intercept=0 if signed else -1024)
    originals = write_series(volume, phantoms.IDENTITY, tmp_path / "plain", options)
    (tmp_path / "coded").mkdir()
    for file in originals:
        subprocess.run([*command, file, tmp_path / "coded" / file.name], check=True, capture_output=True)
    plain, coded = read_series(tmp_path / "plain"), read_series(tmp_path / "coded")
    np.testing.assert_array_equal(coded.volume.voxels_zyx, volume.voxels_zyx)
    assert coded.content_sha256 == plain.content_sha256


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="dcmcjpeg is not installed")
@pytest.mark.parametrize("mode", ["+eb", "+ee"])  # baseline of 8 bits, extended of 12
def test_lossy_jpeg_by_an_independent_tool(tmp_path: Path, mode: str) -> None:
    """Smooth tissue comes back within the quantisation of the process."""
    geometry = phantoms.axial_geometry((3, 32, 32))
    z, y, x = np.meshgrid(*map(np.arange, geometry.shape_zyx), indexing="ij")
    volume = Volume((20 * x + 10 * y + z - 300).astype(np.int16), geometry, Modality.CT)
    originals = write_series(volume, phantoms.IDENTITY, tmp_path / "plain", SeriesOptions("s"))
    (tmp_path / "coded").mkdir()
    for file in originals:
        command = ["dcmcjpeg", mode, "+q", "95", file, tmp_path / "coded" / file.name]
        subprocess.run(command, check=True, capture_output=True)
    series = read_series(tmp_path / "coded")
    assert np.abs(series.volume.voxels_zyx - volume.voxels_zyx.astype(float)).max() < 20
    assert "lossy-compression" in {finding.code for finding in series.findings}


@pytest.mark.parametrize("syntax", phantoms.SEVEN_WAYS)
def test_twelve_stored_bits(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    """Signed pixels in 12 bits, as decoders return them with and without extended signs."""
    volume = phantoms.sampled_volume(phantoms.axial_geometry())
    options = SeriesOptions("s", transfer_syntax_uid=str(syntax))
    for file in write_series(volume, phantoms.IDENTITY, tmp_path, options):

        def twelve_bits(ds: Dataset) -> None:
            ds.BitsStored, ds.HighBit = 12, 11

        phantoms.edit(file, twelve_bits)
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels_zyx, volume.voxels_zyx)


def test_twelve_signed_bits_without_extended_sign(tmp_path: Path) -> None:
    volume = phantoms.sampled_volume(phantoms.axial_geometry())
    for z, file in enumerate(phantoms.ct_series(tmp_path)):
        set_pixels(file, volume.voxels_zyx[z].view(np.uint16) & 0x0FFF, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels_zyx, volume.voxels_zyx)


def test_values_beyond_the_stored_bits(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", signed=False, intercept=-1024))
    for file in files:
        set_pixels(file, np.full((20, 24), 5000, np.uint16), BitsStored=12, HighBit=11)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNSUPPORTED_PIXELS
    assert "5000" in refused.found


def test_hu_above_3071(tmp_path: Path) -> None:
    volume = wide_volume()
    write_series(volume, phantoms.IDENTITY, tmp_path, SeriesOptions("s", signed=False, intercept=-1024))
    assert read_series(tmp_path).volume.voxels_zyx.max() == 20_000


def test_slope_and_intercept_of_each_slice(tmp_path: Path) -> None:
    stored = np.arange(480, dtype=np.int16).reshape(20, 24)
    for z, file in enumerate(phantoms.ct_series(tmp_path)):
        set_pixels(file, stored, RescaleSlope=str(z + 1), RescaleIntercept=str(-100 * z))
    voxels = read_series(tmp_path).volume.voxels_zyx
    assert voxels.dtype == np.int16
    for z in range(6):
        np.testing.assert_array_equal(voxels[z], stored.astype(int) * (z + 1) - 100 * z)


def test_fractional_slope_gives_float(tmp_path: Path) -> None:
    stored = np.arange(480, dtype=np.int16).reshape(20, 24)
    for z, file in enumerate(phantoms.ct_series(tmp_path)):
        set_pixels(file, stored, RescaleSlope=str(0.5 + z))
    voxels = read_series(tmp_path).volume.voxels_zyx
    assert voxels.dtype == np.float32
    for z in range(6):
        np.testing.assert_allclose(voxels[z], stored * (0.5 + z), rtol=1e-6)


def test_values_that_int16_cannot_hold_give_float(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path, options=SeriesOptions("s", signed=False, intercept=-1024))
    set_pixels(files[3], np.full((20, 24), 65_000, np.uint16))
    voxels = read_series(tmp_path).volume.voxels_zyx
    assert voxels.dtype == np.float32
    assert (voxels[3] == 65_000 - 1024).all()
    np.testing.assert_array_equal(voxels[0], phantoms.sampled_volume(phantoms.axial_geometry()).voxels_zyx[0])


@pytest.mark.parametrize(("signed", "vr", "value"), [(True, "SS", -2000), (True, "US", 63536), (False, "US", 63536)])
def test_padding_becomes_air_and_is_stated(tmp_path: Path, signed: bool, vr: str, value: int) -> None:
    options = SeriesOptions("s", signed=signed, intercept=0 if signed else -1024)
    for file in phantoms.ct_series(tmp_path, options=options):

        def padded(ds: Dataset) -> None:
            pixels = np.frombuffer(ds.PixelData, np.uint16).copy()
            pixels[:30] = 63536
            ds.PixelData = pixels.tobytes()
            ds.add_new("PixelPaddingValue", vr, value)

        phantoms.edit(file, padded)
    series = read_series(tmp_path)
    flat = series.volume.voxels_zyx.reshape(6, -1)
    assert (flat[:, :30] == -1000).all()
    truth = phantoms.sampled_volume(phantoms.axial_geometry()).voxels_zyx.reshape(6, -1)
    np.testing.assert_array_equal(flat[:, 30:], truth[:, 30:])
    (finding,) = [f for f in series.findings if f.code == "padding"]
    assert finding.message.startswith("180 padding pixels")


def test_padding_range(tmp_path: Path) -> None:
    for file in phantoms.ct_series(tmp_path):
        pixels = np.full((20, 24), 40, np.int16)
        pixels[0, :3] = -3000, -2500, -2000
        set_pixels(file, pixels, PixelPaddingValue=-3000, PixelPaddingRangeLimit=-2000)
    voxels = read_series(tmp_path).volume.voxels_zyx
    assert (voxels[:, 0, :3] == -1000).all()
    assert (voxels[:, 0, 3:] == 40).all()


def test_padding_that_would_be_tissue_is_left_and_reported(tmp_path: Path) -> None:
    for file in phantoms.ct_series(tmp_path):
        set_pixels(file, np.zeros((20, 24), np.int16), PixelPaddingValue=0)
    series = read_series(tmp_path)
    assert (series.volume.voxels_zyx == 0).all()
    assert "padding-in-tissue" in {f.code for f in series.findings}


def test_eight_bits(tmp_path: Path) -> None:
    pixels = np.arange(480).reshape(20, 24).astype(np.uint8)
    options = SeriesOptions("s", signed=False, intercept=-1024)
    for file in phantoms.ct_series(tmp_path, options=options):
        set_pixels(file, pixels, BitsAllocated=8, BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels_zyx[2], pixels.astype(int) - 1024)


def test_eight_bits_in_a_matrix_of_odd_size(tmp_path: Path) -> None:
    pixels = np.arange(15).reshape(3, 5).astype(np.uint8)
    options = SeriesOptions("s", signed=False, intercept=-1024)
    for file in phantoms.ct_series(tmp_path, phantoms.axial_geometry((2, 3, 5)), options):
        set_pixels(file, np.append(pixels.ravel(), np.uint8(0)), BitsAllocated=8, BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels_zyx[1], pixels.astype(int) - 1024)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "3 samples"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 bits stored of 32"),
        ({"HighBit": 14}, "high bit 14"),
        ({"PixelRepresentation": 2}, "pixel representation 2"),
        ({"RescaleType": "ED"}, "'ED'"),
    ],
)
def test_pixels_of_another_kind(tmp_path: Path, attributes: dict[str, object], said: str) -> None:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            phantoms.put(ds, keyword, value)

    for file in phantoms.ct_series(tmp_path):
        phantoms.edit(file, change)
    refused = refusal(tmp_path)
    assert refused.reason is Reason.UNSUPPORTED_PIXELS
    assert said in refused.found


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("RescaleSlope", "0"),
        ("RescaleSlope", "-1"),
        ("RescaleSlope", "nan"),
        ("RescaleSlope", "1e300"),
        ("RescaleIntercept", "-1e31"),
        ("RescaleIntercept", "-1024,0"),
        ("PixelSpacing", ["0.9", "0"]),
        ("PixelSpacing", ["0.9"]),
        ("PixelSpacing", ["0.9", "inf"]),
        ("Rows", 0),
        ("ImagePositionPatient", ["1", "2"]),
        ("ImagePositionPatient", ["1", "2", "1_0"]),
    ],
)
def test_values_that_break_their_representation(tmp_path: Path, keyword: str, value: object) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[3], lambda ds: phantoms.put(ds, keyword, value))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.INVALID_ATTRIBUTE
    assert refused.where == "0004.dcm"


@pytest.mark.parametrize(
    "keyword",
    [
        "RescaleSlope",
        "RescaleIntercept",
        "PixelSpacing",
        "ImageOrientationPatient",
        "Rows",
        "BitsStored",
        "PixelRepresentation",
        "SOPInstanceUID",
        "StudyInstanceUID",
    ],
)
def test_missing_attribute_is_named_and_never_defaulted(tmp_path: Path, keyword: str) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[2], lambda ds: ds.__delattr__(keyword))
    refused = refusal(tmp_path)
    assert refused.reason is Reason.MISSING_ATTRIBUTE
    assert refused.where == "0003.dcm"
    assert keyword in refused.found


def test_mr_may_come_without_rescale(tmp_path: Path) -> None:
    volume = phantoms.sampled_volume(phantoms.axial_geometry(), Modality.MR)
    files = write_series(volume, phantoms.IDENTITY, tmp_path, SeriesOptions("mr"))
    assert "RescaleSlope" not in pydicom.dcmread(files[0])
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels_zyx, volume.voxels_zyx)


def test_lossy_compression_is_reported(tmp_path: Path) -> None:
    files = phantoms.ct_series(tmp_path)
    phantoms.edit(files[4], lambda ds: setattr(ds, "LossyImageCompression", "01"))
    (finding,) = [f for f in read_series(tmp_path).findings if f.code == "lossy-compression"]
    assert finding.slices == (4,)


def test_unknown_transfer_syntax(tmp_path: Path) -> None:
    options = SeriesOptions("s", transfer_syntax_uid=str(JPEG2000Lossless))
    for file in phantoms.ct_series(tmp_path, options=options):
        data = file.read_bytes().replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.10", 1)
        file.write_bytes(data)
    assert refusal(tmp_path).reason is Reason.UNSUPPORTED_TRANSFER_SYNTAX


def test_voxels_that_lie_in_a_file_are_the_same(tmp_path: Path) -> None:
    geometry = phantoms.axial_geometry((40, 256, 256))
    phantoms.ct_series(tmp_path, geometry)
    in_memory, in_file = read_series(tmp_path), read_series(tmp_path, limits=ReadLimits(in_file_above_bytes=1_000_000))
    assert lies_in_file(in_file.volume.voxels_zyx)
    assert not lies_in_file(in_memory.volume.voxels_zyx)
    assert in_file.content_sha256 == in_memory.content_sha256
    np.testing.assert_array_equal(in_file.volume.voxels_zyx, in_memory.volume.voxels_zyx)
