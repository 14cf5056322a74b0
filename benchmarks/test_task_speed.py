"""How much time cached features save for HuBERT Base's shape: ratios of CPU times measured in one run.

Speech is noise with the lengths of the real corpora, because no cost depends on its content. ``--protocol s3prl``
stands for s3prl: it is s3prl's own training loop, see tests/tasks/test_s3prl_parity.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from rich.console import Console
from torch import nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Context, Evaluation
from bench.upstream import UpstreamModel, load_upstream
from tasks.asr import ASR
from tasks.er import ER
from tasks.heads.config import HeadConfig
from tasks.heads.pooled import PooledHeadConfig
from tasks.ic import IC
from tasks.ks import KS
from tasks.metrics.counts import transcript_counts
from tasks.sid import SID

LARGEST_WARM_STEP_RATIO = 1 / 100
SMALLEST_TASK_SPEEDUP = 20
LARGEST_HEAD_RATIO = 1.1
SMALLEST_EXTRACTION_RATIO = 0.9
LARGEST_GROWTH_BYTES = 20e6

WARM_STEPS = 300
"""Number of warm steps. The first ten also allocate the optimizer's state, and are not measured."""


@dataclass(frozen=True)
class Corpus:
    """A task with utterances as long as its corpus's mean, or as its crops."""

    task: type[KS | IC | ER | SID]
    duration_s: float

    @property
    def config(self) -> PooledHeadConfig:
        """SUPERB's recipe, unchanged."""
        return self.task.presets["paper"]


POOLED = {"ks": Corpus(KS, 1.0), "ic": Corpus(IC, 2.3), "er": Corpus(ER, 4.5), "sid": Corpus(SID, 8.0)}


@dataclass
class Steps:
    """The start of each training step, the end of the last one, and the process's memory at these times."""

    cpu_s: list[float] = field(default_factory=list)
    anonymous_bytes: list[int] = field(default_factory=list)

    def median_cpu_s(self, skipped: int = 0) -> float:
        """Return the median time of a step without the first ones."""
        return float(np.median(np.diff(self.cpu_s[skipped:])))


@pytest.fixture
def steps() -> Iterator[Steps]:
    """Record the training steps of a test. The evaluation after the last step marks its end."""
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    from s3prl.task import Task

    recorded = Steps()
    modes = ["test"]

    def record(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not isinstance(module, Task):
            return
        modes.append(inputs[0])
        if "train" in modes[-2:]:
            recorded.cpu_s.append(time.process_time())
            recorded.anonymous_bytes.append(anonymous_bytes())

    hook = nn.modules.module.register_module_forward_pre_hook(record)
    yield recorded
    hook.remove()


def anonymous_bytes() -> int:
    """Return the memory in use, without files mapped from disk, which the system can reclaim."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024


@pytest.fixture(scope="module")
def hubert_base() -> UpstreamModel:
    """Return random weights, which cost the same as trained ones."""
    return load_upstream("random:hubert_base")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: CPU time of several threads includes waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test with an empty cache."""
    monkeypatch.setenv("SUPERB_BENCH_CACHE", str(tmp_path / "cache"))


def noise(folder: Path, split: str, count: int, duration_s: float) -> pd.DataFrame:
    """Write utterances of one split, and the table of them that a recipe reads."""
    random = np.random.default_rng([ord(letter) for letter in split])
    rows = []
    for index in range(count):
        path = folder / f"{split}{index:04d}.wav"
        num_samples = round(duration_s * SAMPLE_RATE_HZ)
        soundfile.write(path, 0.1 * random.standard_normal(num_samples), SAMPLE_RATE_HZ)
        label = "AB"[index % 2]
        row = {"id": path.stem, "wav_path": str(path), "num_samples": num_samples, "label": label}
        rows.append({**row, "labels": f"{label} ; {label} ; {label}", "transcription": f"{label} BA AB" * 3})
    return pd.DataFrame(rows)


def splits(folder: Path, duration_s: float, num_train: int, num_eval: int = 2) -> dict[str, pd.DataFrame]:
    """Write a corpus of noise."""
    sizes = {"train": num_train, "dev": num_eval, "test": num_eval}
    return {split: noise(folder, split, count, duration_s) for split, count in sizes.items()}


def training(config: HeadConfig, total_steps: int) -> Any:
    """Shorten a recipe to this many passes without accumulation, with one evaluation at the end."""
    changes = {
        "total_steps": total_steps,
        "eval_interval_steps": total_steps,
        "save_interval_steps": total_steps,
        "gradient_accumulation_steps": 1,
        "num_workers": 0,
    }
    return config.model_copy(update=changes)


def pooled(
    corpus: Corpus, tables: dict[str, pd.DataFrame], upstream: Any, workdir: Path, total_steps: int, protocol: Any
) -> Evaluation:
    """Train and test a pooled head."""
    config = training(corpus.config, total_steps)
    context = Context(protocol=protocol)
    return corpus.task(config).train(upstream, tables, config, workdir, context, ("dev", "test"))


def say(text: str) -> None:
    """Print the measurements."""
    Console(soft_wrap=True).print(f"\n{text}")


class HubertBaseShape(nn.Module):
    """An upstream with hidden states of HuBERT Base's shape at no cost. Warm steps cost the same with any upstream."""

    num_layers, dim, stride = 12, 768, 320

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(self.dim))

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Repeat every frame's first sample."""
        frames = (lengths - 400) // self.stride + 1
        one = waveforms[:, : frames.max() * self.stride : self.stride, None] * self.weight
        return [one + layer for layer in range(self.num_layers + 1)], frames


