"""Refuses a run that cannot work before its first item, and reads what all items need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.audio.sources import source_sha256
from bench.config.data import required_audio
from bench.contracts import Context, WarmStart
from bench.runs import checks
from bench.runs.evaluate import LoadedModel, LoadedModels
from bench.runs.failures import Failures
from bench.runs.feature_room import FeatureNeed, TaskSizes, check_room, feature_need
from bench.runs.stale import refuse_other_audio, refuse_other_data, refuse_other_origins, refuse_other_weights
from bench.runs.work import Evaluate, Model, WorkList
from bench.upstream import AnyUpstream
from bench.upstream.checkpoint import weights_hash


@dataclass(frozen=True)
class Prepared:
    """What all items of a run need."""

    tasks: Mapping[str, checks.TaskOnData]
    audio_sha256: Mapping[str, str]
    """Task to the hash of its audio, for embedded corpora."""
    data_sha256: Mapping[str, str]
    """Task to the hash of its labels and audio, for the user's own corpora."""


@dataclass(frozen=True)
class Preparation:
    """Checks one run."""

    work: WorkList
    models: LoadedModels
    start: WarmStart | None
    """The model that compression starts from."""
    device: Literal["cpu", "cuda"]
    cache_limit_bytes: int | None
    failures: Failures

    def prepare(self) -> Prepared:
        """Check everything.

        Raises:
            UserError: something cannot work.
        """
        config, folder = self.work.config, self.work.folder
        teacher = self.models.teacher.upstream if self.models.teacher else None
        self._check_weights()
        checks.check_kernels(config)
        checks.check_disk(folder.path, teacher, len(self.work.compressions))
        audio_sha256 = checks.prepare_data(config.data)
        tasks = checks.tasks_on_data(config)
        sizes = {name: task.check() for name, task in tasks.items()}
        data_sha256 = self._data_sha256(tasks)
        if teacher is not None:
            checks.check_compressors(
                config, teacher, Context(device=self.device, devices=config.devices, start=self.start)
            )
        if config.protocol == "cached":
            check_room(self._feature_needs(sizes), self.cache_limit_bytes)
        return Prepared(tasks, audio_sha256, data_sha256)

    def load(self, model: Model) -> LoadedModel:
        """Return a model in memory, after checking that its finished cells were scored with the same weights.

        Raises:
            UserError: it cannot be read, or its weights have changed since.
        """
        loaded = self.models.load(model)
        refuse_other_weights(self.work.folder, self.work.config, model, loaded.weights_hash)
        return loaded

    def context(self, item: Evaluate, device: Literal["cpu", "cuda"]) -> Context:
        """Return the context of a cell."""
        folder = self.work.folder
        cells = [cell for cell in self.work.cells(item.model) if cell.task == item.task and not cell.is_done(folder)]
        return Context(
            seed=item.seed,
            device=device,
            protocol=self.work.config.protocol,
            model=item.model.row,
            cache_limit_bytes=self.cache_limit_bytes,
            shared_workdir=folder.shared_workdir(item.model.weights, item.task),
            seed_workdirs={cell.seed: folder.cell_workdir(cell.cell.stem()) for cell in cells},
        )

    def _check_weights(self) -> None:
        """Refuse rows whose finished cells, or whose teacher, had other weights.

        Raises:
            UserError: a model has changed, or a record is damaged.
        """
        config, folder = self.work.config, self.work.folder
        teacher = self.models.teacher
        hashes = {
            "--teacher": (config.teacher, teacher.weights_hash if teacher else None),
            "--from": (config.start, weights_hash(self.start.model) if self.start else None),
        }
        scored = {record.cell.model for record in folder.records}
        for model in self.work.models():
            if model.made_by is not None:
                if not model.made_by.is_done(folder):
                    continue
                refuse_other_origins([folder.model_folder(model.weights)], hashes)
            if model.row in scored:
                self.load(model)

    def _data_sha256(self, tasks: Mapping[str, checks.TaskOnData]) -> dict[str, str]:
        """Hash the user's own corpora, and refuse models and cells that were made with other audio or labels.

        Embedded corpora are identified by their version. A run reports at its end whether their audio differs in bits.
        """
        config = self.work.config
        if config.data.embedded:
            return {}
        folder = self.work.folder
        made = [model for model in self.work.models() if model.made_by is not None and model.made_by.is_done(folder)]
        if made:
            audio = source_sha256(required_audio(config.data))
            refuse_other_audio([folder.model_folder(model.weights) for model in made], audio)
        found = {name: task.fingerprint() for name, task in tasks.items()}
        known = {name: sha256 for name, sha256 in found.items() if sha256 is not None}
        refuse_other_data(self.work.folder, known, config.data.name)
        return known

    def _feature_needs(self, sizes: TaskSizes) -> list[FeatureNeed]:
        """Ask the tasks how much they will store for every model with unfinished cells."""
        needs: list[FeatureNeed] = []
        for model in self.work.models():
            # One seed suffices, because all seeds share features.
            missing = {item.task: item for item in self.work.cells(model) if not item.is_done(self.work.folder)}
            if not missing:
                continue
            shape, weights, device = self._shape_of(model)
            for item in missing.values():
                if shape is not None:
                    context = self.context(item, device)
                    need = feature_need(self.work.config, item.cell, shape, weights, sizes[item.task], context)
                    needs += [need] if need else []
        return needs

    def _shape_of(self, model: Model) -> tuple[AnyUpstream | None, str, Literal["cpu", "cuda"]]:
        """Return a model of the same shape, the hash of its weights and its device; no model if it cannot be read."""
        teacher = self.models.teacher
        if model.made_by is not None and teacher is not None and not model.made_by.is_done(self.work.folder):
            # Not made yet. A student has at most as many hidden states as its teacher.
            return teacher.upstream, f"of {model.made_by.name}", self.device
        loaded = self.failures.guard(model.load_label, lambda: self.load(model), model.load_label)
        return (loaded.upstream, loaded.weights_hash, loaded.device) if loaded else (None, "", self.device)
