"""Model references: every form is found, every mistake answered in one line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
import pytest
import torch

from bench.cli import main
from bench.errors import UserError
from bench.upstream import (
    FbankUpstream,
    UpstreamModel,
    check_reference,
    known_references,
    load_upstream,
    model_name,
    reference_config,
    save_upstream,
    weights_hash,
)
from bench.upstream.cost import count_parameters
from bench.upstream.random_shapes import random_model


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def refusal(reference: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        check_reference(reference)
    with pytest.raises(UserError):
        load_upstream(reference)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestRandomShapes:
    @pytest.mark.parametrize(
        ("shape", "num_parameters"),
        [
            ("hubert_base", 94_370_944),
            ("hubert_large", 315_434_112),
            ("wav2vec2_base", 94_370_944),
            ("wavlm_base_plus", 94_381_168),
            ("distilhubert", 23_491_200),
            ("mini-hubert", 2_456_256),
        ],
    )
    def test_published_sizes_without_weights(self, shape: str, num_parameters: int) -> None:
        config = reference_config(f"random:{shape}")
        assert config is not None
        assert count_parameters(config) == num_parameters

    def test_large_types(self) -> None:
        for shape, conv_bias in (("hubert_large", False), ("wav2vec2_large", True), ("wavlm_large", False)):
            config = reference_config(f"random:{shape}")
            assert config is not None
            assert config.extractor_norm == "layer_norm"
            assert config.layer_norm_first
            assert config.normalize_waveform
            assert config.conv_bias is conv_bias
            assert (config.num_layers, config.dim, config.total_heads, config.head_dim) == (24, 1024, 16, 64)

    def test_always_the_same_whatever_the_caller_did(self) -> None:
        torch.manual_seed(1)
        first = load_upstream("random:mini-hubert")
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = load_upstream("random:mini-hubert")
        assert torch.equal(torch.get_rng_state(), before)
        assert weights_hash(first) == weights_hash(second)
        assert not first.training

    def test_weights_are_sensible(self) -> None:
        model = load_upstream("random:mini-hubert")
        assert isinstance(model, UpstreamModel)
        assert model.layers[0].feed_forward.output_dense.weight.std().item() == pytest.approx(0.02, rel=0.02)
        fan_in = 48 * 3
        convolution = model.feature_extractor.conv_layers[1].conv.weight
        assert convolution.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        positional = model.positional_convolution.conv.weight
        assert positional.std().item() == pytest.approx(2 / (32 * 128) ** 0.5, rel=0.02)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any(), name
            elif "layer_norm" in name:
                assert (parameter == 1).all(), name
        with torch.no_grad():
            states, _ = model(torch.randn(1, 16_000))
        assert all(0.5 < state.std() < 2 for state in states)

    def test_fbank_has_no_shape(self) -> None:
        assert reference_config("fbank") is None

    @pytest.mark.parametrize("name", ["dphubert_small_hubert.pth", "dphubert_small_wavlm_gated.ckpt", "mini-hubert"])
    def test_shape_of_a_checkpoint_is_that_of_its_model(self, name: str, reference: Path) -> None:
        where = str(reference / name) if (reference / name).exists() else name
        upstream = load_upstream(where)
        assert isinstance(upstream, UpstreamModel)
        assert reference_config(where) == upstream.config


class TestKinds:
    def test_fbank(self) -> None:
        check_reference("fbank")
        assert isinstance(load_upstream("fbank"), FbankUpstream)

    def test_folder_before_any_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_upstream(random_model(reference_config("random:mini-hubert")), tmp_path / "fbank", {})
        monkeypatch.chdir(tmp_path)
        assert isinstance(load_upstream("fbank"), UpstreamModel)

    def test_hub_id_from_the_cache(self, offline: Path) -> None:
        from transformers import HubertConfig, HubertModel

        config = HubertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        snapshot = offline / "models--someone--tiny" / "snapshots" / ("0" * 40)
        HubertModel(config).save_pretrained(snapshot)
        (offline / "models--someone--tiny" / "refs").mkdir()
        (offline / "models--someone--tiny" / "refs" / "main").write_text("0" * 40)
        assert load_upstream("someone/tiny").dim == 32


class TestMistakes:
    @pytest.mark.parametrize(
        ("reference", "nearest"),
        [
            ("HUBERT_BSE", "HUBERT_BASE"),
            ("wavlm_base_pluss", "wavlm_base_plus"),
            ("fbnak", "fbank"),
            ("random:hubert-base", "random:hubert_base"),
        ],
    )
    def test_nearest_name(self, reference: str, nearest: str) -> None:
        assert f"Did you mean {nearest!r}?" in refusal(reference)

    def test_the_forms_are_told(self) -> None:
        message = refusal("qqqqqq")
        for form in ("folder", ".pth", "HUBERT_BASE", "fbank", "random:<shape>", "facebook/hubert-base-ls960"):
            assert form in message

    @pytest.mark.parametrize("reference", ["/no/such/model", "./model", "a/b/c", "runs/model.pth", "model.ckpt"])
    def test_missing_paths(self, reference: str) -> None:
        assert "Found nothing there" in refusal(reference)

    def test_hub_id_that_cannot_be_fetched(self, offline: Path) -> None:
        assert "someone/nothing" in refusal("someone/nothing")

    def test_empty_folder(self, tmp_path: Path) -> None:
        assert "config.json" in refusal(tmp_path)

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("hello")
        assert str(path) in refusal(path)


class TestHub:
    @pytest.fixture
    def asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Stand in an empty folder, offline; list what the hub is asked for."""
        asked: list[str] = []

        def snapshot_download(repository: str, **_: object) -> str:
            asked.append(repository)
            raise httpx.ConnectTimeout("no network")

        httpx = pytest.importorskip(huggingface_hub.errors.HTTPError.__module__.split(".")[0])
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        return asked

    @pytest.mark.parametrize(
        "reference", ["a/b", "./models/x", "../x", "/x/y", "~/x", "models/x.pth", "x/y/z", "x/", "x"]
    )
    def test_paths_are_never_asked_for(self, reference: str, asked: list[str]) -> None:
        refusal(reference)
        assert not asked

    @pytest.mark.parametrize("folder", ["facebook", "facebok", "Facebook"])
    def test_nothing_in_or_near_a_folder_here_is_asked_for(self, folder: str, asked: list[str]) -> None:
        Path(folder).mkdir()
        message = refusal("facebook/hubert-base-ls960")
        assert not asked
        assert f"folder {folder}" in message
        assert "hub:facebook/hubert-base-ls960" in message

    def test_the_hub_can_be_insisted_on(self, asked: list[str]) -> None:
        Path("facebook").mkdir()
        assert "Check the network" in refusal("hub:facebook/hubert-base-ls960")
        assert set(asked) == {"facebook/hubert-base-ls960"}
        assert "owner/name" in refusal("hub:../x")

    def test_a_timeout_is_one_line(self, asked: list[str]) -> None:
        message = refusal("facebook/hubert-base-ls960")
        assert asked
        assert "ConnectTimeout" in message

    def test_offline_only_the_cache_is_searched(self, offline: Path) -> None:
        message = refusal("someone/nothing")
        assert "HF_HUB_OFFLINE" in message
        assert str(offline) in message

    @pytest.mark.parametrize(
        ("error", "told"),
        [("GatedRepoError", "login"), ("RepositoryNotFoundError", "no public model"), ("RuntimeError", "network")],
    )
    def test_refusals_of_the_hub(self, error: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = getattr(huggingface_hub.errors, error, RuntimeError)
        failure = kind.__new__(kind)

        def snapshot_download(*_: object, **__: object) -> str:
            raise failure

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        assert told in refusal("someone/something")

    @pytest.mark.parametrize("reference", ["x" * 300, "x" * 5000, "a\0b", "~nobody-here/x", "x" * 90 + "/" + "y" * 300])
    def test_what_can_be_no_path(self, reference: str, asked: list[str]) -> None:
        assert len(refusal(reference)) < 400
        assert not asked


class TestNames:
    @pytest.mark.parametrize(
        ("reference", "name"),
        [
            ("random:mini-hubert", "random-mini-hubert"),
            ("facebook/hubert-base-ls960", "hubert-base-ls960"),
            ("HUBERT_BASE", "HUBERT_BASE"),
            ("fbank", "fbank"),
            ("some dir/my model (2)", "my-model-2"),
        ],
    )
    def test_of_references(self, reference: str, name: str) -> None:
        assert model_name(reference) == name

    def test_of_files_and_folders(self, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copy(reference / "dphubert_small_hubert.pth", tmp_path)
        assert model_name(tmp_path / "dphubert_small_hubert.pth") == "dphubert_small_hubert"
        (tmp_path / "my.model").mkdir()
        assert model_name(f"{tmp_path}/my.model/") == "my.model"
        monkeypatch.chdir(tmp_path / "my.model")
        assert model_name(".") == "my.model"

    def test_known_references_can_be_named(self) -> None:
        known = dict(known_references())
        assert {
            "fbank",
            "mini-hubert",
            "random:mini-hubert",
            "random:wavlm_large",
            "HUBERT_BASE",
            "WAVLM_BASE_PLUS",
        } <= known.keys()
        for name, description in known.items():
            assert re.fullmatch(r"[\w.-]+", model_name(name))
            assert description


@pytest.mark.parametrize("reference", ["~nobody-of-this-name/model", "a\0b", "x" * 5000])
@pytest.mark.parametrize("command", [["profile"], ["evaluate", "--tasks", "ks", "--dry-run", "--model"]])
def test_references_that_no_path_can_be(
    reference: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *command, reference])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) <= 400
