"""Shows by how much ``schedule=auto`` misses its sparsity in stages of any length, with gates alone under a noisy loss.

Usage: ``python -m benchmarks.automatic_schedule --updates 200,50000 --sparsity 0.75,0.875``; 50,000 updates take some
15 minutes of one core. The table of docs/compressors.md was made with it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from compressors.dphubert.sparsity import SparsityConfig
from tests.helpers.gates import missed, trained_gates


def main(
    updates: Annotated[
        str, typer.Option(help="Lengths of the stage, separated by commas.")
    ] = "200,1000,3000,10000,50000",
    sparsity: Annotated[str, typer.Option(help="Sparsities wanted, separated by commas.")] = "0.75,0.875",
) -> None:
    """Print what the sparsity counted after hardening misses the wanted one by, for each length and sparsity."""
    typer.echo("sparsity  updates  missed by (% of parameters)")
    for wanted in map(float, sparsity.split(",")):
        config = SparsityConfig(schedule="auto", sparsity=wanted)
        for length in map(int, updates.split(",")):
            gates, _ = trained_gates(config, length, warmup=0.3)
            typer.echo(f"{wanted:8.3f}  {length:7d}  {100 * missed(gates, config):+.3f}")


if __name__ == "__main__":
    typer.run(main)
