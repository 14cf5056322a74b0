"""Speed on a GPU: training steps of HuBERT Base next to torchaudio's, pretraining, features, and steps of heads.

Usage: ``python -m benchmarks.gpu --json figures.json``. It takes some minutes. ``--device cpu --tiny`` tries the script
itself out, with tiny models. Speech is noise in memory, except for features. Times are wall-clock times of several
steps between two synchronisations, the shortest of some rounds; ways that are compared alternate. The JSON is written
after every measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
import torchaudio
import typer
from rich.console import Console
from torch import Tensor, nn
from torch.optim import AdamW

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Context
from bench.profiling.machine import this_machine
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.checkpoint import weights_hash
from bench.upstream.config import uniform_config
from bench.upstream.matmul_precision import matmul_precision
from bench.upstream.random_shapes import random_model
from benchmarks.test_task_speed import POOLED, noise, splits, training
from benchmarks.test_training_speed import PlainDistillation, thinner
from compressors.dphubert.config import PAPER
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.objectives.distillation import Distillation
from compressors.objectives.distilled_layers import layer_groups
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.objectives.state_predictors import Projections
from compressors.pretraining.config import MINI
from compressors.students.copies import trainable_copy
from compressors.training.loop import StageModule
from compressors.training.objective import Objective
from tasks.asr import ASR

Step = Callable[[], None]
Precision = Literal["fp32", "bf16", "fp16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SPARSITY = 0.75
LEARNING_RATE = 2e-4
WARM_UP = 3
"""Steps before any is timed."""


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    shape: UpstreamConfig
    crops: int
    crop_s: float
    steps: int
    """Steps in a round."""
    rounds: int
    files: int
    """Of 10 s each, for features."""
    head_steps: int


FULL = Size(uniform_config("hubert", 768, 12, 12, 3072), 16, 10.0, steps=10, rounds=3, files=64, head_steps=60)
TINY = Size(
    uniform_config("hubert", 32, 3, 4, 48, conv_channels=8, positional_kernel=16), 2, 1.0, 1, 1, files=2, head_steps=4
)


class Figures:
    """What has been measured; prints and writes each figure at once."""

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about
        self.values: dict[str, float] = {}
        self.console = Console(soft_wrap=True)

    def add(self, name: str, value: float) -> None:
        """Add a figure, whose name ends with its unit."""
        self.values[name] = value
        self.console.print(f"{name}: {value:.4g}")
        if self.path is not None:
            self.path.write_text(json.dumps({**self.about, "figures": self.values}, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Bench:
    """The device and how to time on it."""

    device: Literal["cpu", "cuda"]
    size: Size

    def wait(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def crops(self) -> Tensor:
        """Return a batch of noise."""
        num_samples = round(self.size.crop_s * SAMPLE_RATE_HZ)
        return (0.1 * torch.randn(self.size.crops, num_samples)).to(self.device)

    def seconds_a_step(self, steps: dict[str, Step]) -> dict[str, float]:
        """Time steps in turn, round by round."""
        for step in steps.values():
            for _ in range(WARM_UP):
                step()
        fastest = dict.fromkeys(steps, float("inf"))
        for _ in range(self.size.rounds):
            for name, step in steps.items():
                self.wait()
                begun = time.perf_counter()
                for _ in range(self.size.steps):
                    step()
                self.wait()
                fastest[name] = min(fastest[name], (time.perf_counter() - begun) / self.size.steps)
        return fastest

    def peak_bytes(self, step: Step) -> int:
        """Return the device's memory at the peak of a step, including all models that are loaded."""
        if self.device == "cpu":
            return 0
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()

    def step(self, loss: Callable[[], Tensor], optimizer: AdamW, clip: Callable[[], object], precision: str) -> Step:
        """Return a training step in mixed precision, with loss scaling in fp16."""
        scaler = torch.amp.GradScaler(self.device, enabled=precision == "fp16")

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(self.device, DTYPES[precision], enabled=precision != "fp32"):
                value = loss()
            scaler.scale(value).backward()
            scaler.unscale_(optimizer)
            clip()
            scaler.step(optimizer)
            scaler.update()

        return step

    def ours(self, objective: Objective, inputs: tuple[Tensor, ...], precision: str) -> Step:
        """Return an update as `StageModule` makes it."""
        module = StageModule(objective.train(), PAPER.joint, 0).to(self.device)
        module.precision = precision
        optimizer = cast("AdamW", module.configure_optimizers()["optimizer"])

        def loss() -> Tensor:
            objective.before_update(0, optimizer)
            return cast("Tensor", objective(*inputs, 0)["loss"])

        def clip() -> None:
            module.configure_gradient_clipping(optimizer, PAPER.max_gradient_norm)

        step = self.step(loss, optimizer, clip, precision)

        def with_tf32() -> None:
            with matmul_precision("high" if self.device == "cuda" else "highest"):
                step()

        return with_tf32

    def torchaudio(self, waveforms: Tensor, precision: str) -> Step:
        """Return plain distillation with torchaudio's model and torch's defaults."""
        plain = PlainDistillation(torchaudio_model(self.size.shape)).train().to(self.device)
        parameters = [parameter for parameter in plain.parameters() if parameter.requires_grad]
        optimizer = AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
        return self.step(
            lambda: plain(waveforms),
            optimizer,
            lambda: nn.utils.clip_grad_norm_(parameters, PAPER.max_gradient_norm),
            precision,
        )


