"""Hashes of the embedded corpora's audio on the authors' machine, to report differences.

The content of the corpora is the same everywhere. The last bits of samples, and so the hashes, may differ with the
processor, the mathematical library or the release of the synthesiser.
"""

from __future__ import annotations

from collections.abc import Mapping

AUDIO_SHA256: dict[str, dict[str, str]] = {
    "3-seed0": {
        "ks": "0d157c1e29e2713a864aee1e0775fd76d54c86e46383ed3a3b10e2793907dfd8",
        "asr": "3284117b60dbbcfea7586539656ddf0c32f426b639ccf62159684301a34628c3",
        "sid": "a20ba432b893f7b997daf1388b99c74280b98c3620ae779f0b0a7742eb797e10",
        "er": "1413084c4d50c664e1a2d14a5468a01cc29d683001540becc4b242ddc2b6b4a6",
        "ic": "d9a59055ee00c4d3346a2581be0609a689d6ca11b31742e00920c84f25c4b5ec",
        "sf": "9ebcbbd057b2c5e676722efa8f531ad42125b2c0cc17ceffd97c16ead896de59",
        "asv": "d3d4c1de3d901da57ef6d5e39b046070b8162f92df3e47aeb63812205f292b00",
        "sd": "dd2ccaa922d8b474ff9479578e05050d6b237af328d35484507793e6c8e53984",
        "qbe": "a767f013860b1760e1958b364fb1e33b8a3fa1efcead9c9d3e2185be9405e1c7",
    },
}
"""Maps version and corpus to the hash of its audio."""


def differs_from_reference(version: str, audio_sha256: Mapping[str, str]) -> list[str]:
    """Return the corpora whose audio differs from the authors'. Empty if the authors' is unknown."""
    known = AUDIO_SHA256.get(version, {})
    return [name for name, found in audio_sha256.items() if known.get(name, found) != found]