@pytest.mark.parametrize("name", POOLED)
def test_a_warm_step_costs_a_hundredth(name: str, hubert_base: UpstreamModel, steps: Steps, tmp_path: Path) -> None:
    """Compare one pass of the recipe's batch. With accumulated gradients, a step has several in both protocols."""
    corpus = POOLED[name]
    tables = splits(tmp_path, corpus.duration_s, corpus.config.batch_size)
    pooled(corpus, tables, hubert_base, tmp_path / "s3prl", 1, "s3prl")
    s3prl_s = steps.median_cpu_s()
    steps.cpu_s.clear()
    pooled(corpus, tables, HubertBaseShape(), tmp_path / "cached", WARM_STEPS, "cached")
    warm_s = steps.median_cpu_s(skipped=10)
    say(
        f"{name}: batch of {corpus.config.batch_size} x {corpus.duration_s} s: s3prl {s3prl_s:.2f} CPU s, "
        f"warm {1000 * warm_s:.1f} ms, 1/{s3prl_s / warm_s:.0f}"
    )
    assert warm_s / s3prl_s <= LARGEST_WARM_STEP_RATIO


def test_a_whole_task_is_twenty_times_faster(hubert_base: UpstreamModel, steps: Steps, tmp_path: Path) -> None:
    """KS, 30 passes over the training clips with extraction and evaluation; s3prl's time is two steps, extrapolated."""
    corpus = POOLED["ks"]
    num_train, num_eval, passes = 160, 8, 30
    tables = splits(tmp_path, corpus.duration_s, num_train, num_eval)
    total_steps = passes * num_train // corpus.config.batch_size
    begun = time.process_time()
    pooled(corpus, tables, hubert_base, tmp_path / "cached", total_steps, "cached")
    cached_s = time.process_time() - begun
    steps.cpu_s.clear()
    begun = time.process_time()
    pooled(corpus, tables, hubert_base, tmp_path / "s3prl", 2, "s3prl")
    measured_s = time.process_time() - begun
    s3prl_s = measured_s + (total_steps - 2) * steps.median_cpu_s()
    say(
        f"KS, {num_train} clips, {total_steps} steps: cached {cached_s:.1f} CPU s, "
        f"s3prl {s3prl_s:.0f} (extrapolated from 2 steps): {s3prl_s / cached_s:.1f} times"
    )
    assert s3prl_s / cached_s >= SMALLEST_TASK_SPEEDUP


