"""From slices to one regular grid, by position and orientation alone: PS3.3 C.7.6.2.1.1.

SliceThickness, SpacingBetweenSlices, SliceLocation, InstanceNumber and PatientPosition are never asked. A grid is
accepted only if every slice lies where the grid says, within `POSITION_TOLERANCE_MM`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Geometry
from contour.core.report import Finding, Severity
from contour.dicom.slice_header import SliceHeader

# IHE-RO BRTO asks for slices within 0.01 mm of even spacing. Scanners that write positions with one decimal (1.25 mm
# spacing as 1.2, 1.3, ...) are off by up to 0.05 mm from a grid that is even in truth. 0.1 mm admits them and is a
# tenth of the smallest distance that matters in treatment; what exceeds IHE-RO's figure is reported. In thin slices
# a tenth of the spacing is the limit, so that no slice could be mistaken for its neighbour.
POSITION_TOLERANCE_MM = 0.1
POSITION_TOLERANCE_OF_SPACING = 0.1
IHE_RO_TOLERANCE_MM = 0.01

# Cosines written with four decimals, the coarsest in use, leave lengths and right angles off by up to 1.2e-4.
ORIENTATION_TOLERANCE = 3e-4
PIXEL_SPACING_TOLERANCE_MM = 1e-4
TILT_TAG_TOLERANCE_DEGREES = 0.1
MIN_SLICES = 2


@dataclass(frozen=True)
class Stack:
    """Slices in the order of the grid's z index, how far they lie off it at most, and what deserves a look."""

    slices: tuple[SliceHeader, ...]
    geometry: Geometry
    off_grid_mm: float
    findings: tuple[Finding, ...]


def arrange(slices: Sequence[SliceHeader]) -> Stack:
    """The slices sorted along their normal, on the grid they form.

    The z axis points along the cross product of the row and column directions, y along the columns (growing row
    index), x along the rows.

    Raises:
        InputRefused: the slices belong to more than one patient, study, frame of reference, matrix or orientation;
            two share a position; planes are sheared (gantry tilt), one is missing, or spacing is uneven.
    """
    if len(slices) < MIN_SLICES:
        names = ", ".join(s.name for s in slices) or "the series"
        raise InputRefused(Reason.TOO_FEW_SLICES, names, f"{len(slices)} slice(s)", f"at least {MIN_SLICES}")
    _check_one_series(slices)
    axes = _axes(slices[0])
    positions = np.array([s.position_lps_mm for s in slices])
    order = np.argsort(positions @ axes[0], kind="stable")
    ordered = tuple(slices[i] for i in order)
    positions = positions[order]
    offsets = (positions - positions[0]) @ axes[0]
    _check_no_duplicates(ordered, offsets)
    _check_no_shear(ordered, positions, axes[0])
    start, spacing = _even_spacing(ordered, offsets)
    origin = positions[0] + start * axes[0] if abs(start) > 1e-6 else positions[0]
    geometry = Geometry(
        shape_zyx=(len(ordered), *ordered[0].shape_yx),
        spacing_zyx_mm=(spacing, *ordered[0].pixel_spacing_yx_mm),
        origin_lps_mm=_vector(origin),
        axes_lps=(_vector(axes[0]), _vector(axes[1]), _vector(axes[2])),
        frame_of_reference_uid=ordered[0].frame_of_reference_uid,
    )
    off_grid_mm = _off_grid_mm(geometry, positions)
    findings = _tilt_findings(ordered) + _rounding_findings(geometry, off_grid_mm)
    return Stack(ordered, geometry, float(off_grid_mm.max()), findings)


def describe_position(header: SliceHeader) -> str:
    """A slice as messages call it: the file and where its first voxel lies."""
    x, y, z = header.position_lps_mm
    return f"{header.name} at ({x:g}, {y:g}, {z:g}) mm"


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(v) + 0.0 for v in values)  # + 0.0 turns -0.0 into 0.0
    return x, y, z


def _check_one_series(slices: Sequence[SliceHeader]) -> None:
    first = slices[0]
    for other in slices[1:]:
        differs = _difference(first, other)
        if differs is not None:
            what, ours, theirs = differs
            alike = sum(_difference(first, s) is None for s in slices)
            where = f"{first.name} and {other.name}"
            found = f"{what} differs: {ours} and {theirs} ({alike} of {len(slices)} slices are like the first)"
            raise InputRefused(
                Reason.MIXED_SERIES, where, found, "one patient, frame of reference, matrix, orientation"
            )


