"""The QbE corpus: spoken words and sentences that hold them, in the layout of QUESST 2014."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from tasks.corpora.embedded_manifest import ManifestRow
from tasks.mini.delivery import draw_delivery
from tasks.mini.randomness import random_state
from tasks.mini.scenes import Conditions, draw_scene
from tasks.mini.speakers import Speaker, Split, draw_speakers
from tasks.mini.utterances import Utterance, scaled

TEMPLATES = (
    "there was {a} and {b} next to {c}",
    "i would take {a} instead of {b} or {c}",
    "nobody can find {a} between {b} and {c}",
    "we looked at {a} then at {b} and finally at {c}",
    "she paid for {a} with {b} and gave us {c}",
    "remember that {a} belongs to {b} and not to {c}",
)
DEV_TERMS = (
    "the harmonica",
    "a caterpillar",
    "porcelain",
    "the detective",
    "raspberry jam",
    "an aeroplane",
    "the lighthouse",
    "volunteers",
    "cinnamon",
    "the gardener",
)
TEST_TERMS = (
    "a kangaroo",
    "the microscope",
    "chocolate biscuits",
    "an orchestra",
    "the photographer",
    "lavender",
    "a motorcycle",
    "the university",
    "vegetables",
    "the philosopher",
    "an umbrella",
    "cauliflower",
    "the parliament",
    "a dinosaur",
    "olive oil",
    "the astronaut",
    "a saxophone",
    "the encyclopedia",
    "blackberries",
    "the ambassador",
)
TERMS_PER_SENTENCE = 3
FOLDER = "quesst14Database"
LANGUAGE = "nnenglish"
DOCUMENTS = "documents"
SPEAKERS: Mapping[str, tuple[Split, int]] = {DOCUMENTS: ("test", 20), "dev": ("dev", 8), "test": ("test", 16)}
"""Voices and number of speakers. Documents are tested on, so they have no training voice."""
SENTENCES_PER_SPEAKER = 10
TERMS_PER_SPEAKER = 5
CONDITIONS = Conditions(snr_db=(5.0, 25.0), reverberant_share=0.6)
_PARTS: Mapping[str, tuple[str, str, str]] = {
    DOCUMENTS: ("Audio", "quesst14_", "utterances"),
    "dev": ("dev_queries", "quesst14_dev_", "dev"),
    "test": ("eval_queries", "quesst14_eval_", "eval"),
}
"""Folder, start of the names and QUESST's name of each part."""


class SpokenQueries:
    """Sentences with three terms each, and every term alone, spoken by others."""

    name = "qbe"

    def utterances(self, seed: int, scale: float) -> list[Utterance]:
        """List documents and queries."""
        made: list[Utterance] = []
        for part, (split, number) in SPEAKERS.items():
            texts = _sentences(scaled(number, scale), seed) if part == DOCUMENTS else _queries(part, number, scale)
            names = [f"{part}{index:02d}" for index in range(len(texts))]
            # A purpose for documents and queries each: their speakers differ.
            speakers = draw_speakers(names, split=split, corpus=f"{self.name} {part}", seed=seed)
            spoken = [(speaker, text) for speaker, each in zip(speakers, texts, strict=True) for text in each]
            made += [_utterance(part, index, speaker, text, seed) for index, (speaker, text) in enumerate(spoken, 1)]
        return made

    def write_tables(
        self,
        folder: Path,
        utterances: Sequence[Utterance],
        manifest: Sequence[ManifestRow],
    ) -> None:
        """Write the lists of recordings and the ground truth."""
        scoring = folder / FOLDER / "scoring"
        scoring.mkdir(parents=True, exist_ok=True)
        parts: dict[str, list[tuple[Utterance, ManifestRow]]] = defaultdict(list)
        for utterance, row in zip(utterances, manifest, strict=True):
            parts[utterance.split].append((utterance, row))
        for part, members in parts.items():
            lines = [f"{one.path} {LANGUAGE}\n" for one, _ in members]
            (scoring / f"language_key_{_PARTS[part][2]}.lst").write_text("".join(lines), encoding="utf-8")
        for part in ("dev", "test"):
            _write_truth(scoring, part, parts[DOCUMENTS], [one for one, _ in parts[part]])

    def task_data(self, folder: Path) -> dict[str, Any]:
        """Return the data entry."""
        return {"layout": "quesst14", "root": folder / FOLDER}


