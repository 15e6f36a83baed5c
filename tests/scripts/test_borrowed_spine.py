"""Vertebrae of one made spine fitted to another one that is bent otherwise."""

import numpy as np
from analytic_spines import LEVELS, MadeSpine, SpinePlan, kyphosis, made_spine, straight

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.vertebrae import BONE, Part
from contour.training.prepared import UNKNOWN
from scripts.spine_ct.borrowed import LabelledSpine, borrow

SHOWN = LEVELS[LEVELS.index("T07") : LEVELS.index("T11") + 1]


def scan(made: MadeSpine) -> Volume:
    """Bone with a dense shell in soft tissue, and some noise."""
    parts = made.image.parts_zyx
    hu = np.full(parts.shape, 40.0, dtype=np.float32)
    for part, value in ((Part.CORE, 220), (Part.SHELL, 420), (Part.ARCH, 400), (Part.RIB, 350), (Part.CANAL, 20)):
        hu[parts == part] = value
    hu += np.random.default_rng(3).normal(0, 10, hu.shape).astype(np.float32)
    grid = Geometry.axial(parts.shape, made.image.spacing_zyx_mm, (0.0, 0.0, 0.0), "2.25.4")
    return Volume(hu, grid, Modality.CT)


def test_borrowed_vertebrae_lie_on_the_other_image_s_bone():
    source = made_spine(SpinePlan(SHOWN, straight, spacing_zyx_mm=(2.5, 2.5, 2.5)))
    target = made_spine(SpinePlan(SHOWN, kyphosis, spacing_zyx_mm=(2.5, 2.5, 2.5)))
    values = {level: i for i, level in enumerate(SHOWN, start=1)}
    known = LabelledSpine(scan(source), source.truth_zyx, values, source.image.parts_zyx == Part.CANAL)
    rng = np.random.default_rng(5)
    centres = {level: middle + rng.uniform(-3, 3, 3) for level, middle in zip(SHOWN, target.middles_mm, strict=True)}

    found = borrow(known, scan(target), centres)

    assert min(found.correlations.values()) > 0.6
    # Between the outer centres; at the ends all is unknown.
    low, high = sorted((target.middles_mm[0][0], target.middles_mm[-1][0]))
    inner = slice(int(low / 2.5), int(high / 2.5))
    bone = np.isin(target.image.parts_zyx[inner], BONE)
    drawn = np.isin(found.parts_zyx[inner], BONE)
    certain = found.parts_zyx[inner] != UNKNOWN
    assert 2 * (bone & drawn).sum() / ((bone & certain).sum() + drawn.sum()) > 0.85
    assert (found.parts_zyx[0] == UNKNOWN).all()
    ribs = target.image.parts_zyx[inner] == Part.RIB
    assert not (ribs & drawn).any()
