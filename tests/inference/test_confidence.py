"""The agreement that a network expects of its own drawing, against probabilities whose answer is known."""

import numpy as np
import pytest

from contour.core.volume import Modality
from contour.imaging.preprocess import Preprocessing
from contour.inference.confidence import SURFACE_MM, Expected
from contour.inference.package import Label, Manifest, Training

SPACING = (2.0, 1.0, 1.0)
LABEL = Label(1, "Heart")


def _manifest() -> Manifest:
    return Manifest(
        name="net",
        version="1",
        title="",
        modality=Modality.CT,
        onnx_sha256="0" * 64,
        licence="",
        patch_shape_zyx=(8, 8, 8),
        preprocessing=Preprocessing(spacing_zyx_mm=SPACING, clip=(-1000.0, 1000.0), mean=0.0, std=1.0),
        labels=(LABEL,),
        training=Training((), (), ""),
    )


def _fed(slope_by_plane: list[float]) -> Expected:
    """A bar that is infinite along y: across x the logit falls by the plane's slope a mm on both sides."""
    expected = Expected(_manifest(), (LABEL,), SPACING)
    x = np.arange(24.0)
    for slope in slope_by_plane:
        logit = np.clip(slope * (6.0 - np.abs(x - 11.5)), -8, 8) if slope else np.full(24, -8.0)
        plane = np.broadcast_to(logit, (10, 24)).astype(np.float32)
        expected.feed(np.stack([np.zeros_like(plane), plane]))
    return expected


@pytest.mark.parametrize("slope", [0.3, 1.0, 3.0])
def test_surface_is_the_probability_that_the_true_one_lies_within_the_tolerance(slope: float):
    expected = _fed([slope] * 3)
    assert expected.surface(LABEL) == pytest.approx(np.tanh(slope * SURFACE_MM / 2), abs=0.01)


def test_doubtful_plane_shows_and_planes_without_the_structure_have_no_number():
    planes = _fed([0.0, 2.0, 0.2, 2.0, 0.0]).surface_by_plane(LABEL)
    assert np.isnan(planes[[0, 4]]).all()
    assert planes[2] < 0.5 < planes[1]


def test_ends_count_as_surface_in_the_plane_of_the_voxel_inside():
    planes = _fed([0.0, 2.0, 2.0, 0.0])
    assert np.isfinite(planes.surface_by_plane(LABEL)[1:3]).all()
    assert np.isnan(planes.surface_by_plane(LABEL)[[0, 3]]).all()


def test_nothing_drawn_is_expected_to_agree_with_nothing():
    expected = _fed([0.0, 0.0])
    assert expected.dice(LABEL) == 0.0
    assert expected.surface(LABEL) == 0.0
