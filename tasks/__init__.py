"""The downstream tasks of superb-bench: SUPERB's, one file per task, trained with s3prl's recipes."""
