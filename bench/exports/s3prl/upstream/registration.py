"""Makes this folder's upstream known to s3prl, which finds upstreams as functions of ``s3prl.hub``.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import s3prl
from hubconf import superb_bench


def register() -> None:
    """Add ``superb_bench`` to ``s3prl.hub``. Call it before importing other parts of s3prl.

    s3prl's own hub imports forty upstreams, some of which current torchaudio breaks. So the hub gets this upstream
    only, unless it was imported before.
    """
    hub: Any = sys.modules.setdefault("s3prl.hub", ModuleType("s3prl.hub"))
    hub.superb_bench = superb_bench
    s3prl.hub = hub
