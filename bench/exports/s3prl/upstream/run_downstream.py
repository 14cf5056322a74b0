"""Runs s3prl's ``run_downstream.py`` with the upstream of this folder. All arguments are s3prl's.

    python FOLDER/run_downstream.py -m train -u superb_bench -k FOLDER -d speech_commands -n my-experiment

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import huggingface_hub
import torchaudio
from registration import register

# Removed by their authors after s3prl 0.4.18. It uses the first two for uploads only, and the third has no effect.
REMOVED = ((huggingface_hub, "HfFolder"), (huggingface_hub, "Repository"), (torchaudio, "set_audio_backend"))


def main() -> None:
    """Prepare s3prl, and run it."""
    for module, name in REMOVED:
        if not hasattr(module, name):
            setattr(module, name, lambda *_: None)
    register()
    from s3prl.run_downstream import main as run

    run()


if __name__ == "__main__":
    main()
