"""Which cases train, which validate, and which are held out to the end: by patient, rare structures on both sides."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contour.cases.store import CaseRecord
from contour.config import load_config, save_config
from contour.core.errors import ConfigError

HEADER = """Made by `contour data split`. Held-out cases are for the last judgement: never to train or to choose on.
A patient stands on one side. Made again with more cases, those that are here keep their places."""


@dataclass(frozen=True)
class Split:
    """Names of cases: `held_out` ones, and the `folds` of those to train on.

    Raises:
        ValueError: there is no fold, or a case stands in two places.
    """

    seed: int
    held_out: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.folds:
            raise ValueError("folds: at least one")
        names = Counter(name for part in self.parts for name in part)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)} in two places; allowed: one for each case")

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The held-out cases, then each fold."""
        return (self.held_out, *self.folds)

    def training_cases(self, fold: int | None) -> tuple[str, ...]:
        """What to train on while `fold` (from 0) validates; with None every fold.

        Raises:
            ConfigError: there is no such fold.
        """
        self._require(fold)
        return tuple(name for i, part in enumerate(self.folds) if i != fold for name in part)

    def validation_cases(self, fold: int | None) -> tuple[str, ...]:
        """The cases of `fold` (from 0); with None there are none.

        Raises:
            ConfigError: there is no such fold.
        """
        self._require(fold)
        return () if fold is None else self.folds[fold]

    def _require(self, fold: int | None) -> None:
        if fold is not None and not 0 <= fold < len(self.folds):
            raise ConfigError("fold", str(fold), f"0 to {len(self.folds) - 1}")


@dataclass(frozen=True)
class SplitOptions:
    """`held_out` is a fraction of the patients; the others make `folds` equal parts.

    Raises:
        ValueError: a fraction outside 0 (none held out) to 0.9, or no fold.
    """

    held_out: float = 0.2
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.held_out <= 0.9:
            raise ValueError(f"held_out {self.held_out}: 0 to 0.9")
        if self.folds < 1:
            raise ValueError(f"folds {self.folds}: at least 1")


@dataclass(frozen=True)
class StructureCount:
    """In how many patients of each part a structure was drawn, wholly or in part."""

    name: str
    held_out: int
    folds: tuple[int, ...]


def split_cases(records: Iterable[CaseRecord], options: SplitOptions, previous: Split | None = None) -> Split:
    """The cases of `records` in parts, all cases of a patient in one.

    Patients are placed by iterative stratification (Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10) into parts
    of a fixed size: those with the rarest structure first, each where that structure is wanted most, so that what two
    patients have is held out and trained on. A hash of seed and patient decides who comes first, so that the order of
    the cases does not matter. What one patient alone has is trained on: nothing could be learnt of it otherwise.
    Patients of `previous` stay where they were, whatever comes, and count there.

    Raises:
        ConfigError: there are fewer patients than parts, `previous` has another number of folds, or it has a patient
            in two parts.
    """
    records = sorted(records, key=lambda record: record.name)
    drawn = _drawn_by_patient(records)
    places = _places(records, previous, options)
    wanted = _Wanted.of(drawn, options)
    for patient, part in places.items():
        wanted.place(drawn[patient], part)
    waiting = {p: drawn[p] for p in sorted(drawn.keys() - places.keys(), key=lambda p: _hash(options.seed, p))}
    while waiting:
        name = _rarest(waiting)
        for patient in [p for p, names in waiting.items() if name is None or name in names]:
            places[patient] = wanted.part_for(name, waiting[patient], len(waiting))
            wanted.place(waiting.pop(patient), places[patient])
    parts = [tuple(r.name for r in records if places[r.patient] == part) for part in range(options.folds + 1)]
    return Split(options.seed, parts[0], tuple(parts[1:]))


def count_structures(split: Split, records: Iterable[CaseRecord]) -> tuple[StructureCount, ...]:
    """In how many patients of each part of `split` each structure was drawn, by name."""
    records = tuple(records)
    names = sorted({name for record in records for name in record.drawn_names})
    parts = [_drawn_by_patient(r for r in records if r.name in set(part)) for part in split.parts]
    counts = [[sum(name in drawn for drawn in part.values()) for part in parts] for name in names]
    return tuple(StructureCount(name, c[0], tuple(c[1:])) for name, c in zip(names, counts, strict=True))


