"""The suite in Python: ``import bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import bench
from bench.store.records import Record
from bench.upstream import UpstreamModel, weights_hash
from tests.plugin_package.strided_upstream import make_upstream

UNTYPED: Any = bench
"""For arguments that a type checker refuses."""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, embedded_data: Path) -> tuple[UpstreamModel, Path]:
    """A compressed model and its folder."""
    folder = tmp_path_factory.mktemp("python") / "small"
    model = bench.compress("prune-only", out=folder, data=embedded_data, preset="smoke", sparsity=0.5)
    assert isinstance(model, UpstreamModel)
    return model, folder


def record_of(folder: Path, row: str) -> Record:
    (path,) = (folder / "cells" / row).glob("ks-seed0.json")
    return Record.model_validate_json(path.read_text())


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, bench; assert 'torch' not in sys.modules; bench.load_upstream; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there() -> None:
    # Packages must not hide the functions of these names.
    import bench.exports.export
    import bench.reports.tables

    assert all(callable(getattr(bench, name)) for name in bench.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="evalute"):
        bench.evalute  # type: ignore[attr-defined]  # noqa: B018


def test_a_compressed_model_is_that_of_its_folder(pruned: tuple[UpstreamModel, Path]) -> None:
    model, folder = pruned
    assert weights_hash(bench.load_upstream(folder)) == weights_hash(model)
    teacher = bench.load_upstream("mini-hubert")
    sizes = [sum(weight.numel() for weight in one.parameters()) for one in (model, teacher)]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.01)


def test_evaluates_references_models_and_modules(pruned: tuple[UpstreamModel, Path], embedded_data: Path) -> None:
    mine = make_upstream()
    models = {"teacher": bench.load_upstream("mini-hubert"), "small": pruned[0], "mine": mine}
    before = weights_hash(mine)
    results = bench.evaluate(models, ["ks"], data=embedded_data, preset="smoke", out="run")
    assert results.failures == {}
    assert list(results.table.index) == [0, 1, 2]
    table = results.table.set_index("model")
    assert set(table.index) == set(models)
    assert table.loc["mine", "params"] == sum(weight.numel() for weight in mine.parameters())
    assert table["ks_accuracy"].notna().all()
    assert weights_hash(mine) == before

    compared = bench.compare(results, "teacher", "small", "mine")
    assert list(compared["b"]) == ["small", "mine"]
    percent = 100 * compared.set_index("b")["difference"]
    expected = table["ks_accuracy"] - table.loc["teacher", "ks_accuracy"]
    pd.testing.assert_series_equal(percent, expected[percent.index], check_names=False)

    latex = bench.report(results, format="latex")
    assert r"\begin{tabular}" in latex
    assert "small" in bench.report(results.folder, format="csv")


def test_a_model_of_a_folder_is_the_same_row_from_the_command_line(
    pruned: tuple[UpstreamModel, Path], embedded_data: Path
) -> None:
    in_python = bench.evaluate(pruned[0], "ks", data=embedded_data, preset="smoke", out="run")
    by_reference = bench.evaluate(pruned[1], "ks", data=embedded_data, preset="smoke", out="run")
    assert in_python.table.equals(by_reference.table)
    assert len(by_reference.table) == 1


def test_a_model_trained_further_is_another_one(pruned: tuple[UpstreamModel, Path], embedded_data: Path) -> None:
    model = bench.load_upstream(pruned[1])
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(bench.UserError, match="small"):
        bench.evaluate([pruned[1], model], "ks", data=embedded_data, preset="smoke")
    named = bench.evaluate({"small": pruned[1], "further": model}, "ks", data=embedded_data, preset="smoke", out="run")
    hashes = {name: record_of(named.folder, name).provenance["weights_hash"] for name in ("small", "further")}
    assert hashes == {"small": weights_hash(pruned[0]), "further": weights_hash(model)}


def test_runs_compress_and_evaluate(embedded_data: Path) -> None:
    results = bench.run(
        {"pruned": "prune-only"},
        ["ks"],
        data=embedded_data,
        preset="smoke",
        seeds=[1],
        settings={"pruned.sparsity": 0.4},
        out="run",
    )
    assert list(results.table["model"]) == ["mini-hubert", "pruned"]
    assert results.table.set_index("model").loc["pruned", "sparsity"] == pytest.approx(0.4, abs=0.01)
    assert (results.folder / "cells" / "pruned" / "ks-seed1.json").is_file()


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        (lambda: bench.load_upstream("mini-huber"), "mini-hubert"),
        (lambda: bench.compress("dphuber", out="x"), "dphubert"),
        (lambda: bench.compress("dphubert", out="x", sparsty=0.5), "sparsity"),
        (lambda: bench.evaluate([], "ks"), "Found none"),
        (lambda: bench.evaluate("fbank", ["kss"]), "ks"),
        (lambda: bench.evaluate(torch.nn.Linear(2, 2), "ks"), "stride"),
        (lambda: bench.evaluate("fbank", "ks", executor="process:2"), "processes"),
        (lambda: bench.evaluate(make_upstream(), "ks", executor="processes:2"), "memory"),
        (lambda: bench.run("dphubert", "ks", teacher=make_upstream(), preset="smoke"), "HuBERT"),
        (lambda: bench.export("mini-hubert", to="tflite", out="x"), "onnx"),
        (lambda: bench.report("nowhere"), "nowhere"),
        (lambda: UNTYPED.compress("prune-only", out="x", preset="smok"), "smok"),
        (lambda: UNTYPED.evaluate("fbank", "ks", preset="smok"), "smok"),
        (lambda: UNTYPED.evaluate("fbank", "ks", seeds=0), "seeds"),
        (lambda: UNTYPED.evaluate("fbank", "ks", protocol="none"), "protocol"),
        (lambda: UNTYPED.evaluate(5, "ks"), "int"),
        (lambda: UNTYPED.load_upstream(make_upstream()), "Strided"),
        (lambda: UNTYPED.evaluate({"a/b": "fbank"}, "ks"), "a/b"),
        (lambda: UNTYPED.evaluate({"": make_upstream()}, "ks"), "name"),
        (lambda: UNTYPED.evaluate({5: "fbank"}, "ks"), "5"),
        (lambda: UNTYPED.evaluate({"a" * 300: make_upstream()}, "ks"), "200"),
        (lambda: UNTYPED.run({"a/b": "dphubert"}, "ks"), "a/b"),
        (lambda: UNTYPED.run({"data": "dphubert"}, "ks"), "data"),
    ],
)
def test_bad_input_says_what_to_do(call, fact: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(bench.UserError, match=fact) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_reference_that_is_too_long_for_a_path_is_refused() -> None:
    with pytest.raises(bench.UserError):
        bench.load_upstream("x" * 5000)
