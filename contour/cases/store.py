"""Reference cases on disk: an image and its structures, each with what is known of it.

A case is a folder of files that any viewer opens in the right place::

    <case>/case.yaml                 the record: written last, so that a folder without it is no case
    <case>/image.nii.gz              the image
    <case>/structures/<NAME>.nii.gz  the mask of each drawn structure, cropped to its box; masks may overlap

The grid is the record's: NIfTI stores its own in single precision, too coarse for a frame of reference.
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from contour.config import load_config, save_config
from contour.core.errors import InputRefused, Reason
from contour.core.geometry import Box, Geometry
from contour.core.nomenclature import UNNAMED_COLOR_RGB, lookup
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import to_sitk

RECORD_FILE = "case.yaml"
IMAGE_FILE = "image.nii.gz"
STRUCTURES_FOLDER = "structures"
_COMPRESSION_LEVEL = 1  # the next levels win a few percent of space for several times the time
_GRID_TOLERANCE_MM = 0.05  # of coordinates in single precision


class Status(StrEnum):
    """What a case says of a structure. `PARTIAL`: complete between two slices, unknown beyond them."""

    DRAWN = "drawn"
    PARTIAL = "drawn in part"
    NOT_DRAWN = "not drawn"


@dataclass(frozen=True)
class CaseStructure:
    """One structure of a case.

    `name` is its TG-263 name, `roi_names` what it was called in the structure set (several where they were joined).
    `drawn_slices`, given with `PARTIAL` only, are the first and the last z index of the image between which its
    outline is complete; beyond them nobody looked. `start_zyx` is where the stored mask begins on the image's grid.

    Raises:
        ValueError: `drawn_slices` without `PARTIAL` or the other way round, or in the wrong order.
    """

    name: str
    status: Status
    roi_names: tuple[str, ...] = ()
    drawn_slices: tuple[int, int] | None = None
    volume_ml: float = 0.0
    start_zyx: tuple[int, int, int] = (0, 0, 0)
    shape_zyx: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if (self.status is Status.PARTIAL) != (self.drawn_slices is not None):
            raise ValueError(f"{self.name}: drawn_slices are stated where, and only where, the status is drawn in part")
        if self.drawn_slices is not None and not 0 <= self.drawn_slices[0] <= self.drawn_slices[1]:
            raise ValueError(f"{self.name}: drawn_slices {self.drawn_slices}: first and last, from 0 on")

    @property
    def box(self) -> Box:
        """Where the stored mask lies on the image's grid."""
        z, y, x = (a + n for a, n in zip(self.start_zyx, self.shape_zyx, strict=True))
        return Box(self.start_zyx, (z, y, x))


@dataclass(frozen=True)
class CaseSource:
    """Where a case comes from: UIDs of series and structure set, or a word on a made or imported one."""

    series_instance_uid: str = ""
    structure_set_uid: str = ""
    note: str = ""


@dataclass(frozen=True)
class CaseRecord:
    """What `case.yaml` holds: everything but the voxels.

    `patient` is a pseudonym, the same for all cases of one patient; `content_sha256` covers image, masks and statuses.
    """

    name: str
    patient: str
    modality: Modality
    geometry: Geometry
    structures: tuple[CaseStructure, ...]
    source: CaseSource = CaseSource()
    content_sha256: str = ""

    def structure(self, name: str) -> CaseStructure:
        """The entry of that name; one that the record does not list was not drawn."""
        found = next((s for s in self.structures if s.name == name), None)
        return found or CaseStructure(name, Status.NOT_DRAWN)

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """Names of what was drawn, wholly or in part."""
        return tuple(s.name for s in self.structures if s.status is not Status.NOT_DRAWN)


@dataclass(frozen=True)
class Case:
    """A case in memory: `structures` has a mask for each drawn entry of the record, on the image's grid."""

    record: CaseRecord
    volume: Volume
    structures: StructureSet


