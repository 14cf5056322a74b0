"""The results of a check."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SplitReport:
    """The size of a split, and of the same split of the real corpus."""

    split: str
    num_utterances: int
    hours: float
    known_num_utterances: int | None = None
    """Size of the real corpus; None if the layout has no known corpus."""
    known_hours: float | None = None


@dataclass
class CorpusReport:
    """One task's corpus, or the audio for compression."""

    name: str
    """The task's name, or ``audio``."""
    layout: str = ""
    """As in the data file; empty if its entry is unreadable."""
    splits: list[SplitReport] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Why the corpus cannot be used."""
    remarks: list[str] = field(default_factory=list)
    """Possible mistakes, which may be intended."""
    bad_files: list[str] = field(default_factory=list)
    """The fault of each unusable file."""

    @property
    def usable(self) -> bool:
        """Whether a run would accept the corpus."""
        return not self.errors and not self.bad_files
