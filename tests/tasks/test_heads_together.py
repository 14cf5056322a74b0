"""Pooled heads that are trained at once: each equals the head that is trained alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from bench.cli.choices import resolved_run
from bench.contracts import Context, Evaluation
from bench.runs.run import Run
from bench.runs.single import run_item
from tasks.bridge import together
from tasks.bridge.stacked_heads import StackedHeads, Table
from tests.helpers.manifests import Write, entry_of, task_of

SHORT = {"total_steps": 12, "batch_size": 4, "eval_interval_steps": 4, "save_interval_steps": 2}
SLOTS = (4, 3)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of heads in every stack that is made."""
    made: list[int] = []
    init = StackedHeads.__init__

    def noting(self: StackedHeads, heads: Any, *rest: Any) -> None:
        made.append(len(heads))
        init(self, heads, *rest)

    monkeypatch.setattr(StackedHeads, "__init__", noting)
    return made


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the features too large for memory, so that s3prl's own loop trains every head."""
    return lambda: monkeypatch.setattr(together, "MOST_BYTES", {"cpu": 0})


def s3prl_head(seed: int, num_states: int) -> nn.Module:
    """Make s3prl's model on features of 6 dimensions."""
    from s3prl.nn.linear import MeanPoolingLinear
    from s3prl.nn.upstream import Featurizer, UpstreamDownstreamModel

    from tasks.feature_cache.upstream import CachedUpstream

    shape = {"num_layers": num_states, "hidden_sizes": [6] * num_states, "downsample_rates": [320] * num_states}
    upstream = CachedUpstream(SimpleNamespace(**shape))
    torch.manual_seed(seed)
    return UpstreamDownstreamModel(upstream, Featurizer(upstream), MeanPoolingLinear(6, sum(SLOTS), 5)).double()


class TestStackedHeads:
    """In double precision, against s3prl's model and PyTorch's own loss, clipping and Adam."""

    rates = (1e-3, 1e-2, 1e-1)

    @pytest.fixture(params=[1, 3])
    def means(self, request: pytest.FixtureRequest) -> Tensor:
        torch.manual_seed(0)
        # Large enough for gradients to be clipped.
        return 5 * torch.randn(20, request.param, 6, dtype=torch.float64)

    @pytest.fixture
    def classes(self) -> Tensor:
        return torch.stack([torch.arange(20) % size for size in SLOTS], dim=1)

    @pytest.fixture
    def batches(self) -> list[list[Tensor]]:
        """Positions for every step and head."""
        torch.manual_seed(1)
        return [[torch.randint(20, (8,)) for _ in self.rates] for _ in range(30)]

    def stacked(self, means: Tensor, rates: Sequence[float]) -> StackedHeads:
        heads = [s3prl_head(seed, means.shape[1]) for seed in range(len(rates))]
        return StackedHeads(heads, [None] * len(rates), rates, SLOTS, 1.0)

    def alone(self, number: int, means: Tensor, classes: Tensor, batches: list[list[Tensor]]) -> nn.Module:
        head = s3prl_head(number, means.shape[1])
        optimizer = torch.optim.Adam(head.parameters(), lr=self.rates[number])
        for step in batches:
            for half in step[number].split(4):
                # Features of one frame, as the cache gives them. `CachedUpstream` makes them float32.
                head.upstream.forward = lambda wavs, lengths: (list(wavs.unbind(2)), [lengths] * wavs.shape[2])  # type: ignore[method-assign,union-attr]
                logits = head(means[half][:, None], torch.ones(4, dtype=torch.long))
                slots = logits.split(SLOTS, dim=1)
                loss = sum(functional.cross_entropy(slot, right) for slot, right in zip(slots, classes[half].T))  # noqa: B905
                (loss / 2).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return head

    def test_each_equals_the_head_trained_alone(self, means: Tensor, classes: Tensor, batches: Any) -> None:
        stack, table = self.stacked(means, self.rates), Table(means, classes)
        for step in batches:
            stack.step(table, torch.stack(step), torch.full((8,), 1 / 8, dtype=torch.float64))
        for number in range(len(self.rates)):
            head = self.alone(number, means, classes, batches)
            weights = stack.weights_of(number)
            assert weights.keys() == head.state_dict().keys()
            for name, weight in head.state_dict().items():
                torch.testing.assert_close(weights[name], weight, rtol=1e-9, atol=1e-12)

    def test_means_are_held_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        utterances = [{"x": torch.full((1, 3, 4), float(number)), "class_id": 0} for number in range(10)]
        with monkeypatch.context() as patch:
            patch.setattr(together, "Table", lambda means, _: means)
            by_state = together._table(utterances, "cpu").transpose(0, 1)  # type: ignore[attr-defined]
        assert by_state.is_contiguous()
        assert (by_state[:, 7] == 7.0).all()
        table = Table(by_state.transpose(0, 1), torch.zeros(10, 1, dtype=torch.long))
        by_state.fill_(2.0)
        assert (table.means(torch.tensor([[7, 1]])) == 2.0).all()

    def test_nan_in_one_leaves_the_others_alone(self, classes: Tensor, batches: Any, means: Tensor) -> None:
        def trained(rates: Sequence[float], *, broken: bool) -> StackedHeads:
            stack, table = self.stacked(means, rates), Table(means, classes)
            for number, step in enumerate(batches):
                if broken and number == 3:
                    stack._weights[1] = float("nan")
                stack.step(table, torch.stack(step), torch.full((8,), 1 / 8, dtype=torch.float64))
            return stack

        whole, broken = trained(self.rates, broken=False), trained(self.rates, broken=True)
        for number in (0, 2):
            for name, weight in whole.weights_of(number).items():
                assert torch.equal(broken.weights_of(number)[name], weight)
        # s3prl leaves out a step whose gradient is not a number: Adam has counted the three steps before.
        assert [broken.optimizer_of(number).steps for number in range(3)] == [30, 3, 30]
        losses, correct = broken.evaluate(Table(means, classes), torch.arange(20), torch.full((20,), 1 / 20).double())
        assert torch.isfinite(losses).tolist() == [True, False, True]
        assert correct.tolist()[0] > 0


