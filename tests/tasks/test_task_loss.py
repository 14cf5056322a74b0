"""Training losses that tasks offer to compressors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch

from bench.contracts import OffersTaskLoss, Utterance
from bench.errors import UserError
from tasks.heads.task_loss import label_loss, sequence_loss
from tests.helpers.manifests import Write, entry_of, task_of

OFFERED = {
    "asr": ((5, 1, 7, 7), None),
    "pr": ((7, 1, 5, 10, 4), None),
    "ks": ((2,), (3,)),
    "sid": ((1,), (3,)),
    "er": ((1,), (3,)),
    "ic": ((1, 1, 1), (2, 2, 2)),
}


def _table(num: int, **columns: Any) -> pd.DataFrame:
    paths = [f"{index}.wav" for index in range(num)]
    return pd.DataFrame({"wav_path": paths, "num_samples": [16_000] * num, **columns})


class TestOffers:
    @pytest.mark.parametrize("name", OFFERED)
    def test_the_training_split_with_its_targets(
        self, name: str, rows_of: Callable[..., Any], write_manifest: Write
    ) -> None:
        task = task_of(name, max_train_utterances=None)
        assert isinstance(task, OffersTaskLoss)
        loss = task.task_loss(entry_of(name, write_manifest(rows_of(name))))
        assert loss.task == name
        assert len(loss.utterances) == 6
        assert all("train" in str(utterance.path) for utterance in loss.utterances)
        head = loss.head(3, 8)
        targets = torch.nn.utils.rnn.pad_sequence(
            [loss.targets(index) for index in range(3)], batch_first=True, padding_value=-1
        )
        states = [torch.randn(3, 60, 8, requires_grad=True) for _ in range(3)]
        value = head(states, torch.tensor([60, 50, 40]), targets)
        value.backward()
        assert value.isfinite()
        assert value > 0
        assert all(state.grad is not None and state.grad.abs().sum() > 0 for state in states)
        assert pickle.loads(pickle.dumps(loss)).identity == loss.identity

    def test_sf_offers_none(self, rows_of: Callable[..., Any], write_manifest: Write) -> None:
        with pytest.raises(UserError, match="Found sf"):
            task_of("sf").task_loss(entry_of("sf", write_manifest(rows_of("sf"))))


class TestLabels:
    def test_are_numbered_by_slot(self) -> None:
        loss = label_loss("ic", _table(3), [("on", "lamp"), ("off", "lamp"), ("on", "heat")])
        assert loss.num_classes == (2, 2)
        assert [loss.targets(index).tolist() for index in range(3)] == [[1, 1], [0, 1], [1, 0]]

    def test_padding_changes_nothing(self) -> None:
        loss = label_loss("ks", _table(2), [("a",), ("b",)])
        head = loss.head(2, 4)
        states, targets = [torch.randn(1, 9, 4) for _ in range(2)], torch.tensor([[1]])
        alone = head(states, torch.tensor([9]), targets)
        padded = head([torch.cat([state, torch.randn(1, 5, 4)], 1) for state in states], torch.tensor([9]), targets)
        torch.testing.assert_close(alone, padded)

    def test_segments_of_a_file_are_utterances(self) -> None:
        table = _table(2, start_sec=[None, 0.5], end_sec=[None, 0.75])
        loss = label_loss("ks", table, [("a",), ("b",)])
        assert [(each.start, each.num_samples) for each in loss.utterances] == [(0, 16_000), (8_000, 4_000)]
        assert isinstance(loss.utterances[0], Utterance)

    def test_other_labels_are_another_identity(self) -> None:
        one, other = (label_loss("ks", _table(2), [("a",), (last,)]) for last in ("b", "a"))
        assert one.identity != other.identity


class TestSequences:
    def test_leave_0_to_the_blank(self) -> None:
        loss = sequence_loss("asr", _table(2), ["AB", "BA C"])
        assert loss.num_symbols == 5
        assert [loss.targets(index).tolist() for index in range(2)] == [[2, 3], [3, 2, 1, 4]]

    def test_a_transcript_longer_than_its_frames_does_not_count(self) -> None:
        loss = sequence_loss("asr", _table(1), ["ABC"])
        value = loss.head(1, 4)([torch.randn(1, 2, 4)], torch.tensor([2]), loss.targets(0)[None])
        assert value.item() == 0
