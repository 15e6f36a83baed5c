"""Prepared cases for the network that locates: whole images, each seen as often as its site needs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from contour.cases.store import Case
from contour.training.config import TrainingConfig
from contour.training.fit import FitInput
from contour.training.prepared import prepare_case, save_prepared
from scripts.head_ct.openkbp import list_patients
from scripts.locate_ct.cases import chest_case, neck_case, synthetic_head, synthetic_trunk, trunk_case
from scripts.thorax_ct.cases import CHEST, CONTRAST_SHARES, DRAWN, LABEL_MAPS

SLAB = "totalseg_slab20"
HELD_OUT_ABDOMEN = "totalseg_example_3mm"  # the only whole abdomen of a patient: it judges
HEADS = tuple(f"seg_{i:02d}" for i in range(1, 17))  # 17 to 20 judge
SYNTHETIC_TRUNKS = 8  # of each label map
SYNTHETIC_HEADS = 2


@dataclass(frozen=True)
class Source:
    """A case, how often it is seen relative to the others, and how it is made."""

    name: str
    weight: float
    make: Callable[[], Case]


def prepare(data: Path, work: Path, config: TrainingConfig) -> FitInput:
    """Writes every case that is not yet in `work`/cases, and says how often each is to be seen."""
    training = (*_chests(data), *_trunks(data), *_heads(data), *_necks(data, training=True))
    looked_at = (
        Source(HELD_OUT_ABDOMEN, 0.0, partial(trunk_case, data, HELD_OUT_ABDOMEN)),
        _necks(data, training=False)[0],
    )
    paths = _written(training, work / "cases", config)
    return FitInput(paths, tuple(s.weight for s in training), _written(looked_at, work / "looked_at", config))


def _chests(data: Path) -> tuple[Source, ...]:
    return tuple(Source(path.stem, 1.5, partial(chest_case, data, path)) for path in sorted(DRAWN.glob("*.yaml")))


def _trunks(data: Path) -> tuple[Source, ...]:
    real = [
        Source(f"{CHEST}_contrast{int(100 * share):03d}", 1.5, partial(trunk_case, data, CHEST, share))
        for share in CONTRAST_SHARES
    ]
    synthetic = [
        Source(f"{name}_{i}", 1.0, partial(synthetic_trunk, data, name, i))
        for name in LABEL_MAPS
        for i in range(SYNTHETIC_TRUNKS)
    ]
    return (*real, Source(SLAB, 0.7, partial(trunk_case, data, SLAB)), *synthetic)


def _heads(data: Path) -> tuple[Source, ...]:
    return tuple(
        Source(f"{name}_{i}", 0.2, partial(synthetic_head, data, name, i))
        for name in HEADS
        for i in range(SYNTHETIC_HEADS)
    )


def _necks(data: Path, *, training: bool) -> tuple[Source, ...]:
    patients = list_patients(data / "headneck" / "openkbp")
    return tuple(Source(p.name, 0.1, partial(neck_case, data, p)) for p in patients if p.training is training)


def _written(sources: tuple[Source, ...], folder: Path, config: TrainingConfig) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{source.name}.npz" for source in sources)
    labels = tuple(replace(label, sources=()) for label in config.labels)  # cases have the network's own names
    for source, path in zip(sources, paths, strict=True):
        if not path.exists():
            save_prepared(prepare_case(source.make(), labels, config.preprocessing), path)
    return paths
