"""`--set`: parsing, nesting, and the messages for mistakes."""

from __future__ import annotations

import pytest

from bench.config.overrides import nested, parse_overrides, validated
from bench.contracts import Settings
from bench.errors import UserError


class Stage(Settings):
    """A nested part."""

    updates: int = 10
    learning_rate: float = 0.1


class Method(Settings):
    """Settings as a plug-in has them."""

    sparsity: float = 0.75
    units: tuple[str, ...] = ("conv",)
    stage: Stage = Stage()


def test_values_are_yaml() -> None:
    overrides = parse_overrides(["sparsity=0.5", "units=[conv, head]", "flag=true", "name=a=b"])
    assert overrides == {"sparsity": 0.5, "units": ["conv", "head"], "flag": True, "name": "a=b"}


@pytest.mark.parametrize("bad", ["sparsity", "=3", "a=[1"])
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
