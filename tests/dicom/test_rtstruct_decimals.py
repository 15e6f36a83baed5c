"""Decimal strings by the million: what is written reads back, and whatever DICOM allows is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contour.dicom.decimals import MAX_DS_BYTES, format_decimals, parse_decimals

COORDINATES = st.floats(-25_000, 25_000, allow_nan=False)


@settings(max_examples=60)
@given(st.lists(st.lists(COORDINATES, min_size=1, max_size=9), min_size=1, max_size=5))
def test_what_is_written_is_the_number_to_a_thousandth(attributes):
    values = np.array([v for attribute in attributes for v in attribute])
    starts = np.cumsum([0, *(len(a) for a in attributes)])
    texts = format_decimals(values, starts)
    assert texts.starts[-1] == len(texts.text)
    for i, attribute in enumerate(attributes):
        text = texts.text[texts.starts[i] : texts.starts[i + 1]]
        assert len(text) % 2 == 0
        entries = text.rstrip(b" ").split(b"\\")
        assert entries == [f"{v:.3f}".encode() for v in (np.rint(np.array(attribute) * 1000) / 1000 + 0.0).tolist()]
        assert max(map(len, entries)) <= MAX_DS_BYTES
        assert parse_decimals(text.rstrip(b" ")).values.tolist() == [float(entry) for entry in entries]


def test_negative_zero_is_zero():
    assert format_decimals(np.array([-0.0001, -0.0, -0.7]), np.array([0, 3])).text == b"0.000\\0.000\\-0.700"


def test_numbers_that_do_not_fit_are_refused():
    for value in (1e12, np.inf, np.nan):
        with pytest.raises(ValueError, match="16 characters"):
            format_decimals(np.array([value]), np.array([0, 1]))


DECIMALS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{1,7}(\.[0-9]{0,7})?", fullmatch=True),
    st.from_regex(r"[+-]?\.[0-9]{1,8}", fullmatch=True),
    st.from_regex(r" {0,2}[+-]?[0-9]{1,4}(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})? {0,2}", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,4}\.[0-9]{3}", fullmatch=True),
)


@settings(max_examples=60)
@given(st.lists(DECIMALS, min_size=1, max_size=30))
def test_every_form_that_dicom_allows_is_read_to_the_nearest_double(entries):
    parsed = parse_decimals("\\".join(entries).encode("ascii"))
    assert parsed.values.tolist() == [float(entry) for entry in entries]
    assert parsed.longest == max(len(entry) for entry in entries)


@pytest.mark.parametrize("text", [b"1.0\\\\2.0", b"1.0\\", b"a.b", b"1.2.3", b"1.0\\--2.0", b"nan", b"1.0\\inf", b"-."])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="decimal number"):
        parse_decimals(text)


def test_nothing_is_no_numbers():
    assert parse_decimals(b"").values.size == 0
