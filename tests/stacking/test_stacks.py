"""Stacks of compressors, `a+b`: what they make, what they keep, and what they do not do twice."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from bench.contracts import AudioSource, Context
from bench.errors import UserError
from bench.runs.run import Outcome, Run
from bench.stacking import compressor_type
from bench.store.run_folder import RunFolder
from bench.testing import tiny_teacher
from bench.upstream import UpstreamModel, load_folder, save_upstream, weights_hash
from bench.upstream.cost import count_parameters
from tests.helpers.choices import config_of
from tests.helpers.programs import PROCESSES

PARTS = ("prune-only", "distill-only")
NAME = "+".join(PARTS)
SETTINGS = {
    # Without any training, and so in an instant.
    "prune-only": {"head": {"updates": 1, "warmup_updates": 0, "learning_rate": 1e-3}, "recovery": None}
    | {"importance": "l2", "sparsity": 0.2},
    "distill-only": {"distillation": {"updates": 40, "warmup_updates": 2, "learning_rate": 1e-3}, "sparsity": 0.3}
    | {"seconds_per_batch": 3.0, "max_duration_s": 1.5, "checkpoint_updates": 2, "log_updates": 2},
}


def compress(settings: dict[str, object], audio: AudioSource, workdir: Path) -> dict[str, UpstreamModel]:
    kind = compressor_type("+".join(settings))
    stack = kind(kind.config_type.model_validate(settings))
    stack.check(tiny_teacher(), audio, Context(seed=5))
    models: dict[str, UpstreamModel] = stack.compress(tiny_teacher(), audio, workdir, Context(seed=5))
    return models


@pytest.fixture(scope="module")
def audio(speech_folder: Path) -> AudioSource:
    return AudioSource(root=speech_folder)


@pytest.fixture(scope="module")
def made(audio: AudioSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[UpstreamModel, Path]:
    """The stack's model, and its workdir."""
    workdir = tmp_path_factory.mktemp("stack") / "work"
    models = compress(SETTINGS, audio, workdir)
    assert list(models) == [NAME]
    return models[NAME], workdir


class TestParts:
    def test_each_compresses_what_the_part_before_has_made(
        self, made: tuple[UpstreamModel, Path], audio: AudioSource, tmp_path: Path
    ) -> None:
        """Done by hand, one compressor after the other, it is the same model."""
        teacher = tiny_teacher()
        for name in PARTS:
            kind = compressor_type(name)
            compressor = kind(kind.config_type.model_validate(SETTINGS[name]))
            teacher = compressor.compress(teacher, audio, tmp_path / name, Context(seed=5))[name]
        assert weights_hash(made[0]) == weights_hash(teacher)
        left = 0.8 * 0.7
        assert count_parameters(made[0].config) / count_parameters(tiny_teacher().config) == pytest.approx(
            left, abs=0.01
        )

    def test_files_beside_the_models_are_kept(self, made: tuple[UpstreamModel, Path]) -> None:
        beside = made[1] / "beside" / NAME
        assert {file.name for file in beside.iterdir()} == {"training.csv", "distillation_projections.safetensors"}

    def test_those_of_an_earlier_part_make_way(self, audio: AudioSource, tmp_path: Path) -> None:
        brief = {"updates": 2, "warmup_updates": 1, "learning_rate": 1e-3}
        trained = {**SETTINGS["distill-only"], "distillation": brief}
        low_rank = {**SETTINGS["distill-only"], "recovery": brief, "whiten": False}
        del low_rank["distillation"]
        stack = {"distill-only": trained, "low-rank": low_rank, "int8": {}}
        model = compress(stack, audio, tmp_path)["distill-only+low-rank+int8"]
        dtypes = {linear.dtype for _, linear in model.config.reduced_linears}
        assert dtypes == {"int8"}
        beside = tmp_path / "beside" / "distill-only+low-rank+int8"
        stages = {file.name: file.read_text().splitlines()[1].split(",")[0] for file in beside.glob("*.csv")}
        assert stages == {"training.csv": "recovery", "distill-only-training.csv": "distillation"}

    def test_several_models_all_go_on(self, audio: AudioSource, tmp_path: Path) -> None:
        settings = {"prune-only": {**SETTINGS["prune-only"], "sparsity": [0.2, 0.35]}, "int8": {}}
        models = compress(settings, audio, tmp_path)
        assert list(models) == ["prune-only+int8-0.2", "prune-only+int8-0.35"]
        sizes = [count_parameters(model.config) / count_parameters(tiny_teacher().config) for model in models.values()]
        assert sizes == pytest.approx([0.8, 0.65], abs=0.01)

    def test_a_part_that_refuses_says_which_it_is(self, audio: AudioSource, tmp_path: Path) -> None:
        settings = {
            "prune-only": SETTINGS["prune-only"],
            "distill-only": SETTINGS["distill-only"] | {"precision": "fp16"},
        }
        with pytest.raises(UserError, match=r"^distill-only: .*fp16"):
            compress(settings, audio, tmp_path)
        assert not list(tmp_path.iterdir())


