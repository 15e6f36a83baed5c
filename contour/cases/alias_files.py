"""Alias files, and tables of what their aliases stand for."""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from contour.cases.spelling import key, sounds
from contour.config import shipped_folder
from contour.core.errors import ConfigError
from contour.core.nomenclature import BOTH, known_names, lookup

MIN_SOUND_LETTERS = 5  # "лег" written in Latin is a leg


class Side(StrEnum):
    """Which side a name states."""

    NONE = ""
    LEFT = "L"
    RIGHT = "R"
    BOTH = "both"


@dataclass(frozen=True)
class Organ:
    """What one alias stands for: TG-263 names undivided, of the left, of the right, and of the pair."""

    stem: str
    single: str | None = None
    left: str | None = None
    right: str | None = None
    pair: str | None = None

    def name(self, side: Side) -> str | None:
        """The TG-263 name of the organ on `side`, or None where there is none."""
        match side:
            case Side.LEFT:
                return self.left
            case Side.RIGHT:
                return self.right
            case Side.BOTH:
                return self.pair or self.single
            case Side.NONE:
                return self.single


@dataclass(frozen=True)
class AliasFile:
    """The aliases of one language, as a YAML file holds them.

    `structures` and `unsure` map a TG-263 name, or the stem of NAME_L and NAME_R, to aliases without a side; those of
    `unsure` mean other things too. `other` lists anatomy without a TG-263 name here. A name is ignored if it has one of
    the words `ignored`; words of `neutral` are taken off, and those of `decorations` too, with less certainty.
    """

    language: str
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    structures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsure: dict[str, tuple[str, ...]] = field(default_factory=dict)
    vertebral_bodies: tuple[str, ...] = ()
    vertebrae: tuple[str, ...] = ()
    ribs: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    decorations: tuple[str, ...] = ()


def alias_files() -> tuple[Path, ...]:
    """The alias files that ship."""
    folder = shipped_folder("configs") / "names"
    return tuple(folder / f"{language}.yaml" for language in ("en", "ru", "kk"))


def known_organs() -> list[Organ]:
    """The TG-263 names of the table as organs: NAME, NAME_L and NAME_R together."""
    names = frozenset(known_names())
    stems = {name[:-2] if name[-2:] in ("_L", "_R") else name for name in names}
    return [_organ_of(stem, names) for stem in sorted(stems)]


def _organ_of(stem: str, names: frozenset[str]) -> Organ:
    left, right = f"{stem}_L", f"{stem}_R"
    if left not in names:
        return Organ(stem, stem)
    entry = lookup(left)
    code = entry.code if entry else None
    pairs = (lookup(name) for name in sorted(names) if not name.endswith(("_L", "_R")))
    pair = next((p.name for p in pairs if p and p.code == code and p.laterality == BOTH), None)
    return Organ(stem, stem if stem in names else None, left, right, pair)


def add_aliases(path: Path, organs: dict[str, Organ], aliases: dict[str, tuple[str, ...]]) -> None:
    """Add a file's aliases: what is there already stays, but within one file an alias has one meaning."""
    names = frozenset(known_names())
    own: dict[str, str] = {}
    for stem, texts in aliases.items():
        if stem not in names and f"{stem}_L" not in names:
            raise ConfigError(f"{path}: {stem}", "is not known", "a TG-263 name of the table, or its stem without side")
        organ = _organ_of(stem, names)
        for text in texts:
            letters = key(text)
            if own.setdefault(letters, stem) != stem:
                raise ConfigError(f"{path}: {text!r}", f"stands for {own[letters]} and {stem}", "one of them")
            organs.setdefault(letters, organ)


def sounding(organs: dict[str, Organ]) -> dict[str, Organ]:
    """Cyrillic aliases as they sound, without those that then mean two things."""
    meant: dict[str, set[Organ]] = defaultdict(set)
    for letters, organ in organs.items():
        if not letters.isascii() and len(letters) >= MIN_SOUND_LETTERS:
            meant[sounds(letters)].add(organ)
    return {letters: next(iter(found)) for letters, found in meant.items() if len(found) == 1}


def in_any_order(spoken: list[tuple[tuple[str, ...], Organ]]) -> dict[tuple[str, ...], Organ]:
    """Aliases of several words by these in alphabetical order, without those that then mean two things."""
    meant: dict[tuple[str, ...], set[Organ]] = defaultdict(set)
    for said, organ in spoken:
        if len(said) > 1:
            meant[tuple(sorted(said))].add(organ)
    return {said: next(iter(found)) for said, found in meant.items() if len(found) == 1}


def sounding_sides(sides: dict[tuple[str, ...], Side]) -> dict[str, Side]:
    """Words of sides in Latin letters as well, from three letters on: lev, levoe, prav, sol."""
    written: dict[str, Side] = {}
    for phrase, side in sides.items():
        if len(phrase) == 1 and not phrase[0].isascii() and len(phrase[0]) >= 3:
            written |= dict.fromkeys(_spellings(phrase[0]), side)
    return written


def _spellings(word: str) -> set[str]:
    """A Cyrillic word in Latin letters, in the usual ways (й and ы are one letter each way)."""
    latin = sounds(word)
    return {
        latin,
        latin.replace("ii", "y"),
        latin.replace("ia", "ya"),
        latin.replace("ii", "yj"),
        latin.replace("i", "y"),
    }
