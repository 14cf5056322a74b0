"""The entry of this folder for ``torch.hub``.

    torch.hub.load("FOLDER", "superb_bench", "FOLDER", source="local")

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

from typing import Any

from expert import UpstreamExpert as _UpstreamExpert

dependencies = ["torch", "transformers"]


def superb_bench(ckpt: str | None = None, **kwargs: Any) -> _UpstreamExpert:
    """Load the exported model in the folder ``ckpt``, by default in the folder of this file."""
    return _UpstreamExpert(ckpt, **kwargs)
