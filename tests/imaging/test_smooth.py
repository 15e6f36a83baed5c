import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from contour.core.structures import cropped_to_content
from contour.imaging.contours import Contours, TraceOptions, trace
from contour.imaging.rasterise import rasterise
from contour.imaging.smooth import Loops, without_collinear

BLOBS = st.tuples(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5)), st.integers(1, 4)).map(
    lambda pair: np.kron(pair[0], np.ones((pair[1], pair[1]), dtype=bool))[None]
)
SPACINGS = st.sampled_from([(1.0, 1.0), (0.9765625, 0.9765625), (0.7, 1.9)])


def disc(radius: float, centre_yx: tuple[float, float]) -> np.ndarray:
    size = int(2 * radius) + 6
    y, x = np.ogrid[:size, :size]
    return np.asarray((y - centre_yx[0]) ** 2 + (x - centre_yx[1]) ** 2 <= radius**2)[None]


def discs(radius: float) -> list[tuple[np.ndarray, tuple[float, float]]]:
    middle = radius + 2.5
    centres = [(middle + dy, middle + dx) for dy, dx in ((0.0, 0.0), (0.31, 0.12), (-0.44, 0.27), (0.05, -0.38))]
    return [(disc(radius, centre), centre) for centre in centres]


def hausdorff_mm(one: Contours, other: Contours, spacing_yx_mm: tuple[float, float]) -> float:
    """The greatest distance from any part of either set of polygons to the other set."""
    return max(_furthest_mm(one, other, spacing_yx_mm), _furthest_mm(other, one, spacing_yx_mm))


def _furthest_mm(one: Contours, other: Contours, spacing_yx_mm: tuple[float, float]) -> float:
    start, end = _segments_mm(one, spacing_yx_mm)
    samples = np.concatenate([start + f * (end - start) for f in np.linspace(0, 1, 9)])
    a, b = _segments_mm(other, spacing_yx_mm)
    ab = b - a
    along = np.einsum("ijk,jk->ij", samples[:, None] - a, ab) / (ab**2).sum(axis=1)
    nearest = a + np.clip(along, 0, 1)[..., None] * ab
    return float(np.linalg.norm(samples[:, None] - nearest, axis=2).min(axis=1).max())


