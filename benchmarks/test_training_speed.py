"""Is DPHuBERT's first stage as fast, and as small, as plain distillation with torchaudio's model?

Ratios only. A plain step has torchaudio's ``hubert_base`` as teacher and student, the same crops, losses, dropout and
optimiser, and no gates. Times are CPU times of one thread, with both steps in turn. Memory is that of a new process for
each.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from rich.console import Console
from torch import Tensor, nn
from torch.optim import AdamW

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import TransformerLayerShape, uniform_config
from compressors.dphubert.config import PAPER
from compressors.dphubert.joint_stage import JointDistillationPruning
from compressors.dphubert.sparsity import expected_sparsity
from compressors.objectives.distillation import Distillation
from compressors.objectives.distilled_layers import layer_groups
from compressors.objectives.frozen_teacher import FrozenTeacher
from compressors.objectives.hidden_state_loss import distillation_loss
from compressors.objectives.state_predictors import Projections
from compressors.students.copies import trainable_copy
from compressors.training.loop import StageModule
from compressors.training.objective import Objective

GROUPS = layer_groups(PAPER, 12)
NUM_CROPS, NUM_SAMPLES = 4, 64_000
ROUNDS = 2
LEARNING_RATE = 2e-4
SLOWEST_RATIO = 1.5
"""Largest ratio of a gated step to a plain one. It is 0.8 to 1.2, depending on the CPU; the bound detects mistakes."""
LARGEST_BOOKKEEPING_SHARE = 0.15
"""Largest share of a step. It is 1 to 5 %, depending on the CPU; the bound detects mistakes."""

Step = Callable[[], None]


class PlainDistillation(nn.Module):
    """Plain distillation, as a user of torchaudio would write it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """Make a teacher and a student.

        Args:
            make: makes one of torchaudio's models, with random weights.
        """
        super().__init__()
        self.teacher, self.student = make(), make()
        self.teacher.requires_grad_(False)
        transformer = self.teacher.encoder.transformer
        dim = transformer.layer_norm.normalized_shape[0]
        self.projections = Projections(layer_groups(PAPER, len(transformer.layers)), dim, dim)
        self.projected: dict[nn.Module, Tensor] = {}
        for model in (self.teacher, self.student):
            model.encoder.feature_projection.register_forward_hook(self._keep(model))

    def _keep(self, model: nn.Module) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.projected[model] = output

        return keep

    def _states(self, model: Any, waveforms: Tensor) -> list[Tensor]:
        layers, _ = model.extract_features(waveforms)
        return [self.projected.pop(model), *layers]

    def forward(self, waveforms: Tensor) -> Tensor:
        """Compute the loss of (batch, samples)."""
        self.teacher.eval()
        with torch.no_grad():
            states = self._states(self.teacher, waveforms)
            expected = torch.stack([states[layer] for layer in self.projections.layers], dim=1)
            del states
        return distillation_loss(self.projections(self._states(self.student, waveforms)), expected, PAPER).total


def _crops() -> Tensor:
    return 0.1 * torch.randn(NUM_CROPS, NUM_SAMPLES)


def torchaudio_base() -> Any:
    """Return torchaudio's model with the dropout of DPHuBERT's recipe."""
    rates = {"encoder_projection_dropout": 0.1, "encoder_attention_dropout": 0.1, "encoder_dropout": 0.1}
    return torchaudio.models.hubert_base(**rates, encoder_ff_interm_dropout=0.0, encoder_layer_drop=0.0)


def plain_step() -> Step:
    """Return the plain step."""
    plain, waveforms = PlainDistillation(torchaudio_base).train(), _crops()
    parameters = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    optimizer = AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad()
        plain(waveforms).backward()
        nn.utils.clip_grad_norm_(parameters, PAPER.max_gradient_norm)
        optimizer.step()

    return step


def step_of(objective: Objective) -> Step:
    """Return an update as `StageModule` makes it."""
    module, waveforms = StageModule(objective.train(), PAPER.joint, 0), _crops()
    optimizer: AdamW = module.configure_optimizers()["optimizer"]

    def step() -> None:
        optimizer.zero_grad()
        objective(waveforms, 0)["loss"].backward()
        module.configure_gradient_clipping(optimizer, PAPER.max_gradient_norm)
        optimizer.step()

    return step


def gated_step() -> Step:
    """Return stage 1's step."""
    return step_of(JointDistillationPruning(teacher(), PAPER))


def teacher() -> UpstreamModel:
    """Return random weights, which cost the same as trained ones."""
    return UpstreamModel(uniform_config("hubert", 768, 12, 12, 3072)).eval()


