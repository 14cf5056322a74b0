"""Makes audio files from a plan: synthesis in other processes, acoustics in this one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
import soundfile
from numpy.random import RandomState
from numpy.typing import NDArray

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.acoustics import audible_part, played_rate_hz, recorded, speech_from_pcm
from tasks.mini.delivery import Delivery
from tasks.mini.mixtures import Mixture, render_mixture, speakers_of
from tasks.mini.phones import Phones, placed_phones
from tasks.mini.randomness import random_state
from tasks.mini.speakers import Speaker
from tasks.mini.synthesis import Request, Speech, Synthesizer
from tasks.mini.utterances import Utterance
from tasks.mini.voice_quality import expressed


@dataclass(frozen=True)
class Recording:
    """The recording of one utterance."""

    row: ManifestRow
    phones: Phones


def generate(
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    seed: int,
    num_processes: int,
    made: Callable[[Recording], None],
) -> None:
    """Make every recording. The result does not depend on the number of processes.

    Args:
        utterances: the recordings to make.
        folder: folder of the corpus, created if needed.
        seed: seed of the corpora.
        num_processes: synthesiser processes; each has a thread that also does the acoustics.
        made: called with each recording after its file is written, from any thread and in any order.
    """
    for parent in {folder / Path(utterance.path).parent for utterance in utterances}:
        parent.mkdir(parents=True, exist_ok=True)
    num_processes = max(1, min(num_processes, len(utterances)))
    stop = Event()

    def make_share(share: int) -> None:
        mine = utterances[share::num_processes]
        with Synthesizer() as synthesizer:
            rate_hz = synthesizer.sample_rate_hz
            spoken = synthesizer.synthesize(request for utterance in mine for request in requests_of(utterance))
            for utterance in mine:
                if stop.is_set():
                    return
                speeches = [next(spoken) for _ in requests_of(utterance)]
                if isinstance(utterance, Mixture):
                    samples, label = render_mixture(utterance, speeches, rate_hz, seed)
                    made(Recording(_write(replace(utterance, label=label), samples, folder), ()))
                    continue
                samples, phones = render(utterance, speeches[0] if speeches else None, rate_hz, seed)
                made(Recording(_write(utterance, samples, folder), phones))

    with ThreadPoolExecutor(num_processes) as pool:
        shares = [pool.submit(make_share, share) for share in range(num_processes)]
        try:
            for finished in as_completed(shares):
                finished.result()
        finally:
            stop.set()


def requests_of(utterance: Utterance) -> list[Request]:
    """Return the synthesiser's requests for a recording: none for pure noise, and several for a mixture."""
    if isinstance(utterance, Mixture):
        return [
            _request(remark.text, source.speaker, remark.delivery)
            for source in utterance.sources
            for remark in source.remarks
        ]
    return [request_of(utterance)] if utterance.speaker else []


def request_of(utterance: Utterance) -> Request:
    """Return the synthesiser's request for an utterance with a speaker."""
    assert utterance.speaker is not None
    assert utterance.delivery is not None
    return _request(utterance.text, utterance.speaker, utterance.delivery)


def _request(text: str, speaker: Speaker, delivery: Delivery) -> Request:
    # Scaling the formants shortens the speech by the same factor.
    rate_wpm = speaker.rate_wpm * delivery.rate / speaker.formant_scale
    return Request(
        text=text.lower(),
        voice=speaker.voice.accent,
        variant=speaker.voice.variant,
        rate_wpm=max(80, round(rate_wpm)),
        pitch=int(np.clip(speaker.pitch + delivery.pitch, 0, 99)),
        pitch_range=int(np.clip(speaker.pitch_range + delivery.pitch_range, 0, 99)),
        pause_ms=delivery.pause_ms,
    )


def render(
    utterance: Utterance, speech: Speech | None, sample_rate_hz: int, seed: int
) -> tuple[NDArray[np.int16], Phones]:
    """Make a recording of synthesised speech: int16 at 16 kHz, shape (samples,), and the times of its phones."""
    random = random_state(seed, utterance.path, "recording")
    if speech is None or utterance.speaker is None:
        start, num_samples = _placed(0, utterance.duration_s, random)
        return recorded(np.zeros(0), utterance.scene, random, start=start, num_samples=num_samples), ()
    formant_scale = utterance.speaker.formant_scale
    waveform = speech_from_pcm(speech.samples, sample_rate_hz, formant_scale)
    audible = audible_part(waveform)
    waveform = waveform[audible]
    if utterance.delivery:
        waveform = expressed(waveform, utterance.delivery, random_state(seed, utterance.path, "voice quality"))
    start, num_samples = _placed(len(waveform), utterance.duration_s, random)
    phones = placed_phones(
        speech,
        played_rate_hz(sample_rate_hz, formant_scale),
        cut_s=audible.start / SAMPLE_RATE_HZ,
        kept_s=len(waveform) / SAMPLE_RATE_HZ,
        start_s=start / SAMPLE_RATE_HZ,
        duration_s=num_samples / SAMPLE_RATE_HZ,
    )
    return recorded(waveform, utterance.scene, random, start=start, num_samples=num_samples), phones


def _placed(num_speech: int, duration_s: float | None, random: RandomState) -> tuple[int, int]:
    """Return the start of speech and the length of the recording, in samples."""
    if duration_s is None:
        before, after = (int(random.uniform(0.05, 0.3) * SAMPLE_RATE_HZ) for _ in range(2))
        return before, before + num_speech + after
    num_samples = round(duration_s * SAMPLE_RATE_HZ)
    return int(random.uniform() * max(0, num_samples - num_speech)), num_samples


def _write(utterance: Utterance, samples: NDArray[np.int16], folder: Path) -> ManifestRow:
    audio = io.BytesIO()
    soundfile.write(audio, samples, SAMPLE_RATE_HZ, format=Path(utterance.path).suffix[1:], subtype="PCM_16")
    (folder / utterance.path).write_bytes(audio.getvalue())
    speakers = speakers_of(utterance)
    rooms = utterance.sources if isinstance(utterance, Mixture) else (utterance.scene,)
    return ManifestRow(
        path=utterance.path,
        split=utterance.split,
        text=utterance.text,
        label=utterance.label,
        speaker=" ".join(speaker.name for speaker in speakers),
        voice=" ".join(speaker.voice.name for speaker in speakers),
        snr_db=utterance.scene.snr_db if speakers else None,
        reverberation_s=max(room.reverberation_s for room in rooms) if speakers else 0.0,
        duration_s=round(len(samples) / SAMPLE_RATE_HZ, 4),
        sha256=hashlib.sha256(audio.getvalue()).hexdigest(),
    )
