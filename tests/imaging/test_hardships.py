"""Changes of an image: what moves, what stays, and that references come along."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from phantoms import PATIENT_POSITIONS, oblique_geometry, sampled_volume
from scipy import ndimage

from contour.core.geometry import Geometry
from contour.core.structures import Mask, Structure
from contour.core.volume import Modality, Volume
from contour.imaging import hardships
from contour.imaging.body import body_mask
from contour.imaging.hardships import Hard, Side
from contour.imaging.nifti import to_sitk
from contour.imaging.phantom import Phantom
from contour.imaging.preprocess import to_canonical


def named(thorax: Phantom, name: str) -> Structure:
    return next(s for s in thorax.structures.structures if s.name == name)


def on(hard: Hard, structure: Structure, thorax: Phantom) -> Mask:
    """The structure as it lies on the changed image."""
    return hard.carried(structure, thorax.volume.geometry).full_mask(hard.volume.geometry.shape_zyx)


def mean_hu(hard: Hard, mask: Mask) -> float:
    return float(hard.volume.voxels_zyx[mask].mean())


CHANGES: dict[str, Callable[[Volume], Hard]] = {
    "slices": lambda v: hardships.in_slices(v, 8.0),
    "noise": lambda v: hardships.noisier(v, 30.0, 5),
    "cut": lambda v: hardships.cut_along_z(v, 0.2, 0.9),
    "circle": lambda v: hardships.in_circle(v, 150.0),
    "frame": lambda v: hardships.in_frame(v, 300.0),
    "turned": lambda v: hardships.turned(v, (6.0, 5.0, 10.0)),
    "prone": hardships.prone,
    "turned over": hardships.turned_over,
    "no couch": hardships.without_couch,
    "couch": lambda v: hardships.with_couch(v, Side.POSTERIOR),
    "arms": hardships.with_arms,
}


@pytest.fixture(scope="module", params=list(CHANGES))
def changed(request: pytest.FixtureRequest, thorax: Phantom) -> Hard:
    return CHANGES[request.param](thorax.volume)


def test_numbers_stay_whole_and_the_input_as_it_was(changed: Hard, thorax: Phantom) -> None:
    assert changed.volume.voxels_zyx.dtype == thorax.volume.voxels_zyx.dtype == np.int16
    assert changed.volume.modality is Modality.CT


def test_a_lung_that_is_carried_along_still_is_lung(changed: Hard, thorax: Phantom) -> None:
    for name in ("Lung_L", "Heart"):
        structure = named(thorax, name)
        before = Hard(thorax.volume)
        found = on(changed, structure, thorax)
        assert found.any()
        # The same tissue: means agree but for the blur at borders, however the patient was moved or cut.
        assert mean_hu(changed, found) == pytest.approx(mean_hu(before, on(before, structure, thorax)), abs=45)


@pytest.mark.parametrize("change", ["noise", "prone", "turned over", "no couch", "couch", "arms"])
def test_nothing_of_an_organ_is_lost_where_the_whole_body_stays(change: str, thorax: Phantom) -> None:
    hard = CHANGES[change](thorax.volume)
    for structure in thorax.structures.structures:
        carried = hard.carried(structure, thorax.volume.geometry)
        assert np.count_nonzero(carried.mask_zyx) == np.count_nonzero(structure.mask_zyx)


def test_carrying_to_the_unchanged_image_changes_nothing(thorax: Phantom) -> None:
    hard = Hard(thorax.volume)
    for structure in thorax.structures.structures:
        carried = hard.carried(structure, thorax.volume.geometry)
        assert carried.offset_zyx == structure.offset_zyx
        np.testing.assert_array_equal(carried.mask_zyx, structure.mask_zyx)


def test_an_empty_structure_stays_empty(thorax: Phantom) -> None:
    empty = replace(named(thorax, "Heart"), mask_zyx=np.zeros((0, 0, 0), dtype=bool), offset_zyx=(0, 0, 0))
    assert hardships.turned_over(thorax.volume).carried(empty, thorax.volume.geometry).empty


@pytest.mark.parametrize(
    ("position", "reverse"),
    [("HFP", (False, True, True)), ("FFS", (True, False, True)), ("FFP", (True, True, False))],
)
def test_positions_on_the_table_have_the_axes_that_dicom_gives_them(
    position: str, reverse: tuple[bool, bool, bool], thorax: Phantom
) -> None:
    stored = hardships.stored_as(thorax.volume, (0, 1, 2), reverse)
    row, column = PATIENT_POSITIONS[position]
    np.testing.assert_allclose(stored.geometry.axes_lps[2], row)
    np.testing.assert_allclose(stored.geometry.axes_lps[1], column)
    np.testing.assert_allclose(stored.geometry.axes_lps[0], np.cross(row, column))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (0, 2, 1)])
def test_stored_otherwise_every_voxel_stays_where_it_is(order: tuple[int, int, int]) -> None:
    volume = sampled_volume(oblique_geometry())
    stored = hardships.stored_as(volume, order, (True, False, True))
    # `sampled_volume` states a function of the patient's coordinates: the moved grid samples the same function.
    assert np.abs(stored.voxels_zyx - sampled_volume(stored.geometry).voxels_zyx).max() <= 1  # rounded
    np.testing.assert_array_equal(
        to_canonical(stored.voxels_zyx, stored.geometry), to_canonical(volume.voxels_zyx, volume.geometry)
    )


def test_thick_slices_hold_what_they_average() -> None:
    geometry = Geometry.axial((12, 4, 4), (1.0, 2.0, 2.0), (0, 0, 0), "1.2")
    ramp = np.broadcast_to((np.arange(12.0) * 10)[:, None, None], (12, 4, 4)).astype(np.float32)
    hard = hardships.in_slices(Volume(ramp.copy(), geometry, Modality.MR), 3.0)
    assert hard.volume.geometry.spacing_zyx_mm == (3.0, 2.0, 2.0)
    np.testing.assert_allclose(hard.volume.voxels_zyx[1:3, 0, 0], [40.0, 70.0])  # centres at indices 4 and 7


def test_turning_is_what_simpleitk_turns(thorax: Phantom) -> None:
    angles = (5.0, -4.0, 12.0)
    volume = thorax.volume
    hard = hardships.turned(volume, angles)
    geometry = volume.geometry
    turn = sitk.Euler3DTransform()
    turn.SetCenter(geometry.index_to_lps_mm((np.asarray(geometry.shape_zyx) - 1) / 2).tolist())
    assert hard.motion is not None
    turn.SetMatrix(np.asarray(hard.motion.rotation_lps).ravel().tolist())
    image = to_sitk(volume.voxels_zyx.astype(np.float32), geometry)
    # A resampled image looks up where each point came from: the inverse motion.
    expected = sitk.GetArrayFromImage(sitk.Resample(image, turn.GetInverse(), sitk.sitkLinear, -1000.0))
    assert hard.seen_zyx is not None
    inner = ndimage.binary_erosion(hard.seen_zyx, iterations=2)  # at the border each has its own rule
    assert inner.mean() > 0.6
    assert np.abs(hard.volume.voxels_zyx[inner] - expected[inner]).max() <= 1
    around_z = sitk.Euler3DTransform()
    around_z.SetRotation(0, 0, np.deg2rad(20))
    plain = hardships.turned(volume, (0.0, 0.0, 20.0)).motion
    assert plain is not None
    np.testing.assert_allclose(np.asarray(plain.rotation_lps).ravel(), around_z.GetMatrix(), atol=1e-12)


def test_turned_over_the_heart_is_on_the_other_side_and_the_spine_in_front(thorax: Phantom) -> None:
    hard = hardships.turned_over(thorax.volume)
    middle = np.array(hard.volume.geometry.shape_zyx) / 2

    def centre(mask: Mask) -> NDArray[np.float64]:
        return np.asarray(np.argwhere(mask).mean(axis=0) - middle)

    for name in ("Heart", "SpinalCord", "Lung_L"):
        structure = named(thorax, name)
        before, after = centre(on(Hard(thorax.volume), structure, thorax)), centre(on(hard, structure, thorax))
        np.testing.assert_allclose(after[1:], -before[1:], atol=1.01)
        assert after[0] == pytest.approx(before[0])


def test_outside_the_circle_there_is_nothing(thorax: Phantom) -> None:
    hard = hardships.in_circle(thorax.volume, 120.0)
    assert hard.seen_zyx is not None
    assert (hard.volume.voxels_zyx[~hard.seen_zyx] == hardships.AIR_HU).all()
    np.testing.assert_array_equal(hard.volume.voxels_zyx[hard.seen_zyx], thorax.volume.voxels_zyx[hard.seen_zyx])
    _, y_mm, x_mm = thorax.volume.geometry.spacing_zyx_mm
    assert np.count_nonzero(hard.seen_zyx[0]) * y_mm * x_mm == pytest.approx(np.pi * 120.0**2, rel=0.01)
    lung = named(thorax, "Lung_L")
    assert 0 < on(hard, lung, thorax).sum() < lung.mask_zyx.sum()


def test_the_body_stays_and_couches_come_and_go(thorax: Phantom) -> None:
    body = body_mask(thorax.volume)
    bare = hardships.without_couch(thorax.volume).volume
    np.testing.assert_array_equal(bare.voxels_zyx[body], thorax.volume.voxels_zyx[body])
    assert (bare.voxels_zyx[~body] < -300).all()
    assert (thorax.volume.voxels_zyx[~body] > -300).any()  # the phantom's own couch
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    for side, beyond in ((Side.POSTERIOR, slice(rows[-1] + 1, None)), (Side.ANTERIOR, slice(0, rows[0]))):
        laid = hardships.with_couch(thorax.volume, side).volume
        np.testing.assert_array_equal(laid.voxels_zyx[body], thorax.volume.voxels_zyx[body])
        solid = laid.voxels_zyx > -200
        assert solid[:, beyond][:, :, solid.shape[2] // 2].any()
        assert not (solid & ~body).sum() - (solid & ~body)[:, beyond].sum()


def test_arms_are_beside_the_body(thorax: Phantom) -> None:
    body = body_mask(thorax.volume)
    hard = hardships.with_arms(thorax.volume)
    np.testing.assert_array_equal(hard.volume.voxels_zyx[body], thorax.volume.voxels_zyx[body])
    new = (hard.volume.voxels_zyx > -150) & (thorax.volume.voxels_zyx < -800)
    length_mm = thorax.volume.geometry.shape_zyx[0] * thorax.volume.geometry.spacing_zyx_mm[0]
    whole_ml = 2 * np.pi * hardships.ARM_RADIUS_MM**2 * length_mm / 1000
    assert 0.4 * whole_ml < new.sum() * thorax.volume.geometry.voxel_ml < whole_ml
    assert hard.volume.voxels_zyx[new].max() == 900  # bone


def test_noise_has_its_size_and_its_seed(thorax: Phantom) -> None:
    volume = thorax.volume
    added = hardships.noisier(volume, 40.0, 1).volume.voxels_zyx.astype(float) - volume.voxels_zyx
    assert added.std() == pytest.approx(40.0, rel=0.01)
    assert abs(added.mean()) < 0.5
    again = hardships.noisier(volume, 40.0, 1).volume.voxels_zyx
    np.testing.assert_array_equal(again - volume.voxels_zyx.astype(float), added)
    assert (hardships.noisier(volume, 40.0, 2).volume.voxels_zyx != again).any()


def test_contrast_medium_is_in_the_blood_alone(thorax: Phantom) -> None:
    heart = named(thorax, "Heart").full_mask(thorax.volume.geometry.shape_zyx)
    before, after = thorax.volume.voxels_zyx, hardships.enhanced(thorax.volume, heart, 150.0).volume.voxels_zyx
    gained = after.astype(float) - before
    assert 110 < gained[heart].mean() <= 150
    assert not gained[before < -100].any()
    assert not gained[before > 250].any()
    assert gained.min() >= 0


def test_an_uneven_gain_stays_within_its_share() -> None:
    geometry = Geometry.axial((20, 24, 24), (3.0, 3.0, 3.0), (0, 0, 0), "1.2")
    volume = Volume(np.full(geometry.shape_zyx, 100, dtype=np.float32), geometry, Modality.MR)
    gain = hardships.uneven_gain(volume, 0.4, 3).volume.voxels_zyx / 100
    assert 1 / 1.4 - 1e-4 <= gain.min() < gain.max() <= 1.4 + 1e-4
    assert gain.max() / gain.min() > 1.2
    assert np.abs(np.diff(gain, axis=1)).max() < 0.1  # smooth


def test_contrast_goes_and_bone_stays() -> None:
    image = np.full((10, 20, 20), 45.0, dtype=np.float32)
    image[:, 5:10, 5:10] = 300.0  # an enhanced vessel
    image[:, 12:18, 12:18] = 400.0  # bone
    bone = np.zeros(image.shape, dtype=bool)
    bone[:, 12:18, 12:18] = True
    native = hardships.without_contrast(image, bone, 0.0)
    assert np.allclose(native[:, 5:10, 5:10], 55.0)
    assert np.array_equal(native[:, 12:18, 12:18], image[:, 12:18, 12:18])
    assert np.array_equal(native[:, :4], image[:, :4])
    half = hardships.without_contrast(image, bone, 0.5)
    assert np.allclose(half[:, 5:10, 5:10], 55.0 + 0.5 * (300.0 - 55.0))
