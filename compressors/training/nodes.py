"""What lightning sees of the processes that train together."""

from __future__ import annotations

from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from bench.workers.ranks import Rank


class Ranks(LightningEnvironment):
    """The processes that already train together, as nodes of one device each.

    With an environment of its own choice, lightning would take over any Slurm job that it runs in.
    """

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """Start no processes."""
        return True

    def local_rank(self) -> int:
        """Return the number of this process among those of its node."""
        return 0

    def node_rank(self) -> int:
        """Return the number of this process."""
        return self.rank.number

    def teardown(self) -> None:
        """Leave the environment's variables alone."""
