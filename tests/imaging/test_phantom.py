import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.core.structures import Structure
from contour.imaging.body import body_mask
from contour.imaging.phantom import Phantom, PhantomOptions, thorax_geometry, thorax_phantom

QUICK = PhantomOptions(vessels=20, noise_hu=0.0)

# Volumes in ml and mean HU that adults have; the upper end of HU admits contrast agent.
ADULT = {
    "Body": ((15_000, 35_000), (-250, 50)),
    "Lung_L": ((1_000, 3_000), (-900, -650)),
    "Lung_R": ((1_200, 3_500), (-900, -650)),
    "Heart": ((350, 900), (60, 200)),
    "Esophagus": ((20, 70), (-80, 60)),
    "Trachea": ((25, 80), (-1000, -700)),
    "SpinalCord": ((25, 80), (20, 60)),
    "A_Aorta": ((100, 400), (100, 200)),
    "Liver": ((900, 2_000), (80, 140)),
    "Spleen": ((50, 350), (80, 140)),
    "Stomach": ((100, 700), (-400, 60)),
    "Kidney_L": ((80, 250), (80, 180)),
    "Kidney_R": ((80, 250), (80, 180)),
}


def by_name(phantom: Phantom) -> dict[str, Structure]:
    return {s.name: s for s in phantom.structures.structures}


def centre_lps_mm(phantom: Phantom, structure: Structure) -> np.ndarray:
    inside = np.argwhere(structure.mask_zyx).mean(axis=0) + structure.offset_zyx
    return phantom.volume.geometry.index_to_lps_mm(inside)


def mean_hu(phantom: Phantom, structure: Structure) -> float:
    return float(phantom.volume.voxels_zyx[structure.box.slices][structure.mask_zyx].mean())


@pytest.mark.parametrize("name", ADULT)
def test_structures_have_the_size_and_density_of_an_adults(thorax: Phantom, name: str) -> None:
    structure = by_name(thorax)[name]
    (low, high), (dark, bright) = ADULT[name]
    assert low < thorax.structures.volume_ml(structure) < high
    assert dark < mean_hu(thorax, structure) < bright


def test_anatomy_lies_where_it_belongs(thorax: Phantom) -> None:
    found = {name: centre_lps_mm(thorax, s) for name, s in by_name(thorax).items()}
    left, posterior, superior = 0, 1, 2
    for one, other, axis in (
        ("Lung_L", "Lung_R", left),
        ("Heart", "Liver", left),
        ("Spleen", "Liver", left),
        ("Stomach", "Liver", left),
        ("Kidney_L", "Kidney_R", left),
        ("SpinalCord", "Heart", posterior),
        ("Esophagus", "Trachea", posterior),
        ("Trachea", "Heart", superior),
        ("Heart", "Liver", superior),
        ("Lung_L", "Kidney_L", superior),
    ):
        assert found[one][axis] > found[other][axis] + 5, (one, other)


def test_organs_exclude_each_other_and_lie_in_the_body(thorax: Phantom) -> None:
    shape = thorax.volume.geometry.shape_zyx
    structures = by_name(thorax)
    body = structures.pop("Body").full_mask(shape)
    total = np.zeros(shape, dtype=np.uint8)
    for structure in structures.values():
        total[structure.box.slices] += structure.mask_zyx
    assert total.max() == 1
    assert not np.any(total[~body])


def test_the_body_finder_takes_off_the_couch(thorax: Phantom) -> None:
    found, true = body_mask(thorax.volume), by_name(thorax)["Body"].full_mask(thorax.volume.geometry.shape_zyx)
    assert 2 * np.count_nonzero(found & true) / (np.count_nonzero(found) + np.count_nonzero(true)) > 0.99
    below = thorax.volume.voxels_zyx[:, -1, :]
    assert np.all(below < -800)
    assert thorax.volume.voxels_zyx.max() > 400


def test_the_same_options_give_the_same_voxels() -> None:
    geometry = thorax_geometry((8.0, 5.0, 5.0))
    once, again = (thorax_phantom(geometry, PhantomOptions(vessels=10)) for _ in range(2))
    other = thorax_phantom(geometry, PhantomOptions(vessels=10, seed=2))
    assert np.array_equal(once.volume.voxels_zyx, again.volume.voxels_zyx)
    assert not np.array_equal(once.volume.voxels_zyx, other.volume.voxels_zyx)


def test_any_grid_samples_the_same_patient() -> None:
    axial = thorax_phantom(thorax_geometry((4.0, 4.0, 4.0)), QUICK)
    angle = np.radians(20)
    z, y, x = (0.0, -np.sin(angle), np.cos(angle)), (0.0, np.cos(angle), np.sin(angle)), (1.0, 0.0, 0.0)
    size = np.array([120, 120, 110])
    steps = np.array([z, y, x]) * 4.0
    origin = np.array([0.0, -60.0, -60.0]) - (size - 1) / 2 @ steps
    oblique = Geometry(tuple(size.tolist()), (4.0, 4.0, 4.0), tuple(origin.tolist()), (z, y, x), "2.25.1")
    tilted = thorax_phantom(oblique, QUICK)
    for name in ("Heart", "Lung_L", "Lung_R", "Liver"):
        straight, slanted = by_name(axial)[name], by_name(tilted)[name]
        volumes = axial.structures.volume_ml(straight), tilted.structures.volume_ml(slanted)
        assert volumes[1] == pytest.approx(volumes[0], rel=0.03)
        apart = centre_lps_mm(axial, straight) - centre_lps_mm(tilted, slanted)
        assert np.linalg.norm(apart) < 1.0


def test_noise_has_the_size_that_was_asked_for() -> None:
    geometry = Geometry.axial((3, 80, 80), (8.0, 1.0, 1.0), (-110.0, -130.0, -120.0), "2.25.1")  # in the liver
    quiet = thorax_phantom(geometry, PhantomOptions(vessels=5, noise_hu=0.0))
    noisy = thorax_phantom(geometry, PhantomOptions(vessels=5, noise_hu=20.0))
    liver = by_name(quiet)["Liver"]
    both = [p.volume.voxels_zyx[liver.box.slices][liver.mask_zyx].astype(float) for p in (quiet, noisy)]
    assert np.std(both[1] - both[0]) == pytest.approx(20.0, rel=0.25)
