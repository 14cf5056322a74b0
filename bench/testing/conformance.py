"""The requirements on every compressor, one test per property."""

from __future__ import annotations

import random
import shutil
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import soundfile
import torch

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import AudioSource, ComparableTraining, Compressor, Context, Settings
from bench.testing.checks import is_refused, observed, two_utterances
from bench.testing.material import TEACHER_SHAPES, tiny_teacher
from bench.testing.operations import TooManyOperationsError, stop_after
from bench.testing.plugin_conformance import PluginConformance
from bench.testing.trial import Trial, speech, whole
from bench.upstream import FbankUpstream, UpstreamConfig, UpstreamModel, load_folder, save_upstream
from bench.upstream.cost import count_parameters

SPARSITY_TOLERANCE = 0.01
"""Largest difference between size and budget, as a fraction of the teacher's size."""

INTERRUPTION = 0.6
"""A process is stopped after this share of the whole work."""

MOST_TO_RESUME = 0.8
"""Largest share of the whole work that may be done after that."""

MOST_WHEN_FINISHED = 0.5
"""Largest share of the whole work that a call may do if everything is already done."""


class CompressorConformance(PluginConformance):
    """Tests of a compressor on tiny teachers and synthetic speech; subclass it in a module that pytest collects.

        class TestHalving(CompressorConformance):
            compressor = Halving

    Every test runs the ``smoke`` preset, changed by `settings`.
    """

    group = "bench.compressors"
    compressor: ClassVar[type[Compressor]]
    """The `bench.contracts.Compressor` under test. It must be importable from its module by its own name."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Written as after ``--set``: what a tiny teacher needs, and checkpoints so frequent that resuming shows."""
    teachers: ClassVar[tuple[str, ...]] = tuple(TEACHER_SHAPES)
    """Kinds of teachers that the method supports; most tests use the first."""
    sparsities: ClassVar[tuple[float, ...]] = (0.5, 0.75)
    """Budgets that a method with the setting ``sparsity`` must meet."""
    resumes: ClassVar[bool] = True
    """False for a method that takes only seconds, and so stores nothing in its ``workdir``."""

    @property
    def plugin(self) -> type[Compressor]:
        """The class under test."""
        return self.compressor

    def test_has_the_base_class(self) -> None:
        """The base class provides what most methods do not need to define."""
        found = self.compressor
        assert issubclass(found, Compressor), f"Expected a subclass of bench.contracts.Compressor. Found {found}."

    def test_updates_can_be_chosen(self) -> None:
        """`bench sweep` gives all methods equal training, through `bench.contracts.ComparableTraining`."""
        shape = TEACHER_SHAPES[self.teachers[0]]
        for name, preset in self.compressor.presets.items():
            if not isinstance(preset, ComparableTraining):
                raise unittest.SkipTest(f"{type(preset).__name__} is no bench.contracts.ComparableTraining")
            for wanted in (preset.num_updates(), 2 * preset.num_updates(), 10 * preset.num_updates() + 1):
                changed = preset.with_num_updates(wanted)
                assert type(changed) is type(preset), f"Expected a {type(preset).__name__}. Found {type(changed)}."
                found = changed.num_updates()
                assert found == wanted, f"with_num_updates({wanted}) of the preset {name!r} has {found} updates."
                again = self.compressor.config_type.model_validate_json(cast("Settings", changed).model_dump_json())
                assert again == changed, f"with_num_updates({wanted}) of {name!r} does not survive being written."
            macs = preset.training_macs(shape), preset.with_num_updates(2 * preset.num_updates()).training_macs(shape)
            assert 0 < macs[0] < macs[1], (
                f"Expected more MACs of training in twice the updates of the preset {name!r}. Found {macs}."
            )

    def test_check_accepts_what_works(self) -> None:
        """``check`` accepts every teacher that the method supports, and a place in a stack."""
        for kind in self.teachers:
            compressor = self._trial().instance()
            compressor.check(tiny_teacher(kind), speech(), Context())
            compressor.check_ahead(tiny_teacher(kind), speech(), Context())

    def test_check_refuses_a_teacher_without_weights(self) -> None:
        """Filter banks look like an upstream without layers."""
        teacher = cast("UpstreamModel", FbankUpstream())
        refused = is_refused(lambda: self._trial().instance().check(teacher, speech(), Context()))
        assert refused, "Expected check() to raise bench.errors.UserError on the teacher fbank, which has no layers."

    def test_check_refuses_unusable_audio(self, tmp_path: Path) -> None:
        """A method that does not use the audio may accept any, but must then work."""
        for number, (what, audio) in enumerate(_unusable(tmp_path)):
            compressor, teacher = self._trial().instance(), tiny_teacher(self.teachers[0])
            if not is_refused(lambda c=compressor, t=teacher, a=audio: c.check(t, a, Context())):  # type: ignore[misc]
                with _explained(f"check() accepts {what}, and compress() then fails. Refuse it in check()."):
                    compressor.compress(teacher, audio, tmp_path / f"work-{number}", Context())

    def test_makes_working_models_of_every_teacher(self) -> None:
        """One model named after the compressor, or several named ``<compressor>-<what differs>``."""
        name = self.compressor.name
        waveforms, lengths = two_utterances()
        for kind in self.teachers:
            models = whole(self._trial(teacher=kind)).models
            assert models, f"Expected at least one model of {kind}. Found none."
            for made, model in models.items():
                known = made == name or made.startswith(f"{name}-")
                assert known, f"Expected a model called {name!r} or {name}-... Found {made!r}."
                assert isinstance(model, UpstreamModel), f"Expected an UpstreamModel. Found {type(model)}."
                training = [path or "the model" for path, module in model.named_modules() if module.training]
                assert not training, f"Expected {made!r} in evaluation mode. Found {training[0]} in training: eval()."
                states, _ = model(waveforms, lengths)
                finite = all(bool(state.isfinite().all()) for state in states)
                declared = self.compressor.makes_reduced_linears or not model.config.reduced_linears
                assert declared, (
                    f"{made!r} has reduced linear layers, which not every part of a stack can take. Declare it by "
                    "makes_reduced_linears = True."
                )
                assert finite, f"Expected finite hidden states of {made!r}, made of {kind}. Found NaN or infinity."

    def test_targets_have_the_names_of_the_models(self) -> None:
        """A run lists the rows of a compression before making them."""
        trial = self._trial()
        targets, models = list(trial.instance().target_sparsities()), list(whole(trial).models)
        assert targets == models, f"target_sparsities() names {targets}. compress() makes {models}."

    def test_leaves_the_teacher_alone(self, tmp_path: Path) -> None:
        """Other methods of a sweep use the same teacher object."""
        teacher = tiny_teacher(self.teachers[0])
        before = observed(teacher)
        self._trial().run(tmp_path, teacher)
        for what, value in observed(teacher).items():
            assert value == before[what], f"compress() changes the teacher: its {what}. Work on a copy.deepcopy of it."

    def test_models_survive_being_saved(self, tmp_path: Path) -> None:
        """`bench.upstream.save_upstream` stores everything that the model computes with."""
        waveforms, lengths = two_utterances()
        for name, model in whole(self._trial()).models.items():
            save_upstream(model, tmp_path / name, provenance={})
            loaded, _ = load_folder(tmp_path / name)(waveforms, lengths)
            for layer, (state, expected) in enumerate(zip(loaded, model(waveforms, lengths)[0], strict=True)):
                assert state.equal(expected), f"Hidden state {layer} of {name!r} is another after saving and loading."

    def test_meets_the_budget(self) -> None:
        """`bench sweep` compares methods at equal ``sparsity``."""
        if "sparsity" not in self.compressor.config_type.model_fields:
            raise unittest.SkipTest("no setting `sparsity`")
        original = self.size(TEACHER_SHAPES[self.teachers[0]])
        for sparsity in self.sparsities:
            for name, model in whole(self._trial(f"sparsity={sparsity}")).models.items():
                reached = 1 - self.size(model.config) / original
                assert abs(reached - sparsity) <= SPARSITY_TOLERANCE, (
                    f"Expected sparsity={sparsity} to remove that share of the teacher's {original}, give or take "
                    f"{SPARSITY_TOLERANCE}. Found {name!r} with {self.size(model.config)}: {reached:.4f} are removed."
                )

    def size(self, shape: UpstreamConfig) -> int:
        """Count the parameters, of which ``sparsity`` is a fraction. Override this if the method counts otherwise."""
        return count_parameters(shape)

    def test_same_seed_same_model(self, tmp_path: Path) -> None:
        """The model does not depend on earlier draws from the process's global generators."""
        expected = whole(self._trial())
        for draw in (torch.rand, np.random.rand, lambda _: random.random()):
            draw(1)
        again = self._trial().measured(tmp_path)
        assert again.hashes() == expected.hashes(), (
            "Two calls with the same seed make different models. Take all that is random from context.seed."
        )

    def test_goes_on_after_an_interruption(self, tmp_path: Path) -> None:
        """A process ends as in a power cut and another one finishes: the model equals that of a single process."""
        expected = whole(self._trial())
        stop_after(int(INTERRUPTION * expected.num_operations), partial(self._trial().run, tmp_path))
        resumed = self._trial().measured(tmp_path)
        assert resumed.hashes() == expected.hashes(), (
            "Interrupted and called again with the same workdir, the compressor makes another model than in one go. "
            "Keep all that the rest depends on in the checkpoint: weights, optimiser, and the place in the data."
        )
        share = resumed.num_operations / expected.num_operations
        assert not self.resumes or share <= MOST_TO_RESUME, (
            f"Interrupted at {INTERRUPTION:.0%} of the work and called again with the same workdir, the compressor "
            f"does {share:.0%} of it. Expected at most {MOST_TO_RESUME:.0%}. Keep checkpoints in workdir; if there "
            "are some, set `settings` so that they come more often."
        )

    def test_answers_a_finished_call_at_once(self) -> None:
        """A run may be stopped after the compression, before its completion is recorded."""
        self._only_if_it_resumes()
        expected = whole(self._trial())
        again = self._trial().measured(expected.workdir)
        assert again.hashes() == expected.hashes(), (
            "Called again when all is done, the compressor returns another model."
        )
        share = again.num_operations / expected.num_operations
        assert share <= MOST_WHEN_FINISHED, (
            f"Called again when all is done, the compressor does {share:.0%} of the whole work again. Expected at most "
            f"{MOST_WHEN_FINISHED:.0%}. Keep the result in workdir too."
        )

    def test_refuses_the_workdir_of_other_work(self, tmp_path: Path) -> None:
        """A mixture of two models would be recorded as one."""
        self._only_if_it_resumes()
        trial = self._trial()
        others = {"seed": replace(trial, seed=1), "teacher": replace(trial, teacher_seed=1)}
        mini = self._trial(preset="mini")
        if mini != trial:
            others["configuration"] = mini
        for what, other in others.items():
            workdir = tmp_path / what
            shutil.copytree(whole(trial).workdir, workdir)
            try:
                refused = is_refused(lambda o=other, w=workdir: o.measured(w, whole(trial).num_operations))  # type: ignore[misc]
            except TooManyOperationsError:
                refused = False
            assert refused, (
                f"Expected compress() to raise bench.errors.UserError on the workdir of another {what}. "
                "Found it going on. Keep in workdir what the work depends on, and compare."
            )

    def _only_if_it_resumes(self) -> None:
        if not self.resumes:
            raise unittest.SkipTest("keeps nothing in its workdir")

    def _trial(self, *settings: str, preset: str = "smoke", teacher: str | None = None) -> Trial:
        config = self._configuration(*settings, preset=preset)
        return Trial(self.compressor, config.model_dump_json(), speech(), teacher or self.teachers[0])


@contextmanager
def _explained(message: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(message) from error


def _unusable(folder: Path) -> Iterator[tuple[str, AudioSource]]:
    """Yield kinds of audio that no method can train on."""
    yield "a folder that is not there", AudioSource(root=folder / "nowhere")
    cases: dict[str, tuple[int, int]] = {
        "audio shorter than one frame": (100, SAMPLE_RATE_HZ),
        "audio of 8 kHz": (16_000, 8_000),
    }
    for what, (num_samples, rate_hz) in cases.items():
        root = folder / f"{num_samples}-samples"
        root.mkdir()
        soundfile.write(root / "speech.wav", np.zeros(num_samples), rate_hz)
        yield what, AudioSource(root=root)
    (folder / "torn").mkdir()
    (folder / "torn" / "speech.wav").write_bytes(b"RIFF")
    yield "a file that is no audio", AudioSource(root=folder / "torn")
