"""Every task declares the size of SUPERB's corpus and the updates of its recipe; the leaderboard reads them from it."""

from __future__ import annotations

import pytest

from bench import registry
from bench.contracts import DeclaresSuperbStandard
from bench.leaderboard.superb_deviations import deviations
from tests.helpers.records import record, standard_record

TASKS = ("asr", "pr", "ks", "sid", "ic", "sf", "er", "asv", "sd", "qbe")


@pytest.mark.parametrize("task", TASKS)
def test_the_preset_paper_trains_as_long_as_superb(task: str) -> None:
    plugin = registry.load("bench.tasks", task)
    assert isinstance(plugin, DeclaresSuperbStandard)
    preset = plugin.presets["paper"]  # type: ignore[attr-defined]
    assert plugin.superb_standard.total_steps == getattr(preset, "total_steps", 0)


@pytest.mark.parametrize("task", TASKS)
def test_superb_s_own_setting_does_not_deviate(task: str) -> None:
    assert deviations(standard_record(task)) == []


def test_another_test_set_deviates() -> None:
    whole = standard_record("sid")
    part = whole.model_copy(update={"settings": {**whole.settings, "num_test_utterances": 10}})
    (reason,) = deviations(part)
    assert "8,251" in reason


def test_a_task_without_a_standard_deviates_in_preset_and_protocol_only() -> None:
    assert [reason.split()[0] for reason in deviations(record("model", "unknown-task"))] == ["preset", "protocol"]


def test_fewer_documents_deviate() -> None:
    whole = standard_record("qbe")
    part = whole.model_copy(update={"settings": {**whole.settings, "num_documents_utterances": 10}})
    (reason,) = deviations(part)
    assert "2,438" in reason
