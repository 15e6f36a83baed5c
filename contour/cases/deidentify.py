"""Images and structure sets without the patient, for research: DICOM PS3.15 annex E.

The Basic Application Level Confidentiality Profile (E.2) with Retain Longitudinal Temporal Information with Modified
Dates (E.3.6) and Clean Descriptors (E.3.5). Which attribute becomes what is table E.1-1, as `dicom-anonymizer` keeps
it; it is applied here at every depth of a data set. UIDs and pseudonyms are keyed (HMAC): the same key gives the same
ones, so that images, structure sets and registrations go on to refer to each other, and later exports to earlier ones;
without the key nobody can tell whose they are. All dates of a patient move by the same number of weeks. Geometry and
pixels stay as they are: faces can be seen in images of a head; images that say that text is burnt in are left out.

What was written is read again before it appears, and searched for all that identified anybody in the export.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pydicom
from pydicom import DataElement, Dataset
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_has_tag
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from contour import __version__
from contour.cases.aliases import Aliases, How, load_aliases
from contour.core.errors import ConfigError, StillIdentified
from contour.core.keyed import Keyed
from contour.core.staging import staged
from contour.dicom.folder import printable
from contour.dicom.uids import derived_uid

# Objects that hold images, geometry and contours; screen captures, reports and documents hold people.
KEPT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.66.1": "REG",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN",
}
PROFILE_EDITION = "dicomfields_2026c"
METHOD = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
STANDARD_UIDS = "1.2.840.10008."
WEEKS = (52, 520)  # a patient's dates move back by at least one and at most ten years
SHORTEST_WORD = 3  # of a name; initials stand in every text
SHORTEST_TEXT = 4  # of other texts that identify

_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ROI_NAME, _STRUCTURE_SET_LABEL = 0x30060026, 0x30060002
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"})
# Besides names of persons: what tells who or where, in whole.
_IDENTIFYING = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "OtherPatientIDs",
        "PatientBirthDate",
        "PatientBirthName",
        "PatientMotherBirthName",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "MedicalRecordLocator",
        "AccessionNumber",
        "InstitutionName",
        "InstitutionAddress",
        "InstitutionalDepartmentName",
        "RequestingService",
        "RequestedProcedureID",
        "PerformedProcedureStepID",
        "StationName",
        "DeviceSerialNumber",
    }
)
_SENDERS = ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle")
_KINDS = {
    "X_TAGS": "remove",
    "Z_TAGS": "empty",
    "X_Z_TAGS": "empty",
    "D_TAGS": "dummy",
    "Z_D_TAGS": "dummy",
    "X_D_TAGS": "dummy",
    "X_Z_D_TAGS": "dummy",
    "U_TAGS": "uid",
    "X_Z_U_STAR_TAGS": "uid",
}


class Fate(StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    NOT_DICOM = "not-dicom"
    DAMAGED = "damaged"
    OTHER_OBJECT = "other-object"
    BURNED_IN = "burned-in"


@dataclass(frozen=True)
class FileFate:
    """A file of the source, by its name below it, what became of it, and as what it was written."""

    source: str
    fate: Fate
    written: str | None = None
    remark: str = ""


@dataclass(frozen=True)
class Link:
    """Who a pseudonym stands for: to be kept apart from the export, or not at all."""

    pseudonym: str
    patient_id: str
    patient_name: str
    days: int


@dataclass(frozen=True)
class Deidentified:
    """An export: its files, who they stand for, and names of ROIs that were not understood, with how often."""

    files: tuple[FileFate, ...]
    links: tuple[Link, ...]
    unknown_names: dict[str, int] = field(default_factory=dict)


Progress = Callable[[str, float], None]


def deidentify(
    source: Path, output: Path, secret: bytes, *, keep_names: bool = False, progress: Progress | None = None
) -> Deidentified:
    """Write what lies in the folder `source` and below it into `output`, without those it is of.

    Files appear under `output` by pseudonym, all together when every one of them was read again and found clean. Names
    of ROIs stay where they are understood as anatomy, targets or planning structures (`contour.cases.aliases`), or
    with `keep_names` wherever they hold nothing that identifies a person; others become numbers.

    Raises:
        ConfigError: `source` is no folder or holds nothing to write, or `output` holds something.
        StillIdentified: a file that was written tells who it is of.
        OSError: a disk.
    """
    tell = progress or (lambda _, __: None)
    if not source.is_dir():
        raise ConfigError(str(source), "is not a folder", "a folder with DICOM files")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(str(output), "holds something already", "a new or empty folder")
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    known = _KnownPeople()
    work = _Work(Keyed(secret), known, load_aliases(), keep_names)
    fates = []
    # Values that break a rule of their kind come as they are: none of them is kept for that.
    with disable_value_validation(), staged(output) as stage:
        for done, path in enumerate(paths):
            tell("identities", done / len(paths))
            known.learn(path)
        tell("identities", 1.0)
        for done, path in enumerate(paths):
            tell("deidentify", done / len(paths))
            fates.append(work.export(path, printable(path.relative_to(source).as_posix()), stage))
        if not any(fate.fate is Fate.WRITTEN for fate in fates):
            raise ConfigError(str(source), f"{len(paths)} files, none of them an image or RT object", "DICOM objects")
    tell("deidentify", 1.0)
    return Deidentified(tuple(fates), tuple(work.links.values()), dict(work.unknown_names))


class _KnownPeople:
    """All that identifies anybody in an export: words of names, texts in whole, UIDs, dates of birth."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.texts: set[str] = set()
        self.uids: set[str] = set()

    def learn(self, path: Path) -> None:
        """Take in what a file tells; of one that cannot be read nothing will be written."""
        try:
            dataset = _read(path, stop_before_pixels=True)
        except ValueError:
            return
        if dataset is None:
            return
        for element in _elements(dataset):
            values = [str(value).strip() for value in _values(element)]
            if element.VR == "PN":
                self.words |= {word for value in values for word in _words(value) if len(word) >= SHORTEST_WORD}
            elif element.VR == "UI":
                self.uids |= {value for value in values if value and not value.startswith(STANDARD_UIDS)}
            elif element.keyword in _IDENTIFYING:
                self.texts |= {value.casefold() for value in values if len(value) >= SHORTEST_TEXT}
        self.texts -= {"none", "unknown", "anonymous", "anonymized"}

    def told_by(self, text: str) -> bool:
        """Whether a text holds any of it."""
        folded = text.casefold()
        return not self.words.isdisjoint(_words(text)) or any(known in folded for known in self.texts)


