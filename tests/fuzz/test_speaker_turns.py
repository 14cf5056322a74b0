"""RTTM files and LibriMix's tables: they are read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from hypothesis import strategies as st

from tasks.corpora.librimix import LibriMixData, ManifestMixturesData
from tasks.corpora.rttm import read_rttm
from tasks.sd import SD
from tests.fuzz.harness import PROFILES, fuzz

WORDS = st.sampled_from(
    [
        "one",
        "two",
        "SPEAKER",
        "1",
        "0",
        "-1",
        "0.25",
        "0.5",
        "1e308",
        "nan",
        "inf",
        "1e-320",
        "<NA>",
        "|",
        "x" * 300,
        "\u2028",
    ]
)
LINES = st.lists(st.lists(WORDS, max_size=10).map(" ".join), max_size=6).map("\n".join)
GOOD = "SPEAKER one 1 0.10 0.40 <NA> <NA> ana <NA> <NA>\n"
HUGE = "SPEAKER one 1 1e308 1e308 <NA> <NA> ana <NA> <NA>\n"


def write_sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, [0.1] * 16_000, 16_000)


@pytest.mark.parametrize("profile", PROFILES)
def test_rttm_files(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "turns.rttm"

    def read(text: str) -> None:
        file.write_bytes(text.encode(errors="surrogatepass"))
        read_rttm(file)

    fuzz(
        read, st.one_of(st.text(), LINES), profile, examples=["", GOOD, HUGE, GOOD * 10_000, "SPEAKER", "\0", "\ud800"]
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_manifests_with_rttm_files(tmp_path: Path, profile: str) -> None:
    rows = ["path,split,rttm"]
    for split in ("train", "dev", "test"):
        write_sound(tmp_path / split / "one.wav")
        rows.append(f"{split}/one.wav,{split},turns.rttm")
    (tmp_path / "own.csv").write_text("\n".join(rows))

    def read(text: str) -> None:
        (tmp_path / "turns.rttm").write_text(text)
        SD(SD.presets["mini"]).read(ManifestMixturesData(manifest=tmp_path / "own.csv"))

    fuzz(read, LINES.map(lambda lines: GOOD + lines), profile, examples=[GOOD, HUGE, GOOD.replace("0.40", "0.001")])


@pytest.mark.parametrize("name", ["wav.scp", "segments", "utt2spk", "reco2dur"])
@pytest.mark.parametrize("profile", PROFILES)
def test_tables_of_librimix(tmp_path: Path, name: str, profile: str) -> None:
    write_sound(tmp_path / "one.wav")
    good = {"wav.scp": "one one.wav", "segments": "a one 0.1 0.5", "utt2spk": "a ana", "reco2dur": "one 1.0"}
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        for file, line in good.items():
            (tmp_path / split / file).write_text(f"{line}\n")

    def read(text: str) -> None:
        (tmp_path / "test" / name).write_text(text)
        SD(SD.presets["mini"]).read(LibriMixData(root=tmp_path))

    examples = [good[name], "", "one", "one 1 2 3 4", "a one -1 1e308", "a one 0 nan", "one /dev/zero", "one cat x |"]
    fuzz(read, LINES.map(lambda lines: f"{good[name]}\n{lines}"), profile, examples=examples)
