"""``bench compare``: which differences between models are real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bench.cli import options
from bench.cli.output import signed_percent
from bench.terminal.printing import print_json, print_rows
from bench.terminal.streams import print_line

if TYPE_CHECKING:
    from bench.comparison.bootstrap import Difference
    from bench.comparison.compare import Comparison, Score

THESE_MODELS = "these very models"
"""Column: the interval over resampled utterances only."""


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="A B..", help="Rows of the leaderboard, or DIR/cells/MODEL; each is compared with A."),
    ],
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--run", metavar="DIR", help="The run's folder [default: the newest in results/runs]."),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose utterances: test or dev.")] = "test",
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COLUMN", help="Resample whole speakers (or another column), not utterances."),
    ] = None,
    changes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="COLUMNS|all",
            help="Show what changed: which speakers, labels, durations or other columns of the data lost most.",
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="CSV", help="With --changes: write every utterance that changed."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,  # noqa: ARG001 - read before parsing
) -> int:
    """Compare models or methods: differences, with intervals over seeds and utterances, and p-values."""
    from bench.cli.changes import show_changes
    from bench.comparison.bootstrap import MIN_UNITS
    from bench.comparison.compare import compare as compare_rows
    from bench.comparison.rows import find_rows
    from bench.errors import UserError
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE
    from bench.terminal.choices import one_of

    split = one_of(split, ("test", "dev"), "--split")
    if out and not changes:
        raise UserError("--out writes the utterances that changed. Add --changes all, or leave it out.")
    if by and changes:
        raise UserError("--by does not go with --changes, which takes utterances one by one. Leave one of them out.")
    rows = find_rows(models, run, Path("results") / "runs")
    if changes:
        show_changes(rows, split, changes, out, as_json=json)
        return 0
    found = compare_rows(rows, split, by)  # type: ignore[arg-type]
    if json:
        print_json([_as_json(comparison, split) for comparison in found])
        return 0
    shown = [_for_the_eye(comparison) for comparison in found]
    if not any(row[THESE_MODELS] for row in shown):
        shown = [{name: text for name, text in row.items() if name != THESE_MODELS} for row in shown]
    print_rows(shown, f"{split}, in percent")
    for line in dict.fromkeys(note for one in found for note in _notes(one, MIN_UNITS)):
        print_line(line)
    if any(one.preset == SMOKE for one in found):
        print_line(SMOKE_NOTE)
    print_line("* the interval excludes 0; ** after Holm's correction over all lines of the two rows")
    return 0


def _notes(comparison: Comparison, min_units: int) -> list[str]:
    """Explain what the intervals of a comparison cover, and what they leave out."""
    notes = []
    if not comparison.is_ratio_of_counts:
        return [
            f"{comparison.task} {comparison.metric} is no sum over utterances, which cannot be resampled: its interval "
            "is over the seeds, on these very trials, and one seed gives none"
        ]
    if comparison.too_few:
        notes.append(f"no interval where fewer than {min_units} {comparison.unit}s were resampled: too narrow")
    elif len(comparison.seeds) == 1:
        notes.append("one seed: the comparison is about these very models and heads only, not about methods")
    elif comparison.single_models:
        names = ", ".join(comparison.single_models)
        notes.append(f"one compression ({names}): the comparison is about these very models only, not about methods")
    if not comparison.has_predictions:
        notes.append("no predictions: the intervals are over the seeds, on these very utterances")
    return notes


def _for_the_eye(comparison: Comparison) -> dict[str, str]:
    difference = comparison.difference
    num_seeds = f", {len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 and comparison.has_predictions else ""
    return {
        "task": comparison.task,
        "metric": comparison.metric,
        "A": f"{comparison.first} {_score(comparison.first_score)}",
        "B": f"{comparison.other} {_score(comparison.other_score)}",
        "B - A": signed_percent(difference.value),
        "95 % interval": comparison.too_few or _interval(difference),
        "p": f"{difference.p_value:.4f}" if difference.has_interval else "",
        "real": "**" if comparison.is_real_after_holm else "*" if comparison.better else "",
        "better": comparison.better or "",
        THESE_MODELS: _interval(comparison.these_models),
        "from": f"{comparison.num_units} {comparison.unit}s{num_seeds}",
    }


def _interval(difference: Difference) -> str:
    if not difference.has_interval:
        return ""
    return f"{signed_percent(difference.low)} to {signed_percent(difference.high)}"


def _score(score: Score) -> str:
    return f"{100 * score.mean:.2f}" + ("" if score.std is None else f" ± {100 * score.std:.2f}")


def _ends(difference: Difference) -> list[float] | None:
    return [difference.low, difference.high] if difference.has_interval else None


def _as_json(comparison: Comparison, split: str) -> dict[str, Any]:
    from bench.leaderboard.collate import SMOKE
    from bench.leaderboard.notes import SMOKE_NOTE

    difference = comparison.difference
    return {
        "task": comparison.task,
        "metric": comparison.metric,
        "split": split,
        "a": comparison.first,
        "b": comparison.other,
        "a_score": comparison.first_score.mean,
        "a_std": comparison.first_score.std,
        "b_score": comparison.other_score.mean,
        "b_std": comparison.other_score.std,
        "seeds": list(comparison.seeds),
        "difference": difference.value,
        "about": "methods" if comparison.is_about_methods else "these models",
        "interval": _ends(difference),
        "interval_these_models": _ends(comparison.these_models),
        "p_value": difference.p_value if difference.has_interval else None,
        "p_holm": comparison.p_holm if difference.has_interval else None,
        "is_real": comparison.better is not None,
        "is_real_after_holm": comparison.is_real_after_holm,
        "better": comparison.better,
        "resampled": comparison.unit,
        "num_resampled": comparison.num_units,
        "too_few": bool(comparison.too_few),
        "note": SMOKE_NOTE if comparison.preset == SMOKE else None,
    }