def _sentences(num_speakers: int, seed: int) -> list[list[str]]:
    """Draw the sentences of every speaker. Each term occurs in about the same number of sentences."""
    random = random_state(seed, "qbe", "sentences")
    terms = [*DEV_TERMS, *TEST_TERMS]
    waiting: list[str] = []
    made: list[list[str]] = []
    for _ in range(num_speakers):
        said = []
        for _ in range(SENTENCES_PER_SPEAKER):
            chosen: list[str] = []
            while len(chosen) < TERMS_PER_SENTENCE:
                if not waiting:
                    waiting = [terms[index] for index in random.permutation(len(terms))]
                chosen.append(waiting.pop())
            template = TEMPLATES[random.randint(len(TEMPLATES))]
            said.append(template.format(**dict(zip("abc", chosen, strict=True))))
        made.append(said)
    return made


def _queries(part: str, number: int, scale: float) -> list[list[str]]:
    """Deal the terms out to the speakers, without articles."""
    terms = [_spoken_alone(term) for term in (DEV_TERMS if part == "dev" else TEST_TERMS)]
    # Half of the speakers say all terms between them, so a smaller corpus has all of them too.
    least = len(terms) // TERMS_PER_SPEAKER
    num_speakers = max(least, scaled(number, scale) // least * least)
    shares = [terms[begin : begin + TERMS_PER_SPEAKER] for begin in range(0, len(terms), TERMS_PER_SPEAKER)]
    return [shares[index % least] for index in range(num_speakers)]


def _spoken_alone(term: str) -> str:
    article, _, rest = term.partition(" ")
    return rest if article in ("a", "an", "the") else term


def _utterance(part: str, index: int, speaker: Speaker, text: str, seed: int) -> Utterance:
    inner, start, _ = _PARTS[part]
    path = f"{FOLDER}/{inner}/{start}{index:0{5 if part == DOCUMENTS else 4}d}.wav"
    return Utterance(
        path=path,
        split=part,
        text=text,
        label="" if part == DOCUMENTS else text,
        speaker=speaker,
        delivery=draw_delivery(random_state(seed, path, "delivery")),
        scene=draw_scene(random_state(seed, path, "scene"), CONDITIONS),
    )


def _write_truth(
    scoring: Path, part: str, documents: Sequence[tuple[Utterance, ManifestRow]], queries: Sequence[Utterance]
) -> None:
    """Write NIST's files: the documents, the queries, and which of them is where."""
    name = f"quesst14_{_PARTS[part][2]}"
    folder = scoring / f"groundtruth_{name}"
    folder.mkdir(exist_ok=True)
    total_s = sum(row.duration_s for _, row in documents)
    excerpts = [
        f'<excerpt audio_filename={quoteattr(Path(one.path).name)} channel="1" tbeg="0.000" dur="{row.duration_s:.3f}" '
        'source_type="read"/>\n'
        for one, row in documents
    ]
    head = f'<ecf source_signal_duration="{total_s:.3f}" language="english" version="1">\n'
    (folder / "quesst14.ecf.xml").write_text(head + "".join(excerpts) + "</ecf>\n", encoding="utf-8")
    ids = [Path(one.path).stem for one in queries]
    terms = [f'<term termid="{one}"><termtext>{one}</termtext></term>\n' for one in ids]
    head = '<termlist ecf_filename="quesst14.ecf.xml" version="1" language="english">\n'
    (folder / f"{name}.tlist.xml").write_text(head + "".join(terms) + "</termlist>\n", encoding="utf-8")
    lines = [
        f"LEXEME {Path(document.path).stem} 1 0.000 {row.duration_s:.3f} {query} lex <NA> <NA>\n"
        for query, text in zip(ids, [one.text for one in queries], strict=True)
        for document, row in documents
        if f" {text} " in f" {document.text} "
    ]
    (folder / f"{name}.rttm").write_text("".join(lines), encoding="utf-8")
