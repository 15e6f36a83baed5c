"""Is what was written what was drawn? The proof that an RTSTRUCT passes before it is released.

The file is read back by the reading path, which shares no code with the writing one; its contours are placed in the
patient, filled, and held against the masks: voxel by voxel, and point by point against the surface between inside and
outside, which finds shifts far below a voxel.
"""

from collections.abc import Iterator
from pathlib import Path

import cc3d
import numpy as np
import pydicom
from numpy.typing import NDArray

from contour.core.errors import InputRefused
from contour.core.geometry import Box, Geometry
from contour.core.report import Severity
from contour.core.structures import Mask, Structure, cropped_to_content
from contour.dicom.rtstruct_check import check_contents
from contour.dicom.rtstruct_contents import RoiContours, RtstructContents
from contour.dicom.rtstruct_parse import read_contours
from contour.dicom.rtstruct_read import place_contours
from contour.dicom.series import ImageSeries
from contour.imaging.contours import TraceOptions
from contour.imaging.rasterise import rasterise

WRITTEN_PRECISION_MM = 0.001  # coordinates have three decimals, so a point is at most sqrt(3) / 2 of this off
POSITION_TOLERANCE_MM = 0.01


def prove_rtstruct(
    path: Path, structures: tuple[Structure, ...], series: ImageSeries, traces: tuple[TraceOptions, ...]
) -> tuple[str, ...]:
    """What differs between the file at `path` and `structures` on `series`, one sentence each; empty if nothing does.

    `traces` tell for each structure by how much its contours may rightly leave the exact surface of its mask.
    A file that cannot be read back differs, too.
    """
    try:
        contents = read_contours(path)
    except InputRefused as refused:
        return (f"cannot be read back: {refused}",)
    differences = [f.message for f in check_contents(contents, series) if f.severity is Severity.STOP]
    differences += _identity_differences(contents, series)
    differences += _slice_file_differences(series)
    written, drawn = [roi.name for roi in contents.rois], [structure.name for structure in structures]
    if written != drawn:
        return (*differences, f"the file holds the ROIs {written}; drawn were {drawn}")
    for roi, structure, trace in zip(contents.rois, structures, traces, strict=True):
        observation, contours = contents.observation_of(roi.number), contents.contours_of(roi.number)
        if observation is None or observation.interpreted_type != structure.interpreted_type.value:
            differences.append(f"{structure.name}: interpreted type is not {structure.interpreted_type.value!r}")
        if contours is None or contours.color_rgb != structure.color_rgb:
            differences.append(f"{structure.name}: colour is not {structure.color_rgb}")
        if contours is not None:
            differences += contour_differences(contours, structure, series.volume.geometry, trace)
    return tuple(differences)


def contour_differences(
    contours: RoiContours, structure: Structure, geometry: Geometry, trace: TraceOptions
) -> list[str]:
    """What differs between contours in the patient and a mask on `geometry`: volume, slices, sides, holes, surface."""
    placed = place_contours(contours, geometry)
    inside = (placed.slice_indices >= 0) & (placed.slice_indices < geometry.shape_zyx[0])
    if not inside.all():
        return [f"{structure.name}: {np.count_nonzero(~inside)} contours lie outside the image's slices"]
    polygons = placed.polygons(np.ones(len(contours), dtype=bool))
    mask, offset = rasterise(polygons, geometry.shape_zyx[1:], structure.mask_zyx)
    reach_mm = trace.smoothing_mm + trace.decimation_mm
    differences = list(_mask_differences(structure, mask, offset, geometry, reach_mm))
    slices = np.repeat(placed.slice_indices, contours.point_counts).astype(np.float64)
    indices = np.column_stack((slices, polygons.points_yx))
    return differences + list(_surface_differences(structure, indices, geometry, trace))


def _identity_differences(contents: RtstructContents, series: ImageSeries) -> Iterator[str]:
    identity = series.identity
    pairs = (
        ("Patient's Birth Date", contents.patient_birth_date, identity.patient_birth_date),
        ("Patient's Sex", contents.patient_sex, identity.patient_sex),
        ("Approval Status", contents.approval_status, "UNAPPROVED"),
    )
    for name, found, allowed in pairs:
        if found != allowed.strip():
            yield f"{name} was not written as {'the images have it' if name != 'Approval Status' else allowed}"
    listed = tuple(uid for reference in contents.references for uid in reference.sop_instance_uids)
    if listed != series.sop_instance_uids:
        yield "the images listed are not the slices of the series, in their order"


