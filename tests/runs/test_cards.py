"""The cards of a run's models hold its scores."""

from __future__ import annotations

from pathlib import Path

from bench.leaderboard.titles import score_title
from tests.helpers.tiny_runs import config_of, execute, write_data, write_teacher


def test_scores_are_added_and_edits_are_kept(tmp_path: Path) -> None:
    teacher = str(write_teacher(tmp_path / "teacher"))
    config = config_of(write_data(tmp_path / "data"), compressors="int8", teacher=teacher)
    execute(config, tmp_path / "run")
    cards = list((tmp_path / "run" / "models").glob("*/README.md"))
    assert cards
    scored = cards[0].read_bytes()
    assert f"| {score_title('ks', 'accuracy')} |".encode() in scored
    assert b"meaningless" in scored
    cards[0].write_bytes(scored + b"Licence: \xe9\r\n")
    execute(config, tmp_path / "run")
    assert cards[0].read_bytes() == scored + b"Licence: \xe9\r\n"
