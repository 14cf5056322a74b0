"""Does the items of a run as Slurm jobs."""
