"""YAML and ``--set``: plain values, or one short error."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from bench.config.overrides import nested, parse_overrides
from bench.files.yaml import parse_yaml
from tests.fuzz.harness import PROFILES, fuzz

TOKENS = st.sampled_from(
    [
        "a",
        ": ",
        "\n",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "<<",
        "!!int ",
        "!!bool ",
        "1e4",
        "'",
        '"',
        "\\0",
        "  ",
    ]
)
DOCUMENTS = st.one_of(st.text(), st.lists(TOKENS, max_size=40).map("".join))


@pytest.mark.parametrize("profile", PROFILES)
def test_yaml(profile: str) -> None:
    fuzz(lambda text: parse_yaml(text, "data.yaml"), DOCUMENTS, profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_overrides(profile: str) -> None:
    base = {"a": {"b": 1}, "c": [{"d": 1}]}
    assignments = st.builds("{}={}".format, st.sampled_from(["a", "a.b", "c.0.d", "c.1.d", "c.-1"]), DOCUMENTS)
    fuzz(lambda text: nested(parse_overrides([text]), base), assignments, profile)