def _segments_mm(contours: Contours, spacing_yx_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    points = contours.points_yx * spacing_yx_mm
    return points, Loops(contours.starts).following(points)


def voxels(contours: Contours, shape_yx: tuple[int, int]) -> np.ndarray:
    mask, (_, y, x) = rasterise(contours, shape_yx)
    result = np.zeros(shape_yx, dtype=bool)
    if mask.size:
        result[y : y + mask.shape[1], x : x + mask.shape[2]] = mask[0]
    return result


@given(BLOBS, SPACINGS, st.sampled_from([0.05, 0.2, 0.45, 3.0]))
@settings(deadline=None, max_examples=60)
def test_smoothing_stays_within_its_bound_and_changes_no_voxel(mask, spacing, bound):
    exact, smoothed = trace(mask), trace(mask, options=TraceOptions(spacing, smoothing_mm=bound))
    assert np.array_equal(voxels(smoothed, mask.shape[1:]), mask[0])
    assert len(smoothed) == len(exact)
    assert np.all(np.diff(smoothed.starts) >= 4)
    if len(exact):
        assert hausdorff_mm(exact, smoothed, spacing) <= bound + 1e-9


@given(BLOBS, SPACINGS, st.sampled_from([0.05, 0.3, 1.0, 5.0]), st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=60)
def test_decimation_stays_within_its_bound(mask, spacing, bound, smoothing):
    full = trace(mask, options=TraceOptions(spacing, smoothing_mm=smoothing))
    fewer = trace(mask, options=TraceOptions(spacing, smoothing_mm=smoothing, decimation_mm=bound))
    assert len(fewer) == len(full)
    assert np.all(np.diff(fewer.starts) >= 3)
    assert len(fewer.points_yx) <= len(full.points_yx)
    assert np.all(fewer.signed_areas() / full.signed_areas() >= 0.5)
    if len(full):
        assert hausdorff_mm(full, fewer, spacing) <= bound + 1e-9


@given(BLOBS, st.sampled_from([0.0, 0.1, 0.2, 0.3]))
@settings(deadline=None, max_examples=40)
def test_decimation_below_the_stated_limit_changes_no_voxel(mask, smoothing):
    limit = (0.5 - smoothing) / np.sqrt(2)
    options = TraceOptions((1.0, 1.0), smoothing_mm=smoothing, decimation_mm=0.99 * limit)
    assert np.array_equal(voxels(trace(mask, options=options), mask.shape[1:]), mask[0])


@pytest.mark.parametrize("radius", [3.0, 6.0, 20.0, 60.0])
def test_smoothing_brings_staircases_to_the_circle_they_came_from(radius):
    def error(options: TraceOptions) -> float:
        distances = [
            np.linalg.norm(trace(mask, options=options).points_yx - centre, axis=1) - radius
            for mask, centre in discs(radius)
        ]
        return float(np.sqrt(np.mean(np.concatenate(distances) ** 2)))

    assert error(TraceOptions((1.0, 1.0), smoothing_mm=0.3)) < 0.65 * error(TraceOptions())


@pytest.mark.parametrize("radius", [1.5, 3.0, 6.0, 20.0])
def test_smoothing_keeps_the_area_of_the_voxels(radius):
    for mask, _ in discs(radius):
        area = trace(mask, options=TraceOptions((1.0, 1.0), smoothing_mm=0.3)).signed_areas().sum()
        assert area == pytest.approx(np.count_nonzero(mask), rel=2e-3)


def test_smoothing_keeps_the_area_of_a_ring_and_its_hole():
    mask = disc(20.0, (23.1, 22.4))
    mask[0, 15:31, 15:31] &= ~disc(8.0, (10.0, 10.0))[0, 2:18, 2:18]
    areas = trace(mask, options=TraceOptions((1.0, 1.0), smoothing_mm=0.3)).signed_areas()
    assert len(areas) == 2
    assert areas.sum() == pytest.approx(np.count_nonzero(mask), rel=2e-3)


def test_decimation_leaves_few_points_of_a_smoothed_circle():
    mask, _ = discs(60.0)[1]
    full = trace(mask, options=TraceOptions((1.0, 1.0), smoothing_mm=0.3))
    fewer = trace(mask, options=TraceOptions((1.0, 1.0), smoothing_mm=0.3, decimation_mm=0.2))
    assert len(fewer.points_yx) < len(full.points_yx) / 3


def test_a_polygon_that_would_vanish_keeps_its_shape():
    contours = trace(np.ones((1, 1, 1), dtype=bool), options=TraceOptions((1.0, 1.0), decimation_mm=10.0))
    assert len(contours.points_yx) >= 3
    assert contours.signed_areas()[0] >= 0.25


def test_decimation_never_turns_a_polygon_inside_out():
    """A U, of which three points far apart would make a triangle that turns the other way."""
    mask = np.array([[[1, 0, 1], [1, 0, 1], [1, 1, 1]]], dtype=bool)
    assert trace(mask, options=TraceOptions((1.0, 1.0), decimation_mm=5.0)).signed_areas() == pytest.approx([6.5])


def test_points_on_straight_lines_go():
    square = np.array([(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)], dtype=float)
    points, loops = without_collinear(np.concatenate((square, square + 7.3)), Loops(np.array([0, 8, 16])))
    assert loops.starts.tolist() == [0, 4, 8]
    assert points[:4].tolist() == [[0, 0], [0, 2], [2, 2], [2, 0]]


def test_the_tip_of_a_spike_stays():
    points = np.array([(0, 0), (0, 2), (0, 4), (0, 2), (2, 2), (2, 0)], dtype=float)
    kept, _ = without_collinear(points, Loops(np.array([0, 6])))
    assert kept.tolist() == [[0, 0], [0, 4], [0, 2], [2, 2], [2, 0]]


@pytest.mark.data
def test_real_structures_come_back_voxel_for_voxel(shared_data: Path):
    folder = shared_data / "thorax" / "lidc_0001_auto"
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    labels = sitk.GetArrayFromImage(image)
    x_mm, y_mm, _ = image.GetSpacing()
    options = TraceOptions((y_mm, x_mm), smoothing_mm=0.3, decimation_mm=0.1)
    for name, value in json.loads((folder / "labels.json").read_text(encoding="utf-8")).items():
        mask, offset = cropped_to_content(labels == value)
        for chosen in (TraceOptions(), options):
            back, at = rasterise(trace(mask, offset, chosen), labels.shape[1:])
            assert at == offset, name
            assert np.array_equal(back, mask), name
