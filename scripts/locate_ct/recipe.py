"""How `models/locate_ct` is made: `python -m scripts.starter.build locate_ct --data DATA`."""

from pathlib import Path

from scripts.locate_ct.prepare import prepare
from scripts.locate_ct.validation import measure, validation
from scripts.starter.recipe import Recipe

LOCATE_CT = Recipe(
    name="locate_ct",
    prepare=prepare,
    validation=validation,
    protocol=str(Path(__file__).parent / "protocol.yaml"),
    data=(
        "LIDC-IDRI-0001 (TCIA), labels by TotalSegmentator: chest CT",
        "TotalSegmentator slab of 20 slices, labels by TotalSegmentator: abdomen",
        "TotalSegmentator data set s0327 and s0328: label maps only, images synthesized from them",
        "LIDC-IDRI-0314, LIDC-IDRI-1011, NSCLC Radiogenomics R01-001, CMB-CRC 01068, 4D-Lung HM10395, ACRIN-FLT-Breast "
        "013 (TCIA): mediastinum drawn by the developers, lungs by HU",
        "AAPM OpenKBP challenge, 120 planning CTs of the head and neck: clinical contours; brain and lungs by HU",
        "Label maps of 16 whole heads published with SynthSeg: images synthesized from them",
    ),
    licences=(
        "CC BY 3.0 (TCIA)",
        "CC BY 4.0 (TCIA, TotalSegmentator data set)",
        "Apache-2.0 (TotalSegmentator examples, SynthSeg)",
        "MIT (OpenKBP)",
    ),
    tolerance_mm=8.0,
    measure=measure,
)
