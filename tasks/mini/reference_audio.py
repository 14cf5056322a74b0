"""Hashes of the embedded corpora's audio on the authors' machine, to report differences.

The content of the corpora is the same everywhere. The last bits of samples, and so the hashes, may differ with the
processor, the mathematical library or the release of the synthesiser.
"""

from __future__ import annotations

from collections.abc import Mapping

AUDIO_SHA256: dict[str, dict[str, str]] = {
    "4-seed0": {
        "ks": "bb8f3f294e860528f52f598d0af1d5f01fc6007fa051a5b27bc21df211be9c71",
        "asr": "e1019379382f80f59d93d3d5f2c2711dac8b777c8f522ca0c419453cfe015526",
        "sid": "5506c557f6a6781f0e2b9f0a8687d091b37a6d7274bc64e9697565be2af737b0",
        "er": "55b3499fb912c0c6ccea5db706bb9eb693bf63bf7291db671e7bc41c3109d37d",
        "ic": "de289efd895645ac45e36c61b7c476f3fb403d63c59eec7085ea0b3ab7c13350",
        "sf": "9379b490c33d366ad8a437c0e1374d48f3829c1293a873650da36ad68f853d98",
        "asv": "d9f5870795980fc22dbd69467c260b53027ef4518d4b8e860acf57fa101e7e22",
        "sd": "dd2ccaa922d8b474ff9479578e05050d6b237af328d35484507793e6c8e53984",
        "qbe": "a767f013860b1760e1958b364fb1e33b8a3fa1efcead9c9d3e2185be9405e1c7",
    },
}
"""Maps version and corpus to the hash of its audio."""


def differs_from_reference(version: str, audio_sha256: Mapping[str, str]) -> list[str]:
    """Return the corpora whose audio differs from the authors'. Empty if the authors' is unknown."""
    known = AUDIO_SHA256.get(version, {})
    return [name for name, found in audio_sha256.items() if known.get(name, found) != found]
