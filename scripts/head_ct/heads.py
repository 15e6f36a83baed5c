"""Whole heads as tissue codes: label maps of the head, and those of two raters completed by what they leave out.

A rater's label map knows organs and neither skull nor skin. A whole head, registered to it by what both know (the
inside of the skull, the eyes, brainstem and cord), lends it bones, air, mucosa, muscles and skin; below the head, the
hull of what is labelled is the body, with a ring of bone around the canal and an airway before it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from contour.core.geometry import Box, Geometry
from contour.core.structures import Mask
from contour.imaging.nifti import read_nifti_array, to_sitk
from contour.imaging.preprocess import canonical_geometry, to_canonical
from contour.training.appearance import SynthesisConfig
from contour.training.prepared import resample_labels
from contour.training.tissue_maps import TissueSource, tissue_codes

FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
REGISTRATION_MM = 4.0
ORBIT_FAT_MM = 9.0
JAW_MM = 12.0  # around a rater's mandible no other bone of a borrowed head may lie
CANAL_BONE_MM = 9.0
AIRWAY_MM = (14.0, 9.0)  # in front of the canal's ring, and its radius
PETROUS_MM = 4.0
ROOM_MM = 45.0  # beside, before and behind a rater's label map, which ends where the labels do
BELOW_BRAIN_MM = 200.0  # of a rater's label map: the rest is chest
LENT_BELOW_BRAIN_MM = 70.0
FACE_SKIN_MM = 7.0  # over jaw and glands
NECK_MM = (62.0, 58.0)  # half the width and half the depth of a neck
SHOULDERS_MM = 190.0  # half their width
SLOPE_MM = 60.0  # above the tips of the lungs, along which the neck widens into the shoulders

# What each label of a whole head is made of. What no line names is soft tissue: fat or muscle, as chance has it.
HEAD_TISSUES = {
    "Brain": "brain", "Brainstem": "brain", "Hippocampus_L": "brain", "Hippocampus_R": "brain",
    "Amygdala_L": "brain", "Amygdala_R": "brain", "Cerebellum_L": "brain", "Cerebellum_R": "brain",
    "Thalamus_L": "brain", "Thalamus_R": "brain", "OpticChiasm": "nerve", "Ventricles": "csf", "CSF": "csf",
    "Eye_L": "eye", "Eye_R": "eye", "OpticNrv_L": "nerve", "OpticNrv_R": "nerve", "SpinalCord": "cord",
    "Bone_Cortical": "bone_shell", "Bone_Cancellous": "bone_spongy", "Skin": "skin", "Mucosa": "mucosa",
    "RectusMuscles": "muscle", "Artery": "vessel", "Vein": "vessel",
}  # fmt: skip
INSIDE_SKULL = (
    "Brain", "Hippocampus_L", "Hippocampus_R", "Amygdala_L", "Amygdala_R", "Cerebellum_L", "Cerebellum_R",
    "Thalamus_L", "Thalamus_R", "Ventricles", "CSF",
)  # fmt: skip
KEPT_INSIDE = ("OpticChiasm", "OpticNrv_L", "OpticNrv_R")
HIND_BRAIN = ("Brainstem", "Cerebellum_L", "Cerebellum_R")

# The raters' names, and what their organs are made of; what lies inside another organ comes later.
RATER_NAMES = {
    "Brain": "Brain", "Brainstem": "Brainstem", "Spinal_Canal": "SpinalCanal", "Spinal_Cord": "SpinalCord",
    "Mandible": "Mandible", "Parotid_L": "Parotid_L", "Parotid_R": "Parotid_R", "Submandibular_L": "Glnd_Submand_L",
    "Submandibular_R": "Glnd_Submand_R", "Orbit_L": "Eye_L", "Orbit_R": "Eye_R", "Optic_Nerve_L": "OpticNrv_L",
    "Optic_Nerve_R": "OpticNrv_R", "Lens_L": "Lens_L", "Lens_R": "Lens_R", "Lacrimal_L": "Glnd_Lacrimal_L",
    "Lacrimal_R": "Glnd_Lacrimal_R", "Cochlea_L": "Cochlea_L", "Cochlea_R": "Cochlea_R", "Lung_L": "Lung_L",
    "Lung_R": "Lung_R",
}  # fmt: skip
RATER_SOURCES = (
    TissueSource("brain", ("Brain",)),
    TissueSource("csf", ("SpinalCanal",)),
    TissueSource("cord", ("SpinalCord",)),
    TissueSource("bone_spongy", ("Mandible", "Vertebrae"), bone=True),
    TissueSource("gland", ("Parotid", "Glnd")),
    TissueSource("eye", ("Eye",)),
    TissueSource("lens", ("Lens",)),
    TissueSource("nerve", ("OpticNrv",)),
    TissueSource("cochlea", ("Cochlea",)),
    TissueSource("lung", ("Lung",)),
    TissueSource("gas", ("Airway",)),
)


@dataclass(frozen=True)
class LabelledHead:
    """A label map (z, y, x) on a canonical grid of cubic voxels, the value of each name, and the tissue codes."""

    labels_zyx: NDArray[np.uint8]
    values: dict[str, int]
    codes_zyx: NDArray[np.uint8]
    geometry: Geometry

    def mask(self, *names: str) -> Mask:
        """The voxels of any of these labels."""
        inside: Mask = np.isin(self.labels_zyx, [self.values[name] for name in names if name in self.values])
        return inside


@dataclass(frozen=True)
class Making:
    """How heads are made: the voxels' edge, how tissues are coded, and what decides all that chance decides.

    With `around`, names of labels and a margin in mm, only the box about these is made.
    """

    spacing_mm: float
    synthesis: SynthesisConfig
    rng: np.random.Generator
    around: tuple[tuple[str, ...], float] | None = None

    def code(self, tissue: str) -> int:
        """The code of a tissue."""
        return self.synthesis.names.index(tissue)


def whole_head(folder: Path, name: str, making: Making) -> LabelledHead:
    """A head of `folder`, whose label maps know every tissue.

    The brain gets the fluid about it, down to the lowest slice of brainstem and cerebellum.
    """
    values: dict[str, int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    native = _native(folder / name / "labels.nii.gz", values)
    head = _cubic(native, making)
    head.codes_zyx[:] = _head_codes(head, making)
    _add_table(head.codes_zyx, making)
    # The brain with the fluid about it, which goes on around the cord.
    inside = head.mask(*INSIDE_SKULL)
    lowest = native.geometry.index_to_lps_mm((_lowest(native.mask(*HIND_BRAIN)), 0, 0))
    inside[: max(0, round(float(head.geometry.lps_mm_to_index(lowest)[0])))] = False
    # Vessels and the folds of the dura lie in the fluid, and what little has no label.
    stem = head.mask("Brainstem")
    whole = np.stack([ndimage.binary_fill_holes(plane) for plane in inside | stem])
    head.labels_zyx[whole & ~stem & ~head.mask("SpinalCord", *KEPT_INSIDE)] = values["Brain"]
    return head


def rater_head(folder: Path, case: str, lender: Path, making: Making) -> LabelledHead:
    """A rater's label map, completed by the whole head whose label map lies in the folder `lender`."""
    stored: dict[str, int] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    values = {RATER_NAMES[name]: value for name, value in stored.items()}
    native = _with_room(_native(folder / case / "labels.nii.gz", values))
    head = _cubic(native, making)
    _add_neck(head, making)
    head.codes_zyx[:] = tissue_codes(
        head.labels_zyx, head.values, RATER_SOURCES, making.synthesis, (making.spacing_mm, making.rng)
    )
    _fill_out(head, native, making)
    _borrow(head, native, lender, making)
    return head


