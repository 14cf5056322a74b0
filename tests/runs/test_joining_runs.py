"""A run's folder goes on elsewhere and later: on another machine, and with a version that has more settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.compatibility import difference_of_tasks
from bench.config.run import RunConfig, resolve
from bench.errors import UserError
from bench.runs.joining import join_run
from bench.store.run_folder import RunFolder
from tests.fuzz.harness import ends_well
from tests.helpers.choices import choice_of


def config_of(*assignments: str) -> RunConfig:
    return resolve(choice_of("prune-only", *assignments, tasks=("ks",)))


def moved(config: RunConfig, root: Path, version: str) -> RunConfig:
    """Return the configuration with corpora of a version somewhere else."""
    assert config.data.audio
    audio = config.data.audio.model_copy(update={"root": root / "audio"})
    entry = {**config.data.tasks["ks"], "root": str(root / "ks")}
    data = config.data.model_copy(update={"version": version, "audio": audio, "tasks": {"ks": entry}})
    return config.model_copy(update={"data": data})


def folder_with(config: RunConfig, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.write_config(config.model_dump(mode="json"))
    return folder


def test_embedded_corpora_are_what_their_version_says_wherever_they_lie(tmp_path: Path) -> None:
    config = config_of()
    folder = folder_with(moved(config, tmp_path, config.data.version), tmp_path / "run")
    assert join_run(folder, config) == config.model_dump(mode="json")


@pytest.mark.parametrize(("version", "difference"), [("3-seed0", "data.version: '3-seed0' there"), ("", "data.audio")])
def test_other_corpora_are_refused(version: str, difference: str, tmp_path: Path) -> None:
    config = config_of()
    folder = folder_with(moved(config, tmp_path, version), tmp_path / "run")
    with pytest.raises(UserError, match=rf"another configuration.*{difference}"):
        join_run(folder, config)


def test_ones_own_corpora_must_lie_where_they_lay(tmp_path: Path) -> None:
    here, there = (moved(config_of(), tmp_path / name, "") for name in ("here", "there"))
    with pytest.raises(UserError, match="root"):
        join_run(folder_with(there, tmp_path / "run"), here)


def test_a_run_goes_on_with_another_number_of_devices(tmp_path: Path) -> None:
    config = config_of()
    folder = folder_with(config.model_copy(update={"devices": 4}), tmp_path / "run")
    assert join_run(folder, config)["devices"] == 1


def test_settings_that_came_later_have_their_defaults(tmp_path: Path) -> None:
    config = config_of()
    values = config.model_dump(mode="json")
    del values["models"]["prune-only"]["settings"]["round_to"]
    folder = RunFolder(tmp_path / "run")
    folder.write_config(values)
    assert join_run(folder, config)["models"] == config.model_dump(mode="json")["models"]
    with pytest.raises(UserError, match="round_to: 1 there, 8 here"):
        join_run(folder, config_of("round_to=8"))


@pytest.mark.parametrize("compressor", ["dphubert", "dphubert+int8", "distill-only"])
def test_they_are_those_of_the_preset_where_it_has_others(compressor: str, tmp_path: Path) -> None:
    student = ("student=distilhubert",) if compressor == "distill-only" else ()
    config = resolve(choice_of(compressor, *student, tasks=("ks",)))
    values = config.model_dump(mode="json")
    settings = values["models"][compressor]["settings"]
    del settings.get("dphubert", settings)["seconds_per_batch"]
    folder = RunFolder(tmp_path / "run")
    folder.write_config(values)
    assert join_run(folder, config)["models"] == config.model_dump(mode="json")["models"]


def test_settings_that_are_gone_are_told(tmp_path: Path) -> None:
    config = config_of()
    values = config.model_dump(mode="json")
    values["models"]["prune-only"]["settings"]["magic"] = 1
    folder = RunFolder(tmp_path / "run")
    folder.write_config(values)
    with pytest.raises(UserError, match="magic: 1 there, None here"):
        join_run(folder, config)


def test_ranking_and_joining_have_one_answer(tmp_path: Path) -> None:
    here = config_of().model_dump(mode="json")
    older = config_of().model_dump(mode="json")
    del older["tasks"]["ks"]["learning_rate"]
    del older["data"]["tasks"]["ks"]["resample"]
    del older["data"]["hours"]
    assert join_run(folder_holding(older, tmp_path / "run"), config_of())["tasks"] == here["tasks"]
    assert difference_of_tasks(older, here) is None
    other = {**here, "tasks": {"ks": {**here["tasks"]["ks"], "total_steps": 7}}}
    assert str(difference_of_tasks(older, other)).startswith("tasks.ks.total_steps")


def folder_holding(values: dict[str, Any], path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.write_config(values)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"models": {"../../outside": {"reference": "fbank"}}},
        {"models": []},
        {"models": {"a": "b"}},
        {"models": {"\u202e": {}}},
        {"tasks": {"../ks": {}}},
        {"tasks": {"ks": 3}},
        {"seeds": ["x" * 1_000]},
        {"data": 5},
        {"preset": ["smoke"]},
    ],
)
def test_names_and_kinds_from_a_file_are_validated(change: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_holding({**config_of().model_dump(mode="json"), **change}, tmp_path / "run")
    assert "config.yaml" in str(ends_well(lambda given: join_run(given, config_of()), folder))
