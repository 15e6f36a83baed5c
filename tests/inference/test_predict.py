from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_networks import HU, box_mean_network, linear_network, make_package

from contour.core.errors import InputRefused, PackageError, Reason
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.inference.engine import Region
from contour.inference.package import Label, Tiles, load_package, write_manifest
from contour.inference.predict import Drawn, PredictOptions, predict
from contour.inference.session import Network, SessionOptions, open_network

FRAME = "1.2.826.0.1.3680043.8.498.1"
BODY_HU, TARGET_HU, AIR_HU = 0, 400, -1000
LABELS = (Label(1, "Body"), Label(2, "Heart"))
# Background wins below -500 HU, Body between, Heart above 200 HU: borders of a linear phantom lie where its edges do.
SLOPES, INTERCEPTS = [0.0, 0.01, 0.02], [0.0, 5.0, 3.0]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    package = make_package(tmp_path_factory.mktemp("linear"), linear_network(SLOPES, INTERCEPTS), LABELS)
    return open_network(package, SessionOptions(threads=1))


@pytest.fixture(scope="module")
def looking_around(tmp_path_factory: pytest.TempPathFactory) -> Network:
    package = make_package(tmp_path_factory.mktemp("mean"), box_mean_network(3, SLOPES, INTERCEPTS), LABELS)
    return open_network(package, SessionOptions(threads=1))


