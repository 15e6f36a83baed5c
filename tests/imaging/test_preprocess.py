from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contour.core.geometry import Box, Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import (
    Preprocessing,
    at_spacing,
    canonical_axes,
    canonical_geometry,
    from_canonical,
    preprocess,
    to_canonical,
)

CT = Preprocessing(spacing_zyx_mm=(2.0, 2.0, 2.0), clip=(-1000.0, 1000.0), mean=-300.0, std=400.0)
EYE = np.eye(3)


def turned(order, signs, tilt_seed: int | None = None) -> Geometry:
    """A grid whose axes are those of the patient in some order and sense, tilted a little if asked for."""
    axes = np.array([s * EYE[o] for o, s in zip(order, signs, strict=True)])
    if tilt_seed is not None:
        tilt, _ = np.linalg.qr(EYE + 0.25 * np.random.default_rng(tilt_seed).uniform(-1, 1, (3, 3)))
        tilt *= np.sign(np.diag(tilt))
        axes = axes @ tilt
    return Geometry((5, 7, 9), (3.0, 1.5, 0.75), (-20.0, 31.0, 102.0), tuple(map(tuple, axes.tolist())), "1.2.3")


ORIENTATIONS = [(o, s) for o in permutations(range(3)) for s in product((1.0, -1.0), repeat=3)]
GEOMETRIES = st.builds(
    lambda orientation, seed: turned(*orientation, seed),
    st.sampled_from(ORIENTATIONS),
    st.one_of(st.none(), st.integers(0, 1000)),
)


@given(GEOMETRIES)
@settings(deadline=None, max_examples=60)
def test_canonical_indices_grow_to_superior_posterior_and_left(geometry):
    axes = np.asarray(canonical_geometry(geometry).axes_lps)
    assert np.all(np.diag(axes[:, ::-1]) > 0)
    assert sorted(canonical_axes(geometry)[0]) == [0, 1, 2]


@given(GEOMETRIES)
@settings(deadline=None, max_examples=60)
def test_every_voxel_stays_where_it_was_in_the_patient(geometry):
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), axis=-1)
    places = geometry.index_to_lps_mm(indices)
    canonical = canonical_geometry(geometry)
    for component in range(3):
        view = to_canonical(places[..., component], geometry)
        assert view.shape == canonical.shape_zyx
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in canonical.shape_zyx], indexing="ij"), axis=-1)
        assert view == pytest.approx(canonical.index_to_lps_mm(grid)[..., component], abs=1e-9)


@given(GEOMETRIES)
@settings(deadline=None, max_examples=60)
def test_from_canonical_undoes_to_canonical(geometry):
    array = np.arange(np.prod(geometry.shape_zyx)).reshape(geometry.shape_zyx)
    there = to_canonical(array, geometry)
    assert np.shares_memory(there, array)
    assert np.array_equal(from_canonical(there, geometry), array)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_network_sees_the_same_patient_however_the_image_is_stored(orientation):
    """The same ball of 500 HU, 40 mm wide, in 48 ways to order and turn the axes."""
    axes = np.array([s * EYE[o] for o, s in zip(*orientation, strict=True)])
    spacing = np.array([1.0, 1.5, 2.0])[[2 - o for o in orientation[0]]]  # by patient axis: z 1.0, y 1.5, x 2.0 mm
    shape = np.array([60, 40, 30])[[2 - o for o in orientation[0]]]
    extent = (shape - 1) * spacing
    origin = np.array([5.0, -7.0, 11.0]) - (extent / 2) @ axes
    geometry = Geometry(
        tuple(shape.tolist()),
        tuple(spacing.tolist()),
        tuple(origin.tolist()),
        tuple(map(tuple, axes.tolist())),
        "1.2.3",
    )
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    ball = np.linalg.norm(geometry.index_to_lps_mm(indices) - (8.0, -5.0, 6.0), axis=-1) < 20
    volume = Volume(np.where(ball, 500, -800).astype(np.int16), geometry, Modality.CT)
    prepared = preprocess(volume, CT)
    reference = preprocess(_stored_as(volume), CT)
    assert prepared.geometry.same_grid(reference.geometry)
    assert prepared.values_zyx == pytest.approx(reference.values_zyx, abs=1e-5)


