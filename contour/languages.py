"""Names of structures in the language of those who read them; in files, names stay TG-263's."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from contour.config import load_config, shipped_folder
from contour.core.nomenclature import PARTIAL_SIGN, PRV_NAME, VERTEBRA_NAME, whole_name


class Language(StrEnum):
    """Languages that structures have names in; in English they have TG-263's."""

    ENGLISH = "en"
    RUSSIAN = "ru"
    KAZAKH = "kk"


@dataclass(frozen=True)
class LanguageFile:
    """The words of a language, as `configs/languages/*.yaml` holds them.

    `structures` maps TG-263 names, or the stems of NAME_L and NAME_R, to words; the other texts with braces put words
    together: a part, a margin in mm, an organ less a target, a vertebra of a level, a rib of a number.
    """

    language: str
    column: str
    left: str
    right: str
    part: str
    margin: str
    less: str
    vertebral_body: str
    vertebra: str
    unknown_level: str
    rib: str
    structures: dict[str, str]


_RIB = re.compile(r"Rib(?P<number>\d\d)(?P<side>_[LR])")


def local_name(name: str, language: Language) -> str | None:
    """What a structure is called in `language`; None where that has no word for it, and in English.

    Raises:
        ConfigError: the file of the language is damaged.
    """
    return _said(name, _words(language)) if language is not Language.ENGLISH else None


def column_title(language: Language) -> str:
    """What the column of these names is called."""
    return _words(language).column


@cache
def _words(language: Language) -> LanguageFile:
    return load_config(shipped_folder("configs") / "languages" / f"{language}.yaml", LanguageFile)


def _said(name: str, words: LanguageFile) -> str | None:
    if name.startswith(PARTIAL_SIGN):
        whole = _said(whole_name(name), words)
        return words.part.format(whole) if whole else None
    if name in words.structures:
        return words.structures[name]
    margin, vertebra, rib = PRV_NAME.fullmatch(name), VERTEBRA_NAME.fullmatch(name), _RIB.fullmatch(name)
    if margin and margin["mm"]:
        organ = _said(margin["organ"] + (margin["side"] or ""), words)
        return words.margin.format(organ, int(margin["mm"])) if organ else None
    if vertebra:
        kind = words.vertebral_body if vertebra["kind"] == "VB" else words.vertebra
        level = vertebra["level"]
        return kind.format(f"{level[0]}{int(level[1:])}" if level else words.unknown_level.format(vertebra["number"]))
    if rib:
        return _of_side(words.rib.format(int(rib["number"])), rib["side"], words)
    organ_name, dash, target = name.partition("-")
    if dash:
        organ = _said(organ_name, words)
        return words.less.format(organ, target) if organ else None
    if name.endswith(("_L", "_R")) and name[:-2] in words.structures:
        return _of_side(words.structures[name[:-2]], name[-2:], words)
    return None


def _of_side(text: str, side: str, words: LanguageFile) -> str:
    return f"{text}, {words.left if side == '_L' else words.right}"