def oblique(shape_zyx: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> Geometry:
    """A grid turned by 20 degrees about x and 10 about z, centred on the patient's origin."""
    a, b = np.deg2rad([20, 10])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = (about_z @ about_x)[:, ::-1].T
    steps = axes * np.asarray(spacing_zyx_mm)[:, None]
    origin = -((np.asarray(shape_zyx) - 1) / 2) @ steps
    return Geometry(shape_zyx, spacing_zyx_mm, tuple(origin), tuple(map(tuple, axes)), FRAME)


def patient(geometry: Geometry, centre_lps_mm: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    """A body of 70 mm radius about the patient's origin and a target of 30 mm about `centre_lps_mm`.

    Edges are ramps of 8 mm, so that linear sampling at 3 mm keeps the level sets where they are.
    """
    indices = np.moveaxis(np.indices(geometry.shape_zyx), 0, -1)
    points = geometry.index_to_lps_mm(indices)
    from_origin = np.linalg.norm(points, axis=-1)
    from_target = np.linalg.norm(points - centre_lps_mm, axis=-1)
    body = np.clip((from_origin - 70) / 8, -0.5, 0.5) * (AIR_HU - BODY_HU) + (AIR_HU + BODY_HU) / 2
    target = np.clip((30 - from_target) / 8 + 0.5, 0, 1) * (TARGET_HU - BODY_HU)
    return Volume(np.rint(body + target).astype(np.int16), geometry, Modality.CT)


def in_patient(drawn: Drawn, geometry: Geometry) -> NDArray[np.float64]:
    """The voxel centres of a structure, LPS in mm, in one order."""
    points = geometry.index_to_lps_mm(np.argwhere(drawn.mask_zyx) + drawn.offset_zyx).round(3) + 0.0
    return points[np.lexsort(points.T)]


def centred(shape_zyx: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> Geometry:
    z, y, x = (-(n - 1) / 2 * mm for n, mm in zip(shape_zyx, spacing_zyx_mm, strict=True))
    return Geometry.axial(shape_zyx, spacing_zyx_mm, (x, y, z), FRAME)


@pytest.mark.parametrize(
    "geometry",
    [
        centred((36, 110, 104), (5.0, 1.6, 1.7)),
        centred((90, 60, 56), (2.0, 3.0, 3.0)),
        oblique((60, 100, 90), (3.0, 1.9, 2.1)),
    ],
    ids=["thick slices", "thin slices", "oblique"],
)
def test_a_sphere_is_drawn_where_it_is(network: Network, geometry: Geometry) -> None:
    centre = (12.0, -7.0, 9.0)
    heart, body = predict(network, patient(geometry, centre), ("Heart", "Body"))
    assert (heart.name, body.name) == ("Heart", "Body")
    points = in_patient(heart, geometry)
    np.testing.assert_allclose(points.mean(axis=0), centre, atol=0.25)
    assert len(points) * geometry.voxel_ml == pytest.approx(4 / 3 * np.pi * 3.0**3, rel=0.03)
    both = (np.count_nonzero(body.mask_zyx) + len(points)) * geometry.voxel_ml
    assert both == pytest.approx(4 / 3 * np.pi * 7.0**3, rel=0.03)


def stored(volume: Volume, order: tuple[int, int, int], reverse: tuple[bool, bool, bool]) -> Volume:
    """The same voxels stored with their axes in another order or direction."""
    old = volume.geometry
    voxels = volume.voxels_zyx.transpose(order)
    axes = [np.asarray(old.axes_lps[a]) for a in order]
    first = np.zeros(3)
    for new, (axis, reversed_) in enumerate(zip(order, reverse, strict=True)):
        if reversed_:
            first[axis] = old.shape_zyx[axis] - 1
            axes[new] = -axes[new]
    geometry = replace(
        old,
        shape_zyx=voxels.shape,
        spacing_zyx_mm=tuple(old.spacing_zyx_mm[a] for a in order),
        origin_lps_mm=tuple(old.index_to_lps_mm(first)),
        axes_lps=tuple(tuple(a) for a in axes),
    )
    flip = tuple(slice(None, None, -1 if r else 1) for r in reverse)
    return Volume(np.ascontiguousarray(voxels[flip]), geometry, volume.modality)


def test_the_way_of_storing_changes_nothing_in_the_patient(looking_around: Network) -> None:
    volume = patient(oblique((40, 50, 47), (4.1, 3.1, 3.3)), (15.0, 5.0, -20.0))
    expected = {d.name: d for d in predict(looking_around, volume, ("Heart", "Body"))}
    ways = list(product(permutations((0, 1, 2)), product((False, True), repeat=3)))
    for order, reverse in ways[1::5]:  # prone, feet first, sagittal, coronal and mixtures
        other = stored(volume, order, reverse)
        for drawn in predict(looking_around, other, ("Heart", "Body")):
            same = expected[drawn.name]
            np.testing.assert_array_equal(
                in_patient(drawn, other.geometry), in_patient(same, volume.geometry), err_msg=f"{order} {reverse}"
            )
            assert drawn.confidence == pytest.approx(same.confidence)


def test_a_structure_reaches_the_ends_of_the_image(network: Network) -> None:
    geometry = centred((25, 40, 40), (2.0, 3.0, 3.0))
    y, x = np.indices((40, 40)) - 19.5
    plane = np.where(np.hypot(y, x) < 8, TARGET_HU, np.where(np.hypot(y, x) < 17, BODY_HU, AIR_HU))
    volume = Volume(np.repeat(plane[None].astype(np.int16), 25, axis=0), geometry, Modality.CT)
    (heart,) = predict(network, volume, ("Heart",))
    assert heart.offset_zyx[0] == 0
    assert heart.mask_zyx.shape[0] == 25
    assert heart.mask_zyx.any(axis=(1, 2)).all()


@pytest.mark.parametrize("shape", [(3, 30, 30), (1, 20, 9), (60, 8, 8)])
def test_images_smaller_than_a_patch(network: Network, shape: tuple[int, int, int]) -> None:
    voxels = np.full(shape, TARGET_HU, dtype=np.int16)
    (heart,) = predict(network, Volume(voxels, centred(shape, (3.0, 3.0, 3.0)), Modality.CT), ("Heart",))
    assert heart.offset_zyx == (0, 0, 0)
    assert heart.mask_zyx.shape == shape
    assert heart.mask_zyx.all()


def test_leaving_out_the_air_changes_nothing_in_the_body(network: Network) -> None:
    geometry = centred((60, 100, 100), (3.0, 3.0, 3.0))
    volume = patient(geometry, (20.0, 10.0, 0.0))
    whole = predict(network, volume, ("Heart", "Body"), options=PredictOptions(body_only=False, overlap=0.5))
    for part, expected in zip(predict(network, volume, ("Heart", "Body")), whole, strict=True):
        assert part.offset_zyx == expected.offset_zyx
        # Blending rounds: a voxel whose logits tie within float32 may fall either way.
        assert np.count_nonzero(part.mask_zyx ^ expected.mask_zyx) <= 1e-4 * expected.mask_zyx.size


def test_fewer_tiles_are_run_on_a_small_body(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = []
    run = network.run
    monkeypatch.setattr(network, "run", lambda patch: patches.append(1) or run(patch))
    volume = patient(centred((60, 130, 130), (3.0, 3.0, 3.0)))
    predict(network, volume, ("Heart",))
    in_body = len(patches)
    predict(network, volume, ("Heart",), options=PredictOptions(body_only=False))
    assert in_body < 0.4 * (len(patches) - in_body)


def test_larger_patches_run_where_the_package_allows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path, linear_network(SLOPES, INTERCEPTS), LABELS)
    volume = patient(centred((60, 70, 70), (3.0, 3.0, 3.0)), (10.0, 0.0, 0.0))
    expected = predict(open_network(package), volume, ("Heart", "Body"))
    write_manifest(replace(package.manifest, largest_patch_voxels=1_000_000), tmp_path)
    network = open_network(load_package(tmp_path))
    shapes = []
    run = network.run
    monkeypatch.setattr(network, "run", lambda patch: shapes.append(patch.shape) or run(patch))
    drawn = predict(network, volume, ("Heart", "Body"))
    assert len(shapes) == 1
    assert all(n % 8 == 0 for n in shapes[0][1:])
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one.mask_zyx, other.mask_zyx)
    shapes.clear()
    predict(network, volume, ("Heart",), options=PredictOptions(patch_voxels=1))
    assert set(shapes) == {(1, 16, 24, 24)}


def test_air_alone_draws_nothing(network: Network) -> None:
    volume = Volume(np.full((20, 30, 30), AIR_HU, dtype=np.int16), centred((20, 30, 30), (3.0, 3.0, 3.0)), Modality.CT)
    for drawn in predict(network, volume, ("Body", "Heart")):
        assert drawn.mask_zyx.shape == (0, 0, 0)
        assert drawn.confidence == 0


def test_sigmoid_structures_overlap(tmp_path: Path) -> None:
    labels = (Label(1, "Body", threshold=0.5), Label(2, "Heart", threshold=0.9))
    # The Heart's probability reaches 0.9 at 200 HU; it does not take its voxels away from the Body.
    heart = [0.02, float(np.log(9)) - 4.0]
    network = open_network(make_package(tmp_path, linear_network([0, 0.01, heart[0]], [0, 5.0, heart[1]]), labels))
    geometry = centred((60, 60, 60), (3.0, 3.0, 3.0))
    body, drawn = predict(network, patient(geometry), ("Body", "Heart"))
    assert np.count_nonzero(body.mask_zyx) * geometry.voxel_ml == pytest.approx(4 / 3 * np.pi * 7.0**3, rel=0.03)
    assert np.count_nonzero(drawn.mask_zyx) * geometry.voxel_ml == pytest.approx(4 / 3 * np.pi * 3.0**3, rel=0.03)


def test_confidence_is_the_dice_that_the_probabilities_expect(network: Network) -> None:
    shape = (16, 24, 24)
    voxels = np.full(shape, BODY_HU, dtype=np.int16)
    voxels[4:9, 5:15, 6:16] = 210
    volume = Volume(voxels, centred(shape, (3.0, 3.0, 3.0)), Modality.CT)

    def heart_probability(hu: float) -> float:
        logits = np.array(SLOPES) * hu + INTERCEPTS
        return float(np.exp(logits[2]) / np.exp(logits).sum())

    (heart,) = predict(network, volume, ("Heart",))
    inside, outside = 500, voxels.size - 500
    certain = inside * heart_probability(210)
    everywhere = certain + outside * heart_probability(BODY_HU)
    assert heart.confidence == pytest.approx(2 * certain / (everywhere + inside), rel=1e-4)


def test_progress_grows_to_one(network: Network) -> None:
    heard: list[float] = []
    predict(network, patient(centred((60, 60, 60), (3.0, 3.0, 3.0))), ("Heart",), heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1
    assert len(heard) > 4


def test_what_cannot_be_drawn_is_refused(network: Network) -> None:
    volume = patient(centred((20, 20, 20), (9.0, 9.0, 9.0)))
    with pytest.raises(PackageError, match="does not draw Liver; allowed: Body, Heart"):
        predict(network, volume, ("Heart", "Liver"))
    with pytest.raises(InputRefused) as caught:
        predict(network, replace(volume, modality=Modality.MR), ("Heart",))
    assert caught.value.reason is Reason.WRONG_MODALITY


def test_the_spacing_of_the_network_is_the_manifests(tmp_path: Path) -> None:
    finer = replace(HU, spacing_zyx_mm=(2.0, 2.5, 4.0))
    package = make_package(tmp_path, linear_network(SLOPES, INTERCEPTS), LABELS, preprocessing=finer)
    geometry = centred((40, 50, 60), (4.0, 3.0, 3.0))
    (heart,) = predict(open_network(package), patient(geometry, (5.0, 0.0, 8.0)), ("Heart",))
    np.testing.assert_allclose(in_patient(heart, geometry).mean(axis=0), (5, 0, 8), atol=0.25)


def test_a_structure_may_hold_the_voxels_of_another(tmp_path):
    labels = (Label(1, "Body", also=("Heart",)), Label(2, "Heart"))
    package = make_package(tmp_path, linear_network(SLOPES, INTERCEPTS), labels)
    volume = patient(oblique((40, 60, 60), (5.0, 3.0, 3.0)))
    whole, heart = predict(open_network(package, SessionOptions(threads=1)), volume, ("Body", "Heart"))
    alone = predict(
        open_network(
            make_package(tmp_path / "alone", linear_network(SLOPES, INTERCEPTS), LABELS), SessionOptions(threads=1)
        ),
        volume,
        ("Body",),
    )[0]
    assert np.count_nonzero(whole.mask_zyx) == np.count_nonzero(alone.mask_zyx) + np.count_nonzero(heart.mask_zyx)
    assert whole.confidence > 0.9


def test_what_surrounds_the_image_with_zeros_is_cut_off_and_nothing(tmp_path: Path) -> None:
    # 0 is a value of the body: around the part that was scanned it must not be taken for one.
    cropping = replace(HU, crop_to_nonzero=True)
    package = make_package(tmp_path / "p", linear_network(SLOPES, INTERCEPTS), LABELS, preprocessing=cropping)
    network = open_network(package, SessionOptions(threads=1))
    geometry = Geometry.axial((20, 40, 40), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), FRAME)
    voxels = np.zeros(geometry.shape_zyx, dtype=np.int16)
    voxels[4:16, 10:35, 8:30] = 40
    voxels[8:12, 20:25, 15:20] = 500
    body, heart = predict(network, Volume(voxels, geometry, Modality.CT), ("Body", "Heart"))
    assert (heart.offset_zyx, heart.mask_zyx.shape) == ((8, 20, 15), (4, 5, 5))
    assert heart.mask_zyx.all()
    assert (body.offset_zyx, body.mask_zyx.shape) == ((4, 10, 8), (12, 25, 22))
    assert body.looked_at.start_zyx == (4, 10, 8)
    whole = predict(
        open_network(make_package(tmp_path / "q", linear_network(SLOPES, INTERCEPTS), LABELS)),
        Volume(voxels, geometry, Modality.CT),
        ("Body",),
    )
    assert whole[0].mask_zyx.shape == (20, 40, 40)


def test_a_package_may_say_how_its_patches_lie(tmp_path: Path) -> None:
    geometry = oblique((30, 60, 60), (3.0, 3.0, 3.0))
    package = make_package(tmp_path / "p", box_mean_network(3, SLOPES, INTERCEPTS), LABELS)
    plain = predict(open_network(package), patient(geometry), ("Heart",))
    write_manifest(replace(package.manifest, tiles=Tiles.EVEN, overlap=0.5), package.folder)
    regions: list[Region] = []
    network = open_network(load_package(package.folder))
    planes = network.planes
    network.planes = lambda region, progress: regions.append(region) or planes(region, progress)  # type: ignore[method-assign]
    even = predict(network, patient(geometry), ("Heart",))
    assert regions[0].overlap == 0.5
    assert regions[0].values_zyx.shape == (30, 60, 60)  # the whole image, and not a box around the body
    assert not regions[0].inside_zyx.all()
    both = np.zeros((2, *geometry.shape_zyx), dtype=bool)
    for canvas, one in zip(both, (plain[0], even[0]), strict=True):
        canvas[tuple(slice(a, a + n) for a, n in zip(one.offset_zyx, one.mask_zyx.shape, strict=True))] = one.mask_zyx
    # Patches begin elsewhere, and this network sees zeros beyond the end of each.
    assert 2 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum()) > 0.98
