"""Cases for the spine network: one labelled chest and a slab, label maps that become images, unlabelled chests.

Labels are the parts of a spine (`scripts.spine_ct.parts`), which label maps of whole vertebrae give.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contour.config import load_config
from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.imaging.hardships import without_contrast
from contour.imaging.nifti import read_nifti, read_nifti_array, read_nifti_geometry
from contour.imaging.preprocess import at_spacing, canonical_geometry, to_canonical
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import (
    UNKNOWN,
    PreparedCase,
    load_prepared,
    prepare_label_map,
    prepare_tissue_map,
    resample_labels,
    save_prepared,
)
from contour.training.tissue_maps import TissueSource, tissue_codes
from scripts.spine_ct.borrowed import Centres, LabelledSpine, borrow
from scripts.spine_ct.parts import WholeSpine, parts_of
from scripts.thorax_ct.drawn import Drawn

CHEST = "lidc_0001_auto"
SLAB = "totalseg_slab20"
LABELS_ONLY = ("totalseg_s0327_labels_only", "totalseg_s0328_labels_only")
DRAWN_FOLDER = Path(__file__).parents[1] / "thorax_ct" / "drawn"  # where bodies' centres were placed by hand
LEVELS = (*(f"C{i}" for i in range(1, 8)), *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))
CONTRAST_SHARES = (1.0, 0.2)
CODES_EACH = 4
LEAST_CENTRES = 4
BORROWED_WEIGHT = 0.8  # of each chest whose vertebrae are the labelled one's, fitted to it, times the part known
WEIGHTS = {CHEST: 3.0, SLAB: 0.5, LABELS_ONLY[0]: 3.0, LABELS_ONLY[1]: 1.5}  # shared by the cases made of each
FRAME = "1.2.826.0.1.3680043.8.498.1"  # NIfTI states no frame of reference; within one case any will do
DISC_GAP_MM = 7.0  # discs are what lies between two bodies no further apart than twice this
LESIONS = 0.25  # of the vertebrae of a tissue map
LESION_RADII_MM = (5.0, 15.0)
ROOM_VOXELS = 12  # for skin and table around what a label map knows

DISC, LYTIC, BLASTIC = 253, 254, 255  # label values that the sources do not use
SOURCES = (
    TissueSource("lung", ("lung",)),
    TissueSource("gas", ("trachea",)),
    TissueSource("blood", ("heart", "aorta", "pulmonary", "atrial", "superior_vena", "inferior_vena", "portal")),
    TissueSource("blood", ("brachiocephalic", "subclavian", "common_carotid", "iliac_art", "iliac_vena")),
    TissueSource("organ", ("liver", "spleen", "kidney", "adrenal", "pancreas", "thyroid", "gallbladder", "urinary")),
    TissueSource("organ", ("prostate",)),
    TissueSource("bowel", ("stomach", "small_bowel", "duodenum", "colon", "esophagus"), hollow=True),
    TissueSource("muscle", ("autochthon", "gluteus", "iliopsoas")),
    TissueSource("cord", ("spinal_cord",)),
    TissueSource("cartilage", ("costal_cartilages",)),
    TissueSource("disc", ("disc",)),
    TissueSource("rib_marrow", ("rib", "sternum", "scapula", "clavicula", "skull"), bone=True),
    TissueSource("spongiosa", ("vertebrae", "sacrum", "hip", "femur", "humerus"), bone=True),
    TissueSource("lytic", ("lytic",)),
    TissueSource("blastic", ("blastic",)),
)
BONES = ("vertebrae", "rib", "sternum", "scapula", "clavicula", "humerus", "costal", "hip", "femur", "sacrum", "skull")


@dataclass(frozen=True)
class LabelMap:
    """A source's label map in canonical orientation, the values of its names, and where it lies."""

    labels_zyx: NDArray[np.uint8]
    values: dict[str, int]
    geometry: Geometry

    def mask(self, *beginnings: str) -> NDArray[np.bool_]:
        """Where labels lie whose names begin so."""
        return np.isin(self.labels_zyx, [v for name, v in self.values.items() if name.startswith(beginnings)])

    @property
    def vertebrae(self) -> tuple[tuple[str, int], ...]:
        """Levels that are labelled, and their values, from top to bottom."""
        found = ((level, self.values.get(f"vertebrae_{level}", self.values.get(level))) for level in LEVELS)
        return tuple((level, value) for level, value in found if value is not None)

    def parts(self) -> NDArray[np.uint8]:
        """The parts of its spine."""
        whole = WholeSpine(
            labels_zyx=self.labels_zyx,
            vertebrae=tuple(value for _, value in self.vertebrae),
            cord_zyx=self.mask("spinal_cord"),
            ribs_zyx=self.mask("rib"),
            sacrum_zyx=self.mask("sacrum", "vertebrae_S1"),
        )
        return parts_of(whole, self.geometry)


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases and how often each is shown; cases that are in `work` already stay as they are."""
    folder = work / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[Path, float] = {}
    for source, make in ((CHEST, _chest), (SLAB, _slab), (LABELS_ONLY[0], _synthetic), (LABELS_ONLY[1], _synthetic)):
        paths = make(data, source, folder, config)
        weights |= {path: WEIGHTS[source] / len(paths) for path in paths}
    for path in _borrowed(data, folder, config):
        weights[path] = BORROWED_WEIGHT * float((load_prepared(path).labels_zyx != UNKNOWN).mean())
    return FitInput(tuple(weights), tuple(weights.values()))


def read_label_map(data: Path, name: str) -> LabelMap:
    """The label map of a case."""
    folder = data / "thorax" / name
    labels, geometry = read_nifti_array(folder / "labels.nii.gz", FRAME)
    values = json.loads((folder / "labels.json").read_text())
    canonical = np.ascontiguousarray(to_canonical(labels.astype(np.uint8), geometry))
    return LabelMap(canonical, values, canonical_geometry(geometry))


def read_image(data: Path, name: str) -> Volume:
    """The CT of a case in canonical orientation."""
    volume = read_nifti(data / "thorax" / name / "image.nii.gz", Modality.CT, FRAME)
    canonical = np.ascontiguousarray(to_canonical(volume.voxels_zyx, volume.geometry))
    return Volume(canonical, canonical_geometry(volume.geometry), volume.modality)


def _drawn(config: TrainingConfig) -> NDArray[np.bool_]:
    return np.ones(len(config.labels), dtype=bool)


def _chest(data: Path, name: str, folder: Path, config: TrainingConfig) -> tuple[Path, ...]:
    """The labelled chest, with its contrast medium and with little of it."""
    paths = tuple(folder / f"{name}_contrast{int(100 * share):03d}.npz" for share in CONTRAST_SHARES)
    if all(path.exists() for path in paths):
        return paths
    volume, known = read_image(data, name), read_label_map(data, name)
    parts, bone = known.parts(), known.mask(*BONES)
    for share, path in zip(CONTRAST_SHARES, paths, strict=True):
        hu = without_contrast(volume.voxels_zyx.astype(np.float32), bone, share)
        image = replace(volume, voxels_zyx=hu)
        save_prepared(prepare_label_map(path.stem, image, parts, _drawn(config), config.preprocessing), path)
    return paths


def _slab(data: Path, name: str, folder: Path, config: TrainingConfig) -> tuple[Path, ...]:
    path = folder / f"{name}.npz"
    if not path.exists():
        volume, known = read_image(data, name), read_label_map(data, name)
        save_prepared(prepare_label_map(name, volume, known.parts(), _drawn(config), config.preprocessing), path)
    return (path,)


def _borrowed(data: Path, folder: Path, config: TrainingConfig) -> tuple[Path, ...]:
    """The chests without labels on which the bodies' centres were placed: ribs are not drawn there."""
    placed = [load_config(path, Drawn) for path in sorted(DRAWN_FOLDER.glob("*.yaml"))]
    names = [one.case for one in placed if len([v for v in one.vertebrae if v.level]) >= LEAST_CENTRES]
    paths = {name: folder / f"{name}_borrowed.npz" for name in names}
    missing = [one for one in placed if one.case in paths and not paths[one.case].exists()]
    source = _labelled_chest(data, config) if missing else None
    drawn = np.array([label.name != "Ribs" for label in config.labels])
    for one in missing:
        assert source is not None
        target = at_spacing(read_image(data, one.case), config.preprocessing.spacing_zyx_mm)
        found = borrow(source, target, _centres(data, one, target.geometry))
        prepared = prepare_label_map(one.case, target, found.parts_zyx, drawn, config.preprocessing)
        save_prepared(prepared, paths[one.case])
    return tuple(paths.values())


