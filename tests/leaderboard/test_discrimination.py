"""The list of tasks that separate good compression from bad."""

from __future__ import annotations

from bench import registry
from bench.config.data import embedded
from bench.leaderboard.discrimination import measured


def test_the_list_names_tasks_and_the_present_corpora() -> None:
    present = embedded("mini").data().identity
    assert {data for data, _ in measured()} <= {present}
    assert {task for _, task in measured()} <= {*registry.names("bench.tasks")}