class _Work:
    """One export: its key, its rules, and what it came upon."""

    def __init__(self, keyed: Keyed, known: _KnownPeople, aliases: Aliases, keep_names: bool) -> None:
        self._keyed, self._known, self._aliases, self._keep_names = keyed, known, aliases, keep_names
        self._rules = _profile()
        self.links: dict[str, Link] = {}
        self.unknown_names: Counter[str] = Counter()

    def export(self, path: Path, name: str, stage: Path) -> FileFate:
        """Write one file into `stage`, and prove it."""
        try:
            dataset = _read(path)
        except ValueError as error:
            return FileFate(name, Fate.DAMAGED, remark=printable(str(error)))
        if dataset is None:
            return FileFate(name, Fate.NOT_DICOM)
        kind = KEPT_CLASSES.get(str(dataset.get("SOPClassUID", "")))
        if kind is None:
            return FileFate(name, Fate.OTHER_OBJECT, remark=pydicom.uid.UID(str(dataset.get("SOPClassUID", "?"))).name)
        if str(dataset.get("BurnedInAnnotation", "NO")).upper() == "YES":
            return FileFate(name, Fate.BURNED_IN)
        link = self._link(dataset)
        pixels = _pixels_sha256(dataset)
        self._clean(dataset, link)
        self._mark(dataset, link)
        folder = stage / link.pseudonym / f"{kind}_{self._keyed.name('series', str(dataset.SeriesInstanceUID))[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self._keyed.name('file', str(dataset.SOPInstanceUID))[:16]}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        _prove(file, name, self._known, pixels)
        return FileFate(name, Fate.WRITTEN, file.relative_to(stage).as_posix())

    def _link(self, dataset: Dataset) -> Link:
        patient_id = str(dataset.get("PatientID", "")).strip()
        # Without an identifier nothing says that two studies are of one person.
        whose = patient_id or f"study {dataset.get('StudyInstanceUID', '')}"
        if whose not in self.links:
            issuer = str(dataset.get("IssuerOfPatientID", ""))
            weeks = WEEKS[0] + int(self._keyed.name("weeks", issuer, whose), 16) % (WEEKS[1] - WEEKS[0] + 1)
            pseudonym = "P" + self._keyed.name("patient", issuer, whose)[:12].upper()
            self.links[whose] = Link(pseudonym, patient_id, str(dataset.get("PatientName", "")), -7 * weeks)
        return self.links[whose]

    def _clean(self, dataset: Dataset, link: Link) -> None:
        """Table E.1-1 and the options, in place, at every depth."""
        dataset.remove_private_tags()
        for element in list(dataset):
            if element.tag in _PIXELS:
                continue
            action = self._rules(element)
            if element.VR == "SQ" and action in ("keep", "uid"):
                for item in element.value:
                    self._clean(item, link)
            elif element.VR == "UI":
                element.value = self._new_uids(element)
            elif element.tag == _ROI_NAME:
                element.value = self._roi_name(str(element.value), int(dataset.get("ROINumber", 0)))
            elif element.tag == _STRUCTURE_SET_LABEL:
                element.value = "STRUCTURES"
            elif element.VR in ("DA", "DT") and element.tag.group != 0x0010:
                element.value = [_moved(str(value), link.days) for value in _values(element)] or ""
            elif element.VR == "TM" and element.tag.group != 0x0010:
                continue  # the option keeps times of the day
            elif action == "remove" or not dictionary_has_tag(element.tag):
                del dataset[element.tag]
            elif action == "empty":
                element.value = [] if element.VR == "SQ" else None
            elif action == "dummy":
                _replace_by_dummy(dataset, element)

    def _new_uids(self, element: DataElement) -> list[str] | str:
        """Keyed, but for those of the standard: classes, syntaxes, well-known frames of reference."""
        found = [str(value) for value in _values(element)]
        new = [uid if not uid or uid.startswith(STANDARD_UIDS) else self._uid(uid) for uid in found]
        return new[0] if len(new) == 1 else new

    def _uid(self, uid: str) -> str:
        return derived_uid("de-identified", self._keyed.name("uid", uid))

    def _roi_name(self, name: str, number: int) -> str:
        clean = not self._known.told_by(name)
        if clean and (self._keep_names or self._aliases.read(name).how not in (How.UNMAPPED, How.CONTRADICTED)):
            return name
        self.unknown_names[printable(name)] += 1
        return f"Unnamed_{number:02d}"

    def _mark(self, dataset: Dataset, link: Link) -> None:
        """What says that this was done, and how: PS3.15 E.2."""
        dataset.PatientName = dataset.PatientID = link.pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.LongitudinalTemporalInformationModified = "MODIFIED"
        dataset.DeidentificationMethod = f"contour {__version__}: PS3.15 E, {PROFILE_EDITION.split('_')[1]}"
        dataset.DeidentificationMethodCodeSequence = [_code(value, meaning) for value, meaning in METHOD]
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for keyword in _SENDERS:
            dataset.file_meta.pop(keyword, None)
        for tag in [element.tag for element in dataset.file_meta if element.tag >= 0x00020100]:
            del dataset.file_meta[tag]
        dataset.preamble = b"\0" * 128


