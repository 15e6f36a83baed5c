from pathlib import Path

import numpy as np
import pytest

from contour.core.errors import ConfigError
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from scripts.thorax_ct.drawn import LIMITS, Extent, HuLimits, drawn_masks, interpolated, load_drawn, refined

GEOMETRY = Geometry.axial((21, 40, 50), (2.5, 2.0, 1.5), (0.0, 0.0, 0.0), "1.2.3")

TUBE = """\
case: made
structures:
  - name: Tube
    extent: between
    sections:
      - {z: 2, centre_yx: [12.0, 15.0], radii_mm: [8.0, 8.0]}
      - {z: 18, centre_yx: [28.0, 35.0], radii_mm: [8.0, 8.0]}
"""


def _loaded(folder: Path, text: str):
    path = folder / "made.yaml"
    path.write_text(text, encoding="utf-8")
    return load_drawn(path)


def _disc(centre_yx: tuple[float, float], radius_mm: float) -> np.ndarray:
    y, x = np.mgrid[:40, :50]
    return ((y - centre_yx[0]) * 2.0) ** 2 + ((x - centre_yx[1]) * 1.5) ** 2 <= radius_mm**2


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


def test_an_oblique_tube_keeps_its_width_and_course(tmp_path: Path) -> None:
    drawn = _loaded(tmp_path, TUBE)
    mask = interpolated(drawn, "Tube", GEOMETRY)
    assert not mask[:2].any()
    assert not mask[19:].any()
    assert drawn.extent("Tube") is Extent.BETWEEN
    assert drawn.drawn_slices("Tube") == (2, 18)
    for z in range(2, 19):
        t = (z - 2) / 16
        assert _dice(mask[z], _disc((12 + 16 * t, 15 + 20 * t), 8.0)) > 0.96


def test_a_cone_between_two_circles(tmp_path: Path) -> None:
    text = TUBE.replace("[28.0, 35.0], radii_mm: [8.0, 8.0]", "[12.0, 15.0], radii_mm: [16.0, 16.0]")
    mask = interpolated(_loaded(tmp_path, text), "Tube", GEOMETRY)
    assert _dice(mask[10], _disc((12, 15), 12.0)) > 0.97


def test_what_grows_to_one_side_has_not_moved(tmp_path: Path) -> None:
    text = """\
case: made
structures:
  - name: Organ
    extent: complete
    sections:
      - {z: 0, polygon_yx: [[4.5, 4.5], [4.5, 24.5], [34.5, 24.5], [34.5, 4.5]]}
      - {z: 10, polygon_yx: [[4.5, 4.5], [4.5, 28.5], [34.5, 28.5], [34.5, 4.5]]}
"""
    mask = interpolated(_loaded(tmp_path, text), "Organ", GEOMETRY)
    for z in range(11):
        columns = np.flatnonzero(mask[z, 20])
        assert columns[0] == 5
        assert columns[-1] == pytest.approx(24 + 0.4 * z, abs=0.5 + 1e-9)


def test_a_turned_ellipse_and_a_polygon_are_where_they_were_drawn(tmp_path: Path) -> None:
    text = """\
case: made
structures:
  - name: Square
    extent: complete
    sections:
      - {z: 3, polygon_yx: [[9.5, 9.5], [9.5, 20.5], [15.5, 20.5], [15.5, 9.5]]}
      - {z: 4, polygon_yx: [[9.5, 9.5], [9.5, 20.5], [15.5, 20.5], [15.5, 9.5]]}
  - name: Oval
    extent: complete
    sections:
      - {z: 3, centre_yx: [20, 20], radii_mm: [16.1, 4.5], angle_degrees: 90}
      - {z: 4, centre_yx: [20, 20], radii_mm: [16.1, 4.5], angle_degrees: 90}
"""
    drawn = _loaded(tmp_path, text)
    square, oval = (interpolated(drawn, name, GEOMETRY) for name in ("Square", "Oval"))
    expected = np.zeros_like(square)
    expected[3:5, 10:16, 10:21] = True
    np.testing.assert_array_equal(square, expected)
    inside = np.argwhere(oval[3])
    assert tuple(inside.min(axis=0)) == (18, 10)  # 4.5 mm along y, 16.1 mm along x: 2.25 and 10.7 voxels
    assert tuple(inside.max(axis=0)) == (22, 30)


def test_parts_of_one_name_are_united(tmp_path: Path) -> None:
    other = TUBE.partition("structures:\n")[2].replace("12.0, 15.0", "12.0, 40.0").replace("28.0, 35.0", "28.0, 10.0")
    drawn = _loaded(tmp_path, TUBE + other.replace("between", "complete"))
    mask = interpolated(drawn, "Tube", GEOMETRY)
    assert mask[2, 12, 15]
    assert mask[2, 12, 40]
    assert drawn.names == ("Tube",)
    assert drawn.extent("Tube") is Extent.BETWEEN


def test_lung_within_an_outline_is_left_out_and_enclosed_air_kept(tmp_path: Path) -> None:
    hu = np.full(GEOMETRY.shape_zyx, 40, dtype=np.int16)
    hu[..., 20:] = -850  # lung
    hu[:, 12, 15] = -900  # a bubble
    drawn = _loaded(tmp_path, TUBE.replace("Tube", "Esophagus").replace("28.0, 35.0", "12.0, 15.0"))
    mask = drawn_masks(drawn, Volume(hu, GEOMETRY, Modality.CT))["Esophagus"]
    outlines = interpolated(drawn, "Esophagus", GEOMETRY)
    np.testing.assert_array_equal(mask[10, :, :19], outlines[10, :, :19])
    assert mask[10, 12, 15]
    assert not mask[..., 20:].any()


def test_a_canal_leaves_bone_out() -> None:
    hu = np.full(GEOMETRY.shape_zyx, 20, dtype=np.int16)
    hu[:, 20:] = 700
    mask = np.zeros(GEOMETRY.shape_zyx, dtype=bool)
    mask[5:8, 10:25, 10:20] = True
    kept = refined(mask, Volume(hu, GEOMETRY, Modality.CT), LIMITS["SpinalCanal"])
    np.testing.assert_array_equal(np.flatnonzero(kept.any(axis=(0, 2))), np.arange(10, 20))
    assert refined(mask, Volume(hu, GEOMETRY, Modality.CT), None) is mask
    assert not refined(mask, Volume(hu, GEOMETRY, Modality.CT), HuLimits(900.0, 1000.0)).any()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("radii_mm: [8.0, 8.0]}\n      - {z: 18", "radii_mm: [0, 8.0]}\n      - {z: 18", "above 0 mm"),
        (", radii_mm: [8.0, 8.0]}\n      - {z: 18", "}\n      - {z: 18", "centre_yx and radii_mm"),
        ("z: 18", "z: 2", "at least two slices"),
        ("[28.0, 35.0]", "[.nan, 35.0]", "finite"),
        ("centre_yx: [28.0, 35.0], radii_mm: [8.0, 8.0]", "polygon_yx: [[1, 2], [3, 4]]", "at least 3"),
        ("extent: between", "extent: all", "one of complete, between"),
        ("radii_mm: [8.0, 8.0]}\n      - {z: 18", "radii: [8.0, 8.0]}\n      - {z: 18", "radii"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TUBE
    with pytest.raises(ConfigError, match=r"made\.yaml: structures\[0\]") as error:
        _loaded(tmp_path, TUBE.replace(old, new))
    assert said in str(error.value)


def test_a_slice_beyond_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made: Tube z 21"):
        interpolated(_loaded(tmp_path, TUBE.replace("z: 18", "z: 21")), "Tube", GEOMETRY)
