"""Tiny runs for tests: keyword spotting on 24 made-up clips, one update, a teacher of a few thousand weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bench.cli.choices import resolved_run
from bench.config.run import RunConfig
from bench.runs.run import Outcome, Run
from bench.testing.material import tiny_teacher
from bench.upstream import save_upstream

QUICK = ("total_steps=1", "eval_interval_steps=1", "save_interval_steps=1")
LABELS = ("low", "high")
SPLITS = ("train", "train", "dev", "test")


def write_data(folder: Path) -> Path:
    """Write clips of two classes, a manifest and a data file with two entries; return the data file."""
    random = np.random.default_rng(0)
    (folder / "clips").mkdir(parents=True)
    rows = []
    for index in range(24):
        tone = 0.2 * np.sin(2 * np.pi * (200, 900)[index % 2] * np.arange(8_000) / 16_000)
        name = f"clips/{index:02d}.wav"
        soundfile.write(folder / name, tone + 0.01 * random.standard_normal(8_000), 16_000)
        rows.append(f"{name},{SPLITS[index // 2 % 4]},{LABELS[index % 2]}")
    (folder / "ks.csv").write_text("path,split,label\n" + "\n".join(rows) + "\n")
    data = folder / "data.yaml"
    data.write_text("audio: {layout: folder, root: clips}\ntasks: {ks: {manifest: ks.csv}}\n")
    return data


def write_teacher(folder: Path, seed: int = 0) -> Path:
    """Save a teacher with random weights."""
    save_upstream(tiny_teacher(seed=seed), folder, {})
    return folder


def config_of(data: Path, *assignments: str, **options: Any) -> RunConfig:
    """Resolve a run; ``options`` are those of `bench.cli.choices.resolved_run`."""
    choices = {"tasks": "ks", "data": str(data), "preset": "smoke", "seeds": "0", **options}
    quick = [f"tasks.ks.{setting}" for setting in QUICK] if choices["tasks"] else []
    return resolved_run(assignments=[*quick, *assignments], **choices)


def execute(config: RunConfig, out: Path) -> Outcome:
    """Carry a run out on the CPU."""
    return Run(config, out, "cpu").execute()
