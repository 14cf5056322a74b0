"""An utterance's contribution to s3prl's slot metrics. Importing this module imports neither torch nor s3prl."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tasks.metrics.counts import Counts


def slot_counts(reference: str, prediction: str) -> Counts:
    """Split s3prl's slot metrics into numerators and denominators.

    The slot-type F1 is a mean over utterances. The slot-value CER divides edits by characters, summed over the values
    of all reference slots; every character of a missed slot counts as an edit.

    Source: s3prl 0.4.18, ``s3prl.metric.slot_filling``.
    """
    # Imports torch, which listing tasks does not need.
    from tasks.bridge import s3prl_compat

    s3prl_compat.install()
    metric: Any = import_module("s3prl.metric.slot_filling")
    values_by_type, _ = metric.get_slot_dict(reference, reference)
    num_characters = sum(len(value) for values in values_by_type.values() for value in values)
    # Edits are whole numbers; the product of two floats may miss them by a rounding error.
    edits = round(metric.slot_value_cer([prediction], [reference]) * num_characters) if num_characters else 0
    return {
        "slot_type_f1": [metric.slot_type_f1([prediction], [reference]), 1],
        "slot_value_cer": [edits, num_characters],
    }