@pytest.mark.parametrize("preset", ["paper", "mini"])
def test_a_warm_recurrent_step_costs_what_its_head_does(
    preset: str, steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASR's head as in the paper, and a light one. Batches of 4 x 3 s, because a CPU is slow with the former."""
    from tasks.bridge import run as s3prl_bridge

    total_steps = {"paper": 8, "mini": 40}[preset]
    config = training(ASR.presets[preset], total_steps).model_copy(update={"batch_size": 4})
    tables = splits(tmp_path, 3.0, 8)
    head_alone_s: list[float] = []

    def recipe(module_name: str, class_name: str) -> Any:
        return type("Timed", (_TimedHead, bridged(module_name, class_name)), {"head_alone_s": head_alone_s})

    bridged = s3prl_bridge.bridged_recipe
    monkeypatch.setattr(s3prl_bridge, "bridged_recipe", recipe)
    s3prl_bridge.run_recipe(
        ("s3prl.problem.asr.superb_asr", "SuperbASR"),
        config.recipe_arguments(),
        tables,
        HubertBaseShape(),
        tmp_path / "w",
        Context(),
        features=config.feature_choice("cpu"),
        counts=transcript_counts,
    )
    warm_s, head_s = steps.median_cpu_s(skipped=1), float(np.median(head_alone_s[1:]))
    say(
        f"ASR, preset {preset}, batch of 4 x 3 s: "
        f"warm step {warm_s:.3f} CPU s, head alone {head_s:.3f}: {warm_s / head_s:.3f}"
    )
    assert warm_s / head_s <= LARGEST_HEAD_RATIO


class _TimedHead:
    """Times the recipe's head on one batch in memory, before the usual training."""

    head_alone_s: list[float]

    def train(
        self,
        train: dict[str, Any],
        train_dir: Path,
        build_model_all_args: dict[str, Any],
        build_task_all_args_except_model: dict[str, Any],
        save_model: dict[str, Any],
        save_task: dict[str, Any],
        build_optimizer: dict[str, Any],
        build_scheduler: dict[str, Any],
        evaluate: dict[str, Any],
        train_dataset: Any,
        train_batch_sampler: Any,
        train_collate_fn: Any,
        *rest: Any,
        **options: Any,
    ) -> None:
        problem: Any = super()
        model = problem.build_model(**build_model_all_args)
        # Of s3prl's class, so that the record of steps does not see it.
        task = problem.build_task(model=model, **build_task_all_args_except_model)
        optimizer = problem.build_optimizer(build_optimizer, task.parameters())
        batch = train_collate_fn([train_dataset[index] for index in next(iter(train_batch_sampler))])
        task.train()
        for _ in range(train["total_steps"]):
            begun = time.process_time()
            loss, _ = task.forward("train", **batch)
            loss.backward()
            nn.utils.clip_grad_norm_(task.parameters(), train["gradient_clipping"])
            optimizer.step()
            optimizer.zero_grad()
            self.head_alone_s.append(time.process_time() - begun)
        problem.train(
            train,
            train_dir,
            build_model_all_args,
            build_task_all_args_except_model,
            save_model,
            save_task,
            build_optimizer,
            build_scheduler,
            evaluate,
            train_dataset,
            train_batch_sampler,
            train_collate_fn,
            *rest,
            **options,
        )


@pytest.mark.parametrize("kind", ["means", "frames"])
def test_extraction_is_as_fast_as_the_upstream(kind: str, hubert_base: UpstreamModel, tmp_path: Path) -> None:
    """Extraction includes decoding, hashing, packing, writing and verifying."""
    from bench.upstream.checkpoint import weights_hash
    from tasks.bridge import s3prl_compat
    from tasks.bridge.frozen_upstream import FrozenUpstream
    from tasks.feature_cache.upstream import cached_features, feature_loader_class

    s3prl_compat.install()
    from s3prl.dataio.dataset import LoadAudio

    table = noise(tmp_path, "train", 8, 5.0)
    paths, num_samples = table["wav_path"].tolist(), table["num_samples"].tolist()
    waveforms = [torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None] for path in paths]
    lengths = torch.tensor([num_samples[0]])
    with torch.inference_mode():
        hubert_base(waveforms[0], lengths)
        begun = time.process_time()
        for waveform in waveforms:
            hubert_base(waveform, lengths)
        bare_s = time.process_time() - begun
    weights = weights_hash(hubert_base)
    begun = time.process_time()
    features = cached_features(FrozenUpstream(hubert_base), weights, kind, Context())  # type: ignore[arg-type]
    loader = feature_loader_class(LoadAudio, features, num_samples, hubert_base.stride)(paths)
    extraction_s = time.process_time() - begun
    assert len(loader) == len(paths)
    say(
        f"{kind} of {sum(num_samples) / SAMPLE_RATE_HZ:.0f} s: bare upstream {bare_s:.2f} CPU s, "
        f"extraction {extraction_s:.2f}: {bare_s / extraction_s:.3f} of its speed"
    )
    assert bare_s / extraction_s >= SMALLEST_EXTRACTION_RATIO


def test_memory_stays_flat(steps: Steps, tmp_path: Path) -> None:
    """Memory does not grow over thousands of steps."""
    corpus = POOLED["ks"]
    pooled(corpus, splits(tmp_path, corpus.duration_s, 64), HubertBaseShape(), tmp_path / "w", 2_000, "cached")
    early, late = steps.anonymous_bytes[199], steps.anonymous_bytes[1_999]
    say(f"memory after 200 warm steps {early / 1e6:.0f} MB, after 2,000 {late / 1e6:.0f} MB")
    assert late - early <= LARGEST_GROWTH_BYTES
