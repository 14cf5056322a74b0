"""The ASR corpus: short sentences of a small vocabulary, in the layout of LibriSpeech."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contracts import AudioSource
from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.lexicon import write_lexicon
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

TEMPLATES = (
    "{person} {did} the {quality} {thing} {place}",
    "{person} will {do} the {thing} {time}",
    "please {do} {number} {quality} {things}",
    "there are {number} {quality} {things} {place}",
    "do not {do} the {thing} {place}",
    "can {person} {do} {number} {things} {time}",
    "who {did} the {quality} {thing} {time}",
)
WORDS: dict[str, tuple[str, ...]] = {
    "person": ("anna", "david", "helen", "oliver", "sofia", "thomas"),
    "did": ("borrowed", "carried", "found", "painted", "sold", "washed"),
    "do": ("borrow", "carry", "find", "paint", "sell", "wash"),
    "quality": ("broken", "empty", "green", "heavy", "little", "silver", "wooden", "yellow"),
    "thing": ("basket", "bottle", "chair", "guitar", "ladder", "lamp", "mirror", "teapot"),
    "things": ("baskets", "bottles", "chairs", "guitars", "ladders", "lamps", "mirrors", "teapots"),
    "number": ("two", "three", "five", "seven", "nine", "twelve"),
    "place": (
        "at the market",
        "behind the school",
        "beside the window",
        "in the kitchen",
        "near the river",
        "under the bridge",
    ),
    "time": ("before dinner", "on monday", "this evening", "today", "tomorrow"),
}
FOLDER = "LibriSpeech"
LEXICON = "lexicon.txt"
SUBSETS: dict[Split, str] = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
NUM_SPEAKERS: dict[Split, int] = {"train": 80, "dev": 12, "test": 80}
SENTENCES_PER_SPEAKER: dict[Split, int] = {"train": 10, "dev": 10, "test": 4}
FIRST_SPEAKER_ID: dict[Split, int] = {"train": 10_000, "dev": 20_000, "test": 30_000}
CHAPTER = 1
CONDITIONS = Conditions(snr_db=(10.0, 30.0), reverberant_share=0.6)


class Transcripts:
    """Sentences for speech recognition. The training split is also the audio for compression."""

    name = "asr"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List every sentence. No sentence occurs twice, and no speaker is in two splits."""
        made: list[Utterance] = []
        said: set[str] = set()
        for split, number in NUM_SPEAKERS.items():
            names = [str(FIRST_SPEAKER_ID[split] + index) for index in range(scaled(number, scale))]
            for speaker in draw_speakers(names, split=split, corpus=self.name, seed=seed):
                for index, sentence in enumerate(_new_sentences(speaker, SENTENCES_PER_SPEAKER[split], said, seed)):
                    made.append(_utterance(speaker, split, index, sentence, seed))
        return made

    def write_tables(self, folder: Path, utterances: Sequence[Utterance], manifest: Sequence[ManifestRow]) -> None:
        """Write ``SPEAKERS.TXT``, each chapter's ``.trans.txt`` and, for phoneme recognition, ``lexicon.txt``."""
        transcripts: dict[Path, str] = defaultdict(str)
        duration_s: dict[tuple[Speaker, str], float] = defaultdict(float)
        for utterance, row in zip(utterances, manifest, strict=True):
            assert utterance.speaker is not None
            path = folder / utterance.path
            transcript = path.with_name(path.stem.rpartition("-")[0] + ".trans.txt")
            transcripts[transcript] += f"{path.stem} {utterance.text}\n"
            subset = path.relative_to(folder / FOLDER).parts[0]
            duration_s[utterance.speaker, subset] += row.duration_s
        for transcript, lines in transcripts.items():
            transcript.write_text(lines, encoding="utf-8")
        table = ""
        for (speaker, subset), total_s in duration_s.items():
            voice = speaker.voice
            table += f"{speaker.name} | {voice.sex} | {subset:<16} | {total_s / 60:5.2f} | {voice.name}\n"
        header = "; Synthetic speakers\n;ID  |SEX| SUBSET           |MINUTES| NAME\n"
        (folder / FOLDER / "SPEAKERS.TXT").write_text(header + table, encoding="utf-8")
        write_lexicon(folder / FOLDER / LEXICON)

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry, with the standard splits."""
        return {"layout": "librispeech", "root": folder / FOLDER}

    def training_audio(self, folder: Path) -> AudioSource:
        """Return the audio for compression."""
        return AudioSource(layout="librispeech", root=folder / FOLDER, splits=(SUBSETS["train"],))


def _new_sentences(speaker: Speaker, number: int, said: set[str], seed: int) -> list[str]:
    """Draw ``number`` sentences that are not in ``said`` yet, and add them to it."""
    random = random_state(seed, "asr", speaker.name, "sentences")
    sentences: list[str] = []
    while len(sentences) < number:
        template = TEMPLATES[random.randint(len(TEMPLATES))]
        sentence = template.format(**{slot: words[random.randint(len(words))] for slot, words in WORDS.items()})
        if sentence not in said:
            said.add(sentence)
            sentences.append(sentence)
    return sentences


def _utterance(speaker: Speaker, split: Split, index: int, sentence: str, seed: int) -> Utterance:
    chapter = f"{FOLDER}/{SUBSETS[split]}/{speaker.name}/{CHAPTER}"
    path = f"{chapter}/{speaker.name}-{CHAPTER}-{index:04d}.flac"
    scene = draw_scene(random_state(seed, path, "scene"), CONDITIONS)
    return Utterance(
        path=path,
        split=split,
        text=sentence.upper(),
        label="",
        speaker=speaker,
        delivery=draw_delivery(random_state(seed, path, "delivery")),
        scene=scene,
    )
