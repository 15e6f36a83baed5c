"""What an ROI name may mean: aliases of TG-263 names in several languages, and how a name is held against them.

A name is taken only where an alias says exactly this, whatever its case, signs, side or script. What is merely near an
alias is proposed for a person to confirm; what is near to two different ones is not even that.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from rapidfuzz.distance import DamerauLevenshtein
from rapidfuzz.process import extract

from contour.cases.alias_files import (
    MIN_SOUND_LETTERS,
    AliasFile,
    Organ,
    Side,
    add_aliases,
    alias_files,
    in_any_order,
    known_organs,
    sounding,
    sounding_sides,
)
from contour.cases.spelling import key, latin_look, small_number, sounds, words
from contour.config import load_config
from contour.core.nomenclature import lookup, validate_name
from contour.core.structures import InterpretedType

# A misspelt letter or two in a word long enough to be sure of: nearness below this is no proposal.
MIN_FUZZY_LETTERS = 5
MIN_FREE_START_LETTERS = 6  # a shorter word must have its first letter right: "точка" is a point, "почка" a kidney
MIN_SIDE_LETTERS = 4  # of a word for a side that is to be known with a letter wrong
LETTERS_PER_ERROR = 5
MIN_FUZZY_MARGIN = 2  # further errors that the nearest alias of another name must have
MAX_PRV_MM = 50

# DICOM PS3.3 C.8.8.8.1: types of what no network learns to draw.
IGNORED_TYPES = frozenset(
    {
        *("ISOCENTER", "MARKER", "REGISTRATION", "CONTRAST_AGENT", "BOLUS", "SUPPORT", "FIXATION", "CONTROL"),
        *("DOSE_REGION", "DOSE_MEASUREMENT", "TREATED_VOLUME", "IRRAD_VOLUME"),
        *("BRACHY_CHANNEL", "BRACHY_ACCESSORY", "BRACHY_SRC_APP", "BRACHY_CHNL_SHLD"),
    }
)


class How(StrEnum):
    """How a name was understood. EXACT ones are used; FUZZY and UNSURE ones are proposed; the rest name no organ."""

    EXACT = "exact"  # an alias, or the TG-263 name itself
    UNSURE = "unsure"  # an alias that means other things too, or an exact name with a further word
    FUZZY = "fuzzy"  # an alias but for a letter or two
    BY_PLACE = "by place"  # an organ that has two sides, and lies on one
    TARGET = "target"  # a target volume without a TG-263 name: known, not used
    DERIVED = "derived"  # made from others by planning: an organ without the target, a ring
    IGNORED = "ignored"  # couch, isocentre, marker, dose ...
    UNMAPPED = "unmapped"  # not understood
    CONTRADICTED = "contradicted"  # an exact name that the anatomy speaks against
    EDITED = "edited"  # a person decided


@dataclass(frozen=True)
class Reading:
    """What a name was understood as: `name` is the TG-263 name meant (None without one), `remark` says why.

    `sides` holds the TG-263 names of left and right where a name means an organ with two sides and states none.
    """

    how: How
    name: str | None = None
    remark: str = ""
    sides: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Phrase:
    """The words of a name without those that state a side."""

    words: tuple[str, ...]
    side: Side

    @property
    def key(self) -> str:
        return "".join(self.words)

    def without(self, dropped: frozenset[str], *, digits: bool = False) -> "_Phrase":
        kept = tuple(w for w in self.words if w not in dropped and not (digits and w.isdigit()))
        return _Phrase(kept, self.side)


class Aliases:
    """Several alias files as one; `read` understands a name.

    TG-263 names mean themselves; of the files, what an earlier one says of an alias holds.

    Raises:
        ConfigError: within one file an alias stands for two structures, or a key is no TG-263 name or stem.
    """

    def __init__(self, files: Iterable[tuple[Path, AliasFile]]) -> None:
        self._organs: dict[str, Organ] = {}
        self._unsure: dict[str, Organ] = {}
        words_of: dict[str, set[str]] = defaultdict(set)
        phrases_of: dict[str, set[str]] = defaultdict(set)
        sides: dict[tuple[str, ...], Side] = {}
        for organ in known_organs():
            self._organs[key(organ.stem)] = organ
        spoken: list[tuple[tuple[str, ...], Organ]] = []
        for path, file in files:
            add_aliases(path, self._organs, file.structures)
            spoken += [(words(text), self._organs[key(text)]) for texts in file.structures.values() for text in texts]
            add_aliases(path, self._unsure, file.unsure)
            for side, texts in ((Side.LEFT, file.left), (Side.RIGHT, file.right), (Side.BOTH, file.both)):
                sides |= {words(text): side for text in texts if words(text) not in sides}
            words_of["ignored"] |= {key(text) for text in file.ignored}
            for kind in ("neutral", "decorations"):
                words_of[kind] |= {key(text) for text in getattr(file, kind)}
            for kind in ("vertebral_bodies", "vertebrae", "ribs", "other", "targets"):
                phrases_of[kind] |= {key(text) for text in getattr(file, kind)}
        long_sides = [(phrase, side) for phrase, side in sides.items() if len(phrase) > 1]
        self._long_sides = sorted(long_sides, key=lambda item: -len(item[0]))
        self._sides = sounding_sides(sides) | {phrase[0]: side for phrase, side in sides.items() if len(phrase) == 1}
        self._ignored, self._neutral = frozenset(words_of["ignored"]), frozenset(words_of["neutral"])
        self._decorations = frozenset(words_of["decorations"])
        self._bodies, self._vertebrae = phrases_of["vertebral_bodies"], phrases_of["vertebrae"]
        self._ribs, self._other, self._targets = phrases_of["ribs"], phrases_of["other"], phrases_of["targets"]
        self._sounding = sounding(self._organs)
        self._any_order = in_any_order(spoken)

    def read(self, text: str, interpreted_types: tuple[str, ...] = ()) -> Reading:
        """What the ROI name `text` means; `interpreted_types` are those that structure sets state for it."""
        spoken = words(text)
        if not spoken:
            return Reading(How.UNMAPPED, remark="has no letter or digit")
        for attempt in (
            self._target(text, spoken),
            self._exact(spoken),
            self._level(spoken),
            self._margin(text, spoken),
        ):
            if attempt is not None:
                return _outline(attempt, interpreted_types)
        ignored = self._not_an_organ(text, spoken, interpreted_types)
        return ignored or self._proposal(spoken)

    # -- exactly --------------------------------------------------------------------------------------------------

    def _exact(self, spoken: tuple[str, ...]) -> Reading | None:
        """The whole name first, so that `left upper lobe` is no `upper lobe`; then side and rest."""
        whole = _Phrase(spoken, Side.NONE)
        for phrase in (whole, whole.without(self._neutral)):
            found = self._organs.get(phrase.key)
            if found is not None and found.single is not None:
                return Reading(How.EXACT, found.single)
        split = self._split(spoken)
        for phrase in (split, split.without(self._neutral)):
            found = self._organ(phrase.key) or self._any_order.get(tuple(sorted(phrase.words)))
            if found is not None:
                return _sided(found, phrase.side)
        return self._glued(whole)

    def _organ(self, letters: str) -> Organ | None:
        """The organ of an alias, in its own script or written in Latin letters."""
        found = self._organs.get(letters)
        if found is None and letters.isascii() and len(letters) >= MIN_SOUND_LETTERS:
            found = self._sounding.get(sounds(letters))
        return found

    def _glued(self, phrase: _Phrase) -> Reading | None:
        """`lungr`, `rlung`, `LKIDNEY`: a side's letter without a space, where the rest is an organ with sides.

        Not behind an `a`: cochlear, scapular, retinal and orbital are something else.
        """
        letters = phrase.key
        for end, rest in ((letters[0], letters[1:]), (letters[-1], letters[:-1])):
            side, organ = _GLUED.get(end, Side.NONE), self._organs.get(rest)
            if side and organ is not None and organ.left and len(rest) >= 3 and not rest.endswith("a"):
                return _sided(organ, side)
        return None

    def _split(self, spoken: tuple[str, ...]) -> _Phrase:
        """Words that state a side taken off, phrases of several words first; left and right together state both."""
        rest, found = list(spoken), set()
        for phrase, side in self._long_sides:
            n = len(phrase)
            for i in range(len(rest) - n, -1, -1):
                if tuple(rest[i : i + n]) == phrase:
                    del rest[i : i + n]
                    found.add(side)
        found |= {self._sides[word] for word in rest if word in self._sides}
        kept = tuple(word for word in rest if word not in self._sides)
        one = found - {Side.BOTH}  # "left lung, total" is the left one
        if len(one) == 1:
            return _Phrase(kept, one.pop())
        return _Phrase(kept, Side.BOTH if found else Side.NONE)

    def _level(self, spoken: tuple[str, ...]) -> Reading | None:
        """A rib or a vertebral body with its number."""
        split = self._split(spoken)
        numbers = [n for n in map(small_number, split.words) if n is not None]
        rest = "".join(w for w in split.words if small_number(w) is None)
        if rest in self._ribs and len(numbers) == 1:
            name = f"Rib{numbers[0]:02d}_{split.side}"
            sides = (f"Rib{numbers[0]:02d}_L", f"Rib{numbers[0]:02d}_R")
            if lookup(name) is not None:
                return Reading(How.EXACT, name)
            return Reading(How.UNMAPPED, remark="a rib without its side", sides=sides if lookup(sides[0]) else ())
        found = _vertebra(spoken)
        if found is None:
            return None
        name, rest = found
        if rest in self._bodies:
            return Reading(How.EXACT, name)
        if rest in self._vertebrae:
            return Reading(How.UNSURE, name, "a whole vertebra? TG-263's VB is its body alone")
        return Reading(How.UNSURE, name, "a vertebral body, if this is a level") if rest == "" else None

    def _margin(self, text: str, spoken: tuple[str, ...]) -> Reading | None:
        """An organ with a margin around it: `SpinalCord_PRV05`, `Cord PRV 5 mm`, `спинной мозг +5мм`."""
        found = _MARGIN.search(text.casefold())
        if "prv" not in spoken and found is None:
            return None
        mm = _millimetres(found) if found is not None else None
        if mm is not None and not 0 < mm <= MAX_PRV_MM:
            return None
        rest = _MARGIN.sub(" ", text.casefold()) if found else text
        reading = self._exact(tuple(w for w in words(rest) if w != "prv"))
        entry = lookup(reading.name) if reading is not None and reading.name is not None else None
        if (
            reading is None
            or reading.name is None
            or entry is None
            or entry.interpreted_type is not InterpretedType.ORGAN
        ):
            return Reading(How.UNMAPPED, remark="a margin around what is not understood, or no organ")
        stem, side = (reading.name[:-2], reading.name[-2:]) if reading.name[-2:] in ("_L", "_R") else (reading.name, "")
        name = f"{stem}_PRV{'' if mm is None else f'{mm:02d}'}{side}"
        if lookup(name) is None or validate_name(name):
            return Reading(How.UNMAPPED, remark=f"a margin around {reading.name}, whose name would be too long")
        return Reading(How.EXACT, name)

    # -- not an organ -----------------------------------------------------------------------------------------------

    def _target(self, text: str, spoken: tuple[str, ...]) -> Reading | None:
        """Target volumes: `GTV-1` is GTV1; a name TG-263 would write otherwise is known as a target, and not used."""
        plain = latin_look("".join(c if c.isalnum() else " " for c in text.casefold()))
        found = _TARGET_WORD.search(plain)
        if found is not None:
            clean = _TARGET.fullmatch(" ".join(plain.split()))
            if clean is not None:
                name = clean["kind"].upper() + (clean["class"] or "") + (clean["number"] or "").lstrip("0")
                return Reading(How.EXACT, name, "a target")
            if any(self._organ(_Phrase(part, Side.NONE).key) for part in self._parts_beside_target(plain)):
                return Reading(How.DERIVED, remark="an organ and a target in one name")
            return Reading(How.TARGET, remark="a target; give it a name to use it")
        phrase = self._split(spoken).without(self._neutral | self._decorations, digits=True)
        if phrase.key in self._targets:
            return Reading(How.TARGET, remark="a target; give it a name to use it")
        return None

    def _parts_beside_target(self, plain: str) -> Iterator[tuple[str, ...]]:
        for part in _TARGET_WORD.split(plain):
            yield self._split(words(part)).without(self._neutral | self._decorations, digits=True).words

    def _not_an_organ(self, text: str, spoken: tuple[str, ...], interpreted_types: tuple[str, ...]) -> Reading | None:
        """Known for something else by a word, by TG-263's prefix of helpers, or by its interpreted type."""
        if self._split(spoken).without(self._neutral, digits=True).key in self._other:
            return Reading(How.UNMAPPED, remark="anatomy without a TG-263 name in this program")
        word = next((w for w in spoken if w in self._ignored), None)
        if word is not None:
            return Reading(How.IGNORED, remark=f"not an organ: {word!r}")
        if _HELPER.match(text.strip()):
            return Reading(How.IGNORED, remark="a helper of planning: starts with z or _")
        if interpreted_types and all(kind in IGNORED_TYPES for kind in interpreted_types):
            return Reading(How.IGNORED, remark=f"its type is {', '.join(interpreted_types)}")
        if interpreted_types == ("EXTERNAL",):
            return Reading(How.UNSURE, "External", "its type is EXTERNAL")
        return None

    # -- nearly -----------------------------------------------------------------------------------------------------

    def _proposal(self, spoken: tuple[str, ...]) -> Reading:
        split = self._split(spoken).without(self._neutral)
        unsure = self._unsure.get("".join(spoken)) or self._unsure.get(split.key)
        if unsure is not None:
            reading = _sided(unsure, split.side if unsure.left else Side.NONE)
            return _proposed(How.UNSURE, reading, "means other things too")
        plain = split.without(self._decorations, digits=True)
        organ = self._organ(plain.key) if plain != split else None
        if organ is not None:
            further = ", ".join(w for w in split.words if w not in plain.words)
            reading = _sided(organ, plain.side)
            return _proposed(How.UNSURE, reading, f"has more words: {further}")
        return self._misspelt_side(plain) or self._fuzzy(plain)

    def _misspelt_side(self, phrase: _Phrase) -> Reading | None:
        """An alias beside a word that is one letter from a side's: `Lung Lefft`."""
        if phrase.side or len(phrase.words) < 2:
            return None
        for i, word in enumerate(phrase.words):
            organ = self._organ("".join(phrase.words[:i] + phrase.words[i + 1 :]))
            if organ is None or not organ.left or len(word) < MIN_SIDE_LETTERS:
                continue
            near = {
                (side, known)
                for known, side in self._sides.items()
                if len(known) >= MIN_SIDE_LETTERS and DamerauLevenshtein.distance(word, known, score_cutoff=1) <= 1
            }
            if len({side for side, _ in near}) == 1:
                side, known_word = min(near)
                return Reading(How.FUZZY, organ.name(side), f"{word!r} is near to {known_word!r}")
        return None

    def _fuzzy(self, phrase: _Phrase) -> Reading:
        """The one alias that lies within a letter or two, the side being stated apart."""
        letters = phrase.key
        nothing = Reading(How.UNMAPPED, remark="not known")
        # A letter by itself is no slip of the pen: Musc_Constrict_S is a part of Musc_Constrict.
        if len(letters) < MIN_FUZZY_LETTERS or any(len(word) == 1 for word in phrase.words):
            return nothing
        nearest: dict[Organ, tuple[int, str]] = {}
        reach = len(letters) // LETTERS_PER_ERROR + MIN_FUZZY_MARGIN
        for alias, errors, _ in extract(
            letters, self._organs.keys(), scorer=DamerauLevenshtein.distance, score_cutoff=reach, limit=None
        ):
            if phrase.side is Side.NONE or self._organs[alias].name(phrase.side) is not None:
                nearest.setdefault(self._organs[alias], (errors, alias))  # the nearest comes first
        ordered = sorted((errors, organ.stem, alias, organ) for organ, (errors, alias) in nearest.items())
        if not ordered:
            return nothing
        errors, _, alias, organ = ordered[0]
        shorter = min(len(letters), len(alias))
        if errors > shorter // LETTERS_PER_ERROR or (shorter < MIN_FREE_START_LETTERS and letters[0] != alias[0]):
            return nothing
        if len(ordered) > 1 and ordered[1][0] - errors < MIN_FUZZY_MARGIN:
            return Reading(How.UNMAPPED, remark=f"near to both {organ.stem} and {ordered[1][1]}")
        if any(DamerauLevenshtein.distance(letters, o, score_cutoff=errors) <= errors for o in self._other):
            return Reading(How.UNMAPPED, remark="near to anatomy without a TG-263 name in this program")
        slips = f"{errors} letter{'' if errors == 1 else 's'} from the alias {alias!r}"
        return _proposed(How.FUZZY, _sided(organ, phrase.side), slips)


