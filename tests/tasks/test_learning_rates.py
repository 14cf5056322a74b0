"""The preset ``paper`` searches the learning rate, as SUPERB does, over rates that include the published ones."""

from __future__ import annotations

import itertools

import pytest

from bench import registry
from tests.helpers.choices import config_of

PUBLISHED = {
    "asr": {1e-5, 1e-4, 5e-4},
    "sf": {1e-5, 1e-4, 5e-4},
    "pr": {1e-5, 5e-4},
    "ks": {1e-5, 1e-4},
    "ic": {1e-5, 1e-4},
    "er": {1e-5, 1e-4},
    "sid": {5e-3, 5e-2, 1e-1},
    "asv": {5e-5, 1e-4},
    "sd": {1e-4, 5e-4},
}


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_rates_are_candidates(task: str) -> None:
    paper = registry.load("bench.tasks", task).presets["paper"]
    assert paper.learning_rate == "auto"
    assert set(paper.learning_rates) >= PUBLISHED[task]


def test_every_task_with_a_rate_searches_it() -> None:
    papers = {name: registry.load("bench.tasks", name).presets["paper"] for name in registry.names("bench.tasks")}
    trained = {name: config for name, config in papers.items() if hasattr(config, "learning_rate")}
    assert {name: config.learning_rate for name, config in trained.items()} == dict.fromkeys(trained, "auto")
    for name, config in trained.items():
        rates = sorted(config.learning_rates)
        assert 5 <= len(rates) == len(set(rates)), name
        # An optimum between two candidates is at most a factor of about 3 away from one.
        assert all(higher <= 10.001 * lower for lower, higher in itertools.pairwise(rates)), name


@pytest.mark.parametrize(
    ("lr", "assignments", "rate"),
    [(None, (), "auto"), (5e-4, (), 5e-4), (None, ("tasks.pr.learning_rate=1e-3",), 1e-3)],
)
def test_a_given_rate_is_used(lr: float | None, assignments: tuple[str, ...], rate: float | str) -> None:
    heads = {} if lr is None else {"learning_rate": lr}
    config = config_of("none", *assignments, tasks=("pr",), preset="paper", head_settings=heads)
    assert config.tasks["pr"]["learning_rate"] == rate
