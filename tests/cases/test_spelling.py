# ruff: noqa: RUF001, RUF003 - letters of two scripts that look alike are what is tested
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contour.cases.spelling import key, small_number, sounds, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SpinalCord_PRV05", ("spinal", "cord", "prv", "05")),
        ("LLung", ("l", "lung")),
        ("SPINAL CORD", ("spinal", "cord")),
        ("спин. мозг", ("спин", "мозг")),
        ("Лёгкое-Л", ("легкое", "л")),
        ("ЛёгкоеЛ", ("легкое", "л")),
        ("өңеш", ("онеш",)),
        ("Th5", ("th", "5")),
        ("Œsophage é", ("œsophage", "e")),
        ("---", ()),
    ],
)
def test_words(text: str, found: tuple[str, ...]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Cepдце", "Сердце"),  # Latin C, e and p
        ("тiл", "тіл"),  # Latin i
        ("HEАRT", "HEART"),  # Cyrillic А
        ("Жулын", "Жұлын"),
        ("ЖҮРЕК", "журек"),
        ("Печень", "ПЕЧЕНЬ."),
        ("Brain Stem", "brainstem"),
    ],
)
def test_spellings_of_one_name(typed: str, meant: str) -> None:
    assert key(typed) == key(meant)


@pytest.mark.parametrize(
    ("latin", "cyrillic"),
    [
        ("spinnoj mozg", "спинной мозг"),
        ("spinnoy mozg", "спинной мозг"),
        ("spinnoi mozg", "спинной мозг"),
        ("zhurek", "жүрек"),
        ("jurek", "жүрек"),
        ("pishchevod", "пищевод"),
        ("pischevod", "пищевод"),
        ("mochevoy puzyr'", "мочевой пузырь"),
        ("Legkoye", "лёгкое"),
        ("trakheya", "трахея"),
    ],
)
def test_cyrillic_written_in_latin_letters(latin: str, cyrillic: str) -> None:
    assert sounds(key(latin)) == sounds(key(cyrillic))


def test_numbers() -> None:
    assert [small_number(word) for word in ("5", "05", "xi", "xiii", "123", "a")] == [5, 5, 11, None, None, None]
    assert small_number("х") == 10  # a Cyrillic х


@given(st.text(max_size=40))
def test_any_text_is_read_and_reading_it_again_changes_nothing(text: str) -> None:
    found = words(text)
    assert all(found)
    assert key(key(text)) == key(text)