def load_aliases(files: tuple[Path, ...] = ()) -> Aliases:
    """The aliases that ship (English, Russian, Kazakh), after those of `files`, which count first.

    Raises:
        ConfigError: a file has a mistake.
    """
    paths = (*files, *alias_files())
    return Aliases((path, load_config(path, AliasFile)) for path in paths)


# -- tables ----------------------------------------------------------------------------------------------------------

_GLUED = {"l": Side.LEFT, "r": Side.RIGHT}
_TARGET_WORD = re.compile(r"\bi?[gcpi]tv(?![a-z]{3})|(?<=[a-z])(?<!\bi)[gcp]tv(?=\b|\d)")
_TARGET = re.compile(r"(?P<kind>[gcp]tv) ?(?P<class>[pn])? ?(?P<number>0?[1-9])?")
_MARGIN = re.compile(
    r"(?:\+[\s_]*(?P<plus>\d+(?:[.,]\d+)?)\s*(?=cm|см|mm|мм)|prv[\s_]*(?P<value>\d+(?:[.,]\d+)?)\s*)(?:(?P<cm>cm|см)|mm|мм)?"
)
_HELPER = re.compile(r"(z+[_\s-]|zz|_|z[A-Z])")
_VERTEBRA_LETTERS = {"c": "C", "t": "T", "th": "T", "d": "T", "д": "T", "l": "L", "л": "L"}
_LEVELS = {"C": (1, 7), "T": (1, 12), "L": (1, 5)}


