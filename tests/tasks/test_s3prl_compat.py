"""The shims do what s3prl relied on, and no more."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest
import torch

from tasks.bridge import s3prl_compat


class TestEffects:
    def test_superb_keyword_spotting_chain(self) -> None:
        stereo = torch.stack([torch.full((1600,), 0.5), torch.full((1600,), 0.1)])
        mono, rate = s3prl_compat.apply_effects_tensor(
            stereo, 16_000, [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]
        )
        assert rate == 16_000
        # -3 dB is a factor of 0.70795 in amplitude.
        torch.testing.assert_close(mono, torch.full((1, 1600), 0.3 * 0.70795), rtol=1e-4, atol=0)

    def test_rate_changes_the_number_of_samples(self) -> None:
        waveform, rate = s3prl_compat.apply_effects_tensor(torch.zeros(1, 800), 8_000, [["rate", "16000"]])
        assert (rate, waveform.shape) == (16_000, (1, 1600))

    def test_gain_clips_at_full_scale(self) -> None:
        waveform, _ = s3prl_compat.apply_effects_tensor(torch.tensor([[0.9, -0.9]]), 16_000, [["gain", "6"]])
        assert waveform.tolist() == [[1.0, -1.0]]

    @pytest.mark.parametrize("effect", [["reverb"], ["channels", "2"], ["gain", "-n", "-3"]])
    def test_other_effects_are_refused(self, effect: list[str]) -> None:
        with pytest.raises(NotImplementedError, match=effect[0]):
            s3prl_compat.apply_effects_tensor(torch.zeros(1, 4), 16_000, [effect])


class TestTables:
    def test_words_that_pandas_takes_for_nothing_stay_words(self, tmp_path: Path) -> None:
        words = ["NULL", "NA", "nan", "None", "007", "1.0", 'SAY "A, B"', " A ", ""]
        table = s3prl_compat.pd.DataFrame({"id": [f"{n:02d}" for n in range(len(words))], "transcription": words})
        table.to_csv(tmp_path / "t.csv", index=False)
        read = s3prl_compat.read_csv(tmp_path / "t.csv")
        assert read["transcription"].tolist() == words
        assert read["id"].tolist() == table["id"].tolist()

    def test_times_are_numbers_and_nan_where_empty(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("id,start_sec,end_sec\na,,\nb,1,1.5\n")
        read = s3prl_compat.read_csv(tmp_path / "t.csv")
        assert read["start_sec"].isna().tolist() == [True, False]
        assert read["end_sec"].tolist()[1] == 1.5

    def test_lengths_are_those_of_the_dataset(self) -> None:
        class Dataset:
            num_samples = (10, 20)

        assert s3prl_compat.known_lengths(Dataset(), ["x_len"], Path("elsewhere")) == (10, 20)
        with pytest.raises(NotImplementedError):
            s3prl_compat.known_lengths(Dataset(), ["wav"])


@pytest.mark.parametrize(
    ("module", "name"),
    [("s3prl.problem.common.superb_ks", "SuperbKS"), ("s3prl.problem.asr.superb_asr", "SuperbASR")],
)
def test_recipes_import_without_what_they_do_not_need(module: str, name: str) -> None:
    recipe = s3prl_compat.recipe_class(module, name)
    assert recipe.__name__ == name
    assert not {"sed_eval", "s3prl.upstream.hubert.hubconf", "s3prl.problem.common.hear_esc50"} & set(sys.modules)


def test_training_writes_no_summary_and_starts_no_thread_for_it(tmp_path: Path) -> None:
    s3prl_compat.install()
    before = threading.enumerate()
    writer = importlib.import_module("s3prl.problem.base").SummaryWriter(str(tmp_path / "tb"))
    writer.add_scalar("train-loss", 1.0, global_step=5)
    assert threading.enumerate() == before
    writer.close()
    assert list(tmp_path.iterdir()) == []
