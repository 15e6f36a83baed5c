"""How `models/brain_mr` is made: `python -m scripts.starter.build brain_mr --data DATA`."""

from scripts.brain_mr.prepare import prepare
from scripts.brain_mr.validation import validation
from scripts.starter.recipe import Recipe

BRAIN_MR = Recipe(
    name="brain_mr",
    prepare=prepare,
    validation=validation,
    protocol="brain_mr",
    data=(
        "Label maps of 16 whole heads published with SynthSeg (no image; every patch is drawn anew)",
        "120 T1 crops about one hippocampus, drawn by hand: Medical Segmentation Decathlon, task 4 (Vanderbilt "
        "University Medical Center), each also mirrored",
    ),
    licences=("Apache-2.0 (SynthSeg)", "CC BY-SA 4.0 (Medical Segmentation Decathlon)"),
    tolerance_mm=2.0,
    undrawn=("OpticNrv_L", "OpticNrv_R"),
)
