"""Aerated lung that a network left out is joined to the lung it belongs to; airways, bowel and couch are not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.structures import CroppedMask, Mask, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.imaging.aeration import with_aerated

SHAPE = (40, 120, 150)
SPACING_MM = (3.0, 2.0, 2.0)
LUNG_HU, GAS_HU = -820, -1000
LEFT, RIGHT = np.s_[8:32, 30:90, 85:130], np.s_[8:32, 30:90, 20:65]
AIRWAY = np.s_[5:40, 55:65, 70:80]
BETWEEN = np.s_[8:32, 45:75, 65:85]  # the mediastinum


def _mask(*parts: tuple[slice, ...]) -> Mask:
    mask = np.zeros(SHAPE, dtype=bool)
    for part in parts:
        mask[part] = True
    return mask


def _cropped(mask: Mask) -> CroppedMask:
    return CroppedMask(*cropped_to_content(mask))


def _whole(region: CroppedMask) -> Mask:
    return region.within(Box((0, 0, 0), SHAPE))


@pytest.fixture
def voxels() -> NDArray[np.int16]:
    """A trunk of soft tissue in air, with two lungs and an airway between them."""
    values = np.full(SHAPE, -1000, dtype=np.int16)
    values[:, 15:105, 8:142] = 40
    for lung in (LEFT, RIGHT):
        values[lung] = LUNG_HU
    values[AIRWAY] = GAS_HU
    return values


def _joined(voxels: NDArray[np.int16], left: Mask, right: Mask, geometry: Geometry | None = None) -> tuple[Mask, Mask]:
    volume = Volume(voxels, geometry or Geometry.axial(SHAPE, SPACING_MM, (0.0, 0.0, 0.0), "1.2.3"), Modality.CT)
    first, second = with_aerated(volume, (_cropped(left), _cropped(right)), (_cropped(_mask(AIRWAY)),))
    return _whole(first), _whole(second)


def test_a_part_left_out_comes_back_to_its_lung_with_its_vessels(voxels: NDArray[np.int16]) -> None:
    voxels[14:20, 40:80, 26:29] = 30  # a vessel
    left, right = _mask(LEFT), _mask(RIGHT)
    drawn = right.copy()
    drawn[:, :, :40] = False
    assert (_joined(voxels, left, drawn)[1] == right).all()
    assert (_joined(voxels, left, drawn)[0] == left).all()


def test_what_is_drawn_stays(voxels: NDArray[np.int16]) -> None:
    left, right = _mask(LEFT, BETWEEN), _mask(RIGHT)  # the network took soft tissue for lung
    found = _joined(voxels, left, right)
    assert (found[0] == left).all()
    assert (found[1] == right).all()


def test_a_part_between_both_goes_to_the_nearer_lung(voxels: NDArray[np.int16]) -> None:
    front = np.s_[8:32, 30:40, 65:85]
    voxels[front] = LUNG_HU
    left, right = _joined(voxels, _mask(LEFT), _mask(RIGHT))
    assert not (left & right).any()
    assert (left | right)[front].all()
    assert left[10, 35, 82]
    assert right[10, 35, 67]


def test_airways_gas_and_air_outside_the_body_stay_out(voxels: NDArray[np.int16]) -> None:
    bowel = np.s_[32:38, 40:80, 90:120]
    voxels[bowel] = GAS_HU  # against the lung: the wall between is thinner than a voxel
    voxels[12:30, 0:30, 90:120] = -1000  # a wound: lung lies open to the air around the body
    left, right = _joined(voxels, _mask(LEFT), _mask(RIGHT))
    assert not (left | right)[AIRWAY].any()
    assert not (left | right)[bowel].any()
    assert not (left | right)[:, :14].any()


def test_lung_that_hangs_together_with_none_that_was_drawn_is_left(voxels: NDArray[np.int16]) -> None:
    left, right = _joined(voxels, _mask(LEFT), _mask())
    assert (left == _mask(LEFT)).all()
    assert not right.any()


def test_without_a_lung_none_is_made(voxels: NDArray[np.int16]) -> None:
    left, right = _joined(voxels, _mask(), _mask())
    assert not left.any()
    assert not right.any()


@pytest.mark.parametrize("turned", [(True, False, False), (False, True, True), (True, True, True)])
def test_how_the_image_is_stored_does_not_matter(voxels: NDArray[np.int16], turned: tuple[bool, bool, bool]) -> None:
    step = tuple(slice(None, None, -1 if flip else 1) for flip in turned)
    left, right = _mask(LEFT), _mask(RIGHT)
    drawn = right.copy()
    drawn[:, :, :40] = False
    plain = Geometry.axial(SHAPE, SPACING_MM, (0.0, 0.0, 0.0), "1.2.3")
    z, y, x = (tuple(-v for v in axis) if flip else axis for axis, flip in zip(plain.axes_lps, turned, strict=True))
    corner = [n - 1 if flip else 0 for n, flip in zip(SHAPE, turned, strict=True)]
    geometry = replace(
        plain,
        axes_lps=(z, y, x),  # type: ignore[arg-type]  # three by construction
        origin_lps_mm=tuple(plain.index_to_lps_mm(corner).tolist()),
    )
    found = _joined(np.ascontiguousarray(voxels[step]), left[step], drawn[step], geometry)
    assert (found[1][step] == right).all()
