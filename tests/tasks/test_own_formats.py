"""One's own recordings as people keep them: every format gives the tables of a manifest of the same audio."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
import yaml

from bench.audio.sources import source_paths
from bench.contracts import AudioSource
from bench.errors import UserError
from tests.helpers.command_line import bench
from tests.helpers.manifests import COLUMNS, Write, entry_of, task_of
from tests.helpers.own_formats import IN_PLACE, WRITTEN, kaldi, kaldi_segments, lhotse_cuts, saved_datasets

RowsOf = Callable[[str], list[dict[str, str]]]
ALL = {**IN_PLACE, **WRITTEN}


def samples(table: pd.DataFrame) -> list[list[int]]:
    return [soundfile.read(path, dtype="int16")[0].tolist() for path in table["wav_path"]]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("task", COLUMNS)
def test_tables_are_those_of_a_manifest(
    task: str, name: str, rows_of: RowsOf, write_manifest: Write, tmp_path: Path
) -> None:
    rows = rows_of(task)
    expected = task_of(task).read(entry_of(task, write_manifest(rows)))
    found = task_of(task).read(entry_of(task, ALL[name](tmp_path, rows)))
    places = [] if name in IN_PLACE else ["path", "wav_path"]
    for split, table in expected.items():
        assert sorted(found[split]) == sorted(table)
        wanted = table.drop(columns=places)
        pd.testing.assert_frame_equal(found[split][wanted.columns], wanted, check_dtype=False)
        assert samples(found[split]) == samples(table)


@pytest.mark.parametrize("name", ALL)
def test_compression_takes_the_training_split(name: str, rows_of: RowsOf, tmp_path: Path) -> None:
    manifest = ALL[name](tmp_path, rows_of("asr"))
    paths = source_paths(AudioSource(layout="manifest", manifest=manifest))
    expected = [tmp_path / f"audio/train/{part}-{index}.wav" for part in range(2) for index in range(3)]
    assert [soundfile.info(path).frames for path in paths] == [soundfile.info(path).frames for path in expected]
    if name in IN_PLACE:
        assert paths == expected


def test_check_reads_every_format(rows_of: RowsOf, tmp_path: Path) -> None:
    rows = rows_of("asr")
    tasks = {"asr": {"manifest": str(kaldi_segments(tmp_path, rows))}}
    audio = {"manifest": str(lhotse_cuts(tmp_path, rows))}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"tasks": tasks, "audio": audio}))
    done = bench("data", "check", str(tmp_path / "mine.yaml"), "--json")
    corpora = {corpus["name"]: corpus for corpus in json.loads(done.stdout)["corpora"]}
    assert done.returncode == 0
    assert {name: corpus["usable"] for name, corpus in corpora.items()} == {"audio": True, "asr": True}


class TestSettings:
    def test_parts_and_columns_have_their_own_names(
        self, rows_of: RowsOf, write_manifest: Write, tmp_path: Path
    ) -> None:
        rows = rows_of("ks")
        expected = task_of("ks").read(entry_of("ks", write_manifest(rows)))
        folder = kaldi(tmp_path, rows)
        for split in ("train", "dev", "test"):
            (folder / split / "utt2label").rename(folder / split / "utt2word")
            (folder / split).rename(folder / f"{split}_clean")
        parts = {"train": ["train_clean"], "dev": "dev_clean", "test": "test_clean"}
        task, data = task_of("ks"), entry_of("ks", folder, parts=parts, columns={"label": "word"})
        task.check(data)
        found = task.checked(data)
        for split, table in expected.items():
            assert found[split]["label"].tolist() == table["label"].tolist()

    def test_a_name_of_no_split_is_refused(self, rows_of: RowsOf, tmp_path: Path) -> None:
        folder = kaldi(tmp_path, rows_of("ks"))
        (folder / "test").rename(folder / "test_clean")
        with pytest.raises(UserError, match=r"test_clean.*parts"):
            task_of("ks").read(entry_of("ks", folder))

    def test_a_folder_of_two_formats_needs_one_named(self, rows_of: RowsOf, tmp_path: Path) -> None:
        rows = rows_of("ks")
        folder = ALL["audiofolder"](tmp_path, rows)
        (folder / "wav.scp").write_text("a a.wav\n")
        with pytest.raises(UserError, match=r"kaldi and audiofolder.*format"):
            task_of("ks").read(entry_of("ks", folder))
        assert len(task_of("ks").read(entry_of("ks", folder, format="audiofolder"))["train"]) == 6

    def test_settings_that_are_not_set_are_not_stored(self, tmp_path: Path) -> None:
        assert set(entry_of("ks", tmp_path / "own.csv").model_dump()) == {"layout", "manifest", "resample"}
        assert "format" not in AudioSource(manifest=tmp_path / "own.csv").model_dump()


class TestWrittenAudio:
    @pytest.mark.parametrize("name", WRITTEN)
    def test_is_written_once_and_announced(
        self, name: str, rows_of: RowsOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = entry_of("asr", WRITTEN[name](tmp_path, rows_of("asr")))
        with caplog.at_level(logging.INFO):
            first = task_of("asr").read(data)["train"]["wav_path"]
            assert "Writing 6 utterances" in caplog.text
            caplog.clear()
            assert task_of("asr").read(data)["train"]["wav_path"].tolist() == first.tolist()
            assert "Writing" not in caplog.text

    @pytest.mark.parametrize("name", WRITTEN)
    def test_needs_room(self, name: str, rows_of: RowsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = entry_of("asr", WRITTEN[name](tmp_path, rows_of("asr")))
        monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 100}))
        with pytest.raises(UserError, match="SUPERB_BENCH_CACHE"):
            task_of("asr").read(data)

    def test_is_listed_and_pruned_once_its_source_is_gone(self, rows_of: RowsOf, tmp_path: Path) -> None:
        folder = kaldi_segments(tmp_path, rows_of("asr"))
        wav = Path(task_of("asr").read(entry_of("asr", folder))["dev"]["wav_path"][0])
        kept = json.loads(bench("cache", "--prune", "--json").stdout)["kept"]
        assert [(row["what"], row["utterances"]) for row in kept if row["kind"] == "cut audio"] == [
            (str(folder / split), count) for split, count in (("dev", 3), ("test", 3), ("train", 6))
        ]
        assert wav.exists()
        folder.rename(tmp_path / "elsewhere")
        removed = json.loads(bench("cache", "--prune", "--json").stdout)["removed"]
        assert str(folder / "dev") in [row["what"] for row in removed]
        assert not wav.exists()


def test_a_missing_package_is_named(rows_of: RowsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = entry_of("ks", saved_datasets(tmp_path, rows_of("ks")))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"superb-bench\[data\]"):
        task_of("ks").read(data)


def test_labels_of_a_data_set_are_names(rows_of: RowsOf, tmp_path: Path) -> None:
    import datasets

    rows = rows_of("ks")
    folder = saved_datasets(tmp_path, rows)
    named = datasets.load_from_disk(str(folder)).cast_column("label", datasets.ClassLabel(names=["NULL", "NA", "007"]))
    named.save_to_disk(str(tmp_path / "named"))
    expected: Any = task_of("ks").read(entry_of("ks", folder))["train"]
    assert (
        task_of("ks").read(entry_of("ks", tmp_path / "named"))["train"]["label"].tolist() == expected["label"].tolist()
    )
