"""The image itself: is it what a package was trained on, and is there a patient in it?"""

import numpy as np

from contour.core.errors import InputRefused, Reason
from contour.core.report import Finding, Severity
from contour.core.structures import Mask
from contour.core.volume import Modality, Volume
from contour.imaging.body import coarse_body
from contour.imaging.preprocess import canonical_axes, to_canonical

MIN_BODY_ML = 20.0
MAX_SLICE_MM = 5.0
MAX_LENGTH_MM = 2500.0  # a tall patient from head to foot
MAX_VOLUME_ML = 2.5e6  # that, and a metre wide and deep
SOFT_TISSUE_HU = (-300.0, 300.0)  # fat to enhanced vessels
MEDIAN_HU = (-150.0, 150.0)  # of soft tissue in any part of an adult body
DENSE_HU = 700.0  # cortical bone and metal, a small part of any image


def check_image(volume: Volume) -> tuple[Finding, ...]:
    """Findings on `volume` as a whole.

    Raises:
        InputRefused: the image is larger than any patient, has values that are not numbers, holds no body, or is a CT
            whose values cannot be HU.
    """
    _refuse_beyond_patients(volume)
    _refuse_without_numbers(volume)
    body, thinning = coarse_body(volume)
    _refuse_without_body(body, volume, thinning)
    findings = []
    if volume.modality is Modality.CT:
        _refuse_without_hu(body, volume, thinning)
    order, _ = canonical_axes(volume.geometry)
    thickness = volume.geometry.spacing_zyx_mm[0]
    if thickness > MAX_SLICE_MM:
        message = f"Slices are {thickness:g} mm apart; above {MAX_SLICE_MM:g} mm small structures are unreliable."
        findings.append(Finding("thick-slices", Severity.CHECK, message))
    if order[0] != 0:
        message = "Slices are not axial; the drawings were made on them all the same."
        findings.append(Finding("not-axial", Severity.INFO, message))
    return tuple(findings)


def _refuse_beyond_patients(volume: Volume) -> None:
    """A grid beyond any patient has a wrong spacing: structures would have wrong sizes, and resampling no memory."""
    lengths_mm = [n * mm for n, mm in zip(volume.geometry.shape_zyx, volume.geometry.spacing_zyx_mm, strict=True)]
    if max(lengths_mm) > MAX_LENGTH_MM or float(np.prod(lengths_mm)) / 1000 > MAX_VOLUME_ML:
        found = " x ".join(f"{length:.4g}" for length in lengths_mm) + " mm (z, y, x)"
        allowed = f"at most {MAX_LENGTH_MM:g} mm, and {MAX_VOLUME_ML / 1000:g} litres"
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image size", found, allowed)


def _refuse_without_numbers(volume: Volume) -> None:
    values = volume.voxels_zyx
    # Both ends are nan where any value is; no copy of the image is made.
    if values.dtype.kind == "f" and not np.isfinite([values.min(), values.max()]).all():
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image values", "nan or infinity", "finite values")


def _refuse_without_body(body_zyx: Mask, volume: Volume, thinning_zyx: tuple[int, int, int]) -> None:
    body_ml = float(np.count_nonzero(body_zyx)) * volume.geometry.voxel_ml * float(np.prod(thinning_zyx))
    if body_ml < MIN_BODY_ML:
        found = f"{body_ml:.0f} ml of body"
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image", found, f"a patient of at least {MIN_BODY_ML:g} ml")


def _refuse_without_hu(body_zyx: Mask, volume: Volume, thinning_zyx: tuple[int, int, int]) -> None:
    """Soft tissue has its own HU in everybody: values that miss it were not rescaled, or are not a CT's."""
    z, y, x = thinning_zyx
    inside = to_canonical(volume.voxels_zyx, volume.geometry)[::z, ::y, ::x][body_zyx].astype(np.float32)
    low, high = SOFT_TISSUE_HU
    soft = inside[(inside > low) & (inside < high)]
    allowed = f"HU: a tenth of the body or more from {low:g} to {high:g}, median {MEDIAN_HU[0]:g} to {MEDIAN_HU[1]:g}"
    if soft.size < 0.1 * inside.size:
        found = f"{100 * soft.size / inside.size:.1f} % of the body between {low:g} and {high:g} HU"
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image values", found, allowed)
    dense = float(np.mean(inside > DENSE_HU))
    if dense > 0.2:
        found = f"{100 * dense:.0f} % of the body above {DENSE_HU:g} HU, as without the rescale intercept"
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image values", found, allowed)
    median = float(np.median(soft))
    if not MEDIAN_HU[0] <= median <= MEDIAN_HU[1]:
        raise InputRefused(Reason.IMPLAUSIBLE_IMAGE, "image values", f"soft tissue at {median:.0f} HU", allowed)
