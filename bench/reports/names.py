"""What readers see instead of the names of methods and rows."""

from __future__ import annotations

import re
from collections.abc import Mapping


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Replace names in a text: the whole text, or the method within the name of a row.

    ``dphubert`` to ``DPHuBERT`` also changes ``dphubert-0.75`` and ``run/dphubert+int8``, but not ``my-dphubert``.
    """
    if text in names or not names:
        return names.get(text, text)
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?:(?<=[+/ ])|^)(?:{known})(?=[-+/ ]|$)", lambda found: names[found[0]], text)
