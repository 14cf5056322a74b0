"""``--cache-limit`` and other sizes: a size within bounds, or one short error."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from bench.errors import UserError
from bench.sizes import LARGEST_BYTES, parse_size
from tests.fuzz.harness import PROFILES, error_line, fuzz

UNITS = ["", "B", "KB", "kB", "MB", "GB", "TB", "PB", "GiB", "g", "parsecs", "\x00", "٣"]
NUMBERS = st.one_of(
    st.integers().map(str), st.floats().map(repr), st.from_regex(r"[0-9]{1,400}(\.[0-9]{0,400})?", fullmatch=True)
)
SIZES = st.one_of(st.text(), st.builds("{}{}{}".format, NUMBERS, st.sampled_from(["", " "]), st.sampled_from(UNITS)))


def read(text: str) -> None:
    assert 0 <= parse_size(text, "--cache-limit") <= LARGEST_BYTES


@pytest.mark.parametrize("profile", PROFILES)
def test_sizes(profile: str) -> None:
    fuzz(read, SIZES, profile, examples=["9" * 5_000, "1e999GB", "99999999999999999999", "٣GB", "0", "-1", "nan", ""])


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("50GB", 50 * 10**9), ("0.5 GB", 5 * 10**8), ("800mb", 8 * 10**8), ("1GiB", 2**30), ("123", 123)],
)
def test_reads_what_people_write(text: str, num_bytes: int) -> None:
    assert parse_size(text, "--cache-limit") == num_bytes


@pytest.mark.parametrize(
    "text", ["99999999999999999999", "9" * 5_000, "50 parsecs", "5 GB of disk", "nan", "1e999", ""]
)
def test_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_size(text, "--cache-limit")
    assert "--cache-limit" in error_line(error.value)