def _slice_file_differences(series: ImageSeries) -> Iterator[str]:
    """Does the geometry put the first, middle and last slice where their files do? PS3.3 C.7.6.2.1.1.

    A series that was made in memory has no files, and a multi-frame image no position of its own to compare.
    """
    geometry = series.volume.geometry
    rows, columns = geometry.shape_zyx[1] - 1, geometry.shape_zyx[2] - 1
    tags = ["SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    for z in sorted({0, len(series.files) // 2, len(series.files) - 1}) if series.files else ():
        header = pydicom.dcmread(series.files[z], stop_before_pixels=True, specific_tags=tags)
        if "ImagePositionPatient" not in header:
            continue
        position = np.array(header.ImagePositionPatient, dtype=float)
        along_row, along_column = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        between_rows, between_columns = (float(v) for v in header.PixelSpacing)
        corners = position + np.array(
            [np.zeros(3), along_row * between_columns * columns, along_column * between_rows * rows]
        )
        ours = geometry.index_to_lps_mm([(z, 0, 0), (z, 0, columns), (z, rows, 0)])
        apart = float(np.linalg.norm(ours - corners, axis=1).max())
        if header.SOPInstanceUID != series.sop_instance_uids[z]:
            yield f"slice {z} is not the image that its file {series.files[z].name} holds"
        allowed_mm = POSITION_TOLERANCE_MM + series.off_grid_mm  # what reading found and reported
        if apart > allowed_mm:
            yield f"slice {z} lies {apart:.3f} mm from where its file puts it; allowed: {allowed_mm:.3f} mm"


def _mask_differences(
    structure: Structure, mask_zyx: Mask, offset_zyx: tuple[int, int, int], geometry: Geometry, reach_mm: float
) -> Iterator[str]:
    if structure.offset_zyx == offset_zyx and np.array_equal(structure.mask_zyx, mask_zyx):
        return
    drawn, start = cropped_to_content(structure.mask_zyx, structure.offset_zyx)
    if start == offset_zyx and drawn.shape == mask_zyx.shape and np.array_equal(drawn, mask_zyx):
        return
    name = structure.name
    if mask_zyx.size == 0:
        yield f"{name}: no voxel lies inside the contours that were read back"
        return
    box = Box(start, _stop(start, drawn)).joined(Box(offset_zyx, _stop(offset_zyx, mask_zyx)))
    ours, theirs = _in_box(drawn, start, box), _in_box(mask_zyx, offset_zyx, box)
    wrong = (ours != theirs) & ~_near_border(ours, reach_mm, geometry)
    if not wrong.any():
        return
    ml = geometry.voxel_ml
    yield (
        f"{name}: volume {np.count_nonzero(theirs) * ml:.3f} ml read back, {np.count_nonzero(ours) * ml:.3f} ml drawn, "
        f"{np.count_nonzero(wrong)} voxels differ beyond {reach_mm:.2f} mm of the surface"
    )
    yield from _explanations(name, (drawn, start), (mask_zyx, offset_zyx))
    with_ours, with_theirs = ours.any(axis=(1, 2)), theirs.any(axis=(1, 2))
    for slices, what in ((with_ours & ~with_theirs, "lost"), (with_theirs & ~with_ours, "added")):
        if slices.any():
            yield f"{name}: slices {what}: {[int(z) + box.start_zyx[0] for z in np.flatnonzero(slices)]}"
    filled = [int(z) + box.start_zyx[0] for z in np.flatnonzero(with_ours) if _hole_was_filled(ours[z], theirs[z])]
    if filled:
        yield f"{name}: holes lost on slices {filled}"


def _explanations(
    name: str, drawn: tuple[Mask, tuple[int, int, int]], read: tuple[Mask, tuple[int, int, int]]
) -> Iterator[str]:
    """A shift by whole voxels, or a reflection."""
    if drawn[0].shape != read[0].shape:
        return
    if np.array_equal(drawn[0], read[0]):
        shift = tuple(b - a for a, b in zip(drawn[1], read[1], strict=True))
        yield f"{name}: shifted by {shift} voxels along z, y, x"
        return
    for axis, along in enumerate(("slices", "rows", "columns")):
        if np.array_equal(np.flip(drawn[0], axis), read[0]):
            yield f"{name}: mirrored along the {along}"


def _surface_differences(
    structure: Structure, indices_zyx: NDArray[np.float64], geometry: Geometry, trace: TraceOptions
) -> Iterator[str]:
    """Each point of a contour stands between an inside and an outside voxel centre, half-way unless smoothing moved it.

    There the mask, as a function interpolated linearly between voxel centres of the slice, is 0.5.
    """
    if indices_zyx.size == 0:
        return
    finest_mm = min(geometry.spacing_zyx_mm[1:])
    off_mm = np.abs(_interpolated(structure, indices_zyx) - 0.5) * finest_mm
    allowed_mm = trace.smoothing_mm * max(geometry.spacing_zyx_mm[1:]) / finest_mm + 2 * WRITTEN_PRECISION_MM
    worst = float(off_mm.max())
    if worst > allowed_mm:
        yield (
            f"{structure.name}: {np.count_nonzero(off_mm > allowed_mm)} of {off_mm.size} points lie off the surface of "
            f"the mask, by up to {worst:.3f} mm, {float(off_mm.mean()):.3f} mm on average; allowed: {allowed_mm:.3f} mm"
        )


def _interpolated(structure: Structure, indices_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mask between voxel centres of a slice, linear along rows and columns; 0 outside."""
    z = np.rint(indices_zyx[:, 0]).astype(np.intp) - structure.offset_zyx[0]
    y, x = (indices_zyx[:, axis] - structure.offset_zyx[axis] for axis in (1, 2))
    row, column = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    down, right = y - row, x - column
    upper = _values(structure.mask_zyx, z, row, column) * (1 - right)
    upper += _values(structure.mask_zyx, z, row, column + 1) * right
    lower = _values(structure.mask_zyx, z, row + 1, column) * (1 - right)
    lower += _values(structure.mask_zyx, z, row + 1, column + 1) * right
    return np.asarray(upper * (1 - down) + lower * down)


def _values(mask_zyx: Mask, z: NDArray[np.intp], y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The mask at voxels that may lie outside of it, where it is false."""
    depth, height, width = mask_zyx.shape
    there = (z >= 0) & (z < depth) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flat = np.where(there, (z * height + y) * width + x, 0)
    return np.asarray(there & np.take(mask_zyx.reshape(-1), flat))


def _near_border(mask_zyx: Mask, reach_mm: float, geometry: Geometry) -> Mask:
    """Voxels whose centre a contour that moves by `reach_mm` within its slice can pass; none for 0 mm.

    Contours cut the corners of voxels at 45 degrees, where a centre is only half a voxel over the root of 2 away.
    """
    rows, columns = (int(np.floor(reach_mm * np.sqrt(2) / mm + 0.5)) for mm in geometry.spacing_zyx_mm[1:])
    low = high = np.pad(mask_zyx, ((0, 0), (rows, rows), (columns, columns)))  # beyond its box all is outside
    for axis, steps in ((1, rows), (2, columns)):
        for _ in range(steps):
            low, high = _least_of_neighbours(low, axis), ~_least_of_neighbours(~high, axis)
    near = high & ~low
    return near[:, rows : near.shape[1] - rows, columns : near.shape[2] - columns]


def _least_of_neighbours(mask_zyx: Mask, axis: int) -> Mask:
    ahead, behind = mask_zyx.copy(), mask_zyx.copy()
    there, here = [slice(None)] * 3, [slice(None)] * 3
    there[axis], here[axis] = slice(1, None), slice(None, -1)
    ahead[tuple(here)] = mask_zyx[tuple(there)]
    behind[tuple(there)] = mask_zyx[tuple(here)]
    return mask_zyx & ahead & behind


def _hole_was_filled(ours_yx: Mask, theirs_yx: Mask) -> bool:
    """Whether a whole hole of `ours` is inside `theirs`."""
    regions = cc3d.connected_components(~np.pad(ours_yx, 1), connectivity=4)
    added = np.pad(theirs_yx & ~ours_yx, 1)
    sizes, filled = np.bincount(regions.ravel()), np.bincount(regions[added], minlength=int(regions.max()) + 1)
    return bool(np.any((sizes[2:] == filled[2:]) & (sizes[2:] > 0)))  # 0 is the mask, 1 the outside at the first corner


def _stop(start: tuple[int, int, int], mask_zyx: Mask) -> tuple[int, int, int]:
    z, y, x = (a + n for a, n in zip(start, mask_zyx.shape, strict=True))
    return z, y, x


def _in_box(mask_zyx: Mask, start: tuple[int, int, int], box: Box) -> Mask:
    whole = np.zeros(box.shape_zyx, dtype=bool)
    z, y, x = (a - b for a, b in zip(start, box.start_zyx, strict=True))
    whole[z : z + mask_zyx.shape[0], y : y + mask_zyx.shape[1], x : x + mask_zyx.shape[2]] = mask_zyx
    return whole
