"""The diarisation error rate (DER), as SUPERB scores it: without a collar, and with overlapping speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.counts import Counts
from tasks.metrics.speaker_spans import Spans, merged, spans_of_text, ticks


def der_counts(reference: str, prediction: str) -> Counts:
    """Count a recording's wrong and spoken time, in hundredths of a second; see `tasks.metrics.speaker_spans`."""
    true, predicted = spans_of_text(reference), spans_of_text(prediction)
    return {"der": [wrong_ticks(true, predicted), spoken_ticks(true)]}


def spoken_ticks(speakers: Sequence[Spans]) -> int:
    """Sum the speech of all speakers."""
    return sum(end - start for spans in speakers for start, end in spans)


def wrong_ticks(reference: Sequence[Spans], prediction: Sequence[Spans]) -> int:
    """Sum missed speech, false alarms and speech of the wrong speaker.

    At any time, that is the larger of the two numbers of speakers, minus the speakers whom both agree on. Predicted
    speakers are assigned to those of the reference as is best for the whole recording.

    Source: NIST, RT-09 evaluation plan; ``md-eval.pl``, which s3prl calls through dscore with a collar of 0.
    """
    true, predicted = _active(reference, prediction)
    agreed = int(_shared(true, predicted)[_assigned(true, predicted)].sum())
    return int(np.maximum(true.sum(axis=0), predicted.sum(axis=0)).sum()) - agreed


def in_order_of(reference: Sequence[Spans], prediction: Sequence[Spans]) -> list[Spans]:
    """Order predicted speakers like the speakers of the reference that they are assigned to."""
    true, predicted = _active(reference, prediction)
    position = dict(zip(*(each.tolist() for each in _assigned(true, predicted)), strict=True))
    others = iter(number for number in range(len(prediction)) if number not in position.values())
    order = [position.get(number, -1) for number in range(len(reference))]
    return [prediction[number] if number >= 0 else [] for number in order] + [prediction[number] for number in others]


def _assigned(reference: NDArray[np.int64], prediction: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs of a speaker of the reference and a predicted one that share the most time in all."""
    # Takes a third of a second to import, which listing tasks does not need.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(_shared(reference, prediction), maximize=True)
    return rows, columns


def _shared(reference: NDArray[np.int64], prediction: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time that each pair of speakers shares."""
    shared: NDArray[np.int64] = reference @ prediction.T
    return shared


def _active(*sides: Sequence[Spans]) -> tuple[NDArray[np.int64], ...]:
    """Return for each side who speaks at every tick: (speakers, ticks), 0 or 1."""
    num_ticks = max((end for speakers in sides for spans in speakers for _, end in spans), default=0)
    found = tuple(np.zeros((len(speakers), num_ticks), np.int64) for speakers in sides)
    for active, speakers in zip(found, sides, strict=True):
        for row, spans in zip(active, speakers, strict=True):
            for start, end in spans:
                row[start:end] = 1
    return found


def predicted_spans(
    probabilities: NDArray[np.float32], threshold: float, median_filter: int, stride_s: float
) -> list[Spans]:
    """Turn the probability that a speaker is active into the times when it is.

    Source: s3prl 0.4.18, ``make_rttm``.

    Args:
        probabilities: (frames, speakers).
        threshold: a speaker is active in frames above it.
        median_filter: number of frames of a median filter over these decisions; 1 for none.
        stride_s: length of a frame.
    """
    from scipy.signal import medfilt

    active = (probabilities > threshold).astype(np.float64)
    if median_filter > 1:
        active = medfilt(active, (median_filter, 1))
    speakers = []
    for frames in active.T:
        (changes,) = np.where(np.diff(np.pad(frames, (1, 1))) != 0)
        pairs = zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)
        starts = ((ticks(start * stride_s), ticks((end - start) * stride_s)) for start, end in pairs)
        speakers.append(merged((start, start + length) for start, length in starts))
    return speakers
