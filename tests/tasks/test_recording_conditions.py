"""Predictions on embedded corpora keep how each recording was made."""

from __future__ import annotations

from pathlib import Path

from tasks.corpora.embedded_manifest import IDENTITY, ManifestRow, write_manifest
from tasks.corpora.recording_conditions import recording_conditions


def row(path: str, snr_db: float | None) -> ManifestRow:
    return ManifestRow(path, "test", "yes", "yes", "s1", "en-us+f4", snr_db, 0.25, 1.0, "0" * 64)


def test_conditions_are_found_from_the_recording_s_path(tmp_path: Path) -> None:
    corpus = tmp_path / "ks"
    corpus.mkdir()
    (corpus / IDENTITY).write_text("{}")
    write_manifest([row("archive/yes/a.wav", 6.5), row("archive/_background_noise_/n.wav", None)], corpus)
    yes, noise, other = (
        str(corpus / "archive/yes/a.wav"),
        str(corpus / "archive/_background_noise_/n.wav"),
        str(tmp_path / "own/a.wav"),
    )
    assert recording_conditions([yes, noise, other]) == {
        yes: {"snr_db": "6.5", "reverberation_s": "0.25", "voice": "en-us+f4"},
        noise: {"snr_db": "", "reverberation_s": "0.25", "voice": "en-us+f4"},
    }


def test_a_user_s_own_manifest_is_none_of_ours(tmp_path: Path) -> None:
    write_manifest([row("a.wav", 6.5)], tmp_path)
    assert recording_conditions([str(tmp_path / "a.wav")]) == {}
