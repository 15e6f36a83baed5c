"""Derived structures against plain arithmetic on whole grids."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contour.core.geometry import Box, Geometry
from contour.core.protocol import BodyEnd, DerivedStructure, Height, Operation, SidesMm
from contour.core.structures import CroppedMask, Mask, cropped_to_content
from contour.imaging.derive import derive
from contour.imaging.margins import grown

SHAPE = (9, 24, 26)
CUBE = Geometry.axial(SHAPE, (3.0, 1.5, 1.5), (-10.0, -20.0, 100.0), "1.2.3")


def masks(seed: int = 0) -> dict[str, Mask]:
    """Three lumps that overlap."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, centre in (("A", (4, 9, 9)), ("B", (5, 12, 14)), ("C", (3, 14, 10))):
        apart = (np.argwhere(np.ones(SHAPE, dtype=bool)) - centre) * (1.0, 0.45, 0.4)
        found[name] = (np.linalg.norm(apart, axis=1) < 2.2 + rng.random(len(apart))).reshape(SHAPE)
    return found


def cropped(full: dict[str, Mask]) -> dict[str, CroppedMask]:
    return {name: CroppedMask(*cropped_to_content(mask)) for name, mask in full.items()}


def made(rule: DerivedStructure, full: dict[str, Mask], geometry: Geometry = CUBE) -> Mask:
    region = derive(rule, cropped(full), geometry)
    if not region.empty:
        assert all(region.mask_zyx.take(end, axis=axis).any() for axis in range(3) for end in (0, -1)), "fits its box"
    return region.within(Box((0, 0, 0), geometry.shape_zyx))


def whole_grown(mask: Mask, mm: float) -> Mask:
    return grown(CroppedMask(mask, (0, 0, 0)), CUBE, SidesMm.all_around(mm)).within(Box((0, 0, 0), SHAPE))


def rule(operation: str, *of: str, **given: object) -> DerivedStructure:
    return DerivedStructure("D", Operation(operation), of, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (rule("union", "A", "B", "C"), lambda a, b, c: a | b | c),
        (rule("intersection", "A", "B"), lambda a, b, _: a & b),
        (rule("subtraction", "A", "B", "C"), lambda a, b, c: a & ~b & ~c),
        (rule("subtraction", "A", "B", optional=("Nowhere",)), lambda a, b, _: a & ~b),
        (rule("union", "A", optional=("Nowhere", "B")), lambda a, b, _: a | b),
        (rule("grown", "B", mm=4.0), lambda _, b, __: whole_grown(b, 4.0)),
        (rule("ring", "A", mm=6.0, inner_mm=2.0), lambda a, _, __: whole_grown(a, 6.0) & ~whole_grown(a, 2.0)),
        (rule("ring", "A", mm=3.0), lambda a, _, __: whole_grown(a, 3.0) & ~a),
    ],
    ids=lambda value: value.words if isinstance(value, DerivedStructure) else "",
)
def test_operations_are_what_they_are_on_whole_grids(
    asked: DerivedStructure, expected: Callable[[Mask, Mask, Mask], Mask]
) -> None:
    full = masks()
    assert np.array_equal(made(asked, full), expected(full["A"], full["B"], full["C"]))


def test_far_apart_and_empty_operands() -> None:
    full = masks() | {"Empty": np.zeros(SHAPE, dtype=bool)}
    far = np.zeros(SHAPE, dtype=bool)
    far[-1, -1, -1] = True
    full["Far"] = far
    assert not made(rule("intersection", "A", "Far"), full).any()
    assert np.array_equal(made(rule("union", "A", "Far"), full), full["A"] | far)
    assert np.array_equal(made(rule("subtraction", "A", "Far"), full), full["A"])
    assert np.array_equal(made(rule("union", "A", "Empty"), full), full["A"])
    assert not made(rule("subtraction", "Empty", "A"), full).any()
    assert not made(rule("grown", "Empty", mm=5.0), full).any()
    assert not made(rule("hull", "Empty"), full).any()


