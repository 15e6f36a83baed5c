import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import write_nifti
from scripts.thorax_ct.look import LabelMap, main, read_labels

GRID = Geometry.axial((8, 30, 40), (3.0, 2.0, 2.0), (-40.0, -30.0, 5.0), "1.2.3")
ELLIPSES = """
case: made
structures:
  - name: Esophagus
    extent: complete
    sections:
      - {z: 2, centre_yx: [15, 20], radii_mm: [8, 8]}
      - {z: 6, centre_yx: [15, 20], radii_mm: [8, 8]}
"""


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    path = tmp_path / "made.yaml"
    path.write_text(ELLIPSES)
    return path


@pytest.fixture
def volume() -> Volume:
    return Volume(np.full(GRID.shape_zyx, 30, dtype=np.int16), GRID, Modality.CT)


def test_points_outside_a_label_map_lie_in_no_structure() -> None:
    label_map = LabelMap(
        {"Heart": np.ones((2, 2, 2), dtype=bool)}, Geometry.axial((2, 2, 2), (1, 1, 1), (0, 0, 0), "1")
    )
    assert label_map.at("Heart", np.array([[1.0, 1.0, 1.0], [5.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])).tolist() == [
        True,
        False,
        False,
    ]


def test_a_drawing_is_read_as_its_masks(drawing: Path, volume: Volume) -> None:
    label_map = read_labels(drawing, volume)
    centre = GRID.index_to_lps_mm([[4, 15, 20], [4, 15, 26], [1, 15, 20]])
    assert label_map.at("Esophagus", centre).tolist() == [True, False, False]


@pytest.mark.parametrize(("view", "width_mm"), [("axial", 80.0), ("sagittal", 60.0)])
def test_the_picture_holds_a_tile_at_its_scale(
    tmp_path: Path, drawing: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch, view: str, width_mm: float
) -> None:
    image, out = tmp_path / "image.nii.gz", tmp_path / "out.png"
    write_nifti(volume.voxels_zyx, GRID, image)
    options = ["--view", view, "--slices", "4", "--rows", "0:40", "--columns", "0:40", "--labels", str(drawing)]
    monkeypatch.setattr(sys, "argv", ["look", str(image), str(out), *options])
    main()
    with Image.open(out) as picture:
        assert picture.width == pytest.approx(3.0 * width_mm, abs=2)
        assert len({tuple(p) for p in np.asarray(picture.convert("RGB")).reshape(-1, 3)}) > 20