def _profile() -> Callable[[DataElement], str]:
    """What table E.1-1 does with an element: keep, remove, empty, dummy or uid."""
    try:
        from dicomanonymizer.dicomfields_selector import (  # noqa: PLC0415 - an extra
            dicom_anonymization_database_selector,
        )
    except ModuleNotFoundError as error:
        found = f"{error.name} is not installed"
        raise ConfigError(
            "de-identification", found, "the research install: pip install 'contour[research]'"
        ) from error
    table = dicom_anonymization_database_selector(PROFILE_EDITION)
    single: dict[tuple[int, ...], str] = {}
    ranges: list[tuple[tuple[int, ...], str]] = []
    for name, kind in _KINDS.items():
        for tag in table[name]:
            if len(tag) == 2:
                single[tuple(tag)] = kind
            else:
                ranges.append((tuple(tag), kind))

    def action(element: DataElement) -> str:
        group, number = element.tag.group, element.tag.element
        if (group, number) in single:
            return single[group, number]
        for (first_group, first, group_mask, mask), kind in ranges:
            if group & group_mask == first_group & group_mask and number & mask == first & mask:
                return kind
        return "keep"

    return action


def _replace_by_dummy(dataset: Dataset, element: DataElement) -> None:
    """A value of the same kind that tells nothing; a sequence loses its items."""
    if element.VR == "SQ":
        element.value = []
        return
    from dicomanonymizer.simpledicomanonymizer import replace_element  # noqa: PLC0415 - an extra

    try:
        replace_element(element)
    except NotImplementedError:  # a kind that the library has no dummy for
        del dataset[element.tag]


