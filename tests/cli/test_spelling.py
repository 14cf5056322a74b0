"""Names are accepted in any case, and mean the same run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli.choices import read_choice, resolved_run, run_folder
from bench.cli.spelling import spelled_assignments, spelled_compressor, spelled_data
from bench.config.run import RunConfig
from bench.errors import UserError
from bench.terminal.choices import comma_separated, one_of
from bench.upstream.conversion import bundle_names
from bench.upstream.random_shapes import SHAPES
from bench.upstream.reference import check_reference, model_name, spelled_reference
from bench.upstream.reference_names import PUBLISHED


def run(**changes: object) -> RunConfig:
    chosen: dict = {
        "compressors": "dphubert",
        "teacher": "mini-hubert",
        "models": "fbank",
        "tasks": "ks,asr",
        "data": "mini",
        "preset": "smoke",
        "protocol": "cached",
        "seeds": "0",
        "assignments": ["dphubert.sparsity=0.5", "tasks.ks.learning_rate=0.01"],
    }
    return resolved_run(**{**chosen, **changes})


def test_a_run_in_capitals_is_the_same_run() -> None:
    settings = ["DPHuBERT.sparsity=0.5", "tasks.KS.learning_rate=0.01"]
    capitals = run(
        compressors="DPHuBERT",
        teacher="Mini-HuBERT",
        models="FBank",
        tasks="KS,Asr",
        data="MINI",
        preset="Smoke",
        protocol="Cached",
        assignments=settings,
    )
    plain = run()
    assert json.loads(capitals.model_dump_json()) == json.loads(plain.model_dump_json())
    folders = [
        run_folder(None, config, given, lr=None, folds=None)
        for config, given in ((plain, ["dphubert.sparsity=0.5", "tasks.ks.learning_rate=0.01"]), (capitals, settings))
    ]
    assert folders[0] == folders[1]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("DPHuBERT", "dphubert"),
        ("Row=Low-Rank+INT8", "Row=low-rank+int8"),
        ("None", "none"),
        ("dphuber", "dphuber"),
    ],
)
def test_compressors(typed: str, meant: str) -> None:
    assert spelled_compressor(typed) == meant


def test_values_and_rows_keep_their_case(tmp_path: Path) -> None:
    assert spelled_assignments(["Mine.sparsity=KS", "tasks.KS=DPHuBERT"]) == ["Mine.sparsity=KS", "tasks.ks=DPHuBERT"]
    assert spelled_data(str(tmp_path)) == str(tmp_path)


def test_one_name_in_two_cases_is_there_twice() -> None:
    with pytest.raises(UserError, match="twice"):
        comma_separated("ks,KS", "--tasks", ["ks"])


def test_a_row_may_not_hide_a_compressor_in_another_case() -> None:
    with pytest.raises(UserError, match="DPHuBERT"):
        run(compressors="DPHuBERT=low-rank")


def test_a_compressor_may_have_presets_of_its_own() -> None:
    choice = read_choice(
        compressors="distill-only", tasks=None, data="mini", preset="Paper-Thin", teacher="mini-hubert"
    )
    assert choice.preset == "paper-thin"
    with pytest.raises(UserError, match="--preset 'paper-thin'"):
        read_choice(compressors="dphubert", tasks=None, data="mini", preset="paper-thin", teacher="mini-hubert")


def test_unknown_names_are_refused_and_cut() -> None:
    with pytest.raises(UserError, match="Did you mean 'smoke'") as refused:
        one_of("smokke", ["smoke", "mini"], "--preset")
    assert "--preset" in str(refused.value)
    with pytest.raises(UserError) as refused:
        one_of("x" * 10_000, ["smoke"], "--preset")
    assert len(str(refused.value)) < 400


class TestReferences:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("HuBERT_Base", "HUBERT_BASE"),
            ("wav2vec2_asr_base_960h", "WAV2VEC2_ASR_BASE_960H"),
            ("FBANK", "fbank"),
            ("Mini-Hubert", "mini-hubert"),
            ("Random:HuBERT_Base", "random:hubert_base"),
            ("random:absent", "random:absent"),
            ("facebook/HuBERT_Base", "facebook/HuBERT_Base"),
            ("absent", "absent"),
        ],
    )
    def test_any_case(self, typed: str, meant: str) -> None:
        assert spelled_reference(typed) == meant
        assert model_name(typed) == model_name(meant)

    def test_a_folder_keeps_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("FBANK").mkdir()
        assert spelled_reference("FBANK") == "FBANK"

    @pytest.mark.parametrize("shape", PUBLISHED)
    def test_a_bare_shape_could_mean_trained_or_random_weights(self, shape: str) -> None:
        with pytest.raises(UserError) as refused:
            check_reference(shape)
        for reference in (*PUBLISHED[shape], f"random:{shape}"):
            assert reference in str(refused.value)

    def test_published_references_exist(self) -> None:
        bundles = [name for references in PUBLISHED.values() for name in references if "/" not in name]
        assert set(bundles) <= set(bundle_names())
        assert set(PUBLISHED) == set(SHAPES) - {"mini-hubert"}
