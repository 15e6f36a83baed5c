"""From a network's parts of a spine to structures with levels, through the path that ships."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from analytic_spines import LEVELS, MadeSpine, SpinePlan, kyphosis, made_spine
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.nomenclature import lookup, validate_name
from contour.core.protocol import DerivedStructure, Operation
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.imaging.vertebrae import BODY
from contour.inference.engine import Progress, Region
from contour.inference.package import SPINE_LABELS, Label, Manifest, Step, Training
from contour.library import load_protocol
from contour.pipeline import Drawing, draw_structures

SHARP = 60.0
FRAME = "2.25.909"


@dataclass
class CodeNetwork:
    """Knows a part by its value: 10 times its number."""

    spacing_zyx_mm: tuple[float, float, float]
    origin: Path = Path("made")
    engine: str = "value"

    @property
    def manifest(self) -> Manifest:
        also = {"VertebralBody": ("VertebralCore",), "VertebralArch": ("VertebralJoint",)}
        return Manifest(
            name="spine_ct",
            version="1.0.0",
            title="Parts by value",
            modality=Modality.CT,
            onnx_sha256="0" * 64,
            licence="Apache-2.0",
            patch_shape_zyx=(4, 4, 4),
            preprocessing=Preprocessing(self.spacing_zyx_mm, (-1024.0, 3000.0), 0.0, 1.0),
            labels=tuple(Label(i, name, also=also.get(name, ())) for i, name in enumerate(SPINE_LABELS, start=1)),
            training=Training((), (), ""),
            steps=(Step.VERTEBRAE,),
        )

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        for plane in region.values_zyx:
            logits = np.zeros((len(SPINE_LABELS) + 1, *plane.shape), dtype=np.float32)
            logits[0] = SHARP / 2
            for channel in range(1, len(SPINE_LABELS) + 1):
                logits[channel, np.rint(plane) == 10 * channel] = SHARP
            yield logits
        progress(1.0)


def scanned(made: MadeSpine, flipped: tuple[int, ...] = ()) -> Volume:
    """The parts as an image of values, stored with some of its axes reversed."""
    spacing = made.image.spacing_zyx_mm
    grid = Geometry.axial(made.image.parts_zyx.shape, spacing, (0.0, 0.0, 0.0), FRAME)
    voxels = (10 * made.image.parts_zyx).astype(np.int16)
    axes, origin = [list(axis) for axis in grid.axes_lps], np.array(grid.origin_lps_mm)
    for axis in flipped:
        origin = origin + np.array(grid.axes_lps[axis]) * spacing[axis] * (grid.shape_zyx[axis] - 1)
        axes[axis] = [-v for v in axes[axis]]
    turned = replace(
        grid,
        axes_lps=tuple(tuple(float(v) for v in axis) for axis in axes),
        origin_lps_mm=tuple(float(v) for v in origin),
    )
    return Volume(np.ascontiguousarray(np.flip(voxels, flipped)), turned, Modality.CT)


def drawn(made: MadeSpine, flipped: tuple[int, ...] = ()) -> Drawing:
    network = CodeNetwork(made.image.spacing_zyx_mm)
    return draw_structures(scanned(made, flipped), load_protocol("spine_oar"), (network,))


def named(first: str, last: str) -> tuple[str, ...]:
    return LEVELS[LEVELS.index(first) : LEVELS.index(last) + 1]


@pytest.mark.parametrize("flipped", [(), (0,), (1, 2)])
def test_each_vertebra_is_a_structure_with_its_level_however_the_image_is_stored(flipped):
    levels = named("T09", "L5")
    made = made_spine(SpinePlan(levels, kyphosis, sacrum=True))

    drawing = drawn(made, flipped)

    structures = {s.name.removeprefix("~"): s for s in drawing.structures.structures}
    assert tuple(n for n in structures if n.startswith("VB_")) == tuple(f"VB_{level}" for level in levels)
    assert tuple(n for n in structures if n.startswith("Vert_")) == tuple(f"Vert_{level}" for level in levels)
    for number, level in enumerate(levels, start=1):
        truth = (made.truth_zyx == number) & np.isin(made.image.parts_zyx, BODY)
        mask = np.flip(structures[f"VB_{level}"].full_mask(truth.shape), flipped)
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97
        whole = structures[f"Vert_{level}"].full_mask(truth.shape)
        assert not (np.flip(mask, flipped) & ~whole).any()
    (told,) = [f.message for f in drawing.findings if f.code == "levels-counted"]
    assert "the last pair of ribs and the sacrum" in told
    assert not [f for f in drawing.findings if f.code == "levels-withheld"]


def test_without_an_anchor_shapes_are_drawn_and_levels_withheld():
    made = made_spine(SpinePlan(named("T05", "T08")))

    drawing = drawn(made)

    bodies = [s for s in drawing.structures.structures if s.name.removeprefix("~").startswith("VB_")]
    assert [s.name.removeprefix("~") for s in bodies] == [f"VB_unknown{i}" for i in range(1, 5)]
    assert not any(s.empty for s in bodies)
    (why,) = [f.message for f in drawing.findings if f.code == "levels-withheld"]
    assert "neither the first nor the last pair of ribs" in why


def test_four_lumbar_vertebrae_are_a_contradiction_not_a_guess():
    ribs = frozenset(named("T09", "L1"))
    made = made_spine(SpinePlan(named("T10", "L5"), sacrum=True, ribs=ribs))

    drawing = drawn(made)

    assert any(s.name.removeprefix("~") == "VB_unknown1" for s in drawing.structures.structures)
    (why,) = [f.message for f in drawing.findings if f.code == "levels-withheld"]
    assert "disagrees" in why


def test_a_package_with_the_step_needs_all_parts():
    manifest = CodeNetwork((2.0, 2.0, 2.0)).manifest

    assert manifest.offered == (*SPINE_LABELS, "VBs", "Vertebrae")
    with pytest.raises(ValueError, match="steps vertebrae"):
        replace(manifest, labels=manifest.labels[3:6])


def test_an_image_without_a_spine_has_no_vertebrae():
    made = made_spine(SpinePlan(named("T05", "T08")))
    empty = replace(made, image=replace(made.image, parts_zyx=np.zeros_like(made.image.parts_zyx)))

    drawing = drawn(empty)

    assert all(s.empty for s in drawing.structures.structures)
    assert {f.structure for f in drawing.findings if f.code == "not-found"} >= {"VBs", "Vertebrae", "SpinalCanal"}


def test_what_is_made_from_a_family_is_made_from_all_its_members():
    made = made_spine(SpinePlan(named("T11", "L3")))
    protocol = load_protocol("spine_oar")
    bodies = DerivedStructure("BodiesUnion", Operation.UNION, ("VBs", "Vertebrae"))
    network = CodeNetwork(made.image.spacing_zyx_mm)
    drawing = draw_structures(scanned(made), replace(protocol, derived=(bodies,)), (network,))
    shape = made.truth_zyx.shape
    structures = {s.name: s.full_mask(shape) for s in drawing.structures.structures}
    union = next(mask for name, mask in structures.items() if name.endswith("BodiesUnion"))
    members = [mask for name, mask in structures.items() if name.lstrip("~").startswith(("VB_", "Vert_"))]
    assert len(members) == 10
    assert union.any()
    assert np.array_equal(union, np.logical_or.reduce(members))


def test_finer_pixels_than_those_that_vertebrae_are_told_apart_on():
    made = made_spine(SpinePlan(named("T11", "L3"), spacing_zyx_mm=(2.0, 1.0, 1.0)))

    drawing = drawn(made)

    structures = {s.name.removeprefix("~"): s for s in drawing.structures.structures}
    truth = (made.truth_zyx == 3) & np.isin(made.image.parts_zyx, BODY)
    mask = structures["VB_L1"].full_mask(truth.shape)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


@pytest.mark.parametrize("name", ["VB_unknown1", "VB_unknown24", "Vert_T05", "Vert_unknown12", "~Vert_unknown12"])
def test_names_fit_planning_systems(name):
    assert not validate_name(name)


def test_whole_vertebrae_have_their_bodies_colours_and_no_code():
    whole, body = lookup("Vert_T05"), lookup("VB_T05")

    assert whole is not None
    assert body is not None
    assert whole.color_rgb == body.color_rgb
    assert whole.code is None
    assert lookup("Vert_T13") is None
    unknown = lookup("VB_unknown2")
    assert unknown is not None
    assert unknown.code == lookup("VBs").code