def _native(path: Path, values: dict[str, int]) -> LabelledHead:
    """A stored label map, canonically oriented; it has no codes yet."""
    labels, geometry = read_nifti_array(path, FRAME)
    array = np.ascontiguousarray(to_canonical(labels.astype(np.uint8), geometry))
    return LabelledHead(array, dict(values), np.zeros((0, 0, 0), dtype=np.uint8), canonical_geometry(geometry))


def _with_room(head: LabelledHead) -> LabelledHead:
    """The label map from some way below the brain up, with room for skin and air about it."""
    mm = head.geometry.spacing_zyx_mm
    first = max(0, _lowest(head.mask("Brain")) - round(BELOW_BRAIN_MM / mm[0]))
    y, x = (round(ROOM_MM / edge) for edge in mm[1:])
    depth, height, width = head.labels_zyx.shape
    labels = np.pad(head.labels_zyx[first:], ((0, 0), (y, y), (x, x)))
    return replace(
        head, labels_zyx=labels, geometry=head.geometry.cropped(Box((first, -y, -x), (depth, height + y, width + x)))
    )


def _cubic(native: LabelledHead, making: Making) -> LabelledHead:
    """The label map, or the box of it that is asked for, on cubic voxels, all of tissue 0."""
    labels, geometry = native.labels_zyx, native.geometry
    if making.around is not None:
        names, margin_mm = making.around
        places = np.argwhere(native.mask(*names))
        z, y, x = (round(margin_mm / mm) for mm in geometry.spacing_zyx_mm)
        low, high = places.min(axis=0).tolist(), (places.max(axis=0) + 1).tolist()
        box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2])).grown((z, y, x), geometry.shape_zyx)
        labels, geometry = labels[box.slices], geometry.cropped(box)
    grid = geometry.respaced((making.spacing_mm,) * 3)
    cubic = resample_labels(labels, geometry, grid)
    return LabelledHead(cubic, dict(native.values), np.zeros_like(cubic), grid)


