"""The bridge to s3prl: runs its recipes on our upstreams and corpora."""
