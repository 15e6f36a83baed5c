import json

from contour.core.report import Finding, PackageUse, RunReport, Severity, StructureReport, report_to_json


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
