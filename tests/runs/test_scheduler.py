"""Which item comes next."""

from __future__ import annotations

from bench.runs.scheduler import next_item
from bench.runs.states import Kind, State
from bench.runs.work import Compress, Evaluate, Item, Model

PRUNED = Compress("pruned", "prune-only")
STACK = Compress("pruned+int8", "prune-only+int8", part=PRUNED)
OTHER = Compress("other", "low-rank")
TEACHER = Model("teacher", "teacher", (0, 1))
STUDENT = Model("other", "other", (0,), OTHER)


def states(*given: tuple[Item, Kind]) -> dict[Item, State]:
    return {item: State(kind) for item, kind in given}


def cells(model: Model, kind: Kind = "ready") -> list[tuple[Item, Kind]]:
    return [(Evaluate(model, task, seed), kind) for task in ("ks", "asr") for seed in model.seeds]


def test_nothing_is_next_where_nothing_is_ready() -> None:
    assert next_item({}) is None
    assert (
        next_item(states((PRUNED, "running"), (STACK, "blocked"), (OTHER, "failed"), *cells(TEACHER, "done"))) is None
    )


def test_what_unblocks_most_comes_first() -> None:
    blocked = [*cells(STUDENT, "blocked"), (Evaluate(Model("p", "p", (0,), STACK), "ks", 0), "blocked")]
    given = states((OTHER, "ready"), (PRUNED, "ready"), (STACK, "blocked"), *cells(TEACHER), *blocked)
    # The stack and its cell wait for PRUNED; the two cells of the student for OTHER: a draw, which the order decides.
    assert next_item(given) == OTHER
    more = {**given, Evaluate(Model("q", "q", (0,), STACK), "ks", 0): State("blocked")}
    assert next_item(more) == PRUNED


def test_a_compression_comes_before_cells() -> None:
    assert next_item(states(*cells(TEACHER), (OTHER, "ready"), *cells(STUDENT, "blocked"))) == OTHER


def test_what_is_claimed_is_skipped() -> None:
    given = states((PRUNED, "running"), (OTHER, "ready"), *cells(TEACHER))
    assert next_item(given) in (OTHER, *(item for item, _ in cells(TEACHER)))
    assert next_item(states((PRUNED, "running"), (STACK, "blocked"), *cells(TEACHER))) == Evaluate(TEACHER, "ks", 0)


def test_cells_whose_features_another_process_computes_come_last() -> None:
    given = states(*cells(TEACHER))
    given[Evaluate(TEACHER, "ks", 0)] = State("running")
    assert next_item(given) == Evaluate(TEACHER, "asr", 0)
    given[Evaluate(TEACHER, "asr", 0)] = State("running")
    assert next_item(given) == Evaluate(TEACHER, "ks", 1)


def test_the_model_in_memory_goes_on() -> None:
    given = states(*cells(TEACHER), *cells(STUDENT))
    assert next_item(given, Evaluate(STUDENT, "ks", 0)) == Evaluate(STUDENT, "ks", 0)
    assert next_item(given, Evaluate(TEACHER, "ks", 0)) == Evaluate(TEACHER, "ks", 0)
    assert next_item(given, OTHER) == Evaluate(TEACHER, "ks", 0)
