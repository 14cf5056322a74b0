"""The bridge to s3prl's recipe of speaker verification, which tests embeddings on pairs of recordings.

s3prl has no dev set here: it tests all of the training's checkpoints, and reports the best one on test. The bridge
selects a checkpoint on dev trials, as the other recipes do.
"""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bench.audio.files import SAMPLE_RATE_HZ
from bench.files.atomic import writing
from tasks.bridge import s3prl_compat
from tasks.bridge.head_checkpoints import BEST
from tasks.bridge.recipe import BridgedRecipe
from tasks.corpora.trials import trials_of

EVALUATION_KEYS = ("EER", "EERthreshold", "minDCF", "minDCF_threshold")


class BridgedVerification(BridgedRecipe):
    """Overrides of s3prl's ``ASV``. Argument names are s3prl's."""

    def prepare_data(
        self, _prepare_data: dict[str, Any], target_dir: Path, _cache_dir: Path, get_path_only: bool = False
    ) -> Any:
        """Write the training table and the trials as s3prl's tables."""
        paths = {name: Path(target_dir) / f"{name}.csv" for name in ("train", "dev", "test")}
        if not get_path_only:
            train = self.splits["train"]
            train[["id", "wav_path"]].assign(spk=train["speaker"]).to_csv(paths["train"], index=False, encoding="utf-8")
            for split in ("dev", "test"):
                _trial_table(self.splits[split]).to_csv(paths[split], index=False, encoding="utf-8")
        return paths["train"], [paths["dev"], paths["test"]]

    def run(self, target_dir: str, cache_dir: str, *, device: str, num_workers: int, **arguments: Any) -> None:
        """Train, and score the best head on dev.

        This replaces s3prl's ``ASV.run``, which tests all checkpoints instead of selecting one on dev.
        """
        module: Any = importlib.import_module("s3prl.task.speaker_verification_task")
        module.tqdm = s3prl_compat.progress_bar
        folder, cache = Path(target_dir), Path(cache_dir)
        folder.mkdir(parents=True, exist_ok=True)
        train_csv, (dev_csv, test_csv) = self.prepare_data({}, folder, cache)
        encoder_path = self.build_encoder({}, folder, cache, train_csv, [dev_csv, test_csv], get_path_only=False)  # type: ignore[attr-defined]
        encoder = pickle.loads(Path(encoder_path).read_bytes())  # noqa: S301 - written by the line above

        def data(mode: str, table: Path) -> tuple[Any, Any, Any]:
            dataset = self.build_dataset(arguments["build_dataset"], folder, cache, mode, table, encoder_path)
            batches = self.build_batch_sampler(arguments["build_batch_sampler"], folder, cache, mode, table, dataset)
            return dataset, batches, self.build_collate_fn({}, mode)  # type: ignore[attr-defined]

        self.train(
            arguments["train"],
            folder / "train",
            {
                "build_model": arguments["build_model"],
                "model_output_size": len(encoder),
                "build_upstream": arguments["build_upstream"],
                "build_featurizer": arguments["build_featurizer"],
                "build_downstream": arguments.get("build_downstream", {}),
            },
            {"build_task": arguments["build_task"], "encoder": encoder},
            {},
            {},
            arguments["build_optimizer"],
            {},
            {},
            *data("train", train_csv),
            *data("test", dev_csv),
            device=device,
            eval_batch=-1,
            num_workers=num_workers,
            world_size=1,
            rank=0,
        )
        for split in self.scored:
            trials = [(int(trial.is_same), trial.first, trial.second) for trial in trials_of(self.splits[split])]
            _, task = self.load_model_and_task(folder / "train" / BEST, {"test_trials": trials})  # type: ignore[attr-defined]
            evaluation = data("test", {"dev": dev_csv, "test": test_csv}[split])
            self.evaluate({}, "test", task, *evaluation, -1, folder, device, num_workers)

    def build_task(self, *args: Any, **kwargs: Any) -> Any:
        """Build the task; during training it scores dev."""
        dev = [(int(trial.is_same), trial.first, trial.second) for trial in trials_of(self.splits["dev"])]
        task = super().build_task(*args, **{"test_trials": dev, **kwargs})
        reduce = task.test_reduction

        def reduction(cached: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
            if any(not torch.isfinite(one).all() for batch in cached for one in batch["spk_embedding"]):
                # Such a head ranks trials at random.
                return {**dict.fromkeys(EVALUATION_KEYS, 0.5), "loss": math.nan}
            return dict(reduce(cached, **options))

        task.test_reduction = reduction
        return task

    def save_task(self, save_task: Any, task_ckpt_dir: Path, arguments: Any, task: Any) -> None:
        """Save the class vectors of the loss, which are trained too."""
        super().save_task(save_task, task_ckpt_dir, arguments, task)
        Path(task_ckpt_dir).mkdir(parents=True, exist_ok=True)
        with writing(Path(task_ckpt_dir) / "state.pt") as file:
            torch.save(task.get_state(), file)

    def load_task(self, task_ckpt_dir: Path, model: Any, task_overrides: Mapping[str, Any] | None = None) -> Any:
        """Rebuild the task with the class vectors of its loss."""
        task = super().load_task(task_ckpt_dir, model, task_overrides)
        task.set_state(torch.load(Path(task_ckpt_dir) / "state.pt", map_location="cpu", weights_only=True))
        return task

    def step_of(self, mode: str) -> str:
        """Dev is scored like test: the recipe has no validation."""
        return "test" if mode == "valid" else mode

    def answers(self, task: Any, batches: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
        """Return the label and the score of every trial, by its id."""
        embeddings = {
            name: embedding
            for batch in batches
            for name, embedding in zip(batch["unique_name"], batch["spk_embedding"], strict=True)
        }
        return {
            f"{first} {second}": (
                "same" if label else "different",
                torch.nn.functional.cosine_similarity(embeddings[first], embeddings[second], dim=0).item(),
            )
            for label, first, second in task.trials
        }

    def prediction_rows(
        self,
        split: str,
        results: Mapping[str, tuple[Any, Any]],
        metrics: Mapping[str, float],
        counts: Any,  # noqa: ARG002 - an equal error rate is no ratio of sums
    ) -> Iterator[dict[str, Any]]:
        """Return one row per trial. It is correct if its score is on the right side of the split's threshold."""
        table = self.splits[split].set_index("id")
        num_samples, speakers = dict(table["num_samples"]), dict(table["speaker"])
        for trial in trials_of(self.splits[split]):
            reference, score = results[trial.name]
            yield {
                "id": trial.name,
                "split": split,
                "reference": reference,
                "prediction": score if math.isfinite(score) else None,
                "correct": math.isfinite(score) and (score >= metrics["EERthreshold"]) == trial.is_same,
                "duration_s": int(num_samples[trial.first] + num_samples[trial.second]) / SAMPLE_RATE_HZ,
                "first_speaker": speakers[trial.first],
                "second_speaker": speakers[trial.second],
            }


def _trial_table(table: pd.DataFrame) -> pd.DataFrame:
    paths = dict(zip(table["id"], table["wav_path"], strict=True))
    return pd.DataFrame(
        [
            {
                "id1": trial.first,
                "id2": trial.second,
                "wav_path1": paths[trial.first],
                "wav_path2": paths[trial.second],
                "label": int(trial.is_same),
            }
            for trial in trials_of(table)
        ]
    )
