"""A training run as a folder: configuration, the cases used, checkpoint, logs. From reference cases to a network.

::

    RUN/config.yaml   the TrainingConfig as used
    RUN/run.yaml      RunRecord: which cases with which content, the fold, where the weights came from
    RUN/last.ckpt     everything that training needs to go on; the averaged weights
    RUN/log/          csv/, tensorboard/, pictures/
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from contour import __version__
from contour.cases.parallel import in_order
from contour.cases.split import Split, check_split
from contour.cases.store import RECORD_FILE, CaseRecord, load_case, load_record
from contour.config import load_config, save_config
from contour.core.errors import ConfigError
from contour.training.config import TrainingConfig
from contour.training.fit import CHECKPOINT_FILE, FitInput, Hardware, fit
from contour.training.prepared import prepare_case, save_prepared
from contour.training.start import starting_weights

CONFIG_FILE = "config.yaml"
RUN_FILE = "run.yaml"
PREPARED_FOLDER = ".prepared"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class CaseUse:
    """A case that a run was given: its content decides what it taught."""

    name: str
    patient: str
    content_sha256: str


@dataclass(frozen=True)
class RunRecord:
    """What `run.yaml` holds. `held_out` names cases that neither trained nor validated, nor any of their patients."""

    contour_version: str
    training: tuple[CaseUse, ...]
    validation: tuple[CaseUse, ...]
    held_out: tuple[str, ...]
    fold: int | None
    start: str

    @property
    def data_sha256(self) -> str:
        """One checksum over what was trained on."""
        digest = sha256()
        for use in sorted(self.training, key=lambda u: u.name):
            digest.update(f"{use.name} {use.content_sha256}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class RunInput:
    """The folder of cases, how they are split, the fold that validates (None: train on every fold), and a start.

    `start` is a package's folder or a checkpoint of the same network, to go on from its weights.
    """

    cases: Path
    split: Split
    fold: int | None = None
    start: Path | None = None


def train(config: TrainingConfig, data: RunInput, run: Path, hardware: Hardware) -> Path:
    """Prepares the cases, trains, and returns the checkpoint in `run`; called again, it goes on where it stopped.

    Raises:
        ConfigError, InputRefused, PackageError: as `prepare_run`.
    """
    return fit(config, prepare_run(config, data, run), run, hardware)


def prepare_run(config: TrainingConfig, data: RunInput, run: Path, progress: Progress | None = None) -> FitInput:
    """Prepares the cases and the folder `run`, with its configuration and record, for `fit`.

    Raises:
        ConfigError: `run` holds a training of another configuration or of other cases, a case of the split is
            missing, a patient stands on two sides of it, or no case has any of the labels.
        InputRefused: a case's files are damaged.
        PackageError: the start's network does not fit.
    """
    record = _record(config, data)
    _refuse_other_run(run, config, record)
    prepared = prepare_cases(config, data.cases, (*record.training, *record.validation), progress or _silent)
    count = len(record.training)
    start = starting_weights(data.start, config) if data.start and not (run / CHECKPOINT_FILE).exists() else None
    run.mkdir(parents=True, exist_ok=True)
    save_config(config, run / CONFIG_FILE)
    save_config(record, run / RUN_FILE)
    return FitInput(prepared[:count], (1.0,) * count, prepared[count:], start)


def load_run_record(run: Path) -> RunRecord:
    """What the training in `run` was given.

    Raises:
        ConfigError: there is none, or it has a mistake.
    """
    return load_config(run / RUN_FILE, RunRecord)


def prepare_cases(
    config: TrainingConfig, cases: Path, uses: tuple[CaseUse, ...], progress: Progress
) -> tuple[Path, ...]:
    """The prepared cases, made once for a content, a grid and a list of labels, and kept beside the cases."""
    recipe = sha256(repr((config.preprocessing, config.labels)).encode()).hexdigest()[:12]
    folder = cases / PREPARED_FOLDER / recipe
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{use.name}-{use.content_sha256[:12]}.npz" for use in uses)
    missing = [(cases / use.name, path) for use, path in zip(uses, paths, strict=True) if not path.exists()]
    if missing:
        for done, _ in enumerate(in_order(partial(_prepare, config), missing, os.cpu_count() or 1), start=1):
            progress("prepare", done / len(missing))
    return paths


def _prepare(config: TrainingConfig, task: tuple[Path, Path]) -> None:
    folder, path = task
    names = tuple(name for label in config.labels for name in label.source_names)
    save_prepared(prepare_case(load_case(folder, names), config.labels, config.preprocessing), path)


def _record(config: TrainingConfig, data: RunInput) -> RunRecord:
    training = _records(data.cases, data.split.training_cases(data.fold))
    validation = _records(data.cases, data.split.validation_cases(data.fold))
    held_out = _records(data.cases, tuple(n for n in data.split.held_out if (data.cases / n / RECORD_FILE).is_file()))
    check_split(data.split, training + validation + held_out)
    usable = tuple(record for record in training if _teaches(record, config))
    if not usable:
        wanted = ", ".join(label.name for label in config.labels)
        raise ConfigError(str(data.cases), f"none of {len(training)} cases to train on has any of {wanted}", "one")
    looked_at = tuple(record for record in validation if _teaches(record, config))
    start = str(data.start.name) if data.start else ""
    return RunRecord(__version__, _uses(usable), _uses(looked_at), data.split.held_out, data.fold, start)


def _records(cases: Path, names: tuple[str, ...]) -> tuple[CaseRecord, ...]:
    for name in names:
        if not (cases / name / RECORD_FILE).is_file():
            raise ConfigError(str(cases), f"holds no case {name}", "every case that the split names")
    return tuple(load_record(cases / name) for name in names)


def _uses(records: tuple[CaseRecord, ...]) -> tuple[CaseUse, ...]:
    return tuple(CaseUse(record.name, record.patient, record.content_sha256) for record in records)


def _teaches(record: CaseRecord, config: TrainingConfig) -> bool:
    return any(name in record.drawn_names for label in config.labels for name in label.source_names)


def _refuse_other_run(run: Path, config: TrainingConfig, record: RunRecord) -> None:
    if not (run / RUN_FILE).exists():
        return
    if load_config(run / CONFIG_FILE, TrainingConfig) != config:
        raise ConfigError(str(run), "holds a training of another configuration", "a new folder, or the same one")
    earlier = load_run_record(run)
    if (earlier.training, earlier.fold, earlier.start) != (record.training, record.fold, record.start):
        raise ConfigError(
            str(run), "holds a training on other cases", "a new folder, or the same cases, fold and start"
        )


def _silent(_: str, __: float) -> None:
    """No one listens."""
