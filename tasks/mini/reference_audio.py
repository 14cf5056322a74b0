"""The audio of the embedded corpora as the authors' machine made it, for telling where another one differs.

The plan of the corpora is the same everywhere. The samples may differ in their last bits, and with them the files'
hashes, where another processor, mathematical library or release of the synthesiser made them.
"""

from __future__ import annotations

from collections.abc import Mapping

AUDIO_SHA256: dict[str, dict[str, str]] = {}
"""Version, to corpus, to the hash of its audio."""


def differs_from_reference(version: str, audio_sha256: Mapping[str, str]) -> list[str]:
    """Name the corpora whose audio is not the authors'; none where theirs is not known."""
    known = AUDIO_SHA256.get(version, {})
    return [name for name, found in audio_sha256.items() if known.get(name, found) != found]
