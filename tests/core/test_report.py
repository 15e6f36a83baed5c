import json

from contour.core.report import (
    Finding,
    PackageUse,
    RegistrationUse,
    RunReport,
    Severity,
    StructureReport,
    report_from_json,
    report_to_json,
)


def test_the_report_is_plain_json_that_says_it_is_for_review() -> None:
    finding = Finding("cut-by-scan", Severity.CHECK, "Печень reaches the first slice", "Liver", (0,))
    report = RunReport(
        contour_version="1",
        protocol="p",
        released=True,
        series_instance_uid="1.2",
        rtstruct_sop_instance_uid="2.25.3",
        packages=(PackageUse("tiny", "1", "ab", "cpu"),),
        structures=(StructureReport("Liver", drawn=True, volume_ml=1.5, confidence=None, findings=(finding,)),),
        findings=(),
        seconds={"read": 0.5},
    )
    text = report_to_json(report)
    content = json.loads(text)
    assert "Печень" in text
    assert content["structures"][0]["findings"][0]["severity"] == "check"
    assert content["structures"][0]["confidence"] is None
    assert content["packages"][0]["sha256"] == "ab"
    assert "review" in content["review"]


def test_a_report_is_read_back_with_how_another_image_was_brought() -> None:
    matrix = ((1.0, 0.0, 0.0, 4.5), (0.0, 1.0, 0.0, -2.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    use = RegistrationUse("1.2.3", "MR", "sought", matrix, 0.0, ("Brain",), 0.8, 1.7, None)
    report = RunReport("1", "p", False, "1.2", None, (), (), (), registration=use)
    assert report_from_json(report_to_json(report), "report.json") == report
