"""``--seeds``, ``--folds``, ``--lr`` and ``--sparsity``: numbers within bounds, or one short error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from bench.cli.choices import resolved_run
from bench.contracts.bounds import LARGEST_SEED
from bench.errors import UserError
from tests.fuzz.harness import PROFILES, ends_well, fuzz

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["1e4", "1_000", "1e999999999", "sNaN", "٣", "9" * 5_000, "0x10", "-0", "+1", "1.0", "auto"]),
    st.text(max_size=20),
)
LISTS = st.lists(NUMBERS, max_size=4).map(",".join)


def run(**options: Any) -> Any:
    given = {"tasks": None, "data": "mini", "preset": "smoke", "seeds": "0", "assignments": [], **options}
    return resolved_run(teacher="random:hubert_base", **given)


def seeds(text: str) -> tuple[int, ...]:
    found = run(seeds=text).seeds
    assert all(0 <= seed <= LARGEST_SEED for seed in found)
    assert len(set(found)) == len(found)
    return tuple(found)


def sweep(text: str) -> None:
    run(compressors="dphubert", sparsities=text, training_budget="updates")


def shorthands(text: str) -> None:
    for option in ("lr", "folds"):
        run(tasks="er", **{option: text})


@pytest.mark.parametrize("profile", PROFILES)
def test_seeds(profile: str) -> None:
    fuzz(seeds, LISTS, profile, examples=["9" * 5_000, "1e999999999", "sNaN", "0,-0", "4294967296"])


@pytest.mark.parametrize("profile", PROFILES)
def test_sparsities(profile: str) -> None:
    fuzz(sweep, LISTS, profile, examples=["0.5,.5", "1e-400", "nan", "0,1"])


@pytest.mark.parametrize("profile", PROFILES)
def test_learning_rates_and_folds(profile: str) -> None:
    fuzz(shorthands, LISTS, profile, examples=["1e308", "1e-400", "AUTO", "inf", "4", "5", "9" * 5_000])


@pytest.mark.parametrize(("text", "found"), [("0,1", (0, 1)), ("1e4,1_000, 5.0", (10_000, 1000, 5))])
def test_seeds_in_other_spellings(text: str, found: tuple[int, ...]) -> None:
    assert seeds(text) == found


@pytest.mark.parametrize("text", ["1.5", "-1", "4294967296", "1,1.0", "true", "1e999999999", "", "0x10"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        seeds(text)
    assert ends_well(seeds, text)
