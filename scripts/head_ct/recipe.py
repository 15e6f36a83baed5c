"""How `models/head_ct` is made: `python -m scripts.starter.build head_ct --data DATA`.

Two trainings: no planning CT has eyes drawn, and none has everything. The network of the first is asked what it sees of
what a case lacks; where it sees the same in every view, the second one learns from it.
"""

from dataclasses import replace
from pathlib import Path

from contour.training.config import TrainingConfig
from contour.training.fit import FitInput, fit, trained_network
from contour.training.prepared import load_prepared, save_prepared
from contour.training.self_training import opinion_of, with_opinion
from scripts.head_ct.prepare import prepare as prepare_cases
from scripts.head_ct.validation import human_limit, validation
from scripts.starter.recipe import Recipe

RATERS = (
    "Label maps of 16 scans of the head and neck (TCIA) by an oncologist or a radiographer, published by DeepMind: no "
    "image, surroundings borrowed from whole heads, an appearance drawn for every patch"
)
RATERS_LICENCE = "CC BY 4.0 (TCIA and DeepMind label maps)"
HEADS_LICENCE = "Apache-2.0 (SynthSeg label maps, TotalSegmentator examples)"

FIRST_EPOCHS = 40  # before the network is asked what it sees


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases, how often each is shown, and the network of a first training, whose opinion is in the cases."""
    first = prepare_cases(data, work, config)
    short = replace(config, schedule=replace(config.schedule, epochs=FIRST_EPOCHS))
    network = trained_network(short, fit(short, first, work / "train_first"))
    second = work / "cases_second"
    second.mkdir(exist_ok=True)
    for path in first.cases:
        target = second / path.name
        if target.exists():
            continue
        if is_planning_ct(path.stem):
            save_prepared(with_opinion(load_prepared(path), config, opinion_of(network, config)), target)
        else:
            target.hardlink_to(path)
    cases = tuple(second / path.name for path in first.cases)
    return replace(first, cases=cases, start=network.state_dict())


def is_planning_ct(name: str) -> bool:
    """Whether a prepared case is a planning CT as it is; that on a made table teaches what was drawn alone."""
    return name.startswith("pt_") and not name.endswith("_on_table")


HEAD_CT = Recipe(
    name="head_ct",
    prepare=prepare,
    validation=validation,
    protocol="head_oar",
    data=(
        "AAPM OpenKBP challenge, 120 planning CTs of the head and neck with clinical contours: wrong ones left out, "
        "the brain by its HU, eyes and others by the network of a first training where it was consistent, every second "
        "one shown again on a made table, in a made fixation mask",
        RATERS,
        "Label maps of 16 whole heads published with SynthSeg: no image, an appearance drawn for every patch",
        "LIDC-IDRI-0001 (TCIA) and a slab of a CT, labels by TotalSegmentator: cord and oesophagus, and no head",
    ),
    licences=("MIT (OpenKBP)", RATERS_LICENCE, HEADS_LICENCE, "CC BY 3.0 (LIDC-IDRI)"),
    tolerance_mm=2.0,
    measure=human_limit,
)