def save_case(case: Case, cases: Path) -> CaseRecord:
    """Write `case` as a folder of its name in `cases`, whole or not at all; an earlier one of the name is replaced.

    The record's boxes, volumes and checksum are taken from the masks. Returns the record as written.

    Raises:
        ValueError: a drawn entry without a mask, or a mask without a drawn entry.
        OSError: the folder cannot be written.
    """
    record = _completed(case)
    cases.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".case-", suffix=".part", dir=cases))
    try:
        _write(case.volume.voxels_zyx, case.volume.geometry, stage / IMAGE_FILE)
        (stage / STRUCTURES_FOLDER).mkdir()
        for structure in case.structures.structures:
            if structure.mask_zyx.size:
                path = stage / STRUCTURES_FOLDER / f"{structure.name}.nii.gz"
                _write(structure.mask_zyx.astype(np.uint8), case.volume.geometry.cropped(structure.box), path)
        save_config(record, stage / RECORD_FILE)
        stage.chmod(0o755)
        folder = cases / record.name
        if folder.exists():
            old = folder.rename(stage.with_suffix(".old"))
            stage.rename(folder)
            shutil.rmtree(old)
        else:
            stage.rename(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return record


def case_folders(cases: Path) -> tuple[Path, ...]:
    """The folders in `cases` that hold a whole case, sorted by name.

    Raises:
        InputRefused: there is none.
    """
    folders = tuple(sorted(path.parent for path in cases.glob(f"[!.]*/{RECORD_FILE}")))
    if not folders:
        raise InputRefused(Reason.NO_IMAGES, str(cases), "holds no case", f"folders with {RECORD_FILE}")
    return folders


def load_record(folder: Path) -> CaseRecord:
    """The record of the case in `folder`.

    Raises:
        ConfigError: there is none, or it has a mistake.
    """
    return load_config(folder / RECORD_FILE, CaseRecord)


def load_case(folder: Path, names: tuple[str, ...] | None = None) -> Case:
    """The case in `folder`; `names` limits the structures to those of them that were drawn.

    Raises:
        ConfigError: the record has a mistake.
        InputRefused: a file is missing, damaged, or not on the record's grid.
    """
    record = load_record(folder)
    volume = load_image(folder, record)
    chosen = [s for s in record.structures if s.status is not Status.NOT_DRAWN and (names is None or s.name in names)]
    structures = tuple(load_structure(folder, record, entry.name) for entry in chosen)
    return Case(record, volume, StructureSet(record.name[:16], record.geometry, structures))


def load_image(folder: Path, record: CaseRecord) -> Volume:
    """The image of the case in `folder`.

    Raises:
        InputRefused: as `load_case`.
    """
    voxels = _read(folder / IMAGE_FILE, record.geometry)
    if np.issubdtype(voxels.dtype, np.integer):
        return Volume(voxels.astype(np.int16, copy=False), record.geometry, record.modality)
    return Volume(voxels.astype(np.float32, copy=False), record.geometry, record.modality)


def load_structure(folder: Path, record: CaseRecord, name: str) -> Structure:
    """One drawn structure of the case in `folder`, with the colour and type of its TG-263 name.

    Raises:
        InputRefused: as `load_case`.
    """
    entry = record.structure(name)
    known = lookup(name)
    mask: Mask = np.zeros((0, 0, 0), dtype=np.bool_)
    if not entry.box.empty:
        path = folder / STRUCTURES_FOLDER / f"{name}.nii.gz"
        mask = _read(path, record.geometry.cropped(entry.box)).astype(np.bool_)
    color = known.color_rgb if known else UNNAMED_COLOR_RGB
    kind = known.interpreted_type if known else InterpretedType.ORGAN
    return Structure(name, color, kind, mask, entry.start_zyx)


# -- files -----------------------------------------------------------------------------------------------------------


def _completed(case: Case) -> CaseRecord:
    masks = {s.name: s for s in case.structures.structures}
    drawn = set(case.record.drawn_names)
    if drawn != set(masks):
        raise ValueError(f"{case.record.name}: entries {sorted(drawn)} and masks {sorted(masks)} must be the same")
    digest = hashlib.sha256(np.ascontiguousarray(case.volume.voxels_zyx).tobytes())
    digest.update(repr(case.volume.geometry).encode())
    entries = []
    for entry in case.record.structures:
        mask = masks.get(entry.name)
        if mask is not None:
            shape = (mask.mask_zyx.shape[0], mask.mask_zyx.shape[1], mask.mask_zyx.shape[2])
            volume_ml = round(case.structures.volume_ml(mask), 3)
            entries.append(replace(entry, start_zyx=mask.offset_zyx, shape_zyx=shape, volume_ml=volume_ml))
            digest.update(np.packbits(mask.mask_zyx).tobytes())
        else:
            entries.append(entry)
        done = entries[-1]
        digest.update(repr((done.name, str(done.status), done.drawn_slices, done.start_zyx)).encode())
    return replace(
        case.record,
        geometry=case.volume.geometry,
        modality=case.volume.modality,
        structures=tuple(entries),
        content_sha256=digest.hexdigest(),
    )


def _write(array_zyx: NDArray[np.generic], geometry: Geometry, path: Path) -> None:
    sitk.WriteImage(to_sitk(array_zyx, geometry), str(path), True, _COMPRESSION_LEVEL)


def _read(path: Path, geometry: Geometry) -> NDArray[np.generic]:
    """The values at `path`, which must lie on `geometry`."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        words = " ".join(str(error).split())[-200:]
        raise InputRefused(Reason.UNREADABLE_FILE, str(path), words, "the NIfTI file of the case") from error
    expected = to_sitk(np.zeros((1, 1, 1), dtype=np.uint8), geometry)
    found = (image.GetSize(), *(np.round(v, 3).tolist() for v in (image.GetOrigin(), image.GetSpacing())))
    allowed = (
        geometry.shape_zyx[::-1],
        *(np.round(v, 3).tolist() for v in (expected.GetOrigin(), expected.GetSpacing())),
    )
    close = found[0] == allowed[0] and all(
        np.allclose(a, b, atol=_GRID_TOLERANCE_MM) for a, b in zip(found[1:], allowed[1:], strict=True)
    )
    if not close:
        raise InputRefused(Reason.INVALID_ATTRIBUTE, str(path), f"size, origin, spacing {found}", f"{allowed}")
    values: NDArray[np.generic] = sitk.GetArrayFromImage(image)
    return values
