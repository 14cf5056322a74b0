"""Which models a run keeps in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.upstream import AnyUpstream, load_upstream
from tests.helpers.tiny_runs import config_of, execute, write_data, write_teacher


def test_the_teacher_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks, compression and the teacher's own cells share it, also where a call finds cells of an earlier one."""
    teacher = str(write_teacher(tmp_path / "teacher"))
    data = write_data(tmp_path / "data")
    read: Counter[str] = Counter()

    def load(reference: str) -> AnyUpstream:
        read.update([reference])
        return load_upstream(reference)

    monkeypatch.setattr("bench.runs.evaluate.load_upstream", load)
    for seeds in ("0", "0,1"):
        read.clear()
        pruned = ("importance=l2", "recovery=null", "sparsity=0.2")
        config = config_of(data, *pruned, compressors="prune-only", teacher=teacher, seeds=seeds)
        assert not execute(config, tmp_path / "run").failures
        assert read[teacher] == 1
