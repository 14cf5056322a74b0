"""The ER corpus: remarks in four emotions, expressed by the voice alone, in the layout of IEMOCAP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import Delivery
from tasks.mini.randomness import random_state
from tasks.mini.remarks import draw_remarks
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, draw_speaker, voices_of
from tasks.mini.utterances import Utterance, scaled

FOLDER = "IEMOCAP"
NUM_SESSIONS = 5
DIALOGS = tuple(name for number in range(1, 5) for name in (f"impro{number:02d}", f"script{number:02d}_1"))
"""Per session; improvised and scripted as in the real corpus."""
ACTORS = ("F", "M")
"""Per dialog. No two dialogs share a speaker."""
UTTERANCES_PER_EMOTION = 4
"""Per actor."""
UNDECIDED = {"F": "fru", "M": "xxx"}
"""Each actor says one of each in scripted dialogs: frustrated, or raters disagree. SUPERB leaves both out."""
RATINGS = {
    "neu": ("Neutral", 3, 2),
    "hap": ("Happiness", 4, 3),
    "exc": ("Excited", 4, 4),
    "ang": ("Anger", 2, 4),
    "sad": ("Sadness", 2, 2),
    "fru": ("Frustration", 2, 3),
    "xxx": ("Other", 3, 3),
}
"""Maps an emotion to a rater's word for it, its valence and its activation from 1 to 5."""
CONDITIONS = Conditions(snr_db=(5.0, 25.0), reverberant_share=0.6, response_db=5.0, tilt_db=2.0, noise_response_db=8.0)


@dataclass(frozen=True)
class Expression:
    """The mean expression of an emotion. Speakers and utterances vary around it."""

    rate: float = 1.0
    pitch: float = 0.0
    pitch_range: float = 0.0
    pause_ms: float = 0.0
    effort_db: float = 0.0
    roughness: float = 0.0
    tremor: float = 0.0
    breathiness: float = 0.0
    swell_db: float = 0.0


EXPRESSIONS: dict[str, Expression] = {
    "neu": Expression(pitch_range=-15.0),
    "hap": Expression(rate=1.12, pitch=20.0, pitch_range=40.0, effort_db=1.8, swell_db=5.0),
    "ang": Expression(rate=1.05, pitch=4.0, pitch_range=5.0, effort_db=2.5, roughness=0.8),
    "sad": Expression(
        rate=0.9, pitch=-6.0, pitch_range=-35.0, effort_db=-1.8, breathiness=0.25, tremor=0.45, swell_db=-5.0
    ),
}
UNDECIDED_EXPRESSION = Expression(rate=1.03, pitch=2.0, effort_db=1.0, roughness=0.4)
SCATTER = Expression(
    rate=0.06,
    pitch=5.0,
    pitch_range=8.0,
    pause_ms=20.0,
    effort_db=1.0,
    roughness=0.18,
    tremor=0.15,
    breathiness=0.08,
    swell_db=3.0,
)
"""Standard deviations around the mean expression."""


class Emotions:
    """Acted dialogs in five sessions, for leave-one-session-out evaluation."""

    name = "er"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every utterance. Sessions share no speaker, voice or remark."""
        said: set[str] = set()
        return [
            utterance
            for (session, dialog, actor), speaker in _speakers(scaled(len(DIALOGS), scale), seed).items()
            for utterance in _part(session, dialog, actor, speaker, said, seed)
        ]

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write each dialog's evaluation. Every other happy utterance is labelled as excited."""
        tables: dict[Path, str] = defaultdict(lambda: "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n")
        clock_s: dict[Path, float] = defaultdict(float)
        num_happy = 0
        for utterance, row in zip(utterances, manifest, strict=True):
            audio = folder / utterance.path
            table = audio.parents[3] / "dialog" / "EmoEvaluation" / f"{audio.parent.name}.txt"
            num_happy += utterance.label == "hap"
            emotion = "exc" if utterance.label == "hap" and num_happy % 2 else utterance.label
            tables[table] += _evaluation(audio.stem, emotion, clock_s[table], clock_s[table] + row.duration_s)
            clock_s[table] += row.duration_s
        for table, lines in tables.items():
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text(lines, encoding="utf-8")

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry."""
        return {"layout": "iemocap", "root": folder / FOLDER}


def _evaluation(name: str, emotion: str, start_s: float, end_s: float) -> str:
    """Return an utterance's lines: the agreed emotion, and a rater's own."""
    category, valence, activation = RATINGS[emotion]
    return (
        f"[{start_s:.4f} - {end_s:.4f}]\t{name}\t{emotion}\t[{valence:.4f}, {activation:.4f}, 3.0000]\n"
        f"C-E1:\t{category};\t()\n"
        f"A-E1:\tval {valence}; act {activation}; dom  3;\t()\n\n"
    )


def _speakers(num_dialogs: int, seed: int) -> dict[tuple[int, str, str], Speaker]:
    """Assign speakers to every session, dialog and actor. Sessions share no voice."""
    cast: dict[tuple[int, str, str], Speaker] = {}
    for actor in ACTORS:
        random = random_state(seed, "er", actor, "speakers")
        # Compression and pretraining use training voices only.
        voices = [voice for voice in voices_of("test", seed) if voice.sex == actor]
        for session in range(1, NUM_SESSIONS + 1):
            own = voices[session - 1 :: NUM_SESSIONS]
            for index, dialog in enumerate(DIALOGS[:num_dialogs]):
                name = f"Ses{session:02d}{actor}_{dialog}"
                cast[session, dialog, actor] = draw_speaker(name, own[index % len(own)], random)
    return cast


def _part(session: int, dialog: str, actor: str, speaker: Speaker, said: set[str], seed: int) -> list[Utterance]:
    """Return one actor's utterances in a dialog: every emotion, in random order."""
    random = random_state(seed, "er", speaker.name, "part")
    undecided = [UNDECIDED[actor]] if dialog.startswith("script") else []
    emotions = [str(one) for one in random.permutation(list(EXPRESSIONS) * UTTERANCES_PER_EMOTION + undecided)]
    name = f"Ses{session:02d}F_{dialog}"
    utterances = []
    for index, (emotion, remark) in enumerate(zip(emotions, draw_remarks(len(emotions), random, said), strict=True)):
        path = f"{FOLDER}/Session{session}/sentences/wav/{name}/{name}_{actor}{index:03d}.wav"
        utterances.append(
            Utterance(
                path=path,
                split=f"session{session}",
                text=remark,
                label=emotion,
                speaker=speaker,
                delivery=draw_expression(
                    EXPRESSIONS.get(emotion, UNDECIDED_EXPRESSION), random_state(seed, path, "delivery")
                ),
                scene=draw_scene(random_state(seed, path, "scene"), CONDITIONS),
            )
        )
    return utterances


def draw_expression(expression: Expression, random: RandomState) -> Delivery:
    """Draw the delivery of one utterance of an emotion."""

    def draw(field: str, low: float = -np.inf, high: float = np.inf) -> float:
        value = random.normal(getattr(expression, field), getattr(SCATTER, field))
        return round(float(np.clip(value, low, high)), 3)

    return Delivery(
        rate=draw("rate", 0.6),
        pitch=round(draw("pitch")),
        pitch_range=round(draw("pitch_range")),
        pause_ms=round(draw("pause_ms", 0.0)),
        effort_db=draw("effort_db"),
        roughness=draw("roughness", 0.0, 0.95),
        tremor=draw("tremor", 0.0, 0.95),
        breathiness=draw("breathiness", 0.0),
        swell_db=draw("swell_db"),
    )
