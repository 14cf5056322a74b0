"""Scores of all probes, their standard errors, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from difficulty.features import FBANK, RANDOM
from difficulty.items import TASKS
from difficulty.probes import CHANCE, SUPERVISED, Scored
from difficulty.scoring import LOWER_IS_BETTER, mean_counts, resampled_weights

Scores = Mapping[str, Sequence[Scored]]
"""By probe, what each of its seeds scored."""


def gaps_of(upstreams: Sequence[str]) -> list[tuple[str, str]]:
    """Say which probe is to be better than which; every upstream than filter banks, random weights and its layer 0."""
    pairs = [(FBANK, CHANCE), (SUPERVISED, FBANK), (SUPERVISED, RANDOM)]
    return pairs + [(upstream, worse) for upstream in upstreams for worse in (FBANK, RANDOM, f"{upstream} layer 0")]


def score_rows(task: str, scores: Scores, speakers: Sequence[str]) -> list[dict[str, object]]:
    """Sum a task up, a row a metric and probe.

    Args:
        task: its name.
        scores: of its probes.
        speakers: of the test utterances; empty for noise alone.

    Returns:
        Rows with the score (mean over seeds, as a fraction), its standard errors over utterances and over speakers
        (bootstrap), its standard deviation over seeds, and what was tested.
    """
    by_utterance, by_speaker = resampled_weights([""] * len(speakers)), resampled_weights(speakers)
    rows: list[dict[str, object]] = []
    for probe, seeds in scores.items():
        for metric in seeds[0]:
            mean = mean_counts([scored[metric] for scored in seeds])
            per_seed = [scored[metric].score() for scored in seeds]
            rows.append(
                {
                    "task": task,
                    "metric": metric,
                    "probe": probe,
                    "score": mean.score(),
                    "se_utterances": mean.resampled_scores(by_utterance).std(),
                    "se_speakers": mean.resampled_scores(by_speaker).std(),
                    "sd_seeds": np.std(per_seed, ddof=1) if len(per_seed) > 1 else None,
                    "num_seeds": len(per_seed),
                    "num_test_utterances": len(speakers),
                    "num_test_speakers": len(set(speakers) - {""}),
                }
            )
    return rows


def gap_rows(task: str, scores: Scores, speakers: Sequence[str], upstreams: Sequence[str]) -> list[dict[str, object]]:
    """Say how far probes are apart, in standard errors of the difference over the same speakers, a row a metric."""
    weights = resampled_weights(speakers)
    means = {
        (probe, metric): mean_counts([scored[metric] for scored in seeds])
        for probe, seeds in scores.items()
        for metric in seeds[0]
    }
    rows: list[dict[str, object]] = []
    for metric in dict.fromkeys(metric for _, metric in means):
        row: dict[str, object] = {"task": task, "metric": metric}
        for better, worse in gaps_of(upstreams):
            if better in scores and worse in scores:
                upper, lower = means[better, metric], means[worse, metric]
                gap = upper.score() - lower.score()
                error = (upper.resampled_scores(weights) - lower.resampled_scores(weights)).std()
                row[f"{better} - {worse}"] = round((-gap if metric in LOWER_IS_BETTER else gap) / error, 1)
        rows.append(row)
    return rows


def score_table(rows: Sequence[Mapping[str, object]], probes: Sequence[str]) -> pd.DataFrame:
    """Lay out scores in percent, a probe a column in this order, each with the larger of its two standard errors."""
    table = pd.DataFrame(rows)
    errors = table[["se_utterances", "se_speakers"]].max(axis=1)
    table["cell"] = [f"{100 * score:.1f} ± {100 * error:.1f}" for score, error in zip(table.score, errors, strict=True)]
    keys = ["task", "metric", "num_test_utterances", "num_test_speakers"]
    wide = table.pivot(index=keys, columns="probe", values="cell").fillna("")
    wide = wide[[probe for probe in probes if probe in wide.columns]].reset_index()
    return wide.sort_values("task", key=lambda tasks: tasks.map(TASKS.index), kind="stable")


def markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown."""
    rows = [[str(name) for name in table.columns], ["---"] * len(table.columns)]
    rows += [[str(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
