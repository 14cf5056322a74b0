"""Published results on SUPERB, to compare with one's own."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import pandas as pd

from bench.contracts import Metric
from bench.leaderboard.score import SUPERB_ANCHORS, Scores, superb6_score, superb_score

SUPERB_SCORES = ("superb_score", "superb6_score")
"""Scores over many tasks that published rows have; the one over all ten tasks comes first."""
PUBLISHED = "published"
"""Preset and protocol of published rows, in tables."""
COMPRESSED_ELSEWHERE = "as published"
"""Compressor of published rows that are compressed models."""
FBANK = "FBANK"
"""The row of filter banks."""

SOURCES = {
    "D": "Peng et al., DPHuBERT, Interspeech 2023 (arXiv 2305.17651), table 1",
    "L": "SUPERB's leaderboard in 2023, as shown in the DPHuBERT repository (pyf98/DPHuBERT)",
    "A": "Jang et al., ARMHuBERT, the table in its repository (sungnyun/ARMHuBERT)",
    "S": "Jang et al., STaR, the table in the ARMHuBERT repository (sungnyun/ARMHuBERT)",
    "O": "SUPERB's leaderboard in 2022, as shown in the LightHuBERT repository (mechanicalsea/lighthubert)",
}
"""Meaning of the letters in the column ``sources``."""

METRICS = {
    task: tuple(
        Metric(name, anchors.state_of_the_art > anchors.fbank, primary=True) for name, anchors in metrics.items()
    )
    for task, metrics in SUPERB_ANCHORS.items()
}
"""Each task's metrics."""


class PublishedRow(NamedTuple):
    """One model as published. Its SUPERB score is computed from its task scores, see `bench.leaderboard.score`."""

    model: str
    params_m: float | None
    """Parameters in millions, as the authors count them."""
    macs_g: float | None
    """MACs in billions over SUPERB's 32 utterances, by its official profiler."""
    compression_audio_h: float | None
    """Hours of LibriSpeech that compression trained on, if the source says so."""
    scores: Scores
    """Test scores in percent, of all ten tasks."""
    superb_score_published: float | None
    """The score as printed; most papers print none."""
    sources: tuple[str, ...]
    """Letters of `SOURCES`."""


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Read the published rows, in the order of the file ``published.csv``."""
    with files("bench.leaderboard").joinpath("published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return tuple(_row(row) for _, row in table.iterrows())


def hubert_base_params() -> float:
    """Return the parameters of HuBERT Base, as published."""
    (found,) = (row.params_m for row in published_rows() if row.model == "HuBERT Base")
    return 1e6 * (found or 0)


def published_table() -> pd.DataFrame:
    """Return the published rows as a leaderboard; both SUPERB scores are computed from the task scores."""
    table = pd.DataFrame(
        [
            {
                "model": row.model,
                "compressor": "none" if row.compression_audio_h is None else COMPRESSED_ELSEWHERE,
                "params": None if row.params_m is None else round(row.params_m * 1e6),
                "macs_superb": None if row.macs_g is None else round(row.macs_g * 1e9),
                "preset": PUBLISHED,
                "data": "SUPERB",
                "protocol": PUBLISHED,
                **{
                    f"{task}_{metric}": value
                    for task, metrics in row.scores.items()
                    for metric, value in metrics.items()
                },
                "superb6_score": superb6_score(row.scores),
                "superb_score": superb_score(row.scores),
                "source": ";".join(row.sources),
                "ranking": PUBLISHED,
                "split": "test",
            }
            for row in published_rows()
        ]
    )
    return table.astype({"params": "Int64", "macs_superb": "Int64"})


def published_scores() -> pd.DataFrame:
    """Return the published rows as tidy scores, see `bench.leaderboard.shown_scores`. Filter banks are left out."""
    table = published_table()
    table = table[table["model"] != FBANK].assign(run=PUBLISHED, compressor=PUBLISHED)
    scores = [(task, metric) for task, metrics in METRICS.items() for metric in metrics]
    parts = [
        table.assign(
            task=task, metric=one.name, higher_is_better=one.higher_is_better, score=table[f"{task}_{one.name}"]
        )
        for task, one in scores
    ]
    parts += [table.assign(task="", metric=name, higher_is_better=True, score=table[name]) for name in SUPERB_SCORES]
    return pd.concat(parts, ignore_index=True).assign(
        label=lambda rows: rows["model"], is_teacher=False, is_published=True
    )


def _row(row: pd.Series) -> PublishedRow:
    return PublishedRow(
        model=row["model"],
        params_m=_number(row["params_m"]),
        macs_g=_number(row["macs_g"]),
        compression_audio_h=_number(row["compression_audio_h"]),
        scores={
            task: {metric: float(row[f"{task}_{metric}"]) for metric in metrics}
            for task, metrics in SUPERB_ANCHORS.items()
        },
        superb_score_published=_number(row["superb_score_published"]),
        sources=tuple(row["sources"].split(";")),
    )


def _number(cell: float) -> float | None:
    return None if pd.isna(cell) else float(cell)