@pytest.fixture
def evaluate(rows_of: Any, write_manifest: Write, upstream: Any, tmp_path: Path) -> Callable[..., Evaluation]:
    """Evaluate a task on a small manifest, as one of three cells of a run."""
    entries: dict[str, Any] = {}

    def evaluate_cell(name: str, run: str, seed: int = 0, seeds: Sequence[int] = (0, 1, 2), **changes: Any) -> Any:
        if name not in entries:
            entries[name] = entry_of(name, write_manifest(rows_of(name)))
        workdirs = {one: tmp_path / run / f"seed{one}" for one in seeds}
        context = Context(seed=seed, shared_workdir=tmp_path / run / "shared", seed_workdirs=workdirs)
        task = task_of(name, **{**SHORT, "learning_rates": (1e-3, 1e-1), **changes})
        return task.evaluate(upstream, entries[name], workdirs[seed], context)

    return evaluate_cell


def newest_head(folder: Path) -> dict[str, Tensor]:
    newest = max((folder / "s3prl" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    return dict(torch.load(newest / "model" / "state_dict.pt", weights_only=True))


def assert_same_head(one: Path, other: Path) -> None:
    heads = newest_head(one), newest_head(other)
    assert heads[0].keys() == heads[1].keys()
    for name, weight in heads[0].items():
        torch.testing.assert_close(weight, heads[1][name], rtol=1e-4, atol=1e-6)


class TestCells:
    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("ks", {"learning_rate": "auto"}),
            ("ic", {"learning_rate": "auto"}),
            ("er", {"learning_rate": 1e-2, "gradient_accumulation_steps": 3}),
            # With a worker, PyTorch draws another order of the batches.
            ("sid", {"learning_rate": 1e-2, "num_workers": 1}),
        ],
    )
    def test_equal_those_trained_one_by_one(
        self, evaluate: Any, one_by_one: Any, name: str, changes: dict[str, Any], tmp_path: Path, stacks: list[int]
    ) -> None:
        at_once = [evaluate(name, "together", seed, **changes) for seed in (0, 1, 2)]
        assert stacks == ([2, 2] if "auto" in changes.values() else [3])
        one_by_one()
        alone = [evaluate(name, "alone", seed, **changes) for seed in (0, 1, 2)]
        for ours, theirs in zip(at_once, alone, strict=True):
            assert ours.scores == theirs.scores
            assert ours.predictions == theirs.predictions
            assert ours.settings.keys() == theirs.settings.keys()
            assert ours.settings["learning_rate"] == theirs.settings["learning_rate"]
            assert ours.settings.get("learning_rate_search") == theirs.settings.get("learning_rate_search")
        assert_same_head(tmp_path / "together" / "seed2", tmp_path / "alone" / "seed2")

    def test_the_first_cell_trains_those_of_the_other_seeds(self, evaluate: Any, stacks: list[int]) -> None:
        evaluate("ks", "run", seed=1, learning_rate=1e-2)
        assert stacks == [3]
        evaluate("ks", "run", seed=0, seeds=(0, 2), learning_rate=1e-2)
        evaluate("ks", "run", seed=2, seeds=(2,), learning_rate=1e-2)
        assert stacks == [3]

    def test_a_cell_of_its_own_trains_its_own(self, evaluate: Any, stacks: list[int], tmp_path: Path) -> None:
        evaluate("ks", "run", seed=1, seeds=(1,), learning_rate="auto")
        assert stacks == [2, 1]

    def test_without_room_in_memory_each_is_trained_alone(self, evaluate: Any, one_by_one: Any, stacks: Any) -> None:
        one_by_one()
        assert evaluate("ks", "run", learning_rate=1e-2).scores["test"]
        assert stacks == []