def _read(path: Path, *, stop_before_pixels: bool = False) -> Dataset | None:
    """A data set with its texts decoded; None where that is not DICOM.

    Raises:
        ValueError: it is damaged, or in an unknown character set.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        return None
    try:
        dataset.decode()
        for _ in _elements(dataset):
            pass
    except (EOFError, KeyError, LookupError, NotImplementedError, TypeError) as error:
        raise ValueError(str(error)) from error
    return dataset


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Every element at every depth, but for pixels."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        if element.tag not in _PIXELS:
            yield element


def _values(element: DataElement) -> Sequence[Any]:
    value = element.value
    if value is None or value == "":
        return []
    return list(value) if element.VM > 1 else [value]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[^\W_]+", text)}


def _moved(value: str, days: int) -> str:
    """A date, or a date with time, so many days later; what is no date becomes nothing."""
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})(.*)", value.strip())
    if not match:
        return ""
    try:
        moved = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}{match[4]}"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _pixels_sha256(dataset: Dataset) -> str:
    return hashlib.sha256(dataset.get("PixelData", None) or b"").hexdigest()


def _prove(file: Path, name: str, known: _KnownPeople, pixels_sha256: str) -> None:
    """Read a written file again and search it.

    Raises:
        StillIdentified: it tells who it is of, or its pixels are others.
    """
    dataset = pydicom.dcmread(file)
    for element in (*_elements(dataset.file_meta), *_elements(dataset)):
        where = f"{name}: {element.tag} {element.keyword or 'of no known name'}"
        if Tag(element.tag).is_private:
            raise StillIdentified(f"{where} is private, and was written all the same")
        if _tells(element, known):
            raise StillIdentified(f"{where} still holds what identifies a person, a place or an original object")
    if _pixels_sha256(dataset) != pixels_sha256:
        raise StillIdentified(f"{name}: the pixels that were written are not those that were read")
    raw, held = file.read_bytes(), dataset.get("PixelData", None) or b""
    head = raw[: raw.find(held[:256])] if held else raw
    told = next((uid for uid in known.uids if uid.encode() in head), None)
    if told is not None or any(word.encode() in head.lower() for word in _long(known.words)):
        raise StillIdentified(f"{name}: the bytes of the written file hold an original UID or a name")


def _tells(element: DataElement, known: _KnownPeople) -> bool:
    if element.VR == "UI":
        return not known.uids.isdisjoint(str(value) for value in _values(element))
    return element.VR in _TEXTS and any(known.told_by(str(value)) for value in _values(element))


def _long(words: Iterable[str]) -> list[str]:
    """Words that do not stand in other bytes by chance."""
    return [word for word in words if len(word.encode()) >= 6]
