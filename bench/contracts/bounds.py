"""Numbers in settings, with upper bounds: a larger one is a mistake that would fill the memory or never end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST_SEED = 2**32 - 1
LARGEST_NUMBER_OF_DEVICES = 1_024

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""Seed of a random generator."""
Steps = Annotated[int, Field(ge=1, le=100_000_000)]
"""Updates of an optimiser."""
Batches = Annotated[int, Field(ge=1, le=1_000_000)]
"""Batches that a mean is taken over."""
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
"""Utterances in a batch."""
Utterances = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Utterances of a corpus."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Width of a layer."""
Depth = Annotated[int, Field(ge=1, le=256)]
"""Number of layers."""
Processes = Annotated[int, Field(ge=0, le=1_024)]
"""Processes that read audio."""
Devices = Annotated[int, Field(ge=1, le=LARGEST_NUMBER_OF_DEVICES)]
"""Devices that train together."""
LearningRate = Annotated[float, Field(gt=0)]
"""Learning rate of an optimiser. One that is too large ends in an error about the loss, so it needs no bound."""
DurationS = Annotated[float, Field(gt=0, le=86_400)]
"""Seconds of speech in memory at once, at most a day."""
BatchS = Annotated[float, Field(ge=0.025, le=86_400)]
"""Seconds of speech in a batch, at least one frame."""
Hours = Annotated[float, Field(gt=0, le=10_000_000)]
"""Hours of audio."""
