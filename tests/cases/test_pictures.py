from dataclasses import replace

import cv2
import numpy as np

from contour.cases.pictures import (
    CONTEXT_RGB,
    REFERENCE_RGB,
    TEST_RGB,
    Layer,
    PictureOptions,
    central_point,
    comparison,
    three_planes,
    worst_point,
)
from contour.core.structures import Structure, cropped_to_content
from contour.core.volume import Volume
from contour.imaging.phantom import Phantom
from contour.imaging.scene import Pen, Scene


def pixels(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def amount(picture: np.ndarray, color_rgb: tuple[int, int, int]) -> int:
    return int(np.count_nonzero(np.abs(picture - color_rgb).max(axis=2) < 40))


def structure(thorax: Phantom, name: str) -> Structure:
    return next(s for s in thorax.structures.structures if s.name == name)


def moved(of: Structure, by_zyx: tuple[int, int, int]) -> Structure:
    z, y, x = (a + b for a, b in zip(of.offset_zyx, by_zyx, strict=True))
    return replace(of, offset_zyx=(z, y, x))


def test_both_outlines_show_in_their_colours(thorax: Phantom) -> None:
    heart = structure(thorax, "Heart")
    shown = pixels(comparison(Scene(thorax.volume), heart, moved(heart, (1, 3, 3))))
    assert shown.shape[0] == PictureOptions().height_px + 30
    assert amount(shown, REFERENCE_RGB) > 300
    assert amount(shown, TEST_RGB) > 300


def test_a_picture_takes_little_of_a_report(thorax: Phantom) -> None:
    heart = structure(thorax, "Heart")
    assert len(comparison(Scene(thorax.volume), heart, moved(heart, (1, 3, 3)))) < 150_000


def test_what_is_empty_or_out_of_focus_does_not_widen_the_picture(thorax: Phantom) -> None:
    scene, heart = Scene(thorax.volume), structure(thorax, "Heart")
    nothing = Structure("Heart", (0, 0, 0), heart.interpreted_type, np.zeros((0, 0, 0), bool), (0, 0, 0))
    assert amount(pixels(comparison(scene, heart, nothing)), REFERENCE_RGB) > 300
    point = central_point(heart.mask_zyx, heart.offset_zyx)
    alone = (Layer(heart, Pen(heart.color_rgb), "Heart"),)
    body = structure(thorax, "Body")
    beside = (*alone, Layer(body, Pen(CONTEXT_RGB), "Body", focus=False))
    assert pixels(three_planes(scene, alone, point)).shape == pixels(three_planes(scene, beside, point)).shape
    focused = (*alone, Layer(body, Pen(CONTEXT_RGB), "Body"))
    assert pixels(three_planes(scene, focused, point)).shape[1] != pixels(three_planes(scene, alone, point)).shape[1]


def test_the_picture_goes_where_the_difference_is() -> None:
    mask = np.zeros((9, 40, 40), bool)
    mask[2:8, 10:20, 10:20] = True
    other = mask.copy()
    other[5, 10:20, 20:30] = True  # a slice of its own
    reference, test = (
        Structure("A", (0, 0, 0), "ORGAN", m, o)  # type: ignore[arg-type]
        for m, o in (cropped_to_content(mask), cropped_to_content(other))
    )
    z, y, x = worst_point(reference, test)
    assert z == 5
    assert other[z, y, x]
    assert not mask[z, y, x]
    assert mask[worst_point(reference, reference)]


def test_a_point_of_a_ring_lies_in_the_ring() -> None:
    y, x = np.indices((40, 40)) - 20
    ring = (np.hypot(y, x) < 15) & (np.hypot(y, x) > 10)
    z, row, column = central_point(np.stack([np.zeros_like(ring), ring]), (4, 3, 2))
    assert (z, bool(ring[row - 3, column - 2])) == (5, True)


def test_the_picture_does_not_depend_on_how_the_image_is_stored(thorax: Phantom) -> None:
    heart, geometry = structure(thorax, "Heart"), thorax.volume.geometry
    point = central_point(heart.mask_zyx, heart.offset_zyx)
    straight = pixels(three_planes(Scene(thorax.volume), (Layer(heart, Pen((255, 0, 0)), "Heart"),), point))
    corner = [geometry.shape_zyx[0] - 1, 0, geometry.shape_zyx[2] - 1]
    z, y, x = geometry.axes_lps
    turned = replace(
        geometry,
        origin_lps_mm=tuple(geometry.index_to_lps_mm(corner).tolist()),
        axes_lps=(tuple(-v for v in z), y, tuple(-v for v in x)),
    )
    volume = Volume(np.ascontiguousarray(thorax.volume.voxels_zyx[::-1, :, ::-1]), turned, thorax.volume.modality)
    stop, shape = heart.box.stop_zyx, geometry.shape_zyx
    same = replace(
        heart,
        mask_zyx=heart.mask_zyx[::-1, :, ::-1],
        offset_zyx=(shape[0] - stop[0], heart.offset_zyx[1], shape[2] - stop[2]),
    )
    where = (shape[0] - 1 - point[0], point[1], shape[2] - 1 - point[2])
    shown = pixels(three_planes(Scene(volume), (Layer(same, Pen((255, 0, 0)), "Heart"),), where))
    assert np.mean(np.any(np.abs(shown - straight) > 8, axis=2)) < 0.01