def check_split(split: Split, records: Iterable[CaseRecord]) -> None:
    """Refuse a split (one edited by hand, say) that would let a patient both train and judge.

    Cases that are not among `records` are not looked at.

    Raises:
        ConfigError: it has a patient in two parts.
    """
    _patient_parts(split, {record.name: record.patient for record in records})


def load_split(path: Path) -> Split:
    """The split at `path`.

    Raises:
        ConfigError: it cannot be read, or a case stands in two places.
    """
    return load_config(path, Split)


def save_split(split: Split, path: Path) -> None:
    """Write `split` as YAML that `load_split` reads.

    Raises:
        OSError: the file cannot be written.
    """
    save_config(split, path, HEADER)


# -- placing -----------------------------------------------------------------------------------------------------------


@dataclass
class _Wanted:
    """What each part still wants: places for patients, and patients with each structure (a number a part).

    `alone` are the structures that one patient only has.
    """

    places: list[int]
    structures: dict[str, list[float]]
    alone: frozenset[str]

    @classmethod
    def of(cls, drawn: dict[str, frozenset[str]], options: SplitOptions) -> "_Wanted":
        fold = (1 - options.held_out) / options.folds
        sizes = _sizes(len(drawn), [options.held_out, *[fold] * options.folds])
        counts = Counter(name for names in drawn.values() for name in names)
        structures = {}
        for name, n in counts.items():
            # One at least, or the folds, whose share is mostly larger, take the two patients of a rare structure.
            held_out = max(1.0, options.held_out * n) if options.held_out else 0.0
            structures[name] = [held_out, *[(n - held_out) / options.folds] * options.folds]
        return cls(sizes, structures, frozenset(name for name, n in counts.items() if n == 1))

    def part_for(self, name: str | None, names: frozenset[str], waiting: int) -> int:
        """The part for a patient with `names`, one of `waiting`: of those with a place, the one that wants `name` most.

        Of those alike, the one with most places, then the first.
        """
        with_place = [part for part, places in enumerate(self.places) if places > 0]
        if names & self.alone and waiting > self.places[0]:
            with_place = [part for part in with_place if part > 0]
        own = [0.0] * len(self.places) if name is None else self.structures[name]
        return max(with_place, key=lambda part: (round(own[part], 9), self.places[part], -part))

    def place(self, names: frozenset[str], part: int) -> None:
        self.places[part] -= 1
        for name in names:
            self.structures[name][part] -= 1


def _sizes(patients: int, shares: list[float]) -> list[int]:
    """Whole numbers of patients nearest to `shares` of them, at least one for each share above 0."""
    least = [int(share > 0) for share in shares]
    if patients < sum(least):
        raise ConfigError("split", f"{patients} patients", f"at least {sum(least)}, one for each part")
    sizes = [max(low, int(share * patients)) for low, share in zip(least, shares, strict=True)]
    while sum(sizes) != patients:
        step = 1 if sum(sizes) < patients else -1
        movable = [part for part, size in enumerate(sizes) if size + step >= least[part] and shares[part] > 0]
        sizes[max(movable, key=lambda part: step * (shares[part] * patients - sizes[part]))] += step
    return sizes


def _rarest(waiting: dict[str, frozenset[str]]) -> str | None:
    """The structure that the fewest of the waiting patients have; None if they have none."""
    counts = Counter(name for names in waiting.values() for name in names)
    return min(counts, key=lambda name: (counts[name], name)) if counts else None


def _drawn_by_patient(records: Iterable[CaseRecord]) -> dict[str, frozenset[str]]:
    drawn: dict[str, frozenset[str]] = {}
    for record in records:
        drawn[record.patient] = drawn.get(record.patient, frozenset()) | frozenset(record.drawn_names)
    return drawn


def _places(records: Iterable[CaseRecord], previous: Split | None, options: SplitOptions) -> dict[str, int]:
    """The part of each patient that `previous` has placed."""
    if previous is None:
        return {}
    if len(previous.folds) != options.folds:
        raise ConfigError("split", f"{options.folds} folds", f"{len(previous.folds)} as before, or a new file")
    return _patient_parts(previous, {record.name: record.patient for record in records})


def _patient_parts(split: Split, patients: dict[str, str]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for part, names in enumerate(split.parts):
        for name in names:
            patient = patients.get(name)
            if patient is not None and parts.setdefault(patient, part) != part:
                raise ConfigError(f"split: {name}", f"patient {patient} in two parts", "each patient in one part")
    return parts


def _hash(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()