def torchaudio_model(shape: UpstreamConfig) -> Callable[[], nn.Module]:
    """Return what makes torchaudio's model of a shape."""
    layer = shape.layers[0]

    def make() -> nn.Module:
        model: nn.Module = torchaudio.models.wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(each.channels, each.kernel, each.stride) for each in shape.conv_layers],
            extractor_conv_bias=False,
            encoder_embed_dim=shape.dim,
            encoder_projection_dropout=0.1,
            encoder_pos_conv_kernel=shape.positional_kernel,
            encoder_pos_conv_groups=shape.positional_groups,
            encoder_num_layers=shape.num_layers,
            encoder_num_heads=len(layer.heads),
            encoder_attention_dropout=0.1,
            encoder_ff_interm_features=layer.feed_forward,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.1,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        return model

    return make


def distillation_steps(bench: Bench, precision: Precision) -> dict[str, Step]:
    """Return both stages of DPHuBERT and torchaudio's distillation."""
    waveforms, shape = bench.crops(), bench.size.shape
    teacher = UpstreamModel(shape).eval()
    student = trainable_copy(UpstreamModel(thinner(shape, SPARSITY)), PAPER.dropout)
    projections = Projections(layer_groups(PAPER, shape.num_layers), shape.dim, shape.dim)
    pruned = Distillation(student, FrozenTeacher(teacher, bench.device), projections, PAPER)
    return {
        "stage 1": bench.ours(JointDistillationPruning(teacher, PAPER, bench.device), (waveforms,), precision),
        "stage 2": bench.ours(pruned, (waveforms,), precision),
        "torchaudio": bench.torchaudio(waveforms, precision),
    }


def measure_distillation(bench: Bench, figures: Figures, precision: Precision) -> None:
    """Measure milliseconds and memory of a step, and the ratio to torchaudio's."""
    steps = distillation_steps(bench, precision)
    taken = bench.seconds_a_step(steps)
    for name, seconds in taken.items():
        figures.add(f"{name}, {precision}, ms a step", 1e3 * seconds)
        if bench.device == "cuda":
            figures.add(f"{name}, {precision}, peak GB with all models loaded", bench.peak_bytes(steps[name]) / 1e9)
    for name in ("stage 1", "stage 2"):
        figures.add(f"torchaudio / {name}, {precision}, ratio of times", taken["torchaudio"] / taken[name])


def measure_pretraining(bench: Bench, figures: Figures, precision: Precision) -> None:
    """Measure updates per second of ``bench pretrain --preset mini``, without reading audio."""
    shape = MINI.shape.upstream_config()
    num_samples = round(MINI.max_duration_s * SAMPLE_RATE_HZ)
    num_crops = 2 if bench.size is TINY else int(MINI.seconds_per_batch / MINI.max_duration_s)
    targets = [Target(each.layer, each.num_units, each.weight) for each in MINI.iterations[0].predictions]
    objective = MaskedPrediction(random_model(shape, 0), targets, MINI)
    waveforms = (0.1 * torch.randn(num_crops, num_samples)).to(bench.device)
    labels = torch.zeros(num_crops, len(targets), shape.num_frames(num_samples), dtype=torch.long, device=bench.device)
    taken = bench.seconds_a_step({"pretraining": bench.ours(objective, (waveforms, labels), precision)})
    figures.add(f"mini-hubert pretraining, {precision}, updates a second", 1 / taken["pretraining"])