class TestInterruptions:
    @pytest.fixture(autouse=True)
    def every_checkpoint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(together, "SAVE_INTERVAL_S", 0.0)

    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Number of heads at every step."""
        made: list[int] = []
        step = StackedHeads.step

        def noting(self: StackedHeads, *rest: Any) -> None:
            made.append(len(self))
            step(self, *rest)

        monkeypatch.setattr(StackedHeads, "step", noting)
        return made

    def assert_same_heads(self, tmp_path: Path) -> None:
        for seed in (0, 1, 2):
            ours, theirs = (newest_head(tmp_path / run / f"seed{seed}") for run in ("killed", "straight"))
            assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())

    @pytest.mark.parametrize("killed_at", [1, 3, 6, 12])
    def test_killed_at_any_step_it_ends_as_if_it_had_not_been(
        self, evaluate: Any, monkeypatch: pytest.MonkeyPatch, steps: list[int], tmp_path: Path, killed_at: int
    ) -> None:
        straight = evaluate("sid", "straight", learning_rate=1e-2)
        noting = StackedHeads.step
        steps.clear()

        def killed(self: StackedHeads, *rest: Any) -> None:
            if len(steps) + 1 == killed_at:
                raise KeyboardInterrupt
            noting(self, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(StackedHeads, "step", killed)
            with pytest.raises(KeyboardInterrupt):
                evaluate("sid", "killed", learning_rate=1e-2)
        steps.clear()
        assert evaluate("sid", "killed", learning_rate=1e-2) == straight
        assert len(steps) == 12 - (killed_at - 1) // 2 * 2
        self.assert_same_heads(tmp_path)

    def test_killed_between_two_checkpoints_heads_catch_up(
        self, evaluate: Any, monkeypatch: pytest.MonkeyPatch, steps: list[int], tmp_path: Path
    ) -> None:
        straight = evaluate("sid", "straight", learning_rate=1e-2)
        committed: list[Path] = []
        commit = together.commit

        def killed(checkpoints: Any, draft: Path) -> None:
            # The first head has the checkpoint of step 6, the others that of step 4.
            if len(committed) == 7:
                raise KeyboardInterrupt
            committed.append(draft)
            commit(checkpoints, draft)

        with monkeypatch.context() as patch:
            patch.setattr(together, "commit", killed)
            with pytest.raises(KeyboardInterrupt):
                evaluate("sid", "killed", learning_rate=1e-2)
        steps.clear()
        assert evaluate("sid", "killed", learning_rate=1e-2) == straight
        assert steps == [2, 2, *[3] * 6]
        self.assert_same_heads(tmp_path)

    def test_a_seed_that_joins_catches_up(
        self, evaluate: Any, monkeypatch: pytest.MonkeyPatch, steps: list[int], tmp_path: Path
    ) -> None:
        evaluate("sid", "straight", learning_rate=1e-2)
        noting = StackedHeads.step

        def killed(self: StackedHeads, *rest: Any) -> None:
            if len(steps) == 12 + 8:
                raise KeyboardInterrupt
            noting(self, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(StackedHeads, "step", killed)
            with pytest.raises(KeyboardInterrupt):
                evaluate("sid", "killed", seeds=(0, 1), learning_rate=1e-2)
        steps.clear()
        evaluate("sid", "killed", learning_rate=1e-2)
        assert steps == [*[1] * 8, *[3] * 4]
        self.assert_same_heads(tmp_path)


class TestRuns:
    @pytest.fixture
    def config(self, rows_of: Any, write_manifest: Write, tmp_path: Path) -> Any:
        data_file = tmp_path / "own.yaml"
        data_file.write_text(yaml.safe_dump({"tasks": {"ks": {"manifest": str(write_manifest(rows_of("ks")))}}}))
        return resolved_run(
            models="random:mini-hubert",
            tasks="ks",
            data=str(data_file),
            preset="smoke",
            seeds="0,1,2",
            assignments=[f"tasks.ks.{name}={value}" for name, value in SHORT.items()],
        )

    def test_one_stack_holds_the_seeds_of_a_row(self, config: Any, tmp_path: Path, stacks: list[int]) -> None:
        assert Run(config, tmp_path / "run", "cpu").execute().failures == {}
        assert stacks == [3]
        assert len(list((tmp_path / "run" / "cells").glob("*/*.json"))) == 3

    def test_items_that_are_done_one_by_one_share_a_stack(self, config: Any, tmp_path: Path, stacks: list[int]) -> None:
        run = Run(config, tmp_path / "run", "cpu")
        labels = [item.label for item in run.begin().work.items()]
        for label in labels:
            assert run_item(tmp_path / "run", label, "cpu").kind == "done"
        assert stacks == [3]
