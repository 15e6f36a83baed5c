"""What lies in a folder: every file looked at, its header read in bounded steps, nothing decoded."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.uid import UID

from contour.core.errors import InputRefused, Reason
from contour.core.report import Finding, Severity
from contour.dicom.part10 import FileElements, read_elements
from contour.dicom.series import ReadLimits
from contour.dicom.slice_header import SLICE_CLASSES, WANTED, Tag, Values

ENHANCED_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image Storage
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
    }
)
_DICOMDIR = "1.2.840.10008.1.3.10"
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class FolderSeries:
    """The CT or MR images of one Series Instance UID (as written in the files, unchecked).

    `slices` are the images with a position; `localizers` and `without_position` are set aside; `enhanced` are
    multi-frame images; `damaged` could be followed only as far as their series.
    """

    uid: str
    slices: tuple[FileElements, ...]
    localizers: tuple[FileElements, ...]
    without_position: tuple[FileElements, ...]
    enhanced: tuple[FileElements, ...]
    damaged: tuple[FileElements, ...]


@dataclass(frozen=True)
class FolderContents:
    """A folder's images by series, sorted by UID, and what else there is."""

    folder: Path
    files: int
    series: tuple[FolderSeries, ...]
    homeless: tuple[InputRefused, ...]
    findings: tuple[Finding, ...]


def scan_folder(folder: Path, limits: ReadLimits) -> FolderContents:
    """Look at every file below `folder`.

    Raises:
        InputRefused: there is no such folder, or it holds more files than allowed.
    """
    return scan_files(folder, _files_below(folder, limits.max_files), limits)


def scan_files(folder: Path, paths: Sequence[Path], limits: ReadLimits) -> FolderContents:
    """Look at `paths`, which lie in `folder` or below it.

    `homeless` holds the problems of damaged files that do not even tell their series: any series might miss them.
    """
    images: dict[str, list[FileElements]] = {}
    others: Counter[str] = Counter()
    foreign: list[str] = []
    homeless: list[InputRefused] = []
    for path in paths:
        name = printable(path.relative_to(folder).as_posix())
        if not path.is_file():  # a pipe or a device would never end
            foreign.append(name)
            continue
        elements = read_elements(path, name, WANTED, limits.max_header_bytes)
        if elements is None:
            if should_be_dicom(path):
                allowed = "DICOM PS3.10 files, or other names"
                homeless.append(InputRefused(Reason.UNREADABLE_FILE, name, "is not a DICOM file", allowed))
            else:
                foreign.append(name)
            continue
        sop_class = sop_class_of(elements)
        if sop_class in SLICE_CLASSES | ENHANCED_CLASSES and Tag.SERIES_INSTANCE_UID in elements.values:
            images.setdefault(Values(elements).text(Tag.SERIES_INSTANCE_UID), []).append(elements)
        elif elements.problem is not None and (sop_class in SLICE_CLASSES or not sop_class):
            homeless.append(elements.problem)
        elif sop_class in SLICE_CLASSES | ENHANCED_CLASSES:
            images.setdefault("", []).append(elements)
        elif sop_class != _DICOMDIR:
            others[UID(sop_class, validation_mode=IGNORE).name] += 1
    series = tuple(_sorted_out(uid, images[uid]) for uid in sorted(images))
    return FolderContents(folder, len(paths), series, tuple(homeless), _set_aside(others, foreign))


def sop_class_of(elements: FileElements) -> str:
    """The SOP Class of a file.

    What the file meta information calls a slice is one, so that damage to its data set cannot make it something else
    to be set aside; of other files the data set decides.
    """
    stated = elements.media_storage_sop_class_uid
    return stated if stated in SLICE_CLASSES else Values(elements).text(Tag.SOP_CLASS_UID) or stated


def shown(names: list[str]) -> str:
    """A few names and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _files_below(folder: Path, max_files: int) -> list[Path]:
    if not folder.is_dir():
        raise InputRefused(Reason.NO_IMAGES, str(folder), "is not a folder", "a folder with DICOM files")
    paths: list[Path] = []
    for parent, _, names in os.walk(folder, onerror=_refuse_unreadable):
        paths.extend(Path(parent, name) for name in names if not name.startswith("."))
        if len(paths) > max_files:
            raise InputRefused(Reason.TOO_LARGE, str(folder), f"more than {max_files} files", f"at most {max_files}")
    return sorted(paths)


def _refuse_unreadable(error: OSError) -> None:
    """A folder that cannot be listed may hold slices, whose lack at an end of the image nothing else would show."""
    found = f"cannot be listed ({error.strerror})"
    raise InputRefused(Reason.UNREADABLE_FILE, printable(str(error.filename)), found, "folders that can be read")


def printable(name: str) -> str:
    """`name` with what is not Unicode, or moves a terminal's cursor, spelled out: it goes into messages and reports."""
    known = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in known)


def should_be_dicom(path: Path) -> bool:
    """Whether a file without the DICOM mark claims to be DICOM by its name, or begins like a bare data set."""
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as stream:
        head = stream.read(8)
    # Group 0008 in little or big endian, a low element number, and a plausible short length or a VR.
    return head[:2] in (b"\x08\x00", b"\x00\x08") and len(head) == 8 and (head[4:6].isalpha() or head[6:8] == b"\0\0")


def _sorted_out(uid: str, images: list[FileElements]) -> FolderSeries:
    groups: dict[str, list[FileElements]] = {k: [] for k in ("slices", "local", "lost", "enhanced", "damaged")}
    for elements in images:
        groups[_kind(elements)].append(elements)
    parts = (tuple(groups[k]) for k in ("slices", "local", "lost", "enhanced", "damaged"))
    return FolderSeries(uid, *parts)


def _kind(elements: FileElements) -> str:
    values = Values(elements)
    if sop_class_of(elements) in ENHANCED_CLASSES:
        return "enhanced"
    if elements.problem is not None:
        return "damaged"
    if "LOCALIZER" in values.text(Tag.IMAGE_TYPE).upper().split("\\"):
        return "local"
    return "slices" if values.raw(Tag.IMAGE_POSITION_PATIENT) else "lost"


def _set_aside(others: Counter[str], foreign: list[str]) -> tuple[Finding, ...]:
    findings = []
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        findings.append(Finding("other-objects", Severity.INFO, f"Set aside, not images to be contoured: {kinds}."))
    if foreign:
        findings.append(Finding("not-dicom", Severity.INFO, f"Set aside, not DICOM: {shown(foreign)}."))
    return tuple(findings)
