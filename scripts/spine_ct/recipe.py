"""How `models/spine_ct` is made: `python -m scripts.starter.build spine_ct --data DATA`."""

from scripts.spine_ct.measure import measure
from scripts.spine_ct.prepare import prepare
from scripts.spine_ct.validation import validation
from scripts.starter.recipe import Recipe

SPINE_CT = Recipe(
    name="spine_ct",
    prepare=prepare,
    validation=validation,
    protocol="spine_oar",
    data=(
        "LIDC-IDRI-0001 (TCIA), vertebrae by TotalSegmentator, taken apart into bodies and arches: chest CT",
        "TotalSegmentator: a slab of 20 slices, labels by TotalSegmentator",
        "TotalSegmentator data set s0327 and s0328: label maps only, every patch is drawn anew",
        "LIDC-IDRI-0314, LIDC-IDRI-1011, NSCLC Radiogenomics R01-001, CMB-CRC 01068, 4D-Lung HM10395, ACRIN-FLT-Breast "
        "013 (TCIA): no labels; bodies' centres placed by hand, LIDC-IDRI-0001's vertebrae fitted to them",
    ),
    licences=(
        "CC BY 3.0 (TCIA)",
        "CC BY 4.0 (TCIA, TotalSegmentator data set)",
        "Apache-2.0 (TotalSegmentator examples)",
    ),
    tolerance_mm=3.0,
    measure=measure,
)
