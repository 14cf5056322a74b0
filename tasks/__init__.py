"""superb-bench: SUPERB's downstream tasks, one file each, through s3prl's recipes."""