def _head_codes(head: LabelledHead, making: Making) -> NDArray[np.uint8]:
    labels, values = head.labels_zyx, head.values
    table = np.zeros(256, dtype=np.uint8)
    for name, tissue in HEAD_TISSUES.items():
        table[values[name]] = making.code(tissue)
    codes: NDArray[np.uint8] = table[labels]
    soft = labels == values["OtherSoftTissue"]
    field = ndimage.gaussian_filter(
        making.rng.normal(size=labels.shape).astype(np.float32), making.rng.uniform(3.0, 8.0) / making.spacing_mm
    )
    lean = field > np.quantile(field, making.rng.uniform(0.15, 0.6))
    depth = ndimage.distance_transform_edt(labels > 0, sampling=making.spacing_mm)
    lean &= depth > making.rng.uniform(3.0, 9.0)
    orbit = head.mask("Eye_L", "Eye_R", "OpticNrv_L", "OpticNrv_R", "RectusMuscles")
    lean &= ndimage.distance_transform_edt(~orbit, sampling=making.spacing_mm) > ORBIT_FAT_MM
    codes[soft] = np.where(lean, making.code("muscle"), making.code("fat"))[soft]
    return codes


def _add_neck(head: LabelledHead, making: Making) -> None:
    """A ring of bone around the canal, with a body in front, and an airway before that."""
    labels, values = head.labels_zyx, head.values
    canal = head.mask("SpinalCanal", "SpinalCord")
    values["Vertebrae"], values["Airway"] = 200, 201
    rows, columns = np.ogrid[: labels.shape[1], : labels.shape[2]]
    mm = making.spacing_mm
    for z in np.flatnonzero(canal.any(axis=(1, 2))):
        y, x = (float(v) for v in np.argwhere(canal[z]).mean(axis=0))
        ring = ndimage.distance_transform_edt(~canal[z], sampling=mm) <= CANAL_BONE_MM / 2
        body_y = y - (CANAL_BONE_MM + 8.0) / mm
        body = np.hypot(rows - body_y, columns - x) * mm <= CANAL_BONE_MM + 2.0
        labels[z][(labels[z] == 0) & (ring | body)] = values["Vertebrae"]
        air_y = body_y - (CANAL_BONE_MM + AIRWAY_MM[0]) / mm
        air = np.hypot((rows - air_y) * 1.3, columns - x) * mm <= AIRWAY_MM[1]
        labels[z][(labels[z] == 0) & air] = values["Airway"]


