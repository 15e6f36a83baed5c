"""Parts from label maps of whole vertebrae, and vertebrae with levels from these parts: what the method can do."""

from pathlib import Path

import numpy as np
import pytest

from contour.core.geometry import Geometry
from contour.imaging.spine_anchors import rib_pairs, seen_sacrum
from contour.imaging.vertebrae import BODY, BONE, Part, SpineImage, take_apart
from contour.inference.levels import LEVELS, SeenVertebra, count_levels
from scripts.spine_ct.parts import WholeSpine, body_of, canal_of, core_of, parts_of
from scripts.spine_ct.prepare import LabelMap, read_label_map
from scripts.spine_ct.validation import tg263_level


def ring(shape=(24, 60, 60)):
    """A vertebra of a cylinder of radius 14 before a canal of radius 8 within a ring, at 1 mm; y to the back."""
    z, y, x = np.indices(shape)
    body = (np.hypot(y - 18, x - 30) <= 14) & (z >= 4) & (z < 20)
    apart = np.hypot(y - 40, x - 30)
    arch = (apart > 8) & (apart <= 12) & (z >= 8) & (z < 16)
    process = (np.abs(x - 30) > 10) & (np.abs(x - 30) < 26) & (np.abs(y - 34) < 3) & (z >= 10) & (z < 14)
    cord = apart <= 6
    return body, (arch | process) & ~body, cord


def test_the_body_ends_at_the_canal_s_front_wall():
    body, arch, cord = ring()

    found = body_of(body | arch, cord, (1.0, 1.0, 1.0))

    assert 2 * (found & body).sum() / (found.sum() + body.sum()) > 0.97
    assert not found[:, 36:].any()


def test_cores_lie_inside_and_keep_away_from_the_end_plates():
    body, _, _ = ring()

    core = core_of(body, (1.0, 1.0, 1.0))

    planes = np.flatnonzero(core.any(axis=(1, 2)))
    assert not (core & ~body).any()
    assert planes[0] >= 6
    assert planes[-1] <= 17


def test_the_canal_fills_its_ring_and_not_more():
    body, arch, cord = ring()
    bone = body | arch

    canal = canal_of(cord, bone, (1.0, 1.0, 1.0))

    y, x = np.indices(cord.shape[1:])
    inside = np.hypot(y - 40, x - 30) <= 8
    assert canal[12][inside & ~bone[12]].all()  # in the ring: all of it
    assert not canal[12][~inside].any()
    assert not canal[22][np.hypot(y - 40, x - 30) > 8].any()  # no ring: the cord and its margin


def test_where_arches_meet_is_a_joint():
    labels = np.zeros((20, 30, 30), dtype=np.uint8)
    labels[4:10, 5:25, 5:25], labels[11:17, 5:25, 5:25] = 1, 2
    cord = np.zeros(labels.shape, dtype=bool)
    cord[:, 26:29, 13:17] = True
    nothing = np.zeros(labels.shape, dtype=bool)
    grid = Geometry.axial(labels.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "2.25.1")

    parts = parts_of(WholeSpine(labels, (1, 2), cord, nothing, nothing), grid)

    joint = np.isin(parts[9:12], (Part.JOINT, Part.SHELL)).any()
    assert joint
    assert not (parts[4:6] == Part.JOINT).any()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "thinned", "first", "last", "whole"),
    [
        ("totalseg_example_3mm", 1, "T12", "L5", 0.93),
        ("totalseg_s0327_labels_only", 2, "T02", "L5", 0.75),
        ("totalseg_s0328_labels_only", 2, "T10", "L5", 0.85),
    ],
)
def test_vertebrae_and_levels_of_real_label_maps(shared_data: Path, name, thinned, first, last, whole):
    known = every(read_label_map(shared_data, name), thinned)
    image = SpineImage(known.parts(), known.geometry.spacing_zyx_mm)

    spine = take_apart(image)

    assert spine is not None
    seen = tuple(SeenVertebra(r, v.gap_below) for r, v in zip(rib_pairs(image, spine), spine.vertebrae, strict=True))
    count = count_levels(seen, sacrum_below=seen_sacrum(image, spine).follows)
    values = {tg263_level(level): value for level, value in known.vertebrae}
    wanted = LEVELS[LEVELS.index(first) : LEVELS.index(last) + 1]
    assert set(wanted) <= set(count.levels)
    for number, level in enumerate(count.levels, start=1):
        if level not in wanted:
            continue
        truth = known.labels_zyx == values[level]
        body = np.isin(image.parts_zyx, BODY)
        bone = np.isin(image.parts_zyx, BONE)
        assert dice((spine.owner_zyx == number) & body, truth & body) > 0.95
        assert dice((spine.owner_zyx == number) & bone, truth) > whole


def every(known: LabelMap, n: int) -> LabelMap:
    """Each n-th voxel along each axis."""
    small = np.ascontiguousarray(known.labels_zyx[::n, ::n, ::n])
    z, y, x = (mm * n for mm in known.geometry.spacing_zyx_mm)
    return LabelMap(small, known.values, Geometry.axial(small.shape, (z, y, x), (0.0, 0.0, 0.0), "2.25.2"))


def dice(a, b) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
