"""From a plan to audio files: synthesis in other processes, acoustics in this one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

import numpy as np
import soundfile
from numpy.random import RandomState
from numpy.typing import NDArray

from bench.audio import SAMPLE_RATE_HZ
from tasks.mini.acoustics import recorded, speech_from_pcm
from tasks.mini.manifest import ManifestRow
from tasks.mini.randomness import random_state
from tasks.mini.speakers import Speaker
from tasks.mini.synthesis import Request, Synthesizer
from tasks.mini.utterances import Utterance


def generate(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    seed: int,
    num_processes: int,
    advance: Callable[[], None],
) -> list[ManifestRow]:
    """Make every recording; the result does not depend on the number of processes.

    Args:
        utterances: what to record.
        folder: where the corpus lies; made if needed.
        seed: of the corpora.
        num_processes: synthesiser processes, each fed by a thread that also does the acoustics.
        advance: called once a recording, from any thread.

    Returns:
        The manifest, in the utterances' order.
    """
    for parent in {folder / Path(utterance.path).parent for utterance in utterances}:
        parent.mkdir(parents=True, exist_ok=True)
    num_processes = max(1, min(num_processes, len(utterances)))
    rows: list[ManifestRow | None] = [None] * len(utterances)
    stop = Event()

    def make_share(share: int) -> None:
        mine = utterances[share::num_processes]
        requests = (request_of(utterance, utterance.speaker, seed) for utterance in mine if utterance.speaker)
        with Synthesizer() as synthesizer:
            spoken = synthesizer.synthesize(requests)
            for index, utterance in enumerate(mine):
                if stop.is_set():
                    return
                pcm = next(spoken) if utterance.speaker else None
                samples = render(utterance, pcm, synthesizer.sample_rate_hz, seed)
                rows[share + index * num_processes] = _write(utterance, samples, folder)
                advance()

    with ThreadPoolExecutor(num_processes) as pool:
        shares = [pool.submit(make_share, share) for share in range(num_processes)]
        try:
            for finished in as_completed(shares):
                finished.result()
        finally:
            stop.set()
    return [row for row in rows if row is not None]


def request_of(utterance: Utterance, speaker: Speaker, seed: int) -> Request:
    """Say how the speaker says it this time: nobody says a thing twice alike."""
    random = random_state(seed, utterance.path, "delivery")
    # Warping the formants shortens the speech by the same factor.
    rate_wpm = speaker.rate_wpm * random.uniform(0.9, 1.1) / speaker.formant_scale
    return Request(
        text=utterance.text.lower(),
        voice=speaker.voice.accent,
        variant=speaker.voice.variant,
        rate_wpm=max(80, round(rate_wpm)),
        pitch=int(np.clip(speaker.pitch + random.randint(-6, 7), 0, 99)),
        pitch_range=int(np.clip(speaker.pitch_range + random.randint(-10, 11), 0, 99)),
    )


def render(utterance: Utterance, pcm: NDArray[np.int16] | None, sample_rate_hz: int, seed: int) -> NDArray[np.int16]:
    """Turn synthesised speech into a recording at 16 kHz, int16, shape (samples,)."""
    random = random_state(seed, utterance.path, "recording")
    speech = np.zeros(0)
    if pcm is not None and utterance.speaker is not None:
        speech = speech_from_pcm(pcm, sample_rate_hz, utterance.speaker.formant_scale)
    start, num_samples = _placed(len(speech), utterance.duration_s, random)
    return recorded(speech, utterance.scene, random, start=start, num_samples=num_samples)


def _placed(num_speech: int, duration_s: float | None, random: RandomState) -> tuple[int, int]:
    """Say where in the recording speech sets in, and how long the recording is, in samples."""
    if duration_s is None:
        before, after = (int(random.uniform(0.05, 0.3) * SAMPLE_RATE_HZ) for _ in range(2))
        return before, before + num_speech + after
    num_samples = round(duration_s * SAMPLE_RATE_HZ)
    return int(random.uniform() * max(0, num_samples - num_speech)), num_samples


def _write(utterance: Utterance, samples: NDArray[np.int16], folder: Path) -> ManifestRow:
    audio = io.BytesIO()
    soundfile.write(audio, samples, SAMPLE_RATE_HZ, format=Path(utterance.path).suffix[1:], subtype="PCM_16")
    (folder / utterance.path).write_bytes(audio.getvalue())
    speaker = utterance.speaker
    return ManifestRow(
        path=utterance.path,
        split=utterance.split,
        text=utterance.text,
        label=utterance.label,
        speaker=speaker.name if speaker else "",
        voice=speaker.voice.name if speaker else "",
        snr_db=utterance.scene.snr_db if speaker else None,
        reverberation_s=utterance.scene.reverberation_s if speaker else 0.0,
        duration_s=round(len(samples) / SAMPLE_RATE_HZ, 4),
        sha256=hashlib.sha256(audio.getvalue()).hexdigest(),
    )