def thinner(config: UpstreamConfig, sparsity: float) -> UpstreamConfig:
    """Return a smaller shape: heads, feed-forward units and channels reduced in proportion."""
    kept = 1 - sparsity
    conv_layers = tuple(
        layer.model_copy(update={"channels": round(layer.channels * kept**0.5)}) for layer in config.conv_layers
    )
    first = config.layers[0]
    heads = tuple(range(round(len(first.heads) * kept)))
    layer = TransformerLayerShape(heads=heads, feed_forward=round(first.feed_forward * kept))
    return config.model_copy(update={"conv_layers": conv_layers, "layers": (layer,) * config.num_layers})


def pruned_step(sparsity: float) -> Step:
    """Return stage 2's step, with a student of that sparsity."""
    frozen = teacher()
    student = trainable_copy(UpstreamModel(thinner(frozen.config, sparsity)), PAPER.dropout)
    return step_of(Distillation(student, FrozenTeacher(frozen), Projections(GROUPS, 768, 768), PAPER))


def fastest_s(steps: list[Step], rounds: int = ROUNDS) -> list[float]:
    """Time steps alternately after one warm-up of each. Return the fastest of each in seconds of CPU time."""
    torch.set_num_threads(1)
    taken = [float("inf")] * len(steps)
    for step in steps:
        step()
    for _ in range(rounds):
        for index, step in enumerate(steps):
            begun = time.process_time()
            step()
            taken[index] = min(taken[index], time.process_time() - begun)
    return taken


def peak_bytes(make: Callable[..., Step], *arguments: Any) -> int:
    """Measure the peak memory of two steps in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (make, arguments))


def _peak(make: Callable[..., Step], arguments: tuple[Any, ...]) -> int:
    step = make(*arguments)
    for _ in range(2):
        step()
    # Not `resource.getrusage`: its peak survives the start of a program, and is then that of the parent process.
    (peak_kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(peak_kilobytes) * 1024


def say(text: str) -> None:
    """Print the measurements."""
    Console(soft_wrap=True).print(f"\n{text}")


def test_a_gated_step_takes_about_as_long_as_a_plain_one() -> None:
    """The aim is a ratio of 0.77."""
    gated_s, plain_s = fastest_s([gated_step(), plain_step()])
    say(f"stage 1, fp32: {gated_s:.2f} CPU s a step, plain {plain_s:.2f}: ratio {gated_s / plain_s:.3f}")
    assert gated_s <= SLOWEST_RATIO * plain_s


def test_gates_and_bookkeeping_are_a_small_share_of_a_step() -> None:
    """Cost of stage 1 relative to stage 2 with the same student, and the part due to the expected size."""
    gated = JointDistillationPruning(teacher(), PAPER)
    plain = gated.distillation
    joint_s, without_s = fastest_s([step_of(gated), pruned_step(0.0)])

    def expect() -> None:
        expected_sparsity(gated.gates, gated.budget, PAPER).backward()

    def lose() -> None:
        states = torch.randn(2, NUM_CROPS, len(plain.projections.layers), 199, 768, requires_grad=True)
        distillation_loss(states[0], states[1].detach(), PAPER).total.backward()

    expected_s, loss_s = fastest_s([expect, lose])
    share = (joint_s - without_s) / joint_s
    say(
        f"gates and expected size {share:.1%} of stage 1's step; expected size alone {expected_s / joint_s:.2%}, "
        f"losses {loss_s / joint_s:.2%}"
    )
    assert share <= LARGEST_BOOKKEEPING_SHARE


def test_a_gated_step_needs_about_as_much_memory_as_a_plain_one() -> None:
    """The aim is a ratio of 0.8; the bound detects regressions."""
    gated, plain = peak_bytes(gated_step), peak_bytes(plain_step)
    say(f"stage 1, peak memory: {gated / 1e9:.2f} GB, plain {plain / 1e9:.2f}: ratio {gated / plain:.3f}")
    assert gated <= 1.1 * plain


def test_a_smaller_student_costs_less() -> None:
    """Stage 2 at three sparsities. The teacher's forward pass costs the same at each."""
    sparsities = (0.0, 0.5, 0.75)
    taken = fastest_s([pruned_step(sparsity) for sparsity in sparsities], rounds=1)
    peaks = [peak_bytes(pruned_step, sparsity) for sparsity in sparsities]
    for sparsity, seconds, peak in zip(sparsities, taken, peaks, strict=True):
        say(f"stage 2 at {sparsity:.0%}: {seconds / taken[0]:.3f} of the time, {peak / 1e9:.2f} GB")
    assert taken[2] < taken[1] < taken[0]
    assert peaks[2] < peaks[1] < peaks[0]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
