"""What reading a folder yields: an image with the identity that everything derived from it must carry."""

from dataclasses import dataclass
from pathlib import Path

from contour.core.report import Finding
from contour.core.volume import Volume


@dataclass(frozen=True)
class PatientStudy:
    """Who was imaged, and in which study: PS3.3 C.7.1.1 and C.7.2.1, as decoded text in any script.

    Attributes that may be empty in DICOM (type 2) and are absent or empty in the images are empty strings here.
    Dates are YYYYMMDD and times HHMMSS.FFFFFF, as DICOM writes them. `patient_name` keeps its component groups
    (`=`) and components (`^`).
    """

    patient_name: str
    patient_id: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    accession_number: str
    referring_physician_name: str


@dataclass(frozen=True)
class ImageSeries:
    """A checked image series: one regular grid, every slice accounted for.

    `volume` is ordered along the slice normal (the cross product of the row and column directions), so that its axes
    are right-handed; its geometry carries the frame of reference. `sop_instance_uids` and `files` have one entry for
    each z index. `findings` says what was set aside and what deserves a look. `content_sha256` covers what decides a
    result: UIDs, geometry and voxels; not the way the files encode them, nor their names. `specific_character_set`
    holds the defined terms that the identity was decoded with (empty: none was declared). `patient_position` is for
    information: position and orientation of the planes alone decide the geometry. `off_grid_mm` is how far the slices'
    stated positions lie from the grid at most: some scanners write them with one decimal.
    """

    volume: Volume
    identity: PatientStudy
    series_instance_uid: str
    series_description: str
    sop_class_uid: str
    sop_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]
    findings: tuple[Finding, ...]
    content_sha256: str
    specific_character_set: tuple[str, ...]
    position_reference_indicator: str
    patient_position: str
    off_grid_mm: float = 0.0


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series, wherever they lie, and the content that they had when they were last read.

    `content_sha256` is that of `ImageSeries`: who reads the files again refuses them where it differs.
    """

    files: tuple[Path, ...]
    series_instance_uid: str
    content_sha256: str


@dataclass(frozen=True)
class SeriesListing:
    """One series of a folder, as `find_series` lists it: nothing was decoded.

    `slices` counts the images that would form the volume, `problem` says why the series cannot be read (None if
    nothing speaks against it so far; decoding may still find a damaged file).
    """

    series_instance_uid: str
    modality: str
    sop_class_uid: str
    series_description: str
    slices: int
    problem: str | None


@dataclass(frozen=True)
class ReadLimits:
    """What a folder may ask of this machine. Every limit acts before any pixel is decoded.

    `max_files` counts all files below the folder; `max_header_bytes` is what may stand before the pixels of a file,
    after inflating; `max_file_bytes` is the size of one slice's file; `max_slices` and `max_voxels` are those of the
    series. The defaults admit 2000 slices of 512 x 512 at once and refuse what no CT or MR scanner makes. Voxels of
    more than `in_file_above_bytes` are laid in a file, and with them what is made of them (`contour.core.places`).
    """

    max_files: int = 50_000
    max_header_bytes: int = 32 * 1024**2
    max_file_bytes: int = 64 * 1024**2
    max_slices: int = 4_000
    max_voxels: int = 1_000_000_000
    in_file_above_bytes: int | None = None
