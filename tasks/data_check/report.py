"""What a check has found out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SplitReport:
    """How much there is of a split, and how much the real corpus has of it."""

    split: str
    num_utterances: int
    hours: float
    known_num_utterances: int | None = None
    """Of the real corpus; None where the layout is none of a known one."""
    known_hours: float | None = None


@dataclass
class CorpusReport:
    """One task's corpus, or the audio that compression hears."""

    name: str
    """The task's name, or ``audio``."""
    layout: str = ""
    """As in the data file; empty where its entry could not be read."""
    splits: list[SplitReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Why it cannot be used."""
    remarks: list[str] = field(default_factory=list)
    """What is odd about it, and may be meant."""
    bad_files: list[str] = field(default_factory=list)
    """What is wrong with each file that cannot be used."""

    @property
    def usable(self) -> bool:
        """Whether a run would take it."""
        return not self.errors and not self.bad_files