def measure_features(bench: Bench, figures: Figures, precision: Precision, folder: Path) -> None:
    """Measure hours of speech per hour: decoding, the upstream, packing and writing, with an empty cache."""
    from tasks.bridge import s3prl_compat
    from tasks.bridge.frozen_upstream import FrozenUpstream
    from tasks.feature_cache.upstream import cached_features, feature_loader_class

    s3prl_compat.install()
    from s3prl.dataio.dataset import LoadAudio

    duration_s = 10.0 if bench.size is FULL else 1.0
    table = noise(folder, "train", bench.size.files, duration_s)
    model = UpstreamModel(bench.size.shape).eval().to(bench.device)
    upstream = cast("Any", FrozenUpstream(model).eval())
    context = Context(device=bench.device)
    for warm in (True, False):
        # Other weights, so that nothing is stored yet.
        torch.nn.init.normal_(model.layer_norm.weight)
        features = cached_features(upstream, weights_hash(model), "means", context, precision=precision, num_workers=2)
        num_samples = table["num_samples"].tolist()
        bench.wait()
        begun = time.perf_counter()
        feature_loader_class(LoadAudio, features, num_samples, model.stride)(table["wav_path"].tolist())
        bench.wait()
        if not warm:
            speed = duration_s * bench.size.files / (time.perf_counter() - begun)
            figures.add(f"features, {precision}, seconds of speech a second", speed)


def measure_heads(bench: Bench, figures: Figures, folder: Path) -> None:
    """Measure steps of heads on the paper's batches, in both protocols."""
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    corpora: dict[str, tuple[type[Any], Any, float]] = {
        "ks": (POOLED["ks"].task, POOLED["ks"].config, POOLED["ks"].duration_s),
        "sid": (POOLED["sid"].task, POOLED["sid"].config, POOLED["sid"].duration_s),
        "asr": (ASR, ASR.presets["paper"], 12.3),
    }
    for name, (task, paper, duration_s) in corpora.items():
        (folder / name).mkdir()
        shown_s = duration_s if bench.size is FULL else 1.0
        recipe = paper if bench.size is FULL else task.presets["smoke"].model_copy(update={"batch_size": 2})
        config = training(recipe, bench.size.head_steps)
        tables = splits(folder / name, shown_s, config.batch_size)
        for protocol in ("cached", "s3prl"):
            model = UpstreamModel(bench.size.shape).eval()
            context = Context(device=bench.device, protocol=cast("Any", protocol))
            with timed_steps(bench) as begun:
                trained = task(config)
                workdir = folder / name / protocol
                trained.train(model, tables, config, workdir, context, ("dev",))
            figures.add(f"{name} head, {protocol}, ms a step of {config.batch_size} x {shown_s} s", 1e3 * median(begun))


@contextlib.contextmanager
def timed_steps(bench: Bench) -> Iterator[list[float]]:
    """List the times at which training steps begin."""
    from s3prl.task import Task

    begun: list[float] = []

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, Task) and inputs[0] == "train":
            bench.wait()
            begun.append(time.perf_counter())

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield begun
    finally:
        hook.remove()


def median(begun: list[float]) -> float:
    """Return the median time between two beginnings, without the first steps."""
    return float(torch.tensor(begun, dtype=torch.float64).diff()[1:].median())


def main(
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="Tiny models and one step each, to try the script.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    only: Annotated[str, typer.Option(help="Parts, separated by commas.")] = "distillation,pretraining,features,heads",
) -> None:
    """Measure, print every figure, and write all of them to a file."""
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise SystemExit(f"--device {device}: torch finds no such device here.")
    bench = Bench(cast("Any", device), TINY if tiny else FULL)
    # A CPU has fp16 in autocast, but our training refuses it there.
    mixed: tuple[Precision, ...] = ("bf16", "fp16") if device == "cuda" else ("bf16",)
    machine = this_machine().model_dump(mode="json")
    figures = Figures(json_path, {"device": device, "tiny": tiny, "machine": machine})
    parts = only.split(",")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["SUPERB_BENCH_CACHE"] = f"{temporary}/cache"
        for precision in mixed if "distillation" in parts else ():
            measure_distillation(bench, figures, precision)
        for precision in ("fp32", *mixed) if "pretraining" in parts else ():
            measure_pretraining(bench, figures, cast("Precision", precision))
        for precision in ("fp32", *mixed) if "features" in parts else ():
            folder = Path(temporary) / precision
            folder.mkdir()
            measure_features(bench, figures, cast("Precision", precision), folder)
        if "heads" in parts:
            measure_heads(bench, figures, Path(temporary))


if __name__ == "__main__":
    typer.run(main)
