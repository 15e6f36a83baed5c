"""Measures of shapes whose place, size and surroundings are known, in bodies of known outline."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from contour.cases.landmarks import Landmarks
from contour.cases.measures import measure
from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Mask, Structure, cropped_to_content
from contour.core.volume import Modality, Volume

SPACING_MM = (4.0, 2.0, 2.0)
SHAPE = (60, 130, 180)
ORIGIN_LPS_MM = (-150.0, -90.0, -700.0)
MIDDLE_X_MM, MIDDLE_Y_MM = 11.0, 7.0  # the body's middle, which is not the image's
HALF_WIDTH_MM, HALF_DEPTH_MM = 140.0, 90.0


def _points(geometry: Geometry) -> tuple[NDArray[np.float64], ...]:
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), axis=-1)
    return tuple(np.moveaxis(geometry.index_to_lps_mm(indices), -1, 0))


def _structure(mask_zyx: Mask) -> Structure:
    mask, offset = cropped_to_content(mask_zyx)
    return Structure("x", (1, 2, 3), InterpretedType.ORGAN, mask, offset)


@dataclass(frozen=True)
class _Patient:
    volume: Volume
    ball: Structure
    tube: Structure


def _patient(geometry: Geometry) -> _Patient:
    """An elliptic body with lungs, a ball 60 mm to the left and a tube inside a ring of bone in the back."""
    x, y, z = _points(geometry)
    x, y = x - MIDDLE_X_MM, y - MIDDLE_Y_MM
    hu = np.where((x / HALF_WIDTH_MM) ** 2 + (y / HALF_DEPTH_MM) ** 2 < 1, 20, -1000).astype(np.int16)
    lungs = (np.abs(np.abs(x) - 70) < 35) & (np.abs(y + 10) < 40) & (z > -620) & (z < -520)
    hu[lungs] = -800
    distance = np.hypot(x, y - 50)
    hu[(distance < 16) & (distance >= 8)] = 700
    ball = (x - 60) ** 2 + (y + 20) ** 2 + (z + 660) ** 2 < 25**2
    hu[ball] = 55
    tube = (distance < 8) & (z < -500) & (z > -680)
    return _Patient(Volume(hu, geometry, Modality.CT), _structure(ball), _structure(tube))


AXIAL = Geometry.axial(SHAPE, SPACING_MM, ORIGIN_LPS_MM, "2.25.1")
# The same patient scanned feet first and prone: indices grow to inferior, anterior and right.
_FAR = tuple(float(v) for v in AXIAL.index_to_lps_mm([n - 1 for n in SHAPE]))
REVERSED = Geometry(SHAPE, SPACING_MM, _FAR, ((0, 0, -1), (0, -1, 0), (-1, 0, 0)), "2.25.1")  # type: ignore[arg-type]


@pytest.mark.parametrize("geometry", [AXIAL, REVERSED], ids=["axial", "reversed"])
def test_landmarks_and_measures_of_known_shapes(geometry: Geometry) -> None:
    patient = _patient(geometry)
    landmarks = Landmarks.of(patient.volume)
    lungs = landmarks.lungs
    assert lungs is not None
    assert lungs.base_mm == pytest.approx(80, abs=4)  # above the lowest plane, -700 mm
    assert lungs.apex_mm == pytest.approx(180, abs=4)
    ball = measure(patient.ball, patient.volume, landmarks)
    assert ball is not None
    assert ball.offset_mm == pytest.approx(60, abs=2)
    assert ball.depth == pytest.approx((HALF_DEPTH_MM - 20) / (2 * HALF_DEPTH_MM), abs=0.01)
    assert ball.volume_ml == pytest.approx(4 / 3 * np.pi * 2.5**3, rel=0.02)
    assert ball.mean_hu == pytest.approx(55)
    assert ball.above_base_mm == pytest.approx(-40, abs=4)
    assert ball.above_apex_mm == pytest.approx(-140, abs=4)
    assert ball.bone_around == 0
    assert not ball.cut
    tube = measure(patient.tube, patient.volume, landmarks)
    assert tube is not None
    assert tube.offset_mm == pytest.approx(0, abs=1.5)
    assert tube.section_cm2 == pytest.approx(np.pi * 0.8**2, rel=0.05)
    assert tube.bone_around > 0.95
    assert 0.6 < tube.bone_before < 0.9  # 8 mm of the 12 mm in front of it
    # Both have planes between -680 and -635 mm: there the tube lies 70 mm behind the ball.
    assert tube.course.behind(ball.course) == pytest.approx(70, abs=1)


def test_an_empty_structure_has_no_measures() -> None:
    patient = _patient(AXIAL)
    empty = _structure(np.zeros(SHAPE, dtype=bool))
    assert measure(empty, patient.volume, Landmarks.of(patient.volume)) is None


def test_ends_of_the_lungs_that_the_image_cuts_are_no_landmarks() -> None:
    patient = _patient(AXIAL)
    box_voxels = patient.volume.voxels_zyx[25:]
    cut = Volume(box_voxels, Geometry.axial(box_voxels.shape, SPACING_MM, ORIGIN_LPS_MM, "2.25.1"), Modality.CT)
    lungs = Landmarks.of(cut).lungs
    assert lungs is not None
    assert lungs.base_mm is None
    assert lungs.apex_mm == pytest.approx(80, abs=4)
    low = Volume(
        patient.volume.voxels_zyx[:15],
        Geometry.axial((15, *SHAPE[1:]), SPACING_MM, ORIGIN_LPS_MM, "2.25.1"),
        Modality.CT,
    )
    assert Landmarks.of(low).lungs is None


def test_what_lies_outside_the_body_does_not_count_for_the_mean() -> None:
    """Images are emptied beyond the region of a dose: the part of a structure there has no HU."""
    patient = _patient(AXIAL)
    x = _points(AXIAL)[0]
    voxels = np.where(x - MIDDLE_X_MM < 60, patient.volume.voxels_zyx, np.int16(-1024))
    half = Volume(voxels, AXIAL, Modality.CT)
    found = measure(patient.ball, half, Landmarks.of(half))
    assert found is not None
    assert found.mean_hu > -100
