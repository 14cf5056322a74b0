"""Manifests, transcripts, lexicons and other text files of corpora: read, or refused with the file and the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from bench.audio.files import AudioFile
from bench.audio.manifest import read_manifest
from bench.contracts import AudioSource
from bench.files.json import parse_json, read_json_object
from bench.testing import tiny_teacher
from compressors.pretraining.annotations import phone_units
from tasks.corpora.fluent_speech_commands import FluentSpeechCommandsData, read_fluent_speech_commands
from tasks.corpora.iemocap import IEMOCAPData, read_iemocap, split_for_session
from tasks.corpora.librispeech import LibriSpeechData, read_librispeech
from tasks.corpora.own_data import ManifestData, read_own_data
from tasks.corpora.pronunciations import read_lexicon
from tasks.corpora.snips import SNIPSData, read_snips
from tasks.corpora.voxceleb1 import VoxCeleb1Data, read_voxceleb1
from tests.fuzz.harness import PROFILES, ends_well, fuzz
from tests.fuzz.test_corpora import LAYOUTS, SNIPS_SPEAKERS

LONG = "x" * 200_000
PIECES = st.sampled_from(
    [
        *(
            b"",
            b'"',
            b'""',
            b",",
            b"\t",
            b" ",
            b"\n",
            b"\r",
            b"\n\n",
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"{",
            b"[",
            b"]",
        ),
        *(b"null", b"NaN", b"1e999", b"9" * 400, b"path", b"train", b"\xe2\x80\xa8", b"\\ud800", b"'", b"x" * 5_000),
    ]
)
Damage = list[tuple[int, int, bytes]]
DAMAGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 6), PIECES), min_size=1, max_size=4)


def damaged(content: bytes, damage: Damage) -> bytes:
    """Put other bytes in place of some, at places counted from anywhere."""
    for start, length, piece in damage:
        place = start % (len(content) + 1)
        content = content[:place] + piece + content[place + length :]
    return content


def iemocap_with_splits(root: Path) -> None:
    LAYOUTS["iemocap"][0](root)
    folder = root / "meta_data" / "Session2"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        (folder / f"{part}_meta_data.json").write_text('{"meta_data": [{"path": "a/Ses01F_impro01_F000.wav"}]}')


def read_split(root: Path) -> None:
    data = IEMOCAPData(root=root)
    split_for_session(data, read_iemocap(data), 2)


FILES: dict[str, tuple[Callable[[Path], None], str, Callable[[Path], Any]]] = {
    "manifest": (
        LAYOUTS["manifest"][0],
        "own.csv",
        lambda root: read_own_data(ManifestData(manifest=root / "own.csv"), ("label",)),
    ),
    "transcripts": (
        LAYOUTS["librispeech"][0],
        "dev-clean/2/7/2-7.trans.txt",
        lambda root: read_librispeech(LibriSpeechData(root=root)),
    ),
    "split file": (
        LAYOUTS["voxceleb1"][0],
        "iden_split.txt",
        lambda root: read_voxceleb1(VoxCeleb1Data(root=root)),
    ),
    "commands": (
        LAYOUTS["fluent_speech_commands"][0],
        "data/valid_data.csv",
        lambda root: read_fluent_speech_commands(FluentSpeechCommandsData(root=root)),
    ),
    "requests": (
        LAYOUTS["snips"][0],
        "all.iob.snips.txt",
        lambda root: read_snips(SNIPSData(root=root, **SNIPS_SPEAKERS)),
    ),
    "evaluations": (
        LAYOUTS["iemocap"][0],
        "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt",
        lambda root: read_iemocap(IEMOCAPData(root=root)),
    ),
    "metadata": (iemocap_with_splits, "meta_data/Session2/train_meta_data.json", read_split),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("profile", PROFILES)
def test_text_files_of_corpora(tmp_path: Path, kind: str, profile: str) -> None:
    make, name, read = FILES[kind]
    make(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()

    def read_damaged(damage: Damage) -> None:
        file.write_bytes(damaged(whole, damage))
        read(tmp_path)

    examples = [[(place, 0, LONG.encode())] for place in (0, len(whole) // 2, len(whole))]
    fuzz(read_damaged, DAMAGES, profile, examples=[*examples, [(0, 10_000, b"")]], max_examples=25)


TABLES = {
    ".csv": b'path,split,label\na.wav,train,yes\n"b,c.wav",dev,"no ""x"""\n',
    ".tsv": b"path\tsplit\nb.wav\tdev\n",
    ".jsonl": b'{"path": "a.wav", "n": 1.50, "t": ["x", null]}\n{"path": "b.wav"}\n',
}


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("profile", PROFILES)
def test_manifests(tmp_path: Path, suffix: str, profile: str) -> None:
    file = tmp_path / f"own{suffix}"

    def read(damage: Damage) -> None:
        file.write_bytes(damaged(TABLES[suffix], damage))
        table = read_manifest(file, ("path",))
        assert all(isinstance(value, str) for value in table.to_numpy().ravel())

    examples = [[(20, 0, LONG.encode())], [(0, 1_000, b"")], [(0, 0, b"path,")], [(0, 0, b"," * 2_000)]]
    fuzz(read, DAMAGES, profile, examples=examples)


@pytest.mark.parametrize("profile", PROFILES)
def test_lexicons(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "lexicon.txt"

    def read(damage: Damage) -> None:
        file.write_bytes(damaged(b"NULL N AH1 L\nTEA T IY1\n", damage))
        read_lexicon(file)

    fuzz(read, DAMAGES, profile, examples=[[(0, 30, LONG.encode())], [(0, 0, b"\n")]])


@pytest.mark.parametrize("profile", PROFILES)
def test_phones(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "phones.jsonl"
    config = tiny_teacher().config
    audio = [AudioFile(tmp_path / "a.wav", 16_000, 16_000)]

    def read(damage: Damage) -> None:
        file.write_bytes(damaged(b'{"path": "a.wav", "phones": [[0.0, 0.1, "s"], [0.1, 0.2, "t"]]}\n', damage))
        phone_units(audio, AudioSource(root=tmp_path), config)

    fuzz(read, DAMAGES, profile, examples=[[(0, 0, b"[1]\n")], [(40, 0, b"1e999")], [(0, 1_000, b'{"path": 1}')]])


@pytest.mark.parametrize("profile", PROFILES)
def test_json(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "a.json"

    def read(damage: Damage) -> None:
        file.write_bytes(damaged(b'{"a": [1, 2.5, {"b": null}], "c": "d"}', damage))
        read_json_object(file)

    fuzz(read, DAMAGES, profile, examples=[[(0, 0, b"[" * 100_000)], [(0, 0, b'{"a":' * 100_000)]])
    fuzz(lambda text: parse_json(text, "line 1"), st.text(), profile)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path,label\na.wav,yes\nb.wav\n", "line 3"),
        ("path,label\na.wav,yes\n\nb.wav,no,maybe\n", "line 4"),
        ('path,label\na.wav,yes\nb.wav,"no\n', "line 3"),
        (f"path,label\na.wav,yes\nb.wav,{LONG}\n", "line 3"),
        ("path,path\na.wav,b.wav\n", "line 1"),
        ("", "line 1"),
    ],
)
def test_the_line_of_a_table_is_named(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "own.csv"
    file.write_text(text)
    message = ends_well(lambda path: read_manifest(path, ("path",)), file)
    assert message is not None
    assert f"{found} of {file}" in message
