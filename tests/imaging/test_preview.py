from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from contour.core.structures import StructureSet
from contour.core.volume import Volume
from contour.imaging.phantom import Phantom
from contour.imaging.preview import PreviewOptions, write_preview


def picture(volume: Volume, structures: StructureSet, path: Path) -> np.ndarray:
    write_preview(volume, structures, path, PreviewOptions(title="Test", dots_per_inch=70))
    return cv2.imread(str(path))[:, :, ::-1]


def test_every_drawn_structure_shows_in_its_colour(thorax: Phantom, tmp_path: Path) -> None:
    shown = picture(thorax.volume, thorax.structures, tmp_path / "p.png").astype(int)
    assert shown.shape == (630, 1120, 3)
    slices = shown[:, :900]  # without the legend
    for structure in thorax.structures.structures:
        close = np.abs(slices - structure.color_rgb).max(axis=2) < 40
        assert np.count_nonzero(close) > 10, structure.name


def test_the_picture_does_not_depend_on_how_the_image_is_stored(thorax: Phantom, tmp_path: Path) -> None:
    straight = picture(thorax.volume, thorax.structures, tmp_path / "a.png")
    geometry = thorax.volume.geometry
    corner = [geometry.shape_zyx[0] - 1, 0, geometry.shape_zyx[2] - 1]
    z, y, x = geometry.axes_lps
    turned = replace(
        geometry,
        origin_lps_mm=tuple(geometry.index_to_lps_mm(corner).tolist()),
        axes_lps=(tuple(-v for v in z), y, tuple(-v for v in x)),
    )
    volume = Volume(np.ascontiguousarray(thorax.volume.voxels_zyx[::-1, :, ::-1]), turned, thorax.volume.modality)
    structures = []
    for s in thorax.structures.structures:
        stop, shape = s.box.stop_zyx, geometry.shape_zyx
        offset = (shape[0] - stop[0], s.offset_zyx[1], shape[2] - stop[2])
        structures.append(replace(s, mask_zyx=s.mask_zyx[::-1, :, ::-1], offset_zyx=offset))
    shown = picture(volume, StructureSet("X", turned, tuple(structures)), tmp_path / "b.png")
    assert np.mean(np.any(shown != straight, axis=2)) < 0.002


def test_nothing_drawn_still_makes_a_picture(thorax: Phantom, tmp_path: Path) -> None:
    empty = replace(thorax.structures, structures=())
    assert picture(thorax.volume, empty, tmp_path / "p.png").std() > 10