def _difference(a: SliceHeader, b: SliceHeader) -> tuple[str, str, str] | None:
    """What forbids that two slices share a volume: (what, of a, of b)."""
    for what, ours, theirs in (
        ("SOP class", a.sop_class_uid, b.sop_class_uid),
        ("study", a.study_instance_uid, b.study_instance_uid),
        ("frame of reference", a.frame_of_reference_uid, b.frame_of_reference_uid),
        ("matrix", a.shape_yx, b.shape_yx),
        ("rescale type", a.rescale_type, b.rescale_type),
    ):
        if ours != theirs:
            return what, str(ours), str(theirs)
    if a.patient != b.patient:
        return "patient", "one name and ID", "another"  # never a name in a message
    if np.abs(np.subtract(a.pixel_spacing_yx_mm, b.pixel_spacing_yx_mm)).max() > PIXEL_SPACING_TOLERANCE_MM:
        return "pixel spacing", str(a.pixel_spacing_yx_mm), str(b.pixel_spacing_yx_mm)
    cosines = a.row_direction_lps + a.column_direction_lps, b.row_direction_lps + b.column_direction_lps
    if np.abs(np.subtract(*cosines)).max() > ORIENTATION_TOLERANCE:
        return "orientation", str(cosines[0]), str(cosines[1])
    return None


def _axes(header: SliceHeader) -> NDArray[np.float64]:
    """(3, 3) unit vectors: normal, column direction, row direction; made orthogonal where rounding left them short."""
    row = np.array(header.row_direction_lps)
    column = np.array(header.column_direction_lps)
    off = float(np.abs([row @ row - 1, column @ column - 1, row @ column]).max())
    if off > ORIENTATION_TOLERANCE:
        found = f"ImageOrientationPatient (0020,0037) is off unit length (squared) or right angles by {off:.2g}"
        raise InputRefused(Reason.INVALID_ATTRIBUTE, header.name, found, f"at most {ORIENTATION_TOLERANCE:g}")
    # The symmetric share of the correction: neither direction is trusted more than the other.
    row, column = row - column * (row @ column) / 2, column - row * (row @ column) / 2
    row /= np.linalg.norm(row)
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.stack([np.cross(row, column), column, row])


def _check_no_duplicates(slices: Sequence[SliceHeader], offsets: NDArray[np.float64]) -> None:
    same = np.flatnonzero(np.diff(offsets) <= IHE_RO_TOLERANCE_MM)
    if same.size == 0:
        return
    first, second = slices[same[0]], slices[same[0] + 1]
    found = f"{same.size} slice(s) share the position of another; the first is {describe_position(first)}"
    differing = [
        f"{label} {ours!r} and {theirs!r}"
        for (label, ours), (_, theirs) in zip(first.phase, second.phase, strict=True)
        if ours != theirs
    ]
    if differing:
        found += "; they differ in " + ", ".join(differing)
    allowed = "one slice at a position; name the series, or separate phases, echoes and repeats first"
    raise InputRefused(Reason.DUPLICATE_POSITION, f"{first.name} and {second.name}", found, allowed)


