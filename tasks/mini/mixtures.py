"""Recordings of several speakers at once, as in LibriMix: the plan, and the audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.metrics.speaker_spans import TICKS_PER_S, merged, spans_text
from tasks.mini.acoustics import Waveform, audible_part, recorded, reverberated, rms, speech_from_pcm
from tasks.mini.delivery import Delivery
from tasks.mini.randomness import random_state
from tasks.mini.speakers import Speaker
from tasks.mini.synthesis import Speech
from tasks.mini.utterances import Utterance

TAIL_S = (0.05, 0.3)
"""Length of the recording after the last word."""


@dataclass(frozen=True)
class Remark:
    """Uninterrupted speech in a mixture."""

    text: str
    delivery: Delivery
    pause_s: float
    """Silence of this speaker before it."""


@dataclass(frozen=True)
class Source:
    """What one speaker says in a mixture. All speakers start at the beginning and take no notice of each other."""

    speaker: Speaker
    remarks: tuple[Remark, ...]
    level_db: float
    """Level of the speech."""
    reverberation_s: float
    """As in `tasks.mini.scenes.Scene`: every source has been recorded in a room of its own."""


@dataclass(frozen=True)
class Mixture(Utterance):
    """A recording of several speakers. The utterance's own speaker and delivery are None, and its scene has no room."""

    sources: tuple[Source, ...] = ()


def speakers_of(utterance: Utterance) -> tuple[Speaker, ...]:
    """Return the speakers of a recording, those of a mixture in the order of its sources."""
    if isinstance(utterance, Mixture):
        return tuple(source.speaker for source in utterance.sources)
    return (utterance.speaker,) if utterance.speaker else ()


def render_mixture(
    mixture: Mixture, speeches: Sequence[Speech], sample_rate_hz: int, seed: int
) -> tuple[NDArray[np.int16], str]:
    """Make a recording of synthesised speech.

    Args:
        mixture: the plan.
        speeches: its remarks, source by source.
        sample_rate_hz: their rate.
        seed: seed of the corpora.

    Returns:
        The audio, int16 at 16 kHz, shape (samples,), and who speaks when (see `tasks.metrics.speaker_spans`; a
        speaker's number is the position of the source).
    """
    remaining = iter(speeches)
    waveforms, spans = [], []
    for number, source in enumerate(mixture.sources):
        dry, spoken = _dry(source, [next(remaining) for _ in source.remarks], sample_rate_hz)
        wet = dry
        if source.reverberation_s:
            random = random_state(seed, mixture.path, "room", str(number))
            wet = reverberated(dry, random, source.reverberation_s)
        level = rms(np.concatenate([dry[start:end] for start, end in spoken]))
        waveforms.append(wet * (10 ** (source.level_db / 20) / level))
        spans.append(merged((_ticks(start), _ticks(end)) for start, end in spoken))
    random = random_state(seed, mixture.path, "recording")
    length = max(end for spoken in spans for _, end in spoken) * SAMPLE_RATE_HZ // TICKS_PER_S
    length += int(random.uniform(*TAIL_S) * SAMPLE_RATE_HZ)
    mixed = np.zeros(length)
    for waveform in waveforms:
        mixed[: len(waveform)] += waveform[:length]
    return recorded(mixed, mixture.scene, random, start=0, num_samples=length), spans_text(spans)


def _dry(source: Source, speeches: Sequence[Speech], sample_rate_hz: int) -> tuple[Waveform, Sequence[tuple[int, int]]]:
    """Join a source's remarks; return the speech, and the samples of each remark."""
    parts: list[Waveform] = []
    spoken = []
    position = 0
    for remark, speech in zip(source.remarks, speeches, strict=True):
        waveform = speech_from_pcm(speech.samples, sample_rate_hz, source.speaker.formant_scale)
        waveform = waveform[audible_part(waveform)]
        pause = int(remark.pause_s * SAMPLE_RATE_HZ)
        parts += [np.zeros(pause), waveform]
        spoken.append((position + pause, position + pause + len(waveform)))
        position += pause + len(waveform)
    return np.concatenate(parts), spoken


def _ticks(sample: int) -> int:
    return round(sample * TICKS_PER_S / SAMPLE_RATE_HZ)
