"""Several sizes, and going on from one of them, as `bench compress` and `bench run` see it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.cli.choices import resolved_run
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.profiling import model_card
from bench.runs.compress import compress_into
from bench.runs.joining import join_run
from bench.runs.run import Run
from bench.runs.work import WorkList
from bench.store.run_folder import RunFolder
from bench.upstream import load_folder, save_upstream, weights_hash
from bench.upstream.checkpoint import read_manifest
from tests.helpers.method_checks import tiny_teacher

SMALL = ("units=[head,interm]",)
"""What a tiny teacher needs to meet a budget in so few updates."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, speech_folder: Path) -> Path:
    """A teacher, and a data file with other places of KS than there are: nothing is evaluated."""
    folder = tmp_path_factory.mktemp("again")
    save_upstream(tiny_teacher(), folder / "teacher", {})
    tasks = "tasks: {ks: {layout: speech_commands, root: x, test_root: y}}"
    (folder / "data.yaml").write_text(f"audio: {{layout: folder, root: {speech_folder}}}\n{tasks}\n")
    return folder


def resolved(folder: Path, *assignments: str, compressor: str = "dphubert", **options: Any) -> RunConfig:
    choices = {"teacher": str(folder / "teacher"), "data": str(folder / "data.yaml"), "preset": "smoke", "seeds": "0"}
    given: dict[str, Any] = {**choices, "tasks": None, **options}
    return resolved_run(compressors=compressor, assignments=[*SMALL, *assignments], **given)


@pytest.fixture(scope="module")
def sizes(folder: Path) -> Path:
    """Models of 10 and 30 % sparsity."""
    compress_into(resolved(folder, "sparsity=[0.1, 0.3]"), "dphubert", folder / "sizes", "cpu")
    return folder / "sizes"


class TestSeveralSizes:
    def test_lie_in_folders_of_their_own_and_know_their_target(self, sizes: Path) -> None:
        assert sorted(model.name for model in sizes.iterdir()) == ["dphubert-0.1", "dphubert-0.3"]
        for model, target in zip(sorted(sizes.iterdir()), (0.1, 0.3), strict=True):
            card = model_card(load_folder(model), read_manifest(model).provenance)
            assert card.target_sparsity == target
            assert card.sparsity == pytest.approx(target, abs=0.01)
            assert {file.name for file in model.iterdir()} >= {"training.csv", "distillation_projections.safetensors"}

    def test_are_recognised(self, folder: Path, sizes: Path) -> None:
        written = {model: (model / "model.safetensors").stat().st_mtime_ns for model in sizes.iterdir()}
        rows = compress_into(resolved(folder, "sparsity=[0.1, 0.3]"), "dphubert", sizes, "cpu")
        assert [row["model"] for row in rows] == sorted(map(str, written))
        assert written == {model: (model / "model.safetensors").stat().st_mtime_ns for model in sizes.iterdir()}
        with pytest.raises(UserError, match="its recipe"):
            compress_into(resolved(folder, "sparsity=0.1"), "dphubert", sizes, "cpu")

    def test_are_recognised_from_before_a_setting_was_there(self, folder: Path, sizes: Path, tmp_path: Path) -> None:
        shutil.copytree(sizes, tmp_path / "sizes")
        for manifest in (tmp_path / "sizes").glob("*/config.json"):
            content = json.loads(manifest.read_text())
            del content["provenance"]["recipe"]["keep_shape"]
            manifest.write_text(json.dumps(content))
        assert len(compress_into(resolved(folder, "sparsity=[0.1, 0.3]"), "dphubert", tmp_path / "sizes", "cpu")) == 2

    def test_are_rows_of_the_plan(self, folder: Path) -> None:
        for compressor in ("dphubert", "dphubert+int8"):
            config = resolved(folder, "sparsity=[0.1, 0.3]", tasks="ks", compressor=compressor)
            steps = [item.subject for item in WorkList(RunFolder(folder / "run"), config).items()]
            rows = [f"{compressor}-0.1 ks seed 0", f"{compressor}-0.3 ks seed 0"]
            assert steps == [compressor, "teacher ks seed 0", *rows]

    def test_share_no_name_with_another_row(self, folder: Path, sizes: Path, tmp_path: Path) -> None:
        """Theirs would be the other's scores, and its weights."""
        made, listed = "dphubert-0.1", "dphubert.sparsity=[0.1, 0.3]"
        run = RunFolder(tmp_path / "run")
        for options in ({"models": str(sizes / made)}, {"compressor": f"dphubert,{made}=prune-only"}):
            with pytest.raises(UserError, match=f"would be called '{made}', of the rows {made} and dphubert|{made}"):
                join_run(run, resolved(folder, listed, tasks="ks", **options))
        run.write_config(join_run(run, resolved(folder, tasks="ks", models=str(sizes / made), compressor="prune-only")))
        with pytest.raises(UserError, match=f"would be called '{made}', of the rows dphubert and {made}"):
            join_run(run, resolved(folder, listed, tasks="ks"))


