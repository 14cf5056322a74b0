"""``--slurm``: options within bounds, or one short error; nothing that would become another line of a batch script."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from bench.runs.executors.slurm.options import SlurmOptions, read_options
from tests.fuzz.harness import PROFILES, fuzz

KEYS = st.one_of(st.sampled_from(sorted(SlurmOptions.model_fields)), st.text(max_size=20))
VALUES = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(repr),
    st.from_regex(r"[0-9]{0,12}(-[0-9]{1,4})?(:[0-9]{0,4}){1,3}", fullmatch=True),
    st.sampled_from(["a100", "gpu:1", "--wrap=id", "a\nb", "$(id)", "1e9", "٣", "00:00:00", "0-00:00:01"]),
)
OPTIONS = st.lists(st.builds("{}={}".format, KEYS, VALUES), max_size=4).map(",".join)


def read(text: str) -> None:
    options = read_options(text)
    assert 1 <= options.delay_s <= options.time * 30
    for value in options.model_dump(exclude_none=True).values():
        assert not any(letter.isspace() or letter in "'\"`$;\\" for letter in str(value))


@pytest.mark.parametrize("profile", PROFILES)
def test_slurm_options(profile: str) -> None:
    examples = [
        "=",
        ",",
        "time=" + "9" * 5_000,
        "time=00:00:00",
        "partition=a\n",
        "x" * 10_000,
        "mem=1G\n",
        "time=\x00",
    ]
    fuzz(read, st.one_of(st.text(), OPTIONS), profile, examples=examples)
