"""What the page says, in the language of those who read it."""

from dataclasses import dataclass
from pathlib import Path

from contour.config import load_config
from contour.languages import Language

_FOLDER = Path(__file__).resolve().parent / "words"


@dataclass(frozen=True)
class PageWords:
    """The texts of the page by their keys, and the titles of findings by their codes."""

    language: str
    page: dict[str, str]
    findings: dict[str, str]


def page_words(language: Language) -> PageWords:
    """The words of a language.

    Raises:
        ConfigError: the installation's file is damaged.
    """
    return load_config(_FOLDER / f"{language.value}.yaml", PageWords)