def _labelled_chest(data: Path, config: TrainingConfig) -> LabelledSpine:
    known = read_label_map(data, CHEST)
    volume = at_spacing(read_image(data, CHEST), config.preprocessing.spacing_zyx_mm)
    labels = resample_labels(known.labels_zyx, known.geometry, volume.geometry)
    return LabelledSpine(volume, labels, dict(known.vertebrae), labels == known.values["spinal_cord"])


def _centres(data: Path, placed: Drawn, target: Geometry) -> Centres:
    """Placed centres in mm on the grid of `target`."""
    own = read_nifti_geometry(data / "thorax" / placed.case / "image.nii.gz", FRAME)
    return {
        v.level: target.lps_mm_to_index(own.index_to_lps_mm(np.array(v.centre_zyx))) * np.array(target.spacing_zyx_mm)
        for v in placed.vertebrae
        if v.level is not None
    }


def _synthetic(data: Path, name: str, folder: Path, config: TrainingConfig) -> tuple[Path, ...]:
    """Tissue maps of a label map; every patch of them is given an appearance of its own."""
    paths = tuple(folder / f"{name}_tissues{i}.npz" for i in range(CODES_EACH))
    missing = [(i, path) for i, path in enumerate(paths) if not path.exists()]
    if not missing:
        return paths
    known = _on_cubes(read_label_map(data, name), config)
    parts = known.parts()
    for i, path in missing:
        save_prepared(_with_tissues(path.stem, known, parts, config, np.random.default_rng(100 + i)), path)
    return paths