def _outline(reading: Reading, interpreted_types: tuple[str, ...]) -> Reading:
    """Some systems call the body's outline skin: its type tells."""
    if reading.name == "Skin" and interpreted_types == ("EXTERNAL",):
        return Reading(How.UNSURE, "Body", "its type is EXTERNAL: the outline of the body")
    return reading


def _sided(organ: Organ, side: Side) -> Reading:
    name = organ.name(side)
    if name is not None:
        return Reading(How.EXACT, name)
    if organ.left and organ.right and side is Side.NONE:
        return Reading(How.UNMAPPED, remark=f"{organ.stem} without its side", sides=(organ.left, organ.right))
    return Reading(How.UNMAPPED, remark=f"{organ.stem} has no TG-263 name for this side")


def _millimetres(margin: re.Match[str]) -> int:
    value = float((margin["value"] or margin["plus"]).replace(",", "."))
    return round(value * (10 if margin["cm"] else 1))


def _proposed(how: How, reading: Reading, remark: str) -> Reading:
    """`reading` as a proposal only; one that lacks its side is none yet."""
    if reading.name is None:
        return Reading(How.UNMAPPED, None, f"{remark}; {reading.remark}", reading.sides)
    return Reading(how, reading.name, remark)


def _vertebra(spoken: tuple[str, ...]) -> tuple[str, str] | None:
    """The VB name of the one level that a name states, and the rest of its letters."""
    found = []
    for i, (letter, number) in enumerate(pairwise(spoken)):
        part = _VERTEBRA_LETTERS.get(letter) or _VERTEBRA_LETTERS.get(latin_look(letter))
        level = small_number(number)
        if part is not None and level is not None and _LEVELS[part][0] <= level <= _LEVELS[part][1]:
            digits = 2 if part == "T" else 1
            found.append((f"VB_{part}{level:0{digits}d}", "".join(spoken[:i] + spoken[i + 2 :])))
    return found[0] if len(found) == 1 else None