def test_what_must_be_there_is_not_left_out() -> None:
    with pytest.raises(KeyError, match="Nowhere"):
        made(rule("union", "A", "Nowhere"), masks())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)], ids=["axial", "sagittal", "coronal"])
def test_the_hull_of_each_axial_slice(order: tuple[int, int, int]) -> None:
    """Two discs apart: the hull is them and the strip between, slice by slice, however the image is stored."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    discs = ((y - 12) ** 2 + (x - 6) ** 2 <= 9) | ((y - 10) ** 2 + (x - 19) ** 2 <= 16)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:6] = discs
    axes = np.array(CUBE.axes_lps)[list(order)]
    stored = Geometry(
        tuple(SHAPE[i] for i in order), tuple(CUBE.spacing_zyx_mm[i] for i in order), CUBE.origin_lps_mm,
        tuple(map(tuple, axes.tolist())), "1.2.3",
    )  # fmt: skip
    found = made(rule("hull", "A"), {"A": mask.transpose(order)}, stored).transpose(np.argsort(order))
    corners = cv2.convexHull(np.argwhere(discs).astype(np.int32))
    points = np.argwhere(np.ones(SHAPE[1:], dtype=bool))
    apart = np.array([cv2.pointPolygonTest(corners, (float(a), float(b)), measureDist=True) for a, b in points])
    apart = apart.reshape(SHAPE[1:])
    for z in range(SHAPE[0]):
        if 3 <= z < 6:
            assert found[z][apart > 1e-3].all()
            assert not found[z][apart < -1e-3].any()
            assert found[z][discs].all()
        else:
            assert not found[z].any()


def heights(geometry: Geometry) -> NDArray[np.float64]:
    return geometry.index_to_lps_mm(np.argwhere(np.ones(geometry.shape_zyx, dtype=bool)))[:, 2].reshape(
        geometry.shape_zyx
    )


@pytest.mark.parametrize("upwards", [True, False])
def test_slices_between_two_heights(upwards: bool) -> None:
    geometry = CUBE if upwards else Geometry(
        SHAPE, CUBE.spacing_zyx_mm, (-10.0, -20.0, 124.0), ((0.0, 0.0, -1.0), *CUBE.axes_lps[1:]), "1.2.3"
    )  # fmt: skip
    full = {"A": np.ones(SHAPE, dtype=bool), "T": heights(geometry) == 112.0}
    z = heights(geometry)
    # The target's slice reaches from 110.5 to 113.5 mm; slices lie every 3 mm.
    around = rule(
        "between", "A", lowest=Height("T", BodyEnd.INFERIOR, -6.0), highest=Height("T", BodyEnd.SUPERIOR, 3.0)
    )
    assert np.array_equal(made(around, full, geometry), (z >= 104.5) & (z <= 116.5))
    lower = rule("between", "A", highest=Height("T", BodyEnd.INFERIOR))
    assert np.array_equal(made(lower, full, geometry), z <= 110.5)
    lowest = rule("between", "A", highest=Height("A", BodyEnd.INFERIOR, 6.0))
    assert np.array_equal(made(lowest, full, geometry), z < z.min() + 6.0 - 1.5 + 1e-6)


def test_heights_across_an_oblique_grid_are_the_patients() -> None:
    tilt = np.deg2rad(20)
    axes = ((0.0, -np.sin(tilt), np.cos(tilt)), (0.0, np.cos(tilt), np.sin(tilt)), (1.0, 0.0, 0.0))
    geometry = Geometry(SHAPE, (3.0, 1.5, 1.5), (-10.0, -20.0, 100.0), axes, "1.2.3")
    full = masks()
    found = made(rule("between", "A", lowest=Height("A", BodyEnd.INFERIOR, 8.0)), full, geometry)
    z = heights(geometry)
    half = np.abs(geometry.steps_lps_mm[:, 2]).sum() / 2
    assert np.array_equal(found, full["A"] & (z >= z[full["A"]].min() - half + 8.0))
    assert 0 < found.sum() < full["A"].sum()
