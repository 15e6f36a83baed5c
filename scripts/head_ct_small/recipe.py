"""How `models/head_ct_small` is made: `python -m scripts.starter.build head_ct_small --data DATA`."""

from pathlib import Path

from scripts.head_ct.recipe import HEADS_LICENCE, RATERS, RATERS_LICENCE
from scripts.head_ct.validation import human_limit, small_validation
from scripts.head_ct_small.prepare import prepare
from scripts.starter.recipe import Recipe

HEAD_CT_SMALL = Recipe(
    name="head_ct_small",
    prepare=prepare,
    validation=small_validation,
    protocol=str(Path(__file__).parent / "protocol.yaml"),
    data=(RATERS, "Label maps of 14 whole heads published with SynthSeg: eyes and chiasm"),
    licences=(RATERS_LICENCE, HEADS_LICENCE),
    tolerance_mm=2.0,
    measure=human_limit,
)