class TestFrom:
    def test_the_record_says_from_what(self, folder: Path, sizes: Path) -> None:
        start = sizes / "dphubert-0.1"
        compress_into(resolved(folder, start=str(start)), "dphubert", folder / "again", "cpu")
        made = load_folder(folder / "again")
        provenance = read_manifest(folder / "again").provenance
        assert provenance["from"] == {"reference": str(start), "weights_hash": weights_hash(load_folder(start))}
        assert provenance["numerics"] == {
            "device": "cpu",
            "devices": 1,
            "precision": "fp32",
            "float32_matmul_precision": "highest",
        }
        assert made.config.layers == load_folder(start).config.layers
        card = model_card(made, provenance)
        assert card.target_sparsity == pytest.approx(0.1, abs=0.01)
        assert card.start == str(start)
        for other in (str(sizes / "dphubert-0.3"), None):
            with pytest.raises(UserError, match=r"another model \(its .* differs\)"):
                compress_into(resolved(folder, start=other), "dphubert", folder / "again", "cpu")

    def test_updates_of_other_rows_and_parts_leave_its_own_short(self, folder: Path, sizes: Path) -> None:
        options: dict[str, Any] = {"start": str(sizes / "dphubert-0.1"), "preset": "mini"}
        rows = resolved(folder, "a.final.updates=99", compressor="a=dphubert,b=dphubert", **options).compressors()
        assert [rows[row].settings["final"]["updates"] for row in ("a", "b")] == [99, 45]
        stack = resolved(folder, "low-rank.recovery.updates=99", compressor="dphubert+low-rank", **options)
        settings = stack.compressors()["dphubert+low-rank"].settings
        assert (settings["dphubert"]["final"]["updates"], settings["low-rank"]["recovery"]["updates"]) == (45, 99)

    def test_another_start_is_another_run(self, folder: Path, sizes: Path) -> None:
        starts = [None, str(sizes / "dphubert-0.1"), str(sizes / "dphubert-0.3")]
        names = {resolved(folder, start=start).run_name([]) for start in starts}
        assert len(names) == 3

    def test_another_model_of_the_same_name_is_another_run(self, folder: Path, sizes: Path, tmp_path: Path) -> None:
        shutil.copytree(sizes / "dphubert-0.1", tmp_path / "latest")
        config = resolved(folder, start=str(tmp_path / "latest"))
        Run(config, tmp_path / "run", "cpu").execute()
        shutil.rmtree(tmp_path / "latest")
        shutil.copytree(sizes / "dphubert-0.3", tmp_path / "latest")
        with pytest.raises(UserError, match=r"The weights of --from .*latest have changed"):
            Run(config, tmp_path / "run", "cpu").execute()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"start": "fbank"}, "--from fbank has no weights to start from"),
            ({"start": "random:wavlm_large"}, "its architecture is wavlm, the teacher's hubert"),
            ({"start": "TEACHER"}, "as large as the teacher"),
            ({"start": "TEACHER", "compressor": "low-rank"}, "--from: low-rank"),
            ({"start": "TEACHER", "compressor": "none"}, "nothing is compressed here"),
            ({"start": "nope"}, "Unknown model"),
            ({"start": "TEACHER", "teacher": "fbank"}, "--teacher fbank has no weights to compress"),
        ],
    )
    def test_what_cannot_be_gone_on_from_is_told_at_once(
        self, folder: Path, options: dict[str, str], message: str
    ) -> None:
        start = options["start"].replace("TEACHER", str(folder / "teacher"))
        assignments = () if options.get("compressor") else SMALL
        teacher = options.get("teacher", str(folder / "teacher"))
        choices = {"teacher": teacher, "data": str(folder / "data.yaml"), "preset": "smoke"}
        with pytest.raises(UserError, match=message):
            resolved_run(
                compressors=options.get("compressor", "dphubert"),
                start=start,
                tasks=None,
                seeds="0",
                assignments=assignments,
                **choices,
            )
