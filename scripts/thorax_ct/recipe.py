"""How `models/thorax_ct` is made: `python -m scripts.starter.build thorax_ct --data DATA`."""

from dataclasses import replace
from pathlib import Path

from contour.training.config import TrainingConfig
from contour.training.fit import FitInput, fit, trained_network
from contour.training.prepared import load_prepared, save_prepared
from contour.training.self_training import opinion_of, with_opinion
from scripts.starter.recipe import Recipe
from scripts.thorax_ct.cases import (
    CHEST,
    DRAWN,
    LABEL_MAPS,
    prepare_drawn,
    prepare_labelled,
    prepare_necks,
    prepare_tissue_maps,
)
from scripts.thorax_ct.evaluate import validation

FIRST_EPOCHS = 20  # before the network is asked what it sees of organs that nobody drew
DRAWN_CHESTS = tuple(file.stem for file in sorted(DRAWN.glob("*.yaml")))
# How often the cases of a kind are shown, all together: by the name that theirs begin with.
WEIGHTS = {CHEST: 1.5, "totalseg_example": 0.6, "totalseg_slab": 0.4, LABEL_MAPS[0]: 1.5, LABEL_MAPS[1]: 0.8}
DRAWN_WEIGHT, NECKS_WEIGHT = 6.0, 1.0


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases, how often each is shown, and the network of a first training, whose opinion is in the cases."""
    first, second = work / "cases", work / "cases_second"
    for step in (prepare_labelled, prepare_drawn, prepare_tissue_maps, prepare_necks):
        first.mkdir(parents=True, exist_ok=True)
        step(data, first, config)
    short = replace(config, schedule=replace(config.schedule, epochs=FIRST_EPOCHS))
    network = trained_network(short, fit(short, weighted(first), work / "train_first"))
    second.mkdir(exist_ok=True)
    for path in sorted(first.glob("*.npz")):
        target = second / path.name
        if path.stem in DRAWN_CHESTS and not target.exists():
            save_prepared(with_opinion(load_prepared(path), config, opinion_of(network, config)), target)
        elif not target.exists():
            target.hardlink_to(path)
    return replace(weighted(second), start=network.state_dict())


def weighted(folder: Path) -> FitInput:
    """All cases, so that the real chests are seen most."""
    paths = tuple(sorted(folder.glob("*.npz")))
    kinds = [_kind(path.stem) for path in paths]
    return FitInput(paths, tuple(weight / kinds.count((name, weight)) for name, weight in kinds))


def _kind(case: str) -> tuple[str, float]:
    """What a case is one of, and how often all of these are shown."""
    if case in DRAWN_CHESTS:
        return "drawn", DRAWN_WEIGHT
    return next(((name, weight) for name, weight in WEIGHTS.items() if case.startswith(name)), ("necks", NECKS_WEIGHT))


THORAX_CT = Recipe(
    name="thorax_ct",
    prepare=prepare,
    validation=validation,
    protocol="thorax_oar",
    data=(
        "LIDC-IDRI-0001 (TCIA), labels by TotalSegmentator: chest CT",
        "TotalSegmentator example CT at 3 mm and a slab of 20 slices, labels by TotalSegmentator: abdomen",
        "TotalSegmentator data set s0327 and s0328: label maps only, an appearance drawn for every patch",
        "LIDC-IDRI-0314, LIDC-IDRI-1011, NSCLC Radiogenomics R01-001, CMB-CRC 01068, 4D-Lung HM10395, ACRIN-FLT-Breast "
        "013 (TCIA): mediastinum drawn by hand by the developers, who are no clinicians; lungs by HU; organs of the "
        "abdomen by the network of a first training where it was consistent",
        "AAPM OpenKBP challenge, planning CTs of the head and neck: oesophagus and cord",
    ),
    licences=(
        "CC BY 3.0 and CC BY 4.0 (TCIA)",
        "CC BY 4.0 (TotalSegmentator data set)",
        "Apache-2.0 (TotalSegmentator examples)",
        "MIT (OpenKBP)",
    ),
)
