"""How `models/thorax_ct` is made: `python -m scripts.starter.build thorax_ct --data DATA`."""

from dataclasses import replace
from pathlib import Path

from contour.training.config import TrainingConfig
from contour.training.fit import FitInput, fit, trained_network
from scripts.starter.recipe import Recipe
from scripts.thorax_ct.evaluate import validation
from scripts.thorax_ct.prepare import ATLAS, prepare_all
from scripts.thorax_ct.refine import refine_all

FIRST_EPOCHS = 14  # before the network is asked for its own opinion of the propagated labels


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Prepared cases whose propagated labels a first training has refined, its weights, and how often each is shown."""
    prepare_all(data, work / "cases", config)
    first = replace(config, schedule=replace(config.schedule, epochs=FIRST_EPOCHS))
    opinion = trained_network(config, fit(first, weighted(work / "cases"), work / "train_first"))
    refine_all(work / "cases", work / "cases_refined", opinion, config)
    return replace(weighted(work / "cases_refined"), start=opinion.state_dict())


def weighted(folder: Path) -> FitInput:
    """All cases, so that the real ones of the chest are seen most."""
    paths = tuple(sorted(folder.glob("*.npz")))
    return FitInput(paths, tuple(_weight(path.stem) for path in paths))


def _weight(name: str) -> float:
    if name.startswith(ATLAS):
        return 1.5
    if "s0327" in name and "synthetic" in name:
        return 0.5
    if "synthetic" in name:
        return 0.15
    return 0.6 if name.startswith("totalseg") else 1.0


THORAX_CT = Recipe(
    name="thorax_ct",
    prepare=prepare,
    validation=validation,
    protocol="thorax_oar",
    data=(
        "LIDC-IDRI-0001 (TCIA), labels by TotalSegmentator: chest CT",
        "TotalSegmentator example CT at 3 mm and a slab of 20 slices, labels by TotalSegmentator: abdomen",
        "TotalSegmentator data set s0327 and s0328: label maps only, images synthesized from them",
        "LIDC-IDRI-0314, LIDC-IDRI-1011, NSCLC Radiogenomics R01-001, CMB-CRC 01068, 4D-Lung HM10395, ACRIN-FLT-Breast "
        "013 (TCIA): no labels of their own; propagated from LIDC-IDRI-0001, lungs and trachea by HU, refined by the "
        "network",
    ),
    licences=(
        "CC BY 3.0 (TCIA)",
        "CC BY 4.0 (TCIA, TotalSegmentator data set)",
        "Apache-2.0 (TotalSegmentator examples)",
    ),
)
