"""How much time it saves to train pooled heads at once: ratios of CPU times measured in one run.

Features are noise with the shape of ``mini-hubert``'s, because no cost depends on their content. Trained one by one,
heads take s3prl's own training loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from bench.contracts import Context
from benchmarks.test_task_speed import HubertBaseShape, splits
from tasks.bridge import together
from tasks.heads.evaluate_head import Head, evaluate_head
from tasks.ks import KS, KSConfig

LARGEST_RATIO_OF_TWELVE = 2.5
SMALLEST_SPEEDUP = 4
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
SEEDS = (0, 1, 2)
TOTAL_STEPS = 1_000


class MiniHubertShape(HubertBaseShape):
    """Hidden states of ``mini-hubert``'s shape."""

    num_layers, dim, stride = 12, 128, 320


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use one thread and an own cache."""
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config() -> KSConfig:
    """Return the settings of the preset ``mini``."""
    return KS.presets["mini"].model_copy(update={"total_steps": TOTAL_STEPS, "learning_rates": RATES})


@pytest.fixture
def tables(tmp_path: Path, config: KSConfig) -> dict[str, pd.DataFrame]:
    """Write a corpus, and fill the cache."""
    tables = splits(tmp_path, 0.5, 320, 200)
    once = config.model_copy(update={"total_steps": 1, "learning_rate": 1e-3})
    KS(once).train(MiniHubertShape(), tables, once, tmp_path / "warm", Context(), ("dev", "test"))
    return tables


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of some work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def say(text: str) -> None:
    """Print the measurements."""
    Console(soft_wrap=True).print(f"\n{text}")


def test_twelve_heads_cost_little_more_than_one(
    config: KSConfig, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    """Compare with one head that s3prl's own loop trains."""
    task, upstream = KS(config), MiniHubertShape()
    heads = [
        Head(config.model_copy(update={"learning_rate": rate}), tmp_path / f"{rate}-{seed}", Context(seed=seed))
        for rate in RATES
        for seed in SEEDS
    ]
    one = replace(heads[0], workdir=tmp_path / "stack of one")
    alone_s = cpu_s(
        lambda: task.train(upstream, tables, heads[0].config, tmp_path / "alone", heads[0].context, ("dev",))
    )
    stacked_s = cpu_s(lambda: task.train_together(upstream, tables, [one]))
    together_s = cpu_s(lambda: task.train_together(upstream, tables, heads))
    say(
        f"{TOTAL_STEPS} steps, CPU s: one head by s3prl's loop {alone_s:.2f}, a stack of one {stacked_s:.2f}, "
        f"12 heads together {together_s:.2f}: {together_s / alone_s:.2f} times one head"
    )
    assert together_s / alone_s <= LARGEST_RATIO_OF_TWELVE


def test_a_search_with_three_seeds_is_four_times_faster(
    config: KSConfig, tables: dict[str, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare all cells of a run with one model, whose features are cached."""
    auto = config.model_copy(update={"learning_rate": "auto"})
    task, upstream = KS(auto), MiniHubertShape()

    def cells(run: str) -> list[float]:
        found = []
        workdirs = {seed: tmp_path / run / str(seed) for seed in SEEDS}
        for seed in SEEDS:
            context = Context(seed=seed, shared_workdir=tmp_path / run, seed_workdirs=workdirs)
            evaluation = evaluate_head(
                lambda *rest: task.train(upstream, tables, *rest),
                lambda heads: task.train_together(upstream, tables, heads),
                auto,
                task.metrics[0],
                upstream,
                tables,
                workdirs[seed],
                context,
            )
            found += [evaluation.settings["learning_rate"], evaluation.scores["test"]["accuracy"]]
        return found

    results: dict[str, list[float]] = {}
    together_s = cpu_s(lambda: results.update(together=cells("together")))
    monkeypatch.setattr(together, "MOST_BYTES", {"cpu": 0})
    alone_s = cpu_s(lambda: results.update(alone=cells("alone")))
    say(f"4 rates, 3 seeds, CPU s: one by one {alone_s:.1f}, together {together_s:.1f}, {alone_s / together_s:.1f}x")
    assert results["together"] == results["alone"]
    assert alone_s / together_s >= SMALLEST_SPEEDUP
