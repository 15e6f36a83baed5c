"""Text of a file in the script it was written in: PS3.5 6.1, PS3.3 C.12.1.1.2, and who was imaged."""

import warnings
from dataclasses import dataclass

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword

from contour.core.report import Finding, Severity
from contour.dicom.part10 import FileElements
from contour.dicom.series import PatientStudy
from contour.dicom.slice_header import Tag, Values

# What is undeclared must be ASCII; the bytes of another script are kept one to one, as Latin-1 does.
_UNDECLARED = "latin-1"
_DELIMITERS = frozenset({0x0D, 0x0A, 0x0C, 0x09, 0x5E, 0x3D})


@dataclass(frozen=True)
class Identity:
    """The decoded identity of a series, and what could not be decoded as declared."""

    study: PatientStudy
    series_description: str
    specific_character_set: tuple[str, ...]
    findings: tuple[Finding, ...]


def read_identity(elements: FileElements) -> Identity:
    """Patient, study and series texts of one file.

    Text that contradicts its declared character set is kept byte by byte as Latin-1 and reported: it is never
    replaced by question marks.

    Raises:
        InputRefused: the character set is not one of PS3.3 C.12.1.1.2.
    """
    texts = Texts(elements)
    values = Values(elements)
    study = PatientStudy(
        patient_name=texts.read(Tag.PATIENT_NAME),
        patient_id=texts.read(Tag.PATIENT_ID),
        patient_birth_date=values.text(Tag.PATIENT_BIRTH_DATE),
        patient_sex=values.text(Tag.PATIENT_SEX),
        study_instance_uid=values.uid(Tag.STUDY_INSTANCE_UID),
        study_id=texts.read(Tag.STUDY_ID),
        study_date=values.text(Tag.STUDY_DATE),
        study_time=values.text(Tag.STUDY_TIME),
        study_description=texts.read(Tag.STUDY_DESCRIPTION),
        accession_number=texts.read(Tag.ACCESSION_NUMBER),
        referring_physician_name=texts.read(Tag.REFERRING_PHYSICIAN_NAME),
    )
    description = texts.read(Tag.SERIES_DESCRIPTION)
    return Identity(study, description, texts.terms, texts.findings())


_COPIED = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "StudyInstanceUID": "study_instance_uid",
    "StudyID": "study_id",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
    "StudyDescription": "study_description",
    "AccessionNumber": "accession_number",
    "ReferringPhysicianName": "referring_physician_name",
}


def copy_identity(data_set: Dataset, identity: PatientStudy) -> None:
    """What images say of the patient and the study, into `data_set` as it is, whether or not it keeps today's rules."""
    for keyword, attribute in _COPIED.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None  # keywords are literals above
        data_set.add(DataElement(tag, dictionary_VR(tag), getattr(identity, attribute), validation_mode=IGNORE))


class Texts:
    """Decodes text elements of one file by its Specific Character Set (0008,0005)."""

    def __init__(self, elements: FileElements) -> None:
        self._values = Values(elements)
        declared = self._values.text(Tag.SPECIFIC_CHARACTER_SET)
        self.terms = tuple(t.strip() for t in declared.split("\\")) if declared else ()
        unknown = [t for t in self.terms if t not in python_encoding]
        if unknown:
            raise self._values.invalid(Tag.SPECIFIC_CHARACTER_SET, "the defined terms of PS3.3 C.12.1.1.2")
        self._contradicting: list[Tag] = []
        self._undeclared: list[Tag] = []

    def read(self, tag: Tag) -> str:
        """The text of an element; empty where it is absent."""
        value = self._values.raw(tag)
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        if not self.terms:
            self._undeclared.append(tag)
            return value.decode(_UNDECLARED)
        text = self._declared(value)
        if text is None:
            self._contradicting.append(tag)
            return value.decode(_UNDECLARED)
        return text

    def findings(self) -> tuple[Finding, ...]:
        """One finding where text was not ASCII undeclared, one where it contradicts what is declared."""
        found = []
        if self._undeclared:
            names = ", ".join(t.label for t in self._undeclared)
            message = f"{names} hold letters outside ASCII, but no character set is declared: kept byte by byte."
            found.append(Finding("character-set-undeclared", Severity.CHECK, message))
        if self._contradicting:
            names = ", ".join(t.label for t in self._contradicting)
            declared = " and ".join(self.terms)
            message = f"{names} cannot be read as the declared {declared}: kept byte by byte."
            found.append(Finding("character-set-contradicted", Severity.CHECK, message))
        return tuple(found)

    def _declared(self, value: bytes) -> str | None:
        if len(self.terms) == 1 and not self.terms[0].startswith("ISO 2022"):
            codec = python_encoding[self.terms[0]]
            try:
                return value.decode(codec)
            except UnicodeDecodeError:
                return None
        with warnings.catch_warnings(record=True) as raised:  # pydicom warns, and puts replacement characters
            warnings.simplefilter("always")
            text = decode_bytes(value, convert_encodings(list(self.terms)), set(_DELIMITERS))
        return None if raised or "�" in text else text
