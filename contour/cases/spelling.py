"""How a name that a person typed is read: letters folded, words told apart, scripts that were mixed set right.

Planning systems keep ROI names as they were typed: `SpinalCord`, `SPINAL_CORD`, `спин. мозг`, `Жулын` without the
Kazakh letters, `Сердце` with a Latin C. Nothing here knows what a name means.
"""

# ruff: noqa: RUF001, RUF002, RUF003 - letters that look alike in two scripts are what this file is about

import re
import unicodedata

# Kazakh letters are typed as their Russian neighbours where a keyboard lacks them.
_KAZAKH = str.maketrans("әғқңөұүһіӘҒҚҢӨҰҮҺІ", "агкноуухиАГКНОУУХИ")
# Letters that look alike in both scripts; `i` stands for the Kazakh і.
_LATIN, _CYRILLIC = "aceopxykmthbi", "асеорхукмтнви"
_TO_CYRILLIC = str.maketrans(_LATIN, _CYRILLIC)
_TO_LATIN = str.maketrans(_CYRILLIC, _LATIN)

_WORD_BORDERS = re.compile(
    r"(?<=[a-zа-я])(?=[A-ZА-Я])"  # spinalCord
    r"|(?<=[A-ZА-Я])(?=[A-ZА-Я][a-zа-я])"  # LLung, PTVboost is lost: no rule tells it from LUNg
    r"|(?<=\d)(?=[^\W\d])|(?<=[^\W\d])(?=\d)"  # T5, 5mm
)

_SOUNDS = str.maketrans(
    {
        **dict(zip("абвгдезиклмнопрстуфхцыэ", "abvgdeziklmnoprstufhcie", strict=True)),
        **{"ж": "j", "ч": "ch", "ш": "sh", "щ": "sh", "ю": "iu", "я": "ia", "ь": "", "ъ": ""},
    }
)
_WAYS_TO_WRITE = (
    *(("shch", "sh"), ("sch", "sh"), ("zh", "j"), ("kh", "h"), ("ts", "c"), ("tz", "c")),
    *(("x", "h"), ("w", "v"), ("yo", "e"), ("ye", "e"), ("y", "i"), ("q", "k")),
)
_J_AS_I = re.compile(r"(?<=[aeiou])j|j(?=[au])")
_TWICE = re.compile(r"(.)\1+")

_ROMAN_NUMBERS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_ROMAN = {number: value for value, number in enumerate(_ROMAN_NUMBERS, start=1)}


def words(text: str) -> tuple[str, ...]:
    """The words and numbers of a name in lower case: `SpinalCord_PRV05` is spinal, cord, prv, 05.

    A change of case or from letters to digits parts words, and everything that is neither letter nor digit does.
    Accents and the dots of ё and й are dropped, Kazakh letters are those of a Russian keyboard, and a word typed in two
    scripts is set in one, where its letters allow that.
    """
    letters = (c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    plain = "".join(letters).translate(_KAZAKH)
    return tuple(
        part.casefold() for word in re.findall(r"[^\W_]+", plain) for part in _WORD_BORDERS.split(_one_script(word))
    )


def key(text: str) -> str:
    """What the spellings of one name have in common: its words without what stands between them."""
    return "".join(words(text))


def sounds(letters: str) -> str:
    """`letters` (of a key) as they sound, in Latin letters: one form for the ways of writing Cyrillic in Latin.

    `spinnoj mozg`, `spinnoy mozg` and `спинной мозг` come out alike, `zhurek`, `jurek` and `журек` too.
    """
    latin = letters.translate(_SOUNDS)
    for written, heard in _WAYS_TO_WRITE:
        latin = latin.replace(written, heard)
    return _TWICE.sub(r"\1", _J_AS_I.sub("i", latin))


def small_number(word: str) -> int | None:
    """The value of a number below 100, or of a Roman one up to 12 (in either script's letters), or None."""
    if word.isascii() and word.isdigit():
        return int(word) if len(word) <= 2 else None
    return _ROMAN.get(word.translate(_TO_LATIN))


def latin_look(word: str) -> str:
    """`word` with Cyrillic letters as the Latin ones that look the same: С5 is C5."""
    return word.translate(_TO_LATIN)


def _one_script(word: str) -> str:
    """A word of Latin and Cyrillic letters in the script that all of its letters can stand for."""
    lower = word.lower()
    latin = [c for c in lower if "a" <= c <= "z"]
    cyrillic = [c for c in lower if "а" <= c <= "я"]
    if not latin or not cyrillic:
        return word
    if all(c in _LATIN for c in latin) and not all(c in _CYRILLIC for c in cyrillic):
        return _recased(word, lower.translate(_TO_CYRILLIC))
    if all(c in _CYRILLIC for c in cyrillic):
        return _recased(word, lower.translate(_TO_LATIN))
    return word


def _recased(word: str, lower: str) -> str:
    """`lower` with the capitals of `word`, which has as many letters."""
    return "".join(b.upper() if a.isupper() else b for a, b in zip(word, lower, strict=True))
