"""How `models/head_ct` is made: `python -m scripts.starter.build head_ct --data DATA`."""

from scripts.head_ct.prepare import prepare
from scripts.head_ct.validation import human_limit, validation
from scripts.starter.recipe import Recipe

RATERS = (
    "Label maps of 16 scans of the head and neck (TCIA) by an oncologist or a radiographer, published by DeepMind: no "
    "image, surroundings borrowed from whole heads, an appearance drawn for every patch"
)
RATERS_LICENCE = "CC BY 4.0 (TCIA and DeepMind label maps)"
HEADS_LICENCE = "Apache-2.0 (SynthSeg label maps, TotalSegmentator examples)"

HEAD_CT = Recipe(
    name="head_ct",
    prepare=prepare,
    validation=validation,
    protocol="head_oar",
    data=(
        "AAPM OpenKBP challenge, 120 planning CTs of the head and neck with clinical contours: wrong ones left out, "
        "the brain by its HU, every second one shown again on a made table, in a made fixation mask",
        RATERS,
        "Label maps of 16 whole heads published with SynthSeg: no image, an appearance drawn for every patch",
        "LIDC-IDRI-0001 (TCIA) and a slab of a CT, labels by TotalSegmentator: cord and oesophagus, and no head",
    ),
    licences=("MIT (OpenKBP)", RATERS_LICENCE, HEADS_LICENCE, "CC BY 3.0 (LIDC-IDRI)"),
    tolerance_mm=2.0,
    measure=human_limit,
)