def _check_no_shear(slices: Sequence[SliceHeader], positions: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Every slice must start on one line along the normal."""
    moved = positions - positions[0]
    along = moved @ normal
    drift = moved - along[:, None] * normal
    worst = int(np.argmax(np.linalg.norm(drift, axis=1)))
    if np.linalg.norm(drift[worst]) <= POSITION_TOLERANCE_MM:
        return
    shear = (along @ drift) / (along @ along)
    unexplained = np.linalg.norm(drift - along[:, None] * shear, axis=1)
    if unexplained.max() <= POSITION_TOLERANCE_MM:
        degrees = np.degrees(np.arctan(np.linalg.norm(shear)))
        found = f"slices are sheared by {degrees:.2f} degrees against their normal (stated tilt: {_tilt(slices):g})"
        where = f"{slices[0].name} to {slices[-1].name}"
        raise InputRefused(Reason.GANTRY_TILT, where, found, "slices stacked along their normal")
    worst = int(np.argmax(unexplained))
    found = f"lies {np.linalg.norm(drift[worst]):.2f} mm off the line of the other slices"
    allowed = f"at most {POSITION_TOLERANCE_MM} mm"
    raise InputRefused(Reason.INCONSISTENT_POSITIONS, describe_position(slices[worst]), found, allowed)


def _tilt(slices: Sequence[SliceHeader]) -> float:
    return max((s.tilt_degrees for s in slices), key=abs)


def _tilt_findings(slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """A stated tilt on straight slices: a leftover in images that were rectified, a contradiction in originals."""
    tilt = _tilt(slices)
    if abs(tilt) <= TILT_TAG_TOLERANCE_DEGREES:
        return ()
    if not all(s.derived for s in slices):
        found = f"GantryDetectorTilt (0018,1120) is {tilt:g} degrees, but positions and orientation show none"
        where = f"{slices[0].name} to {slices[-1].name}"
        raise InputRefused(Reason.GANTRY_TILT, where, found, "no tilt, or derived images that were rectified")
    message = f"A gantry tilt of {tilt:g} degrees is stated for derived images whose slices are straight."
    return (Finding("tilt-stated", Severity.CHECK, message),)


def _even_spacing(slices: Sequence[SliceHeader], offsets: NDArray[np.float64]) -> tuple[float, float]:
    """(offset of the first grid plane, spacing) in mm of the evenly spaced planes nearest to the slices."""
    gaps = np.diff(offsets)
    typical = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance = min(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_SPACING * typical)
    indices = np.arange(len(offsets))
    centred = indices - indices.mean()
    spacing = float(centred @ offsets / (centred @ centred))
    start = float(offsets.mean() - spacing * indices.mean())
    if np.abs(offsets - (start + spacing * indices)).max() <= tolerance:
        return start, spacing
    raise _gap_refused(slices, gaps, typical, tolerance)


def _gap_refused(
    slices: Sequence[SliceHeader], gaps: NDArray[np.float64], typical: float, tolerance: float
) -> InputRefused:
    """A missing slice where every gap is a multiple of the typical one, else uneven spacing."""
    multiples = np.rint(gaps / typical)
    whole = np.abs(gaps - multiples * typical) <= tolerance * np.maximum(multiples, 1)
    wide = np.flatnonzero(multiples >= 2)
    allowed = f"even spacing within {tolerance:.3g} mm, measured along the normal"
    if wide.size and whole.all():
        missing = int(multiples[wide].sum()) - len(wide)
        places = [
            f"{int(multiples[i]) - 1} between {describe_position(slices[i])} and {describe_position(slices[i + 1])}"
            for i in wide[:5]
        ]
        found = f"{missing} slice(s) missing at a spacing of {typical:g} mm: " + "; ".join(places)
        return InputRefused(Reason.MISSING_SLICE, "the series", found, allowed)
    worst = int(np.argmax(np.abs(gaps - typical)))
    where = f"between {describe_position(slices[worst])} and {describe_position(slices[worst + 1])}"
    found = f"a gap of {gaps[worst]:.4g} mm among gaps of {gaps.min():.4g} to {gaps.max():.4g} mm"
    return InputRefused(Reason.UNEVEN_SPACING, where, found, allowed)


def _off_grid_mm(geometry: Geometry, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    indices = np.zeros((len(positions), 3))
    indices[:, 0] = np.arange(len(positions))
    off: NDArray[np.float64] = np.linalg.norm(geometry.index_to_lps_mm(indices) - positions, axis=1)
    return off


def _rounding_findings(geometry: Geometry, off_grid_mm: NDArray[np.float64]) -> tuple[Finding, ...]:
    if off_grid_mm.max() <= IHE_RO_TOLERANCE_MM:
        return ()
    message = (
        f"Slices lie up to {off_grid_mm.max():.3f} mm off an even grid of {geometry.spacing_zyx_mm[0]:.4g} mm"
        f" (IHE-RO: {IHE_RO_TOLERANCE_MM} mm; accepted up to {POSITION_TOLERANCE_MM} mm)."
    )
    return (Finding("positions-rounded", Severity.INFO, message, slices=(int(np.argmax(off_grid_mm)),)),)
