"""SUPERB's downstream tasks, one file per task, trained with s3prl's recipes."""
