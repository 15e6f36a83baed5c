"""Cases for the network of the eyes, optic pathway and cochleae: label maps alone, in a box about what it draws.

No CT with such labels is at hand whose licence allows it: two raters drew them on scans whose images are not there, and
whole heads bring the chiasm, which the raters left out. Their optic nerves are of varying length and teach nothing.
"""

from functools import partial
from pathlib import Path

import numpy as np

from contour.core.errors import ConfigError
from contour.imaging.preprocess import normalized
from contour.training.appearance import draw_appearance
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import UNKNOWN, PreparedCase
from scripts.head_ct.heads import LabelledHead, Making, rater_head, whole_head
from scripts.head_ct.prepare import (
    HELD_OUT_SCANS,
    LENDERS,
    Source,
    head_case,
    making,
    training_heads,
    training_scans,
    written,
)

CUBE_MM = 1.25
ABOUT = ("Eye_L", "Eye_R", "OpticNrv_L", "OpticNrv_R", "OpticChiasm", "Cochlea_L", "Cochlea_R", "Brainstem")
MARGIN_MM = 22.0
RATERS = ("oncologist", "radiographer")
DRAWN_IN_HEADS = ("Eye_L", "Eye_R", "OpticChiasm")
DRAWN_BY_RATERS = ("Eye_L", "Eye_R", "Lens_L", "Lens_R", "OpticNrv_L", "OpticNrv_R", "Cochlea_L", "Cochlea_R")
NERVES = ("OpticNrv_L", "OpticNrv_R")
ROUGH = ("seg_11", "seg_16")  # without a chiasm; with half the eyes
SHOWN_HEAD = "seg_17"


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases and how often each is shown; cases that are in `work` already stay as they are.

    Raises:
        ConfigError: the configuration says nothing of how tissues look.
        InputRefused: a file cannot be read.
    """
    raters = [
        Source(f"{scan}_{RATERS[i % 2]}", 1.0, partial(_rater, data, f"{scan}_{RATERS[i % 2]}", i, config))
        for i, scan in enumerate(training_scans(data))
    ]
    heads = [
        Source(name, 0.5, partial(_head, data, name, config)) for name in training_heads(data) if name not in ROUGH
    ]
    shown = [
        Source(
            f"{scan}_oncologist",
            0.0,
            partial(_with_image, partial(_rater, data, f"{scan}_oncologist", i, config), config),
        )
        for i, scan in enumerate(HELD_OUT_SCANS)
    ]
    shown.insert(1, Source(SHOWN_HEAD, 0.0, partial(_with_image, partial(_head, data, SHOWN_HEAD, config), config)))
    training = (*raters, *heads)
    weights = tuple(source.weight for source in training)
    return FitInput(written(training, work / "cases"), weights, written(tuple(shown), work / "validation"))


def _rater(data: Path, name: str, number: int, config: TrainingConfig) -> PreparedCase:
    lender = data / "brain" / "synthseg_head_labels" / LENDERS[number % len(LENDERS)]
    head = rater_head(data / "headneck" / "tcia_two_raters", name, lender, _about(name, config))
    return head_case(head, name, DRAWN_BY_RATERS, config)


def _head(data: Path, name: str, config: TrainingConfig) -> PreparedCase:
    head = whole_head(data / "brain" / "synthseg_head_labels", name, _about(name, config))
    return _without_nerves(head_case(head, name, DRAWN_IN_HEADS, config), head)


def _about(name: str, config: TrainingConfig) -> Making:
    made = making(name, CUBE_MM, config)
    return Making(made.spacing_mm, made.synthesis, made.rng, (ABOUT, MARGIN_MM))


def _without_nerves(case: PreparedCase, head: LabelledHead) -> PreparedCase:
    """The case with its optic nerves unknown; it lies on the head's grid."""
    labels = case.labels_zyx.copy()
    labels[head.mask(*NERVES)] = UNKNOWN
    return PreparedCase(case.name, case.image_zyx, labels, case.regions_zyx, case.drawn, case.tissues_zyx)


def _with_image(make: partial[PreparedCase], config: TrainingConfig) -> PreparedCase:
    """The case with one appearance, the same each time: what validation looks at."""
    case = make()
    if config.synthesis is None or case.tissues_zyx is None:
        raise ConfigError(config.name, "no synthesis", "how the tissues of label maps look")
    chance = np.random.RandomState(7)
    image = draw_appearance(case.tissues_zyx, config.synthesis, config.preprocessing.spacing_zyx_mm, chance)
    values = normalized(image, config.preprocessing).astype(np.float16)
    return PreparedCase(case.name, values, case.labels_zyx, case.regions_zyx, case.drawn)