def _fill_out(head: LabelledHead, native: LabelledHead, making: Making) -> None:
    """Neck and shoulders: fat and muscle in ellipses about the canal, wider the nearer the lungs; and what jaw, glands
    and canal enclose.
    """
    mm, rng = making.spacing_mm, making.rng
    canal = head.mask("SpinalCanal", "SpinalCord")
    lungs = np.flatnonzero(native.mask("Lung_L", "Lung_R").any(axis=(1, 2)))
    tip_mm = native.geometry.index_to_lps_mm((int(lungs[-1]) if lungs.size else -1000, 0, 0))[2]
    half_width, half_depth = NECK_MM[0] * rng.uniform(0.85, 1.25), NECK_MM[1] * rng.uniform(0.85, 1.2)
    lean = ndimage.gaussian_filter(rng.normal(size=canal.shape).astype(np.float32), rng.uniform(4.0, 9.0) / mm)
    lean = lean > np.quantile(lean, rng.uniform(0.2, 0.6))
    rows, columns = np.ogrid[: canal.shape[1], : canal.shape[2]]
    face = head.mask("Mandible", "Parotid_L", "Parotid_R", "Glnd_Submand_L", "Glnd_Submand_R") | canal
    for z in np.flatnonzero(canal.any(axis=(1, 2))):
        y, x = (float(v) for v in np.argwhere(canal[z]).mean(axis=0))
        height_mm = float(head.geometry.index_to_lps_mm((int(z), 0, 0))[2]) - tip_mm
        shoulders = float(np.clip(1.0 - height_mm / SLOPE_MM, 0.0, 1.0)) ** 2
        wide = half_width + shoulders * (SHOULDERS_MM - half_width)
        deep = half_depth + shoulders * 20.0
        out = np.hypot((rows - y) * mm / deep + 0.15, (columns - x) * mm / wide)
        empty = np.isin(head.codes_zyx[z], [making.code("air"), making.code("couch")]) & (head.labels_zyx[z] == 0)
        enclosed = _convex(face[z])
        skin = ndimage.distance_transform_edt(~enclosed, sampling=mm) <= FACE_SKIN_MM
        inner = lean[z] & ((out < 1.0 - 6.0 / deep) | enclosed)
        head.codes_zyx[z][empty & ((out < 1.0) | skin)] = making.code("fat")
        head.codes_zyx[z][empty & inner] = making.code("muscle")


def _convex(plane_yx: Mask) -> Mask:
    """The convex hull of what is inside."""
    filled = np.zeros(plane_yx.shape, dtype=np.uint8)
    points = np.argwhere(plane_yx)[:, ::-1].astype(np.int32)
    cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled.astype(bool)


