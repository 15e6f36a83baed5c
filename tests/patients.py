"""Whom the fixtures' images are of."""

from contour.dicom.series import PatientStudy

IDENTITY = PatientStudy(
    patient_name="Әлия^Серік",
    patient_id="P-1",
    patient_birth_date="19700102",
    patient_sex="F",
    study_instance_uid="2.25.1001",
    study_id="S1",
    study_date="20260102",
    study_time="101112",
    study_description="Test",
    accession_number="A1",
    referring_physician_name="",
)
