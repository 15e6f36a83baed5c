from dataclasses import replace

import numpy as np
import pytest

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.phantom import Phantom
from contour.qa.image import check_image


def test_a_plausible_ct_passes(thorax: Phantom) -> None:
    assert check_image(thorax.volume) == ()


def test_an_empty_image_is_refused(thorax: Phantom) -> None:
    air = replace(thorax.volume, voxels_zyx=np.full_like(thorax.volume.voxels_zyx, -1000))
    with pytest.raises(InputRefused, match="0 ml of body") as refused:
        check_image(air)
    assert refused.value.reason is Reason.IMPLAUSIBLE_IMAGE


@pytest.mark.parametrize("shift", [1024, 400])
def test_values_that_were_not_rescaled_to_hu_are_refused(thorax: Phantom, shift: int) -> None:
    shifted = replace(thorax.volume, voxels_zyx=thorax.volume.voxels_zyx + np.int16(shift))
    with pytest.raises(InputRefused) as refused:
        check_image(shifted)
    assert refused.value.reason is Reason.IMPLAUSIBLE_IMAGE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("modality", list(Modality))
def test_values_that_are_no_numbers_are_refused(thorax: Phantom, bad: float, modality: Modality) -> None:
    values = thorax.volume.voxels_zyx.astype(np.float32)
    values[20, 40, 50] = bad
    with pytest.raises(InputRefused, match="nan or infinity") as refused:
        check_image(Volume(values, thorax.volume.geometry, modality))
    assert refused.value.reason is Reason.IMPLAUSIBLE_IMAGE


@pytest.mark.parametrize("spacing_zyx_mm", [(5.0, 300.0, 300.0), (300.0, 3.0, 3.0), (6.0, 14.9, 14.9)])
def test_images_larger_than_any_patient_are_refused(
    thorax: Phantom, spacing_zyx_mm: tuple[float, float, float]
) -> None:
    geometry = replace(thorax.volume.geometry, spacing_zyx_mm=spacing_zyx_mm)
    with pytest.raises(InputRefused, match="litres") as refused:
        check_image(Volume(thorax.volume.voxels_zyx, geometry, Modality.CT))
    assert refused.value.reason is Reason.IMPLAUSIBLE_IMAGE


def test_mr_values_are_arbitrary(thorax: Phantom) -> None:
    values = np.clip(thorax.volume.voxels_zyx.astype(np.float32) + 1000, 0, None) * 3.7
    assert check_image(Volume(values.astype(np.float32), thorax.volume.geometry, Modality.MR)) == ()


def test_thick_slices_are_mentioned(thorax: Phantom) -> None:
    thin = thorax.volume
    thick = Geometry.axial(
        (thin.voxels_zyx[::2].shape[0], *thin.geometry.shape_zyx[1:]), (10.0, 3.0, 3.0), (0.0, 0.0, 0.0), "2.25.7"
    )
    findings = check_image(Volume(np.ascontiguousarray(thin.voxels_zyx[::2]), thick, Modality.CT))
    assert [f.code for f in findings] == ["thick-slices"]
    assert "10 mm" in findings[0].message
