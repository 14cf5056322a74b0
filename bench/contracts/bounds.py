"""Numbers in settings, with upper bounds: a larger one is a mistake that would fill the memory or never end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST_SEED = 2**32 - 1

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""Of a random generator."""
Steps = Annotated[int, Field(ge=1, le=100_000_000)]
"""Of an optimiser."""
Batches = Annotated[int, Field(ge=1, le=1_000_000)]
"""Of which something is a mean."""
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
"""Utterances."""
Utterances = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Of a corpus."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Of a layer."""
Depth = Annotated[int, Field(ge=1, le=256)]
"""Layers."""
Processes = Annotated[int, Field(ge=0, le=1_024)]
"""That read audio."""
LearningRate = Annotated[float, Field(gt=0, le=1_000)]
"""Of an optimiser."""
DurationS = Annotated[float, Field(gt=0, le=86_400)]
"""Of speech that is in memory at once: a day at most."""
BatchS = Annotated[float, Field(ge=0.025, le=86_400)]
"""Of speech in a batch: one frame at least."""
Hours = Annotated[float, Field(gt=0, le=10_000_000)]
"""Of audio."""