def _on_cubes(known: LabelMap, config: TrainingConfig) -> LabelMap:
    """On the network's grid, with room around."""
    assert config.synthesis is not None
    grid = known.geometry.respaced(config.preprocessing.spacing_zyx_mm)
    small = resample_labels(known.labels_zyx, known.geometry, grid)
    small = np.pad(small, ((0, 0), (ROOM_VOXELS, ROOM_VOXELS), (ROOM_VOXELS, ROOM_VOXELS)))
    return LabelMap(small, known.values, Geometry.axial(small.shape, grid.spacing_zyx_mm, (0.0, 0.0, 0.0), FRAME))


def _with_tissues(
    name: str, known: LabelMap, parts: NDArray[np.uint8], config: TrainingConfig, rng: np.random.Generator
) -> PreparedCase:
    assert config.synthesis is not None
    spacing_mm = known.geometry.spacing_zyx_mm[0]
    labels, values = known.labels_zyx.copy(), {**known.values, "disc": DISC, "lytic": LYTIC, "blastic": BLASTIC}
    labels[_discs(known, parts)] = DISC
    for kind, inside in _lesions(known, rng):
        labels[inside] = kind
    codes = tissue_codes(labels, values, SOURCES, config.synthesis, (spacing_mm, rng))
    tissues = Volume(codes.astype(np.int16), known.geometry, Modality.CT)
    return prepare_tissue_map(name, tissues, parts, _drawn(config), config.preprocessing)


def _discs(known: LabelMap, parts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What closing the bodies and the sacrum adds, where no label lies."""
    bodies = np.isin(parts, (1, 2)) | known.mask("vertebrae_S1")
    spacing = known.geometry.spacing_zyx_mm
    near = ndimage.distance_transform_edt(~bodies, sampling=spacing) <= DISC_GAP_MM
    closed = ndimage.distance_transform_edt(near, sampling=spacing) > DISC_GAP_MM
    discs: NDArray[np.bool_] = closed & (known.labels_zyx == 0) & (parts == 0)
    return discs


def _lesions(known: LabelMap, rng: np.random.Generator) -> list[tuple[int, NDArray[np.bool_]]]:
    """Balls in some vertebrae whose bone is lost, or dense."""
    spacing = np.asarray(known.geometry.spacing_zyx_mm)
    found = []
    for _, value in known.vertebrae:
        voxels = np.argwhere(known.labels_zyx == value)
        if len(voxels) == 0 or rng.random() > LESIONS:
            continue
        centre, radius = voxels[rng.integers(len(voxels))], rng.uniform(*LESION_RADII_MM)
        inside = np.zeros(known.labels_zyx.shape, dtype=bool)
        near = np.linalg.norm((voxels - centre) * spacing, axis=1) <= radius
        inside[tuple(voxels[near].T)] = True
        found.append((LYTIC if rng.random() < 0.5 else BLASTIC, inside))
    return found
