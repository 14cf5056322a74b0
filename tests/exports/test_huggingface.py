"""``bench export --to hf``: transformers loads the folder, and its hidden states equal ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForCTC,
    HubertModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2Model,
    WavLMModel,
    pipeline,
)

from bench.exports import export_model
from bench.upstream import UpstreamConfig, UpstreamModel, load_upstream, save_upstream
from bench.upstream.config import ConvLayerShape, TransformerLayerShape
from bench.upstream.model import normalized
from bench.upstream.reduction import quantised
from tests.helpers.command_line import bench, error_of
from tests.helpers.odd_models import (
    LENGTHS,
    low_rank_shape,
    padded_batch,
    perturbed_model,
    pruned_shape,
    small_config,
)

FAMILIES = ("hubert", "wav2vec2", "wavlm")
STOCK = {"hubert": HubertModel, "wav2vec2": Wav2Vec2Model, "wavlm": WavLMModel}


@pytest.fixture
def exported(tmp_path: Path) -> Callable[[UpstreamModel], Path]:
    def export(model: UpstreamModel) -> Path:
        save_upstream(model, tmp_path / "suite", {})
        return export_model(str(tmp_path / "suite"), "hf", tmp_path / "exported")

    return export


def loaded(folder: Path, auto: Any = AutoModel, **changes: Any) -> Any:
    """Load strictly: transformers only logs missing weights."""
    model, report = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True, **changes)
    heads = ("lm_head", "projector", "classifier", "layer_weights")
    assert not [key for key in report["missing_keys"] if not key.startswith(heads)]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model.eval()


def differences(ours: UpstreamModel, theirs: Any) -> list[float]:
    """Return the largest difference of every hidden state, over single utterances and a padded batch."""
    waveforms, mask = padded_batch()
    inputs = normalized(waveforms, LENGTHS) if ours.config.normalize_waveform else waveforms
    with torch.no_grad():
        states, frames = ours(waveforms, LENGTHS)
        found = theirs(inputs, attention_mask=mask, output_hidden_states=True).hidden_states
        pairs = [[(a[i, :n], b[i, :n]) for i, n in enumerate(frames)] for a, b in zip(states, found, strict=True)]
        for index, length in enumerate(LENGTHS.tolist()):
            states, _ = ours(waveforms[index : index + 1, :length])
            found = theirs(inputs[index : index + 1, :length], output_hidden_states=True).hidden_states
            for pair, expected, actual in zip(pairs, states, found, strict=True):
                pair.append((expected, actual))
    return [max(float((a - b).abs().max()) for a, b in pair) for pair in pairs]


class TestHiddenStates:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
    @pytest.mark.parametrize("compress", [pruned_shape, low_rank_shape])
    def test_of_compressed_models_are_equal(
        self, family: Any, large: bool, compress: Callable[[UpstreamConfig], UpstreamConfig], exported: Any
    ) -> None:
        model = perturbed_model(compress(small_config(family, large=large)))
        assert differences(model, loaded(exported(model))) == [0.0] * 5

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
    def test_of_stock_shapes_come_from_transformers_own_class(self, family: Any, large: bool, exported: Any) -> None:
        model = perturbed_model(small_config(family, large=large), scale=1.0)
        folder = exported(model)
        assert not list(folder.glob("*.py"))
        theirs = STOCK[family].from_pretrained(folder)
        found = differences(model, theirs)
        # The fused kernel of WavLM's class is another one.
        tolerance = 1e-5 if family == "wavlm" else 0.0
        # transformers 5 does not normalise the last hidden state of pre-norm models.
        assert max(found[:-1] if large else found) <= tolerance
        waveforms, _ = padded_batch()
        inputs = normalized(waveforms[:1], LENGTHS[:1]) if large else waveforms[:1]
        last = theirs(inputs).last_hidden_state
        torch.testing.assert_close(model(waveforms[:1])[0][-1], last, atol=tolerance, rtol=0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"projection_layer_norm": False},
            {"head_dim": 5},
            {"positional_kernel": 15},
            {"relative_position": {"num_buckets": 32, "max_distance": 40, "has_embedding": False}},
            {"layers": ()},
            {"conv_layers": tuple(ConvLayerShape(channels=9, kernel=80, stride=40) for _ in range(1))},
        ],
        ids=["no-projection-norm", "narrow-heads", "odd-kernel", "no-embedding", "no-layers", "one-convolution"],
    )
    def test_of_rare_shapes_are_equal(self, changes: dict[str, Any], exported: Any) -> None:
        family: Any = "wavlm" if changes.keys() & {"relative_position", "projection_layer_norm"} else "wav2vec2"
        model = perturbed_model(small_config(family, **changes))
        assert set(differences(model, loaded(exported(model)))) == {0.0}

    def test_of_dphuberts_models_are_equal(self, reference: Path, tmp_path: Path) -> None:
        for family in ("hubert", "wavlm"):
            source = reference / f"dphubert_small_{family}.pth"
            folder = export_model(str(source), "hf", tmp_path / family)
            model = load_upstream(source)
            assert set(differences(model, loaded(folder))) == {0.0}

    def test_of_a_traced_model_follow_other_lengths(self, exported: Any) -> None:
        folder = exported(perturbed_model(pruned_shape(small_config("wavlm"))))
        model = loaded(folder, return_dict=False)
        waveforms, mask = padded_batch()
        with torch.no_grad():
            traced = torch.jit.trace(model, (waveforms, torch.ones_like(mask)))
            assert torch.allclose(traced(waveforms, mask)[0], model(waveforms, mask)[0], atol=1e-5)

    def test_in_tuples_and_without_states(self, exported: Any) -> None:
        model = loaded(exported(perturbed_model(pruned_shape(small_config("hubert")))))
        waveforms, mask = padded_batch()
        assert model(waveforms, mask).hidden_states is None
        (last,) = model(waveforms, mask, return_dict=False)
        assert torch.equal(last, model(waveforms, mask).last_hidden_state)


class TestFolder:
    def test_the_command_prints_it(self, tmp_path: Path) -> None:
        result = bench("export", "mini-hubert", "--to", "hf", "--out", str(tmp_path / "new" / "hf"))
        assert result.returncode == 0
        assert result.stdout.strip() == str(tmp_path / "new" / "hf")
        assert isinstance(AutoModel.from_pretrained(tmp_path / "new" / "hf"), HubertModel)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_of_a_stock_shape_is_read_back_unchanged(self, family: Any, exported: Any) -> None:
        model = perturbed_model(small_config(family, large=True), scale=1.0)
        back = load_upstream(exported(model))
        assert back.config == model.config
        assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())

    @pytest.mark.parametrize("large", [False, True])
    def test_feature_extractor_scales_as_the_model_does(self, large: bool, exported: Any) -> None:
        model = perturbed_model(pruned_shape(small_config("hubert", large=large)))
        folder = exported(model)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        assert extractor.do_normalize is large
        waveforms, mask = padded_batch()
        arrays = [one[:length].numpy() for one, length in zip(3 * waveforms, LENGTHS.tolist(), strict=True)]
        inputs = extractor(arrays, sampling_rate=16_000, padding=True, return_tensors="pt")
        assert torch.equal(inputs.attention_mask.long(), mask)
        last = loaded(folder)(**inputs).last_hidden_state
        # Its epsilon is 1e-7, ours 1e-5.
        torch.testing.assert_close(last, model(3 * waveforms, LENGTHS)[0][-1], atol=1e-4, rtol=0)

    def test_is_not_taken_for_a_stock_model(self, exported: Any) -> None:
        folder = exported(perturbed_model(pruned_shape(small_config("hubert"))))
        with pytest.raises(ValueError, match="trust_remote_code"):
            AutoModel.from_pretrained(folder, trust_remote_code=False)

    def test_int8_models_are_refused(self, tmp_path: Path) -> None:
        model = quantised(perturbed_model(small_config("hubert")), ["layers.0.attention.q_proj"])
        save_upstream(model, tmp_path / "int8", {})
        line = error_of("export", str(tmp_path / "int8"), "--to", "hf", "--out", str(tmp_path / "hf"))
        assert "int8" in line
        assert "quantised from" in line
        assert not (tmp_path / "hf").exists()

    def test_a_layer_of_another_width_alone_needs_code(self, exported: Any) -> None:
        config = small_config("hubert")
        narrow = TransformerLayerShape(heads=(0, 1, 2, 3), feed_forward=47)
        model = perturbed_model(config.model_copy(update={"layers": (*config.layers[:3], narrow)}), scale=1.0)
        assert json.loads((exported(model) / "config.json").read_text(encoding="utf-8"))["auto_map"]


@pytest.fixture(params=[pruned_shape, low_rank_shape], ids=["pruned", "low-rank"])
def folder(request: pytest.FixtureRequest, exported: Any) -> Path:
    """An exported WavLM."""
    return exported(perturbed_model(request.param(small_config("wavlm"))))


def trained(model: torch.nn.Module, steps: int = 12, **labels: torch.Tensor) -> list[float]:
    """Return the losses of a few steps on one batch."""
    waveforms, mask = padded_batch()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = model(waveforms, attention_mask=mask, **labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


CTC_LABELS = torch.tensor([[3, 4, 5, 3], [6, 7, -100, -100]])


class TestFineTuning:
    def test_ctc_learns_and_is_saved(self, folder: Path, tmp_path: Path) -> None:
        model = loaded(folder, AutoModelForCTC, vocab_size=9, ctc_loss_reduction="mean")
        model.freeze_feature_encoder()
        losses = trained(model, labels=CTC_LABELS)
        assert losses[-1] < 0.8 * losses[0]
        model.save_pretrained(tmp_path / "tuned")
        waveforms, mask = padded_batch()
        again = AutoModelForCTC.from_pretrained(tmp_path / "tuned", trust_remote_code=True).eval()
        assert torch.equal(again(waveforms, mask).logits, model.eval()(waveforms, mask).logits)

    def test_ctc_with_spec_augment(self, folder: Path) -> None:
        masking = {"mask_time_prob": 0.3, "mask_time_length": 2, "mask_feature_prob": 0.1, "mask_feature_length": 3}
        model = AutoModelForCTC.from_pretrained(folder, trust_remote_code=True, **masking).train()
        assert all(value > 0 for value in trained(model, 2, labels=CTC_LABELS))
        assert model.upstream.masked_spec_embed.isfinite().all()

    @pytest.mark.parametrize("weighted", [False, True], ids=["last-state", "weighted-sum"])
    def test_sequence_classification_learns(self, folder: Path, weighted: bool) -> None:
        model = loaded(folder, AutoModelForAudioClassification, num_labels=3, use_weighted_layer_sum=weighted)
        losses = trained(model, labels=torch.tensor([2, 0]))
        assert losses[-1] < 0.8 * losses[0]

    def test_frame_classification_learns(self, folder: Path) -> None:
        model = loaded(folder, AutoModelForAudioFrameClassification, num_labels=2)
        labels = torch.nn.functional.one_hot(torch.arange(36).view(2, 18) % 2, 2)
        losses = trained(model, labels=labels)
        assert losses[-1] < losses[0]

    def test_lora(self, exported: Any) -> None:
        peft = pytest.importorskip("peft", reason="peft is not installed")
        folder = exported(perturbed_model(pruned_shape(small_config("hubert"))))
        model = loaded(folder, AutoModelForCTC, vocab_size=9, ctc_loss_reduction="mean")
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
        adapted = peft.get_peft_model(model, config)
        names = [name for name, one in adapted.named_parameters() if one.requires_grad and "lora" in name]
        # Three of four layers have attention.
        assert len(names) == 3 * 2 * 2
        losses = trained(adapted, labels=CTC_LABELS)
        assert losses[-1] < losses[0]


class TestPipelines:
    def test_classification(self, folder: Path) -> None:
        model = loaded(folder, AutoModelForAudioClassification, num_labels=3)
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        classify = pipeline("audio-classification", model=model, feature_extractor=extractor)
        found = classify(padded_batch()[0][0].numpy(), top_k=3)
        assert sum(one["score"] for one in found) == pytest.approx(1)

    def test_recognition(self, folder: Path, tmp_path: Path) -> None:
        vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6}
        (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        model = loaded(folder, AutoModelForCTC, vocab_size=len(vocabulary))
        recognise = pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json")),
            feature_extractor=AutoFeatureExtractor.from_pretrained(folder),
        )
        assert isinstance(recognise(padded_batch()[0][0].numpy())["text"], str)
