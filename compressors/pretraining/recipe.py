"""HuBERT's recipe: units, masked prediction, and again with better units."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.contracts import AudioSource, Context
from bench.files.atomic import write_atomically
from bench.store.claims import claim_folder
from bench.upstream import UpstreamModel
from bench.upstream.random_shapes import random_model
from bench.workers.ranks import current_rank, first_goes_first, from_first
from bench.workers.together import run_together
from compressors.objectives.log_mel import LogMelRegression
from compressors.objectives.masked_prediction import MaskedPrediction, Target
from compressors.pretraining.annotations import phone_units, speaker_units
from compressors.pretraining.config import IterationConfig, PredictionConfig, PretrainingConfig
from compressors.pretraining.evaluation import held_out_figures
from compressors.pretraining.held_out import split_held_out
from compressors.settings import StageConfig
from compressors.training.files import audio_hash, audio_identity, training_files
from compressors.training.history import Rows
from compressors.training.loop import Training
from compressors.training.objective import Objective
from compressors.training.precision import numerics, precision_on
from compressors.training.seeds import derived_seed
from compressors.training.several_devices import alone_in
from compressors.units.batches import UnitBatches
from compressors.units.clusters import cluster_units
from compressors.units.frame_features import FrameFeatures, HiddenFeatures, MfccFeatures
from compressors.units.labels import FrameUnits

logger = logging.getLogger(__name__)

HISTORY = "training.csv"
LOG_MEL = "log-mel"
FIGURES = "held_out.json"
SUPERVISED = {"phones": "phone", "speakers": "speaker"}


class Pretraining:
    """One pretraining. It resumes an interrupted one with the same ``workdir``."""

    def __init__(self, config: PretrainingConfig, audio: AudioSource, workdir: Path, context: Context) -> None:
        """Read the headers of the audio, and split it.

        Args:
            config: the recipe.
            audio: the training audio.
            workdir: folder for checkpoints and units.
            context: seed and devices.

        Raises:
            UserError: the audio is unusable, or the device lacks the precision.
        """
        precision_on(config, context)
        self.config = config
        self.shape = config.shape.upstream_config()
        self.audio = audio
        self.workdir = workdir
        self.context = context
        self.files = from_first(partial(training_files, audio, config, self.shape.window))
        self.train_files, self.held_out = split_held_out(self.files, config.held_out_s, context.seed)
        self.figures: dict[str, list[dict[str, Any]]] = {}
        self.logged: dict[Path, dict[str, Rows]] = {}

    @property
    def beside(self) -> Path:
        """The folder of files that go with the model."""
        return self.workdir / "beside"

    def run(self) -> UpstreamModel:
        """Train all iterations, or the rest of them, and return the model of the last one in evaluation mode.

        Raises:
            UserError: the audio lacks annotations for the units, or the training diverges.
        """
        claim_folder(
            self.workdir,
            {
                "configuration": self.config.model_dump(mode="json"),
                "seed": self.context.seed,
                **audio_identity(self.files, self.audio),
            },
        )
        if self.context.devices > 1:
            work = partial(_train, self.config, self.audio, self.workdir, self.context)
            run_together(self.context.devices, self.context.device, work)
        # After training in several processes, this reads the last checkpoints.
        model = self.train()
        write_atomically(self.beside / FIGURES, json.dumps(self.figures, indent=1) + "\n")
        return model

    def train(self) -> UpstreamModel:
        """Train all iterations, or the rest of them, as the only process or as one of `bench.workers.ranks`."""
        model: UpstreamModel | None = None
        for number, iteration in enumerate(self.config.iterations, start=1):
            model = self._iterate(f"iteration-{number}", iteration, previous=model)
        if model is None:
            raise ValueError("a recipe without iterations")
        return model

    def provenance(self) -> dict[str, Any]:
        """Return how the model was made. Call it after `run`."""
        return {
            "supervision": supervision(self.config),
            "recipe": self.config.model_dump(mode="json"),
            "seed": self.context.seed,
            "numerics": numerics(self.config, self.context),
            "audio_hash": audio_hash(self.files),
            "training_audio_s": round(sum(file.duration_s for file in self.train_files), 1),
            "held_out_audio_s": round(sum(file.duration_s for file in self.held_out), 1),
            "held_out": self.figures,
        }

    def _iterate(self, name: str, iteration: IterationConfig, previous: UpstreamModel | None) -> UpstreamModel:
        kinds = self._units(name, iteration.predictions, previous)
        targets = [kinds[_units_key(prediction)] for prediction in iteration.predictions]
        objective = self._trained(name, iteration, targets)
        if current_rank().count == 1:
            self.figures[name] = held_out_figures(
                objective, iteration.predictions, targets, self.held_out, self.config, self.context
            )
        return objective.upstream.cpu().eval()

    def _trained(self, name: str, iteration: IterationConfig, targets: Sequence[FrameUnits]) -> MaskedPrediction:
        """Train an iteration, or the rest of it."""
        seed = derived_seed(self.context.seed, name)
        torch.manual_seed(seed)
        model = self._first_model(seed).train()
        # Again, because a resumed call only loads what another one has trained here.
        torch.manual_seed(seed)
        objective = MaskedPrediction(
            model,
            [
                Target(prediction.layer, units.num_units, prediction.weight)
                for prediction, units in zip(iteration.predictions, targets, strict=True)
            ],
            self.config,
        )
        self._run(name, iteration, objective, targets)
        return objective

    def _first_model(self, seed: int) -> UpstreamModel:
        """Return a model with random weights, or all but those of its extractor."""
        model = random_model(self.shape, seed)
        if self.config.log_mel is not None:
            objective = LogMelRegression(model)
            self._run(LOG_MEL, self.config.log_mel, objective, targets=())
        return model

    def _run(self, name: str, stage: StageConfig, objective: Objective, targets: Sequence[FrameUnits]) -> None:
        batches = partial(UnitBatches, self.train_files, targets, self.shape, self.config, augmentation=self.config)
        history = self.beside / HISTORY
        training = Training(self.config, self.train_files, self.workdir, history, self.context, self.logged)
        training.run(name, stage, objective, batches)

    def _units(
        self, name: str, predictions: Sequence[PredictionConfig], previous: UpstreamModel | None
    ) -> Mapping[str, FrameUnits]:
        """Compute the units of an iteration, each kind once."""
        return {_units_key(prediction): self._made(name, prediction, previous) for prediction in predictions}

    def _made(self, name: str, prediction: PredictionConfig, previous: UpstreamModel | None) -> FrameUnits:
        if prediction.units == "phones":
            return phone_units(self.files, self.audio, self.shape)
        if prediction.units == "speakers":
            return speaker_units(self.files, self.audio, self.shape)
        with first_goes_first():
            return cluster_units(
                self._features(prediction, previous),
                prediction.num_units,
                self.files,
                config=self.shape,
                share=self.config.kmeans_share,
                seed=derived_seed(self.context.seed, name, "units"),
                folder=self.workdir / "units" / name / _units_key(prediction),
            )

    def _features(self, prediction: PredictionConfig, previous: UpstreamModel | None) -> FrameFeatures:
        if previous is None or prediction.hidden_layer is None:
            return MfccFeatures(self.shape, self.config.num_workers)
        return HiddenFeatures(previous, prediction.hidden_layer, self.context, self.config.num_workers)


def _train(config: PretrainingConfig, audio: AudioSource, workdir: Path, context: Context) -> None:
    """Train as one of several processes."""
    with alone_in(workdir):
        Pretraining(config, audio, workdir, context).train()


def _units_key(prediction: PredictionConfig) -> str:
    """Return a name of the units of a prediction. Predictions with equal names share their units."""
    if prediction.units in SUPERVISED:
        return prediction.units
    layer = "" if prediction.hidden_layer is None else f"-{prediction.hidden_layer}"
    return f"{prediction.units}{layer}-{prediction.num_units}"


def supervision(config: PretrainingConfig) -> str:
    """Name the labels that the model learned from: ``self-supervised``, or e.g. ``phone-supervised``."""
    kinds = {prediction.units for iteration in config.iterations for prediction in iteration.predictions}
    labels = [label for kind, label in SUPERVISED.items() if kind in kinds]
    return " and ".join(f"{label}-supervised" for label in labels) or "self-supervised"