def _borrow(head: LabelledHead, native: LabelledHead, lender: Path, making: Making) -> None:
    """Replaces the codes of `head`, where the lender has tissue and `head` no organ, by the lender's."""
    values: dict[str, int] = json.loads((lender.parent / "labels.json").read_text(encoding="utf-8"))
    lent_native = _native(lender / "labels.nii.gz", values)
    lent = _cubic(lent_native, replace(making, around=None))
    codes = _head_codes(lent, making)
    # What both know is the rater's to say: of the lender's own organs only their surroundings are left.
    codes[lent.mask("Eye_L", "Eye_R", "OpticNrv_L", "OpticNrv_R", "RectusMuscles", "OpticChiasm")] = making.code("fat")
    codes[lent.mask("SpinalCord")] = making.code("csf")
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in lent.labels_zyx > 0])
    transform = _registered(_landmarks(native), _landmarks(lent_native))
    moved = _moved(codes, lent.geometry, head.geometry, transform)
    there = _moved(filled.astype(np.uint8), lent.geometry, head.geometry, transform) > 0
    bones = np.isin(moved, [making.code("bone_shell"), making.code("bone_spongy")])
    jaw = ndimage.distance_transform_edt(~head.mask("Mandible"), sampling=making.spacing_mm) <= JAW_MM
    moved[bones & jaw] = making.code("muscle")
    brain = np.isin(moved, [making.code("brain"), making.code("csf")])
    # The lender's brain beyond the rater's is the fluid around it.
    moved[brain & ~head.mask("Brain")] = making.code("csf")
    lowest_mm = native.geometry.index_to_lps_mm((_lowest(native.mask("Brain")), 0, 0)) - (0, 0, LENT_BELOW_BRAIN_MM)
    there[: max(0, round(float(head.geometry.lps_mm_to_index(lowest_mm)[0])))] = False
    organs = (head.labels_zyx > 0) & ~head.mask("Vertebrae", "Airway") & ~(head.mask("Brain") & brain)
    replaced = there & ~organs
    head.codes_zyx[replaced] = moved[replaced]
    capsule = ndimage.distance_transform_edt(~head.mask("Cochlea_L", "Cochlea_R"), sampling=making.spacing_mm)
    head.codes_zyx[(capsule <= PETROUS_MM) & ~organs & ~head.mask("Brain")] = making.code("bone_shell")


def _landmarks(head: LabelledHead) -> sitk.Image:
    """What both kinds of label map know, as one image: the inside of the skull, eyes, brainstem and cord."""
    grid = head.geometry.respaced((REGISTRATION_MM,) * 3)
    nearest = _moved(head.labels_zyx, head.geometry, grid, sitk.Transform())
    coarse = replace(head, labels_zyx=nearest, geometry=grid)
    image = np.zeros(coarse.labels_zyx.shape, dtype=np.float32)
    image[coarse.mask(*INSIDE_SKULL)] = 100.0
    if "CSF" in head.values:  # fluid about the cord is no brain
        image[: _lowest(coarse.mask(*HIND_BRAIN))] = 0.0
    for name, weight in (("Eye_L", 300.0), ("Eye_R", 300.0), ("SpinalCord", 180.0), ("Brainstem", 160.0)):
        image[coarse.mask(name)] = weight
    return sitk.SmoothingRecursiveGaussian(to_sitk(image, coarse.geometry), REGISTRATION_MM)


def _registered(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    start = sitk.CenteredTransformInitializer(
        fixed > 50, moving > 50, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMeanSquares()
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 120)
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetInitialTransform(start, inPlace=False)
    registration.SetShrinkFactorsPerLevel([3, 1])
    registration.SetSmoothingSigmasPerLevel([2, 0])
    affine = registration.Execute(fixed, moving)
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(30)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(2.0)
    field = demons.Execute(fixed, sitk.Resample(moving, fixed, affine, sitk.sitkLinear, 0.0))
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))])


def _moved(
    values_zyx: NDArray[np.uint8], geometry: Geometry, target: Geometry, transform: sitk.Transform
) -> NDArray[np.uint8]:
    grid = to_sitk(np.zeros(target.shape_zyx, dtype=np.uint8), target)
    moved = sitk.Resample(to_sitk(values_zyx, geometry), grid, transform, sitk.sitkNearestNeighbor, 0)
    array: NDArray[np.uint8] = sitk.GetArrayFromImage(moved)
    return array


def _add_table(codes: NDArray[np.uint8], making: Making) -> None:
    """A head rest behind the head, in most heads."""
    solid = codes != making.code("air")
    if making.rng.random() < 0.3:
        return
    last = int(np.flatnonzero(solid.any(axis=(0, 2)))[-1])
    for row in (last + 2, last + 2 + int(making.rng.integers(2, 6))):
        if row < codes.shape[1]:
            plane = codes[:, row]
            plane[plane == making.code("air")] = making.code("couch")


def _lowest(mask: Mask) -> int:
    return int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