class TestInterrupted:
    def test_a_finished_part_is_not_done_again(
        self, made: tuple[UpstreamModel, Path], audio: AudioSource, tmp_path: Path
    ) -> None:
        """SIGKILL while the second part trains, in a process of its own."""
        workdir = tmp_path / "killed"
        child = PROCESSES.Process(target=compress, args=(SETTINGS, audio, workdir))
        child.start()
        checkpoint = workdir / "checkpoints" / NAME / "distillation.ckpt"
        deadline = time.monotonic() + 300
        while not checkpoint.exists():
            assert child.is_alive(), "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.kill()
        child.join()
        weights = workdir / "parts" / "prune-only" / "prune-only" / "model.safetensors"
        written = weights.stat().st_mtime_ns
        assert weights_hash(compress(SETTINGS, audio, workdir)[NAME]) == weights_hash(made[0])
        assert weights.stat().st_mtime_ns == written

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    def test_a_damaged_model_of_a_part_is_named_and_made_again(
        self,
        made: tuple[UpstreamModel, Path],
        audio: AudioSource,
        tmp_path: Path,
        name: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        workdir = tmp_path / "damaged"
        shutil.copytree(made[1], workdir)
        damaged = workdir / "parts" / "prune-only" / "prune-only" / name
        content = bytearray(damaged.read_bytes())
        content[-9] ^= 1
        damaged.write_bytes(content)
        assert weights_hash(compress(SETTINGS, audio, workdir)[NAME]) == weights_hash(made[0])
        assert str(workdir / "parts" / "prune-only") in caplog.text
        assert (workdir / "parts" / "prune-only.damaged").is_dir()

    def test_the_folder_of_other_work_is_refused(self, made: tuple[UpstreamModel, Path], audio: AudioSource) -> None:
        settings = {**SETTINGS, "prune-only": SETTINGS["prune-only"] | {"sparsity": 0.25}}
        with pytest.raises(UserError, match="configuration differ"):
            compress(settings, audio, made[1])


class TestRun:
    """In a run, a stack begins with the model of a row where that is its own first part."""

    @pytest.fixture
    def teacher(self, tmp_path: Path) -> Path:
        save_upstream(tiny_teacher(), tmp_path / "teacher", {})
        return tmp_path / "teacher"

    def execute(
        self, teacher: Path, audio: AudioSource, compressors: str, *assignments: str, **more: object
    ) -> Outcome:
        data = teacher.with_name("data.yaml")
        data.write_text(f"audio: {{layout: folder, root: {audio.root}}}\n")
        given = ("importance=l2", "recovery=null", *assignments)
        config = config_of(compressors, *given, teacher=str(teacher), data=str(data), preset="smoke", **more)
        return Run(config, teacher.with_name("run"), "cpu").execute()

    def test_the_row_is_not_compressed_twice(
        self, teacher: Path, audio: AudioSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Here of a sweep that the stack joins later, at every size and for every seed."""
        caplog.set_level("INFO", logger="bench")
        sweep = {"sparsities": (0.2, 0.35), "training_budget": "preset", "seeds": (0, 1)}
        for compressors in ("prune-only", "prune-only+int8"):
            assert not self.execute(teacher, audio, compressors, **sweep).failures
        begun = [message for message in caplog.messages if "begins with" in message]
        rows = [f"{size}-seed{seed}" for size in (0.2, 0.35) for seed in (0, 1)]
        assert begun == [f"compress prune-only+int8-{row}: begins with prune-only-{row}" for row in rows]
        folder = teacher.with_name("run") / "models"
        for row in rows:
            provenance = json.loads((folder / f"prune-only+int8-{row}" / "config.json").read_text())["provenance"]
            assert provenance["compressor"] == "prune-only+int8"
            assert provenance["teacher"] == str(teacher)
            assert provenance["begins_with"] == [f"prune-only-{row}"]
            assert set(provenance["recipe"]) == {"prune-only", "int8"}
            assert provenance["numerics"]["prune-only"]["float32_matmul_precision"] == "highest"
            assert provenance["numerics"]["int8"] == {"device": "cpu"}
            stack, part = (load_folder(folder / f"{name}-{row}") for name in ("prune-only+int8", "prune-only"))
            assert count_parameters(stack.config) == count_parameters(part.config)

    def test_a_row_from_before_a_setting_was_there_is_its_part(
        self, teacher: Path, audio: AudioSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", logger="bench")
        self.execute(teacher, audio, "prune-only", "sparsity=0.2")
        manifest = teacher.with_name("run") / "models" / "prune-only" / "config.json"
        content = json.loads(manifest.read_text())
        del content["provenance"]["recipe"]["round_to"]
        manifest.write_text(json.dumps(content))
        folder = RunFolder(teacher.with_name("run"))
        stored = folder.read_config() or {}
        del stored["models"]["prune-only"]["settings"]["round_to"]
        folder.write_config(stored)
        assert not self.execute(teacher, audio, "prune-only+int8", "sparsity=0.2").failures
        assert "compress prune-only+int8: begins with prune-only" in caplog.messages

    def test_a_row_of_other_settings_or_another_seed_is_none_of_its_parts(
        self, teacher: Path, audio: AudioSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", logger="bench")
        self.execute(teacher, audio, "prune-only", "sparsity=0.2")
        outcome = self.execute(teacher, audio, "prune-only+int8", "sparsity=0.35")
        assert not outcome.failures
        assert not [message for message in caplog.messages if "begins with" in message]
        model = load_folder(teacher.with_name("run") / "models" / "prune-only+int8")
        assert 1 - count_parameters(model.config) / count_parameters(tiny_teacher().config) == pytest.approx(
            0.35, abs=0.01
        )

    def test_what_has_failed_is_not_tried_again(
        self, teacher: Path, audio: AudioSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def fail(*arguments: object) -> None:
            calls.append(arguments)
            raise UserError("no luck")

        monkeypatch.setattr("compressors.prune_only.compressor.PruneOnly.compress", fail)
        failures = self.execute(teacher, audio, "prune-only+int8,prune-only").failures
        assert failures == {
            "compress prune-only": "no luck",
            "compress prune-only+int8": "It begins with prune-only, which failed.",
        }
        assert len(calls) == 1
