"""`--set`: parsing, nesting, and the messages for mistakes."""

from __future__ import annotations

import pytest

from bench.config.overrides import nested, parse_overrides, validated
from bench.contracts import Settings
from bench.errors import UserError
from tests.fuzz.harness import ends_well


class Stage(Settings):
    """A nested part."""

    updates: int = 10
    learning_rate: float = 0.1


class Method(Settings):
    """Settings as a plug-in has them."""

    sparsity: float = 0.75
    units: tuple[str, ...] = ("conv",)
    stage: Stage = Stage()
    stages: tuple[Stage, ...] = (Stage(),)
    seeds: tuple[int, ...] = ()
    limit: int | None = None
    loud: bool = False


def test_values_are_yaml() -> None:
    overrides = parse_overrides(["sparsity=0.5", "units=[conv, head]", "flag=true", "name=a=b"])
    assert overrides == {"sparsity": 0.5, "units": ["conv", "head"], "flag": True, "name": "a=b"}


@pytest.mark.parametrize(
    "bad", ["sparsity", "=3", "a=[1", "a..b=1", ".a=1", "a.=1", ".".join("a" * 500) + "=1", "a\0=1", "a=!!int xx"]
)
def test_malformed_assignments_are_refused(bad: str) -> None:
    with pytest.raises(UserError, match="Expected"):
        parse_overrides([bad])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        parse_overrides(["a=1", "a=2"])


def test_dotted_keys_leave_their_neighbours_alone() -> None:
    changed = nested({"stage.updates": 5}, Method().model_dump())
    assert validated(Method, changed, "x") == Method(stage=Stage(updates=5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsty": 0.5}, r"unknown key 'sparsty'. Did you mean 'sparsity'\?"),
        ({"stage": {"update": 5}}, r"unknown key 'stage.update'. Did you mean 'updates'\?"),
        ({"sparsity": "much"}, r"sparsity: .*number.*'much'"),
    ],
)
def test_mistakes_are_explained_with_the_nearest_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated(Method, values, "compressor x")


def settings(*assignments: str) -> Method:
    return validated(Method, nested(parse_overrides(assignments), Method().model_dump()), "compressor x")


def test_an_item_of_a_list_goes_by_its_place() -> None:
    assert settings("stages.0.updates=5").stages == (Stage(updates=5),)


@pytest.mark.parametrize("place", ["1", "7", "-1", "0x0", "00", "first", "1e0"])
def test_a_place_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(UserError, match=rf"stages\.{place}.*1 item"):
        settings(f"stages.{place}.updates=5")


@pytest.mark.parametrize(("text", "updates"), [("1e4", 10_000), ("1_000", 1000), ("5.0", 5), ("0x10", 16)])
def test_whole_numbers_in_other_spellings(text: str, updates: int) -> None:
    assert settings(f"stage.updates={text}").stage.updates == updates


@pytest.mark.parametrize(
    "assignment",
    [
        "stage.updates=5.5",
        "stage.updates=true",
        "stage.updates=1e300",
        "stage.updates=99999999999999999",
        "stage.updates=" + "9" * 5_000,
        "stage.updates=.inf",
        "stage.updates=[1]",
        "stage.learning_rate=.nan",
        "stage.learning_rate=1e999",
        "stage.learning_rate=true",
        "seeds=[0, true]",
        "limit=false",
        "loud=2",
        "units=[" + "x, " * 10_000 + "1]",
        "stage=" + "x" * 100_000,
        "nothing" * 1_000 + "=1",
    ],
)
def test_other_values_are_refused_in_one_short_line(assignment: str) -> None:
    assert ends_well(settings, assignment)