def _stored_as(volume: Volume) -> Volume:
    """The volume in canonical order, by an independent way: every voxel is looked up by its place in the patient."""
    target = Geometry.axial((60, 40, 30), (1.0, 1.5, 2.0), (-24.0, -36.25, -18.5), "1.2.3")
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in target.shape_zyx], indexing="ij"), axis=-1)
    there = np.rint(volume.geometry.lps_mm_to_index(target.index_to_lps_mm(indices))).astype(int)
    return Volume(volume.voxels_zyx[there[..., 0], there[..., 1], there[..., 2]], target, volume.modality)


def test_values_are_clipped_and_normalised():
    geometry = Geometry.axial((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), "1.2.3")
    voxels = np.full((4, 4, 4), -300, dtype=np.int16)
    voxels[0], voxels[3] = -3024, 3071
    prepared = preprocess(Volume(voxels, geometry, Modality.CT), CT)
    assert prepared.values_zyx.dtype == np.float32
    assert prepared.values_zyx[1] == pytest.approx(0.0)
    assert prepared.values_zyx[0] == pytest.approx(CT.padding)
    assert prepared.values_zyx[3] == pytest.approx(1300 / 400)
    assert voxels[0, 0, 0] == -3024  # the image itself is left alone


def test_the_same_spacing_leaves_the_caller_s_array_alone():
    geometry = Geometry.axial((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), "1.2.3")
    voxels = np.full((4, 4, 4), 2000.0, dtype=np.float32)
    preprocess(Volume(voxels, geometry, Modality.CT), CT)
    assert np.all(voxels == 2000.0)


@pytest.mark.parametrize(("clip", "std", "message"), [((5.0, 5.0), 1.0, "clip"), ((0.0, 1.0), 0.0, "std")])
def test_preprocessing_that_says_nothing_sensible_is_refused(clip, std, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing((1.0, 1.0, 1.0), clip, 0.0, std)


def test_cubic_voxels_are_canonical() -> None:
    axes = ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry((20, 10, 10), (2.0, 5.0, 5.0), (0.0, 0.0, 0.0), axes, "1.2.3")
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 10, 10))
    cubic = at_spacing(Volume(ramp, geometry, Modality.CT), (4.0, 4.0, 4.0))
    assert cubic.geometry.spacing_zyx_mm == (4.0, 4.0, 4.0)
    assert cubic.geometry.axes_lps[0] == (0.0, 0.0, 1.0)
    assert cubic.voxels_zyx[0, 0, 0] > cubic.voxels_zyx[-1, 0, 0]


def test_percentiles_make_one_scale_of_any_gain_and_offset():
    rng = np.random.default_rng(5)
    geometry = turned((2, 1, 0), (1.0, 1.0, 1.0))
    values = rng.uniform(0, 1000, geometry.shape_zyx).astype(np.float32)
    mr = Preprocessing((3.0, 1.5, 0.75), clip=(0.0, 1.5), mean=0.0, std=1.0, percentiles=(1.0, 99.0))
    one = preprocess(Volume(values, geometry, Modality.MR), mr).values_zyx
    other = preprocess(Volume(7 * values + 50, geometry, Modality.MR), mr).values_zyx
    assert other == pytest.approx(one, abs=1e-4)
    assert np.percentile(one, 99) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("percentiles", [(50.0, 50.0), (-1.0, 99.0), (1.0, 101.0)])
def test_percentiles_ascend_within_a_hundred(percentiles):
    with pytest.raises(ValueError, match="percentiles"):
        Preprocessing((1.0, 1.0, 1.0), (0.0, 1.0), 0.0, 1.0, percentiles)


@pytest.mark.parametrize("orientation", [ORIENTATIONS[0], ORIENTATIONS[-1], ORIENTATIONS[21]])
def test_a_part_of_the_grid_is_that_part_of_the_whole_image(orientation):
    axes = tuple(tuple(s * EYE[o]) for o, s in zip(*orientation, strict=True))
    geometry = Geometry((30, 50, 40), (2.5, 1.2, 1.3), (-31.0, 12.0, 7.0), axes, "1.2.3")
    volume = Volume(np.random.default_rng(3).integers(-1000, 500, (30, 50, 40)).astype(np.int16), geometry, Modality.CT)
    whole = preprocess(volume, CT)
    z, y, x = (n - 2 for n in whole.values_zyx.shape)
    box = Box((3, 2, 4), (z, y, x))
    part = preprocess(volume, CT, box)
    assert part.geometry == whole.geometry.cropped(box)
    np.testing.assert_allclose(part.values_zyx, whole.values_zyx[box.slices], atol=1e-4)
